"""Residual networks without normalization, for GANs whose discriminator takes a gradient penalty.

As in NR-GAN (Kaneko and Harada, 2020. https://arxiv.org/abs/1911.11776, Appendix), after Mescheder et al., 2018
(https://arxiv.org/abs/1801.04406): branches are scaled down, so that deep stacks train without normalization.
"""

import math
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import Images
from triptych.nn.residual import DoublingConv, HalvingConv
from triptych.nn.strided import halvings

SCALE = 0.1
"""Weight of a residual branch, beside its shortcut."""


def initialized(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Glorot's uniform weights, and no bias."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """shortcut(x) + SCALE branch(x)"""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        return self.shortcut(x) + SCALE * self.branch(x)


def conv(inputs: int, outputs: int, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Module:
    """A 3 x 3 convolution of a branch: its gain makes up for the ReLU before it."""
    return initialized(kind(inputs, outputs, 3, 1, 1), math.sqrt(2))


def point(inputs: int, outputs: int) -> nn.Module:
    """A 1 x 1 convolution of a short cut; before doubling, and after taking means, where it costs a quarter."""
    return initialized(nn.Conv2d(inputs, outputs, 1))


def up(inputs: int, outputs: int) -> Block:
    """Residual block that doubles height and width."""
    branch = nn.Sequential(nn.ReLU(), conv(inputs, outputs, DoublingConv), nn.ReLU(), conv(outputs, outputs))
    return Block(branch, nn.Sequential(point(inputs, outputs), nn.Upsample(scale_factor=2, mode="nearest")))


def same(width: int) -> Block:
    """Residual block that keeps height and width."""
    return Block(nn.Sequential(nn.ReLU(), conv(width, width), nn.ReLU(), conv(width, width)), nn.Identity())


def down(inputs: int, outputs: int) -> Block:
    """Residual block that halves height and width, by average pooling."""
    branch = nn.Sequential(nn.ReLU(), conv(inputs, inputs), nn.ReLU(), conv(inputs, outputs, HalvingConv))
    return Block(branch, nn.Sequential(nn.AvgPool2d(2), point(inputs, outputs)))


def first(channels: int, outputs: int) -> Block:
    """Residual block that halves an image: no ReLU before the first convolution, which sees pixels."""
    branch = nn.Sequential(conv(channels, outputs), nn.ReLU(), conv(outputs, outputs, HalvingConv))
    return Block(branch, nn.Sequential(nn.AvgPool2d(2), point(channels, outputs)))


def generator(inputs: int, x: Images, width: int, widening: int = 1) -> nn.Sequential:
    """[n, inputs] -> images in [-1, 1]: a small grid, then as many blocks as it takes doublings.

    width: channels at the image's size; `widening` times as many at each halving.
    """
    k = halvings(x.height, x.width)
    h, w = x.height >> k, x.width >> k
    wide = [width * widening**i for i in reversed(range(k + 1))]
    return nn.Sequential(
        initialized(nn.Linear(inputs, wide[0] * h * w)),
        nn.Unflatten(1, (wide[0], h, w)),
        *(up(cin, cout) for cin, cout in pairwise(wide)),
        nn.ReLU(),
        initialized(nn.Conv2d(width, x.channels, 3, 1, 1)),
        nn.Tanh(),
    )


def discriminator(x: Images, width: int, widening: int = 1) -> nn.Sequential:
    """Images -> one logit each: two halvings (one, if more would leave fewer than 4 pixels), two blocks more, the mean
    over the plane. No item depends on the others.
    """
    wide = [width * widening**i for i in range(1, 1 + min(2, halvings(x.height, x.width)))]
    return nn.Sequential(
        first(x.channels, wide[0]),
        *(down(cin, cout) for cin, cout in pairwise(wide)),
        same(wide[-1]),
        same(wide[-1]),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(1),
        initialized(nn.Linear(wide[-1], 1)),
        nn.Flatten(0),
    )
