"""What the samplers of NADE and MADE in C++ (dense.cpp) take."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def draw_nade(
    model: Any, u: Float[Tensor, "n dims"], level: Int[Tensor, "n dims"], how: Sampling
) -> Int[Tensor, "n dims"]:
    """Fills in the levels of a `NADE` that are -1, in raster order, each by its uniform number."""
    play("nade", [*u.shape, model.config.hidden], [u, model.W, model.V, model.c, model.b], level, how)
    return level


def draw_made(
    model: Any,
    known: Sequence[Sequence[int]],
    u: Float[Tensor, "n dims"],
    level: Int[Tensor, "n dims"],
    how: Sampling,
) -> Int[Tensor, "n dims"]:
    """The same of a `MADE`; `known`: for each layer, from the first, how many units are known when i pixels are."""
    numbers, arrays = [*u.shape, len(model.layers), int(model.direct is not None)], [u]
    for layer, units in zip(model.layers, known, strict=True):
        numbers += [len(layer.bias), *units]
        arrays += [layer.weight, layer.bias]
    arrays += [model.out.weight, model.out.bias, *([] if model.direct is None else [model.direct.weight])]
    play("made", numbers, arrays, level, how)
    return level
