"""Gated PixelCNN: no blind spot, the order of colors, the condition, the sampler against the naive loop, refusals."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from triptych.core import FAITHFUL, Images, ItemNoise, Label, Labels, Sampling, UsageError
from triptych.models.autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from triptych.nn.fixed_point import draw_naively
from triptych.nn.incremental import PixelConv, RowConv


def make(x: Images, *, sharp: float = 1.0, **fields) -> GatedPixelCNN:
    """A small random model; `sharp` is the standard deviation of its logits on random images."""
    config = GatedPixelCNNConfig(**{"x": x, "width": 12, "layers": 3, "head": 12, **fields})
    model = GatedPixelCNN(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.5)
        given = None if config.given is None else Label(torch.arange(64) % config.given.classes)
        logits = model.logits(x.from_index(torch.randint(x.levels, (64, *x.shape))), given)
        mean = logits.mean((0, 2, 3), keepdim=True)
        scale = sharp / (logits - mean).std()
        model.out.bias.sub_(mean.flatten()).mul_(scale)
        model.out.weight.mul_(scale)
    return model


def raster(moved: Tensor, x: Images) -> Tensor:
    """A Jacobian [c, h, w, c, h, w] as [dims, dims] in raster order."""
    return moved.reshape(*x.shape, *x.shape).permute(1, 2, 0, 4, 5, 3).reshape(x.dims, x.dims)


def dependence(model: GatedPixelCNN) -> Tensor:
    """Which logits move with which input, by differentiation: [dims, dims] in raster order."""
    x = model.config.x
    around = torch.randn(1, *x.shape, dtype=torch.float64)
    given = None if model.config.given is None else Label(torch.zeros(1, dtype=torch.int64))
    moved = torch.autograd.functional.jacobian(lambda x: model.double().logits(x, given).abs().sum((0, -1)), around)
    return raster(moved.abs(), x) > 0


# What is seen


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "x,fields",
    [
        (Images(1, 4, 13, levels=2), {"layers": 11}),
        (Images(1, 7, 5, levels=2), {"layers": 5, "reach": 2}),
        (Images(3, 3, 5, levels=4), {"layers": 4}),
        (Images(2, 5, 3), {"layers": 4, "given": Labels(2)}),
        (Images(3, 1, 1), {"layers": 1}),
    ],
    ids=str,
)
def test_every_earlier_value_is_seen_and_nothing_else(x: Images, fields: dict, training: bool) -> None:
    """No blind spot (Figure 1): above and far to the right as well; red before green before blue."""
    model = make(x, **fields).train(training)
    assert torch.equal(dependence(model), torch.ones(x.dims, x.dims, dtype=torch.bool).tril(-1))


def test_the_field_grows_to_the_right_with_each_layer() -> None:
    """What tells the vertical stack from one that is shifted in every layer, which leaves a cone unseen."""
    x, row = Images(1, 3, 15, levels=2), 2
    for layers in (1, 2, 3, 5):
        seen = dependence(make(x, layers=layers)).reshape(3, 15, 3, 15)[row, 4]
        assert seen[row - 1].nonzero().max() == 4 + 3 + (layers - 1)
        assert seen[row].nonzero().max() == 3


@pytest.mark.parametrize("color", [0, 1, 2])
def test_a_color_sees_the_earlier_ones_of_its_pixel(color: int) -> None:
    x = Images(3, 2, 2, levels=4)
    own = dependence(make(x, layers=2)).reshape(2, 2, 3, 2, 2, 3)[1, 1, color, 1, 1]
    assert own.tolist() == [k < color for k in range(3)]


# The likelihood and the condition


@pytest.mark.parametrize(
    "x", [Images(1, 3, 3, levels=2), Images(3, 1, 2, levels=3), Images(2, 2, 1, levels=5)], ids=str
)
def test_probabilities_sum_to_one(x: Images) -> None:
    model = make(x, given=Labels(2))
    states = x.from_index(torch.tensor(list(product(range(x.levels), repeat=x.dims))).reshape(-1, *x.shape))
    for y in (0, 1):
        given = Label(torch.full((len(states),), y))
        with torch.no_grad():
            nats = model.log_prob(states, given).nats
            double = model.double().log_prob(states.double(), given).nats
        assert nats.exp().sum().item() == pytest.approx(1, abs=1e-5)
        assert double.exp().sum().item() == pytest.approx(1, abs=1e-12)
        assert nats.std() > 0.1
        model.float()


def test_the_condition_matters_at_every_pixel_and_in_every_layer() -> None:
    model = make(Images(1, 4, 4, levels=2), given=Labels(3), layers=2)
    x = model.config.x.from_index(torch.randint(2, (1, 1, 4, 4))).expand(3, -1, -1, -1)
    each = model.logits(x, Label(torch.arange(3)))
    assert (each[0] - each[1]).abs().min() > 0 and (each[1] - each[2]).abs().min() > 0
    (nats,) = model.log_prob(x[:1], Label(torch.tensor([1]))).nats
    nats.backward()
    for layer in model.layers:
        moved = layer.label.weight.grad.abs().sum(1)
        assert moved[1] > 0 and moved[0] == moved[2] == 0


def test_a_class_is_learned() -> None:
    """Two classes, white and black images: p(x | y) tells them apart, and samples follow."""
    model = make(Images(1, 3, 3, levels=2), given=Labels(2), layers=1)
    y = torch.tensor([0, 1] * 8)
    x = (2.0 * y - 1)[:, None, None, None].expand(16, 1, 3, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss = -model.log_prob(x, Label(y)).nats.mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 < math.log(2)  # less than what an unconditional model can reach
    assert (model.sample(16, Label(y), seed=0) == x).float().mean() > 0.9


# Sampling


SPACES = [
    Images(1, 6, 8, levels=2),
    Images(1, 9, 5, levels=16),
    Images(3, 4, 5),
    Images(3, 3, 4, levels=2),
    Images(2, 3, 4, levels=7),
    Images(1, 1, 9, levels=2),
    Images(1, 9, 1, levels=3),
    Images(3, 1, 4, levels=4),
    Images(1, 1, 1, levels=2),
]


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("x", SPACES, ids=str)
def test_sampler_equals_the_naive_loop(x: Images, reach: int) -> None:
    model = make(x, sharp=2.0, reach=reach, given=Labels(3) if reach == 2 else None)
    given = Label(torch.arange(8) % 3) if reach == 2 else None
    fast = model.sample(8, given, seed=7)
    assert torch.equal(fast, draw_naively(model, ItemNoise(7, range(8)), given))
    assert x.dims == 1 or (model.logits(fast, given).std() >= 1 and len(fast.unique()) > x.levels // 4)
    assert torch.equal(x.from_index(x.index(fast)), fast)


def test_sampler_equals_the_naive_loop_with_options() -> None:
    x = Images(3, 3, 4, levels=5)
    model = make(x, sharp=2.0)
    known = torch.full((6, *x.shape), -1)
    known[:, :, :2] = torch.randint(5, (6, 3, 2, 4))
    for how in (FAITHFUL, Sampling(temperature=0.5), Sampling(top_k=2, known=known), Sampling(top_p=0.7)):
        fast = model.sample(6, seed=3, how=how)
        assert torch.equal(fast, draw_naively(model, ItemNoise(3, range(6)), None, how))


@pytest.mark.parametrize("x", [Images(1, 5, 6, levels=2), Images(3, 3, 4)], ids=str)
def test_a_sample_does_not_depend_on_the_batch(x: Images) -> None:
    model = make(x, sharp=2.0)
    all8 = model.sample(8, seed=3)
    assert torch.equal(model.sample(1, seed=3, first=5), all8[5:6])
    assert model.sample(0, seed=3).shape == (0, *x.shape)


@pytest.mark.parametrize("rows,columns,stride", [(1, 3, 1), (2, 3, 1), (3, 7, 1), (2, 3, 2)])
def test_a_convolution_row_by_row(rows: int, columns: int, stride: int) -> None:
    conv = nn.Conv2d(3, 4, (rows, columns), stride=(1, stride), padding=(rows - 1, columns // 2))
    x, cached = torch.randn(2, 3, 5, 8), RowConv(conv, 2, 8)
    with torch.no_grad():
        found = torch.cat([cached(row) for row in x.split(1, dim=2)], dim=2)
        assert torch.allclose(found, conv(x)[:, :, :5], atol=1e-6)


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_a_convolution_pixel_by_pixel(columns: int) -> None:
    conv = nn.Conv1d(3, 4, columns, padding=columns - 1)
    cached = PixelConv(conv.weight, conv.bias, 2, 6)
    for _ in range(2):  # a second row takes the place of the first
        x = torch.randn(2, 3, 6)
        with torch.no_grad():
            for j in range(6):
                cached.here[0][j].copy_(x[:, :, j])
                assert torch.allclose(cached(0, j), conv(x)[:, :, j], atol=1e-6)
                assert torch.allclose(cached(0, j, torch.ones(2, 4)), conv(x)[:, :, j] + 1, atol=1e-6)


# Refusals


@pytest.mark.parametrize("fields,near", [({"width": 128}, "width=128.*129"), ({"head": 64}, "head=64.*63")])
def test_refuses_features_that_colors_cannot_share(fields: dict[str, int], near: str) -> None:
    with pytest.raises(ValueError, match=near):
        GatedPixelCNNConfig(x=Images(3, 8, 8), **{"width": 12, "head": 12, **fields})


def test_refuses_what_is_not_in_the_space_and_conditions_that_do_not_fit() -> None:
    model = make(Images(1, 4, 4, levels=2))
    with pytest.raises(UsageError, match="not on"):
        model.log_prob(torch.zeros(2, 1, 4, 4))
    with pytest.raises(UsageError, match="takes no condition"):
        model.sample(2, Label(torch.zeros(2, dtype=torch.int64)))
    with pytest.raises(UsageError, match="needs a condition"):
        GatedPixelCNN(replace(model.config, given=Labels(2))).sample(2)
