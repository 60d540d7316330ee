"""The VAE on spaces so small that its likelihood can be worked out exactly."""

import copy
import itertools
import math

import pytest
import torch
from torch.distributions import kl_divergence

from triptych.core import Batch, Clock, Images, LowerBound, StepNoise, UsageError
from triptych.models.vae.vae import PRESETS, VAE, VAEConfig

BINARY = PRESETS["vae-tiny"].config
GREY = VAEConfig(x=Images(1, 1, 2, levels=5), latent=1, hidden=(8,))
Z = torch.linspace(-9, 9, 3001, dtype=torch.float64)


def every_image(space):
    levels = range(space.levels)
    return space.from_index(torch.tensor(list(itertools.product(levels, repeat=space.dims))).view(-1, *space.shape))


def trained(config, steps=150):
    """A model that has learned that pixels are equal, so that z means something."""
    torch.manual_seed(0)
    model = VAE(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    values = []
    for step in range(steps):
        noise = StepNoise(step, 64, slice(None))
        x = config.x.nearest(2 * noise.uniform(1, 1, 1) - 1).expand(-1, *config.x.shape)
        loss = model.loss(Batch(config.x.from_index(x), None, noise), Clock(step, step / steps))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        values.append(loss.value.item())
    return model.double().eval(), values


@pytest.fixture(scope="module", params=[BINARY, GREY], ids=["binary", "grey"])
def fitted(request):
    return trained(request.param)


def exact(model, x):
    """log p(x), the one-dimensional latent integrated out."""
    z = Z[:, None, None]
    joint = model.decode(z).log_prob(x.double()) + model.prior().log_prob(z).double()
    return joint.logsumexp(0) + math.log(18 / 3000)


def test_training_lowers_the_loss(fitted):
    _, values = fitted
    assert sum(values[-10:]) < 0.8 * sum(values[:10])


def test_the_probabilities_of_all_images_sum_to_one(fitted):
    model, _ = fitted
    with torch.no_grad():
        assert exact(model, every_image(model.config.x)).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_bounds_are_ordered(fitted):
    model, _ = fitted
    x = every_image(model.config.x).double()
    with torch.no_grad():
        truth = exact(model, x)
        bounds = [model.log_prob(x.repeat(500, 1, 1, 1), draws=k).nats.view(500, -1) for k in (1, 5, 50)]
    means = [*(b.mean(0) for b in bounds), truth]
    errors = [*(b.std(0) / 500**0.5 for b in bounds), torch.zeros_like(truth)]
    for k in range(3):
        assert (means[k] <= means[k + 1] + 4 * (errors[k] + errors[k + 1])).all()
        assert means[k].mean() < means[k + 1].mean() - 1e-4  # and not because they are all equal


def test_the_loss_is_minus_the_bound():
    model = VAE(BINARY).double()
    x = every_image(BINARY.x).double()
    n = 3000
    x = x.repeat(n, 1, 1, 1)
    loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
    with torch.no_grad():
        bound = model.log_prob(x).nats.mean()
    assert loss.value.item() == pytest.approx(-bound.item(), abs=5e-3)
    assert loss.value.item() == pytest.approx(sum(v.item() for v in loss.logs.values()))


def test_the_divergence_in_closed_form_is_what_simulation_finds(fitted):
    model, _ = fitted
    x = every_image(model.config.x).double()
    with torch.no_grad():
        q, p = model.encode(x), model.prior()
        z = q.sample((20_000,))
        simulated = q.log_prob(z) - p.log_prob(z)
        mu, variance = q.mean, q.variance  # Appendix B
        formula = 0.5 * (mu.square() + variance - 1 - variance.log()).sum(1)
    assert torch.allclose(kl_divergence(q, p), formula)
    error = simulated.std(0) / 20_000**0.5
    assert ((simulated.mean(0) - formula).abs() < 4 * error + 1e-4).all()


@pytest.mark.parametrize("config", [BINARY, GREY])
def test_likelihoods_say_what_they_are(config):
    model = VAE(config)
    x = every_image(config.x)
    one, many = model.log_prob(x), model.log_prob(x, draws=7)
    assert isinstance(one, LowerBound) and one.measure == "mass" and one.dims == config.x.dims
    assert (one.how, many.how) == ("ELBO, 1 draw", "IWAE bound, 7 draws")
    assert one.nats.shape == many.nats.shape == (len(x),)


def test_many_draws_are_taken_in_parts(monkeypatch):
    model = VAE(VAEConfig(x=Images(1, 64, 64, levels=2), latent=2, hidden=(4,)))
    x = torch.ones(64, 1, 64, 64)  # 64 of the 2^18 numbers fit 64 times into what is decoded at once
    seen, decode = [], model.decode
    monkeypatch.setattr(model, "decode", lambda z: seen.append(len(z)) or decode(z))
    with torch.no_grad():
        model.log_prob(x, draws=65)
    assert seen == [64, 1]


def test_images_outside_the_space_are_refused():
    model = VAE(BINARY)
    with pytest.raises(UsageError, match="levels"):
        model.log_prob(torch.zeros(1, 1, 2, 2))
    with pytest.raises(UsageError, match="shape"):
        model.log_prob(torch.ones(1, 1, 3, 3))


@pytest.mark.parametrize("config", [BINARY, GREY, VAEConfig(x=Images(3, 4, 6), latent=3, hidden=(8, 5))])
def test_samples_are_on_levels_and_depend_on_the_seed_and_the_item_alone(config):
    model = VAE(config)
    x = model.sample(6, seed=1)
    config.x.index(x)
    assert x.shape == (6, *config.x.shape) and x.dtype == torch.float32
    assert torch.equal(x, model.sample(6, seed=1)) and not torch.equal(x, model.sample(6, seed=2))
    assert torch.equal(x[4:5], model.sample(1, seed=1, first=4))


def test_samples_come_as_often_as_their_probability_says(fitted):
    model, _ = fitted
    n = 20_000
    with torch.no_grad():
        x = copy.deepcopy(model).float().draw(StepNoise(0, n, slice(None)))
        k = model.config.x.index(x).flatten(1)
        place = model.config.x.levels ** torch.arange(model.config.x.dims - 1, -1, -1)
        counts = (k * place).sum(1).bincount(minlength=len(every_image(model.config.x)))
        p = exact(model, every_image(model.config.x)).exp()
    z = (counts - n * p) / (n * p * (1 - p)).sqrt()
    assert z[n * p > 5].abs().max() < 4.5
