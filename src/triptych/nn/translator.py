"""A residual network from picture to picture, of any size.

Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks. Zhu, Park, Isola and Efros, 2017.
https://arxiv.org/abs/1703.10593, Section 7.2; the network is that of Johnson, Alahi and Fei-Fei, 2016
(https://arxiv.org/abs/1603.08155).

Where this departs from the paper: its instance normalization takes away how bright and how colorful a picture is as a
whole (and makes every pixel depend on all others). Here each place's features are divided by their root mean square.
Its tanh draws the picture anew; here the network may say what is to be added to the picture, at first nothing. And
sides are halved and doubled without aliasing or checkerboards: by means of 2 x 2, and by doubling before a convolution.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import Images, check_sides
from triptych.nn.equalized import PixelNorm
from triptych.nn.residual import DoublingConv, HalvingConv

SIDE = 7
"""Kernel size of the first and the last convolution."""


def layer(conv: nn.Conv2d, slope: float) -> nn.Sequential:
    return nn.Sequential(conv, PixelNorm(), nn.LeakyReLU(slope) if slope else nn.ReLU())


class Block(nn.Module):
    """x + branch(x)"""

    def __init__(self, width: int, slope: float) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.branch = nn.Sequential(layer(first, slope), second)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.branch(x)


class Translator(nn.Module):
    """A picture, and whatever planes lie behind it -> the picture with what is to be added to it, or one drawn anew.

    inputs: planes in all, the first `channels` of which are the picture. width: channels at the picture's size, twice
    as many at each halving. blocks: at the least size. slope: that of LeakyReLU below 0; 0 is ReLU. What a network
    adds to a picture can be pressed down until its last ReLUs are all 0, from where nothing leads back. anew: as in
    the paper, for losses that cost nothing where nothing is changed, and so keep it that way.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        width: int,
        blocks: int,
        halvings: int,
        slope: float = 0.0,
        anew: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.inputs, self.anew = channels, inputs, anew
        self.wide = wide = [width << i for i in range(halvings + 1)]
        self.first = layer(nn.Conv2d(inputs, width, SIDE, padding=SIDE // 2), slope)
        self.down = nn.ModuleList(layer(HalvingConv(a, b, 3, padding=1), slope) for a, b in pairwise(wide))
        self.blocks = nn.ModuleList(Block(wide[-1], slope) for _ in range(blocks))
        self.up = nn.ModuleList(layer(DoublingConv(b, a, 3, padding=1), slope) for a, b in reversed([*pairwise(wide)]))
        self.last = nn.Conv2d(width, channels, SIDE, padding=SIDE // 2)
        for weight in () if anew else self.last.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n c h w"]:
        h = self.first(x)
        for part in (*self.down, *self.blocks, *self.up):
            h = part(h)
        out: Tensor = self.last(h)
        return out if self.anew else x[:, : self.channels] + out

    def features(self, x: Float[Tensor, "n inputs h w"]) -> list[Float[Tensor, "n c h w"]]:
        """What the first half of the network sees: the picture's pixels, then after each halving, after the first block
        and after the one in the middle."""
        h = self.first(x)
        found = [x]
        for down in self.down:
            h = down(h)
            found.append(h)
        for i, block in enumerate(self.blocks[: self.middle]):
            h = block(h)
            if i in (0, self.middle - 1):
                found.append(h)
        return found

    @property
    def middle(self) -> int:
        """How many of the blocks belong to the first half."""
        return len(self.blocks) // 2 + len(self.blocks) % 2

    @property
    def seen(self) -> list[int]:
        """How many channels each of `features` has."""
        return [self.inputs, *self.wide[1:], *([self.wide[-1]] * min(2, self.middle))]


def check_translator(x: Images, given: Images, halvings: int) -> None:
    """Raises ValueError unless pictures of `given` can be turned into those of `x`."""
    if x.shape != given.shape:
        raise ValueError(
            f"x is {x.channels} x {x.height} x {x.width} and the picture given {given.channels} x {given.height} x "
            f"{given.width}: what is translated has the same channels and the same size"
        )
    check_sides(x, 2**halvings, f"halvings={halvings}")
