"""Packed data: every source becomes, once, a folder of plain .npy arrays that are memory-mapped from then on.

    x.npy        uint8 [n, channels, height, width]; for points float32 [n, dims]; for text its n tokens [n, 1]; for
                 sound uint8 or uint16, one clip after the other, frame by frame
    sizes.npy    int64 [n, 2], (channels, length) of each clip; or [n, 3], (channels, height, width) of each picture,
                 where they keep their own sizes: x.npy is then uint8 [all their pixels], one picture after the other
    y.npy        int64 [n], a class each, -1 if it is not known  (where there are labels)
    tokens.npy   int32 [n, length]                              (where there are captions)
    captions.json                                               (the captions themselves)
    column-0.npy, column-0-sizes.npy, ...: further columns of pictures, in the order of meta.json, kept as x is
    meta.json    what it is, the rows of each split, problems found, size and sha256 of each file above

Rows lie split after split. A pack is written to a temporary folder, synced, and renamed: it is there whole or not at
all.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from triptych.core import IntegrityError, Labels, PartialLabels, Points, config
from triptych.core.reading import parse_json, read_file
from triptych.data.columns import Column, Stored
from triptych.data.controlled import Mixture
from triptych.data.files import Problem, sha256_file, sha256_of, shown
from triptych.data.sink import Kept
from triptych.data.text import Tokenizer
from triptych.media.reading import Reading

log = logging.getLogger(__name__)

LARGE = 2_000_000_000
"""Bytes of a pack that take long enough to read for a word to be said."""
FORMAT = 1
"""Of the folder: changes when an earlier version's packs cannot be read."""
READING = 3
"""Changes when the same source would be packed into other bytes."""


@config
class ArrayFile:
    bytes: int
    sha256: str


@config
class Meta:
    """What meta.json says."""

    format: int
    name: str
    x: Kept
    splits: dict[str, tuple[int, int]]
    """First and last row (exclusive) of each."""
    classes: tuple[str, ...] | None
    tokenizer: Tokenizer | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    """What was decided about the source, and could have been meant otherwise."""
    truth: Mixture | None
    """The density that x was drawn from, where it is known."""
    files: dict[str, ArrayFile]
    columns: dict[str, Column] = field(default_factory=dict)
    """Those of pictures beside x, by name."""
    values: dict[str, Points | Labels | PartialLabels] = field(default_factory=dict)
    """Columns of numbers and classes beside x, and where they live."""
    whole: bool = False
    """Whether pictures keep their own sizes; `x` then has the least height and the least width of them."""
    reading: Reading | None = None
    """How pictures of x were read; packs of earlier versions do not say it."""


@dataclass(frozen=True, eq=False)
class Pack:
    """An open pack: memory-mapped (private, so that nothing written to an array reaches the file), or in memory."""

    meta: Meta
    x: np.ndarray
    y: np.ndarray | None
    tokens: np.ndarray | None
    folder: Path | None = None
    spoken: list[str] | None = None
    """The captions, if they are in memory already."""
    sizes: np.ndarray | None = None
    columns: Mapping[str, Stored] = field(default_factory=dict)
    """Those of pictures beside x."""
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Those of numbers, float32 [n, dims], and of classes, int64 [n]."""

    @property
    def readings(self) -> dict[str, Reading]:
        """How the files of each column of pictures were read, where that is known; of label maps, their classes."""
        found = {} if self.meta.reading is None else {"x": self.meta.reading}
        for name, column in self.meta.columns.items():
            table = column.table
            named = {"names": table.names, "colors": table.colors} if table else {"channels": column.channels}
            found[name] = replace(column.reading, **named)
        return found

    def __len__(self) -> int:
        """How many items."""
        return len(self.x) if self.sizes is None else len(self.sizes)

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each picture or clip ends in x, if they keep their own sizes."""
        assert self.sizes is not None
        return np.cumsum(self.sizes.prod(1))

    def picture(self, i: int) -> np.ndarray:
        """Picture i, uint8 [channels, height, width], a view."""
        if self.sizes is None:
            return self.x[i]
        shape = tuple(self.sizes[i].tolist())
        return self.x[self.ends[i] - int(np.prod(shape)) : self.ends[i]].reshape(shape)

    def clip(self, i: int) -> np.ndarray:
        """The levels of clip i, [channels, its own length], a view."""
        if self.sizes is None:
            return self.x[i]  # as an earlier version packed it
        channels, length = self.sizes[i].tolist()
        return self.x[self.ends[i] - channels * length : self.ends[i]].reshape(length, channels).T

    def levels(self, rows: Int[Tensor, " k"]) -> Shaped[Tensor, "k ..."]:
        """What is stored of rows; clips with silence after them, to the length of the space."""
        x = self.meta.x
        if self.sizes is None:
            return torch.from_numpy(self.x).index_select(0, rows)
        silence, most = int(x.nearest(torch.zeros(()))), x.values or 0
        out = torch.full((len(rows), *x.shape), silence, dtype=torch.uint8 if most <= 256 else torch.int32)
        for padded, row in zip(out.numpy(), rows.tolist(), strict=True):
            clip = self.clip(row)
            padded[:, : clip.shape[1]] = clip
        return out

    @cached_property
    def partial(self) -> bool:
        """Whether the class of some rows is not known."""
        return self.y is not None and bool((self.y < 0).any())

    @cached_property
    def captions(self) -> list[str] | None:
        if self.spoken is None and self.folder and "captions.json" in self.meta.files:
            file = self.folder / "captions.json"
            captions: list[str] = parse_json(read_file(file), shown(file))
            texts = isinstance(captions, list) and all(type(caption) is str for caption in captions)
            if not texts or len(captions) != len(self):
                raise IntegrityError(f"{shown(file)} does not hold a caption for each of {len(self):,} items")
            return captions
        return self.spoken

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of all that it serves."""
        files = (f"{name}|{file.sha256}" for name, file in sorted(self.meta.files.items()))
        symbols = str(self.meta.x.symbols or "")
        columns = [str(found) for found in (self.meta.columns, self.meta.values) if found]
        return sha256_of(*files, str(self.meta.x) + symbols, str(self.meta.splits), str(self.meta.classes), *columns)

    def verify(self) -> None:
        """Reads every file and compares it with its sha256: a second or two a gigabyte, once a process.

        Raises IntegrityError naming the first that differs.
        """
        total = sum(file.bytes for file in self.meta.files.values())
        if total >= LARGE:
            log.info("checking %s: %.1f GB", self.meta.name, total / 1e9)
        for name, file in self.meta.files.items():
            if self.folder and sha256_file(self.folder / name) != file.sha256:
                raise IntegrityError(f"{shown(self.folder / name)} is damaged: its sha256 is not what meta.json says")


def seal(about: Any) -> str:
    return sha256_of(json.dumps(about, sort_keys=True))
