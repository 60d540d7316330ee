"""A picture that somebody brings and takes home: as deep, as transparent and as upright as its file says.

Training sees 8 bits on white (`media.images.decode`); what a model makes of one picture comes back as the picture
came: 16 bits stay 16 bits, what was transparent stays so, a colour profile goes along.
"""

import io
import logging
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from triptych.core.reading import read_file
from triptych.errors import UsageError
from triptych.media.images import (
    BITS_PER_SAMPLE,
    SUFFIXES,
    BadImage,
    decode_grey_index,
    grey_or_rgb,
    on_white,
    open_picture,
)
from triptych.media.maps import ClassTable, read_map
from triptych.media.work import Work

log = logging.getLogger(__name__)

ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""What pictures are written as, by the ending of the file's name."""
LARGE, ROWS = 1 << 25, 64
"""Numbers of a picture beyond which it is written a few rows at a time; and how many."""
LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""


@dataclass(frozen=True, eq=False)
class Photo(Work):
    """A picture with all that its file holds of it."""

    endings: ClassVar[tuple[str, ...]] = tuple(ENDINGS)
    suffixes: ClassVar[frozenset[str]] = SUFFIXES
    pixels: np.ndarray
    """uint8 or uint16 [height, width, channels], one channel or three; opaque."""
    alpha: np.ndarray | None = None
    """[height, width], of the same type: how opaque each pixel is."""
    profile: bytes | None = None
    """The ICC profile that says what the colors mean."""
    name: str = "the picture"
    """What to call it in messages."""

    @classmethod
    def of(cls, x: Float[Tensor, "channels height width"]) -> "Photo":
        """A picture of 8 bits of values in [-1, 1]: one channel or three."""
        levels = ((x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0)
        return cls(levels.numpy().astype(np.uint8))

    def opaque(self) -> "Photo":
        """What is transparent shows white, as in training."""
        if self.alpha is None:
            return self
        share = self.alpha[..., None].astype(np.float64) / self.top
        pixels = np.rint(self.pixels * share + self.top * (1 - share)).astype(self.pixels.dtype)
        return replace(self, pixels=pixels, alpha=None)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[2])

    @property
    def top(self) -> int:
        """The highest value: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)

    def tensor(
        self, channels: int | None = None, part: tuple[int, int, int, int] | None = None
    ) -> Float[Tensor, "1 channels height width"]:
        """Values in [-1, 1]; in so many channels: grey three times over, or the luma of color; of the whole picture or
        of a part (top, left, bottom, right)."""
        top, left, bottom, right = part or (0, 0, self.height, self.width)
        pixels = self.pixels[top:bottom, left:right].astype(np.float32)
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].mul_(2 / self.top).sub_(1)
        if channels == 3 and self.channels == 1:
            x = x.expand(-1, 3, -1, -1)
        elif channels == 1 and self.channels == 3:
            x = (x * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        elif channels not in (None, self.channels):
            raise UsageError(f"{self.name} has {self.channels} channels; {channels} are asked for")
        return x

    def levels(self, x: Float[Tensor, "channels height width"]) -> np.ndarray:
        """Values in [-1, 1] as this picture's own: of its depth and its number of channels, [height, width, channels].

        Three channels of a grey picture become their mean, one of a color picture is repeated.
        """
        x = (x.detach().float().cpu().clamp(-1, 1) + 1) * (self.top / 2)
        if self.channels == 1 and len(x) == 3:
            x = x.mean(0, keepdim=True)
        values = x.round().permute(1, 2, 0).numpy().astype(self.pixels.dtype)
        return np.repeat(values, 3, 2) if self.channels == 3 and values.shape[2] == 1 else values

    def image(self) -> Image.Image:
        """As a PIL image: 8 bits a channel."""
        pixels, alpha = shallow(self.pixels), None if self.alpha is None else shallow(self.alpha)
        image = Image.fromarray(pixels[..., 0] if self.channels == 1 else pixels)
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
        return image

    @classmethod
    def read(cls, source: "Path | str | bytes | Image.Image | np.ndarray") -> "Photo":
        """As `read_photo`."""
        return read_photo(source)

    def encode(self, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """As the function `encode`."""
        return encode(self, ending, about)

    def __repr__(self) -> str:
        return f"<photo {self.height} x {self.width} (height x width), {self.channels} channels, up to {self.top}>"

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        return encode(self, ".png")

    def resized(self, height: int, width: int, alpha_only: bool = False) -> "Photo":
        """Scaled with a bicubic filter, antialiased where it shrinks; with `alpha_only`, no pixels but alpha."""
        alpha = None if self.alpha is None else plane_resized(self.alpha, height, width)
        if alpha_only:
            return replace(self, alpha=alpha)
        planes = [plane_resized(self.pixels[..., c], height, width) for c in range(self.channels)]
        return replace(self, pixels=np.stack(planes, -1), alpha=alpha)


def shallow(values: np.ndarray) -> np.ndarray:
    """As 8 bits."""
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def plane_resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    top = np.iinfo(plane.dtype).max
    image = Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.rint(np.asarray(image)).clip(0, top).astype(plane.dtype)


def read_photo(source: "Path | str | bytes | Image.Image | np.ndarray | Photo") -> Photo:
    """A picture from a file, its bytes, a PIL image, or an array, uint8 or uint16 [height, width(, 1, 3 or 4)]; a
    `Photo` is one already.

    It is turned as EXIF asks. Raises UsageError naming the file and what is wrong with it.
    """
    if isinstance(source, Photo):
        return source
    if isinstance(source, np.ndarray):
        return of_array(source)
    if isinstance(source, Image.Image):
        return of_image(source, source, "the picture")
    name = "the picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_file(Path(source))
        with open_picture(data) as image:
            if image.format != "MPO" and getattr(image, "is_animated", False):
                log.info("%s: animated: only its first frame is taken", name)
            return of_deep_color(data, image, name) or of_image(image, image, name)
    except BadImage as e:
        raise UsageError(f"{name}: {e}") from e
    except OSError as e:
        raise UsageError(f"{name} cannot be read: {e.strerror or e}") from e


def read_index(source: "Path | str | bytes | Image.Image | np.ndarray", table: ClassTable) -> np.ndarray:
    """A label map, uint8 [height, width], from what `read_photo` takes; an array of classes is [height, width].

    Raises UsageError naming the file, and what is wrong with it or its classes.
    """
    name = "the map" if isinstance(source, bytes | Image.Image | np.ndarray) else str(source)
    try:
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (1,), (3,)):
                takes = "uint8 [height, width] of classes, or [height, width, 3] of their colours"
                raise BadImage(f"a map is an array {takes}; this one is {source.dtype} {list(source.shape)}")
            source = Image.fromarray(source[..., 0] if source.shape[2:] == (1,) else source)
        if isinstance(source, Image.Image):
            return read_map(source, np.asarray(source) if source.mode == "L" else None, table)
        return read_map(*decode_grey_index(source if isinstance(source, bytes) else read_file(Path(source))), table)
    except BadImage as e:
        raise UsageError(f"{name}: {e}") from e
    except OSError as e:
        raise UsageError(f"{name} cannot be read: {e.strerror or e}") from e


def of_array(a: np.ndarray) -> Photo:
    a = a[..., None] if a.ndim == 2 else a
    if a.dtype not in (np.uint8, np.uint16) or a.ndim != 3 or a.shape[2] not in (1, 2, 3, 4) or 0 in a.shape:
        takes = "uint8 or uint16 [height, width] or [height, width, 1, 3 or 4]"
        raise UsageError(f"a picture is an array {takes}; this one is {a.dtype} {list(a.shape)}")
    color = a.shape[2] - (a.shape[2] % 2 == 0)
    return Photo(np.ascontiguousarray(a[..., :color]), a[..., color] if a.shape[2] > color else None)


def of_image(image: Image.Image, file: Image.Image, name: str) -> Photo:
    """`file` is the picture as it was opened: it knows its format and its tags."""
    profile = file.info.get("icc_profile") or None
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16") and "transparency" not in upright.info and plain_grey(file):
        return Photo(np.asarray(upright).astype(np.uint16)[..., None], None, profile, name)
    if upright.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in upright.info:
        whole = np.asarray(upright.convert("RGBA"))
        grey = upright.mode in ("LA", "La", "L", "1")
        return Photo(whole[..., :1] if grey else whole[..., :3], whole[..., 3], profile, name)
    if upright.mode == "CMYK":
        profile = None  # it speaks of inks, and these become red, green and blue
    pixels = np.asarray(grey_or_rgb(upright, file))
    return Photo(pixels[..., None] if pixels.ndim == 2 else pixels, None, profile, name)


def plain_grey(file: Image.Image) -> bool:
    """Whether a 16-bit grey file means 0 as black and 65535 as white."""
    tags: Mapping[int, Any] = getattr(file, "tag_v2", {})
    return 12 not in np.ravel(tags.get(BITS_PER_SAMPLE, 16)) and tags.get(262, 1) != 0


def of_deep_color(data: bytes, image: Image.Image, name: str) -> Photo | None:
    """A PNG or TIFF picture of 16 bits a color; None where it is something else.

    Pillow keeps the high byte of each number. Told that the bytes lie the other way round, it keeps the low one: so
    both are had by decoding twice.
    """
    tiles: list[Any] = getattr(image, "tile", [])
    if len(tiles) != 1 or image.format not in ("PNG", "TIFF"):
        return None
    codec, extents, offset, args = tiles[0]
    first = args[0] if isinstance(args, tuple) and args else args
    mode, _, kind = str(first).partition(";")
    if mode not in ("RGB", "RGBA", "LA") or kind not in ("16B", "16L", "16N"):
        return None

    def told(raw: str) -> np.ndarray:
        """The picture, had its bytes been laid out like this."""
        with open_picture(data) as again:
            reader: Any = again
            reader.tile = [(codec, extents, offset, (raw, *args[1:]) if isinstance(args, tuple) else raw)]
            again.load()
            return np.asarray(ImageOps.exif_transpose(again)).astype(np.uint16)

    if mode == "LA":  # opened as RGBA: four bytes, high and low of grey and of alpha
        parts = told("RGBA")
        whole = parts[..., ::2] << 8 | parts[..., 1::2]
    else:
        high, low = told(f"{mode};16B"), told(f"{mode};16L")
        if kind == "16L" or (kind == "16N" and sys.byteorder == "little"):
            high, low = low, high
        whole = high << 8 | low
    color = 1 if mode == "LA" else 3
    profile = image.info.get("icc_profile") or None
    return Photo(whole[..., :color], whole[..., color] if mode != "RGB" else None, profile, name)


def encode(photo: Photo, ending: str, text: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file with this ending; `text` goes into PNG files.

    JPEG drops alpha (composited on white) and depth, WebP and TIFF drop depth of color: PNG keeps all.
    Raises UsageError for an ending that we do not write.
    """
    kind = ENDINGS.get(ending.lower())
    if kind is None:
        raise UsageError(f"pictures are written as {', '.join(ENDINGS)}; not as {ending or 'a name without an ending'}")
    if kind == "PNG" and (photo.pixels.dtype == np.uint16 or photo.pixels.size > LARGE):
        return b"".join(png_chunks(photo, text or {}))
    image = photo.image()
    if photo.alpha is not None and kind == "JPEG":
        image = on_white(image)
    out, options = io.BytesIO(), dict[str, Any]()
    if photo.profile:
        options["icc_profile"] = photo.profile
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        for key, value in (text or {}).items():
            info.add_text(key, value)
        options["pnginfo"] = info
    elif kind in ("JPEG", "WEBP"):
        options["quality"] = 95
    image.save(out, kind, **options)
    return out.getvalue()


