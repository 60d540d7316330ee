"""What a likelihood is for, from the command line: estimates for VAEs and GANs, classification, anomaly."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import triptych as tt
from triptych.cli import main
from triptych.core import Images, Labels
from triptych.verbs.create import save_pretrained

Result = tuple[int, str, str]
Command = Callable[..., Result]
SMALL = Images(1, 4, 4, levels=2)


@pytest.fixture
def triptych(monkeypatch, capsys) -> Command:
    """Runs the command line in this process: exit code, stdout, stderr. A traceback fails the test."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["triptych", *map(str, arguments), "--device", "cpu"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err and "this looks like a bug" not in err, err
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small labelled sources, and an untrained model of each kind."""
    path = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    for name, share in (("dense", 0.5), ("sparse", 0.1)):
        x = (rng.random((300, 4, 4)) < share).astype(np.uint8) * 255
        np.savez(path / f"{name}.npz", x=x, y=rng.integers(0, 3, 300))
    made = {
        "vae": tt.create("vae-tiny", x=SMALL),
        "gan": tt.create("gan-tiny", x=SMALL),
        "pixelcnn": tt.create("pixelcnn-tiny", x=SMALL),
        "background": tt.create("pixelcnn-tiny", x=SMALL, seed=1),
        "classes": tt.create("gated-pixelcnn-tiny", x=SMALL, given=Labels(3)),
    }
    for name, model in made.items():
        save_pretrained(model, path / name)
    return path


THRESHOLD = ["--binary", "threshold"]


def test_a_vae_is_annealed(triptych: Command, home: Path) -> None:
    source = ["--data", home / "dense.npz", *THRESHOLD, "--limit", 6]
    code, out, _ = triptych("score", home / "vae", *source, "--ais", 4, "--chains", 4, "--json")
    about = json.loads(out)
    assert code == 0 and about["kind"] == "estimate" and about["measure"] == "mass"
    assert about["how"] == "AIS, 4 temperatures, 4 chains, 10 leapfrog steps tuned beforehand"
    assert about["gap"]["n"] == 10 and abs(about["gap"]["nats"]) < 1
    other = json.loads(triptych("score", home / "vae", *source, "--ais", 4, "--chains", 4, "--batch", 4, "--json")[1])
    assert other["nats"] == pytest.approx(about["nats"], abs=1e-4), "items do not depend on what is beside them"
    lines = triptych("score", home / "vae", *source, "--ais", 4, "--chains", 4)[1].splitlines()
    assert (
        lines[1].startswith("estimate (AIS, 4 temperatures, 4 chains")
        and "on 10 examples of the model's own" in lines[2]
    )


def test_a_gan_is_annealed_with_stated_noise_only(triptych: Command, home: Path) -> None:
    source = ["--data", home / "dense.npz", *THRESHOLD, "--limit", 3]
    short = ["--ais", 2, "--chains", 2]
    code, out, _ = triptych("score", home / "gan", *source, *short, "--noise", 0.5, "--json")
    about = json.loads(out)
    assert code == 0 and about["measure"] == "density" and about["how"].endswith("x = G(z) + N(0, 0.5^2)")
    code, out, _ = triptych("score", home / "gan", *source, *short, "--noise", "bernoulli", "--json")
    assert json.loads(out)["measure"] == "mass" and json.loads(out)["how"].endswith("coins around G(z)")
    for arguments, words in (
        ([], "has no likelihood"),
        (short, "state what noise"),
        ([*short, "--noise", "much"], "--noise much"),
        ([*short, "--noise", "0"], "above 0"),
        (["--noise", "0.5"], "has no likelihood"),
    ):
        code, out, err = triptych("score", home / "gan", *source, *arguments)
        assert code == 2 and words in err and not out


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("vae", ["--noise", "0.1"], "observation noise of a generator"),
        ("vae", ["--ais", "5", "--draws", "5"], "ask for one"),
        ("vae", ["--ais", "5", "--noise", "0.1"], "likelihood of its own"),
        ("pixelcnn", ["--ais", "5"], "own log_prob is exact"),
    ],
)
def test_what_does_not_go_together(triptych: Command, home: Path, model: str, arguments: list, words: str) -> None:
    code, out, err = triptych("score", home / model, "--data", home / "dense.npz", *THRESHOLD, *arguments)
    assert code == 2 and words in err and len(err.splitlines()) == 1 and not out


def test_classify(triptych: Command, home: Path) -> None:
    source = ["--data", home / "dense.npz", *THRESHOLD]
    code, out, _ = triptych("classify", home / "classes", *source, "--json")
    about = json.loads(out)
    assert code == 0 and about["classes"] == 3 and about["kind"] == "exact" and about["prior"] == "uniform"
    assert set(about["raw"]) == set(about["calibrated"]) == {"accuracy", "nll", "ece"}
    assert about["n"] > 10 and "nats" not in about
    lines = triptych("classify", home / "classes", *source)[1].splitlines()
    assert lines[0].split("\t") == ["probabilities", "accuracy", "nats", "calibration error"]
    assert any("exact (chain rule, the same for each class)" in line for line in lines)
    code, out, _ = triptych("classify", home / "classes", *source, "--rival", "--rival-steps", 2)
    assert code == 0 and "\nrival, at a temperature\t" in out and "2 steps of 64" in out
    for model, words in (("pixelcnn", "models p(x)"), ("gan", "models p(x)")):
        code, out, err = triptych("classify", home / model, *source)
        assert code == 2 and words in err and not out
    for split in ("train", "all"):
        code, out, err = triptych("classify", home / "classes", *source, "--rival", "--split", split)
        assert code == 2 and "nothing of it is held out" in err and not out


def test_anomaly(triptych: Command, home: Path) -> None:
    sources = ["--normal", home / "dense.npz", "--other", home / "sparse.npz", *THRESHOLD]
    code, out, _ = triptych("anomaly", home / "pixelcnn", *sources, "--background", home / "background", "--json")
    about = json.loads(out)
    assert code == 0 and [s["name"] for s in about["scores"]][:3] == [
        "raw likelihood",
        "likelihood ratio",
        "complexity correction",
    ]
    assert about["kind"] == "exact" and all(0 <= s["auroc"] <= 1 for s in about["scores"])
    code, out, _ = triptych("anomaly", home / "pixelcnn", *sources, "--group", 2)
    assert code == 0 and "typicality of 2" in out and "likelihood ratio" not in out
    code, out, err = triptych("anomaly", home / "pixelcnn", *sources, "--background", home / "vae")
    assert code == 2 and "kind exact, the background's lower bound" in err
    code, out, err = triptych("anomaly", home / "gan", *sources)
    assert code == 2 and "has no likelihood" in err


def test_a_background_model_is_trained_on_mutated_data(triptych: Command, home: Path, tmp_path: Path) -> None:
    fields = ["width=2", "blocks=1", "head=2", "--steps", 2, "--batch", 8]
    source = ["--data", home / "dense.npz", *THRESHOLD]
    code, _, _ = triptych("train", "pixelcnn", *source, "--out", tmp_path / "run", "--mutate", 0.2, *fields)
    assert code == 0
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "mutated-0.2" in about["data"]["name"]
    code, _, err = triptych("train", "pixelcnn", *source, "--out", tmp_path / "no", "--mutate", 2, *fields)
    assert code == 2 and "mutate" in err


@pytest.mark.parametrize(
    ("model", "hide", "words"),
    [
        ("pixelcnn", "bottom", "exact (the known values are a prefix)"),
        ("pixelcnn", "top", "of 8 draws effective (importance resampling, 1 of 8 draws)"),
        ("vae", "0.5", "of 8 draws effective"),
        ("classes", "bottom", "exact"),
    ],
)
def test_impute(triptych: Command, home: Path, tmp_path: Path, model: str, hide: str, words: str) -> None:
    source = ["--data", home / "dense.npz", *THRESHOLD, "--hide", hide, "--draws", 8, "-n", 3]
    code, out, _ = triptych("impute", home / model, *source, "--out", tmp_path / "x.png")
    assert code == 0 and words in out and "4 completions of 3 items" in out
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.height > picture.width  # truth, known, four completions of three items
    about = json.loads(triptych("impute", home / model, *source, "--json")[1])
    assert about["exact"] == ("of 8" not in words) and 0 <= about["error"] <= 1 and "x" not in about


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("vae", ["--hide", "centre"], "top, bottom, left, right, middle, or a share"),
        ("vae", ["--hide", "1"], "share between 0 and 1"),
        ("gan", [], "cannot fill in what is missing"),
        ("vae", ["--out", "x.npz"], "only completions of images and solids are written, as .png"),
    ],
)
def test_what_cannot_be_filled_in(triptych: Command, home: Path, model: str, arguments: list, words: str) -> None:
    code, out, err = triptych("impute", home / model, "--data", home / "dense.npz", *THRESHOLD, *arguments)
    assert code == 2 and words in err and not out
