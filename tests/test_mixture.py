"""The mixture of discretized logistics: normalized, edges open, colors in order, two ways to the same probabilities."""

from itertools import product

import pytest
import torch

from triptych.losses.mixture import LogisticMixture, log_masses, parameters_of
from triptych.losses.pixels import DiscretizedLogistic


def grid(levels, dtype=torch.float64):
    return (torch.arange(levels, dtype=torch.float64) * 2 / (levels - 1) - 1).to(dtype)


def single(loc, log_scale, levels=256, dtype=torch.float64):
    """One component, one channel, for a batch of locations."""
    loc = torch.as_tensor(loc, dtype=dtype)
    rows = torch.stack((torch.zeros_like(loc), loc, torch.full_like(loc, log_scale)), 1)
    return LogisticMixture(rows, 1, levels)


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("log_scale", [-7.0, -5.0, -3.0, -1.0])
def test_256_bins_sum_to_one(log_scale, dtype, tolerance):
    loc = torch.linspace(-1.2, 1.5, 28)
    p = single(loc, log_scale, dtype=dtype)
    x = grid(256, dtype).expand(28, 256)[:, None]
    total = torch.stack([p.log_prob(x[..., k]) for k in range(256)]).exp().sum(0)
    assert (total - 1).abs().max() < tolerance
    assert (p.logits(0, x[..., 0]).exp().sum(-1) - 1).abs().max() < tolerance


def test_0_and_255_take_what_is_beyond():
    """255 is x = 1 on our scale; whoever divides by 128 has to move the test for the edge."""
    p = single([-1.0, 0.0, 1.0, 1.5], -2.0)
    ends = p.logits(0, torch.zeros(4, 1, dtype=torch.float64)).exp()[:, [0, -1]]
    z = torch.tensor([-1.0, 0.0, 1.0, 1.5], dtype=torch.float64)
    s = torch.tensor(-2.0, dtype=torch.float64).exp()
    assert torch.allclose(ends[:, 0], ((-1 + 1 / 255 - z) / s).sigmoid())
    assert torch.allclose(ends[:, 1], ((z - 1 + 1 / 255) / s).sigmoid())
    top = p.log_prob(torch.ones(4, 1, dtype=torch.float64)).exp()
    assert torch.allclose(top, ends[:, 1])


@pytest.mark.parametrize("levels", [2, 3, 256])
def test_all_levels_at_once_are_each_levels_own(levels):
    p = DiscretizedLogistic(torch.randn(7, 3).double() * 2, torch.rand(7, 3).double() * 8 - 7, levels)
    each = torch.stack([p.log_prob(x) for x in grid(levels)], -1)
    assert torch.allclose(log_masses(p), each, rtol=1e-9, atol=1e-12)


def test_scales_have_a_floor():
    assert torch.equal(single([0.3], -9.0).log_scale, single([0.3], -7.0).log_scale)
    assert parameters_of(3, 10) == 100 and parameters_of(1, 10) == 30 and parameters_of(2, 1) == 6


@pytest.mark.parametrize("channels,levels", [(1, 9), (2, 5), (3, 4), (3, 2), (4, 2)])
def test_a_pixel_sums_to_one_and_the_chain_rule_gives_the_joint(channels, levels):
    parameters = torch.randn(1, parameters_of(channels, 3), dtype=torch.float64)
    states = torch.tensor(list(product(range(levels), repeat=channels)))
    x = grid(levels)[states]
    p = LogisticMixture(parameters.expand(len(x), -1), channels, levels)
    assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-12)
    chain = sum(p.logits(c, x).gather(-1, states[:, c : c + 1]).squeeze(-1) for c in range(channels))
    assert torch.allclose(chain, p.log_prob(x), atol=1e-11)


