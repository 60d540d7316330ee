"""Arrays of images or of points: .npy and .npz files. Nothing is unpickled.

x is uint8 (0-255), bool (two levels) or floating point in [0, 1] or [-1, 1], as [n, height, width],
[n, channels, height, width] or [n, height, width, channels]; floating point [n, dims] are points. y is [n] whole
numbers, -1 where the class is not known. In a .npz, x is called x, images or data, and y is called y or labels; a split
may be part of the name (x_train, test_images); otherwise a tenth of the rows is held out by number (see `held_out`).
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from triptych.core import DataError, IntegrityError
from triptych.core.reading import parse_json
from triptych.data.files import Archive, reason_of, shown
from triptych.data.sink import CHUNK, UNSAID, Content, Kept, Sink
from triptych.data.splits import SPLITS, held_out
from triptych.data.values import UNKNOWN

X, Y = ("x", "images", "image", "data", "arr_0"), ("y", "labels", "label", "targets")
MOST_CLASSES = 100_000

Named = dict[str, dict[str, np.ndarray]]
"""Arrays by split ("" where there is none) and by "x" or "y"."""

SPACE = "space"
"""What our own verbs save beside x: the space that it is in, as JSON text. Its levels are then x as it is."""
MOST_SPACE = 1 << 24
"""Bytes of it."""


@dataclass(frozen=True)
class Arrays:
    """What an archive of arrays holds."""

    named: Named
    space: Kept | None = None
    unused: tuple[str, ...] = ()
    """Names of arrays that are neither x nor y."""


def from_memory(source: Any) -> Arrays:
    """An array or a tensor, or a pair of one and its classes. Raises DataError for anything else."""
    pair = isinstance(source, tuple | list) and len(source) == 2 and hasattr(source[0], "shape")
    pair = pair and (hasattr(source[1], "shape") or isinstance(source[1], tuple | list))
    if not pair and not hasattr(source, "shape"):
        raise DataError(
            f"data cannot be a {type(source).__name__}: it is a source by its name or path, an array or a tensor "
            "[n, channels, height, width], a list of pictures, a pair of one and its classes [n], a torch Dataset, or "
            "a dataset of Hugging Face"
        )
    x, y = (*source,) if pair else (source, None)
    arrays = {"x": as_pixels(as_array(x))}
    return Arrays({"": arrays if y is None else {**arrays, "y": as_array(y)}})


def as_array(x: Any) -> np.ndarray:
    """A tensor, of any device and precision, or what else numpy takes, as an array."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return x.numpy()
    return np.asarray(x)


