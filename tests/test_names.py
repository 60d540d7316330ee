"""Names of classes: saved with a model, matched with those of data, asked for; labels and captions of one source."""

import json
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.cli import main
from triptych.core import (
    Images,
    ItemNoise,
    Label,
    Labels,
    PartialLabel,
    PartialLabels,
    ResourceError,
    Text,
    Tokens,
    UsageError,
)
from triptych.data import Dataset, check_fits, data, fitted
from triptych.data.splits import held_out
from triptych.io import configs
from triptych.verbs.classify import classify
from triptych.verbs.create import create_for
from triptych.verbs.sample import conditions
from triptych.verbs.score import score

TINY = ["width=4", "layers=1", "head=4"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))


def shaded(folder: Path, **classes: int) -> Path:
    """Six images of each class, of a shade of its own."""
    for name, shade in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (8, 8), shade + i).save(folder / name / f"{i}.png")
    return folder


def served(d: Dataset) -> dict[int, set[int]]:
    """The classes that images of each shade (to the nearest 50) are served with."""
    found = d.fetch(torch.arange(len(d)), ItemNoise(0, range(len(d))))
    shade = d.x.index(found.x)[:, 0, 0, 0] // 50 * 50
    assert torch.equal(found.given.y, d.labels)
    return {k: set(found.given.y[shade == k].tolist()) for k in set(shade.tolist())}


def config(given: object) -> SimpleNamespace:
    return SimpleNamespace(x=Images(1, 8, 8), given=given)


# Spaces


def test_names_are_a_part_of_the_space_and_do_not_tell_spaces_apart() -> None:
    named = Labels(2, names=("cat", "dog"))
    assert repr(named) == "Labels(classes=2, names=('cat', 'dog'))" and repr(Labels(2)) == "Labels(classes=2)"
    assert named == Labels(2) and hash(named) == hash(Labels(2)) and named != Labels(3)
    for space in (named, PartialLabels(2, names=("cat", "dog"))):
        assert configs.from_json(type(space), configs.to_json(space)).names == ("cat", "dog")
    assert configs.from_json(Labels, {"classes": 2}).names is None  # as an earlier version wrote it
    for names, words in ((("a",), "1 names"), (("a", "a"), "'a' comes twice")):
        with pytest.raises(UsageError, match=words):
            configs.from_json(Labels, {"classes": 2, "names": names})


def test_a_class_is_found_by_its_name_or_number() -> None:
    space = Labels(4, names=("cat", "Dog", "7", "dog"))
    assert [space.number(k) for k in ("cat", "CAT", "dog", "Dog", "7", 3, "0")] == [0, 0, 3, 1, 2, 3, 0]
    for wrong, words in (("DOG", "did you mean|there are"), ("cta", "did you mean 'cat'"), ("8", "there are cat")):
        with pytest.raises(UsageError, match=words):
            space.number(wrong)
    assert Labels(2).number("1") == 1 and [*Labels(2).called] == ["0", "1"]


# Where data meet a model


def test_names_travel_with_a_model(tmp_path: Path) -> None:
    model = create_for("gated-pixelcnn", data(shaded(tmp_path / "a", cat=0, dog=100)), TINY)
    assert model.config.given.names == ("cat", "dog")
    tt.save_pretrained(model, tmp_path / "run")
    again = tt.load(tmp_path / "run")
    assert again.config.given.names == ("cat", "dog")
    assert conditions(again, 3, "dog,cat").y.tolist() == [1, 0, 1] and conditions(again, 2, "1").y.tolist() == [1, 1]
    for wrong in ("cow", "2", "cat;dog", ""):
        with pytest.raises(UsageError, match=r"given=.*no class .*cat,dog"):
            conditions(again, 2, wrong)


def test_a_preset_of_so_many_classes_takes_their_names(tmp_path: Path) -> None:
    found = data(shaded(tmp_path / "a", cat=0, dog=100), size=28, channels=1)
    model = create_for("gated-pixelcnn-mnist-classes", found, ["given.classes=2", *TINY])
    assert model.config.given.names == ("cat", "dog")
    three = create_for("gated-pixelcnn-mnist-classes", found, ["given.classes=3", *TINY])
    assert three.config.given.names is None  # which are not these


def test_digits_have_no_names_but_their_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((6, 8, 8), np.uint8), y=np.arange(6) % 3)
    assert data(tmp_path / "a.npz").given.names is None
    assert data(shaded(tmp_path / "d", **{"0": 0, "1": 100})).given.names is None


