"""Walks and inversions at the command line: what is written, what is found, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import UsageError
from triptych.inference.generators import Generator
from triptych.media.photo import Photo
from triptych.verbs.latents import between, find, walk


def saved(tmp_path: Path, name: str) -> str:
    tt.save_pretrained(tt.create(name, seed=1), tmp_path / name)
    return str(tmp_path / name)


def picture(path: Path, seed: int = 0, side: int = 40) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side + 9), dtype=np.uint8)).save(path)
    return path


def test_the_latent_of_a_sample_is_found_and_walks_begin_there():
    model = tt.create("dcgan-tiny", seed=1).eval()
    with torch.no_grad():
        for weight in model.average.module.parameters():
            weight *= 10  # so that pictures differ
    z = torch.randn(2, 4)
    with torch.no_grad():
        x = Generator(model)(z)
    photos = [Photo.of(torch.nn.functional.interpolate(one[None], scale_factor=2)[0]) for one in x]
    found = find(model, [photo.image() for photo in photos], steps=40, starts=2)
    started = find(model, [photo.image() for photo in photos], steps=1, starts=2)
    assert (found.error <= started.error).all() and found.error.mean() < 0.9 * started.error.mean()
    frames = between(model, found.z, 5)
    assert frames.shape == (1, 5, 1, 8, 8)
    assert torch.allclose(frames[0, 0], found.made[0], atol=1e-4)
    assert torch.allclose(frames[0, -1], found.made[1], atol=1e-4)


def test_a_model_with_an_encoder_is_asked_for_the_code(tmp_path):
    model = tt.create("vae-tiny")
    wide = np.zeros((20, 20), np.uint8)
    found = find(model, [Image.fromarray(wide)])
    assert found.z.shape == (1, 1) and found.made.shape == (1, 1, 2, 2)
    assert walk(model, through=[Image.fromarray(wide), Image.fromarray(255 - wide)], steps=3).shape == (1, 3, 1, 2, 2)


def test_the_verbs_write_pictures(tmp_path, cli):
    run, one, two = saved(tmp_path, "dcgan-tiny"), picture(tmp_path / "a.png"), picture(tmp_path / "b.png", 1)
    out = tmp_path / "out.png"
    assert cli("walk", run, "--walks", "2", "--steps", "3", "--out", out).code == 0
    with Image.open(out) as image:
        assert image.width > image.height
    assert cli("walk", run, "--out", one).code == 2  # a picture of somebody's own
    done = cli("walk", run, "--through", f"{one},{two}", "--steps", "3", "--out", out, "--overwrite")
    assert done.code == 0 and "1 walks of 3" in done.out
    done = cli("invert", run, "--picture", one, "--steps", "2", "--eyes", "5,5,30,6", "--out", tmp_path / "found.png")
    assert done.code == 0 and "levels of 255" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["walk", "RUN", "--through", "ONE", "--out", "w.png"], "from one picture to another"),
        (["walk", "RUN", "--through", "ONE,gone.png", "--out", "w.png"], "gone.png: there is no such file"),
        (["walk", "RUN", "--out", "w.jpg"], "whose name ends in .png"),
        (["invert", "RUN", "--picture", "ONE,ONE", "--eyes", "1,1,9,9", "--out", "w.png"], "--eyes is for one picture"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, cli, words, said):
    run, one = saved(tmp_path, "dcgan-tiny"), str(picture(tmp_path / "a.png"))
    words = [word.replace("RUN", run).replace("ONE", one) for word in words]
    words[-1] = str(tmp_path / words[-1])
    done = cli(*words)
    assert done.code == 2 and said in done.err, done.err


def test_models_without_a_latent_and_with_a_condition_are_refused():
    with pytest.raises(UsageError, match="has no latent"):
        find(tt.create("made-tiny"), [Image.fromarray(np.zeros((20, 20), np.uint8))])
    with pytest.raises(UsageError, match="models of p"):
        walk(tt.create("cgan-tiny"))
    with pytest.raises(UsageError, match="walks=0"):
        walk(tt.create("dcgan-tiny"), walks=0)
