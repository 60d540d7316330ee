"""Classification by Bayes' rule, on classes whose probabilities are known."""

from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import triptych as tt
from triptych.core import Exact, Generative, Images, Label, Labels, LowerBound, Points, Tokens, UsageError, config
from triptych.inference.bayes import (
    calibrated,
    class_likelihoods,
    classified,
    fit_temperature,
    log_posterior,
)
from triptych.inference.discriminative import train_classifier
from triptych.testing import Examples
from triptych.verbs.classify import classify


@config
class ClassesConfig:
    x: Points = Points(1)
    given: Labels = Labels(3)


class Classes(Generative[Label]):
    """x of class y is N(2 y, 1), also through a latent: z ~ N(2 y, 3/4), x ~ N(z, 1/4)."""

    name = "classes"

    def __init__(self, exact: bool = True) -> None:
        super().__init__()
        self.config, self.exact, self.w = ClassesConfig(), exact, nn.Parameter(torch.zeros(1))

    def prior(self, given: Label) -> Independent:
        return Independent(Normal(2.0 * given.y[:, None].double(), 0.75**0.5), 1)

    def encode(self, x: Tensor, given: Label) -> Independent:
        return Independent(Normal(0.75 * x + 0.25 * 2.0 * given.y[:, None], 0.1875**0.5), 1)

    def decode(self, z: Tensor, given: Label) -> Independent:
        return Independent(Normal(z, 0.5), 1)

    def log_prob(self, x: Tensor, given: Label) -> Exact | LowerBound:
        self.config.x.check(x)
        nats = Normal(2.0 * given.y, 1.0).log_prob(x[:, 0])
        if self.exact:
            return Exact(nats=nats, dims=1, measure="density", how="by heart")
        return LowerBound(nats=nats - torch.rand(len(x)), dims=1, measure="density", how="a guess")

    def draw(self, noise, given):  # type: ignore[no-untyped-def]
        return 2.0 * given.y[:, None] + noise.normal(1)

    def stages(self) -> list:
        return []


def test_the_posterior_is_bayes_rule() -> None:
    x = torch.linspace(-2, 6, 9).double()[:, None]
    found = class_likelihoods(Classes(), x)
    joint = torch.stack([Normal(2.0 * y, 1.0).log_prob(x[:, 0]) for y in range(3)], 1)
    torch.testing.assert_close(found.nats, joint)
    assert (found.kind, found.how) == ("exact", "by heart, the same for each class")
    p = joint.exp() * torch.tensor([0.2, 0.5, 0.3]).double()
    torch.testing.assert_close(found.posterior(torch.tensor([0.2, 0.5, 0.3])).exp(), p / p.sum(1, keepdim=True))
    even = joint.exp() / joint.exp().sum(1, keepdim=True)
    torch.testing.assert_close(found.posterior().exp(), even)
    torch.testing.assert_close(found.posterior(temperature=4.0), (joint / 4).log_softmax(1))


def test_importance_sampling_gives_the_same_with_the_right_encoder() -> None:
    x = torch.linspace(-2, 6, 9).double()[:, None]
    exact, found = class_likelihoods(Classes(), x), class_likelihoods(Classes(), x, draws=8)
    torch.testing.assert_close(found.nats, exact.nats)
    assert found.kind == "estimate" and "8 draws" in found.how and found.how.endswith("the same for each class")