def png_chunks(photo: Photo, text: Mapping[str, str]) -> Iterator[bytes]:
    """A PNG file (ISO/IEC 15948) piece by piece: of 16 bits a channel, which Pillow does not write in color, or of a
    picture so large that a second copy of it is a burden."""
    depth = 8 * photo.pixels.itemsize
    color_type = {1: 0, 3: 2}[photo.channels] + (0 if photo.alpha is None else 4)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    yield b"\x89PNG\r\n\x1a\n"
    yield chunk(b"IHDR", struct.pack(">IIBBBBB", photo.width, photo.height, depth, color_type, 0, 0, 0))
    if photo.profile:
        yield chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.profile))
    for key, value in text.items():
        yield chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + value.encode())
    packer, above = zlib.compressobj(6), None
    for top in range(0, photo.height, ROWS):
        strip = photo.pixels[top : top + ROWS]
        if photo.alpha is not None:
            strip = np.concatenate([strip, photo.alpha[top : top + ROWS, :, None]], 2)
        rows = strip.astype(f">u{depth // 8}").reshape(len(strip), -1).view(np.uint8)
        above = np.zeros_like(rows[:1]) if above is None else above
        differences = rows - np.vstack([above, rows[:-1]])  # filter 2: to the row above
        above, packed = rows[-1:], packer.compress(np.insert(differences, 0, 2, axis=1).tobytes())
        if packed:
            yield chunk(b"IDAT", packed)
    yield chunk(b"IDAT", packer.flush())
    yield chunk(b"IEND", b"")
