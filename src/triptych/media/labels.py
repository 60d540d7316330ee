"""Classes: their names in a file, and on a page."""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from triptych.core import Labels, UsageError
from triptych.core.classes import Classes
from triptych.media import pictures
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.work import BadFile

MOST_SHOWN = 36


class LabelMedium(Medium[Classes]):
    """Each file holds the name, or the number, of a class."""

    name: ClassVar[str] = "label"
    formats: ClassVar[tuple[str, ...]] = ("TXT",)
    suffixes: ClassVar[frozenset[str]] = frozenset((".txt",))
    ending: ClassVar[str] = ".txt"
    endings: ClassVar[tuple[str, ...]] = (".txt", ".png", ".npz")

    def survey(self, files: Iterable[bytes]) -> Labels:
        names, failed = set[str](), list[str]()
        for data in files:
            try:
                names.add(word(data))
            except BadFile as e:
                failed.append(str(e))
        surveyed(failed, bool(names))
        return Labels(len(names), names=tuple(sorted(names)))

    def read(self, space: Classes, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """int64 []."""
        try:
            return np.array(space.number(word(data)), np.int64)
        except UsageError as e:
            raise BadFile(str(e)) from e

    def write(self, space: Classes, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        return f"{self.text(space, x)[0]}\n".encode()

    def sheet(self, space: Classes, x: Tensor) -> Image.Image:
        return pictures.page(self.text(space, x[:MOST_SHOWN]))

    def text(self, space: Classes, x: Tensor) -> list[str]:
        return ["unknown" if k < 0 else space.called[k] for k in x.tolist()]

    def together(self, space: Classes, x: Tensor, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        if ending == ".txt":
            return ("\n".join(self.text(space, x)) + "\n").encode()
        return super().together(space, x, ending, about)


def word(data: bytes) -> str:
    """Raises BadFile."""
    try:
        found = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as e:
        raise BadFile(f"not text in UTF-8 ({e.reason})") from e
    if not found:
        raise BadFile("no name in it")
    return found
