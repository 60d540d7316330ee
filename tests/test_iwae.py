"""The IWAE on spaces so small that its likelihood can be worked out exactly, and its two gradients."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from triptych.core import Batch, Clock, Images, LowerBound, StepNoise, UsageError
from triptych.losses.bounds import importance_weighted, importance_weighted_in_parts
from triptych.models.vae.iwae import IWAE, PRESETS, IWAEConfig

BINARY = PRESETS["iwae-tiny"].config
GREY = IWAEConfig(x=Images(1, 1, 2, levels=5), latent=1, hidden=(8,), draws=5, estimator="dreg")
Z = torch.linspace(-9, 9, 3001, dtype=torch.float64)


def every_image(space):
    levels = range(space.levels)
    return space.from_index(torch.tensor(list(itertools.product(levels, repeat=space.dims))).view(-1, *space.shape))


def trained(config, steps=150):
    """A model that has learned that pixels are equal, so that z means something."""
    torch.manual_seed(0)
    model = IWAE(config)
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


@pytest.fixture(scope="module", params=[BINARY, GREY], ids=["binary", "grey-dreg"])
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


def test_bounds_are_ordered_and_reach_the_likelihood(fitted):
    model, _ = fitted
    x = every_image(model.config.x).double()
    with torch.no_grad():
        truth = exact(model, x)
        assert truth.exp().sum().item() == pytest.approx(1, abs=1e-9)
        bounds = [model.log_prob(x.repeat(500, 1, 1, 1), draws=k).nats.view(500, -1) for k in (1, 5, 50)]
        likely = truth > -10  # of the others, a few draws hold most of the weight
        close = model.log_prob(x[likely], draws=20_000).nats
    means = [*(b.mean(0) for b in bounds), truth]
    errors = [*(b.std(0) / 500**0.5 for b in bounds), torch.zeros_like(truth)]
    for k in range(3):
        assert (means[k] <= means[k + 1] + 4 * (errors[k] + errors[k + 1])).all()
        assert means[k].mean() < means[k + 1].mean() - 1e-4
    assert torch.allclose(close, truth[likely], atol=0.05)


@pytest.mark.parametrize("estimator", ["iwae", "dreg"])
def test_the_logged_value_is_the_logarithm_of_the_mean_weight(estimator):
    """And not sum_i w~_i log w_i, which has the same gradient but is too high by log k minus the entropy of w~."""
    model = IWAE(replace(BINARY, estimator=estimator))
    with torch.no_grad():
        model.encoder[-1].bias.fill_(1.5)  # a poor encoder, so that the weights differ
    x = every_image(BINARY.x)
    loss = model.loss(Batch(x, None, StepNoise(3, len(x), slice(None))), Clock(0, 0.0))
    q, p = model.encode(x), model.prior()
    z = q.mean + q.stddev * StepNoise(3, len(x), slice(None)).normal(5, 1).movedim(1, 0)
    log_w = model.decode(z).log_prob(x) + p.log_prob(z) - q.log_prob(z)
    assert log_w.shape == (5, len(x))
    assert loss.value.item() == pytest.approx(-log_w.exp().mean(0).log().mean().item(), abs=1e-5)
    share = log_w.softmax(0)
    assert (share * log_w).sum(0).mean() > -loss.value + 0.1
    assert loss.logs["one_draw"].item() == pytest.approx(-log_w.mean().item(), abs=1e-5)
    assert loss.logs["one_draw"] > loss.value + 0.1
    assert 1 < loss.logs["draws"] < 5


def test_the_best_draw_moves_the_bound_the_most():
    """The popular mistake: a softmax over the losses, which favors the worst draws."""
    log_w = torch.tensor([[-3.0], [0.0], [-1.0]], requires_grad=True)
    importance_weighted(log_w).sum().backward()
    assert torch.allclose(log_w.grad, log_w.softmax(0))
    assert log_w.grad[1] == log_w.grad.max()
    assert importance_weighted(torch.full((7, 2), -1e4)).tolist() == [-1e4, -1e4]


def test_parts_give_the_bound_of_the_whole():
    log_w = torch.randn(10, 3)
    rows, sizes = iter(log_w), []

    def weigh(k):
        sizes.append(k)
        return torch.stack([next(rows) for _ in range(k)])

    found = importance_weighted_in_parts(weigh, 10, 2**22)
    assert sizes == [4, 4, 2] and torch.allclose(found, importance_weighted(log_w))


def gradients(estimator, draws, chunks, each=4000):
    """The gradient's mean over `chunks` times `each` steps on one image, and its standard error, for each weight."""
    torch.manual_seed(1)
    model = IWAE(replace(BINARY, estimator=estimator, draws=draws)).double()
    with torch.no_grad():
        model.encoder[-1].bias.fill_(0.7)
    x = torch.tensor([1.0, -1.0, 1.0, 1.0]).double().view(1, 1, 2, 2).expand(each, -1, -1, -1)
    found = []
    for seed in range(chunks):
        model.zero_grad()
        model.loss(Batch(x, None, StepNoise(seed, each, slice(None))), Clock(0, 0.0)).value.backward()
        found.append(torch.cat([w.grad.flatten() for w in model.parameters()]))
    table = torch.stack(found)
    encoder = sum(w.numel() for w in model.encoder.parameters())
    return table.mean(0), table.std(0) / chunks**0.5, encoder, table


