"""A model of pictures given pictures, on a picture of any size: in tiles, so that memory does not grow with it.

A fully convolutional model (`AnySize`) sees each tile with a margin of its receptive field around it, which is cut
off afterwards: the tiles are the whole picture's own values, and there is no seam to hide. Where the receptive field
is larger than a margin may be, and for models of one size, tiles overlap and fade into each other.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import AnySize, Generative, Picture, UsageError

log = logging.getLogger(__name__)

TELL = 10.0
"""Seconds between two words on how far a large picture is."""
TILE = 192
"""Pixels of the condition to a side of a tile, margins not counted, if nothing is said; four times as many as a margin
has, where that is more."""
MOST_MARGIN = 96
"""Of the condition's pixels, around a tile. A receptive field beyond it is faded, not followed."""

Piece = tuple[int, int, Float[Tensor, "channels height width"]]
"""Top and left in x, and its values there."""
Part = tuple[int, int, int, int]
"""Top, left, bottom and right of a part of the condition."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A condition of any size, of which a part at a time is made: none of it is there as a whole."""

    height: int
    width: int
    part: Callable[[Part], Float[Tensor, "1 c h w"]]
    """Its values, in [-1, 1], within these bounds."""
    wanted: Callable[[Part], bool] = lambda part: True
    """Whether x is of interest there; tiles without such a place are left out."""

    @classmethod
    def of(cls, grid: Float[Tensor, "1 c h w"]) -> "Parts":
        """One that is there."""
        return cls(grid.shape[-2], grid.shape[-1], lambda p: grid[..., p[0] : p[2], p[1] : p[3]])

    def seen(self, part: Part) -> Float[Tensor, "1 c h w"]:
        """Its values where a part may go beyond its lower and right ends, which are mirrored."""
        top, left, bottom, right = part
        down, over = max(0, bottom - self.height), max(0, right - self.width)
        first, start = (
            max(0, min(at, end - more - 1)) if more else at
            for at, end, more in ((top, self.height, down), (left, self.width, over))
        )
        found = self.part((first, start, min(bottom, self.height), min(right, self.width)))
        return reflect(found, down, over)[..., top - first :, left - start :]

    def asks(self, part: Part) -> bool:
        """Whether a part that may go beyond its ends is of interest."""
        top, left, bottom, right = part
        inside = min(bottom, self.height), min(right, self.width)
        return top < inside[0] and left < inside[1] and self.wanted((top, left, *inside))


