"""How bright an image is, for noise that follows it."""

from jaxtyping import Float
from torch import Tensor


def brightness(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Values in [-1, 1] -> 0 (black) to 1 (white), as numbers only: no gradient reaches x.

    Or an image could be made darker only so that there is less noise in it.
    """
    return (x.detach() + 1) / 2
