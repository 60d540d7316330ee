"""Masked convolution: each pixel sees the pixels before it in raster order, and each color the colors before it.

van den Oord, Kalchbrenner and Kavukcuoglu, 2016, Section 3.4. https://arxiv.org/abs/1601.06759
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import check_multiple

Mask = Literal["A", "B"]
"""What a color sees of its own pixel: "A", the colors before it; "B", itself as well."""


def check_colors(field: str, value: int, colors: int, parts: int = 1) -> None:
    """Raises UsageError unless so many feature maps come in `parts` equal parts for each color (channel) of x."""
    each = f", {parts} equal parts each" if parts > 1 else ""
    check_multiple(field, value, parts * colors, f"the {colors} channels of x{each}")


def shared_out(**fields: tuple[int, int]) -> Callable[[Any], dict[str, int]]:
    """`Preset.fits` of numbers of feature maps, each with its parts a color: raised to what the channels of x divide.

    >>> shared_out(width=(64, 2))(Images(3, 32, 32))
    {'width': 66}
    """
    return lambda x: {name: -(-n // (parts * x.channels)) * parts * x.channels for name, (n, parts) in fields.items()}


def sees_own_pixel(outputs: int, inputs: int, mask: Mask, colors: int) -> Float[Tensor, "outputs inputs"]:
    """1 where a feature may see one of its own pixel, 0 elsewhere; features come in `colors` equal parts."""
    seen = torch.ones(colors, colors).tril(-1 if mask == "A" else 0)
    return seen.repeat_interleave(outputs // colors, 0).repeat_interleave(inputs // colors, 1)


class MaskedConv2d(nn.Conv2d):
    """A square convolution of odd size, zero-padded, that looks up and to the left only.

    Feature maps come in `colors` equal parts in the order of the colors (red, green, blue): a part of the output sees
    all of every earlier pixel, and of its own pixel the parts that `mask` allows.

    The weight holds the kernel's upper rows only, [outputs, inputs, size // 2 + 1, size]: all others would be masked.

    Raises ValueError if inputs or outputs are not a multiple of `colors`, or if `size` is even.
    """

    mask: Tensor
    bias: nn.Parameter

    def __init__(self, inputs: int, outputs: int, size: int, mask: Mask, *, colors: int = 1) -> None:
        if size % 2 == 0 or inputs % colors or outputs % colors:
            raise ValueError(
                f"MaskedConv2d({inputs}, {outputs}, {size}): {colors} colors must divide both, size is odd"
            )
        self.kind, self.colors, self.reach = mask, colors, size // 2
        super().__init__(inputs, outputs, (size // 2 + 1, size), padding=size // 2)
        seen = torch.ones(self.weight.shape)
        seen[:, :, -1, self.reach + 1 :] = 0
        seen[:, :, -1, self.reach] = sees_own_pixel(outputs, inputs, mask, colors)
        self.register_buffer("mask", seen, persistent=False)

    @property
    def kernel(self) -> Float[Tensor, "outputs inputs rows columns"]:
        """The weight with what must not be seen set to zero."""
        return self.weight * self.mask

    def forward(self, input: Float[Tensor, "b inputs h w"]) -> Float[Tensor, "b outputs h w"]:
        return F.conv2d(below(input, self.reach), self.kernel, self.bias, padding=(0, self.reach))


def below(x: Float[Tensor, "b c h w"], rows: int, cut: int = 0) -> Float[Tensor, "b c h2 w"]:
    """x below so many rows of zeros, and without its last rows, for a convolution that looks upward.

    A convolution that pads all sides, and is cut off below, would spare the copy; but of a kernel that has fewer rows
    than columns, the gradient takes a CPU three times as long then in bf16, and a tenth longer in fp32.
    """
    return F.pad(x, (0, 0, rows, -cut)) if rows or cut else x
