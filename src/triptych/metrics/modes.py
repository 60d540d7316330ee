"""Which modes a generator found: of a mixture of known Gaussians, or of three digits side by side.

Counting as in PacGAN (Lin et al., 2018. https://arxiv.org/abs/1712.04086, Section 4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import UsageError
from triptych.metrics.blocks import check_features
from triptych.metrics.digits import SHA256, classify
from triptych.metrics.images import eight_bit


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


@dataclass(frozen=True)
class StackedDigits:
    """How a generator spreads over the 1,000 numbers that three digits write, from `n` samples."""

    n: int
    found: int
    """Numbers that at least one sample is taken for. Of 26,000 evenly drawn samples, all."""
    reverse_kl: float
    """KL(samples || even) in nats; log(1000) = 6.91 if all samples write one number. Never quite 0: for n even samples
    it is about 999 / (2 n)."""
    sha256: str
    """Of the classifier's weights."""


def stacked_digit_modes(images: Tensor) -> StackedDigits:
    """Reads each channel of images [n, 3, 28, 28] (uint8, or floats in [-1, 1]) by the shipped classifier of digits.

    The literature uses 26,000 samples (Lin et al., 2018, Section 4.2), and classifiers of its own: numbers compare
    with each other by the same classifier only. Raises UsageError for other images.
    """
    if tuple(images.shape[1:]) != (3, 28, 28):
        raise UsageError(f"images have shape {list(images.shape)}; stacked digits are [n, 3, 28, 28]")
    channels = eight_bit(images).flatten(0, 1)[:, None]
    digits = classify(channels).argmax(1).view(-1, 3)
    share = (digits * torch.tensor([100, 10, 1])).sum(1).bincount(minlength=1000).double() / len(images)
    return StackedDigits(len(images), int((share > 0).sum()), torch.xlogy(share, share * 1000).sum().item(), SHA256)
