"""How near pictures are to the ones they should be, pixel by pixel: PSNR and SSIM, with their convention.

Published numbers differ by conventions that are seldom written down (channels, border, window), so all of them are
part of a `Convention`, whose `protocol` goes beside every number. Both are computed in float64 on 8-bit pictures, with
a data range of 255. They reward the mean of all that may be true: a blurred picture can have more of both than a sharp
one. Distances on features (`triptych.metrics.extractors`) are to stand beside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import conv2d

from triptych.core import UsageError
from triptych.metrics.images import eight_bit
from triptych.metrics.measurement import Measurement

RANGE = 255.0
"""Of the data, whatever the channels: the peak of PSNR, and L of SSIM's constants (.01 L)^2 and (.03 L)^2."""
WINDOW = {"gaussian": 11, "uniform": 7}
SIGMA = 1.5
"""Of the Gaussian window."""
LUMA = (65.481, 128.553, 24.966)
"""BT.601, studio swing: Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, not rounded (as MATLAB's rgb2ycbcr)."""


@dataclass(frozen=True)
class Convention:
    """How PSNR and SSIM are taken."""

    channels: Literal["rgb", "luma"] = "rgb"
    """"rgb": all channels as they are, averaged over. "luma": Y of BT.601, from 16 to 235, of color pictures; grey
    ones as they are."""
    border: int = 0
    """Pixels cut off at each side first; super resolution usually leaves out as many as its factor."""
    window: Literal["gaussian", "uniform"] = "gaussian"
    """Of SSIM. "gaussian": 11 x 11, sigma 1.5, population covariances (Wang et al., 2004). "uniform": 7 x 7, sample
    covariances (scikit-image's default). Only windows that lie within the picture count."""

    def __post_init__(self) -> None:
        if self.channels not in ("rgb", "luma"):
            raise UsageError(f'channels={self.channels!r}: it is "rgb" or "luma"')
        if self.window not in WINDOW:
            raise UsageError(f'window={self.window!r}: it is "gaussian" or "uniform"')
        if self.border < 0:
            raise UsageError(f"border={self.border}: it is a number of pixels, 0 or more")

    @property
    def pixels(self) -> str:
        """What both are taken of."""
        channels = "RGB (grey as it is)" if self.channels == "rgb" else "luma Y of BT.601 (16 to 235; grey as it is)"
        return f"8-bit {channels}, border of {self.border} pixels cut off, data range 255"

    @property
    def covering(self) -> str:
        side = WINDOW[self.window]
        shape = f"sigma {SIGMA}, population" if self.window == "gaussian" else "sample"
        return f"{self.window} window {side} x {side}, {shape} covariances, K = .01 and .03, mean over whole windows"


@dataclass(frozen=True, eq=False)
class Fidelity:
    """PSNR and SSIM of n pictures, each against its truth."""

    psnr: Float[Tensor, " n"]
    """In dB, float64; infinite where a picture equals its truth."""
    ssim: Float[Tensor, " n"]
    """From -1 to 1, which is equality; float64."""
    convention: Convention = field(default_factory=Convention)

    @property
    def equal(self) -> int:
        """Pictures that equal their truth."""
        return int(self.psnr.isinf().sum())

    @property
    def mean_psnr(self) -> float:
        """The mean over pictures of the decibels of each (not the decibels of a mean error). Pictures that equal their
        truth have no finite PSNR and are left out; infinite if all do."""
        return mean_decibels(self.psnr)

    @property
    def mean_ssim(self) -> float:
        return self.ssim.mean().item()

    def measurements(self, baselines: dict[str, "Fidelity"] | None = None, what: str = "") -> list[Measurement]:
        """Both means, beside what simple rivals (by the same convention) get. `what`: "in the hole"."""
        rivals = baselines or {}
        odd = [name for name, rival in rivals.items() if rival.convention != self.convention]
        if odd:
            raise UsageError(f"baseline {odd[0]!r} was measured by another convention; measure all by one")
        n, left = f"{len(self.psnr):,} pictures", f"{self.equal} equal to their truth left out"
        said = f" {what}" if what else ""
        psnr = Measurement(
            name=f"PSNR{said}",
            value=self.mean_psnr,
            unit="dB",
            better="higher",
            protocol=f"{self.convention.pixels}, mean over pictures of each one's dB",
            n=f"{n}, {left}" if self.equal else n,
            baselines={name: rival.mean_psnr for name, rival in rivals.items()},
        )
        ssim = Measurement(
            name=f"SSIM{said}",
            value=self.mean_ssim,
            better="higher",
            protocol=f"{self.convention.pixels}, {self.convention.covering}",
            n=n,
            baselines={name: rival.mean_ssim for name, rival in rivals.items()},
        )
        return [psnr, ssim]


def fidelity(
    pictures: Sequence[Tensor] | Tensor, truths: Sequence[Tensor] | Tensor, convention: Convention | None = None
) -> Fidelity:
    """PSNR and SSIM of each picture. Pictures are [c, h, w] of any sizes (or one batch), as `eight_bit` takes them.

        found = fidelity(enlarged, photographs, Convention(border=4))
        found.mean_psnr, found.psnr  # dB

    Raises UsageError unless each picture has the channels and the size of its truth, and room for a window.
    """
    if len(pictures) != len(truths) or not len(pictures):
        raise UsageError(f"{len(pictures)} pictures and {len(truths)} truths: fidelity takes one or more pairs")
    how = convention or Convention()
    pairs = [(a, b) for one, other in zip(pictures, truths, strict=True) for a, b in [ready(one, other, how)]]
    return Fidelity(
        torch.stack([psnr(a, b) for a, b in pairs]), torch.stack([ssim(a, b, how.window) for a, b in pairs]), how
    )


