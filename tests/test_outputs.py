"""Where verbs write: what Triptych did not make is never replaced, and a wrong name is refused before any work."""

import os
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
    with pytest.raises(UsageError, match="points are written as"):
        check_out(Points(2), tmp_path / "folder", 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UsageError, match="no plain file"):
        outputs.check_file(tmp_path / "x.png", overwrite=True)
