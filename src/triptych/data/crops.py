"""Crops of pictures that keep their own sizes: what models are trained on that see a part of a photograph at a time."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import lcm
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core import Batch, DataError, Images, ItemNoise, Noise, Space, UsageError, planar, sent
from triptych.data.beside import check_condition, makers, spaces
from triptych.data.columns import Column, Gathered, in_proportion, scale_of
from triptych.data.files import Problem, sha256_of
from triptych.data.notebook import html_of_data
from triptych.data.packs import Pack
from triptych.data.splits import choose
from triptych.data.text import Tokenizer
from triptych.media.reading import Reading

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Crops:
    """`size` x `size` pixels at a time, of pictures of any size. Satisfies `triptych.core.Data`.

    A picture has as many crops as fit into it side by side. For training each is taken anywhere in its picture, anew
    whenever it is served; else they are the tiles of a grid in the picture's middle, always the same.
    """

    pack: Pack
    split: str
    pictures: np.ndarray
    """Those of the pack that are served, int64 [k]: none that is smaller than a crop."""
    size: int
    opened: Mapping[str, Any] | None = None
    condition: str | None = None
    """The column of whole pictures that was asked for as the condition of their crops."""

    @classmethod
    def of(cls, pack: Pack, split: str, size: int, opened: Mapping[str, Any] | None = None) -> "Crops":
        """The pictures of a split ("all" for all of them). Raises DataError if none is as large as a crop."""
        if size < 1:
            raise UsageError(f"crop={size}: it is the side of a crop in pixels, 1 or more")
        chosen, start, stop = choose(split, pack.meta.splits, pack.meta.name)
        numbers = range(start, stop)
        large = [i for i in numbers if min(pack.picture(i).shape[1:]) >= size]
        if not large:
            raise DataError(f'no picture of {pack.meta.name} in split "{chosen}" is as large as crop={size}: lower it')
        if small := len(numbers) - len(large):
            left = f"{small} of {len(numbers)} pictures are smaller than crop={size} and left out"
            log.warning('%s, split "%s": %s', pack.meta.name, chosen, left)
        served = cls(pack, chosen, np.array(large), size, opened)
        for name, (times, part) in served.scales.items():
            if (size * times) % part:
                raise UsageError(f"crop={size}: {name} is {part} times smaller than x; a multiple of {part} would do")
        return served

    @cached_property
    def scales(self) -> dict[str, tuple[int, int]]:
        """The sides of each further column's pictures as a share of x's: (1, 4) for a quarter. Raises DataError."""
        out, sizes = dict[str, tuple[int, int]](), self.pack.sizes
        for name, stored in self.pack.columns.items():
            assert sizes is not None and stored.sizes is not None
            scale = scale_of(tuple(sizes[0, 1:].tolist()), tuple(stored.sizes[0, 1:].tolist()))
            if scale is None or not in_proportion(sizes, stored.sizes):
                raise DataError(f"{self.pack.meta.name}: pictures of {name} are not in proportion to those of x")
            out[name] = scale
        return out

    @cached_property
    def step(self) -> int:
        """Crops start at multiples of this, so that each starts at a whole pixel in every column."""
        return lcm(*(part for _, part in self.scales.values()))

    @cached_property
    def tiles(self) -> np.ndarray:
        """Rows and columns of crops in each picture, int64 [k, 2]."""
        sides = [self.pack.picture(i).shape[1:] for i in self.pictures]
        return np.array(sides, np.int64) // self.size

    @cached_property
    def ends(self) -> np.ndarray:
        return self.tiles.prod(1).cumsum()

    @property
    def name(self) -> str:
        """ "photographs-crops-128:train"."""
        return f"{self.pack.meta.name}-crops-{self.size}:{self.split}"

    @property
    def fingerprint(self) -> str:
        served = [self.condition] if self.condition else []
        return sha256_of(self.pack.fingerprint, "crops", str(self.size), str(self.pictures.tolist()), *served)

    @property
    def x(self) -> Images:
        x = self.pack.meta.x
        assert planar(x)
        return Images(x.channels, self.size, self.size, levels=x.levels)

    @property
    def given(self) -> Space | None:
        """What was asked for; unasked a crop has no label or caption: what is in the picture need not be in it."""
        return spaces(self.pack).get(self.condition) if self.condition else None

    def serving(self, condition: str) -> "Crops":
        """The same with this column as the condition. Raises UsageError if there is none of this name."""
        check_condition(self.pack, condition)
        return replace(self, condition=condition)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __repr__(self) -> str:
        return f"<data {self.name}: {len(self):,} of {self.x}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html_of_data(self, self.classes)

    @property
    def columns(self) -> Mapping[str, Space]:
        """x and further pictures, of the same place and in proportion to it; the class, the caption and the values of
        the picture that a crop is of; see `gather`."""
        out: dict[str, Space] = {"x": self.x, **spaces(self.pack)}
        for name, (times, part) in self.scales.items():
            side = self.size * times // part
            out[name] = replace(self.pack.columns[name].column.space, height=side, width=side)
        return out

    @property
    def maps(self) -> Mapping[str, Column]:
        """The further columns of pictures, and how each was read."""
        return self.pack.meta.columns

    def fetch(self, rows: Int[Tensor, " batch"], noise: Noise) -> Batch[Any]:
        """The crops numbered `rows`, float32 [n, channels, size, size] in [-1, 1], on the device of `noise`."""
        columns = self.gather(rows, noise)
        given = self.given.condition(columns[self.condition]) if self.given and self.condition else None
        return Batch(columns["x"], given, noise)

    def gather(self, rows: Int[Tensor, " batch"], noise: Noise) -> Gathered:
        """Every column of the crops numbered `rows`: pictures of the same places, float32 in [-1, 1]."""
        places = self.places(rows, noise)
        whole = torch.tensor([picture for picture, _, _ in places], dtype=torch.int64)
        found: dict[str, Callable[[], Tensor]] = {
            "x": lambda: self.x.from_index(sent(self.cut(places, None), noise.device)),
            **makers(self.pack, whole, noise.device),
        }
        for name, stored in self.pack.columns.items():
            found[name] = partial(
                lambda one, c: c.served(sent(self.cut(places, one), noise.device)), name, stored.column
            )
        return Gathered(found)

    def places(self, rows: Int[Tensor, " batch"], noise: Noise) -> list[tuple[int, int, int]]:
        """The picture, top and left of each crop."""
        if len(rows) and not (0 <= int(rows.min()) and int(rows.max()) < len(self)):
            raise IndexError(f"{self.name} has rows 0 to {len(self) - 1}; asked for {rows.min()} to {rows.max()}")
        anywhere = noise.uniform(2).cpu().double().numpy() if self.split == "train" else None
        return [self.place(row, None if anywhere is None else anywhere[i]) for i, row in enumerate(rows.tolist())]

    def place(self, row: int, at: np.ndarray | None) -> tuple[int, int, int]:
        """Of crop number `row`: its place of the grid, or that in its picture given by two numbers in [0, 1)."""
        k = int(self.ends.searchsorted(row, "right"))
        tile = row - int(self.ends[k - 1] if k else 0)
        picture, (down, across), size, step = int(self.pictures[k]), self.tiles[k].tolist(), self.size, self.step
        height, width = self.pack.picture(picture).shape[1:]
        if at is None:
            top = (height - down * size) // 2 // step * step + tile // across * size
            left = (width - across * size) // 2 // step * step + tile % across * size
        else:
            top, left = (
                step * int(u * ((side - size) // step + 1)) for u, side in zip(at, (height, width), strict=True)
            )
        return picture, top, left

    def cut(self, places: list[tuple[int, int, int]], column: str | None) -> Tensor:
        """What is stored at these places of a column (None: x), uint8 [n, channels, height, width]."""
        stored = self.pack if column is None else self.pack.columns[column]
        times, part = (1, 1) if column is None else self.scales[column]
        size, out = self.size * times // part, list[np.ndarray]()
        for picture, top, left in places:
            top, left = top * times // part, left * times // part
            out.append(stored.picture(picture)[:, top : top + size, left : left + size])
        channels = self.x.channels if column is None else self.pack.columns[column].column.channels
        return torch.from_numpy(np.stack(out) if out else np.empty((0, channels, size, size), np.uint8))

    def whole(self, k: int) -> np.ndarray:
        """The k-th picture as it is, uint8 [channels, height, width]."""
        return self.pack.picture(int(self.pictures[k]))

    @property
    def stored(self) -> Tensor:
        """All crops at their places of the grid, uint8 [n, channels, size, size]."""
        fixed, n = replace(self, split="all"), len(self)
        return self.x.nearest(fixed.fetch(torch.arange(n), ItemNoise(0, range(n))).x).to(torch.uint8)

    def held_out(self) -> "Crops | None":
        """What a model trained on this may be checked on: the validation split, else the test split; None if neither
        holds a picture as large as a crop."""
        for split in ("validation", "test"):
            numbers = range(*self.pack.meta.splits.get(split, (0, 0)))
            if self.split == "train" and any(min(self.pack.picture(i).shape[1:]) >= self.size for i in numbers):
                return replace(Crops.of(self.pack, split, self.size, self.opened), condition=self.condition)
        return None

    def training_part(self) -> "Crops":
        """What was not held out. Raises UsageError if this is a part of it."""
        if self.split in ("train", "all"):
            raise UsageError(f"{self.name} is what is trained on, or holds it: nothing of it is held out")
        return replace(Crops.of(self.pack, "train", self.size, self.opened), condition=self.condition)

    @property
    def readings(self) -> Mapping[str, Reading]:
        """How the files of each column were read, and what is cut out of them."""
        cut = {"x": self.size, **{name: self.size * times // part for name, (times, part) in self.scales.items()}}
        return {name: replace(reading, crop=cut[name]) for name, reading in self.pack.readings.items()}

    labels = captions = truth = None
    """What a `Dataset` may have of each row, and crops have as columns only."""

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes of whole pictures, by their number."""
        return list(self.pack.meta.classes) if self.pack.meta.classes else None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """How captions of whole pictures become tokens."""
        return self.pack.meta.tokenizer

    @property
    def problems(self) -> list[Problem]:
        """Files of the source (of any split) that were skipped or not taken whole."""
        return list(self.pack.meta.problems)
