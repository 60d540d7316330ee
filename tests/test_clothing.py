"""Clothing: which column is worn, LookBook's names, pictures of one's own, the measures, and the figures we dress."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, Images, UsageError
from triptych.data import data
from triptych.data.library import dressed, flare
from triptych.data.lookbook import is_product, pairs, product_of
from triptych.metrics import hue_error, own_nearest
from triptych.models.translation.pixel_dtgan import PRESETS, PixelDTGAN
from triptych.tasks.clothing import Clothing
from triptych.tasks.task import posed


def arrays(n=40, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, 8, 8), dtype=np.uint8)


def test_wearer_to_product_and_back():
    x, worn = arrays(), arrays(seed=1)
    found = tt.pair(x=x, wearer=worn)
    rows = torch.arange(3)
    from triptych.core import StepNoise

    there = posed(found, Clothing()).fetch(rows, StepNoise(0, 3, slice(None)))
    back = posed(found, Clothing(to="wearer")).fetch(rows, StepNoise(0, 3, slice(None)))
    assert torch.equal(there.x, back.given.grid)
    assert torch.equal(there.given.grid, back.x)
    named = posed(tt.pair(x=x, photo=worn), Clothing()).fetch(rows, StepNoise(0, 3, slice(None)))
    assert torch.equal(named.x, there.x)


def test_what_is_no_pair_is_refused():
    with pytest.raises(UsageError, match=r"only one column of pictures.*CLEAN1"):
        posed(data(arrays()), Clothing())
    with pytest.raises(UsageError, match="which of x, front, side shows the wearers"):
        posed(tt.pair(x=arrays(), front=arrays(), side=arrays()), Clothing())
    with pytest.raises(UsageError, match="wearer=hat: there is no such column"):
        posed(tt.pair(x=arrays(), worn=arrays()), Clothing(wearer="hat"))
    with pytest.raises(UsageError, match="do not belong together"):
        posed(tt.unpaired(data(arrays()), data(arrays())), Clothing())


# LookBook


def test_lookbooks_names():
    assert product_of("train/PID000123_CLEAN0_000456.jpg") == "PID000123"
    assert product_of("holiday.jpg") is None
    assert is_product("PID000001_CLEAN1_000009.jpg")
    assert not is_product("PID000001_CLEAN0_000009.jpg")
    names = [
        f"PID00000{p}_CLEAN{c}_00000{k}.jpg" for p, c, k in ((1, 0, 1), (1, 0, 2), (1, 1, 3), (2, 0, 4), (3, 1, 5))
    ]
    found, alone = pairs(names)
    assert found == {names[0]: names[2], names[1]: names[2]}
    assert alone == [names[3], names[4]]


def test_a_folder_of_lookbook_is_pairs_and_a_product_is_on_one_side(tmp_path):
    top = tmp_path / "lookbook"
    top.mkdir()
    for p in range(30):
        for k in range(4):
            pixels = np.full((8, 8, 3), 5 * p, np.uint8)
            pixels[..., 1] = 0 if k < 3 else 255
            Image.fromarray(pixels).save(top / f"PID{p:06d}_CLEAN{int(k == 3)}_{4 * p + k:06d}.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(top / "PID000099_CLEAN0_000999.png")
    found = data(str(top), cache=tmp_path / "cache", size=8)
    assert set(found.columns) == {"x", "wearer"}
    assert any("PID000099" in problem.file for problem in found.problems)
    sides = []
    for part in (posed(found, Clothing()), posed(found, Clothing()).held_out()):
        from triptych.core import ItemNoise

        batch = part.fetch(torch.arange(len(part)), ItemNoise(0, range(len(part))))
        assert torch.allclose(batch.x[:, 0], batch.given.grid[:, 0])  # the product that is worn
        assert (batch.x[:, 1] == 1).all()
        assert (batch.given.grid[:, 1] == -1).all()
        sides.append({round(value) for value in ((batch.x[:, 0, 0, 0] + 1) * 127.5 / 5).tolist()})
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 30


# Use and measures


def test_a_picture_of_any_size_is_brought_to_the_models():
    model = PixelDTGAN(replace(PRESETS["pixel-dtgan-tiny-rgb"].config, x=Images(3, 8, 8), given=Images(3, 8, 8))).eval()
    for shape in ((8, 8, 3), (40, 20, 3), (5, 9), (16, 16, 4)):
        question = Clothing().ask(model, picture=np.full(shape, 200, np.uint8))
        assert question.given.grid.shape == (1, 3, 8, 8)
        assert Clothing().answer(model, question, seed=0, tile=None).pixels.shape == (8, 8, 3)


def on_white(color, n=1):
    x = torch.ones(n, 3, 8, 8)
    x[:, :, 2:6, 2:6] = 2 * torch.tensor(color)[:, None, None] - 1
    return x


def test_the_error_of_hue_is_an_angle():
    red, green, yellow, grey = (
        on_white([1.0, 0, 0]),
        on_white([0, 1.0, 0]),
        on_white([1.0, 1.0, 0]),
        on_white([0.5] * 3),
    )
    dark = on_white([0.4, 0, 0])
    for x, truth, degrees in ((red, red, 0), (red, green, 120), (yellow, red, 60), (red, dark, 0), (grey, red, 90)):
        assert hue_error(x, truth).value == pytest.approx(degrees, abs=1e-3)
    assert hue_error(red, grey) is None


def test_the_right_one_is_the_nearest_of_so_many():
    x = torch.arange(6.0)[:, None, None, None]
    assert own_nearest(x + 0.1, x).item() == 1
    assert own_nearest(x.flip(0), x, among=6).item() == 0
    assert own_nearest(x + 0.9, x, among=1).item() == 1
    assert own_nearest(x + 0.9, x, among=3).item() == pytest.approx(2 / 6)  # the last of three has no next one


def test_the_measures_of_the_task():
    x = torch.rand(12, 3, 16, 16) * 2 - 1
    x[:, 2] = -1
    found = {m.name: m.value for m in Clothing().measure(x, x, None)}
    assert set(found) == {"PSNR", "SSIM", "hue error", "right one found"}
    assert found["right one found"] == 1
    assert found["hue error"] == 0
    assert "hue error" not in {m.name for m in Clothing(to="wearer").measure(x, x, None)}


# The sets


def test_a_figure_wears_the_products_color():
    grey = np.zeros((28, 28), np.uint8)
    grey[4:26, 5:23] = 220
    product = dressed.garment(grey, np.array([1.0, 0.0, 0.0]))
    alone = np.asarray(dressed.alone(product))
    assert alone.shape == (32, 32, 3)
    assert alone[0, 0].tolist() == [255, 255, 255]
    assert alone[16, 16, 0] > 200
    assert alone[16, 16, 1] == 0
    figures = [np.asarray(dressed.figure(product, Random(k))) for k in range(5)]
    for one in figures:
        reds = (one[..., 0] > 150) & (one[..., 1] < 60) & (one[..., 2] < 60)
        assert reds.sum() > 20
    assert not np.array_equal(figures[0], figures[1])
    assert np.array_equal(figures[0], np.asarray(dressed.figure(product, Random(0))))


TEXT = "image=images/a.png\n\n[stance]\nframes=1\nframe=0,6,0,0,4,6,2,5\n[run]\nframe=3,1,4,0,2,2,1,1\n"


def test_an_animation_of_the_game_is_read():
    sheet, found = flare.places(TEXT)
    assert sheet == "images/a.png"
    assert found == {("stance", 0, 6): (0, 0, 4, 6, 2, 5), ("run", 3, 1): (4, 0, 2, 2, 1, 1)}
    with pytest.raises(DataError, match="not as the recipe knows it"):
        flare.places("[stance]\nframe=1,2\n")
    assert flare.order("# layer=0\nlayer=2,off,feet,chest\n") == {2: ["off", "feet", "chest"]}


def test_a_dye_is_a_product_and_shadows_are_left_out_of_what_is_alone():
    sheet = Image.new("RGBA", (4, 2), (200, 100, 50, 255))
    sheet.putpixel((0, 0), (0, 0, 0, 128))
    layer = flare.Layer(sheet, {("stance", 0, 6): (0, 0, 2, 2, 0, 0)})
    page = Image.new("RGBA", (4, 4), (255, 255, 255, 255))
    layer.put(page, ("stance", 0, 6), (1, 1), np.array([0.5, 1.0, 0.0]), alone=True)
    assert page.getpixel((2, 2)) == (100, 100, 0, 255)
    assert page.getpixel((1, 1)) == (255, 255, 255, 255)
    assert page.getpixel((3, 3)) == (255, 255, 255, 255)
    layer.put(page, ("nowhere", 0, 0), (0, 0), None)


def test_outfits_and_poses_are_held_out():
    places = {("stance", k, d): (0, 0, 1, 1, 0, 0) for k in range(20) for d in range(8)}
    sheet = Image.new("RGBA", (1, 1))
    worn = {
        (sex, n): flare.Layer(sheet, places) for sex in ("female", "male") for ns in flare.SLOTS.values() for n in ns
    }
    sides: dict[str, tuple[set, set]] = {"train": (set(), set()), "test": (set(), set())}
    for split, one in flare.figures(worn):
        sides[split][0].add((one.sex, one.outfit["chest"], one.outfit["legs"]))
        sides[split][1].add(one.pose)
    assert not sides["train"][0] & sides["test"][0]
    assert not sides["train"][1] & sides["test"][1]
    assert {chest for _, chest, _ in sides["train"][0]} == {chest for _, chest, _ in sides["test"][0]}


@pytest.mark.parametrize("recipe", [dressed.RECIPE, flare.RECIPE], ids=lambda r: r.name)
def test_the_set_is_as_it_says(recipe):
    from triptych.data import library

    if library.where(recipe, None) is None:
        pytest.skip(f"`triptych data get {recipe.name}` brings it")
    found = posed(data(recipe.name), Clothing())
    assert len(found) == recipe.counts["train"]
    assert len(found.held_out()) == recipe.counts["test"]
