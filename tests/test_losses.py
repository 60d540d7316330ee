"""Adversarial losses and pixel likelihoods, against what is known of them on paper."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from triptych.losses import adversarial, pictures
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened


def on_a_grid(loc, scale):
    """How many of about 10,000 samples of a Gaussian fall on each of 61 points, and which point each sample is."""
    counts = (1e4 * Normal(loc, scale).log_prob(torch.linspace(-3, 3, 61)).exp() * 0.1).round().long() + 1
    return counts, torch.repeat_interleave(torch.arange(61), counts)


def test_the_best_discriminator_of_two_gaussians_is_the_ratio_of_their_densities():
    (p, real), (q, fake) = on_a_grid(-0.5, 0.6), on_a_grid(0.7, 0.9)
    p, q = p.double() / p.sum(), q.double() / q.sum()
    logits = (p / q).log().requires_grad_()  # D = p / (p + q)
    loss = adversarial.discriminator(logits[real], logits[fake])
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-15
    m = (p + q) / 2
    divergence = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    assert loss.item() == pytest.approx(2 * math.log(2) - 2 * divergence.item(), rel=1e-12)
    for other in (logits + 0.1, logits * 0.9, torch.zeros_like(logits)):
        assert adversarial.discriminator(other[real], other[fake]) > loss


def test_at_equilibrium_the_loss_is_two_log_two():
    assert adversarial.discriminator(torch.zeros(7), torch.zeros(5)).item() == pytest.approx(2 * math.log(2))


def test_the_two_generator_losses_differ_in_where_they_push():
    logits = torch.linspace(-30, 30, 25, dtype=torch.float64, requires_grad=True)
    d = logits.detach().sigmoid()
    (pushes,) = torch.autograd.grad(adversarial.non_saturating(logits), logits)
    (saturates,) = torch.autograd.grad(adversarial.saturating(logits), logits)
    assert torch.allclose(pushes, (d - 1) / 25, atol=1e-9)
    assert torch.allclose(saturates, -d / 25, atol=1e-9)
    assert pushes[0] < -0.039 and abs(saturates[0]) < 1e-12  # where the discriminator is sure of a fake


@pytest.mark.parametrize("loss", [adversarial.non_saturating, adversarial.saturating])
def test_losses_are_finite_at_any_logit(loss):
    logits = torch.tensor([-1e4, -100.0, 100.0, 1e4], requires_grad=True)
    value = loss(logits) + adversarial.discriminator(logits, logits)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite() and gradient.isfinite().all()


def test_binary_is_the_bernoulli_distribution_on_our_scale():
    logits = torch.linspace(-60, 60, 121, dtype=torch.float64)
    p, x = Binary(logits), torch.tensor([-1.0, 1.0], dtype=torch.float64)[:, None]
    assert torch.allclose(p.log_prob(x).exp().sum(0), torch.ones_like(logits), rtol=0, atol=1e-14)
    assert torch.allclose(p.log_prob(x), Bernoulli(logits=logits).log_prob((x + 1) / 2), rtol=1e-12)
    assert torch.allclose(p.mean, (x * p.log_prob(x).exp()).sum(0), atol=1e-14)
    assert p.sample((3,)).shape == (3, 121) and set(p.sample((50,)).unique().tolist()) == {-1.0, 1.0}


LOC = torch.tensor([-1.2, -1, -0.37, 0, 0.004, 0.9, 1, 1.5], dtype=torch.float64)
LOG_SCALE = torch.linspace(-7, -1, 13, dtype=torch.float64)[:, None]


def levels_of(levels, dtype):
    return (torch.arange(levels, dtype=torch.float64) * 2 / (levels - 1) - 1).to(dtype)[:, None, None]


@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_the_discretized_logistic_sums_to_one_with_its_edges(levels, dtype, tolerance):
    p, x = DiscretizedLogistic(LOC.to(dtype), LOG_SCALE.to(dtype), levels), levels_of(levels, dtype)
    mass = p.log_prob(x).exp()
    assert (mass.sum(0) - 1).abs().max() < tolerance
    assert torch.allclose(p.mean, (x * mass).sum(0), atol=tolerance)


def test_the_discretized_logistic_is_the_mass_between_a_bins_edges():
    p, x = DiscretizedLogistic(LOC, LOG_SCALE, 256), levels_of(256, torch.float64)
    scale = LOG_SCALE.exp()
    inner = ((x + 1 / 255 - LOC) / scale).sigmoid() - ((x - 1 / 255 - LOC) / scale).sigmoid()
    assert torch.allclose(p.log_prob(x).exp()[1:-1], inner[1:-1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("levels", [2, 256])
def test_uniforms_fall_on_levels_as_often_as_their_mass_says(levels):
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for p in (DiscretizedLogistic(torch.tensor(0.31), torch.tensor(-2.0), levels), Binary(torch.tensor(0.7))):
        n = getattr(p, "levels", 2)
        k = ((p.icdf(u) + 1) * (n - 1) / 2).round().long()
        assert torch.allclose(p.icdf(u), levels_of(n, torch.float64)[k, 0, 0].to(p.icdf(u).dtype), atol=1e-6)
        assert (k.diff() >= 0).all()
        mass = p.log_prob(levels_of(n, torch.float64).flatten()).exp()
        assert (k.bincount(minlength=n) / 20_000 - mass).abs().max() < 2e-4


def test_the_smallest_uniform_is_the_lowest_level():
    zero = torch.zeros(())
    assert DiscretizedLogistic(torch.tensor(3.0), zero, 256).icdf(zero) == -1
    assert DiscretizedLogistic(torch.tensor(3.0), zero, 256).sample((4,)).shape == (4,)


def test_far_from_its_location_the_discretized_logistic_keeps_a_gradient():
    loc = torch.tensor(-1.0, requires_grad=True)
    nats = DiscretizedLogistic(loc, torch.tensor(-7.0), 256).log_prob(torch.tensor(1.0))
    (gradient,) = torch.autograd.grad(nats, loc)
    assert nats.isfinite() and gradient.item() == pytest.approx(math.exp(7), rel=1e-3)


def test_least_squares_are_at_their_least_where_the_cross_entropy_is():
    (p, real), (q, fake) = on_a_grid(-0.5, 0.6), on_a_grid(0.7, 0.9)
    p, q = p.double() / p.sum(), q.double() / q.sum()
    scores = (p / (p + q)).requires_grad_()
    loss = adversarial.least_squares_discriminator(scores[real], scores[fake])
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.abs().max() < 1e-15
    pearson = ((p - q).square() / (p + q)).sum()  # Mao et al., Section 3.2, of p + q against 2 q, up to constants
    assert loss.item() == pytest.approx(0.5 * (p * q / (p + q)).sum().item())
    assert loss.item() == pytest.approx((2 - pearson.item()) / 8)


def test_the_least_squares_generator_is_drawn_to_one_from_both_sides():
    scores = torch.tensor([-1.0, 1.0, 4.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(adversarial.least_squares_generator(scores), scores)
    assert torch.allclose(gradient, torch.tensor([-2.0, 0.0, 3.0]) / 3)


def test_an_impossible_level_is_not_drawn_at_either_end():
    u = torch.tensor([0.0, 1 - 2**-24])
    for sure in (-200.0, 200.0):
        assert Binary(torch.full((2,), sure)).icdf(u).tolist() == [1.0 if sure > 0 else -1.0] * 2
    p = DiscretizedLogistic(torch.tensor(0.5), torch.tensor(-7.0), 256)
    assert (p.log_prob(p.icdf(u)) > -40).all() and (p.icdf(u) - 0.5).abs().max() < 0.05
    flat = DiscretizedLogistic(torch.tensor(0.5), torch.tensor(-200.0), 256)  # a scale that underflows to 0
    assert flat.icdf(u).isfinite().all()


def test_likelihoods_and_losses_of_bfloat16_logits_are_of_float32():
    logits = (10 * torch.randn(500)).bfloat16()
    exact = logits.double()
    for loss in (adversarial.non_saturating, adversarial.saturating, adversarial.least_squares_generator):
        assert loss(logits).item() == pytest.approx(loss(exact).item(), rel=1e-5)
    ahead, behind = 300 + logits, 300 + logits.flip(0)
    for loss in (adversarial.relativistic, adversarial.discriminator, adversarial.hinge_discriminator):
        assert loss(ahead, behind).item() == pytest.approx(loss(ahead.double(), behind.double()).item(), rel=1e-5)
    x = torch.ones(500)
    for a, b in (
        (Binary(logits), Binary(exact)),
        (DiscretizedLogistic(logits, logits / 10, 256), DiscretizedLogistic(exact, (logits / 10).double(), 256)),
    ):
        assert torch.allclose(a.log_prob(x).double(), b.log_prob(x.double()), rtol=1e-4, atol=1e-5)


def test_the_energy_score_is_least_for_answers_that_are_spread_as_the_truth_is():
    x, one, other = torch.randn(3, 200_000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    assert pictures.energy(x, one, other).item() == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)
    zero = torch.zeros_like(x)
    assert pictures.energy(x, zero, zero).item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)
    wide = math.sqrt(5 * 2 / math.pi) - 2 / math.sqrt(math.pi)
    assert pictures.energy(x, 2 * one, 2 * other).item() == pytest.approx(wide, abs=0.01)


@pytest.mark.parametrize("beta,power", [(0.0, -1), (0.5, 0), (1.0, 1)])
def test_evened_pixels_pull_as_their_errors_do(beta: float, power: int):
    """Of errors that are as large as they are said to be: of 2 scales each, of a scale of .01 and of .1."""
    scale = torch.tensor([0.01, 0.1], dtype=torch.float64)
    loc = (2 * scale).requires_grad_()
    p = DiscretizedLogistic(loc, scale.log(), 2**17 + 1)  # bins so fine that it is all but a density
    nats = -p.log_prob(torch.zeros(2, dtype=torch.float64))
    (pull,) = torch.autograd.grad(evened(p, nats, beta).sum(), loc)
    assert (pull[1] / pull[0]).item() == pytest.approx(10.0**power, rel=1e-5)


def test_two_levels_have_no_scale_to_be_evened_by():
    p = Binary(torch.tensor([0.3, -2.0]))
    nats = -p.log_prob(torch.ones(2))
    assert torch.equal(evened(p, nats, 1.0), nats)


def test_balanced_weights_are_one_in_the_mean_over_each_x():
    """A picture that is surer than another throughout is worth no less, and in each the ground no more."""
    log_scale = torch.tensor([[-1.0, -2.0, -3.0], [-5.0, -6.0, -7.0]])
    p = DiscretizedLogistic(torch.zeros(2, 3), log_scale, 256)
    found = evened(p, torch.ones(2, 3), 1.0, balanced=True)
    torch.testing.assert_close(found.mean(1), torch.ones(2))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[:, 0] / found[:, 1], torch.full((2,), 2.0).exp())