@pytest.mark.parametrize("draws", [1, 5])
def test_both_estimators_have_the_same_mean(draws):
    plain, error, encoder, first = gradients("iwae", draws, 40)
    other, other_error, _, second = gradients("dreg", draws, 40)
    z = (plain - other) / (error.square() + other_error.square()).sqrt().clamp(min=1e-12)
    assert z[:encoder].abs().max() < 4.5
    # the decoder's gradient is the very same; the encoder's is another function of the noise
    assert torch.allclose(first[:, encoder:], second[:, encoder:])
    assert not torch.allclose(first[:, :encoder], second[:, :encoder], rtol=1e-2)


def test_the_doubly_reparameterized_gradient_is_less_noisy_for_many_draws():
    _, error, encoder, _ = gradients("iwae", 50, 8, each=500)
    _, other, _, _ = gradients("dreg", 50, 8, each=500)
    assert other[:encoder].norm() < 0.7 * error[:encoder].norm()


def test_the_doubly_reparameterized_gradient_is_equation_8():
    """sum_i w~_i^2 (d log w_i / dz_i) (dz_i / dphi), written out."""
    model = IWAE(replace(BINARY, estimator="dreg")).double()
    x = every_image(BINARY.x).double()
    model.loss(Batch(x, None, StepNoise(3, len(x), slice(None))), Clock(0, 0.0)).value.backward()
    found = [w.grad.clone() for w in model.encoder.parameters()]
    model.zero_grad()
    q, p = model.encode(x), model.prior()
    z = q.mean + q.stddev * StepNoise(3, len(x), slice(None)).normal(5, 1).movedim(1, 0).double()
    still = z.detach().requires_grad_()
    log_w = model.decode(still).log_prob(x) + p.log_prob(still) - q.log_prob(still)
    (slope,) = torch.autograd.grad(log_w.sum(), still, retain_graph=True)
    share = log_w.detach().softmax(0)[..., None]
    (z * share.square() * slope).sum(0).mean().neg().backward()
    for mine, wanted in zip(found, model.encoder.parameters(), strict=True):
        assert torch.allclose(mine, wanted.grad)


def test_likelihoods_say_what_they_are():
    model, x = IWAE(BINARY), every_image(BINARY.x)
    own, one = model.log_prob(x), model.log_prob(x, draws=1)
    assert isinstance(own, LowerBound) and own.measure == "mass" and own.dims == 4
    assert (own.how, one.how) == ("IWAE bound, 5 draws", "ELBO, 1 draw")


def test_images_outside_the_space_are_refused():
    model = IWAE(BINARY)
    with pytest.raises(UsageError, match="levels"):
        model.log_prob(torch.zeros(1, 1, 2, 2))
    with pytest.raises(UsageError, match="estimator"):
        from triptych.io import configs

        configs.from_json(IWAEConfig, {"estimator": "stl"})