def test_locations_move_with_the_true_earlier_colors():
    """mu_blue = m_blue + beta red + gamma green, of what the pixel is, not of what was expected (one component)."""
    m, (alpha, beta, gamma) = torch.tensor([0.1, -0.2, 0.3]), torch.tensor([0.5, -0.4, 0.7])
    numbers = torch.cat((torch.zeros(1), m, torch.full((3,), -3.0), torch.stack((alpha, beta, gamma)).atanh()))
    p, x = LogisticMixture(numbers[None], 3, 256), torch.tensor([[0.8, -0.6, 0.0]])
    locations = [p.components(c, x).loc.item() for c in range(3)]
    assert locations == pytest.approx([0.1, -0.2 + 0.5 * 0.8, 0.3 - 0.4 * 0.8 + 0.7 * -0.6], abs=1e-6)


def test_no_factor_looks_at_later_colors():
    p, x = (
        LogisticMixture(torch.randn(2, 30, 2, 2, requires_grad=True), 3, 8),
        torch.rand(2, 3, 2, 2, requires_grad=True),
    )
    for c in range(3):
        (gradient,) = torch.autograd.grad(p.logits(c, x).square().sum(), x, allow_unused=True)
        seen = [False] * 3 if gradient is None else gradient.abs().sum((0, 2, 3)).gt(0).tolist()
        assert seen == [k < c for k in range(3)]


def test_the_component_is_chosen_once_for_all_colors():
    """Two components far apart, of equal weight: after red, there is no doubt about green."""
    numbers = torch.zeros(6, 2)
    numbers[1:3] = torch.tensor([-0.5, 0.5])
    numbers[3:5] = -5.0
    p = LogisticMixture(numbers.view(1, -1), 2, 256)
    red = p.logits(0, torch.zeros(1, 2)).exp()[0]
    green = p.logits(1, torch.tensor([[0.5, 0.0]])).exp()[0]
    assert red[:128].sum().item() == pytest.approx(0.5, abs=1e-3)
    assert green[:128].sum() < 1e-6 and green[128:].sum().item() == pytest.approx(1, abs=1e-5)


def test_likelihoods_and_gradients_are_finite_far_off():
    numbers = torch.tensor([[0.0, -40.0, -20.0]], requires_grad=True)
    p = LogisticMixture(numbers, 1, 256)
    for value in (p.log_prob(torch.ones(1, 1)).sum(), p.logits(0, torch.ones(1, 1)).sum()):
        (gradient,) = torch.autograd.grad(value, numbers, retain_graph=True)
        assert value.isfinite() and gradient.isfinite().all()


def test_pixels_are_drawn_as_often_as_they_are_likely():
    """Of three colors that depend on one another."""
    n, table = 40_000, torch.randn(1, parameters_of(3, 2), 1)
    x = LogisticMixture(table.expand(n, -1, -1), 3, 4).icdf(torch.rand(n, 4, 1))
    level = ((x + 1) * 1.5).round().long()
    assert torch.allclose(x, level / 1.5 - 1, atol=1e-6)
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)[..., None]
    expected = n * LogisticMixture(table.expand(64, -1, -1), 3, 4).log_prob(every / 1.5 - 1)[:, 0].exp()
    seen = torch.bincount((level[..., 0] * torch.tensor([16, 4, 1])).sum(1), minlength=64)
    assert expected.sum().item() == pytest.approx(n, rel=1e-5)
    assert (((seen - expected) / expected.sqrt())[expected > 5].abs() < 4.5).all()


def test_a_mixture_of_one_draws_from_it():
    u = torch.rand(50, 2)
    p = single(torch.randn(50), -2.0)
    assert torch.equal(p.icdf(u)[:, 0], DiscretizedLogistic(p.loc[:, 0, 0], p.log_scale[:, 0, 0], 256).icdf(u[:, 1]))


def test_the_mean_is_that_of_what_is_drawn():
    """Where the scales are fine enough for bins and edges not to matter."""
    table = 0.3 * torch.randn(1, parameters_of(3, 2), 2)
    table[:, 8:14] = -4.0  # of either component: a weight, three locations, three scales, three coefficients
    x = LogisticMixture(table.expand(20_000, -1, -1), 3, 256).icdf(torch.rand(20_000, 4, 2))
    error = x.std(0) / 20_000**0.5 + 1e-4
    assert ((x.mean(0) - LogisticMixture(table, 3, 256).mean[0]).abs() < 4.5 * error).all()
