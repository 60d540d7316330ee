"""Row LSTM: its triangle of context, order, the sampler against the naive loop, refusals."""

from itertools import product

import pytest
import torch
from torch import Tensor

from triptych.core import Adam, Batch, Clock, Images, ItemNoise, Noise, StepNoise, UsageError
from triptych.models.autoregressive.row_lstm import PRESETS, Layer, RowLSTM, RowLSTMConfig
from triptych.nn.fixed_point import draw_naively


def make(x: Images, *, layers: int = 2, kernel: int = 3, hidden: int = 6, sharp: float = 1.0) -> RowLSTM:
    """A small random network with random initial states; `sharp` is its logits' standard deviation."""
    torch.manual_seed(0)
    config = RowLSTMConfig(x=x, hidden=hidden, layers=layers, kernel=kernel, head=12)
    model = RowLSTM(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.mul_(1.5)
            if name.endswith((".h", ".c")):
                weights.normal_()
        logits = model.logits(some(x, StepNoise(0, 64, slice(None))))
        mean = logits.mean((0, 2, 3), keepdim=True)  # taken away, so that it makes nothing certain
        scale = sharp / (logits - mean).std()
        model.out.weight.mul_(scale)
        model.out.bias.sub_(mean.flatten()).mul_(scale)
    return model


def some(x: Images, noise: Noise) -> Tensor:
    return x.from_index((noise.uniform(*x.shape) * x.levels).long())


# What sees what


def layer_dependence(layer: Layer, height: int, width: int) -> Tensor:
    """Which place of what a layer adds moves with which place of its input: [rows, columns, rows, columns]."""
    places = height * width
    x = torch.randn(height, layer.up.out_channels, width, 1, dtype=torch.float64)
    x = x.repeat(1, 1, 1, places).requires_grad_()
    # of the k-th copy, the k-th place
    (layer(x) - x).sum(1).flatten(0, 1).diagonal().sum().backward()
    return (x.grad.abs().sum(1) > 0).permute(2, 0, 1).view(height, width, height, width)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_layer_sees_a_triangle(kernel: int) -> None:
    """Figure 4: the pixels to the left within the kernel, and a row further up on either side as many more."""
    torch.manual_seed(0)
    layer, reach = Layer(3, kernel, 1).double(), kernel // 2
    found = layer_dependence(layer, 4, 9)
    for i, j, a, b in product(range(4), range(9), range(4), range(9)):
        up = i - a
        seen = up >= 0 and j - reach * (up + 1) <= b <= j + reach * up
        assert found[i, j, a, b] == seen, (i, j, a, b)


def seen(x: Images, layers: int, reach: int) -> Tensor:
    """Which sub-pixel may see which, by walking the layers one offset at a time: [dims, dims] in raster order.

    Written without kernels, masks or states: an oracle for all of them.
    """
    nodes = list(product(range(x.height), range(x.width), range(x.channels)))

    def within(places: set[tuple[int, int]]) -> set[tuple[int, int, int]]:
        inside = {(a, b) for a, b in places if 0 <= a < x.height and 0 <= b < x.width}
        return {(a, b, k) for a, b in inside for k in range(x.channels)}

    def through_lstm(node: tuple[int, int, int]) -> set[tuple[int, int, int]]:
        i, j, c = node
        places = {(i - a, b) for a in range(i + 1) for b in range(j - reach * (a + 1), j + reach * a + 1)} - {(i, j)}
        return within(places) | {(i, j, k) for k in range(c + 1)}

    def through_first(node: tuple[int, int, int]) -> set[tuple[int, int, int]]:
        i, j, c = node
        above = {(a, b) for a in range(i - 3, i) for b in range(j - 3, j + 4)}
        return within(above | {(i, b) for b in range(j - 3, j)}) | {(i, j, k) for k in range(c)}

    table = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for row, node in enumerate(nodes):
        reached = {node}
        for _ in range(layers):
            reached = set().union(*(through_lstm(r) for r in reached))
        for place in set().union(*(through_first(r) for r in reached)):
            table[row, nodes.index(place)] = True
    return table


def dependence(model: RowLSTM) -> Tensor:
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
    "x,layers,kernel",
    [
        (Images(1, 5, 13, levels=2), 1, 3),
        (Images(1, 4, 13), 2, 3),
        (Images(1, 3, 13), 1, 7),
        (Images(3, 3, 6, levels=4), 1, 3),
        (Images(2, 1, 9), 2, 5),
    ],
    ids=str,
)
def test_each_sub_pixel_sees_what_the_paper_lets_it_see(x: Images, layers: int, kernel: int, training: bool) -> None:
    """Nothing of itself or of what follows, and all of the triangle: the colors in order, the corners included."""
    found = dependence(make(x, layers=layers, kernel=kernel).double().train(training))
    assert torch.equal(found, seen(x, layers, kernel // 2))
    assert not (found & ~torch.ones(x.dims, x.dims, dtype=torch.bool).tril(-1)).any()


def test_initial_states_are_learned() -> None:
    model = make(Images(1, 3, 3, levels=2))
    model.logits(torch.ones(1, 1, 3, 3)).sum().backward()
    for name, weights in model.named_parameters():
        assert weights.grad is not None and weights.grad.any(), name


def test_loss_falls() -> None:
    """On images whose second half repeats the first, the loss approaches the entropy of the first."""
    x = Images(1, 2, 4, levels=2)
    torch.manual_seed(0)
    model = RowLSTM(RowLSTMConfig(x=x, hidden=8, layers=1, head=16, adam=Adam(lr=2e-2)))
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


@pytest.mark.parametrize(
    "x,kernel", [(x, 3) for x in SPACES] + [(SPACES[0], 9), (SPACES[4], 5), (SPACES[6], 5)], ids=str
)
def test_sampler_equals_the_naive_loop(x: Images, kernel: int) -> None:
    model = make(x, kernel=kernel, sharp=3.0)
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
        RowLSTMConfig(x=Images(3, 8, 8), **{"hidden": 12, "head": 12, **fields})


@pytest.mark.parametrize("kernel", [1, 4])
def test_refuses_a_kernel_without_a_middle_or_neighbors(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"kernel={kernel}.*odd"):
        RowLSTMConfig(kernel=kernel)


@pytest.mark.parametrize("name", [name for name in PRESETS if "tiny" in name])
def test_tiny_presets_work(name: str) -> None:
    model = RowLSTM(PRESETS[name].config)
    assert model.log_prob(model.sample(2, seed=0)).nats.shape == (2,)