@pytest.mark.parametrize("other", [{"dog": 100, "cat": 0, "Ape": 200}, {"Dog": 100, "CAT": 0, "ape": 200}])
def test_classes_are_matched_by_name(tmp_path: Path, other: dict[str, int], caplog: pytest.LogCaptureFixture) -> None:
    mine = data(shaded(tmp_path / "a", ape=200, cat=0, dog=100), split="all")
    model = create_for("gated-pixelcnn", mine, TINY)
    theirs = data(shaded(tmp_path / "b", **other), split="all")
    for d in (mine, theirs):
        assert served(fitted(d, model.config)) == {200: {0}, 0: {1}, 100: {2}}
        assert fitted(d, model.config).classes == ["ape", "cat", "dog"]
    assert fitted(mine, model.config) is mine
    one, two = (score(model, d, seed=1) for d in (mine, theirs))
    assert sorted(one.per_item) == pytest.approx(sorted(two.per_item), rel=1e-4)
    assert classify(model, theirs).names == ("ape", "cat", "dog")
    assert caplog.text.count("numbered as the model has them") == int("CAT" in other)


def test_what_the_model_does_not_know_is_refused_and_less_is_fine_but_for_training(tmp_path: Path) -> None:
    known = config(Labels(3, names=("ape", "cat", "dog")))
    few = data(shaded(tmp_path / "two", dog=100, cat=0), split="all")
    assert served(fitted(few, known)) == {0: {1}, 100: {2}}
    assert isinstance(fitted(few, known).given, Labels) and fitted(few, known).given.classes == 3
    with pytest.raises(UsageError, match="lacks classes that the model has: ape"):
        fitted(few, known, training=True)
    strange = data(shaded(tmp_path / "strange", ant=0, bee=100, cat=200))
    for training in (False, True):
        with pytest.raises(UsageError, match="does not know: ant, bee; it knows ape, cat, dog"):
            check_fits(strange, known, training=training)
    accents = data(
        shaded(tmp_path / "accents", **{unicodedata.normalize("NFD", "Poil\u00e9"): 0, "ras": 100}), split="all"
    )
    assert served(fitted(accents, config(Labels(2, names=("ras", "poil\u00e9"))))) == {0: {1}, 100: {0}}
    twice = data(shaded(tmp_path / "twice", cat=0, Cat=100))
    with pytest.raises(UsageError, match="capitals"):
        fitted(twice, known)


def test_without_names_classes_are_matched_by_number_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = data(shaded(tmp_path / "a", cat=0, dog=100), split="all")
    assert served(fitted(named, config(Labels(2)))) == {0: {0}, 100: {1}}
    assert "matched by number (0 is cat, 1 is dog)" in caplog.text
    fitted(named.subset([0, 1]), config(Labels(2)))
    assert caplog.text.count("matched by number") == 1
    with pytest.raises(UsageError, match=r"build the model with given.classes=2"):
        fitted(named, config(Labels(1)))


def test_names_that_are_numbers_are_the_numbers_of_a_model_without_names(tmp_path: Path) -> None:
    digits = data(shaded(tmp_path / "a", **{"7": 100, "3": 0}), split="all")
    assert digits.given.names == ("3", "7")
    assert served(fitted(digits, config(Labels(10)))) == {0: {3}, 100: {7}}
    with pytest.raises(UsageError, match="does not know: 7"):
        fitted(digits, config(Labels(5)))


# Labels that are not all known


