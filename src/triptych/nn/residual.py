"""Residual networks for images of any size that can be halved: a conditional generator, and a projection discriminator.

cGANs with Projection Discriminator. Miyato and Koyama, 2018. https://arxiv.org/abs/1802.05637
Self-Attention Generative Adversarial Networks. Zhang, Goodfellow, Metaxas and Odena, 2019.
https://arxiv.org/abs/1805.08318

Both take a layer of attention for the feature maps of one size. What the papers compute is computed for less: doubling
before a convolution, or pooling after one, becomes part of its kernel, and either may be moved past a convolution of
1 x 1.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, pad
from torch.nn.utils.parametrizations import spectral_norm

from triptych.core import Images, UsageError
from triptych.nn.strided import halvings

Normalization = Callable[[int], nn.Module]
"""A layer for that many channels, of features and a code."""
Attention = Callable[[int, int, int], nn.Module]
"""A layer for features of so many channels, height and width."""


def spectral(layer: nn.Module) -> None:
    """Divides a layer's weights by their largest singular value; for `apply`, once they are initialized.

    One step of power iteration whenever they are used in training mode (Miyato and others, 2018, Algorithm 1).
    https://arxiv.org/abs/1802.05957
    """
    if isinstance(layer, nn.Linear | nn.Conv2d):
        spectral_norm(layer)


def check_attention(x: Images, at: int | None) -> None:
    """Raises UsageError unless both networks have feature maps of this height."""
    heights = [x.height >> i for i in range(1, halvings(x.height, x.width))]
    if at is not None and at not in heights:
        those = f"both networks have some of height {', '.join(map(str, heights))}" if heights else "there are none"
        raise UsageError(
            f"attention={at}: no feature maps of this height for images of {x.height} x {x.width}; {those}; null is "
            "for no attention"
        )


def attending(x: Images, most: int = 16) -> dict[str, int | None]:
    """`Preset.fits`: attention where the feature maps have up to so many rows."""
    heights = [x.height >> i for i in range(1, halvings(x.height, x.width))]
    return {"attention": next((height for height in heights if height <= most), None)}


def doubled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Nearest-neighbor upsampling: every pixel as a square of 2 x 2."""
    return interpolate(x, scale_factor=2.0, mode="nearest")


def spread(weight: Float[Tensor, "cout cin k k"]) -> Float[Tensor, "cout cin k1 k1"]:
    """A kernel over the squares of 2 x 2 of a picture, as a kernel over its pixels: each weight on four of them."""
    w = pad(weight, (1, 1, 1, 1))
    return w[..., 1:, 1:] + w[..., 1:, :-1] + w[..., :-1, 1:] + w[..., :-1, :-1]


class DoublingConv(nn.Conv2d):
    """A convolution of `doubled(x)`, in 4 / 9 of the multiplications, and without writing that down."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n cout h2 w2"]:
        weight = spread(self.weight).flip(2, 3).transpose(0, 1)
        return conv_transpose2d(x, weight, self.bias, stride=2, padding=1)


class HalvingConv(nn.Conv2d):
    """A convolution, then the mean of each 2 x 2 pixels, in 4 / 9 of the multiplications."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n cout h2 w2"]:
        return conv2d(x, spread(self.weight) / 4, self.bias, stride=2, padding=1)


class GeneratorBlock(nn.Module):
    """Doubles the sides; normalization, told the code, comes before either convolution."""

    def __init__(self, cin: int, cout: int, normalization: Normalization) -> None:
        super().__init__()
        self.norm1, self.norm2 = normalization(cin), normalization(cout)
        self.conv1, self.conv2 = DoublingConv(cin, cout, 3, padding=1), nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1)

    def forward(self, x: Float[Tensor, "n c h w"], code: Tensor) -> Float[Tensor, "n cout h2 w2"]:
        h = self.conv1(self.norm1(x, code).relu())
        return self.conv2(self.norm2(h, code).relu()) + doubled(self.skip(x))


class Generator(nn.Module):
    """A vector, and a code for each block -> images: projected to a small grid, then doubled `halvings` times.

    width: channels at the image's size; twice as many at each halving, but no more at the last.
    """

    def __init__(
        self, x: Images, inputs: int, width: int, normalization: Normalization, attention: Attention, at: int | None
    ) -> None:
        super().__init__()
        k = halvings(x.height, x.width)
        wide = [width << min(i, k - 1) for i in reversed(range(k + 1))]
        h, w = x.height >> k, x.width >> k
        self.first = nn.Sequential(nn.Linear(inputs, wide[0] * h * w), nn.Unflatten(1, (wide[0], h, w)))
        self.blocks = nn.ModuleList(GeneratorBlock(cin, cout, normalization) for cin, cout in pairwise(wide))
        self.last = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, x.channels, 3, padding=1), nn.Tanh()
        )
        channels = {x.height >> i: width << i for i in range(k)}
        self.at = at
        self.attention = nn.Identity() if at is None else attention(channels[at], at, at * x.width // x.height)

    def forward(self, z: Float[Tensor, "n inputs"], codes: Sequence[Tensor]) -> Float[Tensor, "n c h w"]:
        h = self.first(z)
        for block, code in zip(self.blocks, codes, strict=True):
            h = block(h, code)
            if h.shape[2] == self.at:
                h = self.attention(h)
        return self.last(h)


class Residual(nn.Module):
    """main(x) + skip(x)"""

    def __init__(self, main: nn.Sequential, skip: nn.Module) -> None:
        super().__init__()
        self.main, self.skip = main, skip

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n cout h2 w2"]:
        return self.main(x) + self.skip(x)


def first_block(cin: int, cout: int) -> Residual:
    """Halves an image's sides: no ReLU before the image, which would lose what is below 0."""
    main = nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(), HalvingConv(cout, cout, 3, padding=1))
    return Residual(main, nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(cin, cout, 1)))


def down_block(cin: int, cout: int) -> Residual:
    """Halves the sides."""
    block = first_block(cin, cout)
    return Residual(nn.Sequential(nn.ReLU(), *block.main), block.skip)


def last_block(channels: int) -> Residual:
    first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return Residual(nn.Sequential(nn.ReLU(), first, nn.ReLU(), second), nn.Identity())


class ProjectionDiscriminator(nn.Module):
    """(x, y) -> a score each: v . h + e_y . h, h being the sum of x's features over all places (Equation 3 of Miyato
    and Koyama).

    width: channels at half the image's size; twice as many at each halving.
    """

    def __init__(self, x: Images, classes: int, width: int, attention: Attention, at: int | None) -> None:
        super().__init__()
        k = halvings(x.height, x.width)
        wide = [width << i for i in range(k)]
        blocks = [first_block(x.channels, width), *(down_block(cin, cout) for cin, cout in pairwise(wide))]
        self.blocks = nn.ModuleList(blocks)
        self.end = nn.Sequential(last_block(wide[-1]), nn.ReLU())
        self.linear, self.labels = nn.Linear(wide[-1], 1), nn.Linear(wide[-1], classes, bias=False)
        channels = {x.height >> (i + 1): width << i for i in range(k)}
        self.at = at
        self.attention = nn.Identity() if at is None else attention(channels[at], at, at * x.width // x.height)

    def forward(self, x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        for block in self.blocks:
            x = block(x)
            if x.shape[2] == self.at:
                x = self.attention(x)
        h = self.end(x).sum((2, 3))
        return self.linear(h)[:, 0] + self.labels(h).gather(1, y[:, None])[:, 0]
