"""The CVAE: a bound on log p(x | y), with a prior that is learned for each class."""

import itertools
import math

import pytest
import torch
from torch.distributions import kl_divergence

from triptych.core import Batch, Clock, Images, Label, Labels, LowerBound, StepNoise, UsageError
from triptych.inference.importance import importance_sampling
from triptych.models.vae.cvae import CVAE, PRESETS, CVAEConfig

TINY = PRESETS["cvae-tiny"].config
Z = torch.linspace(-12, 12, 2401, dtype=torch.float64)


def every_image(space):
    levels = range(space.levels)
    return space.from_index(torch.tensor(list(itertools.product(levels, repeat=space.dims))).view(-1, *space.shape))


def batch_of(step, n=64):
    """Images whose top row and bottom row are of one color each; class 0 is dark, 1 bright, 2 half and half."""
    noise = StepNoise(step, n, slice(None))
    y = torch.arange(n) % 3
    bright = torch.tensor([0.1, 0.9, 0.5])[y][:, None, None, None]
    rows = torch.where(noise.uniform(1, 2, 1) < bright, 1.0, -1.0)
    return Batch(rows.expand(-1, -1, -1, 2), Label(y), noise)


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    model = CVAE(TINY)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    values = []
    for step in range(200):
        loss = model.loss(batch_of(step), Clock(step, step / 200))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        values.append(loss.value.item())
    return model.double().eval(), values


def exact(model, x, y):
    """log p(x | y), the one-dimensional latent integrated out."""
    given, z = Label(torch.full((len(x),), y)), Z[:, None, None]
    joint = model.decode(z.expand(-1, len(x), -1), given).log_prob(x) + model.prior(given).log_prob(z)
    return joint.logsumexp(0) + math.log(0.01)


def test_training_lowers_the_loss(fitted):
    _, values = fitted
    assert sum(values[-10:]) < 0.8 * sum(values[:10])


@pytest.mark.parametrize("y", [0, 1, 2])
def test_bounds_of_each_class_are_ordered(fitted, y):
    model, _ = fitted
    every = every_image(TINY.x).double()
    x = every.repeat(500, 1, 1, 1)
    given = Label(torch.full((len(x),), y))
    with torch.no_grad():
        truth = exact(model, every, y)
        assert truth.exp().sum().item() == pytest.approx(1, abs=1e-6)
        bounds = [model.log_prob(x, given, draws=k).nats.view(500, -1) for k in (1, 5, 50)]
    means = [*(b.mean(0) for b in bounds), truth]
    errors = [*(b.std(0) / 500**0.5 for b in bounds), torch.zeros_like(truth)]
    for k in range(3):
        assert (means[k] <= means[k + 1] + 4 * (errors[k] + errors[k + 1]) + 1e-9).all()
        assert means[k].mean() < means[k + 1].mean()


def test_each_network_knows_the_class(fitted):
    model, _ = fitted
    x = every_image(TINY.x).double()[:1].repeat(3, 1, 1, 1)
    given, z = Label(torch.arange(3)), torch.zeros(3, 1).double()
    for p in (model.prior(given), model.encode(x, given)):
        assert len(p.mean.unique(dim=0)) == 3 and len(p.stddev.unique(dim=0)) == 3
    assert len(model.decode(z, given).mean.unique(dim=0)) == 3


def test_the_class_decides(fitted):
    """Dark images are likelier in class 0 than in class 1: the models of the classes are different ones."""
    model, _ = fitted
    dark = -torch.ones(200, 1, 2, 2).double()
    nats = [model.log_prob(dark, Label(torch.full((200,), y)), draws=20).nats.mean().item() for y in (0, 2, 1)]
    assert nats[0] > nats[1] + 0.5 > nats[2] + 1.0
    x = model.float().sample(300, Label(torch.arange(3).repeat(100)), seed=0).view(100, 3, 4).mean((0, 2))
    model.double()
    assert x[0] < -0.4 and x[1] > 0.4 and abs(x[2]) < 0.4


def test_the_loss_is_minus_the_bound_and_its_rate_is_against_the_prior_of_the_class():
    model = CVAE(TINY).double()
    with torch.no_grad():
        model.table.weight.copy_(torch.tensor([[0.0, 0.0], [2.0, -0.5], [-1.0, 0.7]]))
    batch = batch_of(0, 3000)
    x = batch.x.double()
    loss = model.loss(Batch(x, batch.given, batch.noise), Clock(0, 0.0))
    with torch.no_grad():
        bound = model.log_prob(x, batch.given).nats.mean()
        q, p = model.encode(x, batch.given), model.prior(batch.given)
        ratio = (q.stddev / p.stddev).square()
        formula = 0.5 * (ratio + ((q.mean - p.mean) / p.stddev).square() - 1 - ratio.log()).sum(1)
    assert torch.allclose(kl_divergence(q, p), formula)
    assert loss.logs["rate"].item() == pytest.approx(formula.mean().item())
    assert loss.value.item() == pytest.approx(-bound.item(), abs=0.1)
    assert loss.value.item() == pytest.approx(sum(v.item() for v in loss.logs.values()))


def test_every_class_begins_with_the_standard_prior():
    p = CVAE(TINY).prior(Label(torch.arange(3)))
    assert torch.equal(p.mean, torch.zeros(3, 1)) and torch.equal(p.stddev, torch.ones(3, 1))


def test_importance_sampling_takes_the_condition(fitted):
    model, _ = fitted
    x, given = every_image(TINY.x).double(), Label(torch.ones(16, dtype=torch.int64))
    found, truth = importance_sampling(model, x, given, draws=4000), exact(model, x, 1)
    assert ((found.nats - truth).abs() < 5 * found.stderr + 1e-3).all()


def test_likelihoods_say_what_they_are_and_bad_input_is_refused():
    model, x, given = CVAE(TINY), every_image(TINY.x), Label(torch.zeros(16, dtype=torch.int64))
    one, many = model.log_prob(x, given), model.log_prob(x, given, draws=7)
    assert isinstance(one, LowerBound) and one.dims == 4 and one.nats.shape == many.nats.shape == (16,)
    assert (one.how, many.how) == ("ELBO, 1 draw", "IWAE bound, 7 draws")
    with pytest.raises(UsageError, match="needs a condition"):
        model.log_prob(x, None)
    with pytest.raises(UsageError, match="conditions"):
        model.log_prob(x, given[:3])
    with pytest.raises(UsageError, match="levels"):
        model.log_prob(torch.zeros(1, 1, 2, 2), given[:1])
    with pytest.raises(UsageError, match="needs a condition"):
        model.sample(2)


def test_levels_and_colors():
    config = CVAEConfig(x=Images(3, 2, 3, levels=8), given=Labels(2), latent=2, hidden=(8, 6))
    x = CVAE(config).sample(4, Label(torch.tensor([0, 1, 1, 0])), seed=1)
    config.x.index(x)
    assert x.shape == (4, 3, 2, 3)
