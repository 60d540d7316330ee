"""Points and other numbers: a file of them, and the plane that they lie in."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from triptych.core import Points, UsageError
from triptych.media import pictures
from triptych.media.arrays import load
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.work import BadFile

APART = re.compile(r"[\s,;]+")


class PointMedium(Medium[Points]):
    """Each file holds one point: an array, or numbers with spaces or commas between."""

    name: ClassVar[str] = "point"
    formats: ClassVar[tuple[str, ...]] = ("NPY", "CSV")
    suffixes: ClassVar[frozenset[str]] = frozenset((".npy", ".csv"))
    ending: ClassVar[str] = ".csv"

    def survey(self, files: Iterable[bytes]) -> Points:
        dims, failed = 0, list[str]()
        for data in files:
            try:
                dims = dims or len(numbers(data))
            except BadFile as e:
                failed.append(str(e))
        surveyed(failed, dims > 0)
        return Points(dims)

    def read(self, space: Points, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """float32 [dims]."""
        found = numbers(data)
        if len(found) != space.dims:
            raise BadFile(f"{len(found)} numbers, where {space.dims} are wanted")
        return found

    def write(self, space: Points, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        return (",".join(f"{value:.9g}" for value in x[0].tolist()) + "\n").encode()

    def sheet(self, space: Points, x: Tensor) -> Image.Image:
        """A scatter of points of the plane; else the numbers."""
        if space.dims == 2:
            return pictures.scatter(x.cpu())
        return pictures.page([", ".join(f"{value:.4g}" for value in row) for row in x[:24].tolist()])

    def text(self, space: Points, x: Tensor) -> list[str] | None:
        """The number, of one dimension."""
        return [f"{value:.6g}" for value in x[:, 0].tolist()] if space.dims == 1 else None

    def check_ending(self, space: Points, ending: str, what: str) -> None:
        if ending not in (self.endings if space.dims == 2 else (".npz",)):
            raise UsageError(f"{what}: points are written as .npz, and those of a plane as .png, too")


def numbers(data: bytes) -> np.ndarray:
    """float32 [n]. Raises BadFile."""
    if data[:6] == b"\x93NUMPY":
        found = load(data).reshape(-1)
        if not np.issubdtype(found.dtype, np.number) or np.iscomplexobj(found):
            raise BadFile(f"it holds {found.dtype}, not numbers")
        values = found.astype(np.float32)
    else:
        try:
            values = np.array(
                [float(word) for word in APART.split(data.decode("utf-8-sig").strip()) if word], np.float32
            )
        except (UnicodeDecodeError, ValueError) as e:
            raise BadFile(f"not numbers with commas or spaces between ({e})") from e
    if not values.size or not np.isfinite(values).all():
        raise BadFile("it holds NaN or infinity" if values.size else "no numbers in it")
    return values
