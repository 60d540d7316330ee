"""A picture that comes and goes: depth, transparency, orientation and profile stay."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from triptych.core import UsageError
from triptych.media.photo import Photo, encode, read_photo

RANDOM = np.random.default_rng(0)


def values(dtype, channels: int) -> np.ndarray:
    return RANDOM.integers(0, np.iinfo(dtype).max + 1, (7, 9, channels), dtype=dtype)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_comes_back_as_it_went(dtype, channels, alpha, large, monkeypatch) -> None:
    monkeypatch.setattr("triptych.media.photo.LARGE", 0 if large else 1000)
    monkeypatch.setattr("triptych.media.photo.ROWS", 3)
    photo = Photo(values(dtype, channels), values(dtype, 1)[..., 0] if alpha else None)
    back = read_photo(encode(photo, ".png", {"seed": "3"}))
    assert back.pixels.dtype == dtype and np.array_equal(back.pixels, photo.pixels)
    assert (back.alpha is None) == (not alpha)
    assert not alpha or np.array_equal(back.alpha, photo.alpha)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_text_and_profile_go_along(dtype) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(Photo(values(dtype, 3), None, profile), ".png", {"seed": "3", "model": "größer"})
    with Image.open(io.BytesIO(data)) as image:
        assert image.text == {"seed": "3", "model": "größer"}  # type: ignore[attr-defined]
    assert read_photo(data).profile == profile


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_tiff_of_16_bits_a_color_keeps_them(order) -> None:
    pixels = values(np.uint16, 3)
    assert np.array_equal(read_photo(tiff(pixels, order)).pixels, pixels)


def tiff(pixels: np.ndarray, order: str) -> bytes:
    """A plain TIFF 6.0 file: one strip, 16 bits a sample."""
    height, width, count = pixels.shape
    raw = pixels.astype("<u2" if order == "little" else ">u2").tobytes()

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    bits_at = 8
    data_at = bits_at + 2 * count
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, count, bits_at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, data_at), (277, 3, 1, count), (278, 4, 1, height), (279, 4, 1, len(raw))]
    head = (b"II" if order == "little" else b"MM") + number(42, 2) + number(data_at + len(raw), 4)
    entries = b"".join(
        number(tag, 2) + number(kind, 2) + number(n, 4)
        + (number(value, 2) + b"\0\0" if kind == 3 and n == 1 else number(value, 4))
        for tag, kind, n, value in tags
    )  # fmt: skip
    return head + number(16, 2) * count + raw + number(len(tags), 2) + entries + number(0, 4)


def test_pictures_are_turned_as_exif_asks() -> None:
    pixels, out, exif = values(np.uint8, 3), io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter
    Image.fromarray(pixels).save(out, "PNG", exif=exif)
    assert np.array_equal(read_photo(out.getvalue()).pixels, np.rot90(pixels, -1))


def test_palettes_and_two_levels_are_what_they_show() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    assert read_photo(picture).pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert read_photo(Image.new("1", (1, 1), 1)).pixels.tolist() == [[[255]]]
    picture.info["transparency"] = 0
    clear = read_photo(picture)
    assert clear.alpha is not None and clear.alpha.tolist() == [[0, 255]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_become_levels_of_the_same_depth_again(dtype) -> None:
    photo = Photo(values(dtype, 3))
    x = photo.tensor()
    assert x.shape == (1, 3, 7, 9) and -1 <= x.min() and x.max() <= 1
    assert np.abs(photo.levels(x[0]).astype(int) - photo.pixels).max() <= (0 if dtype == np.uint8 else 1)


def test_grey_and_color_meet() -> None:
    grey, color = Photo(values(np.uint8, 1)), Photo(values(np.uint8, 3))
    assert torch.equal(grey.tensor(3)[0, 2], grey.tensor()[0, 0])
    assert np.array_equal(grey.levels(grey.tensor(3)[0]), grey.pixels)
    luma = (color.pixels @ np.array([0.299, 0.587, 0.114])) * 2 / 255 - 1
    assert np.allclose(color.tensor(1)[0, 0].numpy(), luma, atol=1e-5)
    assert color.levels(color.tensor(1)[0]).shape == (7, 9, 3)


def test_arrays_are_pictures() -> None:
    assert read_photo(np.zeros((4, 5), np.uint8)).channels == 1
    with_alpha = read_photo(np.full((4, 5, 4), 9, np.uint8))
    assert with_alpha.channels == 3 and with_alpha.alpha is not None
    with pytest.raises(UsageError, match="float64"):
        read_photo(np.zeros((4, 5)))


@pytest.mark.parametrize("content", [b"", b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_named(tmp_path, content) -> None:
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"p\.png"):
        read_photo(tmp_path / "p.png")
    with pytest.raises(UsageError, match=r"gone\.png"):
        read_photo(tmp_path / "gone.png")


def test_other_endings_are_written_and_unknown_ones_refused(tmp_path) -> None:
    photo = Photo(values(np.uint16, 3), values(np.uint16, 1)[..., 0])
    for ending, mode in {".jpg": "RGB", ".webp": "RGBA", ".tif": "RGBA", ".PNG": "RGBA"}.items():
        file = photo.save(tmp_path / f"a{ending}")
        with Image.open(file) as image:
            assert image.mode == mode and image.size == (9, 7)
    with pytest.raises(UsageError, match=r"\.bmp"):
        photo.save(tmp_path / "a.bmp")


def test_resizing_keeps_depth_and_alpha() -> None:
    photo = Photo(np.full((4, 4, 3), 60000, np.uint16), np.full((4, 4), 65535, np.uint16)).resized(9, 7)
    assert photo.pixels.shape == (9, 7, 3) and (photo.pixels == 60000).all() and photo.alpha is not None
    assert (photo.alpha == 65535).all()
