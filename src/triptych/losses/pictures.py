"""How far one picture is from another: pure functions of batches of both, black being -1 and white 1."""

from jaxtyping import Float
from torch import Tensor

from triptych.core import full

Pictures = Float[Tensor, "n c h w"]


def l1(x: Pictures, y: Pictures) -> Float[Tensor, ""]:
    """E |x - y|, over all pixels: what y fits best is the median of the x that are possible."""
    return (full(x) - full(y)).abs().mean()


def psnr(x: Pictures, y: Pictures) -> Float[Tensor, ""]:
    """10 log10(2^2 / E (x - y)^2) in decibels of each picture, on average: to watch training by, not to report."""
    off = (full(x) - full(y).clamp(-1, 1)).square().flatten(1).mean(1)
    return 10 * (4 / off.clamp(min=1e-10)).log10().mean()
