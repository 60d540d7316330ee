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
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from triptych.core import IntegrityError, Labels, PartialLabels, Points, Space, config
from triptych.core.reading import MOST_JSON, expect, parse_json, read_file
from triptych.data.arrays import HEADER, UNREADABLE, check_header
from triptych.data.columns import Column, Stored, scale_of
from triptych.data.controlled import Mixture
from triptych.data.files import Problem, reason_of, sha256_file, sha256_of, shown
from triptych.data.sink import Kept
from triptych.data.text import Tokenizer
from triptych.media.reading import Reading

log = logging.getLogger(__name__)

LARGE = 2_000_000_000
"""Bytes of a pack that take long enough to read for a word to be said."""
FORMAT = 1
"""Of the folder: changes when an earlier version's packs cannot be read."""
COLUMN = re.compile(r"(column-[0-9]{1,3}(-sizes)?|value-[0-9]{1,4})\.npy")
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


def is_pack(folder: Path) -> bool:
    return (folder / "meta.json").is_file() and (folder / "x.npy").is_file()


def open_pack(folder: Path) -> Pack:
    """Opens a packed folder, checking meta.json whole, the others by size and shape (`Pack.verify` reads them).

    Raises IntegrityError naming the file that is not as it was written.
    """
    where = shown(folder)
    try:
        sealed = parse_json(read_file(folder / "meta.json", MOST_JSON), f"{where}/meta.json")
    except OSError as e:
        raise IntegrityError(f"{where}/meta.json is damaged: {reason_of(e)}") from e
    expect(sealed, {"meta": {"format?": int}, "sha256": str}, f"{where}/meta.json")
    about = sealed["meta"]
    if about.get("format") != FORMAT:
        raise IntegrityError(f"{where} has format {about.get('format')}; this version reads {FORMAT}: pack it again")
    if sealed["sha256"] != seal(about):
        raise IntegrityError(f"{where}/meta.json is damaged: its sha256 is not what it says itself")
    try:
        meta: Meta = TypeAdapter(Meta).validate_python(about)
    except ValidationError as e:
        first = e.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{where}/meta.json is not what this version writes: {field}: {first['msg']}") from e
    for name, file in meta.files.items():
        path = folder / name
        if name not in ("x.npy", "sizes.npy", "y.npy", "tokens.npy", "captions.json") and not COLUMN.fullmatch(name):
            raise IntegrityError(f"{where}/meta.json lists {shown(name)!r}, which is no part of a pack")
        size = path.stat().st_size if path.is_file() else None
        if size != file.bytes:
            raise IntegrityError(f"{shown(path)} has {size or 'no'} bytes where meta.json says {file.bytes}")
    x, sizes = mapped(folder, "x.npy", meta), mapped(folder, "sizes.npy", meta)
    ragged = meta.whole or (meta.x.ragged and sizes is not None)
    if x is None or x.shape[1:] != (() if ragged else meta.x.shape) or (sizes is not None) != ragged:
        raise IntegrityError(f"{where}/x.npy does not hold {meta.x}")
    y, tokens = mapped(folder, "y.npy", meta), mapped(folder, "tokens.npy", meta)
    columns = {name: open_column(folder, k, meta, column) for k, (name, column) in enumerate(meta.columns.items())}
    values = {name: open_values(folder, k, meta, space) for k, (name, space) in enumerate(meta.values.items())}
    pack = Pack(meta, x, y, tokens, folder, None, sizes, columns, values)
    check(pack, where)
    return pack


def open_column(folder: Path, k: int, meta: Meta, column: Column) -> Stored:
    """Raises IntegrityError unless its file is as meta.json says."""
    pixels, sizes = mapped(folder, f"column-{k}.npy", meta), mapped(folder, f"column-{k}-sizes.npy", meta)
    shape = () if meta.whole else (column.channels, *column.space.shape[1:])
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape[1:] != shape or (sizes is None) == meta.whole:
        raise IntegrityError(f"{shown(folder)}/column-{k}.npy does not hold {column.space}")
    if sizes is not None and not (
        well_sized(sizes, column.space, len(pixels)) and (sizes[:, 0] == column.channels).all()
    ):
        raise IntegrityError(f"{shown(folder)}/column-{k}-sizes.npy does not say where the items of a column end")
    return Stored(column, pixels, sizes)


