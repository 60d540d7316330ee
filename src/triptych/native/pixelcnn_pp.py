"""What the sampler of PixelCNN++ in C++ (pixelcnn_pp.cpp) takes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def draw_pixelcnn_pp(
    model: Any, u: Float[Tensor, "n c h w"], level: Int[Tensor, "n c h w"], given: Any, how: Sampling
) -> Int[Tensor, "n c h w"]:
    """Fills in the levels of a `PixelCNNPP` that are -1, each by its uniform number."""
    c, x, net, n = model.config, model.config.x, model.active, len(u)
    numbers = [n, x.height, x.width, x.channels, x.levels, c.width, c.components, c.blocks, c.halvings]
    edges = (2 * torch.arange(x.levels - 1, dtype=u.dtype) + 1) / (x.levels - 1) - 1
    arrays = [u, x.from_index(torch.arange(x.levels)), edges, *conv(net.first_u)]
    arrays += [*conv(net.above), net.left.weight[..., 0, 0].t(), *scale(net.scale, n, given)]
    arrays += [net.out.weight[..., 0, 0], net.out.bias]
    play("pixelcnn_pp", numbers, arrays, level, how)
    return level


def conv(layer: Any) -> list[Tensor]:
    """Weights [rows, columns, inputs, outputs], and the bias."""
    return [layer.weight.permute(2, 3, 1, 0), layer.bias]


def scale(of: Any, n: int, given: Any) -> list[Tensor]:
    """The arrays of a resolution, and of those inside it."""

    def block(of: Any) -> list[Tensor]:
        weight, bias = conv(of.conv2)
        bias = bias + of.of(given)[:, :, 0, 0] if given is not None else bias.expand(n, -1)
        return [*conv(of.conv1), weight, bias, *(told.weight[..., 0, 0] for told in of.told)]

    arrays = list[Tensor]()
    for us, vs in ((of.down_u, of.down_v), (of.up_u, of.up_v)):
        for u, v in zip(us, vs, strict=True):
            arrays += [*block(u), *block(v)]
    if of.inner is None:
        return arrays
    arrays += [*conv(of.shrink_u), *conv(of.shrink_v)]
    for row in of.grow_u.weight.permute(2, 3, 0, 1):  # an odd column sees its own pixel's, and the next one's
        arrays += [row[1], torch.cat((row[2], row[0]))]
    arrays += [of.grow_u.bias, of.grow_v.weight.permute(0, 2, 3, 1), of.grow_v.bias.repeat(4)]
    return arrays + scale(of.inner, n, given)
