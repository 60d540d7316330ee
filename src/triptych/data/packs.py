"""Packed data: every source becomes, once, a folder of plain .npy arrays that are memory-mapped from then on.

    x.npy        uint8 [n, channels, height, width], or float32 [n, dims] for points
    y.npy        int64 [n], a class each                        (where there are labels)
    tokens.npy   int32 [n, length]                              (where there are captions)
    captions.json                                               (the captions themselves)
    meta.json    what it is, the rows of each split, problems found, size and sha256 of each file above

Rows lie split after split. A pack is written to a temporary folder, synced, and renamed: it is there whole or not at
all.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from triptych.core import Images, IntegrityError, Points, UsageError, config, mix
from triptych.data.controlled import Mixture
from triptych.data.files import Problem, sha256_file, sha256_of, shown
from triptych.data.images import fit_array
from triptych.data.text import Tokenizer

log = logging.getLogger(__name__)

FORMAT = 1
"""Changes when the same source would be packed into other bytes."""
FIXED_SEED = 1
CHUNK = 4096


@dataclass(frozen=True)
class Options:
    """How x is converted before it is stored."""

    size: tuple[int, int] | None = None
    channels: int | None = None
    binary: Literal["fixed", "threshold"] | None = None


@config
class ArrayFile:
    bytes: int
    sha256: str


@config
class Meta:
    """What meta.json says."""

    format: int
    name: str
    x: Images | Points
    splits: dict[str, tuple[int, int]]
    """First and last row (exclusive) of each."""
    classes: tuple[str, ...] | None
    tokenizer: Tokenizer | None
    problems: tuple[Problem, ...]
    truth: Mixture | None
    """The density that x was drawn from, where it is known."""
    files: dict[str, ArrayFile]


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
    truth: Mixture | None = None


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
        self.path, self.options = path, options
        self.restart()

    def restart(self) -> None:
        """Forgets all rows."""
        self.n, self.levels = 0, 256
        self.shape: tuple[int, ...] | None = None
        self.dtype = np.dtype(np.uint8)
        self.kept: list[np.ndarray] = []
        self.coins = np.random.Generator(np.random.Philox(key=mix(FIXED_SEED)))
        if self.path:
            with writing():
                self.path.write_bytes(b"")

    def append(self, rows: np.ndarray, levels: int = 256) -> None:
        """uint8 [k, channels, height, width] of so many levels, or float32 [k, dims].

        Raises UsageError if the options do not apply.
        """
        if rows.ndim == 4:
            rows, levels = self.convert(rows, levels)
        elif self.options != Options():
            raise UsageError("size=, channels= and binary= are for images; this source holds points")
        if self.shape is None:
            self.shape, self.dtype, self.levels = rows.shape[1:], rows.dtype, levels
            if self.path:
                self.write(self.header(0))
        self.n += len(rows)
        if self.path:
            self.write(np.ascontiguousarray(rows).data)
        else:
            self.kept.append(np.array(rows))

    def convert(self, rows: np.ndarray, levels: int) -> tuple[np.ndarray, int]:
        size, channels, binary = self.options.size, self.options.channels, self.options.binary
        if levels == 2:
            if size not in (None, rows.shape[2:]):
                raise UsageError("size= would blur images of two levels; resize them before they are made binary")
            return (rows.repeat(channels or 1, 1) if rows.shape[1] == 1 else rows), levels
        rows = fit_array(rows, size, channels)
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

    def space(self) -> Images | Points:
        assert self.shape is not None
        if len(self.shape) == 1:
            return Points(*self.shape)
        channels, height, width = self.shape
        return Images(channels, height, width, levels=self.levels)


def check_grey(channels: int) -> None:
    if channels != 1:
        raise UsageError(f"binary= takes grey images and these have {channels} channels; add channels=1")


Reader = Callable[[Sink], Content]
"""Appends all of a source's x to a sink and tells the rest."""


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

    @cached_property
    def captions(self) -> list[str] | None:
        if self.spoken is None and self.folder and "captions.json" in self.meta.files:
            captions: list[str] = json.loads((self.folder / "captions.json").read_bytes())
            return captions
        return self.spoken

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of all that it serves."""
        files = (f"{name}|{file.sha256}" for name, file in sorted(self.meta.files.items()))
        return sha256_of(*files, str(self.meta.x), str(self.meta.splits), str(self.meta.classes))

    def verify(self) -> None:
        """Reads every file and compares it with its sha256. Raises IntegrityError naming the first that differs."""
        for name, file in self.meta.files.items():
            if self.folder and sha256_file(self.folder / name) != file.sha256:
                raise IntegrityError(f"{shown(self.folder / name)} is damaged: its sha256 is not what meta.json says")


def build(name: str, read: Reader, options: Options, folder: Path | None) -> Pack:
    """Packs into `folder`, which must exist and be empty; None: into memory. Raises CannotWrite."""
    sink = Sink(folder and folder / "x.npy", options)
    content = read(sink)
    x = sink.finish()
    y = None if content.labels is None else content.labels.astype(np.int64)
    tokens, tokenizer, small = None, content.tokenizer, dict[str, bytes]()
    if content.captions is not None:
        training = content.captions[: next(iter(content.splits.values()))]
        tokenizer = tokenizer or Tokenizer.fit(training or content.captions)
        tokens = tokenizer.encode(content.captions).astype(np.int32)
        small = {"captions.json": json.dumps(content.captions).encode(), "tokens.npy": npy(tokens)}
    if y is not None:
        small["y.npy"] = npy(y)
    files = {file: stamp(data) for file, data in small.items()}
    if folder:
        with writing():
            for file, data in small.items():
                (folder / file).write_bytes(data)
            files["x.npy"] = ArrayFile(bytes=(folder / "x.npy").stat().st_size, sha256=sha256_file(folder / "x.npy"))
    else:
        assert x is not None
        files["x.npy"] = stamp(sink.header(sink.n), x.data)
    ends = np.cumsum([0, *content.splits.values()]).tolist()
    meta = Meta(
        format=FORMAT,
        name=name,
        x=sink.space(),
        splits={split: (ends[i], ends[i + 1]) for i, split in enumerate(content.splits)},
        classes=content.classes,
        tokenizer=tokenizer,
        problems=tuple(content.problems),
        truth=content.truth,
        files=files,
    )
    if folder is None:
        assert x is not None
        return Pack(meta, x, y, tokens, None, content.captions)
    with writing():
        write_meta(folder, meta)
        for path in folder.iterdir():
            sync(path)
    return open_pack(folder)


def npy(array: np.ndarray) -> bytes:
    out = BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def stamp(*parts: bytes | memoryview) -> ArrayFile:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return ArrayFile(bytes=sum(memoryview(p).nbytes for p in parts), sha256=digest.hexdigest())


def write_meta(folder: Path, meta: Meta) -> None:
    about = TypeAdapter(Meta).dump_python(meta, mode="json")
    sealed = {"meta": about, "sha256": seal(about)}
    (folder / "meta.json").write_text(json.dumps(sealed, indent=1) + "\n", encoding="utf-8")


def seal(about: Any) -> str:
    return sha256_of(json.dumps(about, sort_keys=True))


def sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def is_pack(folder: Path) -> bool:
    return (folder / "meta.json").is_file() and (folder / "x.npy").is_file()


def open_pack(folder: Path) -> Pack:
    """Opens a packed folder, checking meta.json whole and the others by their size (`Pack.verify` reads them).

    Raises IntegrityError naming the file that is not as it was written.
    """
    where = shown(folder)
    try:
        sealed = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        about = sealed["meta"]
        intact = sealed["sha256"] == seal(about)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise IntegrityError(f"{where}/meta.json is damaged: {e}") from e
    if not intact:
        raise IntegrityError(f"{where}/meta.json is damaged: its sha256 is not what it says itself")
    if about.get("format") != FORMAT:
        raise IntegrityError(f"{where} has format {about.get('format')}; this version reads {FORMAT}: pack it again")
    try:
        meta: Meta = TypeAdapter(Meta).validate_python(about)
    except ValidationError as e:
        raise IntegrityError(f"{where}/meta.json is not what this version writes: {e}") from e
    for name, file in meta.files.items():
        path = folder / name
        if name not in ("x.npy", "y.npy", "tokens.npy", "captions.json"):
            raise IntegrityError(f"{where}/meta.json lists {shown(name)!r}, which is no part of a pack")
        size = path.stat().st_size if path.is_file() else None
        if size != file.bytes:
            raise IntegrityError(f"{shown(path)} has {size or 'no'} bytes where meta.json says {file.bytes}")
    x = mapped(folder, "x.npy", meta)
    if x is None or x.shape[1:] != meta.x.shape:
        raise IntegrityError(f"{where}/x.npy does not hold {meta.x}")
    return Pack(meta, x, mapped(folder, "y.npy", meta), mapped(folder, "tokens.npy", meta), folder)


def mapped(folder: Path, name: str, meta: Meta) -> np.ndarray | None:
    if name not in meta.files:
        return None
    try:
        # "c": a private, writable view; torch warns of arrays that it may not write to
        return np.load(folder / name, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError) as e:
        raise IntegrityError(f"{shown(folder / name)} is damaged: {e}") from e


def cache_folder(cache: str | Path | None) -> Path:
    """`cache`, or TRIPTYCH_CACHE, or the user's cache folder of this platform."""
    if cache is not None:
        return Path(cache)
    if chosen := os.environ.get("TRIPTYCH_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "triptych"


def cached(name: str, stamp: str, read: Reader, options: Options, cache: str | Path | None) -> Pack:
    """The pack of a source from the cache, made now if it is not there or is damaged.

    If the cache cannot be written, the pack is made in memory and a warning is logged.
    """
    key = sha256_of(str(FORMAT), stamp, str(options))[:32]
    folder = cache_folder(cache) / "data" / f"{''.join(c if c.isalnum() else '-' for c in name)[:40]}-{key}"
    if (folder / "meta.json").exists():
        try:
            return open_pack(folder)
        except IntegrityError as e:
            log.warning("%s; packing it again", e)
    try:
        return install(folder, name, read, options)
    except CannotWrite as e:
        log.warning("%s cannot be written (%s): %s is held in memory", shown(folder.parent), e.__cause__, name)
        return build(name, read, options, None)


def install(folder: Path, name: str, read: Reader, options: Options) -> Pack:
    """Builds a pack beside `folder` and renames it there, over what may be there already. Raises CannotWrite."""
    with writing():
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".packing-", dir=folder.parent))
    try:
        built = temporary / "new"
        with writing():
            built.mkdir()
        build(name, read, options, built)
        with writing():
            try:
                os.replace(built, folder)
            except OSError:
                # A folder that is not empty is not replaced. Another process may just have put the same pack there;
                # if not, what is there is damaged and goes.
                if not intact(folder):
                    os.replace(folder, temporary / "old")
                    os.replace(built, folder)
        return open_pack(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def intact(folder: Path) -> bool:
    try:
        open_pack(folder)
    except IntegrityError:
        return False
    return True


def sweep(folder: Path) -> None:
    """Removes what killed processes have left half done, a day later."""
    for path in folder.glob(".packing-*"):
        if time.time() - path.stat().st_mtime > 86400:
            shutil.rmtree(path, ignore_errors=True)
