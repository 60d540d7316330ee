"""Diagonal BiLSTM: skewing, full context, order, the sampler against the naive loop, refusals."""

from itertools import product

import pytest
import torch
from torch import Tensor

from triptych.core import Adam, Batch, Clock, Images, ItemNoise, Noise, StepNoise, UsageError
from triptych.models.autoregressive.diagonal_bilstm import (
    PRESETS,
    DiagonalBiLSTM,
    DiagonalBiLSTMConfig,
    Diagonals,
    Layer,
)
from triptych.nn.fixed_point import draw_naively


def make(x: Images, *, layers: int = 2, hidden: int = 6, sharp: float = 1.0, seed: int = 0) -> DiagonalBiLSTM:
    """A small random network with random initial states; `sharp` is its logits' standard deviation."""
    torch.manual_seed(seed)
    model = DiagonalBiLSTM(DiagonalBiLSTMConfig(x=x, hidden=hidden, layers=layers, head=12)).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.mul_(1.5)
            if name.endswith((".h", ".c")):
                weights.normal_()
        logits = model.logits(some(x, StepNoise(seed, 64, slice(None))))
        mean = logits.mean((0, 2, 3), keepdim=True)  # taken away, so that it makes nothing certain
        scale = sharp / (logits - mean).std()
        model.out.weight.mul_(scale)
        model.out.bias.sub_(mean.flatten()).mul_(scale)
    return model


def some(x: Images, noise: Noise) -> Tensor:
    return x.from_index((noise.uniform(*x.shape) * x.levels).long())


# The layer


def skew(map: Tensor) -> Tensor:
    """Figure 3: each row is offset by one from the row above. [h, w] -> [h, h + w - 1], with zeros beside the image."""
    height, width = map.shape
    skewed = map.new_zeros(height, height + width - 1)
    for i in range(height):
        skewed[i, i : i + width] = map[i]
    return skewed


@pytest.mark.parametrize("leftward", [False, True])
@pytest.mark.parametrize("height,width", [(4, 6), (6, 4), (5, 5), (1, 5), (5, 1), (1, 1)])
def test_steps_are_the_columns_of_the_skewed_map(height: int, width: int, leftward: bool) -> None:
    sweep = Diagonals(height, width, leftward)
    map = torch.arange(1, 1 + height * width).view(height, 1, width, 1)
    skewed = skew(map.view(height, width).flip(1) if leftward else map.view(height, width))
    back = torch.zeros_like(map)
    assert sweep.cells == height and sweep.steps == skewed.shape[1]
    for t in range(sweep.steps):
        first, last = sweep.live(t)
        assert torch.equal(sweep.at(map, t).flatten(), skewed[first:last, t])
        assert not skewed[:first, t].any() and not skewed[last:, t].any()
        sweep.at(back, t).copy_(sweep.at(map, t))
    assert torch.equal(back, map)  # skewed back


def layer_dependence(layer: Layer, height: int, width: int) -> Tensor:
    """Which place of what a layer adds moves with which place of its input: [rows, columns, rows, columns]."""
    places = height * width
    x = torch.randn(height, layer.up.out_channels, width, 1, dtype=torch.float64)
    x = x.repeat(1, 1, 1, places).requires_grad_()
    # of the k-th copy, the k-th place
    (layer(x) - x).sum(1).flatten(0, 1).diagonal().sum().backward()
    return (x.grad.abs().sum(1) > 0).permute(2, 0, 1).view(height, width, height, width)


@pytest.mark.parametrize("blind,sees", [("rightward", "above, from its column on"), ("leftward", "above and left")])
def test_each_direction_sees_its_own_quadrant(blind: str, sees: str) -> None:
    """The leftward LSTM sees neither its pixel nor any other of its row, least of all those to the right."""
    torch.manual_seed(0)
    layer = Layer(3, 1).double()
    with torch.no_grad():
        for weights in getattr(layer, {"rightward": "to_right", "leftward": "to_left"}[blind]).parameters():
            weights.zero_()
    found = layer_dependence(layer, 4, 5)
    for i, j, a, b in product(range(4), range(5), range(4), range(5)):
        seen = a <= i - 1 and b >= j if blind == "rightward" else a <= i and b <= j
        assert found[i, j, a, b] == seen, (sees, i, j, a, b)


# The network


