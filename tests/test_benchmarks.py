"""The benchmarks run, in miniature: no time is looked at, but what they check about equal work is checked."""

import importlib
import importlib.util
import json
import logging
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from triptych.data import data
from triptych.media import pictures
from triptych.models.autoregressive.pixelcnn import PRESETS, PixelCNN, PixelCNNConfig
from triptych.models.gan.ylg import masks
from triptych.training import Run

FOLDER = Path(__file__).parent.parent / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(FOLDER))  # as where one of them is run
from steps import parts, turns  # noqa: E402

training, sampling, metrics = load("training"), load("sampling"), load("metrics")
modes, compression, few_labels = load("modes"), load("compression"), load("few_labels")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Bright squares on black: 16 x 16, 8 bits or two levels, with labels."""
    folder = tmp_path_factory.mktemp("images")
    draws = np.random.default_rng(0)
    x = np.zeros((200, 16, 16), np.uint8)
    for picture, (top, left) in zip(x, draws.integers(0, 8, (200, 2)), strict=True):
        picture[top : top + 8, left : left + 8] = draws.integers(128, 256)
    opened = []
    for name, array in (("grey", x), ("binary", x > 0)):
        np.savez(folder / f"{name}.npz", x=array, y=np.arange(200) % 10)
        opened.append(data(folder / f"{name}.npz", cache=folder / "cache"))
    return opened


def test_dcgan(images):
    rows = training.dcgan(images[0], 1, 1, batch=4, width=4, peer_width=8)
    assert len(rows) == 14 and len({row.group for row in rows}) == 2
    for plain, frozen, *ours in (rows[:7], rows[7:]):
        assert plain.ratio_wall == 1 and frozen.gflop < plain.gflop  # what freezing leaves out
        alone, shared = {row.gflop for row in ours if "shared" not in row.side}, {ours[2].gflop, ours[4].gflop}
        assert len(alone) == len(shared) == 1 and min(shared) < min(alone)  # layouts and precisions do the same work


def test_vae(images):
    rows, missing = training.vae(images[1], 10, 1, batch=8, latent=4)
    assert all(row.passed for row in rows)
    assert len(rows) == (2 if missing else 4)
    assert len({row.gflop for row in rows}) == 1  # the peer's work is ours


def test_pixelcnn(images):
    rows = training.pixelcnn(images[1], 2, 1, PixelCNNConfig(x=images[1].x, width=4, blocks=1, head=4), batch=4)
    assert all(row.passed for row in rows)
    assert len({row.gflop for row in rows}) == 1


def test_pixelcnn_beside_its_peer(images, tmp_path, monkeypatch):
    """A network like the peer's, from a checkout like its."""
    for name in ("pytorch_generative", "pytorch_generative.models"):  # what is put there in place of its packages
        monkeypatch.setitem(sys.modules, name, None)
    folder = tmp_path / "pytorch_generative" / "models" / "autoregressive"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("import torchvision_is_not_needed")
    (folder / "pixel_cnn.py").write_text(
        "from torch import nn\n"
        "def PixelCNN(n_residual, residual_channels, head_channels):\n"
        "    return nn.Sequential(nn.Conv2d(1, 2 * residual_channels, 7, padding=3), nn.ReLU(),\n"
        "                         nn.Conv2d(2 * residual_channels, 1, 1))\n"
    )
    rows = training.against_peer(images[1], 4, 1, tmp_path, batch=4, width=4, blocks=1)
    assert rows[0].passed is None and all(row.passed for row in rows[1:])
    assert len({row.gflop for row in rows}) == 2


def test_parts(images):
    rows = training.parts(images[0], 1, 1, width=4, tensors=4)
    assert [row.side for row in rows[::2]].count("torch.optim.Adam, default") == 2
    assert "Dataset.fetch" in training.table(rows)
    json.dumps([training.asdict(row) for row in rows] + [training.protocol(1, 1)])


