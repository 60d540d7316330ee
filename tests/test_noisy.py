"""Images with noise that stays the same: its kinds, its amount, and that it is the same at every look."""

from pathlib import Path

import numpy as np
import pytest
import torch

from triptych.core import StepNoise, UsageError
from triptych.data import Dataset, data, pack
from triptych.data.noisy import Corruption
from triptych.training import Run
from triptych.verbs.card import command
from triptych.verbs.create import create


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Black, a middle grey and white, 16 x 16, 30 of each in turn."""
    file = tmp_path_factory.mktemp("images") / "grey.npz"
    x = np.broadcast_to(np.array([0, 127, 255], np.uint8)[:, None, None], (3, 16, 16))
    np.savez(file, x=np.tile(x, (30, 1, 1)), y=np.tile(np.arange(3), 30))
    return file


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def residues(clean: Dataset, noisy: Dataset) -> list[torch.Tensor]:
    """What was added to the black, the grey and the white images, in levels."""
    added = noisy.stored.double() - clean.stored.double()
    return [added[clean.labels == k] for k in range(3)]


@pytest.mark.parametrize(
    ("noisy", "sd"),
    [
        ("gaussian-25", 25.0),
        ("gaussian-10", 10.0),
        ("uniform-50", 50 / 3**0.5),
        ("multiplicative-25", 25 * 127 / 255),
        ("poisson-30", (127 * 255 / 30) ** 0.5),  # of 255 / 30 times Poisson(30 * 127 / 255)
    ],
)
def test_the_amount_is_in_levels_of_255(images: Path, cache: Path, noisy: str, sd: float) -> None:
    clean, found = (data(images, split="all", noisy=kind, cache=cache) for kind in (None, noisy))
    black, grey, white = residues(clean, found)
    assert grey.std().item() == pytest.approx(sd, rel=0.03) and abs(grey.mean().item()) < 0.03 * sd
    assert black.min() >= 0 and white.max() <= 0, "clipped to the range"
    depends = noisy.startswith(("multiplicative", "poisson"))
    assert (black == 0).all() == depends, "black stays black where noise follows light"


def test_every_image_has_noise_of_its_own_and_keeps_it(images: Path, cache: Path, tmp_path: Path) -> None:
    a = data(images, split="all", noisy="gaussian-25", cache=cache)
    rows = torch.arange(6)
    x = [a.fetch(rows, StepNoise(seed, 6, slice(None))).x for seed in (0, 1)]
    assert torch.equal(*x), "however it is served"
    a.x.index(x[0])
    assert not torch.equal(x[0][0], x[0][3]), "though both are black"
    again = data(images, split="all", noisy="gaussian-25.0", cache=tmp_path / "other")
    assert torch.equal(a.stored, again.stored) and a.fingerprint == again.fingerprint
    assert a.fingerprint != data(images, split="all", cache=cache).fingerprint
    # chunk by chunk as in one go
    kind, stack = Corruption.parse("gaussian-25"), np.full((7, 1, 4, 4), 127, np.uint8)
    assert np.array_equal(kind(stack, 3), np.concatenate([kind(stack[:2], 3), kind(stack[2:], 5)]))


def test_its_name_says_so(images: Path, cache: Path, tmp_path: Path) -> None:
    found = data(images, split="test", noisy="gaussian-25", cache=cache)
    assert found.name == "grey-gaussian-25:test" and found.opened is not None
    assert found.opened["noisy"] == "gaussian-25", "a run's folder says how to open its data again"
    packed = pack(images, tmp_path / "packed", noisy="gaussian-25")
    assert torch.equal(packed.stored, data(images, split="all", noisy="gaussian-25", cache=cache).stored)


def test_a_runs_card_repeats_it(images: Path, cache: Path) -> None:
    found = data(images, noisy="gaussian-25", cache=cache)
    words = command(create("dcgan-tiny"), found, Run(), Path("runs/a"))
    assert "--noisy gaussian-25" in words and str(images) in words


def test_noise_comes_after_the_size(images: Path, cache: Path) -> None:
    """Or shrinking would average it away."""
    clean, found = (data(images, split="all", size=8, noisy=kind, cache=cache) for kind in (None, "gaussian-25"))
    assert residues(clean, found)[1].std().item() == pytest.approx(25, rel=0.05)


@pytest.mark.parametrize("text", ["gaussian", "gaussian-", "gaussian-0", "gaussian--3", "pepper-3", "poisson-inf", ""])
def test_what_is_no_noise_is_refused(images: Path, text: str) -> None:
    with pytest.raises(UsageError, match="gaussian-25"):
        data(images, noisy=text)


def test_where_it_does_not_apply(images: Path, cache: Path) -> None:
    for source in ("mnist-binary", "mnist-fixed"):
        with pytest.raises(UsageError, match="256 levels"):
            data(source, noisy="gaussian-25", cache=cache)
    with pytest.raises(UsageError, match="choose one"):
        data(images, noisy="gaussian-25", binary="threshold", cache=cache)
    with pytest.raises(UsageError, match=r"noisy= are for images; this source holds points"):
        data("ring-8", noisy="gaussian-25", cache=cache)
