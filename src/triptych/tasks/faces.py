"""What ageing and the editing of attributes share: how a face is brought to a model, and planes behind a picture."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Generative, Images, Picture, UsageError
from triptych.data.columns import columns_of
from triptych.media.photo import Photo
from triptych.nn.domains import planes_of
from triptych.tasks.task import Question

EYES = ("lefteye_x", "lefteye_y", "righteye_x", "righteye_y")
"""Columns that say where eyes are, in pixels from the upper left, as CelebA's landmarks do: first the one that is
further left in the picture."""
SMALLEST = 16
"""Pixels of a side, without which there is no face to be seen."""


def beside(x: Float[Tensor, "n c h w"], shares: Float[Tensor, "n domains"]) -> Picture:
    """Pictures with a plane for each domain behind them."""
    return Picture(torch.cat([x, planes_of(shares, x)], 1))


def face(photo: Photo, x: Images, eyes: str = "", where: tuple[float, ...] = ()) -> Float[Tensor, "1 c h w"]:
    """A picture brought to the size of a model's: turned, scaled and moved so that eyes lie where those of the training
    pictures do on average, if it is said where they are; else its middle. There is no detector of faces.

    eyes   "x,y,x,y" in pixels of the picture: of the eye further left in it, and of the other one.
    where  the same in the model's pictures, (x, y, x, y).

    Raises UsageError for a picture that is too small, or eyes that cannot be.
    """
    if min(photo.height, photo.width) < SMALLEST:
        raise UsageError(
            f"{photo.name} has {photo.height} x {photo.width} pixels (height x width): a face takes {SMALLEST} to a "
            "side or more"
        )
    grid = photo.tensor(x.channels)
    if eyes:
        return aligned(grid, x, eyes_of(eyes, photo), where or usual(x))
    scale = max(x.height / photo.height, x.width / photo.width)
    size = (max(x.height, round(photo.height * scale)), max(x.width, round(photo.width * scale)))
    grid = F.interpolate(grid, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    top, left = (size[0] - x.height) // 2, (size[1] - x.width) // 2
    return grid[..., top : top + x.height, left : left + x.width]


def usual(x: Images) -> tuple[float, ...]:
    """Where eyes are in a face that fills a picture."""
    return 0.36 * x.width, 0.44 * x.height, 0.64 * x.width, 0.44 * x.height


def eyes_of(text: str, photo: Photo) -> tuple[float, ...]:
    """Raises UsageError for what are no two places in the picture."""
    try:
        places = tuple(float(word) for word in text.split(","))
    except ValueError:
        places = ()
    if len(places) != 4:
        raise UsageError(f"eyes={text}: four numbers, x,y of the eye on the left of the picture and x,y of the other")
    inside = all(0 <= v <= most for v, most in zip(places, (photo.width, photo.height) * 2, strict=True))
    if not inside or math.dist(places[:2], places[2:]) < 2:
        raise UsageError(f"eyes={text}: two places in a picture of {photo.width} x {photo.height} (width x height)")
    return places if places[0] <= places[2] else places[2:] + places[:2]


def aligned(
    grid: Float[Tensor, "1 c h w"], x: Images, eyes: tuple[float, ...], where: tuple[float, ...]
) -> Float[Tensor, "1 c h2 w2"]:
    """The picture by that turn, scale and move which bring two places to two others; what comes in repeats the edge."""
    (ax, ay, bx, by), (px, py, qx, qy) = eyes, where
    wide, to = complex(bx - ax, by - ay), complex(qx - px, qy - py)
    scale = wide / to  # a pixel of the model's, as a step in the picture
    rows, columns = torch.meshgrid(torch.arange(x.height), torch.arange(x.width), indexing="ij")
    dx, dy = columns + 0.5 - px, rows + 0.5 - py
    far_x = ax + scale.real * dx - scale.imag * dy
    far_y = ay + scale.imag * dx + scale.real * dy
    shrink = max(1, math.floor(abs(scale)))
    small = F.avg_pool2d(grid, shrink) if shrink > 1 else grid  # so that nothing is skipped
    height, width = (side * shrink for side in small.shape[-2:])
    at = torch.stack([2 * far_x / width - 1, 2 * far_y / height - 1], -1)[None].to(grid.dtype)
    return F.grid_sample(small, at, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)


def eyes_in(data: Any) -> tuple[float, ...]:
    """Where eyes are on average in the pictures of a source that says it; () where it does not."""
    columns = columns_of(data)
    pack = getattr(data, "pack", None)
    if pack is None or not all(name in columns and name in pack.values for name in EYES):
        return ()
    found = tuple(round(float(pack.values[name].mean()), 2) for name in EYES)
    inside = all(0 <= v <= most for v, most in zip(found, (pack.meta.x.width, pack.meta.x.height) * 2, strict=True))
    return found if inside else ()  # else they are of pictures before they were brought to another size


def drawn(model: Generative[Any], question: Question, seed: int) -> Photo:
    """What the model makes of the conditions, side by side."""
    assert isinstance(question.given, Picture)
    given = question.given.to(model.device)
    x = torch.cat([model.sample(1, given[k : k + 1], seed=seed) for k in range(len(given))])
    return Photo.of(torch.cat(list(x), 2))
