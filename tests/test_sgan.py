"""Semi-supervised GAN: its head of K logits, losses that heed unknown labels, and data with few labels."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax, pad

from triptych.core import Batch, Clock, Label, Labels, PartialLabel, PartialLabels, StepNoise, UsageError
from triptych.data import check_fits, data
from triptych.models.gan.sgan import PRESETS, SGAN, SGANConfig, feature_matching, supervised, unsupervised
from triptych.verbs.create import create_for
from triptych.verbs.sample import conditions

NOW = Clock(0, 0.0)
TINY = PRESETS["sgan-tiny"].config


def batch(y, seed=0):
    x = torch.rand(len(y), 1, 4, 4, generator=torch.Generator().manual_seed(1)) - 0.8
    return Batch(x, PartialLabel(torch.tensor(y)), StepNoise(seed, len(y), slice(None)))


def test_k_logits_equal_a_softmax_over_k_and_a_zero():
    real, fake = torch.randn(2, 7, 10, dtype=torch.float64) * 3
    y = torch.arange(7)
    with_zero = {name: log_softmax(pad(k, (0, 1)), 1) for name, k in (("real", real), ("fake", fake))}
    not_fake = with_zero["real"][:, :10].logsumexp(1)
    assert torch.allclose(unsupervised(real, fake), -not_fake.mean() - with_zero["fake"][:, 10].mean(), atol=1e-12)
    told = -(with_zero["real"][torch.arange(7), y] - not_fake).mean()  # p(y | x, real)
    assert torch.allclose(supervised(real, y), told, atol=1e-12)


def test_a_perfect_prediction_costs_nothing():
    """No softmax comes before the cross-entropy: with one, ten classes would never cost less than 1.461."""
    logits = torch.full((4, 10), -50.0)
    logits[torch.arange(4), torch.arange(4)] = 50
    assert supervised(logits, torch.arange(4)).item() == 0
    assert unsupervised(logits, torch.full((4, 10), -100.0)).item() < 1e-6


def test_unknown_labels_do_not_count():
    logits = torch.randn(5, 3)
    y = torch.tensor([2, -1, 0, -1, -1])
    assert torch.allclose(supervised(logits, y), cross_entropy(logits[[0, 2]], y[[0, 2]]))
    nothing = supervised(logits.requires_grad_(), torch.full((5,), -1))
    nothing.backward()
    assert nothing.item() == 0 and not logits.grad.any()


def test_the_classifier_learns_from_the_unlabeled_too():
    model = SGAN(TINY)
    model.classifier_loss(batch([-1] * 8), NOW).value.backward()
    assert all(w.grad.abs().sum() > 0 for w in model.classifier.parameters())


def test_feature_matching_looks_at_means_only():
    a = torch.randn(6, 4)
    assert feature_matching(a, a.flip(0)).item() == pytest.approx(0, abs=1e-12)
    assert feature_matching(a + 2, a).item() == pytest.approx(4)
    model = SGAN(TINY)
    model.generator_loss(batch([0] * 8), NOW).value.backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in model.generator.parameters())


def test_no_layer_outgrows_the_noise():
    model = SGAN(TINY)
    x = batch([0] * 8).x
    before = model.classifier.features(x)
    with torch.no_grad():
        for layer in model.classifier.hidden:
            layer.weight.mul_(100)
    assert torch.allclose(model.classifier.features(x), before, atol=1e-5)
    one = model.classifier.hidden[0](torch.eye(16)) - model.classifier.hidden[0].bias
    assert torch.allclose(one.square().sum(0), torch.full((8,), 2.0), atol=1e-5)


def test_noise_is_for_training_only():
    model = SGAN(TINY)
    x = batch([0] * 8).x
    assert torch.equal(model.classify(x), model.classify(x))
    noisy = [model.classifier(x, StepNoise(seed, 8, slice(None))) for seed in (0, 1, 0)]
    assert torch.equal(noisy[0], noisy[2]) and not torch.equal(noisy[0], noisy[1])
    assert torch.allclose(model.classify(x).sum(1), torch.ones(8))


def test_a_class_is_drawn_by_bayes_rule():
    """A classifier whose p(y | x) is known: half the candidates are of the class, the others are not."""
    torch.manual_seed(0)
    model = SGAN(TINY)
    middle = model.sample(501, seed=1).flatten(1).mean(1).median()

    class Sign(nn.Module):
        def forward(self, x):
            bright = x.flatten(1).mean(1) > middle
            return torch.where(bright[:, None], torch.tensor([0.0, -1e4, -1e4]), torch.tensor([-1e4, 0.0, -1e4]))

    model.classifier = Sign()
    y = torch.tensor([0, 1] * 50)
    x = model.sample(100, PartialLabel(y), seed=3)
    right = (model.classify(x).argmax(1) == y).float().mean()
    assert right > 0.85  # all but those none of whose four candidates will do: 15 / 16 are right
    assert torch.allclose(
        model.sample(9, PartialLabel(torch.full((9,), -1)), seed=3), model.sample(9, seed=3), atol=1e-6
    )


def test_partial_labels_are_a_space_of_their_own():
    space = PartialLabels(3)
    space.check(torch.tensor([-1, 0, 2]))
    with pytest.raises(UsageError, match=r"from -2 to 0; .* takes -1 to 2"):
        space.check(torch.tensor([-2, 0]))
    assert space != Labels(3)
    with pytest.raises(UsageError, match="takes 0 to 2"):
        Labels(3).check(torch.tensor([-1]))


def test_few_labels_are_kept_and_make_up_half_of_the_examples():
    hidden = data("mnist-fixed", labels=25).subset(slice(None))
    y, truth = hidden.labels, data("mnist-fixed").labels
    assert len(y) == 2 * 60_000 and hidden.given == PartialLabels(10)
    assert torch.equal((y >= 0)[:60_000].nonzero().flatten().unique(), (y[:60_000] == truth).nonzero().flatten())
    counts = y[:60_000][y[:60_000] >= 0].bincount(minlength=10)
    assert counts.sum() == 25 and set(counts.tolist()) == {2, 3}
    assert (y[60_000:] >= 0).all() and torch.equal(y[60_000:60_025], y[60_025:60_050])
    rows = torch.tensor([0, 1, 119_999])
    got = hidden.fetch(rows, StepNoise(0, 3, slice(None))).given
    assert isinstance(got, PartialLabel) and torch.equal(got.y, y[rows])
    assert "25-labels" in hidden.name


def test_which_labels_are_kept_follows_from_the_seed():
    a, b, again = (data("mnist-fixed", labels=50, labels_seed=seed) for seed in (0, 1, 0))
    assert torch.equal(a.labels, again.labels) and not torch.equal(a.labels, b.labels)
    assert a.fingerprint == again.fingerprint != b.fingerprint != data("mnist-fixed").fingerprint
    assert data("mnist-fixed", labels=50, split="test").given == Labels(10)  # there is nothing to hide there
    assert a.held_out().given == Labels(10)


@pytest.mark.parametrize("labels", [9, 60_000])
def test_labels_that_cannot_be_balanced_are_refused(labels):
    with pytest.raises(UsageError, match=rf"labels={labels}: .* 10 to 54210"):
        data("mnist-fixed", labels=labels)


def test_partial_labels_fit_who_bears_them():
    hidden, known = data("mnist", labels=10), data("mnist")
    for served in (hidden, known):
        model = create_for("sgan", served, ["classifier=[8]", "generator=[8]"])
        assert model.config.given == PartialLabels(10)
        check_fits(served, model.config)
    with pytest.raises(UsageError, match="without labels="):
        check_fits(hidden, type("C", (), {"x": hidden.x, "given": Labels(10)}))
    asked = conditions(model, 3, "7")
    assert isinstance(asked, PartialLabel) and asked.y.tolist() == [7, 7, 7]
    assert conditions(model, 3, None) is None
    assert isinstance(known.fetch(torch.arange(2), StepNoise(0, 2, slice(None))).given, Label)


def test_the_papers_network():
    model = SGAN(SGANConfig())
    assert [layer.out_features for layer in model.classifier.hidden] == [1000, 500, 250, 250, 250]
    assert model.classifier.head.out_features == 10  # K, not K + 1