def dependence(model: DiagonalBiLSTM) -> Tensor:
    """Which logits move with which input, by differentiation: [dims, dims] in raster order."""
    space, moved = model.config.x, False
    order = model.order()
    for seed in range(3):  # a ReLU may be off, but hardly three times
        one = torch.randn(space.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        x = one.repeat(space.dims, 1, 1, 1).requires_grad_()
        # of the k-th copy, the k-th value's logits
        model.logits(x).sum(-1).flatten(1)[:, order].diagonal().sum().backward()
        moved = moved | (x.grad.flatten(1)[:, order] != 0)
    return moved


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "x,layers",
    [(Images(1, 6, 9, levels=2), 1), (Images(1, 9, 6), 2), (Images(3, 4, 5, levels=4), 1), (Images(2, 1, 7), 2)],
    ids=str,
)
def test_each_sub_pixel_sees_all_before_it_and_nothing_else(x: Images, layers: int, training: bool) -> None:
    """The full dependency field, from one layer on: no blind spot, and the colors in order."""
    model = make(x, layers=layers).double().train(training)
    assert torch.equal(dependence(model), torch.ones(x.dims, x.dims, dtype=torch.bool).tril(-1))


def test_initial_states_are_learned() -> None:
    model = make(Images(1, 3, 3, levels=2))
    model.logits(torch.ones(1, 1, 3, 3)).sum().backward()
    for name, weights in model.named_parameters():
        assert weights.grad is not None and weights.grad.any(), name


def test_loss_falls() -> None:
    """On images whose second half repeats the first, the loss approaches the entropy of the first."""
    x = Images(1, 2, 4, levels=2)
    torch.manual_seed(0)
    model = DiagonalBiLSTM(DiagonalBiLSTMConfig(x=x, hidden=8, layers=1, head=16, adam=Adam(lr=2e-2)))
    noise = StepNoise(0, 64, slice(None))
    (player,) = model.stages()[0].players
    optimizer = player.optimizer(player.owns.parameters())
    for step in range(80):
        half = x.from_index((noise.uniform(1, 1, 4) < 0.5).long())
        loss = player.loss(Batch(half.expand(-1, -1, 2, -1), None, noise), Clock(step, step / 80))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        bits = loss.logs["bits_per_dim"].item()
        assert bits > 0.49
    assert bits < 0.6


# Sampling


SPACES = [
    Images(1, 7, 10, levels=2),
    Images(1, 9, 5, levels=2),
    Images(1, 6, 6),
    Images(3, 4, 5),
    Images(3, 5, 4, levels=2),
    Images(2, 3, 4, levels=7),
    Images(1, 1, 9, levels=2),
    Images(1, 9, 1, levels=3),
    Images(3, 1, 1, levels=4),
]


@pytest.mark.parametrize("x", SPACES, ids=str)
def test_sampler_equals_the_naive_loop(x: Images) -> None:
    model = make(x, sharp=3.0)
    fast, naive = model.sample(16, seed=7), draw_naively(model, ItemNoise(7, range(16)))
    assert torch.equal(fast, naive)
    assert model.logits(fast).std() >= 1
    assert len(fast.unique()) > x.levels // 4 and torch.equal(x.from_index(x.index(fast)), fast)


@pytest.mark.parametrize("x", SPACES[:4], ids=str)
def test_a_sample_does_not_depend_on_the_batch(x: Images) -> None:
    model = make(x, sharp=3.0)
    all16 = model.sample(16, seed=3)
    assert torch.equal(model.sample(1, seed=3, first=9), all16[9:10])
    assert torch.equal(model.sample(5, seed=3, first=4), all16[4:9])
    assert model.sample(0, seed=3).shape == (0, *x.shape)


def test_draw_leaves_no_graph() -> None:
    assert not make(Images(1, 3, 4, levels=2)).draw(StepNoise(1, 2, slice(None))).requires_grad


# Refusals


def test_refuses_what_is_not_in_the_space() -> None:
    model = make(Images(1, 4, 4, levels=2))
    with pytest.raises(UsageError, match="not on"):
        model.log_prob(torch.zeros(2, 1, 4, 4))
    with pytest.raises(UsageError, match="shape"):
        model.log_prob(torch.ones(2, 1, 4, 5))


@pytest.mark.parametrize("fields,near", [({"hidden": 128}, "hidden=128.*129"), ({"head": 64}, "head=64.*63")])
def test_refuses_features_that_colors_cannot_share(fields: dict[str, int], near: str) -> None:
    with pytest.raises(ValueError, match=near):
        DiagonalBiLSTMConfig(x=Images(3, 8, 8), **{"hidden": 12, "head": 12, **fields})


@pytest.mark.parametrize("name", [name for name in PRESETS if "tiny" in name])
def test_tiny_presets_work(name: str) -> None:
    model = DiagonalBiLSTM(PRESETS[name].config)
    assert model.log_prob(model.sample(2, seed=0)).nats.shape == (2,)
