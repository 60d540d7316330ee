"""A generator read as a decoder: its noise is the latent, and a stated observation model makes its likelihood.

A GAN gives samples x = G(z) and no probabilities. With noise around its output it has a density,

    p(x) = integral of p(z) N(x; G(z), sigma^2 I) dz

which is a statement about G *and* sigma: a number without its sigma means nothing. (Wu, Burda, Salakhutdinov and
Grosse, 2017. On the Quantitative Analysis of Decoder-Based Generative Models. https://arxiv.org/abs/1611.04273)
"""

from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from triptych.core import Generative, Given, HasLikelihood, UsageError
from triptych.core.likelihood import BaseMeasure
from triptych.losses.pixels import Binary

Observation = float | Literal["bernoulli"]
"""What lies between G(z) and x: Gaussian noise of this standard deviation, or a coin each for two levels."""
SUREST = 1 - 1e-6
"""A generator's mean of a coin is taken as at most this far from 0, on the scale from -1 to 1."""


def observation(text: str) -> Observation:
    """ "0.1" or "bernoulli". Raises UsageError for anything else."""
    if text == "bernoulli":
        return "bernoulli"
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"noise={text}: it is a standard deviation, as in 0.1, or bernoulli") from None


class Counting:
    """Noise that counts how many numbers are asked of it."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.n, self.device, self.count = n, device, 0

    def normal(self, *shape: int) -> Tensor:
        self.count += prod(shape)
        return torch.zeros(self.n, *shape, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        return self.normal(*shape) + 0.5


class Chosen:
    """Noise that is chosen: each number asked for is the next column of z, standard normal, or its distribution
    function where a uniform number is asked for. Differentiable in z."""

    def __init__(self, z: Float[Tensor, "n latent"]) -> None:
        self.z, self.n, self.device, self.used = z, len(z), z.device, 0

    def normal(self, *shape: int) -> Tensor:
        first, self.used = self.used, self.used + prod(shape)
        return self.z[:, first : self.used].reshape(self.n, *shape)

    def uniform(self, *shape: int) -> Tensor:
        return torch.special.ndtr(self.normal(*shape)).clamp(max=1 - 2**-24)


@dataclass(frozen=True)
class Generator:
    """A model without likelihood as a decoder. z is all the noise that a sample spends, as standard normal numbers."""

    model: Generative[Any]

    def latent(self, given: Given | None = None) -> int:
        """How many numbers a sample spends."""
        noise = Counting(1, self.model.device)
        with torch.no_grad():
            self.model.draw(noise, None if given is None else given[:1])
        return noise.count

    def __call__(self, z: Float[Tensor, "*batch latent"], given: Given | None = None) -> Float[Tensor, "..."]:
        """G(z), z being [..., n, latent] with a condition for each of the n."""
        lead = z.shape[:-2].numel()
        if given is not None:
            given = given.map(lambda t: t.repeat(lead, *[1] * (t.dim() - 1)))
        x: Tensor = self.model.draw(Chosen(z.flatten(0, -2)), given)
        return x.reshape(*z.shape[:-1], *x.shape[1:])


class Observed:
    """A generator with an observation model: p(z) = N(0, I), and p(x | z) around G(z).

    Raises UsageError for a model that has a likelihood of its own, for a sigma that is none, and for coins where the
    space has other than two levels.
    """

    def __init__(self, model: Generative[Any], noise: Observation) -> None:
        self.generator, self.noise, space = Generator(model), noise, model.config.x
        if isinstance(model, HasLikelihood):
            raise UsageError(f"{model.name} has a likelihood of its own; leave out noise={noise}")
        if noise == "bernoulli":
            if not space.scaled or space.values != 2:
                raise UsageError(f'noise="bernoulli" is for x of two levels; {model.name} models {space}')
        elif isinstance(noise, str) or not (isfinite(noise) and noise > 0):
            raise UsageError(
                f'noise={noise!r}: it is the standard deviation of Gaussian noise, above 0, or "bernoulli"'
            )

    @property
    def said(self) -> str:
        """The observation model in words, for protocols."""
        return "coins around G(z)" if self.noise == "bernoulli" else f"x = G(z) + N(0, {self.noise:g}^2)"

    @property
    def measure(self) -> BaseMeasure:
        return "mass" if self.noise == "bernoulli" else "density"

    def prior(self, given: Given | None = None) -> Distribution:
        """p(z)"""
        zero = torch.zeros(self.generator.latent(given), device=self.generator.model.device)
        return Independent(Normal(zero, 1.0, validate_args=False), 1, validate_args=False)

    def decode(self, z: Float[Tensor, "*batch latent"], given: Given | None = None) -> Distribution:
        """p(x | z)"""
        mean = self.generator(z, given)
        if self.noise == "bernoulli":
            return Independent(
                Binary(2 * mean.clamp(-SUREST, SUREST).atanh()), len(self.generator.model.config.x.shape)
            )
        shape = self.generator.model.config.x.shape
        return Independent(Normal(mean, self.noise, validate_args=False), len(shape), validate_args=False)