def test_unequal_sides_are_refused():
    sides = [turns.Side("a", lambda steps: 1.0, 10), turns.Side("b", lambda steps: 1.0, 11)]
    with pytest.raises(ValueError, match="differ in size"):
        turns.compare("group", sides, 1, 1)
    with pytest.raises(ValueError, match="loss of a is nan"):
        turns.compare("group", [turns.Side("a", lambda steps: float("nan"))], 1, 1)
    with pytest.raises(ValueError, match="our loss is 1, theirs 2"):
        turns.check_same("x", torch.tensor(1.0), torch.tensor(2.0))
    with pytest.raises(ValueError, match="different weights"):
        parts.check_weights("x", nn.Linear(2, 2), nn.Linear(2, 2))


def test_a_side_that_does_not_learn_or_arrives_elsewhere_fails():
    def falling_to(end):
        losses = iter([2.0, end])
        return lambda steps: next(losses)

    ends = {"first": 1.0, "near": 1.01, "elsewhere": 1.1, "stuck": 2.0}
    rows = turns.compare("g", [turns.Side(k, falling_to(v), None, "same") for k, v in ends.items()], 1, 1)
    assert [row.passed for row in rows] == [True, True, False, False]
    assert training.table(rows).count("FAILED") == 2


def test_sampling(monkeypatch, tmp_path):
    monkeypatch.setitem(sampling.MODELS, "tiny", lambda: PixelCNN(PRESETS["pixelcnn-tiny"].config))
    arguments = ["--models", "tiny", "--n", "2", "--repeats", "1", "--out", str(tmp_path / "sampling")]
    monkeypatch.setattr(sys, "argv", ["sampling.py", *arguments])
    monkeypatch.setenv("TRIPTYCH_NATIVE", "0")  # and back, after the benchmark's own
    sampling.main()
    assert json.loads((tmp_path / "sampling.json").read_text())["rows"][0]["equal"]


def test_metrics(monkeypatch, tmp_path):
    arguments = ["--dims", "8", "--items", "50", "--runs", "1", "--out", str(tmp_path / "frechet.json")]
    monkeypatch.setattr(sys, "argv", ["metrics.py", *arguments])
    metrics.main()
    assert json.loads((tmp_path / "frechet.json").read_text())["relative_difference"] < 1e-6


