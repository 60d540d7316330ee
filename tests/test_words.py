"""What the command line says, and what it does not ask again."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import triptych as tt
from triptych import cli, models
from triptych.cli.words import in_words
from triptych.core import UsageError
from triptych.io import folder
from triptych.verbs.opening import open_for, saved, tell, told

SOURCE = str(Path(models.__file__).parents[2])


@pytest.mark.parametrize(
    ("verb", "python", "typed"),
    [
        ("score", "draws=0: importance sampling takes 2 or more", "--draws 0: importance sampling takes 2 or more"),
        ("score", "open the data with channels=1 size=28", "open the data with --channels 1 --size 28"),
        ("score", "size=(28, 20): no", "--size 28x20: no"),
        ("score", 'binary="dynamic"', "--binary dynamic"),
        ("impute", 'hide="top": x has no such side', "--hide top: x has no such side"),
        ("impute", "n=5, completions=0: both are 1 or more", "-n 5, --completions 0: both are 1 or more"),
        ("sample", "top_k=0: it must be 1 or more", "--top-k 0: it must be 1 or more"),
        ("sample", "x.png is there already: overwrite=True", "x.png is there already: --overwrite"),
        ("train", "open the data without labels=, so that", "open the data without --labels, so that"),
        ("train", "out= takes a folder", "--out takes a folder"),
        ("train", "x.channels=3 width=64", "x.channels=3 width=64"),
        (
            "train",
            "Images(channels=3, height=8, width=8, levels=256)",
            "Images(channels=3, height=8, width=8, levels=256)",
        ),
        ("train", "x=Images(channels=3, height=9): no; --data x=a", "x=Images(channels=3, height=9): no; --data --x a"),
        ("models", "takes='txt': models take images", "--takes txt: models take images"),
        (None, "size=32", "size=32"),
    ],
)
def test_options_are_said_as_they_are_typed(verb: str | None, python: str, typed: str, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["triptych"] if verb is None else ["triptych", verb, "x"])
    assert in_words(python) == typed


def test_of_two_names_of_an_option_the_one_that_was_typed_is_said(monkeypatch) -> None:
    for typed in ("--label", "--given"):
        monkeypatch.setattr(sys, "argv", ["triptych", "sample", "x", f"{typed}=3"])
        assert in_words("takes no label; leave out given=") == f"takes no label; leave out {typed}"


def run(*arguments: object, stdout: Any = subprocess.PIPE, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    settings = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "triptych", *map(str, arguments)]
    return subprocess.run(command, env=settings, stdout=stdout, stderr=subprocess.PIPE, timeout=300)


def test_a_pipe_of_another_encoding_gets_escapes() -> None:
    done = run("models", "--json", PYTHONIOENCODING="ascii")
    listed = json.loads(done.stdout)
    assert done.returncode == 0 and any("Aäron" in entry["authors"] for entry in listed)
    done = run("cite", "pixelcnn", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and b"A\\xe4ron" in done.stdout and not done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_ends_in_one_line_and_5() -> None:
    with open("/dev/full", "wb") as full:
        done = run("models", stdout=full)
    assert done.returncode == 5
    assert done.stderr.decode().splitlines() == ["error: the result could not be written: No space left on device"]


def test_a_reader_that_left_or_never_came_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("models", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'triptych', 'cite', 'gan'])"
    closed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True)
    assert (closed.returncode, closed.stderr) == (0, b"")


@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_of_help_is_cut(columns: int) -> None:
    done = run("--help", COLUMNS=str(columns), TERMINAL_WIDTH=str(columns))
    text = done.stdout.decode().partition("\n")[2]
    assert "--version" in text and "--install-completion" in text
    assert not re.search(r"(\.\.\.|…)$", text, re.MULTILINE), text


def test_the_version() -> None:
    assert run("--version").stdout.decode().strip() == f"triptych {tt.__version__}"


# What a run knows


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of color pictures of mixed sizes, and a run of binary ones trained on the first."""
    home = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("mine", "other"):
        (home / name).mkdir()
        for i in range(40):
            size = (9 + i % 3, 12, 3)
            Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(home / name / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        data = ["--data", "mine", "--size", "8x6", "--channels", 1, "--binary", "threshold"]
        shape = ["--steps", 2, "--batch", 8, "--device", "cpu", "hidden=[4]", "latent=1"]
        start(patch, "train", "vae", *data, "--out", "run", *shape)
    return home


def start(patch: pytest.MonkeyPatch, *arguments: object, code: int = 0) -> None:
    patch.setattr(sys, "argv", ["triptych", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert int(end.value.code or 0) == code


def test_nothing_that_a_run_knows_is_asked_again(photos: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # from elsewhere
    for verb, *more in (
        ["score"],
        ["score", "--data", photos / "other"],
        ["impute", "-n", 2, "--draws", 2],
        ["impute", "--data", photos / "other", "-n", 2, "--draws", 2],
        ["anomaly", "--other", photos / "other"],
    ):
        start(monkeypatch, verb, photos / "run", *more, "--device", "cpu")
    start(monkeypatch, "train", "--out", photos / "run", "--resume", "--steps", 3, "--device", "cpu")
    assert folder.about(photos / "run")["run"]["steps"] == 3
    capsys.readouterr()
    start(monkeypatch, "score", photos / "run", "--channels", 3, "--device", "cpu", code=2)
    assert "--channels" in capsys.readouterr().err


def test_data_are_found_from_elsewhere_and_opened_for_the_model(photos: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    known = saved(photos / "run")
    assert Path(known["source"]) == (photos / "mine").resolve() and known["size"] == (8, 6)
    model = tt.load(photos / "run")
    for source in (None, str(photos / "mine"), str(photos / "other")):
        assert open_for(model, photos / "run", source, split="test").x == model.config.x
    with pytest.raises(UsageError, match="does not say"):
        open_for(model, tmp_path, None)


def test_one_picture_is_opened_for_the_model_as_a_folder_is(photos: Path, monkeypatch, capsys) -> None:
    start(monkeypatch, "score", photos / "run", "--data", photos / "other/3.png")
    said = capsys.readouterr().out
    assert "on 3-threshold" in said and "n = 1" in said and "nan" not in said  # of one item no error is known


def test_what_is_opened_because_a_run_names_it_is_said(photos: Path, caplog, monkeypatch) -> None:
    """A run may have come from anybody; what a person names, or comes with Triptych, needs no word."""
    told.cache_clear()
    model = tt.load(photos / "run")
    with caplog.at_level("INFO"):
        open_for(model, photos / "run", str(photos / "mine"), split="test")
        assert not [line for line in caplog.messages if "names its data" in line]
        for split in ("train", "test"):
            open_for(model, photos / "run", None, split=split)
        tell(photos / "run", {"source": "mnist:test"})
        tell(photos / "run", {"source": "mnist", "pair": {"map": "maps"}})
    said = [line for line in caplog.messages if "names its data" in line]
    assert said == [f"{photos / 'run'} names its data: {place}" for place in ((photos / "mine").resolve(), "maps")]


def test_an_array_is_opened_for_a_model_of_its_size(tmp_path: Path) -> None:
    model = tt.create("vae", x=tt.Images(1, 4, 4, levels=2), hidden=(4,), latent=1)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8))
    assert open_for(model, None, str(tmp_path / "x.npy"), split="all").x == model.config.x
