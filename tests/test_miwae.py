"""MIWAE with a latent of one dimension, which can be integrated out: bounds and imputations have known answers."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from triptych.core import UNKNOWN, Batch, Clock, Images, ItemNoise, LowerBound, StepNoise, UsageError
from triptych.models.vae.miwae import MIWAE, PRESETS, MIWAEConfig
from triptych.testing.toys import every_element

TINY: MIWAEConfig = PRESETS["miwae-tiny"].config
GREY = replace(TINY, x=Images(1, 1, 2, levels=3))
Z = torch.linspace(-8, 8, 1601, dtype=torch.float64)


def make(c: MIWAEConfig = TINY) -> MIWAE:
    """A random model whose pixels depend on z, and on one another through it."""
    torch.manual_seed(0)
    model = MIWAE(c).double()
    for layer in (model.decoder[0], model.decoder[-1]):
        torch.nn.init.normal_(layer.weight, std=1.5)
    return model


def levels_with_holes(c: MIWAEConfig) -> Tensor:
    """Every way to know some values and not others."""
    values = [UNKNOWN, *range(c.x.levels)]
    return torch.tensor(list(itertools.product(values, repeat=c.x.dims))).view(-1, *c.x.shape)


def exact(model: MIWAE, known: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x_known) and p(z | x_known) on the grid Z, z integrated out."""
    x, there = model.split(known)
    p, z = model.pixels(Z[:, None, None]), Z[:, None, None]
    joint = torch.where(there, p.log_prob(x), 0.0).flatten(2).sum(2) + model.prior().log_prob(z)
    return joint.logsumexp(0) + math.log(16 / 1600), joint.softmax(0)


def training_batch(x: Tensor, seed: int = 0) -> Batch:
    return Batch(x, None, StepNoise(seed, len(x), slice(None)))


# The bound


@pytest.mark.parametrize("c", [TINY, GREY], ids=["binary", "grey"])
def test_many_draws_reach_the_likelihood_of_what_is_known(c: MIWAEConfig) -> None:
    model, known = make(c), levels_with_holes(c)
    with torch.no_grad():
        truth, _ = exact(model, known)
        few, many = (
            torch.stack([model.log_prob_known(known, draws=k).nats for _ in range(r)]) for k, r in ((2, 40), (1500, 2))
        )
    assert truth[0].item() == pytest.approx(0, abs=1e-9)  # nothing is known: probability one
    assert (few.mean(0) <= truth + 5 * few.std(0) / 40**0.5 + 1e-9).all()
    torch.testing.assert_close(many.mean(0), truth, rtol=0, atol=0.15)


def test_probabilities_of_what_is_known_add_up() -> None:
    """p(x_1) is the sum over x_2 of p(x_1, x_2): leaving a value out is integrating over it."""
    model, known = make(), levels_with_holes(TINY)
    p = exact(model, known)[0].exp()
    for hole, probability in zip(known, p, strict=True):
        full = [q for k, q in zip(known, p, strict=True) if (k != UNKNOWN).all() and ((hole == k) | (hole < 0)).all()]
        assert probability.item() == pytest.approx(sum(q.item() for q in full), abs=1e-9)


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_with_nothing_missing_it_is_the_iwae(missing: float) -> None:
    """And with all missing, the bound is that of nothing: log 1 as soon as q is p."""
    model, x = make(replace(TINY, missing=missing)), every_element(TINY.x).double()
    loss = model.loss(training_batch(x), Clock(0, 0.0))
    noise = StepNoise(0, len(x), slice(None))
    noise.uniform(*TINY.x.shape)
    q, p = model.encode(x * (missing == 0)), model.prior()
    z = q.mean + q.stddev * noise.normal(3, 1).movedim(1, 0)
    log_w = p.log_prob(z) - q.log_prob(z) + (model.decode(z).log_prob(x) if missing == 0 else 0)
    torch.testing.assert_close(loss.value, (math.log(3) - log_w.logsumexp(0)).mean())


def test_one_draw_is_the_elbo() -> None:
    model, x = make(), every_element(TINY.x).double()
    with torch.no_grad():
        found = torch.stack([model.log_prob(x, draws=1).nats for _ in range(300)])
        q = model.encode(x)
        elbo = model.decode(q.sample((2000,))).log_prob(x).mean(0) - kl_divergence(q, model.prior())
    assert ((found.mean(0) - elbo).abs() < 6 * found.std(0) / 300**0.5).all()


def test_what_is_missing_has_no_influence() -> None:
    """Neither on the loss nor on a gradient, whatever stands in its place: NaN or a value that training hides."""
    x = every_element(TINY.x)
    noise = StepNoise(0, len(x), slice(None))
    hidden = noise.uniform(*TINY.x.shape) < TINY.missing
    values = []
    for fake in (x, torch.where(hidden, -x, x), torch.where(hidden, torch.nan, x)):
        model = make().float()
        loss = model.loss(training_batch(fake), Clock(0, 0.0)).value
        loss.backward()
        gradients = [w.grad.flatten() for w in model.parameters()]
        values.append(torch.cat([loss.detach().view(1), *gradients]))
    assert hidden.any() and values[0].isfinite().all()
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])


def test_the_share_that_is_hidden() -> None:
    model = make(replace(TINY, missing=0.3, x=Images(1, 20, 20, levels=2))).float()
    seen = []
    model.encode, encode = lambda x: seen.append(x) or encode(x), model.encode
    model.loss(training_batch(torch.ones(50, 1, 20, 20)), Clock(0, 0.0))
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


