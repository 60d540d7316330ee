"""Folders and zip archives, read the same way: a tree of regular files, by name, with what was wrong in it.

Nothing is ever extracted. What is not a plain file (a FIFO, a device, a dangling or circular link) is reported and
left alone; an archive that could do harm (names that climb out, links, bombs) is refused as a whole.
"""

import hashlib
import io
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from triptych.core import DataError, IntegrityError, config

MANY_BYTES = 1 << 30
"""An archive or a compressed file that holds less than this is no bomb, however well it is compressed."""
RATIO = 200
"""Above that, so many times its own size is the most that it may claim to hold. Pictures reach 2, text 10."""
LARGEST_FILE = 1 << 28
"""Bytes of the largest picture or table of captions that is read into memory."""
PIECE = 1 << 20
"""Bytes of a text that are read at a time."""
DEEPEST = 64


@config
class Problem:
    """A file that was skipped, or not taken whole, and why."""

    file: str
    """Its name below the source, made printable."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


def shown(name: str | Path) -> str:
    """A file name that any terminal, table or JSON file can take: odd characters become escapes."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(*parts: str) -> str:
    """One sha256 for a list of words; no two lists share one."""
    return hashlib.sha256("".join(f"{len(p)}:{p}" for p in parts).encode("utf-8", "surrogateescape")).hexdigest()


def hidden(name: str) -> bool:
    """Left behind by an operating system, or meant not to be seen."""
    parts = PurePosixPath(name).parts
    return any(p.startswith(".") or p == "__MACOSX" for p in parts) or parts[-1].lower() in ("thumbs.db", "desktop.ini")


def pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


class Tree(Protocol):
    """Files by name ("cats/1.png"), and how to read one."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    @property
    def files(self) -> dict[str, int]:
        """Bytes of each regular file, hidden ones left out, in the order of their names."""

    @property
    def problems(self) -> list[Problem]:
        """What lies there and is no regular file."""

    @property
    def stamp(self) -> str:
        """A sha256 that changes when the content does."""

    def read(self, name: str) -> bytes:
        """The content of one file. Raises OSError."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """The content of one file, `PIECE` bytes at a time. Raises OSError."""


@dataclass
class Folder:
    """A folder and all below it; links to files and folders are followed."""

    path: Path
    files: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = shown(self.path)
        found: dict[str, tuple[int, int, int]] = {}
        status = self.path.stat()
        self.walk("", ((status.st_dev, status.st_ino),), found)
        self.files = {name: found[name][0] for name in sorted(found)}
        self.problems.sort(key=lambda p: p.file)
        # a file that became readable (its mode) or was replaced by one of the same size (its time) is another content
        self.stamp = sha256_of(*(f"{name}|{found[name]}" for name in self.files), *map(str, self.problems))

    def walk(self, below: str, above: tuple[tuple[int, int], ...], found: dict[str, tuple[int, int, int]]) -> None:
        """`above`: the folders on the way here, by device and inode, so that a link back to one is noticed."""
        with os.scandir(self.path / below) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                if hidden(name):
                    continue
                try:
                    status = entry.stat()
                    place = (status.st_dev, status.st_ino)
                    if stat.S_ISREG(status.st_mode):
                        found[name] = (status.st_size, status.st_mtime_ns, status.st_mode)
                    elif not stat.S_ISDIR(status.st_mode):
                        self.report(name, "neither a file nor a folder (a FIFO, a socket or a device)")
                    elif len(above) > DEEPEST:
                        self.report(name, f"more than {DEEPEST} folders deep")
                    elif place in above:
                        self.report(name, "a link back to a folder that holds it")
                    else:
                        self.walk(name, (*above, place), found)
                except OSError as e:
                    dangling = entry.is_symlink() and isinstance(e, FileNotFoundError)
                    self.report(name, "a link to nothing" if dangling else reason_of(e))

    def report(self, name: str, reason: str) -> None:
        self.problems.append(Problem(file=shown(name), reason=reason))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def pieces(self, name: str) -> Iterator[bytes]:
        return pieces_of(self.path / name)


class Files:
    """Some files of one folder."""

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.name, self.problems = folder, shown(folder), list[Problem]()
        self.files = {name: (folder / name).stat().st_size for name in sorted(names)}
        self.stamp = sha256_of(*(f"{name}|{sha256_file(folder / name)}" for name in self.files))

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def pieces(self, name: str) -> Iterator[bytes]:
        return pieces_of(self.folder / name)


class Archive:
    """A zip file, read in place.

    Raises IntegrityError if it is not safe to read, DataError if it is damaged or encrypted.
    """

    def __init__(self, source: Path | bytes, name: str):
        self.name = name
        packed = source.stat().st_size if isinstance(source, Path) else len(source)
        try:
            self.zip = zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source))
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as e:
            raise DataError(f"{self.name} cannot be read as a zip archive: {e}") from e
        entries = self.zip.infolist()
        for entry in entries:
            self.check(entry)
        total = sum(e.file_size for e in entries)
        if total > max(MANY_BYTES, RATIO * packed) or sum(e.compress_size for e in entries) > packed:
            raise IntegrityError(
                f"{self.name} claims to hold {total:,} bytes in {packed:,}: it is built like a decompression bomb"
            )
        times = Counter(e.filename for e in entries if not e.is_dir() and not hidden(e.filename))
        self.files = {name: self.zip.getinfo(name).file_size for name in sorted(times)}
        self.problems = [
            Problem(file=shown(name), reason=f"{times[name]} times in the archive; the last one is taken")
            for name in self.files
            if times[name] > 1
        ]
        self.stamp = sha256_file(source) if isinstance(source, Path) else hashlib.sha256(source).hexdigest()

    def check(self, entry: zipfile.ZipInfo) -> None:
        name, kind = entry.filename, entry.external_attr >> 16
        where = PurePosixPath(name.replace("\\", "/"))
        if where.is_absolute() or ".." in where.parts or re.match("[A-Za-z]:", name) or not where.parts:
            raise IntegrityError(f"{self.name} holds {shown(name)!r}, a name that leads out of the archive")
        if stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise IntegrityError(f"{self.name} holds {shown(name)!r}, a link or a device; only files are read")
        if entry.flag_bits & 1:
            raise DataError(f"{self.name} is encrypted ({shown(name)!r}); pack it again without a password")

    def read(self, name: str) -> bytes:
        return b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        try:
            with self.zip.open(name) as file:
                while piece := file.read(PIECE):
                    yield piece
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as e:
            raise OSError(str(e)) from e
        except Exception as e:  # zlib, bz2 and lzma each have an error of their own for damaged data
            raise OSError(f"damaged in the archive ({e})") from e


def reason_of(error: OSError) -> str:
    """What the operating system said, without the path."""
    return (error.strerror or str(error) or type(error).__name__).lower()
