"""The eight symmetries of a square: pictures turned and mirrored, for more examples of the same."""

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import Noise


def turned(noise: Noise, *pictures: Float[Tensor, "n _ _ _"]) -> list[Tensor]:
    """Each item one way of the eight at random, in all of its pictures alike; of the four that keep height and width
    where those differ. For what has no up and down, or little data.

    Enhanced Deep Residual Networks for Single Image Super-Resolution. Lim, Son, Kim, Nah and Lee, 2017.
    https://arxiv.org/abs/1707.02921, Section 4.2
    """
    across, down, over = (noise.uniform(3) < 0.5).unbind(1)
    out = []
    for x in pictures:
        x = chosen(across, x.flip(-1), x)
        x = chosen(down, x.flip(-2), x)
        out.append(chosen(over, x.transpose(-1, -2), x) if x.shape[-1] == x.shape[-2] else x)
    return out


def mirrored(noise: Noise, *pictures: Float[Tensor, "n _ _ _"]) -> list[Tensor]:
    """Each item as it is or seen in a mirror, at random, in all of its pictures alike."""
    across = noise.uniform(1)[:, 0] < 0.5
    return [chosen(across, x.flip(-1), x) for x in pictures]


def chosen(which: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(which[:, None, None, None], one, other)
