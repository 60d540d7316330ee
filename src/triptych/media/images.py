"""Image files to 8-bit pixels that mean what the file says.

Decided here, once: pictures are turned as their EXIF orientation asks; transparency is composited on white; a 16-bit
grey picture is scaled (v / 257), not clipped; of an animation the first frame is taken; colour profiles are ignored;
what has no fixed scale (floating point, 32-bit integers) is refused. Only the formats of `FORMATS` are ever decoded.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from triptych.errors import TriptychError
from triptych.media.work import BadFile

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset((".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
MOST_PIXELS = 1 << 26
"""A picture of more pixels than this (8192 x 8192) is taken for a bomb: nothing here trains on one."""

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, WHITE_IS_ZERO = 258, 259, 262, 0
PLANES, SAMPLE_FORMAT, SUBSAMPLING, EXTRA = 284, 339, 530, 338
STRIPS, STRIP_BYTES, ORIENTATION = 273, 279, 274
"""Tags of TIFF 6.0."""


class BadImage(BadFile):
    """A file that is no picture we can use; the message says why."""


@dataclass(frozen=True)
class Decoded:
    pixels: np.ndarray
    """uint8 [channels, height, width]; one channel where the picture is grey."""
    note: str | None
    """What was left out, if anything was."""
    size: tuple[int, int]
    """Height and width that it has in its file, upright."""


def decode(data: bytes, size: tuple[int, int] | None = None, channels: int | None = None) -> Decoded:
    """Decodes a whole file, so that damage anywhere in it is found.

    `size` (height, width) and `channels` (1 or 3) convert as `fit` does; without `channels`, a picture whose three
    channels are equal comes as one. Raises BadImage.
    """
    with open_picture(data) as image:
        animated = image.format != "MPO" and getattr(image, "is_animated", False)
        image.load()
        upright = ImageOps.exif_transpose(image)
        pixels = fit(grey_or_rgb(upright, image), size, channels)
    array = np.asarray(pixels)
    if channels is None and array.ndim == 3 and (array == array[..., :1]).all():
        array = array[..., 0]
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    note = "animated: only its first frame is taken" if animated else None
    return Decoded(np.ascontiguousarray(array), note, (upright.height, upright.width))


def decode_grey_index(data: bytes) -> tuple[Image.Image, np.ndarray | None]:
    """A picture, upright, and the levels of a grey one of up to 8 bits as its file has them. Raises BadImage."""
    with open_picture(data) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        deep = data[24] if image.format == "PNG" and image.mode == "L" else 8
    if upright.mode not in ("L", "1"):
        return upright, None
    levels = np.asarray(upright).astype(np.uint8)
    return upright, levels // (255 // (2**deep - 1)) if deep in (2, 4) else levels  # Pillow spreads them over 8 bits


def palette_of(data: bytes) -> tuple[tuple[int, int, int], ...] | None:
    """The colors of a PNG or BMP file's palette; None if it has none, or some of it is transparent (so that it is a
    picture of few colors). Raises BadImage."""
    with open_picture(data, header=True) as image:
        if image.mode != "P" or image.format not in ("PNG", "BMP") or "transparency" in image.info:
            return None
        levels = (image.getpalette() or [])[: 3 * 256]
        return tuple((levels[i], levels[i + 1], levels[i + 2]) for i in range(0, len(levels) - 2, 3))


@contextmanager
def open_picture(data: bytes, *, header: bool = False) -> Iterator[Image.Image]:
    """The one door through which image files are opened: of known formats only (Pillow would start Ghostscript for a
    PostScript file, whatever its name), none of more than `MOST_PIXELS`, the check sums of a PNG file looked at.

    With `header`, to know its size and the like, nothing more is looked at. Raises BadImage, also for what is wrong
    with the picture as it is worked on within the context.
    """
    if not data:
        raise BadImage("an empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadImage(f"{image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are decoded")
            if header:
                yield image
                return
            if image.format == "PNG":
                with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
                    again.verify()  # decoding alone does not look; afterwards a picture cannot be decoded
                mend_transparency(image, depth=data[24])
            tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
            check_tiff(tags)
            yield interleaved(image, tags, data) if deep_planes(tags) else image
    except UnidentifiedImageError as e:
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            kinds = "floating-point or signed numbers, or an odd count of channels or bits"
            raise BadImage(f"a TIFF of a kind that is not read ({kinds}); save it as 8-bit RGB") from e
        start = data[:16].decode("latin-1")
        raise BadImage(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture (it starts with {start!r})") from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise BadImage(f"more than {MOST_PIXELS:,} pixels, as a decompression bomb has") from e
    except (BadFile, TriptychError, MemoryError):  # of whoever looks at the picture, too
        raise
    except Exception as e:  # damaged files make the decoders raise errors of almost every type
        raise BadImage(f"damaged ({str(e).strip() or type(e).__name__})") from e


def mend_transparency(image: Image.Image, depth: int) -> None:
    """A PNG names its transparent color in its own bits, and Pillow compares that with pixels of 8. Raises BadImage."""
    clear = image.info.get("transparency")
    if isinstance(clear, int) and depth in (2, 4) and image.mode == "L":
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    elif isinstance(clear, tuple) and depth == 16:
        raise BadImage("one color of 16 bits is transparent, which is not read; save it with an alpha channel")


def check_tiff(tags: Mapping[int, Any]) -> None:
    """Raises BadImage for what Pillow decodes to something else than what the file says."""
    if 2 in np.ravel(tags.get(SAMPLE_FORMAT, 1)):
        raise BadImage("signed integer pixels have no agreed scale; convert to 8 or 16 bits")
    subsampled = tuple(np.ravel(tags.get(SUBSAMPLING, (2, 2)))) != (1, 1)
    if tags.get(PHOTOMETRIC) == 6 and tags.get(COMPRESSION) not in (6, 7) and subsampled:
        raise BadImage("YCbCr with fewer samples of color, not compressed as JPEG, is not read; save it as RGB")


def deep_planes(tags: Mapping[int, Any]) -> bool:
    """Whether each channel is stored by itself, in more than 8 bits, uncompressed: Pillow takes halves of such samples
    for samples."""
    bits = np.ravel(tags.get(BITS_PER_SAMPLE, 1))
    return tags.get(PLANES, 1) == 2 and len(bits) > 1 and max(bits) > 8 and tags.get(COMPRESSION, 1) == 1


def interleaved(image: Image.Image, tags: Mapping[int, Any], data: bytes) -> Image.Image:
    """The same picture in 8 bits, channel beside channel. Raises BadImage for what is stored in another way."""
    bits, starts, sizes = (np.ravel(tags.get(tag, 0)).tolist() for tag in (BITS_PER_SAMPLE, STRIPS, STRIP_BYTES))
    mode = {(3, 2): "RGB", (4, 2): "RGBA" if any(np.ravel(tags.get(EXTRA, 0))) else "RGBX", (4, 5): "CMYK"}
    kind, size = (len(bits), tags.get(PHOTOMETRIC)), image.width * image.height
    if set(bits) != {16} or kind not in mode or STRIPS not in tags or len(starts) != len(sizes):
        raise BadImage("planes of more than 8 bits, stored in tiles or of an odd kind, are not read; save it as PNG")
    honest = sum(sizes) == 2 * size * len(bits)  # else its strips could be the whole file, again and again
    parts = [data[start : start + length] for start, length in zip(starts, sizes, strict=True)] if honest else []
    if not honest or sum(map(len, parts)) != sum(sizes):
        raise BadImage(f"damaged (its planes do not have {2 * size * len(bits):,} bytes)")
    kept = np.frombuffer(b"".join(parts), ">u2" if data.startswith(b"MM") else "<u2").reshape(len(bits), size)
    eight = np.stack([((plane.astype(np.int32) * 255 + 32767) // 65535).astype(np.uint8) for plane in kept], 1)
    whole = Image.frombytes(mode[kind], image.size, eight.tobytes())
    whole.format = image.format
    whole.getexif()[ORIENTATION] = tags.get(ORIENTATION, 1)
    return whole


def extent(data: bytes) -> int:
    """How many pixels a picture has, by its header alone; 0 for what is none."""
    try:
        with open_picture(data, header=True) as image:
            return image.width * image.height
    except BadImage:  # it is said when it is decoded
        return 0


def grey_or_rgb(image: Image.Image, file: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel, opaque: mode "L" or "RGB". Raises BadImage.

    `file` is the picture as it was opened: it knows its format and its tags.
    """
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and file.format == "PNG"):
        return sixteen_bits(image, getattr(file, "tag_v2", {}))
    if mode in ("I", "F", "LAB"):
        kind = {"I": "32-bit or signed integer", "F": "floating-point", "LAB": "CIELAB"}[mode]
        raise BadImage(f"{kind} pixels have no agreed scale; convert to 8 or 16 bits")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return on_white(image)
    return image.convert("L" if mode in ("1", "L") else "RGB")


