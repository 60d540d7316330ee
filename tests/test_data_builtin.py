"""The data that comes with the package, and whether a model fits it."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import triptych.data.builtin as builtin
from triptych.core import Audio, Images, IntegrityError, ItemNoise, Labels, Points, StepNoise, Tokens, UsageError
from triptych.data import BUILTIN, Dataset, check_fits, data, numbers, shapes
from triptych.data.controlled import GAUSSIANS_25, RING_8, Mixture


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def fetch(d: Dataset, n: int) -> Any:
    return d.fetch(torch.arange(n), StepNoise(0, n, slice(0, n)))


def test_mnist(cache: Path) -> None:
    train, test = data("mnist", cache=cache), data("mnist:test", cache=cache)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.x == Images(1, 28, 28) and train.given == Labels(10) and train.classes == list("0123456789")
    assert train.labels is not None and train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels is not None and test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # the training images' mean and standard deviation that everybody normalises with
    levels = np.arange(256) / 255
    share = np.bincount(train.stored.flatten().numpy(), minlength=256) / train.stored.numel()
    mean = levels @ share
    assert abs(mean - 0.1307) < 5e-5 and abs(np.sqrt((levels - mean) ** 2 @ share) - 0.3081) < 5e-5
    assert torch.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_mnist_made_binary(cache: Path) -> None:
    grey, dynamic = data("mnist:test", cache=cache), data("mnist-binary:test", cache=cache)
    assert dynamic.name == "mnist-binary:test" and dynamic.x == Images(1, 28, 28, levels=2)
    assert dynamic.fingerprint == data("mnist", split="test", binary=True, cache=cache).fingerprint
    x = fetch(dynamic, 2000).x
    assert abs((x > 0).double().mean() - grey.stored[:2000].double().mean() / 255) < 1e-3
    fixed = data("mnist-fixed:test", cache=cache)
    assert fixed.name == "mnist-fixed:test" and set(fixed.stored.unique().tolist()) == {0, 1}
    assert torch.equal(fetch(fixed, 9).x, fetch(fixed, 9).x)
    # drawn with a fixed seed: the same on every machine
    assert fixed.stored.sum().item() == FIXED_ONES


FIXED_ONES = 1_038_642


def test_damaged_mnist_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = builtin.MNIST["train", "x"][0]
    monkeypatch.setitem(builtin.MNIST, ("train", "x"), (file, "0" * 64))
    with pytest.raises(IntegrityError, match=file):
        data("mnist", cache=tmp_path)


@pytest.mark.parametrize(("name", "truth"), [("gaussians-25", GAUSSIANS_25), ("ring-8", RING_8)])
def test_mixtures(cache: Path, name: str, truth: Mixture) -> None:
    d = data(name, cache=cache)
    assert d.x == Points(2) and len(d) == 50_000 and len(data(f"{name}:test", cache=cache)) == 10_000
    assert d.truth == truth and d.given is None
    x = d.stored.double()
    means = torch.tensor(truth.means, dtype=torch.float64)
    nearest = torch.cdist(x, means).min(1)
    counts = torch.bincount(nearest.indices, minlength=len(means))
    expected = len(d) / len(means)
    assert ((counts - expected).square() / expected).sum() < len(means) + 6 * math.sqrt(2 * len(means))
    # within 3 standard deviations: 98.9 % of a Gaussian in the plane
    assert abs((nearest.values < 3 * truth.sd).double().mean() - (1 - math.exp(-4.5))) < 0.003
    # E[-log p] of well separated modes: log K + 1 + log(2 pi sd^2)
    entropy = math.log(len(means)) + 1 + math.log(2 * math.pi * truth.sd**2)
    assert abs(-truth.log_density(x).mean() - entropy) < 0.03


def test_the_density_integrates_to_one() -> None:
    line = torch.linspace(-2, 2, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    p = Mixture(means=((0.0, 0.0), (0.5, -0.7)), sd=0.2).log_density(grid).exp()
    assert abs(p.sum() * (line[1] - line[0]) ** 2 - 1) < 1e-9


def test_shapes(cache: Path) -> None:
    d = data("shapes", cache=cache)
    assert len(d) == 10_000 and d.x == Images(3, 32, 32) and d.classes == list(shapes.SHAPES)
    assert d.given == d.tokenizer.space and d.given.serves(Tokens(18, 4)) and not d.given.serves(Tokens(18, 5))
    assert d.captions and d.tokenizer and d.labels is not None
    sizes, colors = [c.split()[1] for c in d.captions], [c.split()[2] for c in d.captions]
    assert [c.split()[3] for c in d.captions] == [d.classes[y] for y in d.labels]
    for row in range(300):
        picture = d.stored[row].int()
        ground = picture[0, 0, 0]
        ink = (picture - ground).abs().sum(0) > 60
        strongest = picture[:, ink][:, (picture[:, ink] - ground).abs().sum(0).argmax()]
        distances = {c: (torch.tensor(rgb) - strongest).abs().sum().item() for c, rgb in shapes.COLORS.items()}
        assert min(distances, key=lambda c: distances[c]) == colors[row]
        height = ink.any(1).sum().item()
        assert (height <= 14) == (sizes[row] == "small") and 6 <= height <= 26
        assert not ink[0].any() and not ink[-1].any() and not ink[:, 0].any() and not ink[:, -1].any()
    assert torch.equal(fetch(d, 5).given.tokens, torch.from_numpy(d.tokenizer.encode(d.captions[:5])))


def test_shapes_are_anti_aliased_and_come_in_any_size(cache: Path) -> None:
    kinds, rest = shapes.plan(64, 0)
    small, large = (np.concatenate(list(shapes.draw(kinds, rest, side))).astype(float) for side in (32, 64))
    halved = large.reshape(64, 3, 32, 2, 32, 2).mean((3, 5))
    assert np.abs(halved - small).mean() < 1.0 and np.abs(halved - small).max() < 80
    with pytest.raises(UsageError, match="square"):
        data("shapes", size=(32, 16), cache=cache)


def test_every_name_is_described(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.data.builtin.SPOKEN", {"train": 20, "test": 5})
    for name in BUILTIN:
        try:
            assert len(data(name, cache=cache)) > 0
        except UsageError as e:  # made of a set that is a download
            assert name == "moving-fashion-mnist" and "triptych data get fashion-mnist" in str(e)


def test_numbers_are_said_and_pairs_are_held_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.data.builtin.SPOKEN", {"train": 40, "test": 10})
    train, test = (data("spoken-numbers", split=split, cache=cache) for split in ("train", "test"))
    assert isinstance(train.x, Audio) and train.x.rate == 8000 and len(train) == 40
    assert all(numbers.apart(tuple(c.split())) for c in test.captions)
    assert not any(numbers.apart(tuple(c.split())) for c in train.captions)
    assert {1, 2, 3} == {len(c.split()) for c in train.captions}
    assert len({w for w in numbers.WORDS if any(numbers.apart((w, other)) for other in numbers.WORDS)}) == 10
    batch = train.fetch(torch.arange(40), ItemNoise(0, range(40)))
    assert batch.x.abs().amax(2).min() > 0.75 and batch.lengths.min() > 1000


def test_vowels_have_their_resonances() -> None:
    """The loudest harmonics of "three" lie low and high, those of "four" low alone; f and s are hiss."""
    spectra = {}
    for word in ("three", "four", "six"):
        sound = numbers.said((word,), 100.0, 1.0, 1.0, np.random.default_rng(0))
        middle = sound[len(sound) // 2 :][:1600] if word != "six" else sound[:800]
        size = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8000)) ** 2
        spectra[word] = {"low": size[200:1000].sum(), "middle": size[1200:1900].sum(), "high": size[2000:3400].sum()}
    three, four, six = spectra["three"], spectra["four"], spectra["six"]
    assert three["high"] > 3 * three["middle"] and four["low"] > 100 * four["high"] and six["high"] > 10 * six["low"]


# --- whether a model fits


def config(x: Any, given: Any = None) -> SimpleNamespace:
    return SimpleNamespace(x=x, given=given)


def test_check_fits(cache: Path) -> None:
    grey = data("mnist:test", cache=cache)
    check_fits(grey, SimpleNamespace(x=Images(1, 28, 28)))
    check_fits(grey, config(Images(1, 28, 28), Labels(10)))
    check_fits(data("mnist-binary:test", cache=cache), config(Images(1, 28, 28, levels=2)))
    pictures, points = data("shapes:test", cache=cache), data("ring-8:test", cache=cache)
    check_fits(pictures, config(Images(3, 32, 32), Tokens(18, 4)))
    for d, model, message in (
        (grey, config(Images(1, 28, 28, levels=2)), r'with binary="dynamic"$'),
        (pictures, config(Images(1, 28, 28, levels=2)), r'with channels=1 size=28 binary="dynamic"$'),
        (pictures, config(Images(3, 32, 48)), r"with size=\(32, 48\)$"),
        (data("mnist-binary:test", cache=cache), config(Images(1, 28, 28)), "without binary="),
        (grey, config(Images(1, 28, 28, levels=16)), "build the model with x set"),
        (points, config(Images(1, 28, 28)), "build the model with x set"),
        (grey, config(Images(1, 28, 28), Labels(5)), "classes=10"),
        (points, config(Points(2), Labels(5)), "has nothing beside x: classes come from"),
        (grey, config(Images(1, 28, 28), Tokens(18, 4)), "captions come from"),
        (pictures, config(Images(3, 32, 32), Tokens(18, 5)), "build the model with given set"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            check_fits(d, model)
        assert "\n" not in str(caught.value) and d.name in str(caught.value)
