"""The beta-VAE: what it is trained for, and the bound that it reports whatever beta is."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import kl_divergence

from triptych.core import Batch, Clock, Images, LowerBound, StepNoise, UsageError
from triptych.models.vae.beta_vae import PRESETS, BetaVAE, BetaVAEConfig

TINY = PRESETS["beta-vae-tiny"].config
SQUARE = BetaVAEConfig(x=Images(1, 2, 2, levels=2), latent=3, hidden=(8,))
Z = torch.linspace(-9, 9, 1501, dtype=torch.float64)


def every_image(space):
    levels = range(space.levels)
    return space.from_index(torch.tensor(list(itertools.product(levels, repeat=space.dims))).view(-1, *space.shape))


def trained(config, steps=150):
    """A model that has learned that pixels are equal, and what its last steps cost."""
    torch.manual_seed(0)
    model = BetaVAE(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    logs = []
    for step in range(steps):
        noise = StepNoise(step, 64, slice(None))
        x = config.x.nearest(2 * noise.uniform(1, 1, 1) - 1).expand(-1, *config.x.shape)
        loss = model.loss(Batch(config.x.from_index(x), None, noise), Clock(step, step / steps))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        logs.append({"loss": loss.value.item()} | {k: v.item() for k, v in loss.logs.items()})
    return model.double().eval(), logs


@pytest.fixture(scope="module")
def fitted():
    return trained(replace(TINY, beta=0.5))


def test_training_lowers_the_loss(fitted):
    _, logs = fitted
    first, last = (sum(line["loss"] for line in part) for part in (logs[:10], logs[-10:]))
    assert last < 0.8 * first


def test_the_loss_is_equation_4_and_the_bound_is_logged_beside_it():
    for beta in (0.0, 1.0, 4.0):
        model = BetaVAE(replace(SQUARE, beta=beta))
        x = every_image(SQUARE.x)
        loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
        distortion, rate = loss.logs["distortion"], loss.logs["rate"]
        assert loss.value.item() == pytest.approx((distortion + beta * rate).item())
        assert loss.logs["bound"].item() == pytest.approx((distortion + rate).item())


def test_the_rate_is_summed_over_latents_and_has_its_half():
    """Popular mistakes: the mean over dimensions, and the factor 1/2 left out."""
    model, x = BetaVAE(SQUARE), every_image(SQUARE.x)
    with torch.no_grad():
        model.encoder[-1].bias.copy_(torch.tensor([1.0, -2.0, 0.5, 0.3, -0.4, 0.1]))
    loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
    mean, log_scale = model.encoder(x.flatten(1)).chunk(2, 1)
    variance = (2 * log_scale).exp()
    rate = 0.5 * (mean.square() + variance - 1 - variance.log()).sum(1)
    assert loss.logs["rate"].item() == pytest.approx(rate.mean().item(), rel=1e-5)


def test_the_distortion_is_summed_over_pixels():
    model, x = BetaVAE(SQUARE), every_image(SQUARE.x)
    with torch.no_grad():
        model.decoder[-1].weight.zero_()
        model.decoder[-1].bias.zero_()
    loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
    assert loss.logs["distortion"].item() == pytest.approx(4 * math.log(2))


def test_what_is_reported_does_not_depend_on_beta(fitted):
    model, _ = fitted
    other = BetaVAE(replace(TINY, beta=50.0)).double()
    other.load_state_dict(model.state_dict())
    x, answers = every_image(TINY.x).double(), []
    for m in (model, other):
        for draws in (1, 4):
            torch.manual_seed(3)
            with torch.no_grad():
                answers.append(m.log_prob(x, draws=draws))
    for i in (0, 1):
        assert torch.equal(answers[i].nats, answers[i + 2].nats)
    assert isinstance(answers[0], LowerBound) and answers[0].how == "ELBO (beta = 1), 1 draw"
    assert answers[1].how == "IWAE bound, 4 draws"


def test_the_bound_is_the_logged_one_and_below_the_likelihood(fitted):
    model, _ = fitted
    every = every_image(TINY.x).double()
    x = every.repeat(2000, 1, 1, 1)
    with torch.no_grad():
        z = Z[:, None, None]
        exact = (model.decode(z).log_prob(every) + model.prior().log_prob(z).double()).logsumexp(0) + math.log(0.012)
        assert exact.exp().sum().item() == pytest.approx(1, abs=1e-6)
        loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
        bound, tighter = (model.log_prob(x, draws=k).nats.view(2000, -1).mean(0) for k in (1, 8))
        q, p = model.encode(every), model.prior()
        z = q.sample((20_000,))
        simulated = (q.log_prob(z) - p.log_prob(z)).mean(0)
    assert loss.logs["bound"].item() == pytest.approx(-bound.mean().item(), rel=0.01)
    assert (bound < tighter + 0.05).all() and (tighter < exact + 0.05).all() and bound.mean() < exact.mean() - 0.01
    assert torch.allclose(simulated, kl_divergence(q, p), atol=0.05)


def test_a_higher_beta_buys_a_lower_rate(fitted):
    _, cheap = fitted
    _, dear = trained(replace(TINY, beta=8.0))
    assert sum(line["rate"] for line in dear[-10:]) < 0.5 * sum(line["rate"] for line in cheap[-10:])


def test_bad_input_is_refused():
    with pytest.raises(UsageError, match="levels"):
        BetaVAE(TINY).log_prob(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="beta"):
        BetaVAEConfig(beta=-1.0)
