"""The benchmarks run, in miniature: no time is looked at, but what they check about equal work is checked."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from triptych.data import data
from triptych.models.autoregressive.pixelcnn import PRESETS, PixelCNN
from triptych.models.gan.ylg import masks

FOLDER = Path(__file__).parent.parent / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


training, sampling, metrics = load("training"), load("sampling"), load("metrics")
modes, compression = load("modes"), load("compression")


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
    assert len(rows) == 12 and len({row.group for row in rows}) == 2
    plain, frozen, ours, *_ = rows[:6]
    assert frozen.gflop < plain.gflop  # what freezing leaves out
    assert {row.gflop for row in rows[2:6]} == {ours.gflop}  # layouts and precisions do the same work
    assert rows[0].ratio_wall == rows[6].ratio_wall == 1


def test_vae(images):
    rows, missing = training.vae(images[1], 10, 1, batch=8, latent=4)
    assert all(row.passed for row in rows)
    assert len(rows) == (2 if missing else 4)
    assert len({row.gflop for row in rows}) == 1  # the peer's work is ours


def test_pixelcnn(images):
    rows = training.pixelcnn(
        images[1], 2, 1, training.PixelCNNConfig(x=images[1].x, width=4, blocks=1, head=4), batch=4
    )
    assert all(row.passed for row in rows)
    assert len({row.gflop for row in rows}) == 1


def test_parts(images):
    rows = training.parts(images[0], 1, 1, width=4, tensors=4)
    assert [row.side for row in rows[::2]].count("torch.optim.Adam, default") == 2
    assert "Dataset.fetch" in training.table(rows)
    json.dumps([training.asdict(row) for row in rows] + [training.protocol(1, 1)])


def test_unequal_sides_are_refused():
    sides = [training.Side("a", lambda steps: 1.0, 10), training.Side("b", lambda steps: 1.0, 11)]
    with pytest.raises(ValueError, match="differ in size"):
        training.compare("group", sides, 1, 1)
    with pytest.raises(ValueError, match="loss of a is nan"):
        training.compare("group", [training.Side("a", lambda steps: float("nan"))], 1, 1)
    with pytest.raises(ValueError, match="our loss is 1, theirs 2"):
        training.check_same("x", torch.tensor(1.0), torch.tensor(2.0))
    with pytest.raises(ValueError, match="different weights"):
        training.check_weights("x", nn.Linear(2, 2), nn.Linear(2, 2))


def test_a_side_that_does_not_learn_or_arrives_elsewhere_fails():
    def falling_to(end):
        losses = iter([2.0, end])
        return lambda steps: next(losses)

    ends = {"first": 1.0, "near": 1.01, "elsewhere": 1.1, "stuck": 2.0}
    rows = training.compare("g", [training.Side(k, falling_to(v), None, "same") for k, v in ends.items()], 1, 1)
    assert [row.passed for row in rows] == [True, True, False, False]
    assert training.table(rows).count("FAILED") == 2


def test_sampling(monkeypatch, tmp_path):
    monkeypatch.setitem(sampling.MODELS, "tiny", lambda: PixelCNN(PRESETS["pixelcnn-tiny"].config))
    arguments = ["--models", "tiny", "--n", "2", "--repeats", "1", "--out", str(tmp_path / "sampling")]
    monkeypatch.setattr(sys, "argv", ["sampling.py", *arguments])
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
    import importlib

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
    found = bench.compare(config, "squares", 20, training.Run(steps=2, batch=4))
    assert set(found) == {"sgan", "alone"} and all(0 <= value <= 1 for value in found.values())


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
