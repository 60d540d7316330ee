"""What Progressive GANs are made of: layers with an equalized learning rate, and two normalizations.

Progressive Growing of GANs for Improved Quality, Stability, and Variation.
Karras, Aila, Laine and Lehtinen, 2018. https://arxiv.org/abs/1710.10196, Sections 3 and 4
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from triptych.core import full
from triptych.nn import ranks

HE = 2**0.5
"""The gain of layers that a ReLU follows (He et al., 2015)."""


class EqualizedLinear(nn.Linear):
    """A linear layer whose weights are N(0, 1) and are scaled by gain / sqrt(inputs) each time (Section 4.1).

    An optimizer like Adam moves every weight by about as much, whatever its gradient: here all have one scale.
    """

    def __init__(self, inputs: int, outputs: int, gain: float = HE) -> None:
        super().__init__(inputs, outputs)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.scale = gain * inputs**-0.5

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        return linear(x, self.weight * self.scale, self.bias)


class EqualizedConv2d(nn.Conv2d):
    """A convolution of stride 1, padded to keep the size where the kernel is odd; weights as in `EqualizedLinear`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = HE) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        nn.init.normal_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self.scale = gain * (inputs * kernel**2) ** -0.5

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        return conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class PixelNorm(nn.Module):
    """Each pixel's features, or a vector, divided by their root mean square (Section 4.2)."""

    def forward(self, x: Float[Tensor, "n c ..."]) -> Float[Tensor, "n c ..."]:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class MinibatchDeviation(nn.Module):
    """Adds a plane that says how much the examples around differ (Section 3): collapsed samples give themselves away.

    Of groups of `size` examples, the deviation of every feature at every place, averaged over features and places. A
    batch that `size` does not divide is split into groups of the greatest number below it that does. In training,
    groups are of the batch of all ranks together.
    """

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c+1 h w"]:
        every = ranks.whole(x) if self.training else x
        n, _, h, w = every.shape
        size = next(k for k in range(min(self.size, n), 0, -1) if n % k == 0)
        groups = full(every).view(size, n // size, *x.shape[1:])  # item i is in group i mod (n / size)
        deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3)).to(x.dtype).repeat(size)
        own = ranks.rank() * len(x) if self.training else 0
        plane = deviation[own : own + len(x), None, None, None].expand(-1, 1, h, w)
        return torch.cat([x, plane], 1)
