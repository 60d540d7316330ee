"""Gradient penalties, against critics whose gradients are known."""

from functools import partial

import pytest
import torch
from torch import nn

from triptych.core import full, precisely
from triptych.losses import penalties

W = torch.tensor([3.0, -4.0], dtype=torch.float64)


def linear(x):
    return x @ W + 7


def test_the_penalties_of_a_linear_critic_follow_from_its_slope():
    x = penalties.watched(torch.randn(5, 2, dtype=torch.float64))
    assert penalties.squared_gradient(linear(x), x).item() == pytest.approx(25)
    assert penalties.unit_gradient(linear(x), x).item() == pytest.approx((5 - 1) ** 2)


def test_each_item_has_its_own_gradient():
    x = penalties.watched(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    scores = x.square().sum(1)  # gradient 2 x
    assert torch.equal(penalties.gradients(scores, x), 2 * x)
    assert penalties.squared_gradient(scores, x).item() == pytest.approx(4 * (1 + 4 + 9 + 16) / 2)
    assert penalties.unit_gradient(scores, x).item() == pytest.approx(((20**0.5 - 1) ** 2 + (10 - 1) ** 2) / 2)


def test_images_count_as_one_vector_each():
    x = penalties.watched(torch.randn(3, 2, 4, 5))
    assert penalties.squared_gradient((2 * x).sum((1, 2, 3)), x).item() == pytest.approx(4 * 40)


@pytest.mark.parametrize("penalty", [penalties.squared_gradient, penalties.unit_gradient])
def test_a_penalty_has_a_gradient_with_respect_to_the_critic(penalty):
    critic = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()
    x = penalties.watched(torch.randn(4, 2, dtype=torch.float64))
    weight = critic[0].weight
    (gradient,) = torch.autograd.grad(penalty(critic(x), x), weight)
    step = torch.zeros_like(weight)
    step[3, 1] = 1e-6
    with torch.no_grad():
        weight += step
    above = penalty(critic(x), x).item()
    with torch.no_grad():
        weight -= 2 * step
    below = penalty(critic(x), x).item()
    assert gradient[3, 1].item() == pytest.approx((above - below) / 2e-6, rel=1e-5)


def test_a_watched_x_is_a_leaf():
    w = torch.ones(3, requires_grad=True)
    x = penalties.watched(w * 2)
    assert x.is_leaf and x.requires_grad and torch.equal(x, w * 2)


def test_between_lies_on_the_line_at_one_place_an_item():
    real, fake = torch.ones(3, 2, 4, 4), torch.zeros(3, 2, 4, 4)
    u = torch.tensor([0.0, 0.25, 0.75])
    x = penalties.between(real, fake, u)
    assert x.requires_grad and torch.equal(x, u.view(3, 1, 1, 1).expand_as(x))


def in_bfloat16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def test_penalties_are_of_float32_inside_of_bfloat16():
    """The very numbers that they are outside, though what is watched and judged comes from rounded layers."""
    critic = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1), nn.Flatten(0))
    maker, u = nn.Linear(6, 6), torch.rand(8)
    real = torch.randn(8, 6)
    with in_bfloat16():
        fake = maker(torch.randn(8, 6))
        assert fake.dtype == torch.bfloat16
        inside = values(critic, real, fake, u)
    outside = values(critic, real, fake.float(), u)
    for found in (inside, outside):
        found += torch.autograd.grad(sum(found), critic[0].weight)
    assert all(a.dtype == torch.float32 for a in inside)
    torch.testing.assert_close(inside, outside, rtol=1e-4, atol=1e-6)


def values(critic, real, fake, u):
    x, middle, aside = penalties.watched(real), penalties.between(real, fake, u), full(fake) + 0.01
    score = partial(precisely, critic)
    return [
        penalties.squared_gradient(score(x), x),
        penalties.unit_gradient(score(middle), middle),
        penalties.squared_difference(score(fake), score(aside), 0.01),
        penalties.alike(critic[0].weight),
    ]


def test_precision_is_given_back():
    with in_bfloat16():
        assert precisely(torch.mm, torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    assert precisely(sum, [torch.ones(2).bfloat16(), torch.ones(2)]).dtype == torch.float32
    assert full(torch.ones(1).half()).dtype == torch.float32 and full(torch.ones(1).double()).dtype == torch.float64
