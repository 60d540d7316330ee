"""Unpaired translation: two kinds of pictures however they lie, drawn on their own; what is measured; use both ways."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import triptych as tt
from triptych.core import Images, ItemNoise, Picture, StepNoise, UsageError
from triptych.data import data
from triptych.models.translation.cut import CUT
from triptych.models.translation.cut import PRESETS as CUTS
from triptych.models.translation.cyclegan import PRESETS, CycleGAN
from triptych.tasks.task import posed, trained_on
from triptych.tasks.unpaired import Asked, UnpairedTranslation
from triptych.training import Run
from triptych.verbs.create import create_for


def save(path: Path, level: int, size: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size, size, 3), level, np.uint8)
    pixels[0, 0] = 255 - level, level, level
    Image.fromarray(pixels).save(path)


def folders(top: Path, a: str, b: str, names: str = "{k}.png") -> Path:
    """Kind A is dark, kind B light; a few of each for testing."""
    for word, n in (("train", 8), ("test", 4)):
        for k in range(n):
            save(top / a.format(word) / ("a" + names.format(k=k)), 10 + k)
            save(top / b.format(word) / ("b" + names.format(k=k)), 200 + k)
    return top


def opened(source, tmp_path, task=None, **more):
    found = data(str(source), cache=tmp_path / "cache", size=16, **more)
    return posed(found, task or UnpairedTranslation())


@pytest.mark.parametrize(("a", "b"), [("{}A", "{}B"), ("{}_A", "{}_B"), ("{}/A", "{}/B"), ("A/{}", "B/{}")])
def test_the_layouts_of_the_field_are_two_kinds(tmp_path, a, b):
    found = opened(folders(tmp_path / "set", a, b), tmp_path)
    assert len(found) == 8
    batch = found.fetch(torch.arange(8), StepNoise(0, 8, slice(None)))
    assert float(batch.given.grid.mean()) < 0 < float(batch.x.mean())
    held = found.held_out()
    assert held is not None
    assert len(held) == 4
    back = opened(tmp_path / "set", tmp_path, UnpairedTranslation(direction="BtoA"))
    batch = back.fetch(torch.arange(8), StepNoise(0, 8, slice(None)))
    assert float(batch.x.mean()) < 0 < float(batch.given.grid.mean())


def columns(n=24, seed=0):
    """Pictures that belong together: B is A, negated."""
    a = np.random.default_rng(seed).integers(0, 256, (n, 3, 16, 16), dtype=np.uint8)
    return tt.pair(x=255 - a, A=a)


def test_rows_are_drawn_on_their_own_in_training_and_together_where_the_truth_is_known():
    found = posed(columns(), UnpairedTranslation())
    assert found.task.known
    batch = found.fetch(torch.arange(len(found)), StepNoise(0, len(found), slice(None)))
    together = ((batch.x + batch.given.grid).abs().flatten(1).amax(1) < 1e-5).double().mean()
    assert together < 0.5
    again = found.fetch(torch.arange(len(found)), StepNoise(1, len(found), slice(None)))
    assert torch.equal(batch.x, again.x)
    assert not torch.equal(batch.given.grid, again.given.grid)
    held = found.held_out()
    batch = held.fetch(torch.arange(len(held)), ItemNoise(0, range(len(held))))
    assert torch.allclose(batch.x, -batch.given.grid, atol=1e-5)
    assert held.task.measure(batch.x, batch.x, batch.given)[0].name == "PSNR"
    lines = found.task.said(found.data)
    assert len(lines) == 1
    assert "not in training" in lines[0]


def test_classes_are_kinds_by_their_names_or_numbers():
    x = np.zeros((30, 1, 16, 16), np.uint8)
    y = np.arange(30) % 3
    x[:] = (80 * y)[:, None, None, None]
    found = posed(data((x, y), split="all"), UnpairedTranslation(a="2", b="0"))
    batch = found.fetch(torch.arange(len(found)), StepNoise(0, len(found), slice(None)))
    assert len(found) == 10
    assert set(batch.x.flatten().tolist()) == {-1.0}
    assert batch.given.grid.min() > 0.2
    assert not found.task.known
    assert found.task.measure(batch.x, batch.x, batch.given) == []


def test_two_sources_of_python_go_either_way(tmp_path):
    top = folders(tmp_path / "set", "{}/dark", "{}/light")
    a, b = (data(str(top / "train" / kind), cache=tmp_path / "c", size=16, split="all") for kind in ("dark", "light"))
    for direction, sign in (("AtoB", 1), ("BtoA", -1)):
        found = posed(tt.unpaired(a, b), UnpairedTranslation(direction=direction))
        batch = found.fetch(torch.arange(4), StepNoise(0, 4, slice(None)))
        assert sign * float(batch.x.mean()) > 0 > sign * float(batch.given.grid.mean())


def test_data_of_one_kind_and_wrong_names_are_refused_with_the_remedy(tmp_path):
    for k in range(3):
        save(tmp_path / "one" / "trainA" / f"{k}.png", k)
    with pytest.raises(UsageError, match=r"all pictures are of one kind.*trainA/ and trainB/"):
        opened(tmp_path / "one", tmp_path, split="all")
    some = columns()
    with pytest.raises(UsageError, match="b=C: there is no such class or column"):
        posed(some, UnpairedTranslation(a="A", b="C"))
    with pytest.raises(UsageError, match="are the same"):
        posed(some, UnpairedTranslation(a="A", b="a"))
    y = np.arange(30) % 3
    with pytest.raises(UsageError, match='which two of 0, 1, 2\\? say a="0" b="1"'):
        posed(data((np.zeros((30, 1, 16, 16), np.uint8), y), split="all"), UnpairedTranslation())
    a, b = np.zeros((9, 1, 16, 16), np.uint8), np.zeros((9, 1, 8, 8), np.uint8)
    with pytest.raises(UsageError, match="16 x 16 of 1 channel and the other 8 x 8"):
        posed(tt.unpaired(data(a, split="all"), data(b, split="all")), UnpairedTranslation())


def test_a_number_is_a_name_where_a_name_is_asked_for():
    from triptych.io import configs

    task = configs.override(UnpairedTranslation(), ["a=7", "b=ankle boot"])
    assert (task.a, task.b) == ("7", "ankle boot")


# Use


def model():
    config = replace(PRESETS["cyclegan-tiny"].config, x=Images(3, 16, 16), given=Images(3, 16, 16))
    made = CycleGAN(config)
    for weight in made.parameters():
        weight.data += 0.05 * torch.randn(weight.shape)
    made.average.update(made.generators)
    return made.eval()


def test_a_picture_of_any_size_goes_both_ways():
    made, task = model(), UnpairedTranslation()
    picture = np.random.default_rng(0).integers(0, 256, (21, 33, 3), dtype=np.uint8)
    answers = {}
    for direction in (None, "AtoB", "BtoA"):
        question = task.ask(made, picture=picture, direction=direction)
        answers[direction] = task.answer(made, question, seed=0, tile=None).pixels
        assert answers[direction].shape == (21, 33, 3)
    assert np.array_equal(answers[None], answers["AtoB"])
    assert not np.array_equal(answers["AtoB"], answers["BtoA"])


def test_a_model_of_one_way_says_so():
    made = CUT(CUTS["cut-tiny"].config)
    with pytest.raises(UsageError, match="cut goes one way, and was trained AtoB; train it with direction=BtoA"):
        UnpairedTranslation().ask(made, picture=np.zeros((8, 8), np.uint8), direction="BtoA")
    question = UnpairedTranslation().ask(made, picture=np.zeros((8, 8), np.uint8), direction="AtoB")
    assert isinstance(question, Asked)
    assert not question.back


def test_what_is_measured_without_the_truth(monkeypatch):
    from triptych.tasks import unpaired

    monkeypatch.setattr(unpaired, "SECONDS", 0.5)
    made, found = model(), posed(columns(300), UnpairedTranslation())
    made.average.module.update({"there": nn.Identity(), "back": nn.Identity()})
    test = found.held_out()
    measured = {m.name: m for m in found.task.further(made, test, limit=20, seed=0)}
    assert set(measured) == {
        "taken for the second kind",
        "likest to their own",
        "PSNR there and back",
        "PSNR back and there",
    }
    assert measured["likest to their own"].value == 1  # it changes nothing
    assert measured["likest to their own"].baselines["another of the second kind"] < 0.5
    one = CUT(replace(CUTS["cut-tiny"].config, x=Images(3, 16, 16), given=Images(3, 16, 16)))
    assert len(found.task.further(one, test, limit=20, seed=0)) == 2


# What is asked of training, in one place


def test_conditions_are_left_blank_and_rows_marked_as_often_as_is_asked():
    from triptych.core import Batch
    from triptych.tasks.clothing import Clothing

    x, n = torch.rand(400, 1, 2, 2), 400
    batch = Batch(x, Picture(torch.ones(400, 3, 2, 2)), StepNoise(0, n, slice(None)))
    plain = trained_on(batch, Clothing())
    assert plain.given is batch.given
    assert plain.wrong is None
    found = trained_on(batch, Clothing(mismatched=0.5, unconditioned=0.25))
    blank = (found.given.grid == 0).flatten(1).all(1)
    assert set(found.given.grid.flatten().tolist()) == {0.0, 1.0}
    assert 0.15 < blank.double().mean() < 0.35
    assert 0.4 < found.wrong.double().mean() < 0.6


def test_rows_are_mirrored_with_their_conditions():
    from triptych.core import Batch
    from triptych.tasks.clothing import Clothing

    x = torch.rand(64, 1, 2, 3)
    batch = Batch(x, Picture(x.repeat(1, 2, 1, 1)), StepNoise(0, 64, slice(None)))
    found = trained_on(batch, Clothing(mirrored=True))
    as_it_is, other = ((found.x == one).flatten(1).all(1) for one in (x, x.flip(-1)))
    assert (as_it_is | other).all() and 16 < as_it_is.sum() < 48
    assert torch.equal(found.given.grid, found.x.repeat(1, 2, 1, 1))


@pytest.mark.parametrize("name", ["pix2pix", "spade", "pixel-dtgan"])
def test_a_discriminator_that_sees_both_takes_what_does_not_belong_for_generated(name, monkeypatch):
    from triptych import models
    from triptych.core import Batch, Clock
    from triptych.testing import Examples

    entry, seen = models.find(name), []
    config = entry.presets()[f"{name}-tiny"].config
    made = entry.load()(config).train()
    plain = Examples(config.x, config.given).fetch(torch.arange(4), StepNoise(0, 4, slice(None)))
    batch = replace(plain, wrong=torch.tensor([True, False, True, False]))
    monkeypatch.setattr(Batch, "fakes", lambda self, drawn: seen.append(self.wrong) or drawn)
    for player in made.stages()[0].players:
        player.loss(batch, Clock(0, 0.0))
    assert len(seen) == 1
    assert seen[0] is batch.wrong


def test_only_training_rows_are_changed():
    from triptych.tasks.clothing import Clothing

    a = np.random.default_rng(0).integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    found = posed(tt.pair(x=a, wearer=a), Clothing(unconditioned=1.0, mismatched=1.0))
    batch = found.fetch(torch.arange(4), StepNoise(0, 4, slice(None)))
    assert not batch.given.grid.any()
    assert batch.wrong.all()
    held = found.held_out()
    batch = held.fetch(torch.arange(2), ItemNoise(0, range(2)))
    assert torch.equal(batch.given.grid, batch.x)
    assert batch.wrong is None


def test_misfits_are_refused_where_no_discriminator_would_see_them() -> None:
    from triptych.tasks.clothing import Clothing

    a = np.random.default_rng(0).integers(0, 256, (60, 1, 32, 32), dtype=np.uint8)
    found = posed(tt.pair(x=a, wearer=a), Clothing(mismatched=0.5))
    run = Run(steps=1, batch=2)
    with pytest.raises(UsageError, match=r"mismatched=0\.5: no discriminator of cut is shown a picture beside"):
        next(iter(tt.train(CUT(CUTS["cut-32"].config), found, run)))
    next(iter(tt.train(create_for("pix2pix-32", found, []), found, run)))
