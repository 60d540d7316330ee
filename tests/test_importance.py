"""Importance sampling, on models whose likelihood is known."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from triptych.core import Generative, Images, Label, Labels, Points, UsageError, config
from triptych.inference.importance import importance_sampling
from triptych.models.gan.gan import GAN
from triptych.models.gan.gan import PRESETS as GANS
from triptych.models.vae.vae import VAE, VAEConfig


@config
class LinearConfig:
    x: Points = Points(3)
    given: Labels = Labels(2)


class Linear(Generative[Label]):
    """x = W z + shift[y] + noise: p(x | y) is a Gaussian; so is p(z | x, y), which the encoder widens by a factor."""

    name = "linear"

    def __init__(self, widen):
        super().__init__()
        self.config, self.widen = LinearConfig(), widen
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 2, generator=generator, dtype=torch.float64))
        self.shift = torch.tensor([0.0, 2.0], dtype=torch.float64)

    def prior(self, given):
        return Independent(Normal(torch.zeros(2).double(), 1.0), 1)

    def encode(self, x, given):
        precision = torch.eye(2).double() + self.weight.T @ self.weight / 0.25
        mean = (x - self.shift[given.y, None]) @ self.weight / 0.25 @ precision.inverse()
        return MultivariateNormal(mean, precision.inverse() * self.widen)

    def decode(self, z, given):
        return Independent(Normal(z @ self.weight.T + self.shift[given.y, None], 0.5), 1)

    def exact(self, x, given):
        covariance = self.weight @ self.weight.T + 0.25 * torch.eye(3).double()
        return MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(x - self.shift[given.y, None])

    def draw(self, noise, given):
        raise NotImplementedError

    def stages(self):
        return []


def points(n=40):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64), Label(torch.arange(n) % 2)


def test_with_the_true_posterior_every_draw_is_exact():
    (x, given), model = points(), Linear(widen=1)
    answer = importance_sampling(model, x, given, draws=3)
    assert torch.allclose(answer.nats, model.exact(x, given), rtol=1e-9)
    assert answer.stderr.max() < 1e-6
    assert (answer.measure, answer.dims) == ("density", 3)
    assert answer.how == "importance sampling, 3 draws from q(z|x)"


@pytest.mark.parametrize(("n", "draws", "chunk"), [(10, 30, 1), (40, 1000, 700), (40, 1000, 2**21)])
def test_with_another_the_truth_lies_within_the_errors(n, draws, chunk):
    (x, given), model = points(n), Linear(widen=3)
    answer = importance_sampling(model, x, given, draws=draws, chunk=chunk)
    off = (answer.nats - model.exact(x, given)) / answer.stderr
    assert (answer.stderr > 0).all() and off.abs().max() < 4.5 and off.square().mean() < 2.5


def test_the_standard_error_is_the_spread_over_seeds():
    (x, given), model = points(1), Linear(widen=2)
    many = Label(given.y.expand(2000))
    answers = importance_sampling(model, x.expand(2000, -1), many, draws=200)
    assert answers.stderr.mean().item() == pytest.approx(answers.nats.std().item(), rel=0.1)


def enumerate_binary():
    bits = torch.arange(16)[:, None] >> torch.arange(4) & 1
    return (2 * bits - 1).float().view(16, 1, 2, 2)


def test_a_vaes_estimates_sum_to_one_over_all_images():
    torch.manual_seed(3)
    model = VAE(VAEConfig(x=Images(1, 2, 2, levels=2), latent=1, hidden=(8,)))
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(2)
        z = torch.linspace(-9, 9, 3001)[:, None, None]
        x = enumerate_binary()
        joint = (model.decode(z).log_prob(x) + model.prior().log_prob(z)).double()
        exact = joint.logsumexp(0) + math.log(18 / 3000)
    answer = importance_sampling(model, x, draws=4000)
    assert answer.nats.dtype == torch.float64 and answer.measure == "mass"
    assert ((answer.nats - exact).abs() < 3.5 * answer.stderr + 1e-5).all()
    assert answer.nats.exp().sum().item() == pytest.approx(1, abs=0.02)
    assert answer.stderr.max() < 0.05


def test_answers_follow_from_the_seed_and_leave_torchs_generator_alone():
    (x, given), model = points(5), Linear(widen=2)
    state = torch.random.get_rng_state()
    first, again, other = (importance_sampling(model, x, given, draws=20, seed=s).nats for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not first.requires_grad and model.training


def test_no_examples_have_no_likelihoods():
    x, given = points(0)
    assert importance_sampling(Linear(widen=1), x, given).nats.shape == (0,)


def test_what_cannot_be_answered_is_refused():
    (x, given), model = points(2), Linear(widen=1)
    with pytest.raises(UsageError, match="draws >= 2"):
        importance_sampling(model, x, given, draws=1)
    with pytest.raises(UsageError, match="needs a condition"):
        importance_sampling(model, x)
    with pytest.raises(UsageError, match="shape"):
        importance_sampling(model, x[:, :2], given)
    with pytest.raises(UsageError, match="gan has none"):
        importance_sampling(GAN(GANS["gan-tiny"].config), torch.zeros(1, 1, 4, 4))
    vae = VAE(VAEConfig(x=Images(1, 2, 2, levels=2), latent=1, hidden=(2,)))
    with pytest.raises(UsageError, match="level"):
        importance_sampling(vae, torch.zeros(1, 1, 2, 2))
