"""Where a source puts its x, a few rows at a time, to be converted and kept."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from triptych.core import Audio, Images, Points, Space, Symbols, Tokens, UsageError, Video, Voxels, mix
from triptych.data.columns import Column
from triptych.data.controlled import Mixture
from triptych.data.files import Problem
from triptych.data.noisy import Corruption
from triptych.data.text import Tokenizer
from triptych.data.values import Valued
from triptych.media.images import fit_array

log = logging.getLogger(__name__)

FIXED_SEED = 1
"""Of binary="fixed": row after row, in the order of the pack."""
SOON, TELL = 1.0, 5.0
"""Seconds of packing after which a line says that it goes on, and from one such line to the next."""
NAMED = {"audio": "sound", "voxels": "solids", "video": "videos", "points": "points", "images": "images"}
UNSAID = ("audio", "voxels", "video")
"""Kinds of spaces that are not told by the shape and the levels of what is stored."""
SHAPED: dict[str, dict[str, Any]] = {"solids": {"size": None}, "videos": {"size": None, "channels": None}}
"""Which options bring a source of what is no images to another shape."""
CHUNK = 4096
"""Rows that are read, converted and written at a time."""


Kept = Images | Audio | Points | Tokens | Voxels | Video
"""Where x of a pack may live."""


@dataclass(frozen=True)
class Options:
    """How x is converted before it is stored."""

    size: tuple[int, int] | None = None
    channels: int | None = None
    binary: Literal["fixed", "threshold"] | None = None
    tokens: Literal["characters", "bytes"] | int | Symbols | None = None
    sound: Audio | None = None
    noisy: Corruption | None = None
    whole: bool = False
    """Whether pictures keep their own sizes (and crops of them are served)."""


@dataclass(kw_only=True)
class Content:
    """What a source says of the rows that it has appended to a sink."""

    splits: dict[str, int]
    """Rows of each split, in the order in which they were appended."""
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    captions: list[str] | None = None
    tokenizer: Tokenizer | None = None
    """None: one is fitted to the captions of the first split."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was decided about the source as a whole, and could have been meant otherwise: a line each."""
    truth: Mixture | None = None
    values: dict[str, Valued] = field(default_factory=dict)
    """Columns of values, each with where it lives."""
    half: Literal["left", "right"] | None = None
    """Which half of its file x is."""
    wide: float | None = None
    """And width by height of such files."""
    columns: dict[str, Column] = field(default_factory=dict)
    """Those beside x, whose rows were appended to the sink's `column` of that name."""
    x: Kept | None = None
    """Where x lives, if its shape and levels do not say it."""


class CannotWrite(Exception):
    """The folder for a pack cannot be written; the cause is the OSError."""


@contextmanager
def writing() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise CannotWrite from e


