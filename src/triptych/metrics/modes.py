"""Which modes of a mixture of known Gaussians a generator found.

Counting as in PacGAN (Lin et al., 2018. https://arxiv.org/abs/1712.04086, Section 4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.metrics.blocks import check_features


@dataclass(frozen=True)
class ModeCoverage:
    """How a generator spreads over the modes of a mixture, from `n` samples."""

    n: int
    modes: int
    """Modes there are."""
    found: int
    """Modes that at least one high-quality sample is nearest to."""
    high_quality: float
    """Share of samples within 3 deviations of their nearest mean; an ideal sampler in the plane has 1 - exp(-4.5),
    .9889."""
    reverse_kl: float
    """KL(samples || mixture) in nats, of the distribution over nearest modes; log(modes) if all samples sit in one."""


def mode_coverage(points: Float[Tensor, "n d"], means: Sequence[Sequence[float]], sd: float) -> ModeCoverage:
    """Assigns every point to its nearest mean and counts; the literature uses 2,500 points.

    means, sd: of the mixture, whose Gaussians are equally likely and have deviation `sd` in every direction.

    Raises UsageError for points that are not finite, or of other dimensions than the means.
    """
    centers = torch.tensor(means, dtype=torch.float64, device=points.device)
    check_features(1, points=points, means=centers)
    modes = len(centers)
    distance, mode = torch.cdist(points.double(), centers, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    good = distance <= 3 * sd
    share = mode.bincount(minlength=modes).double() / len(points)
    return ModeCoverage(
        n=len(points),
        modes=modes,
        found=int((mode[good].bincount(minlength=modes) > 0).sum()),
        high_quality=good.double().mean().item(),
        reverse_kl=torch.xlogy(share, share * modes).sum().item(),
    )
