"""Image files against reference decodes that do not use the code under test."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from triptych.media.images import BadImage, decode, fit_array

random = np.random.default_rng(0)
GREY = random.integers(0, 256, (9, 7), np.uint8)
RGB = random.integers(0, 256, (9, 7, 3), np.uint8)
ALPHA = random.integers(0, 256, (9, 7), np.uint8)
SMOOTH = np.asarray(
    Image.fromarray(random.integers(0, 256, (3, 3, 3), np.uint8)).resize((64, 48), Image.Resampling.BICUBIC)
)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(pixels: bytes, width: int, height: int, bits: int, color: int, extra: bytes = b"") -> bytes:
    """A PNG file written by hand: `pixels` with a filter byte before each row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def by_hand(values: np.ndarray, color: int) -> bytes:
    """16-bit samples [height, width, channels]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(rows, values.shape[1], values.shape[0], 16, color)


def close(data: bytes, expected: np.ndarray, channels: int | None = None, atol: float = 1.0) -> None:
    got = decode(data, channels=channels).pixels
    expected = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
    assert got.dtype == np.uint8 and got.shape == expected.shape
    np.testing.assert_allclose(got.astype(float), expected, atol=atol)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha.astype(float) / 255
    a = a[..., None] if color.ndim == 3 else a
    return color * a + 255 * (1 - a)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_bit(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    close(encode(Image.fromarray(RGB), kind, **lossless), RGB, atol=0)
    close(encode(Image.fromarray(GREY), kind, **lossless), GREY, atol=0)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    deep = np.linspace(0, 65535, 63).round().astype(np.uint16).reshape(9, 7)
    close(encode(Image.fromarray(deep), "PNG"), deep / 257)
    close(encode(Image.fromarray(deep), "TIFF"), deep / 257)
    close(encode(Image.frombytes("I;16B", (7, 9), deep.astype(">u2").tobytes()), "TIFF"), deep / 257)
    close(by_hand(deep[..., None], 0), deep / 257)


def test_sixteen_bit_tiff_where_white_is_zero() -> None:
    deep = np.linspace(0, 65535, 63).round().astype(np.uint16).reshape(9, 7)
    data = bytearray(encode(Image.fromarray(deep), "TIFF"))
    tag = data.index(struct.pack("<HHI", 262, 3, 1))
    data[tag + 8 : tag + 10] = struct.pack("<H", 0)
    close(bytes(data), 255 - deep / 257)


def test_twelve_bit_tiff() -> None:
    deep = np.linspace(0, 4095, 48).round().astype(np.uint16).reshape(6, 8)
    bits = np.unpackbits(deep.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
    strip = np.packbits(bits).tobytes()
    tags = [(256, 8), (257, 6), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 6), (279, len(strip))]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    close(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + strip, deep * (255 / 4095))


def test_sixteen_bit_color_and_grey_with_alpha() -> None:
    deep = random.integers(0, 65536, (9, 7, 3), np.uint16)
    close(by_hand(deep, 2), deep / 257)
    grey = random.integers(0, 65536, (9, 7, 2), np.uint16)
    close(by_hand(grey, 4), on_white(grey[..., 0] / 257, grey[..., 1] / 257), atol=2)


def tiff(pixels: bytes, *, bits: tuple[int, ...], size: tuple[int, int] = (4, 4), **tags: int) -> bytes:
    """An uncompressed TIFF written by hand: one strip, or one for each plane."""
    known = {"compression": 259, "photometric": 262, "planes": 284, "format": 339, "orientation": 274}
    strips = len(bits) if tags.get("planes") == 2 else 1
    values: dict[int, tuple[int, ...]] = {
        256: (size[0],),
        257: (size[1],),
        258: bits,
        277: (len(bits),),
        278: (size[1],),
    }
    values |= {259: (1,), 262: (1 if len(bits) == 1 else 2,)} | {known[name]: (value,) for name, value in tags.items()}
    values |= {273: (0,) * strips, 279: (len(pixels) // strips,) * strips}
    at = 10 + 12 * len(values)
    tail, where = b"", at + sum(2 * len(v) for v in values.values() if len(v) > 2) + 16
    values[273] = tuple(where + i * (len(pixels) // strips) for i in range(strips))
    entries = b""
    for tag, found in sorted(values.items()):
        packed = struct.pack(f"<{len(found)}H", *found)
        if len(packed) > 4:
            packed, tail = struct.pack("<I", at + 4 + len(tail)), tail + packed
        entries += struct.pack("<HHI", tag, 3, len(found)) + packed.ljust(4, b"\0")
    head = struct.pack("<2sHIH", b"II", 42, 8, len(values)) + entries + bytes(4) + tail
    return head.ljust(where, b"\0") + pixels


def test_what_pillow_would_decode_to_something_else_is_refused_by_name() -> None:
    deep = np.linspace(0, 65535, 48).astype("<u2").tobytes()
    for data, words in (
        (tiff(deep[:-6], bits=(16, 16, 16), planes=2), "damaged"),
        (tiff(bytes(16), bits=(8,), format=2), "signed integer"),
        (tiff(bytes(48), bits=(8, 8, 8), photometric=6), "YCbCr with fewer samples"),
        (tiff(bytes(96), bits=(16,) * 3, format=3), "a TIFF of a kind that is not read"),
    ):
        with pytest.raises(BadImage, match=words):
            decode(data)
    planes = np.frombuffer(deep, "<u2").reshape(3, 4, 4).transpose(1, 2, 0)
    close(tiff(deep, bits=(16, 16, 16), planes=2), planes / 257)
    close(tiff(deep, bits=(16, 16, 16), planes=2, orientation=3), planes[::-1, ::-1] / 257)
    close(tiff(deep, bits=(16, 16, 16)), np.frombuffer(deep, "<u2").reshape(4, 4, 3) / 257)
    flat = np.arange(48, dtype=np.uint8).tobytes()
    close(
        tiff(flat, bits=(8, 8, 8), planes=2), np.frombuffer(flat, np.uint8).reshape(3, 4, 4).transpose(1, 2, 0), atol=0
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_shade_of_any_depth(bits: int) -> None:
    top = 2**bits - 1
    shades = random.integers(0, top + 1, (6, 8), np.uint8)
    places = (shades[..., None] >> np.arange(bits)[::-1] & 1).reshape(6, -1)
    stored = b"".join(b"\0" + np.packbits(row).tobytes() for row in places)
    for clear in sorted({0, 1, top}):
        body = b"tRNS" + struct.pack(">H", clear)
        chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
        close(png(stored, 8, 6, bits, 0, chunk), np.where(shades == clear, 255, shades * (255 / top)), atol=0)


def test_one_transparent_color_of_sixteen_bits_is_refused() -> None:
    body = b"tRNS" + struct.pack(">HHH", 1000, 2000, 3000)
    chunk = struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(BadImage, match="16 bits is transparent"):
        decode(png((b"\0" + bytes(24)) * 2, 4, 2, 16, 2, chunk))


def test_one_bit() -> None:
    bits = GREY > 128
    close(encode(Image.fromarray(bits), "PNG"), bits * 255.0, atol=0)
    close(encode(Image.fromarray(bits), "TIFF", compression="group4"), bits * 255.0, atol=0)


def test_palette() -> None:
    indexed = Image.fromarray(GREY % 4, "L").convert("P")
    colors = np.array([(250, 10, 20), (0, 0, 0), (255, 255, 255), (10, 200, 30)], np.uint8)
    indexed.putpalette(colors.tobytes())
    expected = colors[GREY % 4]
    for kind in ("PNG", "GIF", "BMP"):
        close(encode(indexed, kind), expected, atol=0)
    clear = np.where((GREY % 4 == 3)[..., None], 255, expected)
    close(encode(indexed, "PNG", transparency=3), clear, atol=0)
    close(encode(indexed, "GIF", transparency=3), clear, atol=0)


def test_alpha_is_composited_on_white() -> None:
    close(encode(Image.fromarray(np.dstack([RGB, ALPHA])), "PNG"), on_white(RGB, ALPHA))
    close(encode(Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), "PNG"), on_white(GREY, ALPHA))
    key = tuple(int(v) for v in RGB[4, 3])
    expected = np.where((RGB == key).all(-1, keepdims=True), 255, RGB)
    close(encode(Image.fromarray(RGB), "PNG", transparency=key), expected, atol=0)


def test_cmyk() -> None:
    ink = random.integers(0, 256, (9, 7, 4), np.uint8)
    expected = (255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255
    close(encode(Image.fromarray(ink, "CMYK"), "TIFF"), expected)
    flat = np.broadcast_to(np.array([40, 90, 160, 20], np.uint8), (16, 16, 4))
    light = (255.0 - flat[..., :3]) * (255.0 - flat[..., 3:]) / 255
    close(encode(Image.fromarray(np.ascontiguousarray(flat), "CMYK"), "JPEG", quality=100), light, atol=3)


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    if kind == "TIFF":
        options["tiffinfo"] = {0x0112: orientation}
    else:
        options["exif"] = exif
    data = encode(Image.fromarray(SMOOTH), kind, **options)
    close(data, TURNS[orientation](SMOOTH), atol=8 if kind == "JPEG" else 0)


def test_no_fixed_scale_is_refused() -> None:
    with pytest.raises(BadImage, match="floating-point"):
        decode(encode(Image.fromarray(GREY.astype(np.float32)), "TIFF"))
    with pytest.raises(BadImage, match="integer"):
        decode(encode(Image.fromarray(GREY.astype(np.int32)), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    got = decode(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert got.note and "first frame" in got.note
    assert (got.pixels.reshape(3, -1).T == (255, 0, 0)).all()


def test_grey_stored_as_color_is_grey() -> None:
    close(encode(Image.fromarray(GREY).convert("RGB"), "PNG"), GREY, atol=0)
    close(encode(Image.fromarray(GREY), "PNG"), np.dstack([GREY] * 3), channels=3, atol=0)
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    close(encode(Image.fromarray(RGB), "PNG"), luma, channels=1)


FILES = {
    "png": encode(Image.fromarray(SMOOTH), "PNG"),
    "jpeg": encode(Image.fromarray(SMOOTH), "JPEG"),
    "progressive": encode(Image.fromarray(SMOOTH), "JPEG", progressive=True),
    "webp": encode(Image.fromarray(SMOOTH), "WEBP", lossless=True),
    "gif": encode(Image.fromarray(SMOOTH), "GIF"),
    "bmp": encode(Image.fromarray(SMOOTH), "BMP"),
    "tiff": encode(Image.fromarray(SMOOTH), "TIFF"),
    "lzw": encode(Image.fromarray(SMOOTH), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_a_file_cut_anywhere_is_refused_or_whole(name: str) -> None:
    """A decoder may do without the last bytes (an end mark); it may never invent pixels."""
    data = FILES[name]
    whole = decode(data).pixels
    refused = 0
    for share in np.linspace(0, 1, 40, endpoint=False):
        try:
            got = decode(data[: int(share * len(data))]).pixels
        except BadImage:
            refused += 1
        else:
            assert np.array_equal(got, whole), f"{name} cut at {share:.0%} gives other pixels"
    assert refused >= 36


@pytest.mark.filterwarnings("ignore")
def test_a_flipped_byte_in_a_png_is_refused() -> None:
    data = FILES["png"]
    for at in range(8, len(data) - 12, 7):
        with pytest.raises(BadImage):
            decode(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])


def test_what_is_no_picture() -> None:
    with pytest.raises(BadImage, match="empty"):
        decode(b"")
    with pytest.raises(BadImage, match="DOCTYPE"):
        decode(b"<!DOCTYPE html><html>404</html>")
    with pytest.raises(BadImage, match="not a PNG"):
        decode(b"P5\n2 2\n255\nabcd")  # a PGM: Pillow reads it, we do not


@pytest.mark.filterwarnings("ignore")
def test_pixel_bombs_are_not_decoded() -> None:
    rows = b"\0" * 10
    for side in (9000, 30000):
        with pytest.raises(BadImage, match=r"pixels|bomb"):
            decode(png(rows, side, side, 8, 0))


def test_extension_does_not_matter_and_size_crops_the_middle() -> None:
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = (255, 0, 0)
    got = decode(encode(Image.fromarray(stripes), "PNG"), size=(5, 5)).pixels
    assert got.shape == (3, 5, 5) and (got[0, :, 1:4] > 250).all() and (got[1:] == 0).all()
    thin = decode(encode(Image.new("L", (4000, 1), 77), "PNG"), size=(8, 8)).pixels
    assert thin.shape == (1, 8, 8) and (thin == 77).all()
    one = decode(encode(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"), size=(4, 6)).pixels
    assert one.shape == (3, 4, 6)


def test_fit_array() -> None:
    pixels = random.integers(0, 256, (5, 3, 8, 6), np.uint8)
    assert fit_array(pixels, None, None) is pixels
    grey = fit_array(pixels, None, 1)
    luma = (pixels * np.array([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdims=True)
    np.testing.assert_allclose(grey, luma, atol=1)
    assert fit_array(grey, (4, 4), 3).shape == (5, 3, 4, 4)
