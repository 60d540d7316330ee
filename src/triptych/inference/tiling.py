"""A model of pictures given pictures, on a picture of any size: in tiles, so that memory does not grow with it.

A fully convolutional model (`AnySize`) sees each tile with a margin of its receptive field around it, which is cut
off afterwards: the tiles are the whole picture's own values, and there is no seam to hide. Where the receptive field
is larger than a margin may be, and for models of one size, tiles overlap and fade into each other.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import AnySize, Generative, Picture, UsageError

TILE = 192
"""Pixels of the condition to a side of a tile, margins not counted, if nothing is said; four times as many as a margin
has, where that is more."""
MOST_MARGIN = 96
"""Of the condition's pixels, around a tile. A receptive field beyond it is faded, not followed."""

Piece = tuple[int, int, Float[Tensor, "channels height width"]]
"""Top and left in x, and its values there."""


def ratio_of(model: Generative[Any]) -> int:
    """How many pixels of x lie along one pixel of the condition."""
    x, given = model.config.x, model.config.given
    return int(x.height // given.height)


def pieces(
    model: Generative[Any], grid: Float[Tensor, "1 c h w"], *, seed: int, tile: int | None = None
) -> Iterator[Piece]:
    """x of a whole picture, a piece at a time; the pieces cover it and do not overlap.

    Args:
        grid: the condition, in [-1, 1], of any size.
        seed: of every tile alike.
        tile: pixels of the condition to a side of a tile; models of one size have no choice.

    Raises UsageError for a tile that is too small.
    """
    height, width = grid.shape[-2:]
    ratio = ratio_of(model)
    if isinstance(model, AnySize):
        step, margin = model.multiple, -(-min(model.reach, MOST_MARGIN) // model.multiple) * model.multiple
        side = -(-(tile or max(TILE, 4 * margin)) // step) * step
        if side < 1:
            raise UsageError(f"tile={tile}: a tile has 1 pixel or more")
        padded = reflect(grid, -height % step, -width % step)
        if model.reach <= MOST_MARGIN or max(height, width) <= side:
            yield from cut(exact(model, padded, side, margin, seed), height * ratio, width * ratio)
            return
        size, overlap = (min(side + 2 * margin, padded.shape[-2]), min(side + 2 * margin, padded.shape[-1])), margin
    else:
        size = (model.config.given.height, model.config.given.width)
        overlap = min(size) // 4
        padded = reflect(grid, max(0, size[0] - height), max(0, size[1] - width))
    yield from cut(faded(model, padded, size, overlap, ratio, seed), height * ratio, width * ratio)


def whole(
    model: Generative[Any], grid: Float[Tensor, "1 c h w"], *, seed: int, tile: int | None = None
) -> Float[Tensor, "channels height width"]:
    """x of a whole picture, put together. Raises as `pieces`."""
    ratio = ratio_of(model)
    out = torch.empty(model.config.x.channels, grid.shape[-2] * ratio, grid.shape[-1] * ratio)
    for top, left, x in pieces(model, grid, seed=seed, tile=tile):
        out[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    return out


def exact(model: AnySize[Any], grid: Tensor, side: int, margin: int, seed: int) -> Iterator[Piece]:
    """Tiles with a margin all around that is cut off again; at the picture's border the model sees its border."""
    height, width = grid.shape[-2:]
    ratio = ratio_of(model)
    for top in range(0, height, side):
        for left in range(0, width, side):
            bottom, right = min(top + side, height), min(left + side, width)
            above, before = max(0, top - margin), max(0, left - margin)
            seen = grid[..., above : min(height, bottom + margin), before : min(width, right + margin)]
            x = draw(model, seen, seed)
            y0, x0 = (top - above) * ratio, (left - before) * ratio
            yield top * ratio, left * ratio, x[:, y0 : y0 + (bottom - top) * ratio, x0 : x0 + (right - left) * ratio]


def faded(
    model: Generative[Any], grid: Tensor, size: tuple[int, int], overlap: int, ratio: int, seed: int
) -> Iterator[Piece]:
    """Tiles of one size that overlap, weighed by a ramp: a row of tiles at a time."""
    height, width = grid.shape[-2:]
    tops, lefts = starts(height, size[0], overlap), starts(width, size[1], overlap)
    ramp = hat(size[0] * ratio, overlap * ratio)[:, None] * hat(size[1] * ratio, overlap * ratio)
    total, weight = None, torch.zeros(height * ratio, width * ratio)
    done = 0
    for i, top in enumerate(tops):
        for left in lefts:
            x = draw(model, grid[..., top : top + size[0], left : left + size[1]], seed)
            total = torch.zeros(len(x), height * ratio, width * ratio) if total is None else total
            rows, columns = slice(top * ratio, (top + size[0]) * ratio), slice(left * ratio, (left + size[1]) * ratio)
            total[:, rows, columns] += x * ramp
            weight[rows, columns] += ramp
        ready = (tops[i + 1] if i + 1 < len(tops) else height) * ratio
        assert total is not None
        yield done, 0, total[:, done:ready] / weight[done:ready]
        done = ready


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