def ratio_of(model: Generative[Any]) -> int:
    """How many pixels of x lie along one pixel of the condition."""
    x, given = model.config.x, model.config.given
    return int(x.height // given.height)


def pieces(
    model: Generative[Any], grid: Float[Tensor, "1 c h w"] | Parts, *, seed: int, tile: int | None = None
) -> Iterator[Piece]:
    """x of a whole picture, a piece at a time; the pieces do not overlap, and cover all that is wanted.

    Args:
        grid: the condition, in [-1, 1], of any size; or a way to make any part of it.
        seed: of every tile alike.
        tile: pixels of the condition to a side of a tile; models of one size have no choice.

    Raises UsageError for a tile that is too small.
    """
    parts = grid if isinstance(grid, Parts) else Parts.of(grid)
    height, width = parts.height, parts.width
    ratio = ratio_of(model)
    if isinstance(model, AnySize):
        step, margin = model.multiple, -(-min(model.reach, MOST_MARGIN) // model.multiple) * model.multiple
        side = -(-(tile or max(TILE, 4 * margin)) // step) * step
        if side < 1:
            raise UsageError(f"tile={tile}: a tile has 1 pixel or more")
        ends = (height + -height % step, width + -width % step)
        if model.reach <= MOST_MARGIN or max(height, width) <= side:
            yield from cut(exact(model, parts, ends, side, margin, seed), height * ratio, width * ratio)
            return
        size, overlap = (min(side + 2 * margin, ends[0]), min(side + 2 * margin, ends[1])), margin
    else:
        size = (model.config.given.height, model.config.given.width)
        overlap = min(size) // 4
        ends = (max(size[0], height), max(size[1], width))
    yield from cut(faded(model, parts, ends, size, overlap, ratio, seed), height * ratio, width * ratio)


def whole(
    model: Generative[Any], grid: Float[Tensor, "1 c h w"] | Parts, *, seed: int, tile: int | None = None
) -> Float[Tensor, "channels height width"]:
    """x of a whole picture, put together. Raises as `pieces`."""
    ratio = ratio_of(model)
    height, width = (grid.height, grid.width) if isinstance(grid, Parts) else grid.shape[-2:]
    out = torch.empty(model.config.x.channels, height * ratio, width * ratio)
    for top, left, x in pieces(model, grid, seed=seed, tile=tile):
        out[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    return out


def exact(
    model: AnySize[Any], parts: Parts, ends: tuple[int, int], side: int, margin: int, seed: int
) -> Iterator[Piece]:
    """Tiles with a margin all around that is cut off again; at the picture's border the model sees its border."""
    height, width = ends
    ratio = ratio_of(model)
    tops, lefts = range(0, height, side), range(0, width, side)
    one_more = patience(len(tops) * len(lefts))
    for top in tops:
        for left in lefts:
            one_more()
            bottom, right = min(top + side, height), min(left + side, width)
            if not parts.asks((top, left, bottom, right)):
                continue
            above, before = max(0, top - margin), max(0, left - margin)
            seen = parts.seen((above, before, min(height, bottom + margin), min(width, right + margin)))
            x = draw(model, seen, seed)
            y0, x0 = (top - above) * ratio, (left - before) * ratio
            yield top * ratio, left * ratio, x[:, y0 : y0 + (bottom - top) * ratio, x0 : x0 + (right - left) * ratio]


def faded(
    model: Generative[Any],
    parts: Parts,
    ends: tuple[int, int],
    size: tuple[int, int],
    overlap: int,
    ratio: int,
    seed: int,
) -> Iterator[Piece]:
    """Tiles of one size that overlap, weighed by a ramp: a row of tiles at a time, and no more of x is held."""
    (height, width), channels = ends, model.config.x.channels
    tops, lefts = starts(height, size[0], overlap), starts(width, size[1], overlap)
    ramp = hat(size[0] * ratio, overlap * ratio)[:, None] * hat(size[1] * ratio, overlap * ratio)
    held, done = (
        torch.zeros(channels + 1, size[0] * ratio, width * ratio),
        0,
    )  # of the rows from `done` on; the weight last
    one_more = patience(len(tops) * len(lefts))
    for i, top in enumerate(tops):
        for left in lefts:
            one_more()
            part = (top, left, top + size[0], left + size[1])
            if parts.asks(part):
                columns = slice(left * ratio, (left + size[1]) * ratio)
                held[:-1, :, columns] += draw(model, parts.seen(part), seed) * ramp
                held[-1, :, columns] += ramp
        rows = ((tops[i + 1] if i + 1 < len(tops) else height) - top) * ratio
        ready, held = held[:, :rows], torch.cat([held[:, rows:], torch.zeros(channels + 1, rows, width * ratio)], 1)
        yield done, 0, ready[:-1] / ready[-1].clamp(min=1e-9)  # without weight: where nothing is wanted
        done += rows


def patience(tiles: int) -> Callable[[], None]:
    """To be called before each tile: says now and then how far a large picture is."""
    began = told = time.monotonic()
    done = -1

    def one_more() -> None:
        nonlocal told, done
        done, now = done + 1, time.monotonic()
        if now - told > TELL and done:
            told = now
            left = round((now - began) / done * (tiles - done))
            log.info(
                "%d of %d tiles are done, %s left",
                done,
                tiles,
                f"{left // 60} min {left % 60} s" if left > 59 else f"{left} s",
            )

    return one_more


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles begin, evenly spaced from end to end, each sharing `overlap` or more with the next."""
    if length <= size:
        return [0]
    n = -(-(length - overlap) // (size - overlap))
    return [round(i * (length - size) / (n - 1)) for i in range(n)]


def hat(size: int, overlap: int) -> Float[Tensor, " size"]:
    """1 in the middle, falling towards both ends over the overlap, never to zero."""
    away = torch.arange(size, dtype=torch.float32) + 0.5
    return torch.minimum(away, size - away).clamp(max=max(overlap, 1))


def draw(model: Generative[Any], grid: Tensor, seed: int) -> Float[Tensor, "c h w"]:
    return model.sample(1, Picture(grid.to(model.device)), seed=seed)[0].float().cpu()


def reflect(grid: Tensor, down: int, right: int) -> Tensor:
    """More rows and columns at the end, mirrored; where a picture is too small for that, its edge repeated."""
    while down > 0 or right > 0:
        height, width = grid.shape[-2:]
        some = (min(down, height - 1), min(right, width - 1))
        if some == (0, 0):
            return F.pad(grid, (0, right, 0, down), mode="replicate")
        grid = F.pad(grid, (0, some[1], 0, some[0]), mode="reflect")
        down, right = down - some[0], right - some[1]
    return grid


def cut(found: Iterator[Piece], height: int, width: int) -> Iterator[Piece]:
    """The pieces without what lies beyond the picture."""
    for top, left, x in found:
        if top < height and left < width:
            yield top, left, x[:, : height - top, : width - left]
