"""How files are read is kept with a run, and a person's own file is read in the same way."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import IntegrityError, UsageError
from triptych.data.columns import readings_of
from triptych.media.reading import Reading
from triptych.verbs.apply import pipeline

RANDOM = np.random.default_rng(0)


def picture(width: int, height: int) -> Image.Image:
    """Smooth, so that it matters little by which filter it shrinks and much which part of it is taken."""
    return Image.fromarray(RANDOM.integers(0, 256, (3, 5, 3), dtype=np.uint8)).resize((width, height))


@pytest.fixture(scope="module")
def sides(tmp_path_factory) -> Path:
    """Two pictures side by side in each file, each half 24 high and 30 wide."""
    folder = tmp_path_factory.mktemp("sides")
    for i in range(12):
        picture(60, 24).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(sides, tmp_path_factory, cli) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sides"
    words = ["translation", "--model", "pix2pix-tiny", "depth=2", "--data", sides, "--halves", "A|B", "--channels", 1]
    done = cli("train", *words, "--size", 16, "--out", out, "--steps", 1, "--batch", 4)
    assert done.code == 0, done.err
    return out


def test_a_run_says_how_each_column_was_read(run, cli) -> None:
    said = json.loads((run / "config.json").read_text())["data"]["reading"]
    assert said.keys() == {"x", "A"} and said["A"]["half"] == "left" and said["x"]["half"] == "right"
    assert all(one["size"] == [16, 16] and one["channels"] == 1 for one in said.values())
    shown = cli("show", run)
    half = "the left half of each file, cropped to the middle and scaled to 16 x 16 (height x width), grey"
    assert shown.code == 0 and f"column A: {half}" in shown.out and "for translation (" in shown.out
    about = json.loads(cli("show", run, "--json").out)
    assert about["columns"]["A"] == half and about["settings"]["direction"] == "AtoB" and about["trained"]["steps"] == 1


def test_a_file_is_read_as_training_read_it(run, sides, caplog) -> None:
    data = tt.data(sides, split="all", size=16, channels=1, halves="A|B")
    wanted = {data.pack.columns["A"].picture(i).tobytes() for i in range(12)}
    pipe = pipeline(None, run)
    with caplog.at_level(logging.INFO):
        found = pipe.ask(picture=sides / "3.png").photo
    assert found.pixels.shape == (16, 16, 1) and found.pixels.tobytes() in wanted
    assert "its left half is taken, 24 x 30 is brought to 16 x 16 (height x width), as in training" in caplog.text
    half = Image.open(sides / "3.png", formats=("PNG",)).crop((0, 0, 30, 24))
    for brought in (half, np.asarray(half)):  # not twice as wide: it is one
        assert np.array_equal(pipe.ask(picture=brought).photo.pixels, found.pixels)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        for size in ((36, 24), (32, 18)):  # photographs are no two halves
            pipe.ask(picture=half.resize(size))
    assert caplog.text.count("brought to") == 2 and "half" not in caplog.text
    assert pipe(half).pixels.shape == (16, 16, 1)
    assert pipe.ask(picture=sides / "3.png", as_is=True).photo.pixels.shape == (24, 60, 3)


def test_a_run_that_does_not_say_it_takes_files_as_they_are(run, sides, tmp_path) -> None:
    before = json.loads((run / "config.json").read_text())
    del before["data"]["reading"]
    old = write(tmp_path / "old", run, before)
    assert pipeline(None, old).ask(picture=sides / "3.png").photo.pixels.shape == (24, 60, 3)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1], IntegrityError),
        ({"A": 3}, IntegrityError),
        ({"A": {"size": [16, 10**9]}}, UsageError),
        ({"A": {"kind": "eval"}}, UsageError),
    ],
)
def test_a_forged_reading_is_refused_by_name(run, tmp_path, value, error) -> None:
    about = json.loads((run / "config.json").read_text())
    about["data"]["reading"] = value
    with pytest.raises(error, match=r"config\.json: data: reading"):
        pipeline(None, write(tmp_path / "forged", run, about))


def write(out: Path, run: Path, about: dict) -> Path:
    """The run with another config.json."""
    from triptych.io import commit

    held = commit.read(run, ["config.json", "model.safetensors"])
    commit.commit(out, {**held, "config.json": json.dumps(about).encode()})
    return out


def test_readings_of_all_kinds_of_data(sides) -> None:
    crops = tt.data(sides, split="all", halves="A|B", crop=8)
    assert {name: (r.size, r.crop, r.half) for name, r in readings_of(crops).items()} == {
        "x": (None, 8, "right"), "A": (None, 8, "left"),
    }  # fmt: skip
    whole = tt.data(np.full((4, 8, 8), 77, np.uint8), split="all")
    assert readings_of(whole) == {"x": Reading(channels=1)}
    both = tt.unpaired(tt.data(np.full((4, 8, 8), 77, np.uint8), split="all", size=4), whole)
    assert {name: r.size for name, r in readings_of(both).items()} == {"A": (4, 4), "x": None}
    assert readings_of(tt.data(np.zeros((4, 2), np.float32), split="all")) == {}


def test_a_label_map_is_brought_to_its_size_without_mixing_classes() -> None:
    reading = Reading(kind="index", size=(4, 4), names=("a", "b"), colors=((0, 0, 0), (255, 255, 255)))
    index = np.zeros((8, 8), np.uint8)
    index[:, 4:] = 1
    assert reading.brought(index).tolist() == [[0, 0, 1, 1]] * 4


def test_a_photo_is_read_on_white_as_in_training(tmp_path) -> None:
    pixels = RANDOM.integers(0, 256, (9, 13, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    reading = Reading(size=(6, 6), channels=3)
    wanted = reading((tmp_path / "p.png").read_bytes()).pixels
    found = reading.brought(tmp_path / "p.png")
    assert np.array_equal(found.pixels.transpose(2, 0, 1), wanted) and found.alpha is None
    assert torch.equal(found.tensor(3), torch.from_numpy(wanted.astype(np.float32))[None] * (2 / 255) - 1)
    with pytest.raises(UsageError, match=r"gone\.png"):
        reading.brought(tmp_path / "gone.png")
