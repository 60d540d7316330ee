"""triptych apply: from a user's file to the file they take home."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.cli.applying import valued
from triptych.cli.words import in_words
from triptych.core import UsageError
from triptych.media.photo import Photo
from triptych.tasks import TASKS
from triptych.tasks.text_to_speech import TextToSpeech
from triptych.verbs.apply import Answered, check_value, flags_of, pipeline, sheet
from triptych.verbs.jobs import jobs


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(12):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((40, 30), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory, cli) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sr"
    words = ["super-resolution", "times=2", "--model", "sr-compact", "width=4", "depth=1"]
    done = cli("train", *words, "--data", photos, "--crop", 16, "--out", out, "--steps", 4, "--batch", 4)
    assert done.code == 0, done.err
    return out


def test_a_run_knows_its_task(run) -> None:
    about = json.loads((run / "config.json").read_text())
    assert about["task"] == {"name": "super-resolution", "times": 2, "degradation": "bicubic", "shrink": 1}
    assert about["data"]["opened"]["crop"] == 16
    assert len(list((run / "samples").glob("step-*.png"))) >= 2


def test_help_names_every_task(cli) -> None:
    help = " ".join(cli("apply", "--help").out.split())
    for task in TASKS:
        assert re.search(rf"(?<![\w-]){task}(?![\w-])", help), task


def test_it_goes_on_as_a_task(run, photos, cli) -> None:
    done = cli("train", "super-resolution", "--data", photos, "--crop", 16, "--out", run, "--resume")
    assert done.code == 0 and "already finished" in done.out, done.err


def test_one_picture_becomes_twice_as_large(run, photos, tmp_path, cli) -> None:
    out = tmp_path / "large.png"
    done = cli("apply", run, "--picture", photos / "0.png", "--out", out, "--sheet", tmp_path / "s.png")
    assert done.code == 0, done.err
    with Image.open(out, formats=("PNG",)) as image:
        assert image.size == (80, 60) and image.mode == "RGB"
        assert {"task", "model", "run", "seed", "software"} <= image.text.keys()  # type: ignore[attr-defined]
    again = cli("apply", str(run), "--picture", str(photos / "0.png"), "--out", str(out))
    assert again.code == 2 and "--overwrite" in again.err
    with Image.open(out, formats=("PNG",)) as image:
        assert np.array_equal(np.asarray(tt.apply(run, picture=photos / "0.png").image()), np.asarray(image))


def test_a_folder_becomes_a_folder_and_what_is_no_picture_is_named(photos, run, tmp_path, cli) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b"):
        (source / f"{name}.png").write_bytes((photos / "1.png").read_bytes())
    (source / "c.png").write_bytes(b"<html>")
    done = cli("apply", str(run), "--picture", str(source), "--out", str(tmp_path / "out"), "--json")
    assert done.code == 0 and "c.png" in done.err
    assert json.loads(done.out)["left_out"] == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


KINDS = {
    "rgba": lambda p: Image.fromarray(np.dstack([p, np.full(p.shape[:2], 77, np.uint8)])),
    "grey": lambda p: Image.fromarray(p[..., 0]),
    "palette": lambda p: Image.fromarray(p).convert("P"),
    "tiny": lambda p: Image.fromarray(p[:1, :1]),
    "wide": lambda p: Image.fromarray(np.tile(p, (1, 20, 1))),
    "deep": lambda p: Image.fromarray(p[..., 0].astype(np.uint16) * 257),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_all_kinds_stay_what_they_are(kind, photos, run, tmp_path) -> None:
    picture = KINDS[kind](np.asarray(Image.open(photos / "2.png", formats=("PNG",))))
    file = tmp_path / "p.png"
    picture.save(file)
    out = tt.apply(run, picture=file)
    assert (out.width, out.height) == (2 * picture.width, 2 * picture.height)
    assert out.channels == (1 if kind in ("grey", "deep") else 3)
    assert out.pixels.dtype == (np.uint16 if kind == "deep" else np.uint8)
    assert (out.alpha is None) == (kind != "rgba")
    assert out.alpha is None or (out.alpha == 77).all()


def test_python_takes_paths_images_and_arrays(run, photos) -> None:
    pipe = tt.pipeline("super-resolution", run)
    image = Image.open(photos / "3.png", formats=("PNG",))
    pictures = [photos / "3.png", str(photos / "3.png"), image, np.asarray(image), (photos / "3.png").read_bytes()]
    outs = [pipe(p).pixels for p in pictures]
    assert all(np.array_equal(outs[0], out) for out in outs)
    out = io.BytesIO(pipe(image)._repr_png_())
    assert Image.open(out, formats=("PNG",)).size == (80, 60)


def test_mistakes_are_said_in_one_line(run, photos, tmp_path, cli) -> None:
    picture, out = ["--picture", str(photos / "0.png")], ["--out", str(tmp_path / "o.png")]
    cases = {
        (*out,): "needs --picture",
        (*picture, *out, "--mask", "m.png"): "takes --picture; not --mask",
        (*picture, "--out", str(tmp_path / "o.xyz")): "ends in .png",
        (*picture, *out, "--seeds", "3-1"): "--seeds 3-1",
        (*picture, *out, "--task", "inpainting"): "trained for super-resolution",
        ("--picture", str(tmp_path / "gone.png"), *out): "no such file",
    }
    for words, said in cases.items():
        done = cli("apply", str(run), *words)
        assert done.code == 2 and said in done.err and len(done.err.strip().splitlines()) == 1, (words, done.err)
    with pytest.raises(UsageError, match="takes no mask; there are picture"):
        tt.apply(run, picture=photos / "0.png", mask="m.png")


def test_a_users_own_file_is_never_replaced_by_a_sheet(run, photos, tmp_path, cli) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes((photos / "1.png").read_bytes())
    before, words = mine.read_bytes(), ["apply", run, "--picture", photos / "0.png", "--out", tmp_path / "o.png"]
    done = cli(*words, "--sheet", mine)
    assert done.code == 2 and "there already" in done.err and mine.read_bytes() == before
    assert not (tmp_path / "o.png").exists()
    assert cli(*words, "--sheet", mine, "--overwrite").code == 0 and mine.read_bytes() != before


def test_nothing_that_is_brought_is_dropped_in_silence(run, photos, tmp_path, cli) -> None:
    picture, out = photos / "0.png", tmp_path / "o.png"
    twice = cli("apply", run, "--picture", picture, "--picture", photos / "1.png", "--out", out)
    assert twice.code == 2 and "--picture comes twice" in twice.err
    listed = cli("apply", run, "--picture", picture, photos / "1.png", "--out", out)  # as a shell writes *.png
    assert listed.code == 2 and "1.png: what is brought comes behind a flag" in listed.err and not out.exists()

    source = tmp_path / "in"
    (source / "deeper").mkdir(parents=True)
    for place in (source, source / "deeper"):
        (place / "a.png").write_bytes(picture.read_bytes())
    done = cli("apply", run, "--picture", source, "--out", tmp_path / "out")
    assert done.code == 0 and "the pictures in deeper are left alone" in done.err
    (source / "a.png").unlink()
    done = cli("apply", run, "--picture", source, "--out", tmp_path / "out2")
    assert done.code == 2 and "those in deeper are not looked at" in done.err

    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    done = cli("apply", run, "--picture", tmp_path / "moves.gif", "--out", out)
    assert done.code == 0 and "moves.gif: animated: only its first frame is taken" in done.err


def test_a_sheet_goes_into_a_png_of_its_own(run, photos, tmp_path, cli) -> None:
    out = tmp_path / "o.png"
    words = ["apply", run, "--picture", photos / "0.png", "--out", out]
    for more, said in (
        (["--sheet", out], f"--out and --sheet both name {out}: each takes a place of its own"),
        (["--sheet", photos / "0.png", "--overwrite"], "0.png is what was brought"),
        (["--sheet", tmp_path / "s.jpg"], "s.jpg: it is a picture, whose name ends in .png"),
        (["--sheet", tmp_path / "s.png", "--truth", tmp_path / "gone.png"], "gone.png: there is no such file"),
        (["--sheet", tmp_path / "s.png", "--truth", run], "no file in it is called as"),
    ):
        done = cli(*words, *more)
        assert done.code == 2 and said in done.err and not out.exists(), (more, done.err)
    done = cli("data", photos, "--sheet", tmp_path / "s.jpg")
    assert done.code == 2 and "ends in .png" in done.err


def test_answers_that_no_seed_changes_are_told(run, photos, tmp_path, cli) -> None:
    words = ["apply", run, "--picture", photos / "0.png", "--out", tmp_path / "o.png"]
    assert "the answers of all seeds are the same" in cli(*words, "-n", 2).err
    done = cli(*words, "--seed", 7)  # as sample has it
    assert done.code == 0 and (tmp_path / "o.png").exists() and "all seeds" not in done.err and "1/1" not in done.err


def test_words_are_no_names_of_files_and_the_other_way_round() -> None:
    assert valued("--text", "a red star " * 100, Path | str) == "a red star " * 100  # longer than names are
    assert valued("--text", "a red star.", Path | str) == "a red star."
    with pytest.raises(UsageError, match=r"--text letter\.txt: there is no such file"):
        valued("--text", "letter.txt", Path | str)


def test_what_a_flag_takes_is_checked_in_both_languages() -> None:
    kind = flags_of(TextToSpeech)["length_scale"].annotation
    with pytest.raises(UsageError, match="--length-scale 0: Input should be greater than 0"):
        valued("--length-scale", "0", kind)
    with pytest.raises(UsageError, match="length_scale=0: Input should be greater than 0"):
        check_value("length_scale", 0, kind)
    assert valued("--length-scale", "1.2", kind) == 1.2


def test_seeds_name_their_files(tmp_path) -> None:
    (job,) = jobs({"picture": Path("a.png")}, Path("out/b.png"), [0, 3], Photo, "picture")
    assert job.outs == {0: Path("out/b-0.png"), 3: Path("out/b-3.png")}


def test_a_model_of_no_task_fills_holes(tmp_path, cli) -> None:
    out = tmp_path / "run"
    words = ["pixelcnn", "--data", "mnist-binary", "--out", str(out), "--steps", "2", "--batch", "4"]
    assert cli("train", *words, "width=8", "blocks=1", "head=8").code == 0
    digit = tt.data("mnist-fixed:test").fetch(torch.tensor([0]), tt.core.ItemNoise(0, [0])).x[0, 0]
    Image.fromarray(((digit.numpy() + 1) * 127.5).astype(np.uint8)).save(tmp_path / "d.png")
    mask = np.zeros((28, 28), np.uint8)
    mask[14:] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    asked = ["--picture", str(tmp_path / "d.png"), "--mask", str(tmp_path / "m.png"), "--out", str(tmp_path / "o.png")]
    done = cli("apply", str(out), *asked)
    assert done.code == 2 and "not trained for a task" in done.err
    done = cli("apply", str(out), "--task", "inpainting", *asked)
    assert done.code == 0 and "exact" in done.err
    before, after = (np.asarray(Image.open(tmp_path / f, formats=("PNG",))) for f in ("d.png", "o.png"))
    assert np.array_equal(before[:14], after[:14])
    with pytest.raises(UsageError, match="did you mean"):
        pipeline("inpaintin", out)


def test_a_run_of_a_task_knows_its_data_and_its_task(run, tmp_path, cli, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("train", "--resume", "--out", run)
    assert done.code == 0 and "already finished" in done.out, done.err


def test_a_tasks_own_flags_are_said_as_they_are_typed() -> None:
    said = in_words("hide=box of p.png hides all (invert_mask=True: what is black); say with mask= what", "apply")
    assert said == "--hide box of p.png hides all (--invert-mask: what is black); say with --mask what"


def test_a_sheet_shows_transparent_pictures_on_white() -> None:
    """What lies hidden under full transparency is not shown: many files keep streaks of color there."""
    hidden = np.zeros((4, 4, 4), np.uint8)
    hidden[..., 0] = 200
    shown = Photo(np.full((4, 4, 3), 90, np.uint8))
    clear = replace(shown, pixels=hidden[..., :3], alpha=hidden[..., 3])
    page = np.asarray(sheet([Answered("a", None, clear, (shown,), ())]))
    assert not (page == [200, 0, 0]).all(-1).any() and (page == 90).all(-1).sum() == 16
