"""Ageing and attributes: what they are learned from, what is asked, how it is measured, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import Images, Picture, StepNoise, UsageError
from triptych.data import data
from triptych.media.photo import read_photo
from triptych.models.translation.caae import CAAE, PRESETS
from triptych.models.translation.stargan import PRESETS as STARS
from triptych.models.translation.stargan import StarGAN
from triptych.tasks import aging, attributes
from triptych.tasks.aging import Aging, partners, strangers
from triptych.tasks.attributes import Attributes
from triptych.tasks.faces import aligned, beside, face
from triptych.tasks.task import posed

HEAD = "file_name,age,person,smiling,glasses,lefteye_x,lefteye_y,righteye_x,righteye_y"


def folder(top: Path, rows: int = 40, age=lambda k: 10 + k, side: int = 16, held: int = 0) -> Path:
    """Faces whose brightness is their age, white below where they smile and above for glasses; four of each person.

    The last `held` rows are held out.
    """
    for split in ("train", "test") if held else (".",):
        (top / split).mkdir(parents=True)
    lines = [HEAD]
    for k in range(rows):
        pixels = np.full((side, side, 3), 4 * int(age(k) or 0) % 200, np.uint8)
        pixels[3:-3, :4] = np.random.default_rng(k // 4).integers(0, 256, 3)  # who it is
        pixels[-3:] = 255 * (k % 2)
        pixels[:3] = 255 * (k // 2 % 2)
        name = f"{k:03d}.png" if not held else f"{'train' if k < rows - held else 'test'}/{k:03d}.png"
        Image.fromarray(pixels).save(top / name)
        lines.append(f"{name},{age(k)},{k // 4},{('no', 'yes')[k % 2]},{('no', 'yes')[k // 2 % 2]},5,7,11,7")
    (top / "metadata.csv").write_text("\n".join(lines))
    return top


def opened(path, tmp_path, task, **more):
    return posed(data(str(path), cache=tmp_path / "cache", size=16, channels=3, split="all", **more), task)


def test_ages_are_shares_of_neighbours():
    task = Aging(ages=(0.0, 10.0, 30.0))
    shares = task.shares(torch.tensor([0.0, 5.0, 10.0, 25.0, 30.0, 99.0, -4.0]))
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.25, 0.75], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    assert torch.allclose(shares, torch.tensor(expected))


def test_the_ages_of_a_task_are_those_of_the_data(tmp_path):
    found = opened(folder(tmp_path / "set"), tmp_path, Aging(groups=4))
    assert found.task.ages == pytest.approx((10, 23, 36, 49)) and found.task.eyes == (5, 7, 11, 7)
    assert found.given == Images(7, 16, 16)
    batch = found.fetch(torch.arange(40), StepNoise(0, 40, slice(None)))
    assert torch.equal(batch.given.grid[:, :3], batch.x)
    ages = ((batch.x[:, 0, 8, 8] + 1) * 127.5 / 4).round()  # as they are painted
    assert sorted(ages.tolist()) == [10.0 + k for k in range(40)]
    assert torch.allclose((batch.given.grid[:, 3:, 0, 0] + 1) / 2, found.task.shares(ages), atol=1e-6)
    assert opened(tmp_path / "set", tmp_path, found.task).task == found.task  # what is settled stays


def test_files_called_as_utkface_has_them(tmp_path):
    (tmp_path / "utk").mkdir()
    for k in range(24):
        Image.fromarray(np.full((16, 16, 3), 9 * k, np.uint8)).save(
            tmp_path / "utk" / f"{k + 20}_{k % 2}_0_2017{k}.jpg"
        )
    found = opened(tmp_path / "utk", tmp_path, Aging(groups=3))
    assert found.task.ages == pytest.approx((20, 31.5, 43), abs=0.6)


@pytest.mark.parametrize(
    ("age", "task", "said"),
    [
        (lambda k: "" if k == 7 else k, Aging(), "1 rows have no number.*give each row its age, or take the row out"),
        (lambda k: 30, Aging(), "every age is 30"),
        (lambda k: k, Aging(groups=1), "groups=1"),
        (lambda k: k, Aging(column="years"), "there is no column years; say column=age if that is one"),
        (lambda k: k, Aging(column="smiling"), "an age is a number of years"),
        (lambda k: k, Aging(ages=(30.0, 20.0)), "each above the one before"),
    ],
)
def test_ages_that_cannot_be_are_refused_with_the_remedy(tmp_path, age, task, said):
    with pytest.raises(UsageError, match=said):
        opened(folder(tmp_path / "set", age=age), tmp_path, task)


def test_a_run_is_asked_for_ages(tmp_path, cli):
    pictures = folder(tmp_path / "set")
    run, size = str(tmp_path / "run"), ["--size", "16", "--channels", "3"]
    made = cli(
        "train",
        "aging",
        "--model",
        "caae",
        "width=4",
        "latent=4",
        "groups=3",
        "--data",
        str(pictures),
        *size,
        "--steps",
        "2",
        "--batch",
        "4",
        "--out",
        run,
    )
    assert made.code == 0, made
    picture, out = str(tmp_path / "large.png"), tmp_path / "out.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(picture)
    assert cli("apply", run, "--picture", picture, "--strip", "--out", str(out)).code == 0
    with Image.open(out) as strip:
        assert strip.size == (48, 16)
    again = tmp_path / "again.png"
    assert (
        cli("apply", run, "--picture", picture, "--age", "30.5", "--eyes", "20,20,40,20", "--out", str(again)).code == 0
    )
    with Image.open(again) as one:
        assert one.size == (16, 16)
    for words, said in (
        (["--age", "80"], "--age 80: the model was trained on ages from 10 to 49"),
        ([], "one of --age (in years) and --strip"),
        (["--age", "30", "--eyes", "1,2"], "four numbers"),
        (["--age", "30", "--eyes", "1,2,400,2"], "two places in a picture of 70 x 50"),
    ):
        done = cli("apply", run, "--picture", picture, *words, "--out", str(tmp_path / "no.png"))
        assert done.code == 2 and said in done.err, done.err
    pipe = tt.pipeline("aging", run)
    assert pipe(picture, age=20).pixels.shape == (16, 16, 3)


# Alignment


def test_eyes_come_to_where_they_should_be():
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    # a bright spot at either eye of a face that is turned by a right angle: the left one above the right one
    x = -torch.ones(1, 1, 60, 80)
    for cx, cy in ((40.5, 20.5), (40.5, 40.5)):
        x[0, 0] = torch.maximum(x[0, 0], 1 - ((columns + 0.5 - cx) ** 2 + (rows + 0.5 - cy) ** 2) / 8)
    x = x.clamp(-1, 1)
    out = aligned(x, Images(1, 32, 32), (40.5, 20.5, 40.5, 40.5), (10.5, 14.5, 22.5, 14.5))[0, 0]
    bright = torch.nonzero(out > 0.6)
    assert {tuple(place) for place in bright.tolist()} >= {(14, 10), (14, 22)}
    assert (bright[:, 0] - 14).abs().max() <= 1
    same = aligned(x, Images(1, 60, 80), (20.0, 30.0, 40.0, 30.0), (20.0, 30.0, 40.0, 30.0))
    assert torch.allclose(same, x, atol=1e-4)


def test_a_face_of_any_size_is_cut_to_its_middle():
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = 200
    found = face(read_photo(pixels), Images(3, 16, 16))
    assert found.shape == (1, 3, 16, 16) and found.mean() > 0.4
    grey = face(read_photo(pixels), Images(1, 16, 16))
    assert grey.shape == (1, 1, 16, 16)
    with pytest.raises(UsageError, match="a face takes 16 to a side or more"):
        face(read_photo(pixels[:8]), Images(3, 16, 16))


def test_a_source_is_aligned_by_its_eyes_and_its_columns_go_along(tmp_path, cli):
    top = tmp_path / "celeba"
    (top / "img").mkdir(parents=True)
    places = [(20, 30, 40, 30), (30, 20, 30, 44)]  # upright; turned by a right angle
    landmarks, attributes_ = ["2", "lefteye_x lefteye_y righteye_x righteye_y"], ["2", "Smiling"]
    for k, eyes in enumerate(places):
        pixels = np.zeros((64, 64, 3), np.uint8)
        for x, y in (eyes[:2], eyes[2:]):
            pixels[y - 2 : y + 2, x - 2 : x + 2] = 255
        Image.fromarray(pixels).save(top / "img" / f"{k}.png")
        landmarks.append(f"{k}.png {' '.join(map(str, eyes))}")
        attributes_.append(f"{k}.png {(-1, 1)[k]}")
    (top / "list_landmarks_align_celeba.txt").write_text("\n".join(landmarks))
    (top / "list_attr_celeba.txt").write_text("\n".join(attributes_))
    out = tmp_path / "out"
    done = cli("data", top, "--align", out, "--size", "50", "--channels", "3")
    assert done.code == 0 and "2 faces by their eyes" in done.out, done
    found = data(str(out), cache=tmp_path / "cache", split="all")
    assert found.columns["smiling"].names == ("no", "yes") and len(found) == 2
    for x in found.fetch(torch.arange(2), StepNoise(0, 2, slice(None))).x:
        assert x[0, 21:23, 17:19].min() > 0 and x[0, 21:23, 31:33].min() > 0  # .36 and .64 of 50, .44 of 50
    assert cli("data", top, "--align", out).code == 2  # it holds something
    plain = tmp_path / "plain"
    done = cli("data", folder(tmp_path / "set", side=20), "--align", tmp_path / "again", "--size", "16")
    assert done.code == 0 and (tmp_path / "again/metadata.csv").read_text().startswith("file_name,age,person,smiling")
    (plain / "a").mkdir(parents=True)
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(plain / "a" / "1.png")
    done = cli("data", plain, "--align", tmp_path / "middle", "--size", "16")
    assert done.code == 0 and "cut to their middle" in done.out


# Measures


def test_pairs_are_of_one_person_and_strangers_of_two():
    who = torch.tensor([0, 0, 0, 1, 1, 2])
    with_whom = partners(who, 6, 0)
    assert torch.equal(who[with_whom], who) and (with_whom[:5] != torch.arange(5)).all()
    assert (who[strangers(who)] != who).all()
    anybody = partners(None, 6, 0)
    assert (anybody != torch.arange(6)).all()


class Right(CAAE):
    """Draws the age that is asked for, as the data show it: brightness."""

    name = "right"
    task: Aging

    def draw(self, noise, given):
        ages = self.sought(given) @ torch.tensor(self.task.ages)
        level = 4 * ages / 127.5 - 1
        x = given.grid[:, :3].clone()
        x[:, :, 3:-3, 4:] = level[:, None, None, None]
        return x


def test_what_is_measured_of_ageing(tmp_path, monkeypatch):
    monkeypatch.setattr(aging, "SECONDS", 1.0)
    set_ = folder(tmp_path / "set", rows=120, age=lambda k: 10 + 7 * k % 40, held=24)
    found = posed(data(str(set_), cache=tmp_path / "cache", size=16, channels=3), Aging(groups=4))
    test = found.held_out()
    config = replace(PRESETS["caae-tiny"].config, x=Images(3, 16, 16), given=found.given)
    right, raw = Right(config), CAAE(config)
    right.task = found.task
    good, bad = ({m.name: m for m in found.task.further(m, test, limit=12, seed=0)} for m in (right, raw))
    assert set(good) == {"age error, older", "age error, younger", "identity cosine", "PSNR, true pairs"}
    for name in ("age error, older", "age error, younger"):
        assert good[name].value < bad[name].value and "copy" in good[name].baselines
    assert good["identity cosine"].value > bad["identity cosine"].value


# Attributes


def test_attributes_are_columns_of_two_words(tmp_path):
    found = opened(folder(tmp_path / "set"), tmp_path, Attributes())
    assert found.task.names == ("smiling", "glasses") and found.task.words == (("no", "yes"), ("no", "yes"))
    batch = found.fetch(torch.arange(40), StepNoise(0, 40, slice(None)))
    assert torch.equal(batch.given.grid[:, 3:, 0, 0], batch.x[:, 0, [-1, 0], 0])  # white where there is one
    assert found.task.told == {"exclusive": False}
    for task, said in (
        (Attributes(attributes="smile,glasses"), "smile is no column of two words"),
        (Attributes(attributes="smiling"), "there is only smiling"),
    ):
        with pytest.raises(UsageError, match=said):
            opened(tmp_path / "set", tmp_path, task)


def test_rows_that_miss_an_attribute_are_named(tmp_path):
    set_ = folder(tmp_path / "set")
    text = (set_ / "metadata.csv").read_text().replace("005.png,15,1,yes", "005.png,15,1,")
    (set_ / "metadata.csv").write_text(text)
    with pytest.raises(UsageError, match="smiling is not known of every row"):
        opened(set_, tmp_path, Attributes(attributes="smiling,glasses"))


def test_what_is_not_named_stays_as_it_is_read():
    config = replace(
        STARS["stargan-tiny-attributes"].config, x=Images(3, 16, 16), given=Images(5, 16, 16), judge_halvings=2
    )
    model = StarGAN(config).eval()
    task = Attributes(attributes="smiling,hair", words=(("no", "yes"), ("short", "long")))
    model.read = lambda x: torch.tensor([[0.9, 0.2]]).expand(len(x), -1)  # a smile, and short hair
    picture = np.full((20, 30, 3), 90, np.uint8)

    def asked(**how):
        given = task.ask(model, picture=picture, **how).given
        assert isinstance(given, Picture)
        return given.grid[:, 3:, 0, 0].tolist()

    assert asked(set="hair=long") == [[1, 1]] and asked(set="smiling=no, hair=0.5") == [[-1, 0]]
    assert asked(set="smiling=0") == [[-1, -1]] and asked(set="hair") == [[1, 1]]
    assert asked(strip=True) == [[1, -1], [-1, -1], [1, 1]]
    for how, said in (
        ({"set": "smile=yes"}, "did you mean smiling"),
        ({"set": "hair=curly"}, "it is short or long, yes or no, or a number"),
        ({"set": "hair=2"}, "a number from 0 to 1"),
        ({}, "one of set= and strip"),
    ):
        with pytest.raises(UsageError, match=said):
            task.ask(model, picture=picture, **how)
    with pytest.raises(UsageError, match="caae does not say what attributes"):
        task.ask(CAAE(PRESETS["caae-tiny"].config), picture=picture, set="hair")


def test_a_folder_as_celeba_is_trained_on_and_edited_by_its_own_names(tmp_path, cli):
    top, lines, parts = tmp_path / "celeba", ["8", "Eyeglasses Smiling"], []
    (top / "img_align_celeba").mkdir(parents=True)
    for k in range(8):
        Image.fromarray(np.full((20, 16, 3), 20 * k, np.uint8)).save(top / "img_align_celeba" / f"{k:06d}.jpg")
        lines.append(f"{k:06d}.jpg {(-1, 1)[k % 2]:2d} {(-1, 1)[k // 2 % 2]:2d}")
        parts.append(f"{k:06d}.jpg {0 if k < 6 else 2}")
    (top / "list_attr_celeba.txt").write_text("\n".join(lines))
    (top / "list_eval_partition.txt").write_text("\n".join(parts))
    small = ["--steps", "1", "--batch", "2", "--pictures", "0", "width=2", "judge=2", "blocks=1", "judge_halvings=2"]
    done = cli("train", "attributes", "--data", top, "--size", "16", "--out", tmp_path / "run", *small)
    assert done.code == 0, done
    picture, out = top / "img_align_celeba" / "000007.jpg", tmp_path / "out.png"
    done = cli("apply", tmp_path / "run", "--picture", picture, "--set", "Smiling=no,Eyeglasses=0.5", "--out", out)
    assert done.code == 0 and read_photo(out).pixels.shape[:2] == (16, 16), done
    done = cli("apply", tmp_path / "run", "--picture", picture, "--strip", "--out", tmp_path / "strip.png")
    assert done.code == 0 and read_photo(tmp_path / "strip.png").width >= 3 * 16, done
    done = cli("apply", tmp_path / "run", "--picture", picture, "--set", "Smile=yes", "--out", tmp_path / "no.png")
    assert done.code == 2 and "did you mean Smiling" in done.err, done


def test_what_is_measured_of_attributes(tmp_path, monkeypatch):
    monkeypatch.setattr(attributes, "SECONDS", 2.0)
    set_ = folder(tmp_path / "set", rows=120, age=lambda k: 10 + k % 40, held=24)
    found = posed(data(str(set_), cache=tmp_path / "cache", size=16, channels=3), Attributes())

    class Painted(StarGAN):
        name = "painted"

        def draw(self, noise, given):
            x, planes = given.grid[:, :3].clone(), given.grid[:, 3:]
            x[:, :, -3:], x[:, :, :3] = planes[:, :1, -3:], planes[:, 1:, :3]
            return x

    config = replace(STARS["stargan-tiny-attributes"].config, x=Images(3, 16, 16), given=found.given, judge_halvings=2)
    measured = {m.name: m for m in found.task.further(Painted(config), found.held_out(), limit=10, seed=0)}
    assert set(measured) == {"smiling changed", "glasses changed", "others kept"}
    assert measured["smiling changed"].value > 0.8 > measured["smiling changed"].baselines["copy"]
    assert measured["others kept"].value > 0.8


def test_beside_lies_a_plane_for_each():
    found = beside(torch.zeros(2, 1, 4, 4), torch.tensor([[0.0, 1], [0.5, 0.5]]))
    assert found.grid.shape == (2, 3, 4, 4) and found.grid[:, 1:, 0, 0].tolist() == [[-1, 1], [0, 0]]
