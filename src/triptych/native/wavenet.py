"""What the sampler of WaveNet in C++ (wavenet.cpp) takes."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def draw_wavenet(
    model: Any, u: Float[Tensor, "n 1 t"], level: Int[Tensor, "n 1 t"], y: Int[Tensor, " n"], how: Sampling
) -> Int[Tensor, "n 1 t"]:
    """Fills in the levels of a `WaveNet` that are -1, each by its uniform number; y is each item's class."""
    c, x = model.config, model.config.x
    numbers = [len(u), x.length, c.width, c.skip, model.scores, x.levels, len(model.layers)]
    arrays = [u, model.first.weight]
    for layer in model.layers:
        numbers.append(layer.dilation)
        arrays += [layer.conv.weight[:, :, 0].permute(2, 1, 0), layer.bias(y)]
        arrays += [] if layer.residual is None else [layer.residual.weight]
    arrays += [w for linear in (model.skip, model.head, model.out) for w in (linear.weight, linear.bias)]
    play("wavenet", numbers, arrays, level, how)
    return level
