"""What the sampler of PixelSNAIL in C++ (pixelsnail.cpp) takes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def draw_pixelsnail(
    model: Any, u: Float[Tensor, "n c h w"], level: Int[Tensor, "n c h w"], how: Sampling
) -> Int[Tensor, "n c h w"]:
    """Fills in the levels of a `PixelSNAIL` that are -1, each by its uniform number."""
    c, x = model.config, model.config.x
    numbers = [len(u), x.height, x.width, x.channels, x.levels, model.scores, c.width, c.keys, c.values, c.head]
    numbers += [len(model.blocks), c.layers]
    above, left = model.above.weight.permute(2, 3, 1, 0)[0].clone(), model.left.weight[..., 0].permute(2, 1, 0)
    above[0] += left[0]  # both look at the pixel above and to the left
    arrays = [u, x.from_index(torch.arange(x.levels)), model.where, above, left[1], model.above.bias + model.left.bias]
    for block in model.blocks:
        for layer in block.near:
            arrays += [w for conv in (layer.first, layer.second) for w in (conv.weight.permute(2, 3, 1, 0), conv.bias)]
        for gated, last in (block.asking, block.offering):
            arrays += [*both(gated.first), *both(gated.second), *both(last)]
        arrays += [*both(block.mix.first), *both(block.mix.second), block.mix.extra.weight]
    out = torch.cat((model.out.bias[None], model.out.kernel.flatten(1).t()))
    arrays += [model.head.weight, model.head.bias + model.earlier.bias, model.earlier.kernel.flatten(1), out]
    play("pixelsnail", numbers, arrays, level, how)
    return level


def both(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.weight, layer.bias