def mean_decibels(psnr: Float[Tensor, " n"]) -> float:
    """Of those that are finite; infinite if none is."""
    finite = psnr[psnr.isfinite()]
    return finite.mean().item() if len(finite) else math.inf


def within_holes(
    pictures: Sequence[Tensor] | Tensor, truths: Sequence[Tensor] | Tensor, holes: Sequence[Tensor] | Tensor
) -> Measurement:
    """The mean PSNR in the holes that were filled. Raises UsageError as `psnr_within`."""
    found = psnr_within(pictures, truths, holes)
    equal = int(found.isinf().sum())
    return Measurement(
        name="PSNR in the hole",
        value=mean_decibels(found),
        unit="dB",
        better="higher",
        protocol="8-bit RGB (grey as it is), pixels in the hole only, data range 255, mean over pictures of each one's "
        "dB",
        n=f"{len(found):,} pictures" + (f", {equal} equal to their truth left out" if equal else ""),
    )


def psnr_within(
    pictures: Sequence[Tensor] | Tensor, truths: Sequence[Tensor] | Tensor, masks: Sequence[Tensor] | Tensor
) -> Float[Tensor, " n"]:
    """PSNR of each picture over the pixels where its mask ([h, w] or [1, h, w], bool) is true: in the hole, say. In dB,
    float64, of all channels as they are; infinite where they equal the truth.

    Raises UsageError as `fidelity`, for a mask of another size, and for one that is true nowhere.
    """
    found = []
    for one, other, mask in zip(pictures, truths, masks, strict=True):
        if mask.dtype != torch.bool or mask.shape[-2:] != one.shape[-2:] or mask.numel() != one[0].numel():
            raise UsageError(
                f"a mask is {mask.dtype} {list(mask.shape)}; it is bool, of its picture's height and width"
            )
        if not mask.any():
            raise UsageError("a mask is true nowhere: there is nothing to measure within it")
        a, b = ready(one, other, Convention())
        inside = mask.view(mask.shape[-2:])
        found.append(psnr(a[:, inside], b[:, inside]))
    return torch.stack(found)


def ready(one: Tensor, other: Tensor, how: Convention) -> tuple[Float[Tensor, "c h w"], Float[Tensor, "c h w"]]:
    """A picture and its truth from 0 to 255, float64, as the convention looks at them."""
    if one.shape != other.shape or one.dim() != 3 or one.shape[0] not in (1, 3):
        raise UsageError(
            f"a picture has shape {list(one.shape)} and its truth {list(other.shape)}: both are [1 or 3 channels, "
            "height, width] of one size"
        )
    if min(one.shape[1:]) <= 2 * how.border:
        raise UsageError(f"a picture of {one.shape[1]} x {one.shape[2]} pixels is all border: border={how.border}")
    a, b = (x if x.dtype == torch.uint8 else eight_bit(x[None])[0] for x in (one, other))  # one may well be all black
    return prepared(a, how), prepared(b, how)


def prepared(picture: UInt8[Tensor, "c h w"], how: Convention) -> Float[Tensor, "d h2 w2"]:
    height, width = picture.shape[1:]
    x = picture[:, how.border : height - how.border, how.border : width - how.border].double()
    return luma(x) if how.channels == "luma" and len(x) == 3 else x


def luma(x: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 h w"]:
    """Y of BT.601, from 16 to 235, of red, green and blue from 0 to 255."""
    return 16 + (torch.tensor(LUMA, dtype=x.dtype)[:, None, None] * x).sum(0, keepdim=True) / 255


def psnr(x: Float[Tensor, "c ..."], y: Float[Tensor, "c ..."]) -> Float[Tensor, ""]:
    """10 log10(255^2 / mean squared error); infinite for equal pictures."""
    return 10 * torch.log10(RANGE**2 / (x - y).square().mean())


def ssim(
    x: Float[Tensor, "c h w"], y: Float[Tensor, "c h w"], window: Literal["gaussian", "uniform"]
) -> Float[Tensor, ""]:
    """Structural similarity, the mean over windows and channels.

    Wang, Bovik, Sheikh and Simoncelli, 2004. Image Quality Assessment: From Error Visibility to Structural Similarity.
    https://doi.org/10.1109/TIP.2003.819861 (Equation 13). Raises UsageError where there is no room for a window.
    """
    side = WINDOW[window]
    if min(x.shape[1:]) < side:
        raise UsageError(
            f"SSIM's window is {side} x {side}; of a picture only {x.shape[1]} x {x.shape[2]} pixels are looked at"
        )
    line = torch.ones(side, dtype=x.dtype)
    if window == "gaussian":
        line = (-(torch.arange(side, dtype=x.dtype) - side // 2).square() / (2 * SIGMA**2)).exp()
    line = line / line.sum()

    def mean(values: Tensor) -> Tensor:
        return conv2d(conv2d(values[:, None], line.view(1, 1, side, 1)), line.view(1, 1, 1, side))

    unbiased = side**2 / (side**2 - 1) if window == "uniform" else 1.0
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = unbiased * (mean(x * x) - mean_x**2), unbiased * (mean(y * y) - mean_y**2)
    cov = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    return (likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean()
