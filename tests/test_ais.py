"""Annealed importance sampling, on models whose likelihood is known."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import triptych as tt
from triptych.core import Estimate, Images, ItemNoise, Label, Labels, Points, UsageError
from triptych.inference import ais as module
from triptych.inference.ais import Annealing, Posterior, ais, backward, bdmc, forward, log_mean, move, tune
from triptych.inference.generators import Chosen, Generator, Observed
from triptych.inference.importance import importance_sampling
from triptych.models.autoregressive.darn import DARN, DARNConfig
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.models.gan.gan import GAN, GANConfig
from triptych.models.vae.vae import VAE, VAEConfig
from triptych.testing import LinearGaussian, LinearGaussianConfig


def linear(**fields: float) -> LinearGaussian:
    return LinearGaussian(LinearGaussianConfig(x=Points(4), latent=2, noise=2.0, **fields))


def tiny_vae() -> VAE:
    """Sharper than at initialization, so that z matters."""
    torch.manual_seed(3)
    model = VAE(VAEConfig(x=Images(1, 2, 2, levels=2), latent=1, hidden=(8,)))
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(2)
    return model


def all_binary() -> Tensor:
    bits = torch.arange(16)[:, None] >> torch.arange(4) & 1
    return (2 * bits - 1).float().view(16, 1, 2, 2)


def integrated(model: VAE, x: Tensor) -> Tensor:
    """log p(x), by the trapezoid rule over a one-dimensional latent."""
    z = torch.linspace(-9, 9, 3001)[:, None, None]
    with torch.no_grad():
        joint = (model.decode(z).log_prob(x) + model.prior().log_prob(z)).double()
    return joint.logsumexp(0) + math.log(18 / 3000)


# Known answers


def test_every_bound_in_its_order() -> None:
    """ELBO <= IWAE_5 <= IWAE_50 <= IWAE_5000 <= exact; the last within .01 nat, and AIS within .05."""
    model = linear(widen=1.5, shift=0.5)
    x = model.sample(6, seed=0)
    with torch.no_grad():
        exact, q, p = model.exact(x), model.encode(x), model.posterior(x)
        elbo = exact - torch.distributions.kl_divergence(q, p)
        many = x.repeat_interleave(500, 0)
        means, errors = [elbo], [torch.zeros(6)]
        for draws, rows in ((5, many), (50, many), (5000, x.repeat_interleave(20, 0))):
            bounds = model.log_prob(rows, draws=draws).nats.view(6, -1)
            means.append(bounds.mean(1))
            errors.append(bounds.std(1) / bounds.shape[1] ** 0.5)
    rungs = list(zip([*means, exact], [*errors, torch.zeros(6)], strict=True))
    for (low, a), (high, b) in pairwise(rungs):
        assert (low <= high + 4 * (a + b)).all()
    assert (means[0] < means[1]).all() and (means[1] < means[2]).all() and (means[1] < exact).all()
    assert (means[-1] - exact).abs().max() < 0.01
    assert (importance_sampling(model, x, draws=5000).nats - exact).abs().max() < 0.05

    found = ais(model, x, how=Annealing(100, 512, 5))
    assert isinstance(found, Estimate) and (found.measure, found.dims) == ("density", 4)
    assert (found.nats - exact).abs().max() < 0.05
    assert ((found.nats - exact).abs() < 3 * found.stderr).all() and 0.002 < found.stderr.mean() < 0.03
    assert found.how == "AIS, 100 temperatures, 512 chains, 5 leapfrog steps tuned beforehand"


def test_a_vae_against_numerical_integration() -> None:
    model, x = tiny_vae(), all_binary()
    exact, found = integrated(model, x), ais(model, x, how=Annealing(20, 64, 3))
    assert found.measure == "mass" and found.nats.dtype == torch.float64
    assert ((found.nats - exact).abs() < 3.5 * found.stderr + 1e-5).all() and found.stderr.max() < 0.1
    assert found.nats.exp().sum().item() == pytest.approx(1, abs=0.02)


def test_one_temperature_is_importance_sampling_from_the_prior() -> None:
    model = linear()
    x, how = model.sample(2, seed=0), Annealing(1, 50, 1)
    posterior = Posterior(model, x, None)
    with torch.no_grad():
        z = posterior.starts(50, 5, 0)
        want = log_mean(model.decode(z).log_prob(x))
        found = log_mean(forward(posterior, torch.ones(1, 2), how, 0, 0))
        at_1 = log_mean(model.decode(posterior.starts(50, module.mix(0, 1), 0)).log_prob(x))
    torch.testing.assert_close(found, at_1)
    assert (want[0] - found[0]).abs().max() > 0


def test_weights_have_the_likelihood_as_their_mean_whatever_the_settings() -> None:
    """Not only for many temperatures: forward E[w] = p(x), and backward E[v] = 1 / p(x), for any step."""
    model = linear()
    x = model.sample(1, seed=1).expand(300, -1)
    how = Annealing(5, 32, 2)
    with torch.no_grad():
        posterior, exact = Posterior(model, x, None), model.exact(x[:1])
        z = model.posterior(x).sample()
        for size in (0.3, 1.2):
            steps = torch.full((5, 300), size)
            above, below = forward(posterior, steps, how, 0, 0), backward(posterior, z, steps, how, 0, 0)
            for log_w in (above - exact, below + exact):
                w = log_w.exp().mean(0)  # backward, the chains of an example share their start
                error = w.std().item() / 300**0.5
                assert abs(w.mean().item() - 1) < 4 * error and 0.002 < error < 0.1


def test_moves_leave_the_annealed_distribution_as_it_is() -> None:
    model, beta = linear(), 0.3
    x, n = model.sample(1, seed=2).expand(4000, -1), 4000
    with torch.no_grad():
        precision = torch.eye(2).double() + beta * model.weight.T @ model.weight / 4
        mean = beta * (x - model.bias) @ model.weight @ precision.inverse() / 4
        start = torch.distributions.MultivariateNormal(mean, precision.inverse()).sample()
        posterior = Posterior(model, x, None)
        place, noise = posterior.at(start[None]), ItemNoise(3, range(n))
        for _ in range(5):
            place, chance = move(posterior, place, beta, torch.full((n,), 1.2), noise, 2)
        assert 0.3 < chance.mean() < 0.95
        assert (place.z[0] != start).any(1).float().mean() > 0.9
        assert (place.z[0] - mean).mean(0).abs().max() < 4 * precision.inverse().diagonal().sqrt().max() / n**0.5
        torch.testing.assert_close(place.z[0].T.cov(), precision.inverse(), atol=0.05, rtol=0.1)
        again = posterior.at(place.z)
        for kept, fresh in zip(place, again, strict=True):
            torch.testing.assert_close(kept, fresh)


def test_steps_are_frozen_before_the_chains_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every move of a counting chain takes the step that was tuned for its temperature, on other random numbers."""
    model, used, streams = linear(), [], set()
    x, how = model.sample(3, seed=0), Annealing(6, 4, 2)

    def spy(posterior, place, beta, step, noise, leapfrog):  # type: ignore[no-untyped-def]
        used.append(step.clone())
        streams.add(id(noise))
        return move(posterior, place, beta, step, noise, leapfrog)

    with torch.no_grad():
        posterior = Posterior(model, x, None)
        steps = tune(posterior, how, 0, 0)
        assert steps.shape == (6, 3) and (steps > 0.05).all()
        monkeypatch.setattr(module, "move", spy)
        frozen = steps.clone()
        one = forward(posterior, steps, how, 0, 0)
        assert torch.equal(torch.stack(used), frozen[:5]) and torch.equal(steps, frozen) and len(streams) == 1
        used.clear()
        backward(posterior, torch.zeros(3, 2).double(), steps, how, 0, 0)
        assert torch.equal(torch.stack(used), frozen[:5].flip(0))
        other = forward(posterior, steps, how, 1, 0)  # other chains, the same steps
    assert not torch.equal(one, other)


