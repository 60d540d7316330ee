"""Folders and archives (zip, tar), read the same way: a tree of regular files, by name, with what was wrong in it.

Nothing is ever extracted. What is not a plain file (a FIFO, a device, a dangling or circular link) is reported and
left alone; an archive that could do harm (names that climb out, links, bombs) is refused as a whole.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

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


LEFT_BEHIND = frozenset(
    ["__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found"]
) | frozenset(["@eadir", "#recycle", "@recycle"])
"""Files and folders that nobody put among their data, in small letters."""


def hidden(name: str) -> bool:
    """Left behind by an operating system, or meant not to be seen."""
    parts = PurePosixPath(name).parts
    return any(p.startswith(".") or p.lower() in LEFT_BEHIND for p in parts)


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


class Archive(ABC):
    """An archive, read in place. Names are those of the files that went in, whoever made it: with backslashes or with
    slashes, "./" before them or not."""

    def __init__(self, name: str, stamp: str, packed: int):
        self.name, self.stamp, self.packed = name, stamp, packed
        self.files, self.problems = dict[str, int](), list[Problem]()

    def check_sizes(self, sizes: Iterable[int]) -> None:
        """Raises IntegrityError if the archive claims to hold absurdly much."""
        if (total := sum(sizes)) > max(MANY_BYTES, RATIO * self.packed):
            raise IntegrityError(
                f"{self.name} claims to hold {total:,} bytes in {self.packed:,}: it is built like a decompression bomb"
            )

    def inner_name(self, said: str) -> str:
        """A name as it is used here; "" for the archive itself. Raises IntegrityError for one that leads out of it."""
        where = PurePosixPath(said.replace("\\", "/"))
        if where.is_absolute() or ".." in where.parts or re.match("[A-Za-z]:", said) or "\0" in said:
            raise IntegrityError(f"{self.name} holds {shown(said)!r}, a name that leads out of the archive")
        return str(where) if where.parts else ""

    def list_files(self, sizes: Iterable[tuple[str, int]]) -> None:
        """Takes over names and sizes, in the order of the archive."""
        named = [(name, size) for name, size in sizes if name and not hidden(name)]
        times = Counter(name for name, _ in named)
        sizes_of = dict(named)
        self.files = {name: sizes_of[name] for name in sorted(times)}
        self.problems = [
            Problem(file=shown(name), reason=f"{times[name]} times in the archive; the last one is taken")
            for name in self.files
            if times[name] > 1
        ]

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """One file, to be read. Raises errors of many types for damaged data."""

    def read(self, name: str) -> bytes:
        return b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        try:
            with self.open(name) as file:
                while piece := file.read(PIECE):
                    yield piece
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as e:
            raise OSError(str(e)) from e
        except Exception as e:  # zlib, bz2 and lzma each have an error of their own for damaged data
            raise OSError(f"damaged in the archive ({e})") from e


class Zip(Archive):
    """A zip file. Raises IntegrityError if it is not safe to read, DataError if it is damaged or encrypted."""

    def __init__(self, source: Path | bytes, name: str):
        at_path = isinstance(source, Path)
        stamp = sha256_file(source) if at_path else hashlib.sha256(source).hexdigest()  # type: ignore[arg-type]
        super().__init__(name, stamp, source.stat().st_size if at_path else len(source))  # type: ignore[union-attr, arg-type]
        try:
            self.zip = zipfile.ZipFile(source if at_path else io.BytesIO(source))  # type: ignore[arg-type]
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as e:
            raise DataError(f"{self.name} cannot be read as a zip archive: {e}") from e
        entries = self.zip.infolist()
        names = [self.checked(entry) for entry in entries]
        self.check_sizes(e.file_size for e in entries)
        if sum(e.compress_size for e in entries) > self.packed:
            raise IntegrityError(f"{self.name} holds files that overlap: it is built like a decompression bomb")
        found = [(name, entry) for name, entry in zip(names, entries, strict=True) if not is_folder(entry)]
        self.entries = dict(found)
        self.list_files((name, entry.file_size) for name, entry in found)

    def checked(self, entry: zipfile.ZipInfo) -> str:
        """The name of an entry. Raises as the class does."""
        name, kind = written_name(entry), entry.external_attr >> 16
        inner = self.inner_name(name)
        if not inner and not is_folder(entry):
            raise IntegrityError(f"{self.name} holds {shown(name)!r}, a name that leads out of the archive")
        if stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise IntegrityError(f"{self.name} holds {shown(name)!r}, a link or a device; only files are read")
        if entry.flag_bits & 1:
            raise DataError(f"{self.name} is encrypted ({shown(name)!r}); pack it again without a password")
        return inner

    def open(self, name: str) -> IO[bytes]:
        return self.zip.open(self.entries[name])


def written_name(entry: zipfile.ZipInfo) -> str:
    """The name of an entry as it was meant: many tools write UTF-8 and do not say so."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode()
    except UnicodeError:
        return entry.filename  # it is in DOS's own encoding, as an archive that says nothing should be


def is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith(("/", "\\")) or stat.S_ISDIR(entry.external_attr >> 16)


class Tar(Archive):
    """A tar file, compressed or not. A compressed one is inflated into a temporary file without a name.

    Raises IntegrityError if it is not safe to read, DataError if it is damaged.
    """

    def __init__(self, path: Path, name: str):
        super().__init__(name, sha256_file(path), path.stat().st_size)
        try:
            file = self.inflated(path)
            weakref.finalize(self, file.close)
            self.tar = tarfile.open(fileobj=file, mode="r:")
            members = self.tar.getmembers()
        except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, ValueError, OSError) as e:
            raise DataError(f"{self.name} cannot be read as a tar archive: {e}") from e
        found = [(self.inner_name(member.name), member) for member in members]
        files = {inner: member for inner, member in found if member.isfile()}
        found = [(inner, self.of_two_names(member, files)) for inner, member in found if not member.isdir()]
        self.check_sizes(member.size for _, member in found)
        self.members = dict(found)
        self.list_files((inner, member.size) for inner, member in found)

    def of_two_names(self, member: tarfile.TarInfo, files: Mapping[str, tarfile.TarInfo]) -> tarfile.TarInfo:
        """The file that a member is: tar holds one of two names once, and a hard link. Raises IntegrityError."""
        same = files.get(str(PurePosixPath(member.linkname))) if member.islnk() else None
        if same is None and not member.isfile():
            raise IntegrityError(f"{self.name} holds {shown(member.name)!r}, a link or a device; only files are read")
        return same or member

    def inflated(self, path: Path) -> IO[bytes]:
        """The tar file itself. Raises IntegrityError once it is larger than `check_sizes` allows."""
        kinds: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
        with path.open("rb") as file:
            opener = kinds.get(file.read(2))
        if opener is None:
            return path.open("rb")
        whole, size = tempfile.TemporaryFile(), 0
        try:
            with opener(path) as packed:
                while piece := packed.read(PIECE):
                    self.check_sizes([size := size + len(piece)])
                    whole.write(piece)
        except BaseException:
            whole.close()
            raise
        whole.seek(0)
        return whole

    def open(self, name: str) -> IO[bytes]:
        file = self.tar.extractfile(self.members[name])
        assert file is not None
        return file


TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def reason_of(error: OSError) -> str:
    """What the operating system said, without the path."""
    return (error.strerror or str(error) or type(error).__name__).lower()
