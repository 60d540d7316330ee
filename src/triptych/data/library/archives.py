"""The files inside a package's archive, read in place: a wheel (zip), an npm package (tar) or a Debian one (ar of tar).

Nothing is unpacked. An archive that could do harm (names that climb out, more than it could honestly hold) is refused
as a whole, although its sha256 has been checked before; links and devices are never followed.
"""

import tarfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from triptych.core import DataError, IntegrityError
from triptych.data.files import LARGEST_FILE, MANY_BYTES, RATIO, Zip, shown

AR, ENTRY = b"!<arch>\n", 60
"""How an ar archive begins, and the bytes of the header of each file in it (see `man 5 ar`)."""

Wanted = Callable[[str], bool]


def members(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Name and content of those files of an archive whose names are `wanted`, in the order in which they lie in it.

    Raises IntegrityError if the archive is not safe to read, DataError if it is damaged.
    """
    if path.suffix == ".whl":
        yield from in_zip(path, wanted)
        return
    try:
        with path.open("rb") as file:
            if path.suffix == ".deb":
                find_data(file, shown(path))
            # "r|*": read once from front to end, however compressed; nothing is looked up by what the archive says
            with tarfile.open(fileobj=file, mode="r|*") as tar:
                yield from in_tar(tar, path, wanted)
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError) as e:
        raise DataError(f"{shown(path)} is damaged ({e}); remove it and get it again") from e


def in_zip(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    archive = Zip(path, shown(path))
    for name, size in archive.files.items():
        if wanted(name):
            check_size(name, size, path)
            try:
                yield name, archive.read(name)
            except OSError as e:
                raise DataError(f"{shown(path)} is damaged ({e}); remove it and get it again") from e


def find_data(file: IO[bytes], name: str) -> None:
    """Moves to where the files of a Debian package begin (data.tar.xz). Raises DataError."""
    if file.read(len(AR)) != AR:
        raise DataError(f"{name} is no Debian package")
    while len(header := file.read(ENTRY)) == ENTRY:
        entry, size = header[:16].decode("latin-1").rstrip(" /"), header[48:58].decode("latin-1").strip()
        if not size.isdecimal():
            break
        if entry.startswith("data.tar"):
            return
        file.seek(int(size) + int(size) % 2, 1)
    raise DataError(f"{name} is no Debian package: it holds no data.tar")


def in_tar(tar: tarfile.TarFile, path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    most, total = max(MANY_BYTES, RATIO * path.stat().st_size), 0
    for entry in tar:
        name = entry.name.removeprefix("./")
        where = PurePosixPath(name)
        if where.is_absolute() or ".." in where.parts:
            raise IntegrityError(f"{shown(path)} holds {shown(entry.name)!r}, a name that leads out of the archive")
        total += entry.size
        if total > most:
            raise IntegrityError(f"{shown(path)} claims to hold more than {most:,} bytes: it is built like a bomb")
        if not wanted(name):
            continue
        if not entry.isreg():
            if entry.isdir():
                continue
            raise IntegrityError(f"{shown(path)} holds {shown(name)!r}, a link or a device; only files are read")
        check_size(name, entry.size, path)
        content = tar.extractfile(entry)
        assert content is not None  # it is a regular file
        yield name, content.read()


def check_size(name: str, size: int, path: Path) -> None:
    if size > LARGEST_FILE:
        raise IntegrityError(f"{shown(path)}: {shown(name)} has {size:,} bytes; at most {LARGEST_FILE:,} are read")