def as_pixels(x: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to 255 as bytes, 0 and 1 alone as bool; everything else as it is."""
    if not np.issubdtype(x.dtype, np.integer) or x.size == 0 or x.min() < 0 or x.max() > 255:
        return x
    return x.astype(bool) if x.max() <= 1 else x.astype(np.uint8)


UNREADABLE = (
    *(ValueError, TypeError, EOFError, ArithmeticError, MemoryError, RecursionError, OSError),
    *(SyntaxError, TokenError, zipfile.BadZipFile, zlib.error),
)
"""What numpy and the readers of archives raise over a file that is damaged or forged."""
HEADER, LONGEST_HEADER = 12, 1 << 16
"""Bytes in which a .npy file says how long its header is, and how long that may be: of numbers it is about 100."""


def check_header(start: bytes) -> None:
    """Raises ValueError for a header that would be read at length, and then for nothing."""
    length = int.from_bytes(start[8 : 10 if start[6:7] == b"\x01" else 12], "little")
    if start.startswith(b"\x93NUMPY") and length > LONGEST_HEADER:
        raise ValueError(f"its header claims {length:,} bytes")


def load_npy(path: Path) -> Arrays:
    """Maps a .npy file. Raises DataError."""
    try:
        with path.open("rb") as file:
            check_header(file.read(HEADER))
        return Arrays({"": {"x": np.load(path, mmap_mode="r", allow_pickle=False)}})
    except UNREADABLE as e:
        raise DataError(f"{shown(path)} cannot be read as a .npy array: {plain(e)}") from e


def load_npz(tree: Archive) -> Arrays:
    """Reads the arrays of an archive (a .npz is a zip of .npy files) that are called like x or y. Raises DataError."""
    found, space, unused = Named(), None, list[str]()
    for name in tree.files:
        key = re.sub(r"\.npy$", "", name.rsplit("/", 1)[-1])
        words = re.split("[_.-]", key.lower())
        split = next((SPLITS[w] for w in words if w in SPLITS), "")
        rest = "_".join(w for w in words if w not in SPLITS)
        role = "x" if rest in X else "y" if rest in Y else None
        if key == SPACE and tree.files[name] <= MOST_SPACE:
            space = space_of(f"{tree.name}: {shown(name)!r}", load(tree, name))
            continue
        if role is None:
            unused.append(shown(key))
            continue
        if role in found.setdefault(split, {}):
            raise DataError(f"{tree.name} has two arrays that could be {role}; the second is {shown(name)!r}")
        found[split][role] = load(tree, name)
    missing = [split for split, arrays in found.items() if "x" not in arrays]
    if not found or missing:
        keys = ", ".join(shown(n.removesuffix(".npy")) for n in tree.files) or "nothing"
        raise DataError(f"{tree.name} holds {keys}; name the images x (or images) and the labels y (or labels)")
    if "" in found and len(found) > 1:
        raise DataError(f"{tree.name} holds x beside {', '.join(s for s in found if s)} arrays; name a split for each")
    return Arrays(found, space, tuple(unused))


def load(tree: Archive, name: str) -> np.ndarray:
    """Raises DataError."""
    try:
        with tree.open(name) as file:
            check_header(file.read(HEADER))
        with tree.open(name) as file:
            stream: Any = SimpleNamespace(read=file.read)  # no file on disk, which numpy would take some for
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    except UNREADABLE as e:
        raise DataError(f"{tree.name}: {shown(name)!r} cannot be read as an array: {plain(e)}") from e
    return array


def space_of(where: str, text: np.ndarray) -> Kept:
    """The space that our own verbs saved. Raises DataError."""
    try:
        space: Kept = TypeAdapter(Kept).validate_python(parse_json(str(text[()]), where))
    except (ValidationError, IntegrityError, IndexError) as e:
        raise DataError(f"{where} does not say what space x is in; leave it out of the file") from e
    return space


def plain(error: Exception) -> str:
    if "pickle" in str(error) or "Object arrays" in str(error):
        return "it holds Python objects, which would have to be unpickled; save numbers"
    if isinstance(error, MemoryError):
        return "its header claims more than memory holds"
    if isinstance(error, RecursionError):
        return "its header is nested without end"
    return reason_of(error) if isinstance(error, OSError) else str(error)[:200]


def read_arrays(name: str, arrays: Arrays, sink: Sink) -> Content:
    """Appends arrays to `sink`. Raises DataError that says which array is not usable, and why."""
    found = arrays.named
    first = next(iter(found.values()))["x"]
    labelled = [s for s, by_role in found.items() if "y" in by_role]
    if labelled and len(labelled) < len(found):
        raise DataError(f"{name} has labels for {', '.join(labelled)} only")
    counts, labels = dict[str, int](), list[np.ndarray]()
    every = [by_role["x"] for by_role in found.values()]
    stored = Stored(name, every) if arrays.space is None else Leveled(name, every, arrays.space)
    for split in sorted(found, key=lambda s: (s != "train", s)):
        x, y = found[split]["x"], found[split].get("y")
        if x.shape[1:] != first.shape[1:] or x.dtype != first.dtype:
            raise DataError(
                f"{name}: x is {first.dtype} {list(first.shape)} in one split, {x.dtype} {list(x.shape)} here"
            )
        if y is not None:
            y = check_labels(name, y, len(x))
        for part, rows in parts(split, len(x)).items():
            counts[part] = 0
            for start in range(0, len(rows), CHUNK):
                counts[part] += stored.append(x[rows[start : start + CHUNK]], sink)
            if y is not None:
                labels.append(y[rows])
    together = np.concatenate(labels) if labels else None
    if together is not None and together.max() == UNKNOWN:
        together = None
    return Content(
        splits=counts,
        labels=together,
        classes=None if together is None else tuple(str(k) for k in range(int(together.max()) + 1)),
        notes=[f"not used: {', '.join(arrays.unused[:8])}; only x and y are"] if arrays.unused else [],
        x=arrays.space if arrays.space is not None and arrays.space.kind in UNSAID else None,
    )


def parts(split: str, n: int) -> dict[str, np.ndarray]:
    """The rows of each split."""
    if split:
        return {split: np.arange(n)}
    held = held_out([str(row) for row in range(n)])
    return {"train": np.flatnonzero(~held), "test": np.flatnonzero(held)}


class Stored:
    """How arrays of one kind become what a sink takes. Raises DataError if they cannot."""

    def __init__(self, name: str, arrays: list[np.ndarray]):
        self.name, x = name, arrays[0]
        self.levels = 2 if x.dtype == bool else 256
        self.scale: tuple[float, float] | None = None
        if 0 in x.shape:
            raise DataError(f"{name}: x has shape {list(x.shape)}, which is empty")
        floating = np.issubdtype(x.dtype, np.floating)
        if not floating and x.dtype not in (np.uint8, np.bool_):
            raise DataError(f"{name}: x is {x.dtype}; save uint8 (0-255), bool, or floats in [0, 1] or [-1, 1]")
        self.points = floating and x.ndim == 2
        self.axis = None if self.points else channel_axis(name, x.shape)
        low, high = extremes(name, arrays)
        if self.points:
            return
        if floating:
            self.scale = float_scale(name, low, high)
        elif x.dtype == np.uint8 and high == 1:
            raise DataError(f"{name}: x holds only 0 and 1 as uint8: save bool for images of two levels, or 0 and 255")

    def append(self, x: np.ndarray, sink: Sink) -> int:
        """Puts rows into a sink; says how many they are there."""
        sink.append(self.convert(x), self.levels)
        return len(x)

    def convert(self, x: np.ndarray) -> np.ndarray:
        if self.points:
            return x.astype(np.float32)
        if self.scale:
            low, high = self.scale
            x = np.rint((x.astype(np.float32) - low) * np.float32(255 / (high - low))).clip(0, 255)
        x = x.astype(np.uint8)
        return x[:, None] if self.axis is None else np.moveaxis(x, self.axis, 1)


class Leveled:
    """How arrays of our own verbs become what a sink takes: they are levels, or tokens, of the space that they name.

    Raises DataError if they are not.
    """

    def __init__(self, name: str, arrays: list[np.ndarray], space: Kept):
        self.space, kind = space, np.floating if space.values is None else np.integer
        for x in arrays:
            if x.shape[1:] != space.shape or not np.issubdtype(x.dtype, kind):
                raise DataError(f"{name}: x is {x.dtype} {list(x.shape)}, and its space is {space}")
        low, high = extremes(name, arrays)
        if space.values is not None and not 0 <= low <= high < space.values:
            raise DataError(f"{name}: x has values from {low:g} to {high:g}; {space} takes 0 to {space.values - 1}")
        if space.kind == "tokens" and space.symbols is None:
            raise DataError(f"{name}: its tokens do not say what text they stand for")

    def append(self, x: np.ndarray, sink: Sink) -> int:
        """Puts rows into a sink; says how many they are there: of text, each token is one."""
        space, values = self.space, self.space.values
        if space.symbols is not None:
            if sink.options.tokens not in (None, space.symbols):
                raise DataError("x is tokens already, of other symbols than are wanted; write text (.txt) in its place")
            sink.append_tokens(x.reshape(-1), space.symbols)
            return int(x.size)
        if values is None:
            sink.append(x.astype(np.float32))
        elif space.kind == "images":  # the options may ask for another size
            sink.append(x.astype(np.uint8 if values <= 256 else np.int32), values)
        else:
            large = np.uint16 if space.ragged else np.int32
            for one in x:
                sink.append_item(one.astype(np.uint8 if values <= 256 else large), space)
        return len(x)


def channel_axis(name: str, shape: tuple[int, ...]) -> int | None:
    """Which axis holds 1 or 3 channels; None where there is none."""
    if len(shape) == 3:
        return None
    axes = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] in (1, 3)]
    if len(axes) == 1:
        return axes[0]
    what = "either axis 1 or axis 3 may be its channels" if axes else "none of its axes is 1 or 3 channels"
    takes = (
        "[n, height, width], [n, channels, height, width] or [n, height, width, channels]; floats [n, dims] are points"
    )
    raise DataError(f"{name}: x has shape {list(shape)}, {what}; we take {takes}")


def chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(x), CHUNK):
        yield x[start : start + CHUNK]


def extremes(name: str, arrays: list[np.ndarray]) -> tuple[float, float]:
    """The least and the greatest value. Raises DataError at NaN or infinity, with the first row that has one."""
    low, high = np.inf, -np.inf
    for x in arrays:
        for i, rows in enumerate(chunks(x)):
            least, most = float(rows.min()), float(rows.max())
            if not np.isfinite(least) or not np.isfinite(most):
                bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(1)
                raise DataError(
                    f"{name}: x holds NaN or infinity, first in row {i * CHUNK + int(bad.argmax())}; "
                    f"leave such rows out or mend them"
                )
            low, high = min(low, least), max(high, most)
    return low, high


def float_scale(name: str, low: float, high: float) -> tuple[float, float]:
    """The range that floating-point pixels are in: (0, 1) or (-1, 1). Raises DataError where that is not clear."""
    slack = 1e-4
    came = f"{name}: x holds floats from {low:g} to {high:g}"
    if low >= -slack and 1.5 < high <= 255 + slack:
        raise DataError(f"{came}, which looks like 0-255: save them as uint8")
    if low < -1 - slack or high > 1 + slack:
        raise DataError(f"{came}; scale them to [0, 1] or [-1, 1], or save uint8")
    if low >= -slack:
        return 0.0, 1.0
    if low > -0.5:
        raise DataError(
            f"{came}, which is ambiguous: [-1, 1] would reach below -0.5, [0, 1] not below 0; scale to one of them"
        )
    return -1.0, 1.0


def check_labels(name: str, y: np.ndarray, n: int) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n,):
        hint = "; give the class numbers, not one-hot rows" if y.ndim == 2 and len(y) == n else ""
        raise DataError(f"{name}: y has shape {list(y.shape)} where x has {n} rows{hint}")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{name}: y is {y.dtype}; save whole numbers, a class each")
    if n and (y.min() < UNKNOWN or y.max() >= MOST_CLASSES):
        raise DataError(
            f"{name}: y has values from {y.min()} to {y.max()}; classes are numbered 0 to {MOST_CLASSES - 1}, and "
            f"{UNKNOWN} stands for one that is not known"
        )
    return y.astype(np.int64)