def test_modes(tmp_path, monkeypatch):
    """Every mixture and seed once; a second call runs only what is missing."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    assert {"gan-25-gaussians", "lsgan-25-gaussians", "wgan-25-gaussians", "wgan-gp-25-gaussians"} <= set(
        modes.presets()
    )
    arguments = ["--presets", "wgan-tiny-points", "--data", "ring-8", "--steps", "2", "--out", str(tmp_path / "modes")]
    for seeds, runs in (("1", 1), ("2", 2)):
        monkeypatch.setattr(sys, "argv", ["modes.py", *arguments, "--seeds", seeds])
        modes.main()
        kept = json.loads((tmp_path / "modes.json").read_text())["runs"]
        assert [run["seed"] for run in kept] == list(range(runs))
    assert kept[0]["data"] == "ring-8" and 0 <= kept[0]["found"] <= 8
    lines = (tmp_path / "modes.md").read_text()
    assert "| wgan-tiny-points | ring-8 | 2 |" in lines and "17.3 of 25" in lines


@pytest.mark.parametrize(("levels", "channels"), [(2, 1), (256, 3)])
def test_compression_other_codecs(levels, channels) -> None:
    x = np.zeros((20, channels, 16, 16), np.uint8)
    x[:, :, 4:9, 3:12] = levels - 1
    sizes = dict(compression.other_codecs(x, levels))
    assert len(sizes) == 6 and all(size > 0 for size in sizes.values())
    raw = sizes["packed, not compressed"]
    assert raw == (x.size // 8 if levels == 2 else x.size)
    assert sizes["PNG, one picture of all"] < sizes["PNG, a file an image"]


def test_bigan():
    bench, bigan = load("bigan"), importlib.import_module("triptych.models.gan.bigan")
    x = torch.rand(30, 1, 4, 4) * 2 - 1
    y = torch.arange(30) % 3
    numbers = bench.measure(bigan.BiGAN(bigan.PRESETS["bigan-tiny"].config), x, y, x[:10], y[:10])
    assert numbers["1-NN accuracy, features"] == numbers["1-NN accuracy, codes"] == 1  # the test images are known
    assert bench.reconstruction(x, x)[0] == 0 and bench.reconstruction(x, x.roll(1, 0))[1] == 0
    far = torch.tensor([[0.0], [10.0]])
    assert (
        bench.nearest_neighbor_accuracy(far, torch.tensor([1, 2]), torch.tensor([[4.0], [6.0]]), torch.tensor([1, 1]))
        == 0.5
    )


def test_semi_supervised(images, monkeypatch):
    bench = load("semi_supervised")
    sgan = sys.modules["triptych.models.gan.sgan"]
    config = sgan.SGANConfig(
        x=images[0].x, given=sgan.PartialLabels(10), latent=4, generator=(8,), classifier=(8,), candidates=2
    )
    monkeypatch.setattr(
        bench,
        "data",
        lambda source, labels=None, labels_seed=0, split="train": (
            images[0].partly_labeled(labels, labels_seed) if labels else images[0]
        ),
    )
    found = bench.compare(config, "squares", 20, Run(steps=2, batch=4))
    assert set(found) == {"sgan", "alone"} and all(0 <= value <= 1 for value in found.values())


def test_noise_robust(tmp_path, monkeypatch):
    """Every model once, in miniature; a second call trains nothing and measures nothing again."""
    bench = load("noise_robust")
    source = tmp_path / "squares.npz"
    draws = np.random.default_rng(0)
    x = np.zeros((400, 8, 8), np.uint8)
    for picture, (top, left) in zip(x, draws.integers(0, 5, (400, 2)), strict=True):
        picture[top : top + 3, left : left + 3] = draws.integers(128, 256)
    np.savez(source, x=x)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    tiny = {
        "GAN": ("ambient-gan-tiny", ["sigma=0"]),
        "AmbientGAN": ("ambient-gan-tiny", ["sigma={sigma:g}"]),
        "SI-NR-GAN-I": ("nr-gan-tiny", []),
    }
    monkeypatch.setattr(bench, "MODELS", tiny)
    options = ["--sigmas", "25", "--steps", "2", "-n", "30", "--models", *tiny]
    monkeypatch.setattr(
        sys,
        "argv",
        ["x", "--data", str(source), *options, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out" / "n")],
    )
    for _ in range(2):
        bench.main()
    kept = json.loads((tmp_path / "out" / "n.json").read_text())["results"]
    assert [r["model"] for r in kept] == ["clean images", "noisy images", *tiny]
    clean, noisy = (r["fd"]["FD-pixels"] for r in kept[:2])
    assert clean < noisy and kept[-1]["found"] > 0 and kept[2]["found"] is None
    sigmas = [
        json.loads((tmp_path / f"runs/squares-25-{m}/config.json").read_text())["config"].get("sigma") for m in tiny
    ]
    assert sigmas == [0, 25, None], "AmbientGAN is told, a GAN measures nothing"
    assert "| SI-NR-GAN-I |" in (tmp_path / "out" / "n.md").read_text()
    with Image.open(tmp_path / "out" / "n.png") as picture:
        assert picture.height == 4 * pictures.grid(torch.zeros(16, 1, 8, 8), columns=16, pad=2, scale=2).height


def test_few_labels(tmp_path, monkeypatch):
    arguments = "--labels 20 30 --steps 2 --rival-steps 2 --draws 2 --limit 20".split()
    monkeypatch.setattr(sys, "argv", ["few_labels", *arguments, "--out", str(tmp_path / "few")])
    few_labels.main()
    written = json.loads((tmp_path / "few.json").read_text())
    assert [row["labels"] for row in written["rows"]] == [20, 30] and "passes" in written["protocol"]["model"]
    assert all(0 <= row[side]["accuracy"] <= 1 for row in written["rows"] for side in ("bayes", "rival"))
    lines = (tmp_path / "few.md").read_text().splitlines()
    assert lines[-1].startswith("| 30 |") and lines[-3].startswith("| --")


def test_stacked_digits(tmp_path, monkeypatch):
    """A preset that is trained and a finished run, each once."""
    from triptych.core import Images
    from triptych.io import configs, folder
    from triptych.testing import Examples
    from triptych.verbs.create import create

    bench = load("stacked_digits")
    monkeypatch.setattr(bench, "data", lambda name: Examples(Images(3, 28, 28)))
    run = configs.to_json(bench.Run(steps=7, batch=5, seed=3))
    folder.save(create("r3gan-stacked-digits", width=16), tmp_path / "finished", about={"run": run})
    arguments = [str(tmp_path / "finished"), "--presets", "r3gan-stacked-digits", "--steps", "1", "--samples", "20"]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["stacked_digits.py", *arguments, "--out", str(tmp_path / "found")])
        bench.main()
    rows = json.loads((tmp_path / "found.json").read_text())["runs"]
    assert [(row["name"], row["seed"], row["steps"]) for row in rows] == [
        ("finished", 3, 7),
        ("r3gan-stacked-digits", 0, 1),
    ]
    assert all(1 <= row["found"] <= row["n"] == 20 and row["reverse_kl"] > 0 for row in rows)
    lines = (tmp_path / "found.md").read_text()
    assert "| PacDCGAN4, as published |  | 1000 of 1,000 |" in lines and "| finished | 3 |" in lines


def test_attention(monkeypatch, tmp_path):
    bench = load("attention")
    monkeypatch.setattr(bench, "peak", lambda name, channels, side: 1.0)  # a process each
    arguments = ["--sides", "8", "16", "--channels", "64", "--repeats", "1", "--masked-up-to", "8"]
    monkeypatch.setattr(sys, "argv", ["attention.py", *arguments, "--out", str(tmp_path / "attention")])
    bench.main()
    rows = json.loads((tmp_path / "attention.json").read_text())["rows"]
    assert [(row["side"], row["layer"][:5]) for row in rows] == [
        *((8, name) for name in ("dense", "eight", "eight")),
        *((16, name) for name in ("dense", "eight")),
    ]
    monkeypatch.setattr(bench, "masks", lambda height, width: ~masks(height, width))
    with pytest.raises(ValueError, match="masked and sparse attention differ"):
        bench.measure(8, 64, 1, dict.fromkeys(bench.LAYERS, 1.0))


def test_panel(tmp_path, monkeypatch):
    """Two models in miniature, on images with classes that are not MNIST; a second call trains nothing again."""
    bench = load("panel")
    draws = np.random.default_rng(0)
    y = np.arange(600) % 2
    x = np.zeros((600, 28, 28), np.uint8)
    for picture, side, (row, column) in zip(x, 6 + 8 * y, draws.integers(0, 14, (600, 2)), strict=True):
        picture[row : row + side, column : column + side] = 255
    np.savez(tmp_path / "squares.npz", x=x, y=y)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    size = ("x.channels=1", "x.height=28", "x.width=28")
    tiny = {
        "CGAN": bench.Entrant("cgan-tiny", (*size, "given.classes=2")),
        "GAN": bench.Entrant("gan-tiny", (*size, "latent=2")),
    }
    monkeypatch.setattr(bench, "entrants", lambda: tiny)
    monkeypatch.setattr(bench.Classifier, "of", partial(bench.Classifier.of, epochs=8))
    options = ["--seconds", "0.2", "--probes", "1", "3", "-n", "40", "--runs", str(tmp_path / "runs")]
    where = ["--data", str(tmp_path / "squares.npz"), "--out", str(tmp_path / "out" / "panel")]
    monkeypatch.setattr(sys, "argv", ["x", *options, *where])
    bench.main()
    kept = (tmp_path / "out" / "panel.json").read_text()
    trained = (tmp_path / "runs" / "squares-classifier.safetensors").stat().st_mtime_ns
    bench.main()
    assert (tmp_path / "out" / "panel.json").read_text() == kept
    assert (tmp_path / "runs" / "squares-classifier.safetensors").stat().st_mtime_ns == trained
    found = json.loads(kept)
    assert 0.8 < found["classifiers"]["squares"] <= 1
    cgan, gan = found["results"]
    assert cgan["by_class"] and 0 <= cgan["right"] <= 1 and not gan["by_class"] and gan["right"] is None
    assert list(gan["fd"]) == ["FD-squares-classifier", "FD-pca-64", "FD-pixels"] == list(gan["floor"])
    assert all(r["fd"][name] > r["floor"][name] > 0 for r in (cgan, gan) for name in r["fd"])
    assert json.loads((tmp_path / "runs" / "squares-gan" / "config.json").read_text())["config"]["latent"] == 2
    lines = (tmp_path / "out" / "panel.md").read_text().splitlines()
    assert [line.split(" |")[0] for line in lines if line.startswith("| ")] == ["| squares", "| GAN", "| CGAN"]


def test_the_panel_holds_every_gan_that_draws_digits():
    """But those that are for more than drawing: semi-supervised, or of noisy images."""
    from triptych import models

    bench = load("panel")
    there = {models.find_preset(entrant.preset)[0].name for entrant in bench.entrants().values()}
    drawing = {
        entry.name
        for entry in models.own().values()
        if entry.family == "gan" and f"{entry.name}-mnist" in entry.presets()
    }
    assert drawing - there == {"sgan", "nr-gan", "ambient-gan"} and there <= drawing


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    bench = load("gpu")
    bench.prepare(tmp_path / "no wheels")
    return bench


@pytest.mark.slow
def test_gpu(gpu, tmp_path, monkeypatch):
    """Every part, but for the processes of its own, in miniature; what is compiled is traced, and no code built."""
    traced = partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", traced)
    parts = [part for part in gpu.PARTS if part not in ("pair", "picture")]
    level = logging.getLogger("triptych").level
    gpu.begin(tmp_path, 1.0, parts)
    gpu.work(parts, tmp_path, "cpu", True, time.monotonic() + 600, None)
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    rows = [row for part in parts for row in found[part]["rows"]]
    assert logging.getLogger("triptych").level == level
    assert all(found[part]["done"] for part in parts) and not [row for row in rows if "failed" in row]
    by_name = {row["what"]: row for row in rows}
    assert by_name["contract of vae-tiny"]["kept"]
    assert by_name["resuming GPT 6 x 384 in bf16, bit for bit"]["repeatable"]
    assert by_name["recording DCGAN 64 px in bf16"]["same_bits"]
    assert by_name["samples of Gated PixelCNN 28 px"]["cached equals whole network"]
    assert 0 < by_name["precision of GPT 6 x 384"]["gradient, fp32"] < 1e-5
    assert by_name["WaveNet"]["recorded equals eager"] and by_name["GPT beside nanoGPT"]["ratio"] > 0
    sides = [row for row in rows if "ratio to the peer's step" in row]
    assert len({row["what"] for row in sides}) == 5 and len(sides) == 5 * 5
    assert "R3GAN" in gpu.summary(tmp_path)


WORKER = """
import json, os, pathlib, sys, time
file = pathlib.Path(sys.argv[1])
def write():
    file.with_suffix(".new").write_text(json.dumps(found))
    os.replace(file.with_suffix(".new"), file)