def test_steps_are_tuned_to_what_is_accepted() -> None:
    model = linear()
    x, how = model.sample(4, seed=0), Annealing(30, 64, 3)
    with torch.no_grad():
        posterior = Posterior(model, x, None)
        steps = tune(posterior, how, 0, 0)
        place, noise = posterior.at(model.posterior(x).sample((64,))), ItemNoise(9, range(4))
        chances = [move(posterior, place, 1.0, steps[-1], noise, 3)[1].mean() for _ in range(5)]
    assert torch.stack(chances).mean().item() == pytest.approx(module.ACCEPTED, abs=0.1)
    assert (steps[-1] < steps[0]).all(), "the posterior is narrower than the prior"


# From both sides


def test_the_truth_lies_in_the_sandwich() -> None:
    model = linear()
    found = bdmc(model, 20, how=Annealing(12, 8, 3))
    with torch.no_grad():
        exact = model.exact(found.x)
    below, above = exact - found.lower.nats, found.upper - exact
    for side in (below, above):
        assert side.mean() > -3 * side.std() / 20**0.5
    assert found.gap == pytest.approx((below + above).mean().item())
    assert 0 < found.gap < 0.3 and 0 < found.stderr < 0.15
    tighter = bdmc(model, 20, how=Annealing(60, 8, 3))
    assert tighter.gap < 0.6 * found.gap