def open_values(folder: Path, k: int, meta: Meta, space: Space) -> np.ndarray:
    """Raises IntegrityError unless its file is as meta.json says."""
    array, kind = mapped(folder, f"value-{k}.npy", meta), np.float32 if space.values is None else np.int64
    most = np.inf if space.values is None else space.values - 1
    if array is None or array.dtype != kind or array.shape[1:] != space.shape or not (array <= most).all():
        raise IntegrityError(f"{shown(folder)}/value-{k}.npy does not hold {space}")
    return array


DTYPES = {
    "images": ("uint8", "int32"),
    "audio": ("uint8", "uint16", "int32"),
    "points": ("float32",),
    "tokens": ("uint8", "int16", "int32"),
    "voxels": ("uint8", "int32"),
    "video": ("uint8", "int32"),
}


def check(pack: Pack, where: str) -> None:
    """Raises IntegrityError, naming the file, unless the arrays of a pack are what its meta.json speaks of."""
    meta, y, tokens, sizes = pack.meta, pack.y, pack.tokens, pack.sizes
    if pack.x.dtype.name not in DTYPES[meta.x.kind]:
        raise IntegrityError(f"{where}/x.npy holds {pack.x.dtype}, not {meta.x}")
    if sizes is not None and not well_sized(sizes, meta.x, len(pack.x)):
        raise IntegrityError(f"{where}/sizes.npy does not say where the items of x.npy end")
    n = len(pack)
    if not meta.splits or not all(0 <= start <= stop <= n for start, stop in meta.splits.values()):
        raise IntegrityError(f"{where}/meta.json: splits are not rows of the {n:,} that there are")
    classes = len(meta.classes or ())
    if y is not None and (y.dtype != np.int64 or y.shape != (n,) or (n and not -1 <= y.min() <= y.max() < classes)):
        raise IntegrityError(f"{where}/y.npy does not hold one of {classes} classes for each of {n:,} items")
    for name, stored in pack.columns.items():
        if len(stored.pixels if stored.sizes is None else stored.sizes) != n:
            raise IntegrityError(f"{where}: the column {shown(name)} does not hold one picture for each of {n:,} items")
        if stored.sizes is not None and sizes is not None and not in_proportion(sizes, stored.sizes):
            raise IntegrityError(f"{where}: the sizes of the column {shown(name)} are not in proportion to those of x")
    for name, array in pack.values.items():
        if len(array) != n:
            raise IntegrityError(f"{where}: the column {shown(name)} does not hold a value for each of {n:,} items")
    if tokens is not None:
        words, length = (len(meta.tokenizer.words), meta.tokenizer.length) if meta.tokenizer else (0, 0)
        fits = tokens.dtype == np.int32 and tokens.shape == (n, length)
        if not fits or (n and not 0 <= tokens.min() <= tokens.max() < words):
            raise IntegrityError(f"{where}/tokens.npy does not hold a caption of {length} tokens for each item")


def in_proportion(x: np.ndarray, other: np.ndarray) -> bool:
    """Whether all pictures of a column are the same whole number of times larger or smaller than x."""
    if not len(x):
        return True
    scale = scale_of(tuple(x[0, 1:].tolist()), tuple(other[0, 1:].tolist()))
    return scale is not None and bool((x[:, 1:] * scale[0] == other[:, 1:] * scale[1]).all())


def well_sized(sizes: np.ndarray, x: Space, total: int) -> bool:
    """Whether these are the sizes of items that x.npy holds, one after the other."""
    if sizes.ndim != 2 or sizes.shape[1] != len(x.shape) or sizes.dtype.kind not in "iu":
        return False
    if (sizes < 0).any() or (sizes >= 2**40).any() or int(sizes.prod(1).sum()) != total:
        return False
    return not x.ragged or bool((sizes[:, 0] == x.shape[0]).all() and (sizes[:, 1] <= x.shape[1]).all())


def mapped(folder: Path, name: str, meta: Meta) -> np.ndarray | None:
    if name not in meta.files:
        return None
    try:
        # "c": a private, writable view; torch warns of arrays that it may not write to
        with (folder / name).open("rb") as file:
            check_header(file.read(HEADER))
        array = np.load(folder / name, mmap_mode="c", allow_pickle=False)
    except UNREADABLE as e:
        raise IntegrityError(f"{shown(folder / name)} is damaged: {e}") from e
    if not isinstance(array, np.ndarray):  # an archive of arrays
        raise IntegrityError(f"{shown(folder / name)} is damaged: it holds no array")
    return array