class Sink:
    """Takes x a few rows at a time, converts them as the options say, and keeps them in a file or in memory."""

    def __init__(self, path: Path | None, options: Options):
        self.path, self.options, self.tell = path, options, time.monotonic() + SOON
        self.restart()

    def restart(self) -> None:
        """Forgets all rows."""
        self.n, self.levels = 0, 256
        self.shape: tuple[int, ...] | None = None
        self.dtype = np.dtype(np.uint8)
        self.symbols: Symbols | None = None
        self.kept: list[np.ndarray] = []
        self.sizes: list[tuple[int, ...]] = []
        self.further: dict[str, Sink] = {}
        self.coins = np.random.Generator(np.random.Philox(key=mix(FIXED_SEED)))
        if self.path:
            with writing():
                self.path.write_bytes(b"")

    def column(self, name: str) -> "Sink":
        """Where the pictures of a further column go, which come as they are to be stored."""
        if name not in self.further:
            path = self.path and self.path.with_name(f"column-{len(self.further)}.npy")
            self.further[name] = Sink(path, Options(whole=self.options.whole))
            self.further[name].tell = math.inf  # x says that packing goes on
        return self.further[name]

    def append(self, rows: np.ndarray, levels: int = 256) -> None:
        """Levels, uint8 [k, channels, height, width]; or float32 [k, dims].

        Raises UsageError if the options do not apply.
        """
        holds = {2: "points", 4: "images"}[rows.ndim]
        self.check_options(holds)
        if holds == "images":
            rows, levels = self.convert(rows, levels)
        if self.options.whole:
            self.sizes += [rows.shape[1:]] * len(rows)
            rows = rows.reshape(-1)
        self.keep(rows, levels)

    def append_item(self, stored: np.ndarray, x: Space) -> None:
        """One element, as its medium reads it; what may be shorter than the space (a clip, [channels, k]) is kept as
        long as it is, frame by frame. Raises UsageError if the options do not apply."""
        self.check_options(NAMED[x.kind])
        if x.ragged:
            self.keep(np.ascontiguousarray(stored.T).reshape(-1), x.values or 0)
            self.sizes.append(stored.shape)
        else:
            self.keep(stored[None], x.values or 0)

    def check_options(self, holds: str) -> None:
        """Raises UsageError for options that are not for what a source holds."""
        if self.options.tokens is not None:
            raise UsageError(f"tokens= is for text; this source holds {holds}")
        if holds != "sound" and self.options.sound is not None:
            raise UsageError(f"sound= is for recordings; this source holds {holds}")
        allowed = SHAPED.get(holds, {})
        if holds != "images" and replace(self.options, sound=None, **allowed) != Options():
            names = [f"{name}=" for name in ("size", "channels", "binary", "noisy") if name not in allowed]
            listed = f"{', '.join(names[:-1])} and {names[-1]}"
            raise UsageError(f"{listed} are for images; this source holds {holds}")

    def append_tokens(self, tokens: np.ndarray, symbols: Symbols) -> None:
        """int64 [k]: the next tokens of a text, kept in as few bytes as they take.

        Raises UsageError if the options do not apply.
        """
        if self.options != Options(tokens=self.options.tokens):
            raise UsageError("size=, channels=, binary= and noisy= are for images; this source holds text")
        self.symbols, most = symbols, len(symbols) - 1
        dtype = next(t for t in (np.uint8, np.int16, np.int32) if most <= np.iinfo(t).max)
        self.keep(tokens[:, None].astype(dtype), len(symbols))

    def keep(self, rows: np.ndarray, levels: int) -> None:
        if self.shape is None:
            self.shape, self.dtype, self.levels = rows.shape[1:], rows.dtype, levels
            if self.path:
                self.write(self.header(0))
        self.n += len(rows)
        if time.monotonic() > self.tell:
            self.tell = time.monotonic() + TELL
            n, what = (len(self.sizes), "items") if self.sizes else (self.n, "tokens" if self.symbols else "items")
            log.info("packing, once: %s %s so far", f"{n:,}", what)
        if self.path:
            self.write(np.ascontiguousarray(rows).data)
        else:
            self.kept.append(np.array(rows))

    def convert(self, rows: np.ndarray, levels: int) -> tuple[np.ndarray, int]:
        size, channels, binary = self.options.size, self.options.channels, self.options.binary
        if self.options.noisy is not None and (binary is not None or levels == 2):
            raise UsageError("noisy= is for images of 256 levels; leave out binary=, or take a source of grey images")
        if levels == 2:
            if size not in (None, rows.shape[2:]):
                raise UsageError("size= would blur images of two levels; resize them before they are made binary")
            return (rows.repeat(channels or 1, 1) if rows.shape[1] == 1 else rows), levels
        rows = fit_array(rows, size, channels)
        if self.options.noisy is not None:
            rows = self.options.noisy(rows, first=self.n)
        if binary is None:
            return rows, levels
        check_grey(rows.shape[1])
        if binary == "threshold":
            return (rows >= 128).astype(np.uint8), 2
        return (self.coins.random(rows.shape, np.float32) < rows / np.float32(255)).astype(np.uint8), 2

    def header(self, n: int) -> bytes:
        """The .npy header; numpy pads it so that its length does not depend on n."""
        assert self.shape is not None
        out = BytesIO()
        about = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (n, *self.shape)}
        np.lib.format.write_array_header_1_0(out, about)
        return out.getvalue()

    def write(self, data: bytes | memoryview, at: int | None = None) -> None:
        assert self.path is not None
        with writing(), self.path.open("r+b") as file:
            file.seek(*((0, os.SEEK_END) if at is None else (at, os.SEEK_SET)))
            file.write(data)

    def finish(self) -> np.ndarray | None:
        """Ends the file; without one, returns all rows."""
        if self.path:
            self.write(self.header(self.n), at=0)
            return None
        return np.concatenate(self.kept)

    def space(self) -> Images | Points | Tokens:
        assert self.shape is not None
        if self.symbols is not None:
            return Tokens(len(self.symbols), 1, symbols=self.symbols)
        if len(self.shape) == 1:
            return Points(*self.shape)
        channels, height, width = self.shape or np.min(self.sizes, axis=0).tolist()
        return Images(channels, height, width, levels=self.levels)


def check_grey(channels: int) -> None:
    if channels != 1:
        raise UsageError(f"binary= takes grey images and these have {channels} channels; add channels=1")


Reader = Callable[[Sink], Content]
"""Appends all of a source's x to a sink and tells the rest."""
