"""The weights that come with the package: they load, draw, and get the numbers that are said of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import triptych as tt
from triptych.cli.app import app
from triptych.core import HasLikelihood, UsageError
from triptych.data.shapes import APART, read
from triptych.io import commit
from triptych.metrics import digits
from triptych.verbs.compare import compare, distinct
from triptych.verbs.posing import saved_task
from triptych.verbs.sample import examples
from triptych.verbs.shipped import FOLDER, RECIPES, located, shipped

NAMES = list(shipped())


def test_every_recipe_is_shipped_and_all_of_them_are_small() -> None:
    assert list(json.loads(RECIPES.read_text())) == NAMES and len(NAMES) >= 12
    sizes = {one.name: sum(f.stat().st_size for f in one.folder.iterdir()) for one in shipped().values()}
    assert max(sizes.values()) < 4.5e6 and sum(sizes.values()) < 25e6
    assert sorted(f.name for f in FOLDER.iterdir() if f.is_dir()) == sorted(NAMES)
    cards = {one.measured: (one.folder / "README.md").read_text() for one in shipped().values()}
    assert all(measured and measured in card for measured, card in cards.items())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_load_and_draw(name: str) -> None:
    one, model = shipped()[name], tt.from_pretrained(name)
    assert set(commit.committed(one.folder)) == {"config.json", "model.safetensors"}
    card = (one.folder / "README.md").read_text()
    assert one.licence in card and one.credit in card and all(command in card for command in one.commands)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    if saved_task(one.folder) is None:
        x = model.sample(3, examples(model, 3), seed=0)
        assert x.shape == (3, *model.config.x.shape) and x.float().isfinite().all() and not torch.equal(x[0], x[1])
    else:
        assert (one.folder / one.example).exists()


@pytest.mark.parametrize(
    ("name", "source", "nats"),
    [("pixelcnn-mnist", "mnist-binary:test", 85.3), ("vae-mnist", "mnist-binary:test", 101.0)],
)
def test_they_score_what_is_said(name: str, source: str, nats: float) -> None:
    model = tt.from_pretrained(name)
    assert isinstance(model, HasLikelihood)
    torch.manual_seed(0)
    found = tt.score(model, source, limit=200)
    assert found.nats == pytest.approx(nats, abs=0.3)
    assert f"{nats:.1f} nats" in shipped()[name].measured


def test_the_digits_are_digits() -> None:
    x = tt.from_pretrained("dcgan-mnist").sample(100, seed=0)
    confidence = digits.classify(x).amax(1).mean().item()
    assert confidence == pytest.approx(0.85, abs=0.05)


@pytest.mark.parametrize("name", ["dcgan-emoji", "r3gan-emoji"])
def test_emoji_are_colors_on_white(name: str) -> None:
    x = tt.from_pretrained(name).sample(32, seed=0)
    assert x[:, :, :2, :2].median() > 0.9
    assert (x.amax(1) - x.amin(1)).mean() > 0.15  # grey pictures have three equal channels


def opened(path: Path, mode: str) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert(mode)


@pytest.mark.parametrize(("name", "times"), [("super-resolution-satellite", 4), ("super-resolution-satellite-x2", 2)])
def test_small_pictures_are_enlarged_better_than_by_bicubic(name: str, times: int) -> None:
    truth = opened(shipped()[name].folder / "example.png", "RGB")
    small = truth.resize((truth.width // times, truth.height // times), Image.Resampling.BICUBIC)
    large = tt.apply(name, picture=small).image().convert("RGB")

    def psnr(x: Image.Image) -> float:
        error = np.asarray(x, np.float64) - np.asarray(truth, np.float64)
        return float(10 * np.log10(255**2 / (error**2).mean()))

    assert large.size == truth.size
    assert psnr(large) > psnr(small.resize(truth.size, Image.Resampling.BICUBIC)) + 0.3


def test_outlines_become_the_shoe_that_they_are_of() -> None:
    one = shipped()["edges-fashion"].folder / "example.png"
    made = np.asarray(tt.apply("edges-fashion", picture=one).image().convert("L"), np.float64)
    truth = np.asarray(opened(one, "L"), np.float64)
    assert np.corrcoef(made.ravel(), truth.ravel())[0, 1] > 0.9


def answer(name: str, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """The example of shipped weights and what they make of it, levels in [0, 255]."""
    one = shipped()[name].folder / "example.png"
    made = tt.apply(name, picture=one).image().convert(mode)
    return np.asarray(opened(one, mode), np.float64), np.asarray(made, np.float64)


def test_what_is_taken_off_a_figure_has_its_color_and_lies_on_white() -> None:
    wearer, garment = answer("clothing-dressed", "RGB")
    worn, alone = (picture[12:18, 12:20].mean((0, 1)) for picture in (wearer, garment))
    assert worn.argmax() == alone.argmax() and np.corrcoef(worn, alone)[0, 1] > 0.9
    assert garment[:4, :4].mean() > 240


def test_sneakers_grow_shafts() -> None:
    sneaker, boot = answer("boots-fashion", "L")
    assert boot[2:12].mean() > 3 * sneaker[2:12].mean() and boot[14:24, 8:].mean() > 100


def test_captions_are_obeyed_those_of_pairs_never_seen_too() -> None:
    """Read off the pictures by analysis; the second to the last caption's pairs are in no training picture."""
    one = shipped()["shapes-by-caption"]
    made = [np.asarray(tt.apply(one.name, text=text, **one.how).image().convert("RGB")) for text in one.lines]
    seen = read(np.stack(made).transpose(0, 3, 1, 2))
    shown = zip(seen.size, seen.color, seen.shape, seen.down, seen.across, strict=True)
    said = [
        (size, color, shape, down, across) for _, size, color, shape, _, _, down, across in map(str.split, one.lines)
    ]
    assert sum(a == b for a, b in zip(shown, said, strict=True)) >= 3
    assert {("red", "circle"), ("blue", "square"), ("yellow", "diamond")} < set(APART)