def test_rows_without_a_label_are_of_unknown_class(tmp_path: Path) -> None:
    for kind, known in (("jsonl", 3), ("csv", 9)):
        folder = tmp_path / kind
        folder.mkdir()
        lines = ["file_name,label"]
        for i in range(12):
            Image.new("L", (8, 8), 100 * (i % 2) + i).save(folder / f"{i}.png")
            label = {"label": "ab"[i % 2]} if i < known else {}
            lines.append(
                f"{i}.png,{label.get('label', '')}" if kind == "csv" else json.dumps({"file_name": f"{i}.png"} | label)
            )
        (folder / f"metadata.{kind}").write_text("\n".join(lines[kind == "jsonl" :]))
        found = data(folder, split="all")
        assert repr(found.given) == "PartialLabels(classes=2, names=('a', 'b'))"
        assert len(found) == 12 and not found.problems and int((found.labels >= 0).sum()) == known
        batch = found.fetch(torch.arange(12), ItemNoise(0, range(12)))
        shade = found.x.index(batch.x)[:, 0, 0, 0]
        assert isinstance(batch.given, PartialLabel)
        assert torch.equal(batch.given.y, torch.where(shade % 100 < known, shade // 100, -1))
        assert create_for("sgan", found, []).config.given.names == ("a", "b")
        with pytest.raises(UsageError, match="leave out what has no label"):
            check_fits(found, config(Labels(2)))


def test_a_folder_of_what_has_no_class_and_arrays_with_minus_one(tmp_path: Path) -> None:
    found = data(shaded(tmp_path / "a", cat=0, dog=100, unlabeled=200), split="all")
    assert served(found) == {0: {0}, 100: {1}, 200: {-1}} and isinstance(found.given, PartialLabels)
    np.savez(tmp_path / "b.npz", x=np.zeros((6, 8, 8), np.uint8), y=np.arange(6) % 3 - 1)
    arrays = data(tmp_path / "b.npz", split="all")
    assert arrays.given == PartialLabels(2) and sorted(arrays.labels.tolist()) == [-1, -1, 0, 0, 1, 1]


# Captions and labels of one source


@pytest.fixture
def both(tmp_path: Path) -> Path:
    folder = shaded(tmp_path / "both", cat=0, dog=100)
    for path in folder.glob("*/*.png"):
        path.with_suffix(".txt").write_text(f"picture {path.stem} of a {path.parent.name}")
    return folder


def test_a_model_is_given_what_it_takes(both: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = data(both, split="all")
    assert 'condition="label" or condition="caption" decides' in caplog.text
    assert isinstance(found.given, Tokens) and found.classes == ["cat", "dog"] and found.captions
    for name in ("cgan", "gated-pixelcnn", "sgan"):
        assert create_for(name, found, []).config.given.names == ("cat", "dog")
    for given in (Labels(2, names=("cat", "dog")), PartialLabels(2)):
        assert served(fitted(found, config(given))) == {0: {0}, 100: {1}}
    words = fitted(found, config(found.given))
    assert isinstance(words.fetch(torch.arange(2), ItemNoise(0, range(2))).given, Text)


def test_which_condition_is_served_may_be_asked(both: Path, tmp_path: Path) -> None:
    found = data(both, condition="label")
    assert found.given.names == ("cat", "dog") and found.held_out().given == found.given
    batch = found.fetch(torch.arange(2), ItemNoise(0, range(2)))
    assert isinstance(batch.given, Label) and found.opened["condition"] == "label"
    with pytest.raises(UsageError, match="condition="):
        check_fits(data(both, condition="caption"), config(Labels(2)))
    with pytest.raises(UsageError, match="has no captions"):
        data(shaded(tmp_path / "plain", a=0, b=100), condition="caption")
    with pytest.raises(UsageError, match="condition='words'"):
        data(both, condition="words")
    assert data("shapes", condition="label").given.names == tuple(data("shapes").classes)


def test_no_condition_may_be_asked_for(both: Path) -> None:
    found = data(both, condition="none")
    assert found.given is None and found.held_out().given is None and found.labels is not None
    assert found.fetch(torch.arange(2), ItemNoise(0, range(2))).given is None
    assert found.fingerprint != data(both).fingerprint
    assert create_for("r3gan", found, []).config.given is None != create_for("r3gan", data(both), []).config.given
    with pytest.raises(UsageError, match='open the data with condition="label"'):
        check_fits(found, config(Labels(2)))


# Nothing held out


@pytest.mark.parametrize("bad", ["held out", "validation"])
def test_what_has_nothing_held_out_can_be_trained_on(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{i}.png" for i in range(9)] if bad == "held out" else ["train/0.png", "train/1.png", "val/0.png"]
    lost = held_out(names) if bad == "held out" else [False, False, True]
    for i, (name, broken) in enumerate(zip(names, lost, strict=True)):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), i).save(tmp_path / "d" / name)
        if broken:
            (tmp_path / "d" / name).write_bytes(b"broken")
    found = data(tmp_path / "d")
    assert found.held_out() is None
    command = f"train gan --data {tmp_path / 'd'} --out {tmp_path / 'run'} --steps 1 --batch 2"
    monkeypatch.setattr(sys, "argv", ["triptych", *command.split()])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0 and "nothing is held out of d:train" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has nothing in split"):
        data(tmp_path / "d", split="test")


def test_a_held_out_text_of_less_than_a_window_does_not_block_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("it was the best of times. " * 9)
    assert data(tmp_path / "a.txt", length=40).held_out() is None
    assert data(tmp_path / "a.txt", length=10).held_out() is not None


def test_memory_that_runs_out_while_packing_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("triptych.media.reading.decode", full)
    with pytest.raises(ResourceError, match=r"memory ran out while a was packed.*size="):
        data(shaded(tmp_path / "a", cat=0, dog=100))
