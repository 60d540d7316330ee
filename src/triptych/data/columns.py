"""Columns of a pack beside x: pictures that belong to the same rows, each with the way its files are read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from triptych.core import Data, Images, Noise, Space, config
from triptych.media.maps import ClassTable, Color, table_of
from triptych.media.reading import Reading


@config
class Column:
    """What meta.json says of a column."""

    space: Images
    """As it is served. A label map has a channel for each class, 1 where the pixel is of that class and else -1.
    Where pictures keep their own sizes, the least height and the least width of them."""
    reading: Reading = Reading()
    colors: tuple[Color, ...] = ()
    """What a label map's classes are shown in, if its files say so."""

    @property
    def table(self) -> ClassTable | None:
        """What the classes of a label map are; None of pictures."""
        if self.reading.kind != "index":
            return None
        return self.reading.table or table_of(self.space.channels, self.colors)

    @property
    def channels(self) -> int:
        """Of what is stored."""
        return 1 if self.reading.kind == "index" else self.space.channels

    def served(self, levels: Tensor) -> Tensor:
        """Stored uint8 [n, channels, height, width] as elements of the space, float32 in [-1, 1]."""
        if self.reading.kind == "index":
            classes = torch.arange(self.space.channels, device=levels.device)
            return (levels == classes[:, None, None]).float().mul_(2).sub_(1)
        return self.space.from_index(levels)


@dataclass(frozen=True, eq=False)
class Stored:
    """A column's pictures: uint8 [n, channels, height, width]; or, with the `sizes` (channels, height, width) of each,
    one picture after the other."""

    column: Column
    pixels: np.ndarray
    sizes: np.ndarray | None = None

    @cached_property
    def ends(self) -> np.ndarray:
        assert self.sizes is not None
        return np.cumsum(self.sizes.prod(1))

    def picture(self, i: int) -> np.ndarray:
        """Picture i, uint8 [channels, height, width], a view."""
        if self.sizes is None:
            return self.pixels[i]
        shape = tuple(self.sizes[i].tolist())
        return self.pixels[self.ends[i] - int(np.prod(shape)) : self.ends[i]].reshape(shape)


class Gathered(Mapping[str, Tensor]):
    """Columns of some rows, each made when it is first asked for: a task that looks at x alone pays for x alone."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self.makers, self.made = dict(makers), dict[str, Tensor]()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.made:
            self.made[name] = self.makers[name]()
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


def scale_of(x: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, int] | None:
    """The sides of a picture as a share of those of another, both (height, width): (1, 4) for a quarter, (2, 1) for
    twice as large. None where that is no whole number of times."""
    if x[0] * other[1] != x[1] * other[0]:
        return None
    if x[0] % other[0] == 0:
        return 1, x[0] // other[0]
    return (other[0] // x[0], 1) if other[0] % x[0] == 0 else None


def in_proportion(x: np.ndarray, other: np.ndarray) -> bool:
    """Whether all pictures of a column are the same whole number of times larger or smaller than x."""
    if not len(x):
        return True
    scale = scale_of(tuple(x[0, 1:].tolist()), tuple(other[0, 1:].tolist()))
    return scale is not None and bool((x[:, 1:] * scale[0] == other[:, 1:] * scale[1]).all())


def label_map(space: Images, classes: int) -> Images:
    """The space of label maps of so many classes, as large as the stored ones."""
    return replace(space, channels=classes, levels=2)


def columns_of(data: Data) -> dict[str, Space]:
    """The columns that a data set serves: x, and of those in packs also label, caption and further pictures."""
    return dict(getattr(data, "columns", None) or {"x": data.x})


def readings_of(data: Data) -> dict[str, Reading]:
    """How the files of each column of pictures were read, where that is known."""
    return dict(getattr(data, "readings", None) or {})


def gathered(data: Data, rows: Tensor, noise: Noise) -> Mapping[str, Tensor]:
    """The values of these columns for some rows."""
    gather: Callable[[Tensor, Noise], Mapping[str, Tensor]] | None = getattr(data, "gather", None)
    return gather(rows, noise) if gather else {"x": data.fetch(rows, noise).x}
