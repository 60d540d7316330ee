"""Filling the holes of a picture of any size, a part at a time: what is held of it at once is its own bytes."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Generative, Picture
from triptych.inference import tiling
from triptych.media.photo import Photo
from triptych.tasks.holes import diffused, thickness

log = logging.getLogger(__name__)

STRIP = 256
"""Rows of a large picture that are worked on at a time."""


def filled(
    model: Generative[Any],
    photo: Photo,
    hole: Bool[Tensor, "h w"],
    region: tuple[int, int, int, int],
    seed: int,
    tile: int | None,
) -> Photo:
    """The picture with its hole filled, in a region of it (top, left, height, width); all else is as it came."""
    top, left, height, width = region
    part, size = hole[top : top + height, left : left + width], model.config.x.height
    times = -(-thickness(part) // max(1, size // 2))
    if times == 1:
        found = tiling.pieces(model, parts(model, photo, part, (top, left)), seed=seed, tile=tile)
    else:
        log.info(
            "%s: the hole is %d pixels thick; %s was trained on %d-pixel pictures and fills it %d times smaller",
            photo.name, thickness(part), model.name, size, times,
        )  # fmt: skip
        found = coarsely(model, photo, part, (top, left), times, seed, tile)
    pixels = photo.pixels.copy()
    for y, x, values in found:
        paste(photo, pixels, hole, values, (top + y, left + x))
    return replace(photo, pixels=pixels)


def masked(x: Float[Tensor, "n c h w"], hole: Bool[Tensor, "n 1 h w"]) -> Picture:
    """Pictures with their holes filled smoothly from the border, which a model is to better, and a channel that is 1 in
    the hole and -1 where it is known. What stands in the hole does not matter."""
    smooth = diffused(x.masked_fill(hole, 0.0), hole, rounds=60, finer=6)
    return Picture(torch.cat([smooth, hole.to(x.dtype) * 2 - 1], 1))


def strips(height: int, width: int, step: int = STRIP) -> list[tiling.Part]:
    """A picture, so many rows at a time."""
    return [(top, 0, min(top + step, height), width) for top in range(0, height, step)]


def parts(model: Generative[Any], photo: Photo, hole: Bool[Tensor, "h w"], at: tuple[int, int]) -> tiling.Parts:
    """The condition of a region of a picture, which begins at (top, left)."""
    x = model.config.x

    def read(part: tiling.Part) -> Float[Tensor, "1 c h w"]:
        top, left, bottom, right = part
        return photo.tensor(x.channels, (at[0] + top, at[1] + left, at[0] + bottom, at[1] + right))

    return smoothed(read, hole, x.height)


def smoothed(
    read: Callable[[tiling.Part], Float[Tensor, "1 c h w"]], hole: Bool[Tensor, "h w"], context: int
) -> tiling.Parts:
    """The condition of what is read, filled smoothly a part at a time, each with `context` pixels or more around it;
    wanted where there is a hole."""
    height, width = hole.shape
    grain = 1 << (context - 1).bit_length()  # where parts begin, so that coarse levels of the fill are everybody's

    def part(bounds: tiling.Part) -> Float[Tensor, "1 c h w"]:
        top, left, bottom, right = bounds
        above, before = (max(0, at // grain - 1) * grain for at in (top, left))
        below, beyond = (min(end, (-(-at // grain) + 1) * grain) for at, end in ((bottom, height), (right, width)))
        grid = masked(read((above, before, below, beyond)), hole[None, None, above:below, before:beyond]).grid
        return grid[..., top - above : bottom - above, left - before : right - before]

    return tiling.Parts(height, width, part, lambda p: bool(hole[p[0] : p[2], p[1] : p[3]].any()))


def coarsely(
    model: Generative[Any],
    photo: Photo,
    hole: Bool[Tensor, "h w"],
    at: tuple[int, int],
    times: int,
    seed: int,
    tile: int | None,
) -> Iterator[tiling.Piece]:
    """x of a region that begins at (top, left), made of a picture `times` smaller: of each square what is known of it
    is averaged; where nothing is, is hole."""
    (height, width), channels = hole.shape, model.config.x.channels
    pooled = partial(F.avg_pool2d, kernel_size=times, ceil_mode=True)
    rows, known = list[Tensor](), list[Tensor]()
    step = -(-STRIP // times) * times
    for top, _, bottom, _ in strips(height, width, step):
        weight = (~hole[None, None, top:bottom]).float()
        x = photo.tensor(channels, (at[0] + top, at[1], at[0] + bottom, at[1] + width))
        known.append(pooled(weight))
        rows.append(pooled(x * weight) / known[-1].clamp(min=1e-6))
    small, missing = torch.cat(rows, 2), torch.cat(known, 2)[0, 0] < 1e-6
    seen = smoothed(lambda p: small[..., p[0] : p[2], p[1] : p[3]], missing, model.config.x.height)
    made = small[0].clone()
    for down, right, values in tiling.pieces(model, seen, seed=seed, tile=tile):
        made[:, down : down + values.shape[1], right : right + values.shape[2]] = values
    edge = 2  # small pixels beside a strip that a bicubic filter looks at
    for top, _, bottom, _ in strips(height, width, step):
        if not bool(hole[top:bottom].any()):
            continue
        first, last = top // times, -(-bottom // times)
        above = max(0, first - edge)
        fine = F.interpolate(
            made[None, :, above : last + edge], scale_factor=times, mode="bicubic", align_corners=False
        )
        start = (first - above) * times
        yield top, 0, fine[0, :, start : start + bottom - top, :width]


def paste(
    photo: Photo, pixels: np.ndarray, hole: Bool[Tensor, "h w"], x: Float[Tensor, "c h w"], at: tuple[int, int]
) -> None:
    """Writes x, which begins at (top, left), into the pixels of a picture: where its hole is."""
    bounds = tuple(slice(start, start + length) for start, length in zip(at, x.shape[1:], strict=True))
    part = hole[bounds].numpy()
    pixels[bounds][part] = photo.levels(x)[part]