# Imputation


@pytest.mark.parametrize("c", [TINY, GREY], ids=["binary", "grey"])
def test_the_expectation_of_what_is_missing(c: MIWAEConfig) -> None:
    model, known = make(c), levels_with_holes(c)
    x, there = model.split(known)
    with torch.no_grad():
        posterior = exact(model, known)[1]
        means = model.pixels(Z[:, None]).mean.flatten(1)
        truth = torch.where(there, x, (posterior.T @ means).view_as(x))
        found = model.expect(known, draws=4000)
    assert torch.equal(found[there], x[there])
    torch.testing.assert_close(found, truth, rtol=0, atol=0.1)


def test_several_imputations_come_as_often_as_they_should() -> None:
    model = make()
    known = torch.tensor([[[[1, -1], [-1, 0]]]])
    every = every_element(Images(1, 1, 2, levels=2)).view(4, 2)
    with torch.no_grad():
        posterior = exact(model, known)[1][:, 0]
        missing = model.pixels(Z[:, None]).logits.flatten(1)[:, 1:3]
        given_z = (every[:, None] * missing).sigmoid().prod(-1)
        truth = given_z @ posterior
        drawn = model.impute(known.expand(40, 1, 2, 2), copies=250, draws=500, seed=1)
    assert drawn.shape == (250, 40, 1, 2, 2)
    x = drawn.view(-1, 4)
    assert (x[:, 0] == 1).all() and (x[:, 3] == -1).all()
    often = (x[:, None, 1:3] == every).all(2).double().mean(0)
    assert truth.sum().item() == pytest.approx(1) and truth.max() < 0.9
    torch.testing.assert_close(often, truth, rtol=0, atol=0.03)


def test_of_one_latent_there_is_nothing_to_choose() -> None:
    known = torch.tensor([[[[1, -1], [-1, 0]]]]).expand(20, 1, 2, 2)
    model, noise = make(), ItemNoise(0, range(20), dtype=torch.float64)
    x, there = model.split(known)
    with torch.no_grad():
        _, z = model.log_weights(x, there, noise.normal(1, model.config.latent).movedim(1, 0))
        noise.uniform(3)  # what would choose
        drawn = model.pixels(z.expand(3, -1, -1)).icdf(noise.uniform(3, 1, 2, 2).movedim(1, 0))
        found = model.impute(known, draws=1, copies=3)
    assert torch.equal(found, torch.where(there, x, drawn))


def test_an_imputation_depends_on_the_seed_and_the_item(monkeypatch: pytest.MonkeyPatch) -> None:
    model, known = make().float(), levels_with_holes(TINY)[:9]
    with torch.no_grad():
        all_at_once = model.impute(known, copies=3, draws=20, seed=5)
        assert torch.equal(all_at_once, model.impute(known, copies=3, draws=20, seed=5))
        assert not torch.equal(all_at_once, model.impute(known, copies=3, draws=20, seed=6))
        assert torch.equal(all_at_once[:, :4], model.impute(known[:4], copies=3, draws=20, seed=5))
        assert model.impute(known[:0], copies=2).shape == (2, 0, 1, 2, 2)
        assert model.expect(known[:0]).shape == (0, 1, 2, 2)
        whole = model.expect(known, draws=20)
        monkeypatch.setattr(model, "shares", lambda n, draws: [range(0, 4), range(4, 9)])
        assert torch.equal(all_at_once, model.impute(known, copies=3, draws=20, seed=5))
        torch.testing.assert_close(whole, model.expect(known, draws=20))


def test_training_on_halves_of_images_finds_the_whole() -> None:
    """All pixels of an image are equal, and half of them are hidden."""
    torch.manual_seed(0)
    model = MIWAE(replace(TINY, draws=10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for step in range(100):
        x = torch.tensor([1.0, -1.0]).repeat(16)[:, None, None, None].expand(-1, 1, 2, 2)
        optimizer.zero_grad()
        model.loss(training_batch(x, step), Clock(step, 0.0)).value.backward()
        optimizer.step()
    with torch.no_grad():
        filled = model.expect(torch.tensor([[[[1, -1], [-1, -1]]], [[[-1, -1], [0, -1]]]]))
        nats = model.log_prob(torch.ones(1, 1, 2, 2)).nats.item()
    assert filled[0].min() > 0.6 and filled[1].max() < -0.6
    assert nats == pytest.approx(-math.log(2), abs=0.4)


# Refusals


def test_what_is_not_in_the_space() -> None:
    model = make().float()
    with pytest.raises(UsageError, match="levels 0 to 1, and -1"):
        model.impute(torch.full((1, 1, 2, 2), 2))
    with pytest.raises(UsageError, match="takes levels"):
        model.expect(torch.zeros(1, 1, 2, 2))
    with pytest.raises(UsageError, match="shape"):
        model.log_prob_known(torch.zeros(1, 1, 3, 2, dtype=torch.long))
    with pytest.raises(UsageError, match="draws >= 1"):
        model.impute(torch.zeros(1, 1, 2, 2, dtype=torch.long), draws=0)
    with pytest.raises(UsageError, match="nan"):
        model.log_prob(torch.full((1, 1, 2, 2), torch.nan))
    assert isinstance(model.log_prob(torch.ones(1, 1, 2, 2)), LowerBound)
