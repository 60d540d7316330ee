"""What a person brings, and what they take home: one file each, of a kind that programs elsewhere open."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from PIL import Image

from triptych.errors import UsageError
from triptych.io.commit import write_atomic


class BadFile(ValueError):
    """A file that is nothing we can use; the message says why."""


class Work:
    """A picture (`Photo`), a sound (`Clip`) or a text (`Writing`): what a task is asked with, and what it answers."""

    endings: ClassVar[tuple[str, ...]]
    """What the names of its files end in; the first is taken where nobody says."""
    suffixes: ClassVar[frozenset[str]]
    """What the names of files end in that are read as one."""
    name: str
    """What to call it in messages."""

    @classmethod
    def read(cls, source: Any) -> Self:
        """One from a file, or from what stands for one in Python. Raises UsageError naming what is wrong with it."""
        raise NotImplementedError

    def encode(self, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """The bytes of a file whose name ends so; `about` goes along where such a file has room for words.

        Raises UsageError for an ending that is not written.
        """
        raise NotImplementedError

    def image(self) -> Image.Image:
        """As a picture to look at."""
        raise NotImplementedError

    def save(self, path: str | Path, about: Mapping[str, str] | None = None) -> Path:
        """Writes a file, whole or not at all; the ending of its name says of what kind. Raises as `encode`."""
        return write_atomic(path, self.encode(Path(path).suffix, about))

    @classmethod
    def whole(cls, folder: Path) -> bool:
        """Whether a folder is one of these, and not a folder of them."""
        return False

    @classmethod
    def check_ending(cls, ending: str, what: str) -> str:
        """The ending in small letters. Raises UsageError for one that is not written."""
        if ending.lower() not in cls.endings:
            raise UsageError(f"{what}: name a file that ends in {', '.join(e for e in cls.endings if e)}")
        return ending.lower()
