"""Pictures as elements of `Images`: how a file is read, by a small config that is saved with what was made of it."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from triptych.core import Images, config
from triptych.core.reading import read_file
from triptych.media import pictures
from triptych.media.images import FORMATS, SUFFIXES, Decoded, decode, decode_grey_index, fit_array, fit_index
from triptych.media.maps import ClassTable, Color, read_map
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.photo import Photo, read_index, read_photo
from triptych.media.work import BadFile, Work

log = logging.getLogger(__name__)

NEARLY = 0.1
"""Of a picture that is taken for two side by side: how far from the proportions of such files it may be, as a share."""


@config
class Reading:
    """How a file becomes an element of a column."""

    kind: Literal["picture", "index"] = "picture"
    """ "index": a label map; the index of a palette, or the grey level, is the number of a class (255: of none), or its
    colour is a class's."""
    size: tuple[int, int] | None = None
    """Height and width that it is brought to; label maps without mixing their classes."""
    channels: int | None = None
    half: Literal["left", "right"] | None = field(default=None, repr=False)
    """Which half of its file it is, where a file holds two pictures side by side."""
    wide: float | None = field(default=None, repr=False)
    """Width by height of the files that it is a half of."""
    crop: int | None = field(default=None, repr=False)
    """Side of the squares that are cut out of it where it is served."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """Of a label map's classes, where a table says what there are; others are refused."""
    colors: tuple[Color, ...] = field(default=(), repr=False)

    @property
    def table(self) -> ClassTable | None:
        return ClassTable(self.names, self.colors) if self.names else None

    def __call__(self, data: bytes) -> Decoded:
        """uint8 [channels, height, width]; one channel of a label map. Raises BadImage."""
        if self.kind == "index":
            index = read_map(*decode_grey_index(data), self.table)
            return Decoded(fit_index(index[None, None], self.size)[0], None, (index.shape[0], index.shape[1]))
        return decode(data, self.size, self.channels)

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """The same of pictures that are decoded already, uint8 [n, channels, height, width]."""
        if self.kind == "index":
            return fit_index(pixels, self.size)
        return fit_array(pixels, self.size, self.channels)

    def brought(self, source: Any) -> "Photo | np.ndarray":
        """A file (or bytes, a PIL image, an array) that a person brings, as the files of the column were read; said
        aloud where that changes it: of two halves the one that is wanted is taken if it has the proportions of files
        that hold two. Of a label map, uint8 [height, width] of its classes.

        Raises UsageError naming the file and what is wrong with it.
        """
        if self.kind == "index":
            assert self.table is not None
            index = read_index(source, self.table)
            name = str(source) if isinstance(source, str | Path) else "the map"
            self.tell(name, index.shape, False)
            return self.fit(index[None, None])[0, 0]
        photo = read_photo(source)
        pixels = self.decoded(photo, source)
        halved = self.wide is not None and abs(photo.width / photo.height / self.wide - 1) < NEARLY
        if halved:
            pixels = np.split(pixels[..., : photo.width // 2 * 2], 2, axis=2)[self.half == "right"]
        self.tell(photo.name, pixels.shape[1:], halved)
        fitted = self.fit(np.ascontiguousarray(pixels)[None])[0]
        return Photo(np.ascontiguousarray(fitted.transpose(1, 2, 0)), name=photo.name)

    def decoded(self, photo: Photo, source: Any) -> np.ndarray:
        """uint8 [channels, height, width], of files as those of data are decoded."""
        if isinstance(source, str | Path | bytes):
            return replace(self, size=None, channels=None)(
                source if isinstance(source, bytes) else read_file(Path(source))
            ).pixels
        image = photo.opaque().image()
        pixels = np.asarray(image)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def tell(self, name: str, sides: tuple[int, ...], halved: bool) -> None:
        done = [f"its {self.half} half is taken"] if halved else []
        if self.size not in (None, sides):
            assert self.size is not None
            done.append(f"{sides[0]} x {sides[1]} is brought to {self.size[0]} x {self.size[1]} (height x width)")
        if done:
            log.info("%s: %s, as in training; as_is=True takes it as it is", name, ", ".join(done))

    def __str__(self) -> str:
        """In words: "the left half of each file, cropped to the middle and scaled to 64 x 64, in colour"."""
        what = "files as they are" if self.half is None else f"the {self.half} half of each file"
        if self.kind == "index":
            what = f"label maps{f' of {len(self.names)} classes' if self.names else ''} (255 is of no class)"
        words = [what] if self.half or self.kind == "index" or self.size is None else []
        if self.size is not None:
            words.append(f"cropped to the middle and scaled to {self.size[0]} x {self.size[1]} (height x width)")
        words += [f"squares of {self.crop} pixels cut out"] if self.crop else []
        words += (
            [{1: "grey", 3: "in colour"}[self.channels]] if self.channels in (1, 3) and self.kind == "picture" else []
        )
        return ", ".join(words)


class ImageMedium(Medium[Images]):
    """Each file is a picture, cropped to the middle and resized to the space."""

    name: ClassVar[str] = "image"
    formats: ClassVar[tuple[str, ...]] = FORMATS
    suffixes: ClassVar[frozenset[str]] = SUFFIXES
    ending: ClassVar[str] = ".png"
    pixelated: ClassVar[bool] = True
    work: ClassVar[type[Work]] = Photo

    def survey(self, files: Iterable[bytes]) -> Images:
        """The least height and width; grey, if all are."""
        shapes, failed = list[tuple[int, ...]](), list[str]()
        for data in files:
            try:
                shapes.append(Reading()(data).pixels.shape)
            except BadFile as e:
                failed.append(str(e))
        surveyed(failed, bool(shapes))
        channels, heights, widths = zip(*shapes, strict=True)
        return Images(max(channels), min(heights), min(widths))

    def read(self, space: Images, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """uint8 [channels, height, width]: levels of 256, or of two, cut at one half."""
        found = Reading(size=(space.height, space.width), channels=space.channels)(data)
        pixels = found.pixels
        if found.note:
            say(found.note)
        if space.levels == 256:
            return pixels
        kind = np.uint8 if space.levels <= 256 else np.int32
        return np.rint(pixels.astype(np.float64) * ((space.levels - 1) / 255)).astype(kind)

    def write(self, space: Images, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        return pictures.png(pictures.grid(x, pad=0), about)

    def sheet(self, space: Images, x: Tensor) -> Image.Image:
        return pictures.grid(x.cpu(), scale=2 if x.shape[-1] <= 64 else 1)

    def how_to_fit(self, has: Images, wants: Images) -> str | None:
        if wants.channels not in (1, 3):
            return None
        options = []
        if has.channels != wants.channels:
            options.append(f"channels={wants.channels}")
        if (has.height, has.width) != (wants.height, wants.width):
            square = wants.height == wants.width
            options.append(f"size={wants.height}" if square else f"size=({wants.height}, {wants.width})")
        if has.levels == wants.levels or (has.levels == 256 and wants.levels == 2 and wants.channels == 1):
            if has.levels != wants.levels:
                options.append('binary="dynamic"')
            return f"open the data with {' '.join(options)}"
        if has.levels == 2 and wants.levels == 256:
            return "open the data without binary=, or build the model with x set to what the data serves"
        return None

    def opens(self, space: Images) -> dict[str, Any]:
        size: dict[str, Any] = {"size": (space.height, space.width)}
        return size | ({"channels": space.channels} if space.channels in (1, 3) else {})
