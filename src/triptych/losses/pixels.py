"""Distributions of values on evenly spaced levels in [-1, 1]: proper likelihoods for the pixels of an image.

Each gives a probability mass that sums to one over the levels, and draws by its inverse distribution function, so that
the randomness can come from anywhere: `p.icdf(noise.uniform(*shape))`.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid, softplus

from triptych.core import Images, Voxels, full

Shape = torch.Size | list[int] | tuple[int, ...]


class Binary(Distribution):
    """Independent Bernoulli pixels on the levels -1 and 1: P(x = 1) = sigmoid(logits)."""

    arg_constraints = {"logits": constraints.real}

    def __init__(self, logits: Float[Tensor, "..."]) -> None:
        self.logits = full(logits)
        super().__init__(logits.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return (self.logits / 2).tanh()

    @property
    def uniforms(self) -> Shape:
        """Shape of the uniform numbers that one x is drawn by: that of the batch without its first axis."""
        return self.batch_shape[1:]

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), for values -1 and 1; broadcasts."""
        # the threshold leaves softplus exact in float64, too; torch's own (20) errs by 2e-9
        return (value + 1) / 2 * self.logits - softplus(self.logits, threshold=40)

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse distribution function: uniform numbers -> levels."""
        return torch.where(value >= (-self.logits).sigmoid(), 1.0, -1.0).to(self.logits.dtype)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        return self.icdf(torch.rand(self._extended_shape(torch.Size(sample_shape)), device=self.logits.device))


class DiscretizedLogistic(Distribution):
    """A logistic density, each level holding the mass of the bin around it, the outer bins being open.

    P(x) = sigmoid((x + h - loc) / s) - sigmoid((x - h - loc) / s) with half a bin h = 1 / (levels - 1): one component
    of Salimans et al. (2017, Equation 2; https://arxiv.org/abs/1701.05517).
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}

    def __init__(self, loc: Float[Tensor, "..."], log_scale: Float[Tensor, "..."], levels: int) -> None:
        self.loc, self.log_scale, self.levels = full(loc), full(log_scale), levels
        self.half = 1 / (levels - 1)
        super().__init__((loc + log_scale).shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E[x] = 1 - the distribution function, summed over the levels times their distance."""
        below = torch.zeros_like(self.loc)
        for k in range(self.levels - 1):
            below = below + (((2 * k + 1) * self.half - 1 - self.loc) * (-self.log_scale).exp()).sigmoid()
        return 1 - 2 * self.half * below

    @property
    def uniforms(self) -> Shape:
        """Shape of the uniform numbers that one x is drawn by: that of the batch without its first axis."""
        return self.batch_shape[1:]

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), for values on the levels; broadcasts.

        With a < b the bin's edges, sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): a product,
        so that its logarithm needs neither a difference of near-equals nor a floor.
        """
        precision = (-self.log_scale).exp()
        centered = value - self.loc
        below = logsigmoid((centered + self.half) * precision)
        above = logsigmoid((self.half - centered) * precision)
        inside = (-torch.expm1(-2 * self.half * precision)).log()
        low, high = value < -1 + self.half, value > 1 - self.half
        return torch.where(low, below, torch.where(high, above, below + above + inside))

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse distribution function: uniform numbers -> levels.

        A uniform of 0 stands for those below the least step of float32, not for minus infinity, which lies on a level
        that may be all but impossible.
        """
        x = self.loc + self.log_scale.exp() * value.clamp(min=2**-25).logit()
        return ((x.clamp(-1, 1) + 1) / (2 * self.half)).round() * (2 * self.half) - 1

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        return self.icdf(torch.rand(self._extended_shape(torch.Size(sample_shape)), device=self.loc.device))


def evened(
    p: Binary | DiscretizedLogistic, nats: Float[Tensor, "n ..."], beta: float, *, balanced: bool = False
) -> Float[Tensor, "n ..."]:
    """-log p of each pixel, in nats, times scale^(2 beta), through which no gradient goes: for training alone.

    A network that says where a value lies, and how surely, is pulled hardest by what it is sure of. An even ground,
    once it is nearly right, outweighs all that stands on it, which stays as it is: blurred, and of no color. beta = 0
    is the likelihood, and with 1 pixels pull as by their squared errors: the beta-NLL of Seitzer, Tavakoli, Antic and
    Martius, 2022, On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural Networks.
    https://arxiv.org/abs/2203.09168. Values of two levels have no scale, and are left as they are.

    Balanced, these factors are 1 in the mean over each x: where the loss has other terms, such as a divergence, which
    would outweigh pixels that are all but certain.
    """
    if isinstance(p, Binary) or not beta:
        return nats
    weight = (2 * beta * p.log_scale.detach()).exp()
    if balanced:
        weight = weight / weight.flatten(1).mean(1).view(-1, *[1] * (weight.ndim - 1))
    return nats * weight


LEAST_LOG_SCALE = -7.0


def pixels_of(y: Float[Tensor, "..."], levels: int, axes: int = 2) -> Binary | DiscretizedLogistic:
    """Of `outputs_of` numbers a pixel, [*n, outputs, h, w], what a decoder says of it: each channel Bernoulli, or
    discretized logistic; of a voxel with three axes."""
    if levels == 2:
        return Binary(y)
    loc, log_scale = y.chunk(2, dim=-1 - axes)
    return DiscretizedLogistic(loc, log_scale.clamp(min=LEAST_LOG_SCALE), levels)


def outputs_of(x: Images | Voxels) -> int:
    """How many numbers a pixel `pixels_of` takes."""
    return x.channels * (1 if x.levels == 2 else 2)
