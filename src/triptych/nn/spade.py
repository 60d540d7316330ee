"""Spatially adaptive normalization: what a map says at a place scales and shifts the features there.

Semantic Image Synthesis with Spatially-Adaptive Normalization. Park, Liu, Wang and Zhu, 2019.
https://arxiv.org/abs/1903.07291, Equation 1 and Appendix A
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu

from triptych.nn.equalized import PixelNorm
from triptych.nn.reach import reach
from triptych.nn.residual import DoublingConv, doubled

SLOPE = 0.2
"""Negative slope of LeakyReLU."""


class SPADE(nn.Module):
    """normalized(x) * (1 + gain(m)) + bias(m), m being features of the map at each place.

    Normalized, here, is every place by itself, by the root mean square of its channels (`PixelNorm`), where the paper
    normalizes every channel over places and pictures: what a place becomes does not depend on places far away, nor on
    the rest of a batch, and a colour that the whole picture has is not taken out of it.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.norm = PixelNorm()
        self.both = nn.Conv2d(features, 2 * channels, 3, padding=1)
        nn.init.normal_(self.both.weight, 0, 0.5 * (9 * features) ** -0.5)
        nn.init.zeros_(self.both.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "n c h w"], m: Float[Tensor, "n d h w"]) -> Float[Tensor, "n c h w"]:
        gain, bias = self.both(m).chunk(2, 1)
        return self.norm(x) * (1 + gain) + bias


class Block(nn.Module):
    """Two convolutions, each after a SPADE, beside a shortcut; both SPADEs read the same features of the map."""

    def __init__(self, cin: int, cout: int, given: int, features: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(given, features, 3, padding=1), nn.ReLU())
        self.spade1, self.spade2 = SPADE(cin, features), SPADE(cout, features)
        self.conv1, self.conv2 = nn.Conv2d(cin, cout, 3, padding=1), nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"], given: Float[Tensor, "n d h w"]) -> Float[Tensor, "n c2 h w"]:
        m = self.features(given)
        h = self.conv1(leaky_relu(self.spade1(x, m), SLOPE))
        return self.conv2(leaky_relu(self.spade2(h, m), SLOPE)) + self.skip(x)


class SpadeGenerator(nn.Module):
    """A map -> a picture of its size, in [-1, 1]: from a small version of the map, doubled so many times.

    width: channels at the full size; twice as many at each halving, eight times as many at the most.
    features: channels of what is read from the map for a block.
    """

    def __init__(self, given: int, channels: int, width: int, halvings: int, features: int) -> None:
        super().__init__()
        wide = [width * min(2**i, 8) for i in range(halvings, -1, -1)]
        self.halvings = halvings
        self.first = nn.Conv2d(given, wide[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(a, b, given, features) for a, b in pairwise([wide[0], *wide]))
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    @property
    def reach(self) -> int:
        """How far a pixel sees on the map: the longest way leads through the smallest version of it."""
        same, twice = nn.Conv2d(1, 1, 3, padding=1), DoublingConv(1, 1, 3, padding=1)
        read = [*(nn.AvgPool2d(2) for _ in range(self.halvings)), same, same]  # of the map, by a block
        levels = [same, same] + [twice, same] * self.halvings
        return reach([*read, *levels, same], 2**self.halvings)

    def forward(self, given: Float[Tensor, "n d h w"]) -> Float[Tensor, "n c h w"]:
        sizes = [given]
        for _ in range(self.halvings):
            sizes.append(avg_pool2d(sizes[-1], 2))
        h = self.first(sizes[-1])
        for k, block in enumerate(self.blocks):
            h = block(doubled(h) if k else h, sizes.pop())
        return torch.tanh(self.last(leaky_relu(h, SLOPE)))