for part in sys.argv[sys.argv.index("--parts") + 1 : sys.argv.index("--end")]:
    found = json.loads(file.read_text())
    until = time.monotonic() + (0 if part == "samplers" else 60)
    found["parts"][part] = {"until": until, "rows": [{"what": part}]}
    write()
    if part == "correct":
        sys.stderr.write("cannot go on")
        sys.exit(7)
    time.sleep(60 if part == "samplers" else 0)
    found["parts"][part]["done"] = True
    write()
"""
"""In place of the real ones: the second part ends its process, the third does not end."""


def test_gpu_loses_only_the_part_that_crashes_or_overruns(gpu, tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(gpu, "GRACE", 0.5)
    parts = ["machine", "correct", "samplers", "steps"]
    gpu.begin(tmp_path, 60, parts)
    command = [sys.executable, str(tmp_path / "worker.py"), str(tmp_path / "gpu.json")]
    gpu.supervise(parts, tmp_path, time.monotonic() + 60, command)
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert found["machine"]["done"] and found["steps"]["done"]
    assert found["correct"]["failed"].endswith("7") and found["correct"]["log"] == ["cannot go on"]
    assert "done" not in found["samplers"] and found["samplers"]["rows"] == [{"what": "samplers"}]
    lines = gpu.summary(tmp_path)
    assert "its process ended with 7" in lines and "its process ended with -9" in lines


def test_gpu_unpacks_wheels(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    with zipfile.ZipFile(tmp_path / "carried-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried_along.py", "HERE = 1\n")
    gpu.prepare(tmp_path)
    assert importlib.import_module("carried_along").HERE == 1


def test_codes(tmp_path, monkeypatch):
    """Codes of scales, codes in few passes, pixels: a bound is in one column, and what is exact in the other."""
    bench = load("codes")
    draws = np.random.default_rng(0)
    x, y = np.zeros((300, 28, 28), np.uint8), np.arange(300) % 2
    for picture, side, (row, column) in zip(x, 6 + 8 * y, draws.integers(0, 14, (300, 2)), strict=True):
        picture[row : row + side, column : column + side] = 255
    np.savez(tmp_path / "squares.npz", x=x, y=y)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    size = ("x.height=28", "x.width=28", "halvings=2")
    tiny = {
        "VAR": bench.Entrant("var-tiny", size),
        "MaskGIT": bench.Entrant("maskgit-tiny", (*size, "passes=6")),
        "PixelCNN": bench.Entrant("pixelcnn-tiny", size[:2]),
    }
    monkeypatch.setattr(bench, "ENTRANTS", tiny)
    options = ["--seconds", "0.2", "--probes", "1", "3", "-n", "20", "--features", "pca-64", "--models", *tiny]
    where = [
        "--data",
        str(tmp_path / "squares.npz"),
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path / "found"),
    ]
    monkeypatch.setattr(sys, "argv", ["x", *options, *where])
    bench.main()
    kept = (tmp_path / "found.json").read_text()
    bench.main()
    assert (tmp_path / "found.json").read_text() == kept
    rows = {row["name"]: row for row in json.loads(kept)["results"]}
    assert {name: row["passes"] for name, row in rows.items()} == {
        "VAR": 4,
        "MaskGIT": 6,
        "MaskGIT, 4 passes": 4,
        "PixelCNN": 28 + 27 * 4,
    }
    assert list(rows["VAR"]["used"]) == ["1 x 1", "2 x 2", "4 x 4", "7 x 7"] and rows["PixelCNN"]["used"] == {}
    assert [row["kind"] for row in rows.values()] == ["lower bound"] * 3 + ["exact"]
    lines = (tmp_path / "found.md").read_text().splitlines()
    assert lines[-1].startswith("| PixelCNN | 136 |") and f"| {rows['PixelCNN']['nats']:.2f} +-" in lines[-1]