def test_bounds_use_the_same_random_draws_for_all_classes() -> None:
    x = torch.zeros(5, 1)
    state = torch.random.get_rng_state()
    found = class_likelihoods(Classes(exact=False), x, seed=4)
    off = torch.stack([Normal(2.0 * y, 1.0).log_prob(x[:, 0]) for y in range(3)], 1) - found.nats
    torch.testing.assert_close(off, off[:, :1].expand(-1, 3), atol=1e-6, rtol=0)
    assert off.std(0).min() > 0.05 and found.kind == "lower bound"
    assert torch.equal(found.nats, class_likelihoods(Classes(exact=False), x, seed=4).nats)
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_autoregressive_model_by_enumeration() -> None:
    """p(y | x) from p(x, y), all x of the space being counted."""
    model = tt.create("gated-pixelcnn-tiny", x=Images(1, 2, 2, levels=2), given=Labels(3), seed=1)
    bits = torch.arange(16)[:, None] >> torch.arange(4) & 1
    x = (2 * bits - 1).float().view(16, 1, 2, 2)
    found = class_likelihoods(model, x)
    torch.testing.assert_close(found.nats.exp().sum(0), torch.ones(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.posterior().exp().sum(1), torch.ones(16).double())
    assert found.nats.std(1).min() > 1e-4 and found.how.startswith("chain rule")


def test_scores_of_probabilities() -> None:
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.3, 0.7]]).double()
    found = classified(p.log(), torch.tensor([0, 1, 1, 1]))
    assert found.accuracy == 0.75
    assert found.nll == pytest.approx(-(log(0.9) + log(0.4) + 2 * log(0.7)) / 4)
    # three bins: .9 and right; .6 and wrong; .7 twice, right both times
    assert found.ece == pytest.approx((0.1 + 0.6 + 2 * 0.3) / 4)
    sure = classified(torch.tensor([[0.0, -torch.inf]]).double(), torch.tensor([0]))
    assert (sure.accuracy, sure.nll, sure.ece) == (1, 0, 0)


