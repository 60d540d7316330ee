"""A model whose likelihood is known in closed form: what estimators of likelihoods are held against."""

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from triptych.core import Count, Generative, LowerBound, Noise, Points, Positive, Stage, UsageError, config


@config
class LinearGaussianConfig:
    x: Points = Points(6)
    latent: Count = 3
    """Dimensions of z ~ N(0, I)."""
    noise: Positive = 0.5
    """Standard deviation of x around its mean, given z."""
    widen: Positive = 1.0
    """The encoder's covariance, as a multiple of the posterior's. 1: the encoder is exact, and so is every bound."""
    shift: float = 0.0
    """How far the encoder's mean lies from the posterior's, in each direction, in its standard deviations."""


class LinearGaussian(Generative[None]):
    """x = W z + b + noise: probabilistic PCA (Tipping and Bishop, 1999). p(x), p(z | x) and all else are Gaussians.

    In float64. `exact` is log p(x); the encoder is the posterior, made worse as the configuration says.
    """

    name = "linear-gaussian"

    def __init__(self, config: LinearGaussianConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.randn(config.x.dims, config.latent, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(config.x.dims, dtype=torch.float64))

    def prior(self, given: None = None) -> Distribution:
        """p(z)"""
        return Independent(Normal(self.weight.new_zeros(self.config.latent), 1.0), 1)

    def decode(self, z: Float[Tensor, "*batch latent"], given: None = None) -> Distribution:
        """p(x | z)"""
        return Independent(Normal(z @ self.weight.T + self.bias, self.config.noise), 1)

    def posterior(self, x: Float[Tensor, "n d"]) -> MultivariateNormal:
        """p(z | x)"""
        eye = torch.eye(self.config.latent, dtype=x.dtype, device=x.device)
        covariance = (eye + self.weight.T @ self.weight / self.config.noise**2).inverse()
        return MultivariateNormal((x - self.bias) @ self.weight @ covariance / self.config.noise**2, covariance)

    def encode(self, x: Float[Tensor, "n d"], given: None = None) -> MultivariateNormal:
        """q(z | x)"""
        p = self.posterior(x)
        mean = p.mean + self.config.shift * p.stddev
        return MultivariateNormal(mean, p.covariance_matrix * self.config.widen)

    def exact(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log p(x) = log N(x; b, W W^T + noise^2 I)"""
        eye = torch.eye(self.config.x.dims, dtype=x.dtype, device=x.device)
        p: Distribution = MultivariateNormal(self.bias, self.weight @ self.weight.T + self.config.noise**2 * eye)
        return p.log_prob(x)

    def log_prob(self, x: Float[Tensor, "n d"], given: None = None, *, draws: int = 1) -> LowerBound:
        """log of the mean of `draws` weights p(x, z) / q(z | x): for one, in expectation the ELBO."""
        self.config.x.check(x)
        q: Distribution = self.encode(x)
        z = q.sample((draws,))
        log_w = self.decode(z).log_prob(x) + self.prior().log_prob(z) - q.log_prob(z)
        return LowerBound(
            nats=log_w.logsumexp(0) - log(draws), dims=self.config.x.dims, measure="density", how=f"IWAE, {draws} draws"
        )

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n d"]:
        z = noise.normal(self.config.latent).double()
        return z @ self.weight.T + self.bias + self.config.noise * noise.normal(self.config.x.dims)

    def stages(self) -> Sequence[Stage]:
        raise UsageError("a linear Gaussian is there to be evaluated; it is not trained")
