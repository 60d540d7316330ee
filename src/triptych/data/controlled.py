"""Data whose true distribution is known: mixtures of Gaussians in the plane.

The grid of 25 and the ring of 8 are those of PacGAN (Lin et al., 2018; https://arxiv.org/abs/1712.04086) and VEEGAN
(Srivastava et al., 2017; https://arxiv.org/abs/1705.07761): how many of the modes does a model find?
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import Positive, config, mix


@config
class Mixture:
    """Gaussians of equal weight and of one standard deviation in every direction."""

    means: tuple[tuple[float, ...], ...]
    sd: Positive

    def log_density(self, x: Float[Tensor, "batch dims"]) -> Float[Tensor, " batch"]:
        """log p(x), in nats."""
        means = torch.tensor(self.means, dtype=x.dtype, device=x.device)
        squares = (x[:, None] - means).square().sum(-1) / self.sd**2
        constant = math.log(len(means)) + means.shape[1] * math.log(self.sd * math.sqrt(2 * math.pi))
        return torch.logsumexp(-squares / 2, 1) - constant

    def draw(self, n: int, seed: int) -> np.ndarray:
        """float32 [n, dims]."""
        random = np.random.Generator(np.random.Philox(key=mix(seed)))
        which = random.integers(len(self.means), size=n)
        noise = random.standard_normal((n, len(self.means[0])))
        return (np.array(self.means)[which] + self.sd * noise).astype(np.float32)


GAUSSIANS_25 = Mixture(means=tuple((float(a), float(b)) for a in range(-4, 5, 2) for b in range(-4, 5, 2)), sd=0.05)
RING_8 = Mixture(means=tuple((math.cos(math.pi * k / 4), math.sin(math.pi * k / 4)) for k in range(8)), sd=0.01)