def drawn(n: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """log p(x | y) of examples that follow the classes, made surer by `scale`."""
    y = torch.randint(3, (n,))
    x = 2.0 * y + torch.randn(n)
    return scale * torch.stack([Normal(2.0 * k, 1.0).log_prob(x) for k in range(3)], 1).double(), y


def test_right_probabilities_are_calibrated_and_keep_their_temperature() -> None:
    nats, y = drawn(20_000)
    raw = classified(log_posterior(nats), y)
    assert raw.ece < 0.015
    assert fit_temperature(nats, y) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("scale", [12.0, 0.2])
def test_a_temperature_undoes_what_made_the_model_too_sure_or_not_sure_enough(scale: float) -> None:
    nats, y = drawn(20_000, scale)
    assert fit_temperature(nats, y) == pytest.approx(scale, rel=0.05)
    raw, mended = classified(log_posterior(nats), y), classified(calibrated(nats, y), y)
    assert mended.accuracy == raw.accuracy and mended.nll < raw.nll
    assert mended.ece < 0.02 < raw.ece


def test_the_temperature_is_where_the_cost_is_least() -> None:
    nats, y = drawn(200, 5.0)
    prior = torch.tensor([0.2, 0.3, 0.5])
    best = fit_temperature(nats, y, prior)
    costs = [classified(log_posterior(nats, prior, best * f), y).nll for f in (0.99, 1, 1.01)]
    assert costs[1] < costs[0] and costs[1] < costs[2]


def test_no_example_has_a_say_in_its_own_temperature() -> None:
    nats, y = drawn(40, 5.0)
    first = calibrated(nats, y)
    y[0] = (y[0] + 1) % 3
    second = calibrated(nats, y)
    assert torch.equal(first[::2], second[::2]) and not torch.equal(first[1::2], second[1::2])


def test_a_data_set_is_classified() -> None:
    model = tt.create("gated-pixelcnn-tiny", x=Images(1, 2, 2, levels=2), given=Labels(3), seed=1)
    data = Examples(Images(1, 2, 2, levels=2), Labels(3), n=48)
    found = classify(model, data, batch=7)
    again = classify(model, data, batch=48)
    torch.testing.assert_close(found.nats, again.nats)
    assert found.raw == classified(log_posterior(found.nats), found.y) and found.n == 48
    assert set(found.summary()) >= {"raw", "calibrated", "temperature", "kind", "how", "prior"}
    assert "nats" not in found.summary() and found.kind == "exact"
    assert classify(model, data, limit=10).n == 10


def test_a_classifier_learns_real_digits_beside_the_model_and_follows_from_its_seed() -> None:
    model = tt.create("gated-pixelcnn-tiny", x=Images(1, 28, 28, levels=2), given=Labels(10))
    train, test = tt.data("mnist-binary").subset(range(1500)), tt.data("mnist-binary", split="test")
    state = torch.random.get_rng_state()
    found = classify(model, test, limit=100, rival=train, rival_steps=50)
    assert torch.equal(state, torch.random.get_rng_state())
    assert found.rival is not None and found.rival.raw.accuracy > 0.6 > 0.3 > found.raw.accuracy
    assert found.rival.raw.nll < log(10) and (found.rival.examples, found.rival.steps) == (1500, 50)
    a, b = train_classifier(train, steps=2), train_classifier(train, steps=2)
    assert all(torch.equal(v, w) for v, w in zip(a.parameters(), b.parameters(), strict=True))


def test_a_rival_is_not_trained_on_what_it_classifies_nor_before_the_model_is_known_to_fit(monkeypatch) -> None:
    test = tt.data("mnist-binary", split="test")
    fits = tt.create("gated-pixelcnn-tiny", x=Images(1, 28, 28, levels=2), given=Labels(10))
    with pytest.raises(UsageError, match="trained on the items it is to classify"):
        classify(fits, test, limit=4, rival=test)
    with pytest.raises(UsageError, match="nothing of it is held out"):
        tt.data("mnist-binary", split="train").training_part()
    assert test.training_part().fingerprint == tt.data("mnist-binary").fingerprint
    monkeypatch.setattr("triptych.inference.discriminative.train_classifier", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(UsageError, match=r"models p\(x\)"):
        classify(tt.create("pixelcnn-tiny", x=Images(1, 28, 28, levels=2)), test, limit=4, rival=test.training_part())


def test_a_classifier_takes_labeled_images_or_points() -> None:
    assert train_classifier(Examples(Points(2), Labels(3)), steps=2)(torch.zeros(5, 2)).shape == (5, 3)
    for data in (Examples(Points(2)), Examples(Tokens(length=4, vocabulary=3), Labels(3))):
        with pytest.raises(UsageError, match="labeled images or points"):
            train_classifier(data)


@pytest.mark.parametrize(
    ("name", "fields", "options", "words"),
    [
        ("pixelcnn-tiny", {}, {}, r"pixelcnn models p\(x\).*given"),
        ("vae-tiny", {}, {}, r"vae models p\(x\)"),
        ("gated-pixelcnn-tiny", {"given": Labels(2)}, {"draws": 5}, "no latent variable"),
    ],
)
def test_what_cannot_be_classified_is_refused(name: str, fields: dict, options: dict, words: str) -> None:
    model = tt.create(name, **fields)
    with pytest.raises(UsageError, match=words):
        class_likelihoods(model, model.config.x.from_index(torch.zeros(1, *model.config.x.shape)), **options)


def test_nonsense_is_refused() -> None:
    nats, y = drawn(5)
    with pytest.raises(UsageError, match="above 0"):
        log_posterior(nats, temperature=0)
    for prior in (torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5, 0.5]), torch.tensor([1.5, -0.5, 0])):
        with pytest.raises(UsageError, match="3 probabilities"):
            log_posterior(nats, prior)
    with pytest.raises(UsageError, match="2 examples"):
        calibrated(nats[:1], y[:1])
    model = tt.create("gated-pixelcnn-tiny", x=Images(1, 2, 2, levels=2), given=Labels(3))
    with pytest.raises(UsageError, match="has nothing beside x"):
        classify(model, Examples(Images(1, 2, 2, levels=2)))
    with pytest.raises(UsageError, match=r"classes=3\) but random examples serves Labels\(classes=9\)"):
        classify(model, Examples(Images(1, 2, 2, levels=2), Labels(9)))
