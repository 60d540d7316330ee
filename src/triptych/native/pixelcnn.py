"""What the sampler of PixelCNN in C++ (pixelcnn.cpp) takes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def draw_pixelcnn(
    model: Any, u: Float[Tensor, "n c h w"], level: Int[Tensor, "n c h w"], how: Sampling
) -> Int[Tensor, "n c h w"]:
    """Fills in the levels of a `PixelCNN` that are -1, each by its uniform number."""
    c, x = model.config, model.config.x
    numbers = [len(u), x.height, x.width, x.channels, x.levels, model.scores, c.width, c.head, c.blocks]
    arrays = [u, x.from_index(torch.arange(x.levels))]
    layers = [model.first, *(conv for block in model.blocks for conv in (block.down, block.conv, block.up))]
    for conv in (*layers, model.head1, model.head2, model.out):
        arrays += [conv.kernel.permute(2, 3, 1, 0).flip(0), conv.bias]
    play("pixelcnn", [*numbers, model.first.reach, c.kernel // 2], arrays, level, how)
    return level
