"""Vectors on a grid as codes of several scales, each of what the coarser ones leave over.

Tian, Jiang, Yuan, Peng and Wang, 2024. Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale
Prediction, Algorithms 1 and 2. https://arxiv.org/abs/2404.02905
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import Noise
from triptych.nn.codebook import Codebook, StraightThrough

CONVOLUTIONS = 4
"""How many there are, at most: neighboring scales share one where there are more scales."""


def sizes(grid: tuple[int, int], scales: Sequence[int]) -> list[tuple[int, int]]:
    """Rows and columns of each scale, of which `scales` says the longer side."""
    longer = max(grid)
    return [(-(-side * grid[0] // longer), -(-side * grid[1] // longer)) for side in scales]


def doublings(grid: tuple[int, int]) -> tuple[int, ...]:
    """1, 2, 4, ... up to the grid's longer side."""
    longer = max(grid)
    return (*(2**k for k in range(longer.bit_length()) if 2**k < longer), longer)


class Resized(nn.Module):
    """Grids of one size brought to another: by the mean of areas where it is smaller, by bicubic interpolation where it
    is larger. Two matrix products, whose gradient is the same each time on any device."""

    rows: Tensor
    columns: Tensor

    def __init__(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        super().__init__()
        for name, a, b in zip(("rows", "columns"), before, after, strict=True):
            self.register_buffer(name, resizing(a, b), persistent=False)

    def forward(self, f: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width a b"]:
        return self.rows @ f @ self.columns.mT


def resizing(before: int, after: int) -> Float[Tensor, "after before"]:
    """The matrix that brings rows of one length to another."""
    one = torch.eye(before)[:, None]
    if before == after:
        return one[:, 0]
    if after < before:
        return F.adaptive_avg_pool1d(one, after)[:, 0].mT.contiguous()
    wide = F.interpolate(one[:, :, None], size=(1, after), mode="bicubic", align_corners=False)
    return wide[:, 0, 0].mT.contiguous()


class Mixing(nn.Module):
    """phi: half of what goes in, and half of a 3 x 3 convolution of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        return torch.lerp(h, self.layer(h), 0.5)


class ScaleCodebook(Codebook):
    """A codebook of one scale, whose codes are out of use below a share of their average use.

    A coarse scale has few vectors a batch: any code of it would seem to be out of use by their number.
    """

    def least(self) -> Tensor:
        return self.revive * self.seen_counts.sum() / len(self.codes)

    def use(self) -> dict[str, Tensor]:
        """The share of the codes that are in use, by the moving averages, and their perplexity."""
        p = self.counts / self.counts.sum()
        alive = (self.counts > self.least()).to(p.dtype).mean()
        return {"used": alive, "perplexity": torch.special.entr(p).sum().exp()}


class Scales(nn.Module):
    """Quantizes grids of vectors scale by scale, from one code for all to one a place.

        r_k = down_k(f - f_{k-1}),   z_k = nearest codes,   f_k = f_{k-1} + phi_k(up_k(e_{z_k}))

    The paper has one codebook for all scales. Here each has its own, of `codes` vectors: what a coarse scale has to say
    and what the finest one has to mend are of another size, and in one book the coarse ones keep a few codes. Codes
    follow their vectors as moving averages; those of each scale that fall out of use are placed anew.
    """

    def __init__(
        self, grids: Sequence[tuple[int, int]], codes: int, width: int, decay: float = 0.99, revive: float = 0.1
    ) -> None:
        super().__init__()
        self.grids, self.width, last = list(grids), width, grids[-1]
        self.lengths = [rows * columns for rows, columns in grids]
        self.books = nn.ModuleList([ScaleCodebook(codes, width, decay, revive) for _ in grids])
        self.down = nn.ModuleList([Resized(last, grid) for grid in grids])
        self.up = nn.ModuleList([Resized(grid, last) for grid in grids])
        self.mixing = nn.ModuleList([Mixing(width) for _ in range(min(CONVOLUTIONS, len(grids)))])

    @property
    def each(self) -> list[ScaleCodebook]:
        """The codebooks, coarse to fine."""
        return cast(list[ScaleCodebook], list(self.books))

    def parts(self, code: Int[Tensor, "*n places"]) -> list[Tensor]:
        """The codes of each scale."""
        return list(torch.split(code, self.lengths, -1))

    def add(self, k: int, code: Int[Tensor, "n places"]) -> Float[Tensor, "n width h w"]:
        """What the codes of scale k add to the grid."""
        e = self.each[k](code).mT.unflatten(2, self.grids[k])
        mix = self.mixing[k * len(self.mixing) // len(self.grids)]
        out: Tensor = mix(self.up[k](e))
        return out

    def rest(self, k: int, f: Float[Tensor, "n width h w"]) -> Float[Tensor, "n places width"]:
        """A grid at the size of scale k, place by place."""
        out: Tensor = self.down[k](f).flatten(2).mT
        return out

    def encode(self, f: Float[Tensor, "n width h w"]) -> Int[Tensor, "n places"]:
        """The codes of a grid, coarse to fine."""
        total, code = torch.zeros_like(f), list[Tensor]()
        for k in range(len(self.grids)):
            code.append(self.each[k].nearest(self.rest(k, f - total)))
            total = total + self.add(k, code[-1])
        return torch.cat(code, 1)

    def decode(self, code: Int[Tensor, "n places"]) -> Float[Tensor, "n width h w"]:
        """The grid that codes of all scales make together."""
        return torch.stack([self.add(k, part) for k, part in enumerate(self.parts(code))]).sum(0)

    def before(self, code: Int[Tensor, "n places"]) -> list[Float[Tensor, "n places width"]]:
        """For each scale but the first, the sum of the coarser ones at its size: what its codes are predicted from."""
        added = [self.add(k, part) for k, part in enumerate(self.parts(code)[:-1])]
        return [self.rest(k, torch.stack(added[:k]).sum(0)) for k in range(1, len(self.grids))]

    def learn(
        self, f: Float[Tensor, "n width h w"], noise: Noise
    ) -> tuple[Float[Tensor, "n width h w"], Float[Tensor, " n"], Float[Tensor, " n"]]:
        """The sum of all scales, with the gradient going on to f, and two costs, means over scales of |f - f_k|^2: one
        for f, which it commits to the codes, and one for phi. Observes the batch, for `follow`.

        Spends noise.uniform(places) for each scale.
        """
        total, toward, fitted = torch.zeros_like(f), list[Tensor](), list[Tensor]()
        still = f.detach()
        for k, book in enumerate(self.each):
            rest = self.rest(k, still - total.detach())
            code = book.nearest(rest)
            book.observe(rest, code, noise)
            total = total + self.add(k, code)
            toward.append((f - total.detach()).square().flatten(1).sum(1))
            fitted.append((still - total).square().flatten(1).sum(1))
        through: Tensor = StraightThrough.apply(f, total.detach())  # type: ignore[no-untyped-call]
        return through, torch.stack(toward).mean(0), torch.stack(fitted).mean(0)

    @torch.no_grad()
    def follow(self) -> dict[str, Tensor]:
        """Moves the codes of all scales, and says how many of each are in use, and their perplexity."""
        said = dict[str, Tensor]()
        for book, (rows, columns) in zip(self.each, self.grids, strict=True):
            said |= {f"{name}_{rows}x{columns}": value for name, value in book.follow().items()}
        return said
