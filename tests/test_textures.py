"""Procedural scenes that stand in for photographs."""

from pathlib import Path

import numpy as np
import pytest

from triptych.data import data, textures
from triptych.errors import UsageError


def grey(seed: int, number: int, side: int) -> np.ndarray:
    return textures.picture(seed, number, side, side).mean(0, dtype=np.float64)


def test_a_picture_is_a_function_of_its_seed_and_number() -> None:
    first = textures.picture(3, 5, 24, 40)
    assert first.shape == (3, 24, 40) and first.dtype == np.uint8
    textures.picture(3, 6, 24, 40)
    assert np.array_equal(first, textures.picture(3, 5, 24, 40))
    for other in (textures.picture(3, 6, 24, 40), textures.picture(4, 5, 24, 40)):
        assert np.abs(first.astype(int) - other).mean() > 10


def test_a_scene_is_the_same_at_every_size() -> None:
    """Shrunk, the large picture of a scene is nearer to the small one than that of any other scene is."""
    small = [grey(0, i, 32) for i in range(4)]
    large = [grey(0, i, 96).reshape(32, 3, 32, 3).mean((1, 3)) for i in range(4)]
    distances = np.array([[np.abs(a - b).mean() for b in large] for a in small])
    assert (distances.argmin(1) == np.arange(4)).all() and distances.diagonal().max() < 12


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 9)])
def test_any_size_is_drawn(size: tuple[int, int]) -> None:
    assert textures.picture(0, 0, *size).shape == (3, *size)


def test_the_spectrum_falls_as_that_of_photographs() -> None:
    """Power falls about as 1 / frequency squared (Field, 1987: from 1.6 to 2.4 or so, in natural scenes)."""
    pictures = np.stack([grey(1, i, 64) for i in range(12)])
    power = (np.abs(np.fft.fft2(pictures - pictures.mean((1, 2), keepdims=True))) ** 2).mean(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    rings = [power[(frequency >= f) & (frequency < 2 * f)].mean() for f in (1 / 32, 1 / 16, 1 / 8, 1 / 4)]
    slopes = -np.diff(np.log2(rings))
    assert 1.2 < slopes.mean() < 2.8 and (slopes > 0.7).all()


def test_textures_are_a_built_in_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.data.builtin.SCENES", {"train": 6, "test": 2})
    train, test = (data("textures", size=(16, 24), split=s, cache=tmp_path) for s in ("train", "test"))
    assert train.x.shape == (3, 16, 24) and (len(train), len(test)) == (6, 2)
    assert not set(map(bytes, train.pack.x[:6])) & set(map(bytes, test.pack.x[6:]))
    with pytest.raises(UsageError, match="size=8 to 2048"):
        data("textures", size=4, cache=tmp_path)