def test_a_folder_goes_before_a_name_and_a_slip_is_answered(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("vae-mnist") == FOLDER / "vae-mnist" and located("runs/vae-mnist") == Path("runs/vae-mnist")
    (tmp_path / "vae-mnist").mkdir()
    assert located("vae-mnist") == Path("vae-mnist")
    with pytest.raises(UsageError, match="did you mean pixelcnn-mnist"):
        tt.from_pretrained("pixelcn-mnist")


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("boots-fashion", "triptych apply boots-fashion --picture picture.png --out FILE"),
        ("shapes-by-caption", 'triptych apply shapes-by-caption --text "'),
    ],
)
def test_sampling_what_is_made_for_a_task_says_how_it_is_used(name: str, use: str, tmp_path: Path) -> None:
    drawn = CliRunner().invoke(app, ["sample", name, "--out", str(tmp_path / "s.png")])
    assert isinstance(drawn.exception, UsageError) and use in str(drawn.exception)


def test_show_and_compare_take_the_names_too() -> None:
    about, preset = (CliRunner().invoke(app, ["show", name]) for name in ("dcgan-emoji", "dcgan-mnist"))
    assert about.exit_code == 0 and "trained on emoji" in about.stdout, about.output
    assert "what to expect" in preset.stdout  # this is the name of a preset, too
    with pytest.raises(UsageError, match="no folder pixelcnn-mist; did you mean pixelcnn-mnist"):
        compare(["pixelcnn-mist"])
    assert distinct([located("pixelcnn-mnist")]) == ["pixelcnn"]


def test_sampling_by_name_and_the_gallery(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = CliRunner().invoke(app, ["sample", "dcgan-emoji", "-n", "4", "--out", "s.png"])
    assert drawn.exit_code == 0, drawn.output
    with Image.open("s.png") as picture:
        assert picture.mode == "RGB"
    made = CliRunner().invoke(app, ["gallery", "--out", "g", "-n", "2", "--json"])
    assert made.exit_code == 0, made.output
    assert [one["name"] for one in json.loads(made.stdout)["weights"]] == NAMES
    page = (tmp_path / "g/index.html").read_text()
    assert all(name in page and (tmp_path / f"g/{name}.png").exists() for name in NAMES)
