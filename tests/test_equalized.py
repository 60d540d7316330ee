"""Equalized layers, pixel normalization and the minibatch's deviation, against what they are on paper."""

import pytest
import torch

from triptych.nn.equalized import EqualizedConv2d, EqualizedLinear, MinibatchDeviation, PixelNorm


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [(EqualizedLinear(400, 300), (64, 400), 400), (EqualizedConv2d(40, 300, 3), (4, 40, 12, 12), 360)],
    ids=["linear", "convolution"],
)
def test_weights_are_standard_normal_and_scaled_by_he_when_used(layer, shape, fan_in):
    assert layer.weight.std().item() == pytest.approx(1, abs=0.02) and not layer.bias.any()
    x = torch.randn(shape)
    plain = type(layer).__mro__[1].forward(layer, x)  # torch's own, with the weights as they are
    assert torch.allclose(layer(x), plain * (2 / fan_in) ** 0.5, rtol=1e-4, atol=1e-4)
    inner = layer(x)[..., 1:-1, 1:-1] if x.dim() == 4 else layer(x)
    assert inner.var().item() == pytest.approx(2, rel=0.1)  # twice that of x: a ReLU halves it
    with torch.no_grad():
        layer.bias += 3
    assert torch.allclose(layer(x), plain * (2 / fan_in) ** 0.5 + 3, rtol=1e-4, atol=1e-4)


def test_a_gain_replaces_hes():
    x, layer = torch.randn(2000, 50), EqualizedLinear(50, 20, gain=1)
    assert layer(x).var().item() == pytest.approx(1, rel=0.15)
    assert EqualizedConv2d(8, 2, 1, gain=0.5).scale == pytest.approx(0.5 / 8**0.5)


def test_pixels_have_a_mean_square_of_one_each():
    x = torch.randn(3, 5, 4, 6) * 7
    y = PixelNorm()(x)
    assert torch.allclose(y.square().mean(1), torch.ones(3, 4, 6), atol=1e-5)
    assert torch.allclose(y / y.norm(dim=1, keepdim=True), x / x.norm(dim=1, keepdim=True), atol=1e-6)
    assert torch.allclose(PixelNorm()(torch.tensor([[3.0, 4.0]])), torch.tensor([[3.0, 4.0]]) / 12.5**0.5)
    assert not PixelNorm()(torch.zeros(1, 4)).any()


def test_the_deviation_of_known_examples():
    x = torch.zeros(4, 2, 1, 2)
    x[:, 0, 0, 0] = torch.tensor([1.0, 3.0, 5.0, 7.0])  # deviation 5^(1/2); the other three features have none
    y = MinibatchDeviation(4)(x)
    assert y.shape == (4, 3, 1, 2) and torch.equal(y[:, :2], x)
    assert torch.allclose(y[:, 2], torch.full((4, 1, 2), (5**0.5 + 3 * 1e-4) / 4), atol=1e-6)


def test_groups_are_apart_and_identical_examples_deviate_by_nothing():
    x = torch.randn(2, 3, 4, 4)[[0, 1, 0, 1, 0, 1, 0, 1]]
    y = MinibatchDeviation(4)(x)[:, 3]
    assert y.max() <= 1.01e-4  # groups of every second example, all the same
    x[0] += 1
    y = MinibatchDeviation(4)(x)[:, 3].amax((1, 2))
    assert (y[::2] > 0.1).all() and (y[1::2] <= 1.01e-4).all()


@pytest.mark.parametrize(("n", "groups"), [(1, 1), (2, 1), (3, 1), (6, 2), (7, 7), (9, 3)])
def test_any_number_of_examples_will_do(n, groups):
    planes = MinibatchDeviation(4)(torch.randn(n, 2, 3, 3, generator=torch.Generator().manual_seed(0)))[:, 2, 0, 0]
    assert planes.shape == (n,) and len(planes.unique()) == (groups if groups < n else 1)


def test_gradients_are_finite_where_nothing_deviates():
    x = torch.zeros(4, 2, 2, 2, requires_grad=True)
    MinibatchDeviation(4)(x).sum().backward()
    assert x.grad.isfinite().all()