def test_simulated_examples_follow_the_model() -> None:
    model = linear()
    x = bdmc(model, 100, how=Annealing(1, 2, 1)).x
    with torch.no_grad():
        whitened = model.exact(x) - model.exact(model.bias[None])  # -1/2 of a chi-squared of 4 degrees
    assert (-2 * whitened).mean().item() == pytest.approx(4, abs=4 * (8 / 100) ** 0.5)


# Generators


@pytest.mark.parametrize("kind", ["gan", "dcgan"])
def test_a_generator_draws_what_its_noise_says(kind: str) -> None:
    """Its latent is all the noise it spends, uniform numbers as the distribution function of normal ones."""
    if kind == "gan":
        model = GAN(GANConfig(x=Images(1, 4, 4), latent=5, generator_width=8, discriminator_width=4, pieces=2)).eval()
        u = torch.randn(6, 5)
        want = model.generator(u)
    else:
        model = DCGAN(DCGANConfig(x=Images(1, 8, 8), latent=5, width=4)).eval()
        u = torch.randn(6, 5)
        want = model.average.module(2 * torch.special.ndtr(u) - 1)
    generator = Generator(model)
    assert generator.latent() == 5
    torch.testing.assert_close(generator(u), want)
    torch.testing.assert_close(generator(u.view(2, 3, 5)), want.view(2, 3, *want.shape[1:]))


def test_chosen_noise_is_uniform_where_it_should_be() -> None:
    noise = Chosen(torch.tensor([[0.0, 40.0, -40.0, 1.0]]))
    u = noise.uniform(3)
    assert u[0, 0] == 0.5 and u[0, 1] < 1 and u[0, 2] == 0
    assert noise.normal().tolist() == [1.0]


def affine_gan(sigma: float) -> tuple[GAN, LinearGaussian]:
    """A GAN in the plane whose generator is linear, and the same as a linear Gaussian."""
    exact = LinearGaussian(LinearGaussianConfig(x=Points(2), latent=2, noise=sigma))
    model = GAN(GANConfig(x=Points(2), latent=2, generator_width=4, discriminator_width=2, pieces=2)).eval()
    first, _, second, _, last, *_ = model.average.module  # what samples are drawn by
    with torch.no_grad():
        for layer in (first, second, last):
            layer.weight.zero_()
            layer.bias.zero_()
        eye = torch.eye(2)
        first.weight.copy_(torch.cat([eye, -eye]))  # relu(z), relu(-z)
        second.weight.copy_(torch.eye(4))
        last.weight.copy_(torch.cat([exact.weight, -exact.weight], 1))
        last.bias.copy_(exact.bias)
    return model, exact


def test_a_gan_with_stated_noise_has_the_likelihood_that_it_implies() -> None:
    model, linear = affine_gan(0.8)
    x = linear.sample(4, seed=0).float()
    found = ais(model, x, noise=0.8, how=Annealing(40, 128, 5))
    with torch.no_grad():
        exact = linear.exact(x.double())
    assert ((found.nats - exact).abs() < 3.5 * found.stderr).all() and found.stderr.max() < 0.1
    assert found.measure == "density" and found.how.endswith("tuned beforehand, x = G(z) + N(0, 0.8^2)")
    assert bdmc(model, 4, noise=0.8, how=Annealing(20, 8, 3)).x.shape == (4, 2)