def on_white(image: Image.Image) -> Image.Image:
    """As RGB, in front of white where it is transparent: to leave out the transparency would show what is hidden."""
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def sixteen_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Scales 16-bit grey (Pillow's own conversion clips it), honouring what TIFF and PNG say beside the pixels."""
    pixels, top = np.asarray(image).astype(np.int32), 65535
    if 12 in np.ravel(tags.get(BITS_PER_SAMPLE, 16)):
        top = 4095
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        pixels = top - pixels
    if isinstance(clear := image.info.get("transparency"), int):
        pixels = np.where(pixels == clear, top, pixels)
    return Image.fromarray(((pixels * 255 + top // 2) // top).clip(0, 255).astype(np.uint8))


def fit(image: Image.Image, size: tuple[int, int] | None, channels: int | None) -> Image.Image:
    """Crops to the middle and resizes to `size` (height, width) with a Lanczos filter; luma (ITU-R 601) for grey."""
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)
    return image


def fit_array(pixels: np.ndarray, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """`fit` for uint8 [n, channels, height, width]."""
    if size in (None, pixels.shape[2:]) and channels in (None, pixels.shape[1]):
        return pixels
    images = (Image.fromarray(p[0] if len(p) == 1 else np.ascontiguousarray(p.transpose(1, 2, 0))) for p in pixels)
    fitted = np.stack([np.asarray(fit(image, size, channels)) for image in images])
    return fitted[:, None] if fitted.ndim == 3 else np.ascontiguousarray(fitted.transpose(0, 3, 1, 2))


def fit_index(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """`fit_array` for label maps, uint8 [n, 1, height, width]: no value that was not there comes out."""
    if size in (None, pixels.shape[2:]):
        return pixels
    assert size is not None
    maps = (ImageOps.fit(Image.fromarray(p[0]), size[::-1], Image.Resampling.NEAREST) for p in pixels)
    return np.stack([np.asarray(one) for one in maps])[:, None]
