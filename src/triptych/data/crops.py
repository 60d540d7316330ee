"""Crops of pictures that keep their own sizes: what models are trained on that see a part of a photograph at a time."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core import Batch, DataError, Images, ItemNoise, Noise, Space, UsageError
from triptych.data.files import Problem, sha256_of
from triptych.data.packs import Pack
from triptych.data.splits import choose

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
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
        return cls(pack, chosen, np.array(large), size, opened)

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
        return sha256_of(self.pack.fingerprint, "crops", str(self.size), str(self.pictures.tolist()))

    @property
    def x(self) -> Images:
        x = self.pack.meta.x
        assert isinstance(x, Images)
        return Images(x.channels, self.size, self.size, levels=x.levels)

    @property
    def given(self) -> Space | None:
        """Crops have no label or caption: what is in the picture need not be in the crop."""
        return None

    def __len__(self) -> int:
        return int(self.ends[-1])

    def fetch(self, rows: Int[Tensor, " batch"], noise: Noise) -> Batch[None]:
        """The crops numbered `rows`, float32 [n, channels, size, size] in [-1, 1], on the device of `noise`."""
        if len(rows) and not (0 <= int(rows.min()) and int(rows.max()) < len(self)):
            raise IndexError(f"{self.name} has rows 0 to {len(self) - 1}; asked for {rows.min()} to {rows.max()}")
        anywhere = noise.uniform(2).cpu().double().numpy() if self.split == "train" else None
        picked = [self.crop(row, None if anywhere is None else anywhere[i]) for i, row in enumerate(rows.tolist())]
        stacked = np.stack(picked) if picked else np.empty((0, *self.x.shape), np.uint8)
        return Batch(self.x.from_index(torch.from_numpy(stacked).to(noise.device)), None, noise)

    def crop(self, row: int, at: np.ndarray | None) -> np.ndarray:
        """Crop number `row`, at its place of the grid, or at a place in its picture given by two numbers in [0, 1)."""
        k = int(self.ends.searchsorted(row, "right"))
        tile = row - int(self.ends[k - 1] if k else 0)
        pixels, (down, across), size = self.pack.picture(int(self.pictures[k])), self.tiles[k].tolist(), self.size
        height, width = pixels.shape[1:]
        if at is None:
            top = (height - down * size) // 2 + tile // across * size
            left = (width - across * size) // 2 + tile % across * size
        else:
            top, left = int(at[0] * (height - size + 1)), int(at[1] * (width - size + 1))
        return pixels[:, top : top + size, left : left + size]

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
                return Crops.of(self.pack, split, self.size, self.opened)
        return None

    def training_part(self) -> "Crops":
        """What was not held out. Raises UsageError if this is a part of it."""
        if self.split in ("train", "all"):
            raise UsageError(f"{self.name} is what is trained on, or holds it: nothing of it is held out")
        return Crops.of(self.pack, "train", self.size, self.opened)

    labels = classes = captions = tokenizer = truth = None
    """What a `Dataset` may have and crops never do."""

    @property
    def problems(self) -> list[Problem]:
        """Files of the source (of any split) that were skipped or not taken whole."""
        return list(self.pack.meta.problems)
