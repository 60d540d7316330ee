"""The ladder VAE on a space so small that both of its layers can be integrated out."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from triptych.core import Batch, Clock, Images, LowerBound, StepNoise, UsageError
from triptych.models.vae.ladder_vae import PRESETS, BatchNorm, LadderVAE, LadderVAEConfig, corrected, divergence

TINY = PRESETS["ladder-vae-tiny"].config
DEEP = PRESETS["ladder-vae-tiny-rgb"].config
AXIS = torch.linspace(-8, 8, 241, dtype=torch.float64)
GRID = torch.cartesian_prod(AXIS, AXIS)
CELL = (16 / 240) ** 2


def every_image(space):
    levels = range(space.levels)
    return space.from_index(torch.tensor(list(itertools.product(levels, repeat=space.dims))).view(-1, *space.shape))


@pytest.fixture(scope="module")
def fitted():
    """A model that has learned that rows are of one color, and of the same one more often than not."""
    torch.manual_seed(0)
    model = LadderVAE(replace(TINY, warmup=0.3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    logs = []
    for step in range(300):
        noise = StepNoise(step, 64, slice(None))
        shade = noise.uniform(1, 1, 1)
        x = torch.where(noise.uniform(1, 2, 1) < 0.1 + 0.8 * (shade < 0.5), 1.0, -1.0).expand(-1, -1, -1, 2)
        loss = model.loss(Batch(x, None, noise), Clock(step, step / 300))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        logs.append({k: v.item() for k, v in loss.logs.items()})
    return model.double().eval(), logs


def exact(model, x):
    """log p(x), both latents integrated out: standardized, they are N(0, I) whatever the model is."""
    joint = model.decode(GRID[:, None]).log_prob(x.double()) + model.prior().log_prob(GRID)[:, None]
    return joint.logsumexp(0) + math.log(CELL)


def test_training_raises_the_bound(fitted):
    _, logs = fitted
    assert sum(line["bound"] for line in logs[-10:]) < 0.8 * sum(line["bound"] for line in logs[:10])


def test_bounds_are_ordered(fitted):
    model, _ = fitted
    every = every_image(TINY.x).double()
    x = every.repeat(500, 1, 1, 1)
    with torch.no_grad():
        truth = exact(model, every)
        bounds = [model.log_prob(x, draws=k).nats.view(500, -1) for k in (1, 5, 50)]
    assert truth.exp().sum().item() == pytest.approx(1, abs=1e-9)
    means = [*(b.mean(0) for b in bounds), truth]
    errors = [*(b.std(0) / 500**0.5 for b in bounds), torch.zeros_like(truth)]
    for k in range(3):
        assert (means[k] <= means[k + 1] + 4 * (errors[k] + errors[k + 1])).all()
        assert means[k].mean() < means[k + 1].mean() - 1e-5


def test_samples_come_as_often_as_their_probability_says(fitted):
    model, _ = fitted
    n = 20_000
    with torch.no_grad():
        x = model.draw(StepNoise(0, n, slice(None)))
        p = exact(model, every_image(TINY.x)).exp()
    counts = (TINY.x.index(x).flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1).bincount(minlength=16)
    z = (counts - n * p) / (n * p * (1 - p)).sqrt()
    assert z[n * p > 5].abs().max() < 4.5


def test_both_layers_follow_x_and_each_other(fitted):
    """q is a distribution over both, and p(z_1 | z_2) is no standard normal."""
    model, _ = fitted
    x = every_image(TINY.x).double()[[0, 5, 15]]
    with torch.no_grad():
        q = model.encode(x)
        mass = q.log_prob(GRID[:, None].expand(-1, 3, -1)).exp().sum(0) * CELL
        z1 = model.descend(model.fixed(torch.tensor([[0.0, -1.0], [0.0, 1.0]]).double()))[0]
    assert torch.allclose(mass, torch.ones(3).double(), atol=1e-3)
    assert (z1[0] - z1[1]).abs() > 1e-2
    assert q.mean.shape == (3, 2) and len(q.mean[:, 0].unique()) == 3


def test_the_correction_weights_by_precision():
    """The paper's formulas, in its own units."""
    mean_p, sd_p, mean, sd = torch.rand(4, 5, dtype=torch.float64) + 0.1
    e = corrected(Normal(mean_p, sd_p), Normal(mean, sd))
    variance_q = 1 / (sd**-2 + sd_p**-2)
    mean_q = variance_q * (mean * sd**-2 + mean_p * sd_p**-2)
    assert torch.allclose(mean_p + sd_p * e.mean, mean_q)
    assert torch.allclose(sd_p**2 * e.variance, variance_q)
    # and what is paid for it is the divergence between the two, summed over dimensions
    rate = kl_divergence(Normal(mean_q, variance_q.sqrt()), Normal(mean_p, sd_p)).sum(-1)
    assert torch.allclose(divergence(e), rate)
    formula = 0.5 * (variance_q / sd_p**2 + (mean_q - mean_p) ** 2 / sd_p**2 - 1 - (variance_q / sd_p**2).log())
    assert torch.allclose(rate, formula.sum(-1))


