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
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from triptych.core import DataError
from triptych.data.files import Archive, reason_of, shown
from triptych.data.sink import CHUNK, UNKNOWN, Content, Sink
from triptych.data.splits import SPLITS, held_out

X, Y = ("x", "images", "image", "data", "arr_0"), ("y", "labels", "label", "targets")
MOST_CLASSES = 100_000

Named = dict[str, dict[str, np.ndarray]]
"""Arrays by split ("" where there is none) and by "x" or "y"."""


def from_memory(source: Any) -> Named:
    """An array or a tensor, or a pair of one and its classes. Raises DataError for anything else."""
    pair = isinstance(source, tuple | list) and len(source) == 2 and all(hasattr(part, "shape") for part in source)
    if not pair and not hasattr(source, "shape"):
        raise DataError(
            f"data cannot be a {type(source).__name__}: it is a source by its name or path, an array or a tensor "
            "[n, channels, height, width], or a pair of one and its classes [n]"
        )
    x, y = (*source,) if pair else (source, None)
    arrays = {"x": as_pixels(as_array(x))}
    return {"": arrays if y is None else {**arrays, "y": as_array(y)}}


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


def load_npy(path: Path) -> Named:
    """Maps a .npy file. Raises DataError."""
    try:
        return {"": {"x": np.load(path, mmap_mode="r", allow_pickle=False)}}
    except (ValueError, EOFError, OverflowError, OSError) as e:
        raise DataError(f"{shown(path)} cannot be read as a .npy array: {plain(e)}") from e


def load_npz(tree: Archive) -> Named:
    """Reads the arrays of an archive (a .npz is a zip of .npy files) that are called like x or y. Raises DataError."""
    found: Named = {}
    for name in tree.files:
        words = re.split("[_.-]", re.sub(r"\.npy$", "", name.rsplit("/", 1)[-1]).lower())
        split = next((SPLITS[w] for w in words if w in SPLITS), "")
        rest = "_".join(w for w in words if w not in SPLITS)
        role = "x" if rest in X else "y" if rest in Y else None
        if role is None:
            continue
        if role in found.setdefault(split, {}):
            raise DataError(f"{tree.name} has two arrays that could be {role}; the second is {shown(name)!r}")
        try:
            with tree.open(name) as file:
                stream: Any = SimpleNamespace(read=file.read)  # no file on disk, which numpy would take some for
                found[split][role] = np.lib.format.read_array(stream, allow_pickle=False)
        except (ValueError, EOFError, OverflowError, MemoryError, OSError, zipfile.BadZipFile, zlib.error) as e:
            raise DataError(f"{tree.name}: {shown(name)!r} cannot be read as an array: {plain(e)}") from e
    missing = [split for split, arrays in found.items() if "x" not in arrays]
    if not found or missing:
        keys = ", ".join(shown(n.removesuffix(".npy")) for n in tree.files) or "nothing"
        raise DataError(f"{tree.name} holds {keys}; name the images x (or images) and the labels y (or labels)")
    if "" in found and len(found) > 1:
        raise DataError(f"{tree.name} holds x beside {', '.join(s for s in found if s)} arrays; name a split for each")
    return found


def plain(error: Exception) -> str:
    if "pickle" in str(error) or "Object arrays" in str(error):
        return "it holds Python objects, which would have to be unpickled; save numbers"
    if isinstance(error, MemoryError):
        return "its header claims more than memory holds"
    return reason_of(error) if isinstance(error, OSError) else str(error)


def read_arrays(name: str, found: Named, sink: Sink) -> Content:
    """Appends arrays to `sink`. Raises DataError that says which array is not usable, and why."""
    first = next(iter(found.values()))["x"]
    labelled = [s for s, arrays in found.items() if "y" in arrays]
    if labelled and len(labelled) < len(found):
        raise DataError(f"{name} has labels for {', '.join(labelled)} only")
    counts, labels = dict[str, int](), list[np.ndarray]()
    stored = Stored(name, [arrays["x"] for arrays in found.values()])
    for split in sorted(found, key=lambda s: (s != "train", s)):
        x, y = found[split]["x"], found[split].get("y")
        if x.shape[1:] != first.shape[1:] or x.dtype != first.dtype:
            raise DataError(
                f"{name}: x is {first.dtype} {list(first.shape)} in one split, {x.dtype} {list(x.shape)} here"
            )
        if y is not None:
            y = check_labels(name, y, len(x))
        for part, rows in parts(split, len(x)).items():
            for start in range(0, len(rows), CHUNK):
                sink.append(stored.convert(x[rows[start : start + CHUNK]]), stored.levels)
            counts[part] = len(rows)
            if y is not None:
                labels.append(y[rows])
    together = np.concatenate(labels) if labels else None
    if together is not None and together.max() == UNKNOWN:
        together = None
    return Content(
        splits=counts,
        labels=together,
        classes=None if together is None else tuple(str(k) for k in range(int(together.max()) + 1)),
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

    def convert(self, x: np.ndarray) -> np.ndarray:
        if self.points:
            return x.astype(np.float32)
        if self.scale:
            low, high = self.scale
            x = np.rint((x.astype(np.float32) - low) * np.float32(255 / (high - low))).clip(0, 255)
        x = x.astype(np.uint8)
        return x[:, None] if self.axis is None else np.moveaxis(x, self.axis, 1)


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
