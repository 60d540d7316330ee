"""Crops of pictures that keep their own sizes."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, ItemNoise, UsageError


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose red is the row and whose green is the column; blue tells pictures apart."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, height)], -1).astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    for split, sides in {"train": [(40, 50), (33, 70), (10, 90)], "test": [(35, 45)]}.items():
        (tmp_path / split).mkdir()
        for height, width in sides:
            Image.fromarray(coordinates(height, width)).save(tmp_path / split / f"{height}.png")
    return tmp_path


def levels(data, rows, seed=0) -> torch.Tensor:
    batch = data.fetch(torch.tensor(rows), ItemNoise(seed, rows))
    return data.x.nearest(batch.x)


def test_pictures_of_many_sizes_are_served_in_crops_of_one(photos, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        data = tt.data(photos, crop=16)
    assert data.x == tt.Images(3, 16, 16) and data.given is None
    assert len(data) == 2 * 3 + 2 * 4  # of 40 x 50 and of 33 x 70; that of 10 x 90 is smaller than a crop
    assert "1 of 3 pictures are smaller than crop=16" in caplog.text


def test_held_out_crops_are_the_tiles_of_a_grid_in_the_middle(photos) -> None:
    data = tt.data(photos, crop=16).held_out()
    x = levels(data, range(len(data)))
    assert x.shape == (4, 3, 16, 16)
    top, left = (35 - 32) // 2, (45 - 32) // 2
    corners = [[top, left], [top, left + 16], [top + 16, left], [top + 16, left + 16]]
    assert x[:, :2, 0, 0].tolist() == corners
    assert torch.equal(x, levels(data, range(len(data)), seed=1))
    assert torch.equal(x, data.stored.long())


def test_training_crops_lie_anywhere_in_their_picture(photos) -> None:
    data = tt.data(photos, crop=16)
    x = torch.cat([levels(data, range(len(data)), seed) for seed in range(300)])
    for height, width in ((40, 50), (33, 70)):
        ours = x[x[:, 2, 0, 0] == height][:, :2, 0, 0]
        assert ours.min(0).values.tolist() == [0, 0]
        assert ours.max(0).values.tolist() == [height - 16, width - 16]
    assert torch.equal(x[:, 0, -1, 0] - x[:, 0, 0, 0], torch.full((len(x),), 15))


def test_a_crop_depends_on_its_row_and_noise_alone(photos) -> None:
    data = tt.data(photos, crop=16)
    assert torch.equal(levels(data, [3, 7])[1:], levels(data, [7]))
    assert data.fingerprint == tt.data(photos, crop=16).fingerprint != tt.data(photos, crop=12).fingerprint


def test_whole_pictures_are_at_hand(photos) -> None:
    data = tt.data(photos, crop=16, split="test")
    assert np.array_equal(data.whole(0).transpose(1, 2, 0), coordinates(35, 45))


def test_what_cannot_be_cropped_is_refused(photos) -> None:
    with pytest.raises(DataError, match="as large as crop=64"):
        tt.data(photos, crop=64)
    with pytest.raises(UsageError, match="crop=0"):
        tt.data(photos, crop=0)
    with pytest.raises(UsageError, match="crop= goes with"):
        tt.data(photos, crop=16, mutate=0.1)


def test_arrays_and_digits_are_cropped_too() -> None:
    data = tt.data("mnist", crop=14)
    assert data.x == tt.Images(1, 14, 14) and len(data) == 240_000


def test_black_and_white_is_not_cropped_and_it_is_said_why() -> None:
    with pytest.raises(UsageError, match="these are black and white: leave out binary="):
        tt.data("mnist-binary", crop=16)
