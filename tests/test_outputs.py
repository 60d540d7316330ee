"""Where verbs write: what Triptych did not make is never replaced, and a wrong name is refused before any work."""

import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import triptych as tt
from triptych import cli
from triptych.core import Points, UsageError
from triptych.io import commit, outputs
from triptych.report import grid, save_png
from triptych.testing import Examples
from triptych.training import Run
from triptych.verbs import anomaly, classify
from triptych.verbs.pictured import Shots
from triptych.verbs.sample import check_out, ending
from triptych.verbs.train import train

MINE = b"mine"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A saved model of binary images."""
    tt.save_pretrained(tt.create("vae-tiny"), tmp_path / "run")
    return tmp_path / "run"


def start(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["triptych", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MINE)
    return path


@pytest.mark.parametrize(
    "name", ["README.md", "config.json", "metrics.jsonl", "samples/step-00000000.png", "model.safetensors", "notes.txt"]
)
def test_a_run_begins_in_no_folder_of_somebody_else(tmp_path: Path, name: str) -> None:
    file = put(tmp_path / "mine" / name)
    model = tt.create("vae-tiny")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"which no run made"):
        next(train(model, Examples(model.config.x), Run(steps=1, batch=4), out=tmp_path / "mine"))
    assert file.read_bytes() == MINE and [p for p in sorted(tmp_path.rglob("*")) if p.name != ".lock"] == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "a.png", "--per-item=./a.png"), "--out and --per-item both name ./a.png"),
        (("--out", "-"), "--out -: results are files"),
    ],
)
def test_two_results_are_two_files(words, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert start("classify", "run", *words, monkeypatch=monkeypatch) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_folder_of_a_model_is_its_own(run, monkeypatch, capsys) -> None:
    card = put(run / "README.md").read_bytes()
    for words in (("export", run, "--to", "torch", "--out", run), ("sample", run, "-n", 2, "--out", run)):
        assert start(*words, monkeypatch=monkeypatch) == 2
        assert "is a run's or a model's own: name another folder" in capsys.readouterr().err
    assert (run / "README.md").read_bytes() == card and not list(run.glob("*.png"))


def test_a_run_begins_where_only_hidden_files_are_and_again_where_one_saved_nothing(tmp_path: Path) -> None:
    put(tmp_path / "run" / ".gitignore")
    model = tt.create("vae-tiny")
    begun = train(model, Examples(model.config.x), Run(steps=3, batch=4), out=tmp_path / "run", save_seconds=1e9)
    outputs.begin_run(tmp_path / "run")
    put(tmp_path / "run" / "samples" / "step-00000000.png")  # as a run leaves it that was killed in its first minute
    assert len(list(begun)) == 3 and commit.committed(tmp_path / "run")


def test_a_card_that_a_person_wrote_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = tt.create("vae-tiny")
    outputs.begin_run(tmp_path)
    put(tmp_path / "README.md")
    for _ in train(model, Examples(model.config.x), Run(steps=1, batch=4), out=tmp_path):
        pass
    assert (tmp_path / "README.md").read_bytes() == MINE and "left as it is" in caplog.text


def test_what_is_written_does_not_lie_among_the_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lies in the data"):
        outputs.check_apart(tmp_path / "photos" / "run", put(tmp_path / "photos" / "a.png").parent)
    outputs.check_apart(tmp_path / "run", tmp_path / "photos")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_saving_replaces_only_what_was_saved(tmp_path: Path, name: str) -> None:
    file = put(tmp_path / name)
    with pytest.raises(UsageError, match="left alone"):
        tt.save_pretrained(tt.create("vae-tiny"), tmp_path)
    assert file.read_bytes() == MINE
    file.unlink()
    tt.save_pretrained(tt.create("vae-tiny"), tmp_path)
    tt.save_pretrained(tt.create("vae-tiny", seed=1), tmp_path)


FILES = {
    "sample picture": (["sample", "run", "-n", 2], "x.png"),
    "sample arrays": (["sample", "run", "-n", 2], "x.npz"),
    "sample a folder": (["sample", "run", "-n", 2], "many/000001.png"),
    "score": (["score", "run", "--data", "x.npy", "--split", "all"], "items.csv"),
    "impute": (["impute", "run", "--data", "x.npy", "--split", "all"], "filled.png"),
    "compress": (["compress", "run", "x.npy"], "small.ttc"),
    "compare": (["compare", "run"], "report.html"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_of_a_person_stays(run: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    arguments, name = FILES[case]
    monkeypatch.chdir(run.parent)
    np.save("x.npy", np.zeros((20, 2, 2), bool))
    file = put(run.parent / name)
    option = "--per-item" if case == "score" else "--out"
    target = file.parent if case == "sample a folder" else file
    assert (
        start(*arguments, option, target, "--device", "cpu", monkeypatch=monkeypatch) == 2
        if (case != "compress")
        else start(*arguments, option, target, monkeypatch=monkeypatch) == 2
    )
    out, err = capsys.readouterr()
    assert file.read_bytes() == MINE and not out and len(err.splitlines()) == 1 and "--overwrite" in err
    assert [p.name for p in file.parent.iterdir() if p.suffix == file.suffix] == [file.name]


def test_ours_may_be_replaced_and_a_person_s_on_request(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    for name in ("x.png", "many"):
        for n in (1, 2):
            assert start("sample", run, "-n", n, "--out", name, "--device", "cpu", monkeypatch=monkeypatch) == 0
    file = put(run.parent / "y.npz")
    ask = ["sample", run, "-n", 1, "--out", file, "--device", "cpu"]
    assert start(*ask, monkeypatch=monkeypatch) == 2
    assert start(*ask, "--overwrite", monkeypatch=monkeypatch) == 0
    assert file.read_bytes() != MINE


def test_our_files_say_so(tmp_path: Path) -> None:
    assert outputs.ours(save_png(grid(torch.zeros(1, 1, 2, 2)), tmp_path / "a.png"))
    assert not outputs.ours(put(tmp_path / "b.png"))


@pytest.mark.parametrize("name", ["x.jpg", "x.pdf", "x.txt", "x.wav", "held/x.png", "", "."])
def test_a_wrong_name_is_refused_before_anything_is_drawn(run: Path, name: str, monkeypatch, capsys) -> None:
    monkeypatch.chdir(run.parent)
    put(run.parent / "held")
    (run.parent / "x.PNG").mkdir()
    monkeypatch.setattr("triptych.core.Generative.sample", lambda *_, **__: pytest.fail("something was drawn"))
    if name in ("", "."):
        pytest.skip("the folder here")
    assert start("sample", run, "--out", name, "--device", "cpu", monkeypatch=monkeypatch) == 2
    assert start("sample", run, "--out", "x.PNG", "--device", "cpu", monkeypatch=monkeypatch) == 2


def test_endings_in_capitals_are_endings(tmp_path: Path) -> None:
    space = tt.Images(1, 2, 2)
    assert [ending(space, Path(name)) for name in ("a.PNG", "a.Npz", "folder")] == [".png", ".npz", ""]
    with pytest.raises(UsageError, match="points are written as"):
        check_out(Points(3), tmp_path / "x.png")
    check_out(Points(2), tmp_path / "folder", 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UsageError, match="no plain file"):
        outputs.check_file(tmp_path / "x.png", overwrite=True)


def test_answers_are_also_written_item_by_item_and_drawn(tmp_path: Path) -> None:
    model = tt.create("cvae", x=tt.Images(1, 2, 2, levels=2), given=tt.Labels(2), hidden=(4,), latent=1)
    x = (torch.rand(30, 1, 2, 2) > 0.5, torch.arange(30) % 2)
    found = tt.classify(model, x)
    classify.write_picture(found, tmp_path / "confusion.png")
    classify.write_items(found, tmp_path / "items.csv")
    lines = (tmp_path / "items.csv").read_text().splitlines()
    assert len(lines) == 31 and lines[0] == "item,class,guess,probability"
    right = sum(line.split(",")[1] == line.split(",")[2] for line in lines[1:])
    assert right / 30 == pytest.approx(found.raw.accuracy)
    plain = tt.create("pixelcnn", x=tt.Images(1, 2, 2, levels=2), width=2, blocks=1, head=2)
    normal, other = tt.data(x[0], split="all"), tt.data(~x[0], split="all")
    told = tt.anomaly(plain, normal, other)
    anomaly.write_picture(told, normal, other, tmp_path / "ranked.png")
    anomaly.write_items(told, tmp_path / "ranked.csv")
    nats = [float(line.split(",")[2]) for line in (tmp_path / "ranked.csv").read_text().splitlines()[1:]]
    assert len(nats) == 60 and nats == sorted(nats, reverse=True)
    assert sum(nats[i] for i in range(60)) / 60 == pytest.approx((told.nats_normal + told.nats_other) / 2, rel=1e-4)
    assert all(outputs.ours(tmp_path / name) for name in ("confusion.png", "ranked.png"))
    with pytest.raises(UsageError, match=r"written as \.png"):
        classify.check_picture(tmp_path / "x.csv")


def test_pictures_that_would_take_long_are_fewer(tmp_path: Path, monkeypatch, caplog) -> None:
    model = tt.create("pixelcnn", x=tt.Images(1, 5, 5, levels=2), width=2, blocks=1, head=2)
    data = Examples(model.config.x)
    clock = iter(range(10**9))
    monkeypatch.setattr("triptych.verbs.pictured.time.monotonic", lambda: float(next(clock)))  # a second a value
    shots = Shots(model, data, tmp_path, 4, 100)
    shots.first()
    assert not list(tmp_path.rglob("*.png")) and "none of before the first step" in caplog.text
    for step in range(1, 101):
        shots.after(step, step * 100.0, step)  # a run of 10,000 s: a picture takes 26
    assert len(list(tmp_path.rglob("*.png"))) == 4
    caplog.clear()
    short = Shots(model, data, tmp_path / "short", 4, 100)
    short.cost = 500.0
    for step in range(1, 101):
        short.after(step, float(step), step)  # a run of 100 s
    assert not list((tmp_path / "short").rglob("*.png")) and "there will be none" in caplog.text


def test_the_card_s_command_trains_the_same_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my photos"
    folder.mkdir()
    for i in range(20):
        save_png(grid(torch.rand(1, 1, 9, 12) * 2 - 1, pad=0), folder / f"{i}.png")
    options = ["--size", "6x8", "--binary", "threshold", "--steps", 1, "--batch", 4, "--device", "cpu"]
    ask = ["train", "vae", "--data", "my photos", "--out", "a b", *options, "hidden=[4]", "latent=1"]
    assert start(*ask, monkeypatch=monkeypatch) == 0
    card = (tmp_path / "a b" / "README.md").read_text()
    command = next(line for line in card.splitlines() if line.startswith("triptych train"))
    words = shlex.split(command)
    assert words[words.index("--data") + 1] == "my photos" and words[words.index("--size") + 1] == "6x8"
    words[words.index("--out") + 1] = "again"
    assert start(*words[1:], "--device", "cpu", monkeypatch=monkeypatch) == 0
    assert all((tmp_path / name / "model.safetensors").read_bytes() for name in ("a b", "again"))
    first, again = (tt.load(tmp_path / name) for name in ("a b", "again"))
    assert first.config == again.config
