"""The command line, as a person or a program uses it and misuses it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triptych import cli, models
from triptych.cli import app, main
from triptych.io import commit, configs

Result = tuple[int, str, str]
Command = Callable[..., Result]


@pytest.fixture
def triptych(monkeypatch, capsys) -> Command:
    """Runs the command line in this process: exit code, stdout, stderr. A traceback fails the test."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["triptych", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err and "this looks like a bug" not in err, err
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small source of each kind, and a tiny model of each family trained on it."""
    path = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (800, 8, 8), dtype=np.uint8)
    np.savez(path / "grey.npz", x=grey)
    folder = path / "images"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(grey[i]).save(folder / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        for name, arguments in RUNS.items():
            patch.setattr(sys, "argv", ["triptych", "train", *arguments, "--out", str(path / name), *SHORT])
            patch.chdir(path)
            with pytest.raises(SystemExit) as end:
                main()
            assert end.value.code in (0, None)
    return path


SHORT = ["--steps", "2", "--batch", "8", "--device", "cpu"]
RUNS = {
    "dcgan": ["dcgan", "--data", "grey.npz", "width=2", "latent=2"],
    "vae": ["vae", "--data", "grey.npz", "--binary", "dynamic", "hidden=[4]", "latent=1"],
    "pixelcnn": ["pixelcnn", "--data", "grey.npz", "--binary", "threshold", "width=2", "blocks=1", "head=2"],
}
BINARY = {"vae": ["--binary", "dynamic"], "pixelcnn": ["--binary", "threshold"], "dcgan": []}
BOX = re.compile(r"[\u2500-\u257f\u2800-\u28ff\x1b]")
"""Lines of tables, spinners, colors."""


# Quick answers


def fresh(*arguments: str) -> Result:
    """In a process of its own, which ends with a line that says whether torch was loaded."""
    code = (
        "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr));"
        "from triptych.cli import main; main()"
    )
    source = str(Path(models.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["models"], ["models", "--json"], ["cite", "pixelcnn"], ["train", "--help"]], ids=" ".join
)
def test_a_quick_answer_does_not_wait_for_torch(arguments: list[str]) -> None:
    code, out, err = fresh(*arguments)
    assert (code, err.splitlines()[-1]) == (0, "False")
    assert out and not BOX.search(out)


def test_the_models(triptych) -> None:
    code, out, _ = triptych("models", "--json")
    listed = json.loads(out)
    assert code == 0 and [m["name"] for m in listed] == list(models.every())
    assert all(m["title"] and m["url"] for m in listed)
    lines = triptych("models")[1].splitlines()
    assert len(lines) == len(listed) + 1 and lines[0].split("\t")[0] == "name"


@pytest.mark.parametrize("name", ["gan", "dcgan", "vae", "pixelcnn", "pixelcnn-tiny"])
def test_show(triptych, name: str) -> None:
    code, out, _ = triptych("show", name, "--json")
    about = json.loads(out)
    assert code == 0 and about["parameters"] > 0 and about["fields"] and about["players"] and about["presets"]
    code, out, _ = triptych("show", name)
    assert code == 0 and not BOX.search(out)
    assert all(f["field"] in out for f in about["fields"])


def test_cite(triptych) -> None:
    code, out, _ = triptych("cite", "vae-mnist")
    assert code == 0 and out.startswith("@misc{kingma2013vae,") and "Auto-Encoding" in out


def test_doctor(triptych) -> None:
    about = json.loads(triptych("doctor", "--json")[1])
    assert about["machine"]["torch"] == torch.__version__
    assert triptych("doctor")[0] == 0


# From data to a comparison


def test_data(triptych, home) -> None:
    code, out, _ = triptych("data", home / "images", "--json")
    about = json.loads(out)
    assert code == 0 and about["x"] == "Images(channels=1, height=8, width=8, levels=256)" and about["problems"] == []
    code, out, _ = triptych("data", home / "images", "--pack", home / "packed")
    assert code == 0 and "items: " in out
    assert json.loads(triptych("data", home / "packed", "--json")[1])["x"] == about["x"]


def test_train_says_what_it_did(triptych, home) -> None:
    run = ["train", *RUNS["vae"], "--out", home / "said", *SHORT]
    run[run.index("grey.npz")] = str(home / "grey.npz")
    code, out, err = triptych(*run, "--json")
    said = json.loads(out)
    assert code == 0 and said["model"] == "vae" and said["step"] == 2 and said["losses"]["vae"] > 0
    assert "vae: 2/2" in err and not BOX.search(err)
    code, out, _ = triptych(*run, "--resume")
    assert code == 0 and "already finished at step 2" in out
    code, out, _ = triptych(*run, "--resume", "--json")
    assert json.loads(out)["step"] == 2
    code, _, err = triptych(*run)
    assert code == 2 and "already holds a vae; --resume continues" in err


@pytest.mark.parametrize("name", RUNS)
def test_sample(triptych, home, tmp_path, name: str) -> None:
    code, out, _ = triptych("sample", home / name, "-n", 5, "--out", tmp_path / "x.npz", "--seed", 3, "--json")
    assert code == 0 and json.loads(out)["n"] == 5
    x = np.load(tmp_path / "x.npz")["x"]
    assert x.shape == (5, 1, 8, 8) and x.dtype == np.uint8
    code, out, _ = triptych("sample", home / name, "-n", 2, "--out", tmp_path / "y.npz", "--seed", 3)
    assert code == 0 and np.array_equal(np.load(tmp_path / "y.npz")["x"], x[:2])
    code, _, _ = triptych("sample", home / name, "-n", 5, "--out", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert code == 0 and grid.width > 8
    code, _, _ = triptych("sample", home / name, "-n", 3, "--out", tmp_path / "each")
    assert code == 0 and len(list((tmp_path / "each").glob("*.png"))) == 3


@pytest.mark.parametrize(("name", "kind"), [("vae", "lower bound"), ("pixelcnn", "exact")])
def test_score(triptych, home, tmp_path, name: str, kind: str) -> None:
    run = ["score", home / name, "--data", home / "grey.npz", *BINARY[name], "--limit", 6]
    code, out, _ = triptych(*run, "--json", "--per-item", tmp_path / "items.csv")
    found = json.loads(out)
    assert code == 0 and found["kind"] == kind and found["n"] == 6 and found["dims"] == 64
    assert found["bits_per_dim"] == pytest.approx(found["nats"] / 64 / np.log(2))
    assert len((tmp_path / "items.csv").read_text().splitlines()) == 7
    code, out, _ = triptych(*run)
    assert code == 0 and out.splitlines()[1].startswith(kind)


def test_score_by_importance_sampling(triptych, home) -> None:
    run = ["score", home / "vae", "--data", home / "grey.npz", *BINARY["vae"], "--limit", 3, "--draws", 20, "--json"]
    assert json.loads(triptych(*run)[1])["kind"] == "estimate"


def test_evaluate(triptych, home) -> None:
    run = ["evaluate", home / "dcgan", "--data", home / "grey.npz", "-n", 50]
    code, out, err = triptych(*run, "--json")
    assert code == 0 and json.loads(out)["model"] == "dcgan", err
    code, out, _ = triptych(*run)
    assert code == 0 and "protocol" in out.splitlines()[0] and not BOX.search(out)
    code, _, err = triptych("evaluate", home / "dcgan", "--data", home / "images", "-n", 50)  # 40 images
    assert code == 2 and "at least 10 held-out" in err.splitlines()[-1]
    code, out, _ = triptych("evaluate", home / "dcgan", "--data", f"{home / 'images'}:all", "-n", 50, "--json")
    assert code == 0 and json.loads(out)["data"] == "images:all"
    for overlapping in (f"{home / 'images'}:train", f"{home / 'grey.npz'}:all"):
        code, _, err = triptych("evaluate", home / "dcgan", "--data", overlapping, "-n", 50)
        assert code == 2 and "compared with what was held out" in err.splitlines()[-1]


def test_resuming_nothing_begins(triptych, home, tmp_path) -> None:
    run = ["train", *RUNS["vae"], "--out", tmp_path / "run", "--steps", 2, "--batch", 8, "--resume"]
    run[run.index("grey.npz")] = str(home / "grey.npz")
    code, _, err = triptych(*run)
    assert code == 0 and f"{tmp_path / 'run'} holds no checkpoint yet: the run starts from nothing" in err
    code, out, err = triptych(*run)
    assert code == 0 and "already finished" in out and "no checkpoint" not in err


def test_compare(triptych, home, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(home)
    code, out, err = triptych("compare", "vae", "pixelcnn", "-n", 50, "--limit", 9, "--out", tmp_path / "r.html")
    assert code == 0 and "<html" in (tmp_path / "r.html").read_text() and not BOX.search(out), err


# A person's mistakes: an exit code, one line that says what to do, and nothing changed

MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "no verb": ([], 2, "Usage"),
    "unknown verb": (["trian"], 2, "train|No such command"),
    "unknown model": (["show", "pixelcn"], 2, "did you mean pixelcnn"),
    "unknown preset": (["show", "dcgan-mnst"], 2, "dcgan-mnist"),
    "no data": (["train", "vae", "--out", "x"], 2, "--data"),
    "no out": (["train", "--resume"], 2, "which run\\? --out names its folder"),
    "unknown source": (["data", "mnst"], 2, "did you mean 'mnist'"),
    "unknown field": (["train", "vae", "--data", "grey.npz", "--out", "x", "latentt=3"], 2, "did you mean latent"),
    "no assignment": (["train", "vae", "--data", "grey.npz", "--out", "x", "latent"], 2, "not of the form field=value"),
    "wrong type": (["train", "vae", "--data", "grey.npz", "--out", "x", "latent=many"], 2, "latent='many'"),
    "out of range": (["train", "vae", "--data", "grey.npz", "--out", "x", "latent=0"], 2, "latent=0"),
    "steps none": (["train", "vae", "--data", "grey.npz", "--out", "x", "--steps", "0"], 2, "--steps"),
    "steps text": (["train", "vae", "--data", "grey.npz", "--out", "x", "--steps", "ten"], 2, "--steps"),
    "negative seed": (["train", "vae", "--data", "grey.npz", "--out", "x", "--seed", "-1"], 2, "--seed"),
    "large batch": (["train", "vae", "--data", "grey.npz", "--out", "x", "--batch", "9999"], 2, "lower the batch size"),
    "unknown device": (["train", "vae", "--data", "grey.npz", "--out", "x", "--device", "tpu9"], 2, "--device tpu9"),
    "no such device": (["train", "vae", "--data", "grey.npz", "--out", "x", "--device", "cuda:77"], 2, "cuda:77"),
    "bad binary": (["train", "vae", "--data", "grey.npz", "--out", "x", "--binary", "maybe"], 2, "--binary"),
    "binary points": (["data", "ring", "--binary", "dynamic"], 2, "ring|images"),
    "size cannot": (["train", "dcgan", "--data", "grey.npz", "--size", "9", "--out", "x"], 2, "these work"),
    "preset misfit": (["train", "vae-mnist", "--data", "grey.npz", "--out", "x"], 2, "the model is built for"),
    "out is a file": (["train", "vae", "--data", "grey.npz", "--out", "grey.npz", "--batch", "8"], 2, "takes a folder"),
    "resume another": (["train", "vae", "--data", "grey.npz", "--out", "dcgan", "--resume"], 2, "holds a run of dcgan"),
    "resume config": (["train", "dcgan", "--data", "grey.npz", "--out", "dcgan", "--resume", "width=4"], 2, "width=2"),
    "resume data": (["train", "dcgan", "--data", "images", "--out", "dcgan", "--resume"], 2, "not the same data"),
    "resume seed": (
        ["train", "dcgan", "--data", "grey.npz", "--out", "dcgan", "--resume", "--seed", "4"],
        2,
        "--seed 0",
    ),
    "sample nothing": (["sample", "none", "--out", "x.png"], 2, "there is no folder none"),
    "sample a file": (["sample", "grey.npz", "--out", "x.png"], 2, "grey.npz"),
    "sample other folder": (["sample", "images", "--out", "x.png"], 2, "holds no saved model"),
    "sample none": (["sample", "vae", "-n", "0", "--out", "x.png"], 2, "-n"),
    "sample ending": (["sample", "vae", "--out", "x.jpg"], 2, r"written as \.png"),
    "sample given": (["sample", "vae", "--out", "x.png", "--given", "3"], 2, "takes no label"),
    "score a GAN": (["score", "dcgan", "--data", "grey.npz"], 2, "gives samples, not probabilities"),
    "score limit": (["score", "vae", "--data", "grey.npz", "--limit", "0"], 2, "--limit"),
    "score draws": (
        ["score", "pixelcnn", "--data", "grey.npz", "--binary", "threshold", "--draws", "9"],
        2,
        "no latent variable",
    ),
    "score split": (["score", "vae", "--data", "grey.npz", "--split", "tset"], 2, "did you mean 'test'"),
    "evaluate few": (["evaluate", "dcgan", "--data", "grey.npz", "-n", "3"], 2, "-n"),
    "compare nothing": (["compare", "none"], 2, "there is no folder none"),
    "compare other": (["compare", "images"], 2, "holds no saved model"),
    "compare ending": (["compare", "vae", "-n", "50", "--out", "x.pdf"], 2, "html"),
    "cite nothing": (["cite", "gann"], 2, "did you mean"),
    "pack over": (["data", "grey.npz", "--pack", "images"], 2, "exists already"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_explained(triptych, home, monkeypatch, case: str) -> None:
    arguments, code, words = MISTAKES[case]
    monkeypatch.chdir(home)
    before = tree(home)
    found, out, err = triptych(*arguments)
    assert (found, out if code else "") == (code, ""), err
    assert re.search(words, err, re.DOTALL), err
    assert tree(home) == before


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_damaged_run_ends_with_4(triptych, home, tmp_path) -> None:
    shutil.copytree(home / "vae", tmp_path / "vae")
    weights = tmp_path / "vae" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + bytes([weights.read_bytes()[-1] ^ 255]))
    code, out, err = triptych("sample", tmp_path / "vae", "--out", tmp_path / "x.png")
    assert code == 4 and "model.safetensors" in err and out == ""
    assert not (tmp_path / "x.png").exists()


def test_training_that_is_not_finite_ends_with_3(triptych, home, tmp_path) -> None:
    run = ["train", *RUNS["vae"], "--out", tmp_path / "run", "--steps", 50, "--batch", 8, "adam.lr=1e38"]
    run[run.index("grey.npz")] = str(home / "grey.npz")
    code, _, err = triptych(*run)
    assert code == 3 and "player vae" in err
    assert not commit.committed(tmp_path / "run")


def test_a_full_disk_ends_with_5(triptych, home, tmp_path, monkeypatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    run = ["train", *RUNS["vae"], "--out", tmp_path / "run", *SHORT]
    run[run.index("grey.npz")] = str(home / "grey.npz")
    with monkeypatch.context() as patch:
        patch.setattr(commit, "write_synced", full)
        code, _, err = triptych(*run)
    assert code == 5 and "disk is full" in err
    code, _, err = triptych("sample", home / "vae", "--out", "/dev/full/x.png")
    assert code == 2 and "/dev/full" in err


def test_memory_that_runs_out_ends_with_5(triptych, home, tmp_path, monkeypatch) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9e18 bytes"
        )

    monkeypatch.setattr(configs, "override", greedy)
    run = ["train", *RUNS["vae"], "--out", tmp_path / "run", *SHORT]
    run[run.index("grey.npz")] = str(home / "grey.npz")
    code, _, err = triptych(*run)
    assert code == 5 and "lower --batch" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(triptych, home, tmp_path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    run = ["train", *RUNS["vae"], "--out", closed / "run", *SHORT]
    run[run.index("grey.npz")] = str(home / "grey.npz")
    code, _, err = triptych(*run)
    assert code == 2 and "cannot be written" in err
    code, _, err = triptych("sample", home / "vae", "--out", closed / "x.png")
    assert code == 2 and "cannot be written" in err


def test_a_parent_that_is_a_file(triptych, home, tmp_path) -> None:
    run = ["train", *RUNS["vae"], "--out", home / "grey.npz" / "run", *SHORT]
    run[run.index("grey.npz")] = str(home / "grey.npz")
    code, _, err = triptych(*run)
    assert code == 2 and "grey.npz" in err
    code, _, err = triptych("sample", home / "vae", "--out", home / "grey.npz" / "x.png")
    assert code == 2 and "grey.npz" in err


def test_a_parent_that_is_missing_is_made(triptych, home, tmp_path) -> None:
    code, _, _ = triptych("sample", home / "vae", "-n", 1, "--out", tmp_path / "a" / "b" / "x.png")
    assert code == 0 and (tmp_path / "a" / "b" / "x.png").exists()


# Bad files


def images(path: Path, n: int = 30, shape: tuple[int, ...] = (8, 8), dtype: type = np.uint8) -> Path:
    path.mkdir()
    rng = np.random.default_rng(1)
    for i in range(n):
        Image.fromarray(rng.integers(0, 200, shape).astype(dtype)).save(path / f"{i:03}.png")
    return path


def test_one_bad_file_is_named_and_skipped(triptych, tmp_path, caplog) -> None:
    path = images(tmp_path / "some")
    whole = (path / "007.png").read_bytes()
    (path / "007.png").write_bytes(whole[: len(whole) // 2])
    (path / "page.png").write_text("<html>not found</html>")
    (path / "empty.png").write_bytes(b"")
    code, out, _ = triptych("data", path, "--json", "--split", "all")
    about = json.loads(out)
    assert code == 0 and about["items"] == 29
    assert {p["file"] for p in about["problems"]} == {"007.png", "page.png", "empty.png"}
    run = ["train", "dcgan", "--data", path, "--out", tmp_path / "run", "width=2", *SHORT]
    caplog.clear()
    assert (
        triptych(*run)[0] == 0 and "007.png" in caplog.text
    )  # logging writes to stderr, where pytest does not take it
    code, _, err = triptych("data", path, "--strict")
    assert code == 2 and "strict" in err


def test_an_empty_folder(triptych, tmp_path) -> None:
    (tmp_path / "none").mkdir()
    for run in (
        ["data", tmp_path / "none"],
        ["train", "dcgan", "--data", tmp_path / "none", "--out", tmp_path / "run"],
    ):
        code, _, err = triptych(*run)
        assert code == 2 and "none" in err and len(err.splitlines()) == 1


def test_16_bit_grey(triptych, tmp_path) -> None:
    path = images(tmp_path / "deep", dtype=np.uint16)
    code, out, _ = triptych("data", path, "--json")
    assert code == 0 and json.loads(out)["x"] == "Images(channels=1, height=8, width=8, levels=256)"
    assert triptych("train", "dcgan", "--data", path, "--out", tmp_path / "run", "width=2", *SHORT)[0] == 0


def test_channels_that_the_model_does_not_have(triptych, home, tmp_path) -> None:
    path = images(tmp_path / "color", shape=(8, 8, 3))
    run = ["train", "dcgan", "--data", home / "grey.npz", "--out", home / "dcgan", "--resume"]
    run[3] = path
    code, _, err = triptych(*run)
    assert code == 2 and "--channels 1" in err


def test_fewer_images_than_a_batch(triptych, tmp_path) -> None:
    path = images(tmp_path / "few", n=3)
    code, _, err = triptych("train", "dcgan", "--data", path, "--out", tmp_path / "run", "width=2")
    assert code == 2 and "lower the batch size" in err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_reader_that_leaves(home) -> None:
    source = str(Path(models.__file__).parents[2])
    code = "from triptych.cli import main; main()"
    done = subprocess.run(
        f"{sys.executable} -c '{code}' models | head -1",
        shell=True,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.startswith("name\t") and done.stderr == ""


def test_a_termination_unwinds_and_a_second_one_ends_at_once(monkeypatch, capsys) -> None:
    before, cleaned = signal.getsignal(signal.SIGTERM), []

    def busy(standalone_mode: bool) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            cleaned.append(signal.getsignal(signal.SIGTERM))

    monkeypatch.setattr(app, "app", busy)
    try:
        with pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 143 and cleaned == [signal.SIG_DFL]
    assert "nothing half-written is left" in capsys.readouterr().err
