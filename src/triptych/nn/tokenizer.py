"""Images as a short sequence of codes, and back: a convolutional auto-encoder around finite scalar quantization.

Mentzer, Minnen, Agustsson and Tschannen, 2023. Finite Scalar Quantization: VQ-VAE Made Simple.
https://arxiv.org/abs/2309.15505

The networks are those of Esser, Rombach and Ommer (2020, Taming Transformers; https://arxiv.org/abs/2012.09841) in the
small: what quantization without a codebook takes from the vectors, layers on both sides have to make up for.
"""

from collections.abc import Sequence
from math import gcd

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from triptych.core import UNKNOWN, Images
from triptych.nn.fsq import FSQ


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(width, 8) if width >= 32 else 1, width)


class Residual(nn.Module):
    """Twice normalized, SiLU, 3 x 3; added to what goes in. It begins as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            norm(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), norm(width), nn.SiLU(), last
        )

    def forward(self, h: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        out: Tensor = h + self.layers(h)
        return out


def encoder(inputs: int, outputs: int, halvings: int, width: int, blocks: int) -> nn.Sequential:
    """Images -> `outputs` numbers at each place of a grid: each side halved `halvings` times, with a residual block at
    each size on the way and `blocks` at the grid."""
    down: list[nn.Module] = []
    for k in range(halvings):
        down += [nn.Conv2d(width if k else inputs, width, 4, 2, 1), Residual(width)]
    down += [*(Residual(width) for _ in range(blocks)), norm(width), nn.SiLU(), nn.Conv2d(width, outputs, 1)]
    return nn.Sequential(*down)


def decoder(inputs: int, outputs: int, halvings: int, width: int, blocks: int) -> nn.Sequential:
    """The encoder's mirror image: numbers at each place of a grid -> `outputs` numbers a pixel."""
    up: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1), *(Residual(width) for _ in range(blocks))]
    for k in range(halvings):
        last = k == halvings - 1
        up += [Residual(width), norm(width), nn.SiLU()]
        up += [nn.ConvTranspose2d(width, outputs if last else width, 4, 2, 1)]
    return nn.Sequential(*up)


class Tokenizer(nn.Module):
    """Images -> codes, the rows of a grid one after the other; codes -> `outputs` numbers a pixel.

    Each side is halved `halvings` times on the way to the grid; `blocks` residual blocks stand at the grid, and one at
    each size between. The decoder mirrors the encoder.
    """

    def __init__(self, x: Images, outputs: int, levels: Sequence[int], halvings: int, width: int, blocks: int) -> None:
        super().__init__()
        self.grid = x.height >> halvings, x.width >> halvings
        self.fsq = FSQ(levels)
        self.encoder = encoder(x.channels, len(levels), halvings, width, blocks)
        self.decoder = decoder(len(levels), outputs, halvings, width, blocks)

    def vectors(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n places numbers"]:
        """What the encoder says of each place, before it is quantized."""
        out: Tensor = self.encoder(x).flatten(2).mT
        return out

    def encode(self, x: Float[Tensor, "n c h w"]) -> Int[Tensor, "n places"]:
        """The images' codes."""
        return self.fsq.nearest(self.vectors(x))

    def known(self, x: Float[Tensor, "n c h w"], known: Bool[Tensor, "n h w"]) -> Int[Tensor, "n places"]:
        """The codes of images of which only some pixels are known, for `Sampling(known=...)`: -1 for those of places
        where any pixel is not. (The encoder sees further than its place: what is not known is to be filled in x.)"""
        (rows, columns), (height, width) = self.grid, known.shape[1:]
        square = known.view(len(x), rows, height // rows, columns, width // columns)
        return self.encode(x).masked_fill(~square.all(4).all(2).flatten(1), UNKNOWN)

    def learn(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n outputs h w"]:
        """x through its codes, with the gradient going on to the encoder; counts the codes (`FSQ.follow`)."""
        z = self.vectors(x)
        self.fsq.observe(self.fsq.nearest(z))
        return self.paint(self.fsq.pass_through(z))

    def decode(self, code: Int[Tensor, "*n places"]) -> Float[Tensor, "*n outputs h w"]:
        """What the decoder makes of codes."""
        return self.paint(self.fsq(code))

    def paint(self, e: Float[Tensor, "*n places numbers"]) -> Float[Tensor, "*n outputs h w"]:
        flat = e.flatten(0, -3)
        y: Tensor = self.decoder(flat.mT.reshape(len(flat), self.fsq.width, *self.grid))
        return y.view(*e.shape[:-2], *y.shape[1:])