def test_coins_around_a_generator() -> None:
    """A density of one latent, integrated; p(x) sums to one over all images."""
    torch.manual_seed(1)
    config = GANConfig(x=Images(1, 2, 2, levels=2), latent=1, generator_width=8, discriminator_width=4, pieces=2)
    model, x = GAN(config).eval(), all_binary()
    observed = Observed(model, "bernoulli")
    z = torch.linspace(-9, 9, 3001)[:, None, None].expand(-1, 16, -1)
    with torch.no_grad():
        joint = (observed.decode(z).log_prob(x) + observed.prior().log_prob(z)).double()
    exact = joint.logsumexp(0) + math.log(18 / 3000)
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-4)
    found = ais(model, x, noise="bernoulli", how=Annealing(5, 64, 2))
    assert ((found.nats - exact).abs() < 4 * found.stderr + 1e-5).all()
    assert found.measure == "mass" and found.how.endswith("coins around G(z)")


class Shifted(LinearGaussian):
    """By class."""

    def decode(self, z, given=None):  # type: ignore[no-untyped-def]
        return torch.distributions.Independent(
            torch.distributions.Normal(z @ self.weight.T + self.bias + 3.0 * given.y[:, None], self.config.noise), 1
        )


def test_conditions_go_with_their_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Shifted(LinearGaussianConfig(x=Points(4), latent=2, noise=2.0))
    monkeypatch.setattr(type(model.config), "given", Labels(2), raising=False)
    y = torch.tensor([0, 1, 1, 0])
    x = torch.randn(4, 4).double() + 3.0 * y[:, None]
    with torch.no_grad():
        exact = model.exact(x - 3.0 * y[:, None])
    found = ais(model, x, Label(y), how=Annealing(20, 64, 3))
    assert ((found.nats - exact).abs() < 4 * found.stderr).all() and found.stderr.max() < 0.1


# Promises


def test_answers_follow_from_the_seed_and_an_item_s_number_alone() -> None:
    model = linear()
    x, how = model.sample(5, seed=0), Annealing(4, 4, 2)
    state = torch.random.get_rng_state()
    together = ais(model, x, how=how, seed=3)
    assert torch.equal(together.nats, ais(model, x, how=how, seed=3).nats)
    apart = torch.cat([ais(model, x[i : i + 2], how=how, seed=3, first=i).nats for i in (0, 2, 4)])
    torch.testing.assert_close(together.nats, apart)
    assert not torch.equal(together.nats, ais(model, x, how=how, seed=4).nats)
    assert torch.equal(state, torch.random.get_rng_state()) and model.training
    assert not together.nats.requires_grad and ais(model, x[:0], how=how).nats.shape == (0,)


def test_temperatures_rise_from_zero_to_one() -> None:
    betas = Annealing(50).betas()
    assert betas[0] == 0 and betas[-1] == 1 and len(betas) == 51 and (betas.diff() > 0).all()
    assert betas.diff().argmax() in (24, 25), "densest at both ends"


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda: tt.create("pixelcnn-tiny"), {}, "own log_prob is exact"),
        (lambda: tt.create("gan-tiny"), {}, r"state what noise .*noise=0\.1"),
        (lambda: tt.create("gan-tiny"), {"noise": -1.0}, "above 0"),
        (lambda: tt.create("gan-tiny"), {"noise": "laplace"}, "above 0"),
        (lambda: tt.create("gan-tiny"), {"noise": "bernoulli"}, "two levels"),
        (lambda: tt.create("vae-tiny"), {"noise": 0.1}, "likelihood of its own; leave out"),
        (lambda: DARN(DARNConfig(x=Images(1, 2, 2, levels=2), hidden=(2,))), {}, "discrete latent"),
    ],
)
def test_what_cannot_be_annealed_is_refused(make, options, words) -> None:  # type: ignore[no-untyped-def]
    model = make()
    for ask in (lambda: ais(model, model.sample(2, seed=0), **options), lambda: bdmc(model, 2, **options)):
        with pytest.raises(UsageError, match=words):
            ask()


@pytest.mark.parametrize("fields", [{"temperatures": 0}, {"chains": 1}, {"leapfrog": 0}])
def test_settings_that_make_no_run_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(fields))}=.*or more"):
        Annealing(**fields)


def test_x_outside_of_the_space_is_refused() -> None:
    with pytest.raises(UsageError, match="levels"):
        ais(tiny_vae(), torch.zeros(1, 1, 2, 2))
    with pytest.raises(UsageError, match="shape"):
        ais(linear(), torch.zeros(1, 5).double())
    with pytest.raises(UsageError, match="2 simulated"):
        bdmc(linear(), 1)
