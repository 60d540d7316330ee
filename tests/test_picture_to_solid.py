"""Picture to solid: the pictures that are taken, what is asked and given, measures with known answers."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import Adam, Images, ItemNoise, Picture, UsageError, Voxels
from triptych.media.solid import Solid
from triptych.media.voxels import seen
from triptych.models.vae.vae_3d import PRESETS, VAE3D, VAE3DConfig
from triptych.tasks.measuring import against_truth
from triptych.tasks.picture_to_solid import PictureToSolid
from triptych.tasks.task import posed
from triptych.training import Run, train
from triptych.verbs.create import create


def box(high: int, deep: int = 8) -> torch.Tensor:
    """A box that stands on the floor, [1, 1, 8, 8, 8]."""
    x = torch.full((1, 1, 8, 8, 8), -1.0)
    x[:, :, :deep, 8 - high :, 2:6] = 1
    return x


def boxes(folder: Path) -> Path:
    """Boxes of four heights, 48 to train on and 8 held out."""
    for k, high in enumerate((2, 4, 6, 8) * 14):
        file = folder / "boxes" / ("train" if k < 48 else "test") / f"{k}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, (box(high)[0, 0] > 0).numpy())
    return folder / "boxes"


def test_pictures_are_of_the_solid_and_of_levels() -> None:
    task, x = PictureToSolid(side=16), torch.cat([box(2), box(8), box(8, deep=2)])
    truth, given = task.pose({"x": x}, ItemNoise(0, range(3)))
    assert truth is x and isinstance(given, Picture) and given.grid.shape == (3, 1, 16, 16)
    space = Images(1, 16, 16)
    torch.testing.assert_close(space.from_index(space.nearest(given.grid)), given.grid)
    light = (given.grid > -1).flatten(1).sum(1)
    assert light[1] > light[0] > 0 and light[1] > light[2] > 0
    outline = PictureToSolid(side=16, outline=True).taken(x)
    assert torch.equal(outline > 0, given.grid > -1) and set(outline.unique().tolist()) == {-1.0, 1.0}
    assert task.taken(x[:0]).shape == (0, 1, 16, 16)
    assert seen(x[0, 0], side=24).shape == (1, 24, 24)
    with pytest.raises(UsageError, match="picture-to-solid is for solids"):
        task.spaces({"x": Images(1, 8, 8)})


def test_a_likelihood_is_given_the_picture() -> None:
    """What the picture shows changes both encoder and decoder."""
    torch.manual_seed(0)
    model = VAE3D(PRESETS["vae-3d-tiny-view"].config).eval()
    one, other = Picture(torch.zeros(2, 1, 8, 8)), Picture(torch.ones(2, 1, 8, 8))
    one.grid[:, :, :4], other.grid[:, :, :4] = -1, -1
    x, z = torch.cat([box(2), box(6)]), torch.zeros(3, 2, 2)
    assert model.decode(z, one).batch_shape == (3, 2)
    assert not torch.allclose(model.decode(z, one).log_prob(x), model.decode(z, other).log_prob(x))
    assert not torch.allclose(model.encode(x, one).mean, model.encode(x, other).mean)
    with pytest.raises(UsageError, match="pictures are halved to 4 to 7 pixels"):
        VAE3DConfig(given=Images(1, 30, 30))


def test_it_learns_how_high_a_box_is(tmp_path) -> None:
    """Of pictures of boxes of four heights; measured against the truth, the mean solid and the nearest picture."""
    data = posed(tt.data(boxes(tmp_path), size=8, cache=tmp_path / "cache"), PictureToSolid(side=16))
    assert data.x == Voxels(1, 8, 8, 8) and data.given == Images(1, 16, 16)
    torch.manual_seed(0)
    model = create("vae-3d-view", x=data.x, given=data.given, latent=2, width=8, seen=16, adam=Adam(lr=1e-2))
    for _ in train(model, data, Run(steps=60, batch=8)):
        pass
    (found,) = against_truth(model, data.held_out())
    assert found.value > 0.9 and found.baselines["nearest picture"] == 1
    assert found.baselines["mean solid"] < 0.75


def test_a_picture_becomes_a_mesh(tmp_path, caplog) -> None:
    task, model = PictureToSolid(side=8), create("vae-3d-tiny-view")
    grey = ((seen(box(6)[0, 0], side=40)[0] + 1) * 127.5).round().to(torch.uint8).numpy()
    cut = Image.fromarray(np.stack([grey, grey, grey, np.where(grey > 0, 255, 0).astype(np.uint8)], -1))
    Image.fromarray(grey).save(tmp_path / "a.png")
    cut.save(tmp_path / "cut.png")
    with caplog.at_level(logging.WARNING):
        asked, same = (task.ask(model, picture=tmp_path / name) for name in ("a.png", "cut.png"))
        torch.testing.assert_close(asked.given.grid, same.given.grid)
        assert asked.given.grid.shape == (1, 1, 8, 8) and not caplog.records
        Image.fromarray(255 - grey).save(tmp_path / "light.png")
        task.ask(model, picture=tmp_path / "light.png")
        assert "light.png: its ground is light" in caplog.text
    found = task.answer(model, asked, seed=0, tile=None)
    assert isinstance(found, Solid) and found.level.shape == (8, 8, 8)
    assert not torch.equal(found.level, task.answer(model, asked, seed=1, tile=None).level)
    assert task.before(asked).pixels.shape[:2] == (8, 8)
    outline = PictureToSolid(side=8, outline=True).ask(model, picture=tmp_path / "a.png")
    assert set(outline.given.grid.unique().tolist()) == {-1.0, 1.0}


def test_solids_are_written_and_read(tmp_path) -> None:
    solid = Solid(box(6)[0, 0])
    for name in ("a.obj", "a.stl", "a.gif", "a.png", "a.binvox"):
        assert solid.save(tmp_path / name).stat().st_size > 50
    assert torch.equal(Solid.read(tmp_path / "a.binvox").level, solid.level)
    with pytest.raises(UsageError, match=r"name a file that ends in \.obj, \.glb, \.stl"):
        solid.save(tmp_path / "a.off")
    with pytest.raises(UsageError, match="cannot be read"):
        Solid.read(tmp_path / "none.obj")
    (tmp_path / "b.obj").write_text("v 0 0 0\n")
    with pytest.raises(UsageError, match=r"b\.obj: it has no faces"):
        Solid.read(tmp_path / "b.obj")


def test_the_command_line_makes_solids_of_pictures(tmp_path, cli) -> None:
    run, small = tmp_path / "run", ["latent=2", "width=4", "seen=8", "side=16"]
    words = ["--data", boxes(tmp_path), "--size", "8", "--no-pictures", "--steps", "2", "--batch", "4", "--out", run]
    done = cli("train", "picture-to-solid", *words, *small)
    assert done.code == 0, done.err
    (tmp_path / "pictures").mkdir()
    for k in (4, 8):
        view = ((seen(box(k)[0, 0], side=32)[0] + 1) * 127.5).round().to(torch.uint8).numpy()
        Image.fromarray(view).save(tmp_path / "pictures" / f"{k}.png")
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    done = cli("apply", run, "--picture", tmp_path / "pictures", "--out", out, "--sheet", sheet, "--seeds", "0-1")
    assert done.code == 0 and sheet.exists(), done.err
    assert sorted(p.name for p in out.iterdir()) == ["4-0.obj", "4-1.obj", "8-0.obj", "8-1.obj"]
    done = cli("apply", run, "--picture", tmp_path / "pictures" / "4.png", "--out", tmp_path / "a.off")
    assert done.code == 2 and ".obj" in done.err