def test_every_layer_is_paid_for_the_top_included():
    torch.manual_seed(2)
    model = LadderVAE(DEEP).double()
    x = every_image(DEEP.x)[::40].double()
    loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
    rates = [loss.logs[f"rate_{i}"].item() for i in (1, 2, 3)]
    assert min(rates) > 0
    assert loss.logs["rate"].item() == pytest.approx(sum(rates))
    assert loss.logs["bound"].item() == pytest.approx(loss.logs["distortion"].item() + sum(rates))
    features = x.flatten(1)
    for layer in model.up:
        features = layer(features)
    mean, variance = model.heads[2](features).chunk(2, -1)
    variance = torch.nn.functional.softplus(variance) + 1e-5
    assert rates[2] == pytest.approx(0.5 * (mean**2 + variance - 1 - variance.log()).sum(-1).mean().item())


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (0.9, 1.0)])
def test_the_rate_is_charged_little_by_little(progress, weight):
    model, x = LadderVAE(replace(TINY, warmup=0.2)), every_image(TINY.x)
    loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, progress))
    assert loss.value.item() == pytest.approx((loss.logs["distortion"] + weight * loss.logs["rate"]).item())


def test_without_warmup_the_loss_is_minus_the_bound():
    model = LadderVAE(replace(TINY, warmup=0.0)).double().eval()
    x = every_image(TINY.x).double().repeat(2000, 1, 1, 1)
    with torch.no_grad():
        loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
        assert loss.value.item() == pytest.approx(-model.log_prob(x).nats.mean().item(), abs=0.02)


def test_one_pass_weighs_as_the_distributions_do(fitted):
    model, _ = fitted
    x = every_image(TINY.x).double()
    with torch.no_grad():
        torch.manual_seed(5)
        bound = model.log_prob(x, draws=3).nats
        torch.manual_seed(5)
        q = model.encode(x)
        e = q.sample((3,))
        log_w = model.decode(e).log_prob(x) + model.prior().log_prob(e) - q.log_prob(e)
    assert e.shape == (3, 16, 2)
    assert torch.allclose(bound, log_w.logsumexp(0) - math.log(3))


def test_normalization_is_over_everything_but_features():
    x = 3 + 2 * torch.randn(5, 7, 4)
    y = BatchNorm(4)(x)
    assert y.shape == x.shape
    assert torch.allclose(y.mean((0, 1)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(y.flatten(0, 1).std(0, correction=0), torch.ones(4), atol=1e-4)


def test_likelihoods_say_what_they_are_and_bad_input_is_refused():
    model, x = LadderVAE(TINY).eval(), every_image(TINY.x)
    one, many = model.log_prob(x), model.log_prob(x, draws=7)
    assert isinstance(one, LowerBound) and one.measure == "mass" and one.dims == 4
    assert (one.how, many.how) == ("ELBO, 1 draw", "IWAE bound, 7 draws")
    with pytest.raises(UsageError, match="levels"):
        model.log_prob(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="2 layers of latents"):
        LadderVAEConfig(latent=(4, 2))


def test_the_mean_of_the_encoder_can_be_decoded():
    model = LadderVAE(replace(DEEP, x=Images(3, 2, 3, levels=5))).eval()
    x = model.sample(4, seed=0)
    mean = model.encode(x).mean
    assert mean.shape == (4, 6) and model.decode(mean).mean.shape == x.shape


@pytest.mark.parametrize("ratio", [1e-9, 1e-3, 1.0, 1e3, 4e7, 1e12])
def test_the_correction_keeps_its_digits_whatever_the_ratio_of_the_variances(ratio):
    """In float32 as by Equations 16 and 17 in float64, where 1 minus the gain is not rounded to 0."""
    p = Normal(torch.tensor([0.3]), torch.tensor([2.0]))
    heard = Normal(torch.tensor([-0.4]), torch.tensor([2.0 * ratio**-0.5]))
    q = corrected(p, heard)
    precision = [1 / d.variance.double() for d in (p, heard)]
    variance = 1 / sum(precision)
    mean = variance * (p.mean.double() * precision[0] + heard.mean.double() * precision[1])
    assert torch.allclose(q.mean.double(), (mean - p.mean.double()) / p.stddev.double(), rtol=1e-5)
    assert torch.allclose(q.stddev.double(), variance.sqrt() / p.stddev.double(), rtol=1e-5)
    assert divergence(q).isfinite()
