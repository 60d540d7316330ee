"""Inversion of generators, ways through latent space, and disentanglement of known factors."""

from itertools import product

import pytest
import torch
from torch import Tensor

import triptych as tt
from triptych.core import Points, UsageError
from triptych.inference.generators import Generator
from triptych.inference.inversion import invert
from triptych.inference.latents import spherical, straight, traverse
from triptych.metrics.disentanglement import mutual_information_gap, separated_attribute_predictability
from triptych.models.gan.gan import GAN, GANConfig

# Inversion


def line() -> tuple[GAN, Tensor]:
    """A generator of the points z w, w being a direction in the plane."""
    model = GAN(GANConfig(x=Points(2), latent=1, generator_width=2, discriminator_width=2, pieces=2)).eval()
    first, _, second, _, last, *_ = model.average.module  # what samples are drawn by
    w = torch.tensor([1.5, -0.5])
    with torch.no_grad():
        for layer in (first, second, last):
            layer.weight.zero_()
            layer.bias.zero_()
        first.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        second.weight.copy_(torch.eye(2))
        last.weight.copy_(torch.stack([w, -w], 1))
    return model, w


def test_the_nearest_point_of_a_line_is_the_projection() -> None:
    model, w = line()
    x = torch.tensor([[1.5, -0.5], [0.5, 1.0], [-2.0, 1.0]])
    found = invert(model, x, steps=150, starts=3)
    want = x @ w / w.dot(w)
    torch.testing.assert_close(found.z[:, 0], want, atol=0.01, rtol=0)
    torch.testing.assert_close(found.error, (x - want[:, None] * w).square().mean(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.x, Generator(model)(found.z))
    assert not found.x.requires_grad


def test_inversion_follows_from_the_seed_and_an_item_s_number() -> None:
    model = tt.create("gan-tiny")
    x = model.sample(4, seed=3)
    found = invert(model, x, steps=8, seed=1)
    alone = invert(model, x[2:3], steps=8, seed=1, first=2)
    torch.testing.assert_close(found.z[2:3], alone.z)
    torch.testing.assert_close((found.x - x).square().flatten(1).mean(1), found.error)
    more = invert(model, x, steps=60, seed=1)
    assert (more.error <= found.error).all() and more.error.mean() < 0.7 * found.error.mean()
    assert invert(model, x[:0]).z.shape == (0, 4) and model.training


def test_what_cannot_be_inverted_is_refused() -> None:
    model = tt.create("gan-tiny")
    with pytest.raises(UsageError, match="encode"):
        invert(tt.create("vae-tiny"), torch.ones(1, 1, 2, 2))
    with pytest.raises(UsageError, match="shape"):
        invert(model, torch.ones(1, 1, 2, 2))
    with pytest.raises(UsageError, match="steps=0"):
        invert(model, torch.ones(1, 1, 4, 4), steps=0)


# Ways


def test_ways_begin_and_end_where_they_should() -> None:
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    for way in (straight(a, b, 7), spherical(a, b, 7)):
        assert way.shape == (7, 5, 8)
        torch.testing.assert_close(way[0], a)
        torch.testing.assert_close(way[-1], b)


def test_a_great_circle_keeps_length_and_speed() -> None:
    a, b = (torch.nn.functional.normalize(torch.randn(6, 4, dtype=torch.float64), dim=1) for _ in range(2))
    way = spherical(a, b, 9)
    torch.testing.assert_close(way.norm(dim=-1), torch.ones(9, 6, dtype=torch.float64))
    cosines = (way[1:] * way[:-1]).sum(-1)
    torch.testing.assert_close(cosines, cosines[:1].expand(8, -1))
    assert (straight(a, b, 9)[4].norm(dim=-1) < 1).all()
    lengths = spherical(a, 3 * b, 3).norm(dim=-1)
    torch.testing.assert_close(lengths[1], torch.full((6,), 2.0, dtype=torch.float64))


def test_points_in_one_direction_are_joined_straight() -> None:
    a = torch.randn(2, 5)
    way = spherical(a, 2 * a, 3)
    torch.testing.assert_close(way[1], 1.5 * a)


def test_a_walk_along_one_coordinate() -> None:
    z = torch.randn(3, 4)
    way = traverse(z, 2, [-1.0, 0.0, 5.0])
    assert way.shape == (3, 3, 4) and (way[2, :, 2] == 5).all() and torch.equal(way[1, :, :2], z[:, :2])


def test_ways_that_lead_nowhere_are_refused() -> None:
    a = torch.randn(2, 3)
    for ask, words in (
        (lambda: straight(a, a, 1), "2 points"),
        (lambda: spherical(a, -a, 4), "opposite"),
        (lambda: spherical(a, 0 * a, 4), "origin"),
        (lambda: traverse(a, 3, [0.0]), "0 to 2"),
    ):
        with pytest.raises(UsageError, match=words):
            ask()


# Disentanglement


def grid(*sizes: int) -> Tensor:
    """All combinations of factors: no factor tells of another."""
    return torch.tensor(list(product(*map(range, sizes))))


def test_a_latent_for_each_factor_is_disentangled() -> None:
    factors = grid(3, 4, 5)
    z = torch.stack([2.0 * factors[:, 2], -factors[:, 0].float(), torch.zeros(60), factors[:, 1] / 3], 1)
    for score in (mutual_information_gap, separated_attribute_predictability):
        torch.testing.assert_close(score(z, factors), torch.ones(3, dtype=torch.float64))


def test_two_latents_for_one_factor_are_not() -> None:
    factors = grid(4, 4)
    z = torch.stack([factors[:, 0], factors[:, 0], factors[:, 1]], 1).float()
    for score in (mutual_information_gap, separated_attribute_predictability):
        torch.testing.assert_close(score(z, factors), torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_a_turned_pair_tells_of_both_factors() -> None:
    factors = grid(6, 6)
    c = factors - 2.5
    z = torch.stack([c[:, 0] + c[:, 1], c[:, 0] - c[:, 1]], 1)
    torch.testing.assert_close(separated_attribute_predictability(z, factors), torch.zeros(2, dtype=torch.float64))
    assert mutual_information_gap(z, factors).abs().max() < 1e-9
    angle = torch.tensor(0.3)
    z = torch.stack([c[:, 0] * angle.cos() + c[:, 1] * angle.sin(), c[:, 1] * angle.cos() - c[:, 0] * angle.sin()], 1)
    gap = (angle.cos() ** 2 - angle.sin() ** 2).item()
    assert separated_attribute_predictability(z, factors).tolist() == pytest.approx([gap, gap], abs=1e-6)


def test_noise_tells_next_to_nothing() -> None:
    factors, z = torch.randint(4, (20_000, 2)), torch.randn(20_000, 5)
    assert (
        mutual_information_gap(z, factors).max() < 0.01 and separated_attribute_predictability(z, factors).max() < 0.01
    )


def test_what_has_no_gap_is_refused() -> None:
    factors = grid(2, 2)
    z = torch.randn(4, 3)
    for ask, words in (
        (lambda: mutual_information_gap(z[:, :1], factors), "two latents"),
        (lambda: mutual_information_gap(z, factors.float()), "whole numbers"),
        (lambda: mutual_information_gap(z, torch.ones(4, 1).long()), "same in all"),
        (lambda: separated_attribute_predictability(z[:3], factors), "latents"),
        (lambda: separated_attribute_predictability(z / 0, factors), "finite"),
    ):
        with pytest.raises(UsageError, match=words):
            ask()
