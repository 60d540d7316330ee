"""Feature extractors, and the evaluation that is built on them."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load

from triptych.core import IntegrityError, UsageError
from triptych.metrics import (
    EXTRACTORS,
    PCA,
    MNISTClassifier,
    Pixels,
    Reference,
    classify,
    digits,
    distances,
    eight_bit,
    extractor,
    frechet_distance,
    judge_digits,
    kernel_distance,
    memorization,
    prdc,
    purity,
)

SHAPE = (1, 28, 28)


def blobs(n, seed, shape=SHAPE):
    """Smooth uint8 images, every one different."""
    draws = np.random.default_rng(seed)
    waves = torch.from_numpy(draws.normal(size=(n, shape[0], 4, 4)))
    return (128 + 60 * torch.nn.functional.interpolate(waves, shape[1:], mode="bilinear")).clamp(0, 255).to(torch.uint8)


# Images


def test_eight_bit_takes_floats_to_the_nearest_level():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = levels.float() / 127.5 - 1
    assert eight_bit(levels).equal(levels)
    assert eight_bit(floats).equal(levels)
    assert eight_bit((floats + 0.4 / 127.5).clamp(max=1)).equal(levels)
    assert eight_bit(torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2)).flatten().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(28, 28), r"shape \[28, 28\]"),
        (torch.zeros(0, 1, 28, 28), r"shape \[0, 1, 28, 28\]"),
        (torch.full((2, 1, 4, 4), 255.0), r"scaled to \[-1, 1\]"),
        (torch.full((2, 1, 4, 4), math.nan), "nan"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.int64), "images are torch.int64"),
        (torch.ones(2, 1, 4, 4, dtype=torch.uint8), "no value above 1"),
    ],
)
def test_eight_bit_refuses(images, message):
    with pytest.raises(UsageError, match=message):
        eight_bit(images)


# Extractors


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors_share_one_interface(name):
    train, images = blobs(200, 1), blobs(7, 2)
    e = extractor(name, train, seconds=0.05)
    features = e(images)
    assert e.name == name and len(e.sha256) == 64
    assert features.shape == (7, e.dims) and features.dtype == torch.float32
    torch.testing.assert_close(e(images.float() / 127.5 - 1), features, rtol=0, atol=0)
    torch.testing.assert_close(e(images[3:4]), features[3:4])
    with pytest.raises(UsageError, match=r"images have shape \[7, 1, 28, 27\]"):
        e(images[..., 1:])


def test_extractors_have_hashes_of_their_own():
    train = blobs(200, 1)
    hashes = [extractor(name, train, seconds=0.05).sha256 for name in EXTRACTORS]
    hashes += [Pixels((1, 32, 32)).sha256, PCA.fit(blobs(200, 2)).sha256, PCA.fit(train, 8).sha256]
    assert len(set(hashes)) == len(hashes)
    assert PCA.fit(train).sha256 == PCA.fit(train).sha256


def test_unknown_extractor_is_refused():
    with pytest.raises(UsageError, match=r"no feature extractor 'mnist-clasifier'.*did you mean 'mnist-classifier'\?"):
        extractor("mnist-clasifier", blobs(200, 1))


def test_pixels_are_levels_over_255_in_rows():
    images = blobs(3, 1, (3, 5, 4))
    assert Pixels((3, 5, 4))(images).equal(images.view(3, 60).float() / 255)


def test_pca_keeps_what_the_exact_components_keep():
    train = blobs(300, 1, (2, 9, 7))
    pca = PCA.fit(train, 6)
    x = train.flatten(1).double() / 255
    x -= x.mean(0)
    values = torch.linalg.svdvals(x)[:6]
    found = pca(train).double()
    assert found.mean(0).abs().max() < 2e-3
    torch.testing.assert_close(found.square().sum(0).sqrt(), values, rtol=1e-3, atol=0)


def test_pca_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    PCA.fit(blobs(100, 1), 4)
    assert torch.rand(3).equal(expected)


def test_pca_of_too_little_is_refused():
    with pytest.raises(UsageError, match="pca-64 takes at least 64 images of 64 pixels, got 10 of 784"):
        PCA.fit(blobs(10, 1))


# The digit classifier


def test_classifier_gives_probabilities():
    probs = classify(blobs(5, 1))
    assert probs.shape == (5, 10)
    torch.testing.assert_close(probs.sum(1), torch.ones(5))


def test_classifier_is_not_sure_of_noise():
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (200, 1, 28, 28), dtype=np.uint8))
    report = judge_digits(noise)
    assert report.confidence < 0.3
    assert sum(report.counts) == report.n == 200


def test_digit_report_counts():
    report = judge_digits(torch.full((4, 1, 28, 28), -1.0))
    assert report.present == 1 and max(report.counts) == 4


def test_changed_weights_are_refused(monkeypatch):
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    with pytest.raises(IntegrityError, match=r"mnist-classifier.safetensors: sha256 is [0-9a-f]{64}, expected 0000"):
        digits.load.__wrapped__()


def test_shipped_weights_are_small():
    content = (digits.files("triptych.metrics") / digits.WEIGHTS).read_bytes()
    assert len(content) < 500_000
    assert all(value.isfinite().all() for value in load(content).values())


# Evaluation


@pytest.fixture(scope="module")
def reference():
    return Reference(Pixels(SHAPE), test=blobs(150, 1), train=blobs(400, 2), data="blobs:test")


def test_evaluation_is_made_of_the_metrics(reference):
    generated = blobs(120, 3)
    found = distances(generated, reference)
    features = reference.extractor(generated)
    assert found.generated.fd == frechet_distance(features, reference.test)
    assert (found.generated.kd, found.generated.kd_stderr) == kernel_distance(features, reference.test)
    assert found.generated.coverage == prdc(reference.test, features).coverage
    assert (found.n_gen, found.n_real, found.n_floor) == (120, 150, 120)


def test_evaluation_carries_its_protocol(reference):
    found = distances(blobs(120, 3), reference)
    assert found.names == {"fd": "FD-pixels", "kd": "KD-pixels"}
    assert found.extractor_sha256 == Pixels(SHAPE).sha256
    assert found.data == "blobs:test" and found.resizer == "none"
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False)) == found.as_dict()
    assert found.protocol == distances(blobs(120, 4), reference).protocol
    assert found.protocol != distances(blobs(119, 4), reference).protocol
    other = Reference(Pixels(SHAPE), test=blobs(150, 9), train=blobs(400, 2), data="blobs:test")
    assert found.protocol != distances(blobs(120, 3), other).protocol


def test_evaluation_tells_the_generator_from_the_floor(reference):
    same, other = distances(blobs(120, 3), reference), distances(255 - blobs(120, 3) // 2, reference)
    assert same.floor == other.floor
    assert 0.5 * same.floor.fd < same.generated.fd < 2 * same.floor.fd
    assert other.generated.fd > 5 * other.floor.fd
    assert abs(same.generated.kd) < 4 * same.generated.kd_stderr
    assert other.generated.kd > 10 * other.generated.kd_stderr
    assert other.generated.coverage < same.generated.coverage


def test_floor_uses_all_training_images_where_there_are_too_few(reference):
    found = distances(blobs(500, 3), reference)
    assert (found.n_gen, found.n_floor) == (500, 400)


def test_evaluation_finds_copies_and_mirror_images(reference):
    train = blobs(400, 2)
    found = memorization(torch.cat([train[:60], train[60:120].flip(3), blobs(120, 3)]), reference)
    assert 0.5 <= found.memorized <= 0.55
    assert found.memorized_floor <= 0.02
    nearest = reference.nearest(torch.cat([train[5:10], train[20:25].flip(3)]))
    assert nearest.index.tolist() == [5, 6, 7, 8, 9, 20, 21, 22, 23, 24]
    assert nearest.ratio.tolist() == [0] * 10


def test_evaluation_of_binary_images():
    """Floats at -1 and 1, as binary models draw them."""
    binary = lambda seed, n: (blobs(n, seed) > 128).float() * 2 - 1  # noqa: E731
    reference = Reference(MNISTClassifier(), test=binary(1, 80), train=binary(2, 90), data="blobs")
    assert distances(binary(3, 80), reference).generated.fd > 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (blobs(5, 1), "5 generated images: evaluation takes at least 6"),
        (blobs(20, 1, (3, 28, 28)), r"\[20, 3, 28, 28\]"),
        (torch.full((20, 1, 28, 28), math.nan), "nan"),
    ],
)
def test_evaluation_refuses(reference, images, message):
    with pytest.raises(UsageError, match=message):
        distances(images, reference)


def test_class_accuracy_is_the_share_that_was_asked_for():
    black = torch.full((4, 1, 28, 28), -1.0)
    taken = judge_digits(black).counts.index(4)
    assert judge_digits(black).accuracy is None
    asked = torch.tensor([taken, taken, (taken + 1) % 10, taken])
    assert judge_digits(black, asked).accuracy == 0.75
    with pytest.raises(UsageError, match=r"got \[4\] and \[3\]"):
        judge_digits(black, asked[:3])
    with pytest.raises(UsageError, match="0 to 9"):
        judge_digits(black, asked + 10)


def test_purity_matches_each_code_to_its_commonest_label():
    code, label = torch.tensor([0, 0, 0, 1, 1, 4]), torch.tensor([7, 7, 3, 3, 3, 0])
    assert purity(code, label) == pytest.approx(5 / 6)
    assert purity(label, label) == purity((label + 3) % 8, label) == 1  # names do not matter
    assert purity(torch.zeros(6, dtype=torch.int64), label) == 0.5  # one code for all: the commonest label's share
    for bad in ((code[:0], label[:0]), (code - 1, label), (code, label[:5])):
        with pytest.raises(UsageError):
            purity(*bad)
