"""The very deep VAE, at depths so small that its latents can be integrated out."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from triptych.core import Batch, Clock, Images, LowerBound, StepNoise, UsageError
from triptych.models.vae.vdvae import PRESETS, VDVAE, Encoder, VDVAEConfig, divergence

SMALL = VDVAEConfig(
    x=Images(4, 1, 1, levels=2), strides=(), up=(1,), down=(2,), width=8, bottleneck=0.5, latent=1, ema=0.0, clip=50.0
)
GREY = replace(SMALL, x=Images(2, 1, 1, levels=4), components=2)
TINY = PRESETS["vdvae-tiny"].config
AXIS = torch.linspace(-6, 6, 121, dtype=torch.float64)
GRID = torch.cartesian_prod(AXIS, AXIS)
CELL = 0.1**2


def every_image(space):
    levels = range(space.levels)
    return space.from_index(torch.tensor(list(itertools.product(levels, repeat=space.dims))).view(-1, *space.shape))


@pytest.fixture(scope="module", params=[SMALL, GREY], ids=["binary", "grey"])
def fitted(request):
    """A model that has learned that channels are equal, and its last weights as their own average."""
    torch.manual_seed(0)
    model = VDVAE(request.param)
    optimizer = torch.optim.Adam(model.network.parameters(), lr=1e-2)
    values = []
    for step in range(150):
        noise = StepNoise(step, 64, slice(None))
        x = request.param.x.nearest(2 * noise.uniform(1, 1, 1) - 1).expand(-1, *request.param.x.shape)
        loss = model.loss(Batch(request.param.x.from_index(x), None, noise), Clock(step, step / 150))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        values.append(loss.value.item())
    model.average.update(model.network)
    return model.double().eval(), values


def exact(model, x):
    """log p(x), both latents integrated out: standardized, they are N(0, I) whatever the model is."""
    with torch.no_grad():
        p, prior = model.decode(GRID), model.prior().log_prob(GRID)
        joint = [p.log_prob(one.double().expand(len(GRID), -1, -1, -1)) + prior for one in x]
        return torch.stack(joint).logsumexp(1) + math.log(CELL)


def test_training_lowers_the_loss(fitted):
    _, values = fitted
    assert sum(values[-10:]) < 0.8 * sum(values[:10])


def test_bounds_are_ordered(fitted):
    model, _ = fitted
    every = every_image(model.config.x).double()
    x, truth = every.repeat(100, 1, 1, 1), exact(model, every)
    assert truth.exp().sum().item() == pytest.approx(1, abs=1e-7)
    with torch.no_grad():
        bounds = [model.log_prob(x, draws=k).nats.view(100, -1) for k in (1, 5, 50)]
    means = [*(b.mean(0) for b in bounds), truth]
    errors = [*(b.std(0) / 10 for b in bounds), torch.zeros_like(truth)]
    for k in range(3):
        assert (means[k] <= means[k + 1] + 5 * (errors[k] + errors[k + 1])).all()
        assert means[k].mean() < means[k + 1].mean() - 1e-5


def test_samples_come_as_often_as_their_probability_says(fitted):
    model, _ = fitted
    n, space = 4000, model.config.x
    with torch.no_grad():
        x = model.draw(StepNoise(0, n, slice(None)))
    place = space.levels ** torch.arange(space.dims - 1, -1, -1)
    p = exact(model, every_image(space)).exp()
    counts = (space.index(x).flatten(1) * place).sum(1).bincount(minlength=len(p))
    z = (counts - n * p) / (n * p * (1 - p)).sqrt()
    assert z[n * p > 5].abs().max() < 4.5


def test_the_posterior_is_a_distribution_over_all_latents(fitted):
    model, _ = fitted
    x = every_image(model.config.x).double()[[0, 5, 15]]
    with torch.no_grad():
        q = model.encode(x)
        mass = q.log_prob(GRID[:, None].expand(-1, 3, -1)).exp().sum(0) * CELL
    assert torch.allclose(mass, torch.ones(3).double(), atol=2e-2)
    assert q.mean.shape == (3, 2) and model.decode(q.mean).mean.shape == x.shape


def test_one_pass_weighs_as_the_distributions_do():
    model = VDVAE(TINY).double().eval()
    x = every_image(TINY.x).double()
    with torch.no_grad():
        torch.manual_seed(5)
        bound = model.log_prob(x, draws=3).nats
        torch.manual_seed(5)
        q = model.encode(x)
        e = q.sample((3,))
        log_w = model.decode(e).log_prob(x) + model.prior().log_prob(e) - q.log_prob(e)
    assert e.shape == (3, 16, model.latents) and model.latents == 2 + 4
    assert torch.allclose(bound, log_w.logsumexp(0) - math.log(3))


def shaken(model):
    """With weights that nothing special is true of."""
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.empty_like(weight).normal_()
    return model


def test_the_rate_is_the_divergence_of_q_from_p_in_their_own_units():
    block = shaken(VDVAE(TINY).double()).network.decoder.blocks[-1]
    features, heard = torch.empty(2, 5, 4, 2, 2, dtype=torch.float64).normal_()
    _, e, own = block(features, lambda q: q.mean + 0.7 * q.stddev, heard)
    mean, log_sd, _ = torch.split(block.p(features), [1, 1, 4], 1)
    mean_q, log_sd_q = block.q(torch.cat((features, heard), 1)).chunk(2, 1)
    p, q = Normal(mean, log_sd.exp()), Normal(mean_q, log_sd_q.exp())
    rate = kl_divergence(q, p).flatten(1).sum(1)
    assert torch.allclose(divergence(own), rate)
    ratio = (2 * (log_sd_q - log_sd)).exp()
    formula = 0.5 * (ratio + ((mean_q - mean) / log_sd.exp()).square() - 1 - ratio.log())
    assert torch.allclose(rate, formula.sum((1, 2, 3)))
    assert torch.allclose(p.mean + p.stddev * e, q.mean + 0.7 * q.stddev)


def test_the_loss_is_minus_the_bound_a_dimension():
    model = shaken(VDVAE(TINY).double())
    model.average.module.load_state_dict(model.network.state_dict())
    x = every_image(TINY.x).double().repeat(300, 1, 1, 1)
    with torch.no_grad():
        loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
        bound = model.eval().log_prob(x).nats
    assert loss.logs["bound"].item() == pytest.approx((loss.logs["distortion"] + loss.logs["rate"]).item())
    assert loss.value.item() == pytest.approx(loss.logs["bound"].item() / 4)
    assert loss.logs["bound"].item() == pytest.approx(-bound.mean().item(), abs=6 * bound.std().item() / len(x) ** 0.5)


def test_it_begins_as_the_paper_says():
    """Every prior is N(0, I); what blocks add is smaller by the root of their number."""
    config = replace(TINY, down=(5, 4), width=32, latent=8)
    decoder = VDVAE(config).network.decoder
    for block in decoder.blocks:
        assert not block.p[-1].weight.any() and not block.p[-1].bias.any()
        for layer in (block.of_z, block.after.path[-1]):
            bound = (9 * layer.in_channels) ** -0.5
            assert 0.8 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()


def test_grids_shrink_to_one_cell_and_grow_back():
    config = VDVAEConfig(width=4, latent=2, up=(1, 2, 1, 1), down=(1, 2, 3, 2))
    model = VDVAE(config)
    assert [f.shape[2] for f in Encoder(config)(torch.zeros(1, 1, 28, 28))] == [28, 14, 7, 1]
    assert [grid[1] for grid in model.grids] == [1, 1, 7, 7, 7, 14, 14, 28]
    assert model.latents == 2 * (2 + 3 * 49 + 2 * 196 + 784)
    assert model.sample(2, seed=0).shape == (2, 1, 28, 28)
    folded = VDVAE(replace(config, fold=2, strides=(2, 7), up=(1, 1, 1), down=(1, 1, 1)))
    assert [grid[1] for grid in folded.grids] == [1, 7, 14] and folded.sample(2, seed=0).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("x", [Images(1, 4, 6, levels=2), Images(3, 4, 6, levels=5)])
def test_a_folded_pixel_comes_from_its_own_place(x):
    """What the finest latents of a place say reaches the pixels folded into it, if no convolution looks around."""
    model = shaken(VDVAE(VDVAEConfig(x=x, fold=2, strides=(), up=(1,), down=(1,), width=4, latent=1))).eval()
    model.average.module.load_state_dict(model.network.state_dict())
    e = torch.zeros(1, 6)
    other = e.clone()
    other[0, 4] = 3.0  # place (1, 1) of a grid of 2 x 3
    with torch.no_grad():
        moved = (model.decode(e).mean - model.decode(other).mean).abs().amax(1)[0] > 1e-6
    assert torch.equal(moved, torch.tensor([[0] * 6] * 2 + [[0, 0, 1, 1, 0, 0]] * 2, dtype=torch.bool))


def test_samples_and_bounds_come_from_the_average():
    model = VDVAE(replace(TINY, ema=0.9)).eval()
    x = every_image(TINY.x)
    before = model.sample(32, seed=0)
    torch.manual_seed(0)
    bound = model.log_prob(x).nats
    shaken(model.network)
    torch.manual_seed(0)
    assert torch.equal(model.log_prob(x).nats, bound) and torch.equal(model.sample(32, seed=0), before)
    (player,) = model.stages()[0].players
    assert player.owns is model.network and player.clip == TINY.clip
    player.project()
    torch.manual_seed(0)
    assert not torch.equal(model.log_prob(x).nats, bound)


def test_the_paper_s_model_has_its_size():
    with torch.device("meta"):
        model = VDVAE(PRESETS["vdvae-cifar"].config)
    assert round(sum(w.numel() for w in model.network.parameters()) / 1e6) == 39
    assert len(model.grids) == 43


def test_likelihoods_say_what_they_are_and_bad_input_is_refused():
    model, x = VDVAE(TINY).eval(), every_image(TINY.x)
    one, many = model.log_prob(x), model.log_prob(x, draws=7)
    assert isinstance(one, LowerBound) and one.measure == "mass" and one.dims == 4
    assert (one.how, many.how) == ("ELBO, 1 draw", "IWAE bound, 7 draws")
    with pytest.raises(UsageError, match="levels"):
        model.log_prob(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="does not divide 32 x 32"):
        VDVAEConfig(x=Images(3, 32, 32))
    with pytest.raises(ValueError, match="makes 3 grids"):
        VDVAEConfig(strides=(4, 7))
