"""Images, or solids, as a short sequence of codes, and back: an auto-encoder around finite scalar quantization.

Mentzer, Minnen, Agustsson and Tschannen, 2023. Finite Scalar Quantization: VQ-VAE Made Simple.
https://arxiv.org/abs/2309.15505

The networks are those of Esser, Rombach and Ommer (2020, Taming Transformers; https://arxiv.org/abs/2012.09841) in the
small: what quantization without a codebook takes from the vectors, layers on both sides have to make up for.
"""

from collections.abc import Sequence
from math import gcd, prod

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from triptych.core import UNKNOWN, Images, Voxels
from triptych.nn.fsq import FSQ
from triptych.nn.spatial import CONVOLUTIONS, TRANSPOSED, sides


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(width, 8) if width >= 32 else 1, width)


class Residual(nn.Module):
    """Twice normalized, SiLU, 3 x 3 (x 3); added to what goes in. It begins as the identity."""

    def __init__(self, width: int, dims: int = 2) -> None:
        super().__init__()
        conv = CONVOLUTIONS[dims]
        last = conv(width, width, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            norm(width), nn.SiLU(), conv(width, width, 3, padding=1), norm(width), nn.SiLU(), last
        )

    def forward(self, h: Float[Tensor, "n width *sides"]) -> Float[Tensor, "n width *sides"]:
        out: Tensor = h + self.layers(h)
        return out


def encoder(inputs: int, outputs: int, halvings: int, width: int, blocks: int, dims: int = 2) -> nn.Sequential:
    """Images -> `outputs` numbers at each place of a grid: each side halved `halvings` times, with a residual block at
    each size on the way and `blocks` at the grid. Of solids, with three `dims`."""
    conv, down = CONVOLUTIONS[dims], list[nn.Module]()
    for k in range(halvings):
        down += [conv(width if k else inputs, width, 4, 2, 1), Residual(width, dims)]
    down += [*(Residual(width, dims) for _ in range(blocks)), norm(width), nn.SiLU(), conv(width, outputs, 1)]
    return nn.Sequential(*down)


def decoder(inputs: int, outputs: int, halvings: int, width: int, blocks: int, dims: int = 2) -> nn.Sequential:
    """The encoder's mirror image: numbers at each place of a grid -> `outputs` numbers a pixel, or a voxel."""
    conv, transposed = CONVOLUTIONS[dims], TRANSPOSED[dims]
    up: list[nn.Module] = [conv(inputs, width, 3, padding=1), *(Residual(width, dims) for _ in range(blocks))]
    for k in range(halvings):
        last = k == halvings - 1
        up += [Residual(width, dims), norm(width), nn.SiLU()]
        up += [transposed(width, outputs if last else width, 4, 2, 1)]
    return nn.Sequential(*up)


class Tokenizer(nn.Module):
    """Images, or solids -> codes, the rows of a grid one after the other; codes -> `outputs` numbers a pixel.

    Each side is halved `halvings` times on the way to the grid; `blocks` residual blocks stand at the grid, and one at
    each size between. The decoder mirrors the encoder.
    """

    def __init__(
        self, x: Images | Voxels, outputs: int, levels: Sequence[int], halvings: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.grid = tuple(side >> halvings for side in sides(x))
        self.fsq, dims = FSQ(levels), len(self.grid)
        self.encoder = encoder(x.channels, len(levels), halvings, width, blocks, dims)
        self.decoder = decoder(len(levels), outputs, halvings, width, blocks, dims)

    @property
    def places(self) -> int:
        """How many codes there are of one x."""
        return prod(self.grid)

    def vectors(self, x: Float[Tensor, "n c *sides"]) -> Float[Tensor, "n places numbers"]:
        """What the encoder says of each place, before it is quantized."""
        out: Tensor = self.encoder(x).flatten(2).mT
        return out

    def encode(self, x: Float[Tensor, "n c *sides"]) -> Int[Tensor, "n places"]:
        """The images' codes."""
        return self.fsq.nearest(self.vectors(x))

    def known(self, x: Float[Tensor, "n c *sides"], known: Bool[Tensor, "n *sides"]) -> Int[Tensor, "n places"]:
        """The codes of images of which only some pixels are known, for `Sampling(known=...)`: -1 for those of places
        where any pixel is not. (The encoder sees further than its place: what is not known is to be filled in x.)"""
        parts = [
            part for side, cells in zip(known.shape[1:], self.grid, strict=True) for part in (cells, side // cells)
        ]
        square = known.view(len(x), *parts)
        whole = square.all(-1)
        for axis in range(len(self.grid) - 1, 0, -1):
            whole = whole.all(2 * axis)
        return self.encode(x).masked_fill(~whole.flatten(1), UNKNOWN)

    def learn(self, x: Float[Tensor, "n c *sides"]) -> Float[Tensor, "n outputs *sides"]:
        """x through its codes, with the gradient going on to the encoder; counts the codes (`FSQ.follow`)."""
        z = self.vectors(x)
        self.fsq.observe(self.fsq.nearest(z))
        return self.paint(self.fsq.pass_through(z))

    def decode(self, code: Int[Tensor, "*n places"]) -> Float[Tensor, "..."]:
        """What the decoder makes of codes, [*n, outputs, *sides]."""
        return self.paint(self.fsq(code))

    def paint(self, e: Float[Tensor, "*n places numbers"]) -> Float[Tensor, "..."]:
        flat = e.flatten(0, -3)
        y: Tensor = self.decoder(flat.mT.reshape(flat.shape[0], self.fsq.width, *self.grid))
        return y.view(*e.shape[:-2], *y.shape[1:])
