"""Columns of values as conditions: a number as it was read, a class by its name; of whole pictures and of crops."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, ItemNoise, Label, Labels, Points, UsageError, Vector
from triptych.data.fits import check_fits, fitted
from triptych.data.values import column
from triptych.media import medium_of
from triptych.models.vae.cvae import CVAE, CVAEConfig
from triptych.verbs.create import create_for
from triptych.verbs.inspect import inspect
from triptych.verbs.opening import open_for
from triptych.verbs.sample import conditions

N, SIDE = 24, 8


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """Pictures whose grey is their age."""
    folder = tmp_path_factory.mktemp("faces")
    rows = [{"file_name": f"{i}.png", "age": i * 4 + 1, "who": ("ann", "bob", "cy")[i % 3]} for i in range(N)]
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    for row in rows:
        Image.fromarray(np.full((SIDE, SIDE), row["age"], np.uint8)).save(folder / str(row["file_name"]))
    return folder


def batch(data):
    rows = torch.arange(len(data))
    return data.fetch(rows, ItemNoise(0, range(len(data))))


@pytest.mark.parametrize("crop", [None, 4])
def test_a_number_is_served_as_it_was_read(faces, crop) -> None:
    data = tt.data(faces, split="all", condition="age", crop=crop)
    assert data.given == Points(1) and data.held_out() is None
    found = batch(data)
    assert isinstance(found.given, Vector)
    assert torch.equal(found.given.values[:, 0], data.x.nearest(found.x)[:, 0, 0, 0].float())
    plain = tt.data(faces, split="all", crop=crop)
    assert plain.given is None and batch(plain).given is None
    assert plain.fingerprint != data.fingerprint
    assert data.opened["condition"] == "age"
    train = tt.data(faces, condition="age", crop=crop)
    assert train.held_out().given == Points(1) == train.held_out().training_part().given
    if crop is None:
        assert data[3][1] == data.subset([3])[0][1] == batch(data).given.values[3].item()


@pytest.mark.parametrize("crop", [None, 4])
def test_words_are_classes(faces, crop) -> None:
    data = tt.data(faces, split="all", condition="who", crop=crop)
    assert data.given == Labels(3) and data.given.names == ("ann", "bob", "cy")
    found = batch(data)
    assert isinstance(found.given, Label)
    grey = data.x.nearest(found.x)[:, 0, 0, 0]
    assert torch.equal(found.given.y, (grey - 1) // 4 % 3)


def test_classes_of_a_column_are_matched_by_name_and_counted(faces) -> None:
    data = tt.data(faces, split="all", condition="who")
    assert data.classes == ["ann", "bob", "cy"] and data[1][1] == data.labels[1]
    turned = fitted(data, CVAEConfig(x=data.x, given=Labels(3, names=("cy", "bob", "ann"))))
    assert torch.equal(batch(turned).given.y, 2 - batch(data).given.y)
    assert turned.columns["who"].names == ("cy", "bob", "ann") and "label" not in turned.columns
    few = tt.data(faces, condition="who", labels=3)
    assert few.given.optional and int(few.labeled.sum()) == 3


def test_a_column_that_there_is_not_is_refused(faces) -> None:
    with pytest.raises(UsageError, match=r"condition='agge': .* no such column to condition on; did you mean 'age'"):
        tt.data(faces, condition="agge")
    with pytest.raises(UsageError, match='has no labels; leave out condition="label"'):
        tt.data(faces, condition="label")
    with pytest.raises(UsageError, match='has no captions; leave out condition="caption"'):
        tt.data(faces, condition="caption", crop=4)
    with pytest.raises(UsageError, match='open the data with condition="age"'):
        check_fits(tt.data(faces), CVAEConfig(x=tt.Images(1, SIDE, SIDE), given=Points(1)))
    assert tt.data(faces, condition="none", crop=4).given is None
    with pytest.raises(
        UsageError, match=r"acgan is told classes; .* has numbers \(age\).*; or cvae can be told numbers"
    ):
        create_for("acgan", tt.data(faces, condition="age"), ["latent=4"])


def test_a_run_knows_its_condition(faces, tmp_path, cli) -> None:
    out = tmp_path / "run"
    words = ["--condition", "age", "latent=2", "hidden=[8]", "--steps", 2, "--batch", 4]
    done = cli("train", "cvae", "--data", faces, "--out", out, *words)
    assert done.code == 0, done.err
    model = tt.load(out)
    assert isinstance(model, CVAE) and model.config.given == Points(1)
    card = (out / "README.md").read_text()
    assert "age: Points(dims=1), from 1 to 93, as they were read" in card and "the column age" in card
    assert "--condition age" in card
    assert model.sample(2, Vector(torch.tensor([[20.0], [60.0]])), seed=0).shape == (2, 1, SIDE, SIDE)
    assert conditions(model, 3, "20,60").values.tolist() == [[20.0], [60.0], [20.0]]
    with pytest.raises(UsageError, match="given=old: these are numbers"):
        conditions(model, 1, "old")
    other = open_for(model, out, faces, split="all")
    assert other.given == Points(1) and len(other) == N
    told = cli("data", faces)
    assert "column age: 21 in Points(dims=1), from 1 to 93, as they were read" in told.out
    assert inspect(tt.data(faces, condition="age", split="all"))["given"] == "Points(dims=1)"


def test_a_prior_of_numbers_begins_as_the_standard_normal() -> None:
    torch.manual_seed(0)
    model = CVAE(CVAEConfig(x=tt.Images(1, 4, 4), given=Points(2), latent=3, hidden=(5,)))
    prior = model.prior(Vector(torch.tensor([[0.0, 1.0], [80.0, -3.0]])))
    assert torch.equal(prior.mean, torch.zeros(2, 3))
    torch.testing.assert_close(prior.stddev, torch.ones(2, 3))
    a, b = (model.decode(torch.zeros(1, 3), Vector(torch.tensor([[age, 0.0]]))).mean for age in (1.0, 60.0))
    assert not torch.allclose(a, b)


@pytest.mark.parametrize(("sides", "size"), [([(40, 70), (33, 90)], (28, 28)), ([(40, 70), (20, 31)], (16, 16))])
def test_pictures_of_several_sizes_are_opened_for_the_model(tmp_path, cli, caplog, sides, size) -> None:
    for i, (height, width) in enumerate(sides * 6):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(np.full((height, width), i, np.uint8)).save(tmp_path / f"photos/{i}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    words = ["vae", "--data", tmp_path / "photos", "latent=2", "hidden=[8]", "--steps", 1, "--batch", 2]
    done = cli("train", *words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert f"pictures of several sizes are brought to {size[0]} x {size[1]} (height x width)" in done.err + caplog.text
    model = tt.load(tmp_path / "run")
    assert model.config.x.shape == (1, *size)
    assert open_for(model, tmp_path / "run", None, split="train").x == model.config.x
    with pytest.raises(DataError, match="give size= to bring all to one size"):
        tt.data(tmp_path / "photos")


def test_a_field_of_a_table_is_read_as_one_file_that_a_person_brings() -> None:
    for words in (["3", "40.5", "-1e3", "3"], ["ann", "bob", "ann", "ann", "bob"]):
        space, stored = column(words, None)
        medium = medium_of(space)
        assert np.array_equal(stored, [medium.read(space, word.encode()) for word in words])
    assert column(["1", "nan", "1", "1", "nan"], None)[0] == Labels(2)  # what is no finite number is a word
    space, stored = column(["1", "0", "7", "1"], ("man", "woman"))
    assert space.optional and stored.tolist() == [1, 0, -1, 1]
