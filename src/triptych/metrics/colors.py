"""Whether a thing has kept its color: the hue of what is not ground."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from triptych.metrics.measurement import Measurement

WHITE = 0.7
"""What is darker than this in some channel is not ground."""
COLORED = 0.15
"""Of the lightest channel: how much less the darkest one has, at least, where there is a hue to speak of."""
NONE = 90.0
"""Degrees that an answer without a hue is off: as much as one of a random hue, on average."""

Pictures = Float[Tensor, "n 3 h w"]


def thing(x: Pictures) -> Bool[Tensor, "n h w"]:
    """What stands on white."""
    return x.amin(1) < WHITE


def mean_color(x: Pictures, where: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 3"]:
    """From 0 to 1, of a part of each picture."""
    part = where[:, None].to(x.dtype)
    return ((x.clamp(-1, 1) + 1) / 2 * part).sum((2, 3)) / part.sum((2, 3)).clamp(min=1)


def hue(color: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """In degrees: 0 is red, 120 green, 240 blue (Preucil's circle)."""
    r, g, b = color.unbind(1)
    return torch.atan2(math.sqrt(3) * (g - b), 2 * r - g - b) * (180 / math.pi)


def has_hue(color: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    return color.amax(1) - color.amin(1) >= COLORED * color.amax(1).clamp(min=1e-6)


def hue_error(x: Pictures, truth: Pictures) -> Measurement | None:
    """How far the thing's mean color is off in hue, of things that have one; None where no truth has."""
    where = thing(truth)
    mine, theirs = mean_color(x, where), mean_color(truth, where)
    counted = has_hue(theirs) & where.flatten(1).any(1)
    if not bool(counted.any()):
        return None
    off = ((hue(mine) - hue(theirs) + 180) % 360 - 180).abs().where(has_hue(mine), NONE)
    return Measurement(
        name="hue error",
        value=off[counted].double().mean().item(),
        unit="degrees",
        better="lower",
        protocol=f"hue of the mean color of what is not white in the truth (some channel below {WHITE} of -1 to 1), "
        f"mean over things with a hue; {NONE:.0f} for an answer without one",
        n=f"{int(counted.sum()):,} pictures",
    )
