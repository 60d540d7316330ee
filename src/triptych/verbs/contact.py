"""A contact sheet of a data set: a row an item, a column a column; of pictures alone, many of them."""

import colorsys
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from triptych.core import ItemNoise, Space, UsageError
from triptych.data.columns import Column
from triptych.media import medium_of
from triptych.media.images import on_white
from triptych.media.pictures import cells, noted, rows
from triptych.verbs import loudness
from triptych.verbs.look import show

SIDE = 128
"""Pixels that pictures are enlarged to, or made smaller, for the sheet."""
GREY = (128, 128, 128)
ROWS, ACROSS, ALONE = 8, 6, 24
"""Items, a row each; items side by side where each is but a picture, and how many of these."""


def contact_sheet(data: Any, n: int | None = None) -> Image.Image:
    """n items, evenly spaced, with all their columns: pictures side by side and, beneath x, the class and the caption;
    of items that are a picture each, several in a row. Label maps are drawn in their own colors, and grey where they
    are of no class.

    Of what is no picture, x alone as `show` draws it; of sound, above it how loud all recordings are (`loudness`).
    Raises UsageError for texts.
    """
    spaces = data.columns
    alone = sum(space.planar for space in spaces.values()) == 1
    n = min(n or (ALONE if alone and spaces["x"].planar else ROWS), len(data))
    if not spaces["x"].planar:
        drawn = show(data, n=n)
        if not isinstance(drawn, Image.Image):
            raise UsageError(f"{data.name} holds {spaces['x']}: a sheet is for what can be drawn")
        return rows([[loudness.chart(data)], [drawn]], pad=12) if spaces["x"].kind == "audio" else drawn
    numbers = torch.arange(n) * len(data) // n
    items = data.gather(numbers, ItemNoise(0, numbers.tolist()))
    maps = data.maps
    drawn_columns = {
        name: [scaled(one) for one in pictures(items[name], space, maps.get(name))]
        for name, space in spaces.items()
        if space.planar
    }
    words = {name: told(data, name, space, items[name]) for name, space in spaces.items() if not space.planar}
    sheet = []
    for i in range(n):
        said = [texts[i] for texts in words.values() if texts[i]]
        below = {name: [*([] if alone else [name]), *(said if name == "x" else [])] for name in drawn_columns}
        sheet.append([noted(column[i], below[name]) for name, column in drawn_columns.items()])
    if alone:
        row = [one for found in sheet for one in found]
        sheet = [row[k : k + ACROSS] for k in range(0, n, ACROSS)]
    return rows(sheet)


def pictures(values: Tensor, space: Space, column: Column | None) -> tuple[Image.Image, ...]:
    if column is None or column.reading.kind != "index":
        return cells(values)
    colors = np.array([*colors_of(column), GREY], np.uint8)
    none = (values < 0).all(1)
    index = torch.where(none, len(colors) - 1, values.argmax(1))
    return tuple(Image.fromarray(one) for one in colors[index.cpu().numpy()])


def colors_of(column: Column) -> list[tuple[int, int, int]]:
    """A color for each class: that of the files' palette, or else hues far apart."""
    said, classes = list(column.colors[: column.space.channels]), column.space.channels
    for k in range(len(said), classes):
        red, green, blue = colorsys.hsv_to_rgb(k * 0.618 % 1, 0.7, 0.9)
        said.append((round(255 * red), round(255 * green), round(255 * blue)))
    return said


def scaled(picture: Image.Image) -> Image.Image:
    """Enlarged by a whole number, pixels as squares; or made smaller."""
    side = max(picture.size)
    if side > SIDE:
        small = (max(1, picture.width * SIDE // side), max(1, picture.height * SIDE // side))
        return on_white(picture).resize(small, Image.Resampling.BOX)
    times = SIDE // side
    return on_white(picture).resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def told(data: Any, name: str, space: Space, values: Tensor) -> list[str]:
    """A column in words, a line each: a class by its name, a caption by its words, numbers with what they are of."""
    if name == "caption":
        return [str(data.tokenizer.decode(row)) for row in values.tolist()]
    if name == "label":
        return [str(data.classes[k]) if k >= 0 else "" for k in values.tolist()]
    texts = medium_of(space).text(space, values) or [""] * len(values)
    return [f"{name}: {text}" for text in texts]
