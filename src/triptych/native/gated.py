"""What the sampler of Gated PixelCNN in C++ (gated.cpp) takes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def draw_gated(
    model: Any, u: Float[Tensor, "n c h w"], level: Int[Tensor, "n c h w"], given: Any, how: Sampling
) -> Int[Tensor, "n c h w"]:
    """Fills in the levels of a `GatedPixelCNN` that are -1, each by its uniform number."""
    c, x, n = model.config, model.config.x, len(u)
    numbers = [n, x.height, x.width, x.channels, x.levels, model.scores, c.width, c.head, len(model.layers)]
    arrays = [u, x.from_index(torch.arange(x.levels))]
    for layer in model.layers:
        vertical, link, horizontal = layer.vertical, layer.link, layer.horizontal
        numbers += [horizontal.padding[1], vertical.kernel_size[0]]
        told = vertical.bias if given is None else vertical.bias + layer.of(given)[..., 0, 0]
        arrays += [vertical.weight.permute(2, 3, 1, 0), told.expand(n, -1), link.weight[..., 0, 0].t(), link.bias]
        arrays += [horizontal.kernel[:, :, 0].permute(2, 1, 0), pointwise(layer.out)]
    play("gated", numbers, [*arrays, pointwise(model.head), pointwise(model.out)], level, how)
    return level


def pointwise(conv: Any) -> Float[Tensor, "1+inputs outputs"]:
    """The matrix of a masked 1 x 1 convolution, its bias first."""
    return torch.cat((conv.bias[None], conv.kernel[:, :, 0, 0].t()))
