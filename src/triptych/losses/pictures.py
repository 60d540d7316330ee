"""How far one picture is from another: pure functions of batches of both, black being -1 and white 1."""

from jaxtyping import Float
from torch import Tensor

from triptych.core import full

Pictures = Float[Tensor, "n c h w"]


def l1(x: Pictures, y: Pictures) -> Float[Tensor, ""]:
    """E |x - y|, over all pixels: what y fits best is the median of the x that are possible."""
    return (full(x) - full(y)).abs().mean()


def energy(x: Pictures, one: Pictures, other: Pictures) -> Float[Tensor, ""]:
    """(|x - one| + |x - other| - |one - other|) / 2, over all pixels, of two independent answers.

    The energy score, of each value by itself. Least, on average, where answers are spread as the truth is: unlike the
    distance alone it does not ask for one answer to what has many. It may be negative.

    Strictly Proper Scoring Rules, Prediction, and Estimation. Gneiting and Raftery, 2007. Section 4.2
    https://doi.org/10.1198/016214506000001437
    """
    return (l1(x, one) + l1(x, other) - l1(one, other)) / 2


def psnr(x: Pictures, y: Pictures) -> Float[Tensor, ""]:
    """10 log10(2^2 / E (x - y)^2) in decibels of each picture, on average: to watch training by, not to report."""
    off = (full(x) - full(y).clamp(-1, 1)).square().flatten(1).mean(1)
    return 10 * (4 / off.clamp(min=1e-10)).log10().mean()


def total_variation(x: Pictures) -> Float[Tensor, ""]:
    """E |x[i + 1] - x[i]|, between neighbours below and beside each other: the less, the smoother."""
    x = full(x)
    return (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()


def frame_error(x: Float[Tensor, "n t c h w"], y: Float[Tensor, "n t c h w"]) -> Float[Tensor, ""]:
    """The squared distance summed over a frame, black being 0 and white 1, on average: MSE as tables of video
    prediction have it."""
    return ((full(x) - full(y)) / 2).square().sum((2, 3, 4)).mean()
