"""What a recipe is: packages to bring, and a function that writes an ordinary folder of files from them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from triptych.core import DataError
from triptych.data.files import shown
from triptych.data.library.archives import Wanted, members
from triptych.data.library.packages import Package

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
"""A file that may be written: no name from an archive leads anywhere else."""


@dataclass(frozen=True)
class Recipe:
    """One set of the library."""

    name: str
    about: str
    """One line: what it holds and how many."""
    licence: str
    credit: str
    packages: tuple[Package, ...]
    write: Callable[["Archives", "Folder"], None]
    counts: Mapping[str, int]
    """Items of each split, as they are to come out."""
    version: int
    """Counts up whenever the folder that it writes changes: then what was written before is made again."""
    then: tuple[str, ...]
    """What to type next."""
    opens: str = ""
    """The sub-folder that the name stands for as a source, where the folder holds more than that."""

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(p.size for p in self.packages)


@dataclass(frozen=True)
class Archives:
    """Where the archives of a recipe's packages lie, by the packages' names."""

    paths: Mapping[str, Path]

    def members(self, package: str, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
        return members(self.paths[package], wanted)

    def one(self, package: str, name: str) -> bytes:
        """The content of one file. Raises DataError if it is not there."""
        for _, content in self.members(package, lambda n: n == name):
            return content
        raise DataError(f"{shown(self.paths[package])} holds no {name}")


@dataclass
class Folder:
    """A folder that is being written; it counts what is put into each split."""

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    """Items of each split."""

    def put(self, name: str, content: bytes) -> None:
        """Writes one file. Raises DataError for a name that is not plainly one of a file below this folder."""
        if not NAME.fullmatch(name) or ".." in PurePosixPath(name).parts:
            raise DataError(f"{shown(name)!r} is no name for a file of a data set")
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A CSV file with a first line of names."""
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerows([columns, *rows])
        self.put(name, text.getvalue().encode())


def png(pixels: np.ndarray | Image.Image) -> bytes:
    """uint8 [height, width] or [height, width, 3], or a picture, as a PNG file."""
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, "PNG")
    return file.getvalue()
