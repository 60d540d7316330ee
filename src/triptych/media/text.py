"""Text that somebody brings and takes home."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from triptych.core.reading import read_file
from triptych.errors import UsageError
from triptych.media import pictures
from triptych.media.work import Work


@dataclass(frozen=True, eq=False)
class Writing(Work):
    """A text: words that a model is asked with, or what it wrote."""

    endings: ClassVar[tuple[str, ...]] = (".txt",)
    suffixes: ClassVar[frozenset[str]] = frozenset((".txt", ".md"))
    text: str
    name: str = "the text"

    @classmethod
    def read(cls, source: "Path | str") -> "Writing":
        """The text of a file of UTF-8, if a path is given; a string is the text itself."""
        if isinstance(source, str):
            return cls(source)
        try:
            return cls(read_file(source).decode("utf-8-sig").replace("\r\n", "\n"), str(source))
        except UnicodeDecodeError as e:
            raise UsageError(f"{source} is not text in UTF-8: {e.reason} at byte {e.start}") from e
        except OSError as e:
            raise UsageError(f"{source} cannot be read: {e.strerror or e}") from e

    def encode(self, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        self.check_ending(ending, f"a text as {ending or 'a name without an ending'}")
        return f"{self.text.removesuffix(chr(10))}\n".encode("utf-8", "replace")

    def image(self) -> Image.Image:
        return pictures.page([self.text], width=48, height=12)
