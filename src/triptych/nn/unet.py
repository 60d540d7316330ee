"""U-Net: to a fraction of the size and back, with what was seen at each size on the way there.

U-Net: Convolutional Networks for Biomedical Image Segmentation. Ronneberger, Fischer and Brox, 2015.
https://arxiv.org/abs/1505.04597
Image-to-Image Translation with Conditional Adversarial Networks. Isola, Zhu, Zhou and Efros, 2017.
https://arxiv.org/abs/1611.07004, Section 3.2.1 and Appendix 6.1.1
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from triptych.nn.residual import DoublingConv

SLOPE = 0.2
"""Negative slope of LeakyReLU."""
Finish = Callable[[nn.Conv2d], nn.Module]
"""What is made of a convolution: itself with spectral norm, or followed by a normalization."""


class UNet(nn.Module):
    """Pictures -> pictures, or logits, of the same size, which is a multiple of 2^halvings.

    As the papers have it, but that sizes are doubled by repeating pixels before a convolution (a transposed one leaves
    a chequered pattern), and that the last layer sees the picture itself, at its full size.

    width: channels at half the size; twice as many at each halving, eight times as many at the most.
    finish: for all convolutions but the first and the last.
    """

    def __init__(self, cin: int, cout: int, width: int, halvings: int, finish: Finish) -> None:
        super().__init__()
        wide = [width * min(2**i, 8) for i in range(halvings)]
        down: list[nn.Module] = [nn.Conv2d(cin, width, 4, 2, 1)]
        self.down = nn.ModuleList(down + [finish(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(wide)])
        back = [wide[-1], *(2 * w for w in wide[-2::-1])]
        self.up = nn.ModuleList(
            finish(DoublingConv(a, b, 3, padding=1)) for a, b in zip(back, [*wide[-2::-1], width], strict=True)
        )
        self.last = nn.Conv2d(width + cin, cout, 3, padding=1)

    def forward(self, x: Float[Tensor, "n cin h w"]) -> Float[Tensor, "n cout h w"]:
        there = [x]
        for i, layer in enumerate(self.down):
            there.append(layer(leaky_relu(there[-1], SLOPE) if i else x))
        h = there.pop()
        for layer in self.up:
            h = torch.cat([layer(leaky_relu(h, SLOPE)), there.pop()], 1)
        return self.last(h)
