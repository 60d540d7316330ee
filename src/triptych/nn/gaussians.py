"""A mixture of diagonal Gaussians of a few numbers, as the last layer of a network gives it."""

from dataclasses import dataclass
from math import log, pi

from jaxtyping import Float
from torch import Tensor

from triptych.core import category, full

LEAST = 1e-6
"""The smallest standard deviation."""


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Of `width` numbers, at each of *n places: K Gaussians without covariance, and how much each counts."""

    weights: Float[Tensor, "*n k"]
    """Scores: their softmax is how much each counts."""
    mean: Float[Tensor, "*n k width"]
    scale: Float[Tensor, "*n k width"]

    @classmethod
    def of(cls, y: Float[Tensor, "*n outputs"], k: int) -> "GaussianMixture":
        """From K (1 + 2 width) numbers a place. Scales are (y + sqrt(y^2 + 4)) / 2: 1 at 0, and never negative."""
        y = full(y)
        weights, rest = y[..., :k], y[..., k:].reshape(*y.shape[:-1], k, y.shape[-1] // k - 1)
        mean, raw = rest.chunk(2, -1)
        return cls(weights, mean, ((raw + (raw.square() + 4).sqrt()) / 2).clamp(min=LEAST))

    def log_prob(self, z: Float[Tensor, "*n width"]) -> Float[Tensor, "*n"]:
        """The log density at z."""
        off = (z[..., None, :] - self.mean) / self.scale
        each = -0.5 * (off.square() + log(2 * pi)).sum(-1) - self.scale.log().sum(-1)
        return (self.weights.log_softmax(-1) + each).logsumexp(-1)

    def draw(self, u: Float[Tensor, "*n"], e: Float[Tensor, "*n width"]) -> Float[Tensor, "*n width"]:
        """A point for each uniform number, which chooses the Gaussian, and standard normal ones."""
        index = category(self.weights, u)[..., None, None].expand(*u.shape, 1, self.mean.shape[-1])
        mean, scale = (t.gather(-2, index)[..., 0, :] for t in (self.mean, self.scale))
        return mean + scale * e
