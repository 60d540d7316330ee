"""A masked convolution at a single pixel, for whose caller it is to remember what was read: for programs of one step.

Where the model is at hand, `nn.incremental` is the faster way.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from triptych.nn.masked import MaskedConv2d

Read = Float[Tensor, "n inputs rows columns"]
"""What a convolution has read, zeros where nothing was yet: the image with `reach` rows above it and as many columns
at either side."""


def nothing(conv: MaskedConv2d, n: int, height: int, width: int) -> Read:
    """What is remembered before the first pixel."""
    return conv.weight.new_zeros(n, conv.in_channels, height + conv.reach, width + 2 * conv.reach)


def read(
    conv: MaskedConv2d,
    memory: Read,
    pixel: Int[Tensor, " 1"],
    features: Float[Tensor, "n inputs"],
    color: Int[Tensor, " 1"] | None = None,
) -> Read:
    """The memory with the features of a pixel (in raster order) in it; with `color`, of that one alone."""
    rows, columns = memory.shape[2:]
    width = columns - 2 * conv.reach
    place = (pixel // width + conv.reach) * columns + pixel % width + conv.reach
    here = (torch.arange(rows * columns, device=memory.device) == place).view(rows, columns)
    if color is not None:
        here = here & (torch.arange(conv.in_channels, device=memory.device) == color)[:, None, None]
    return torch.where(here, features[:, :, None, None], memory)


def around(conv: MaskedConv2d, memory: Read, pixel: Int[Tensor, " 1"]) -> Float[Tensor, "n outputs"]:
    """The convolution at that pixel."""
    width = memory.shape[3] - 2 * conv.reach
    rows = pixel // width + torch.arange(conv.reach + 1, device=memory.device)
    columns = pixel % width + torch.arange(2 * conv.reach + 1, device=memory.device)
    window = memory.index_select(2, rows).index_select(3, columns)
    return F.linear(window.flatten(1), conv.kernel.flatten(1), conv.bias)


def pointwise(conv: MaskedConv2d, features: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
    """A convolution of a single pixel at that."""
    return F.linear(features, conv.kernel[..., 0, 0], conv.bias)
