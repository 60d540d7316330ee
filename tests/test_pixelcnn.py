"""PixelCNN: normalization, order, the sampler against the naive loop and against the likelihood, refusals."""

import math
from itertools import product

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Exact,
    HasLikelihood,
    Images,
    ItemNoise,
    StepNoise,
    UsageError,
)
from triptych.models.autoregressive.pixelcnn import PRESETS, PixelCNN, PixelCNNConfig
from triptych.nn.fixed_point import draw_naively
from triptych.nn.incremental import Wavefront
from triptych.nn.masked import MaskedConv2d


def make(
    x: Images, *, blocks: int = 2, kernel: int = 3, width: int = 12, sharp: float = 1.0, seed: int = 0
) -> PixelCNN:
    """A small random PixelCNN; `sharp` is the standard deviation of its logits on random images."""
    torch.manual_seed(seed)
    model = PixelCNN(PixelCNNConfig(x=x, width=width, blocks=blocks, kernel=kernel, head=width)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.5)
        noise = StepNoise(seed, 64, slice(None)).uniform(*x.shape)
        scale = sharp / model.logits(x.from_index(inverse_levels(x, noise))).std()
        model.out.weight.mul_(scale)
        model.out.bias.mul_(scale)
    return model


def inverse_levels(x: Images, u: Tensor) -> Tensor:
    return (u * x.levels).long()


def everything(x: Images) -> Tensor:
    """Every element of a small space."""
    states = torch.tensor(list(product(range(x.levels), repeat=x.dims)))
    return x.from_index(states.reshape(-1, *x.shape))


# The likelihood


@pytest.mark.parametrize(
    "x",
    [
        Images(1, 3, 3, levels=2),
        Images(1, 2, 2, levels=3),
        Images(3, 1, 2, levels=2),
        Images(3, 1, 2, levels=3),
        Images(2, 2, 1, levels=5),
    ],
    ids=str,
)
def test_probabilities_sum_to_one(x: Images) -> None:
    model = make(x)
    with torch.no_grad():
        single = model.log_prob(everything(x))
        double = model.double().log_prob(everything(x).double())
    assert single.nats.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert double.nats.dtype == torch.float64
    assert double.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert single.nats.std() > 0.1  # a uniform distribution would prove little


@pytest.mark.parametrize("x", [Images(1, 4, 5, levels=2), Images(1, 4, 5, levels=256), Images(3, 3, 2)], ids=str)
def test_uniform_logits_score_log2_levels(x: Images) -> None:
    model = make(x)
    torch.nn.init.zeros_(model.out.weight)
    torch.nn.init.zeros_(model.out.bias)
    p = model.log_prob(x.from_index(inverse_levels(x, torch.rand(4, *x.shape))))
    assert isinstance(model, HasLikelihood) and isinstance(p, Exact)
    assert (p.dims, p.measure, p.how) == (x.dims, "mass", "chain rule")
    torch.testing.assert_close(p.bits_per_dim(), torch.full((4,), math.log2(x.levels)), rtol=1e-6, atol=0)


def test_likelihood_does_not_depend_on_batch_mates() -> None:
    x = Images(3, 4, 4, levels=4)
    model = make(x).double().train()
    some = x.from_index(inverse_levels(x, torch.rand(6, *x.shape))).double()
    torch.testing.assert_close(model.log_prob(some[2:4]).nats, model.log_prob(some).nats[2:4], rtol=0, atol=1e-12)


def test_loss_is_nats_per_dim() -> None:
    x = Images(3, 4, 5, levels=4)
    model, noise = make(x), StepNoise(0, 8, slice(None))
    batch = Batch(x.from_index(inverse_levels(x, noise.uniform(*x.shape))), None, noise)
    loss, p = model.loss(batch, Clock(0, 0.0)), model.log_prob(batch.x)
    torch.testing.assert_close(loss.value, -p.nats.mean() / x.dims)
    torch.testing.assert_close(loss.logs["nats"], -p.nats.mean())
    torch.testing.assert_close(loss.logs["bits_per_dim"], p.bits_per_dim().mean())


def test_loss_falls() -> None:
    """On images whose second half repeats the first, the loss approaches the entropy of the first."""
    x = Images(1, 2, 4, levels=2)
    torch.manual_seed(0)
    model = PixelCNN(PixelCNNConfig(x=x, width=12, blocks=1, head=12, adam=Adam(lr=5e-3)))
    noise = StepNoise(0, 64, slice(None))
    (stage,) = model.stages()
    (player,) = stage.players
    optimizer = player.optimizer(player.owns.parameters())
    for step in range(60):
        half = x.from_index((noise.uniform(1, 1, 4) < 0.5).long())
        loss = player.loss(Batch(half.expand(-1, -1, 2, -1), None, noise), Clock(step, step / 60))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        bits = loss.logs["bits_per_dim"].item()
        assert bits > 0.49
    assert bits < 0.6


# The order


def seen(x: Images, blocks: int) -> Tensor:
    """Which sub-pixel may see which, by walking the layers one offset at a time: [dims, dims] in raster order.

    Written without kernels or masks: an oracle for both.
    """

    def behind(node: tuple[int, int, int], reach: int, own: bool) -> set[tuple[int, int, int]]:
        i, j, c = node
        above = {(a, b) for a in range(i - reach, i) for b in range(j - reach, j + reach + 1)}
        left = {(i, b) for b in range(j - reach, j)}
        inside = {(a, b) for a, b in above | left if 0 <= a < x.height and 0 <= b < x.width}
        return {(a, b, k) for a, b in inside for k in range(x.channels)} | {(i, j, k) for k in range(c + own)}

    nodes = list(product(range(x.height), range(x.width), range(x.channels)))
    table = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for row, node in enumerate(nodes):
        reached = {node}
        for _ in range(blocks):
            reached = set().union(*(behind(r, 1, True) for r in reached))
        # the 1 x 1 layers pass a color on to itself and to later ones
        reached |= {(i, j, k) for i, j, c in reached for k in range(c)}
        for i, j, k in set().union(*(behind(r, 3, False) for r in reached)):
            table[row, nodes.index((i, j, k))] = True
    return table


def dependence(model: PixelCNN) -> Tensor:
    """Which logits move with which input, by differentiation: [dims, dims] in raster order."""
    shape = model.config.x.shape
    x = torch.randn(1, *shape, dtype=torch.float64)
    moved = torch.autograd.functional.jacobian(lambda x: model.logits(x).abs().sum((0, -1)), x).abs()
    return moved.reshape(*shape, *shape).permute(1, 2, 0, 4, 5, 3).reshape(2 * [model.config.x.dims]) > 0


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "x,blocks",
    [(Images(1, 5, 8, levels=2), 1), (Images(3, 5, 6, levels=4), 2), (Images(2, 6, 3), 1), (Images(1, 3, 9), 4)],
    ids=str,
)
def test_each_sub_pixel_sees_what_the_paper_lets_it_see(x: Images, blocks: int, training: bool) -> None:
    """Nothing of itself or of what follows; and all of what the masks allow, so that they are not too strict."""
    model = make(x, blocks=blocks).double().train(training)
    raster = torch.ones(x.dims, x.dims, dtype=torch.bool).tril(-1)
    assert not (dependence(model) & ~raster).any()
    with torch.no_grad():  # positive weights and inputs: no ReLU is off, no two paths cancel
        for weights in model.parameters():
            weights.abs_().add_(1e-3)
    shape = (1, *x.shape)
    moved = torch.autograd.functional.jacobian(
        lambda x: model.logits(x).sum((0, -1)), torch.rand(shape, dtype=torch.float64)
    )
    found = moved.reshape(*x.shape, *x.shape).permute(1, 2, 0, 4, 5, 3).reshape(x.dims, x.dims) > 0
    assert torch.equal(found, seen(x, blocks))
    assert not (found & ~raster).any()


def test_blind_spot() -> None:
    """What the gated PixelCNN's authors found (2016, Figure 1): above and far to the right nothing is seen."""
    x = Images(1, 4, 13, levels=2)
    table = seen(x, blocks=12).reshape(4, 13, 4, 13)[3, 4]
    assert table[:3, : 4 + 4].all() and table[3, :4].all()
    assert table[2].nonzero().max() == 4 + 3 and table[1].nonzero().max() == 4 + 4 and table[0].nonzero().max() == 4 + 5
    model = make(x, blocks=12).double()
    assert torch.equal(dependence(model).reshape(4, 13, 4, 13)[3, 4], table)


def test_colors_at_one_pixel() -> None:
    """Red sees neither color of its own pixel, green red, blue both."""
    x = Images(3, 1, 1)
    assert torch.equal(dependence(make(x).double()), torch.ones(3, 3, dtype=torch.bool).tril(-1))


# Sampling


SPACES = [
    Images(1, 7, 10, levels=2),
    Images(1, 9, 5, levels=2),
    Images(1, 6, 6),
    Images(3, 5, 6),
    Images(3, 6, 5, levels=2),
    Images(2, 3, 4, levels=7),
    Images(1, 1, 9, levels=2),
    Images(1, 9, 1, levels=3),
    Images(3, 2, 2, levels=4),
]


@pytest.mark.parametrize("x", SPACES, ids=str)
def test_sampler_equals_the_naive_loop(x: Images) -> None:
    model = make(x, sharp=2.0)
    fast, naive = model.sample(16, seed=7), draw_naively(model, ItemNoise(7, range(16)))
    assert torch.equal(fast, naive)
    assert model.logits(fast).std() >= 1
    assert len(fast.unique()) > x.levels // 4 and torch.equal(x.from_index(x.index(fast)), fast)


@pytest.mark.parametrize("kernel", [1, 5, 9])
def test_sampler_equals_the_naive_loop_for_other_kernels(kernel: int) -> None:
    for x in (Images(1, 6, 7, levels=2), Images(3, 4, 3, levels=3)):
        model = make(x, kernel=kernel, blocks=1, sharp=2.0)
        drawn = model.sample(4, seed=7)
        assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(4))))
        assert not (dependence(model.double()) & ~torch.ones(x.dims, x.dims, dtype=torch.bool).tril(-1)).any()


@pytest.mark.parametrize("x", SPACES, ids=str)
def test_a_sample_does_not_depend_on_the_batch(x: Images) -> None:
    model = make(x, sharp=2.0)
    all16 = model.sample(16, seed=3)
    assert torch.equal(model.sample(1, seed=3, first=9), all16[9:10])
    assert torch.equal(model.sample(5, seed=3, first=4), all16[4:9])
    assert model.sample(0, seed=3).shape == (0, *x.shape)


@pytest.mark.parametrize(
    "x", [Images(1, 2, 3, levels=2), Images(3, 1, 2, levels=2), Images(1, 1, 3, levels=4)], ids=str
)
def test_sampler_agrees_with_likelihood(x: Images) -> None:
    """Pearson's chi-square of 20,000 draws against the enumerated probabilities."""
    model, n = make(x, sharp=1.0), 20_000
    drawn = x.index(model.draw(StepNoise(11, n, slice(None)))).flatten(1)
    place = x.levels ** torch.arange(x.dims - 1, -1, -1)
    counts = torch.bincount((drawn * place).sum(1), minlength=x.levels**x.dims).double()
    with torch.no_grad():
        expected = n * model.log_prob(everything(x)).nats.double().exp()
    assert expected.max() > 3 * expected.mean()
    rare = expected < 5  # pooled, as the approximation asks
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None].clamp_min(1e-9)])
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert chi2.sf(statistic, len(expected) - 1) > 1e-3


def test_sampling_takes_part_in_nothing_else() -> None:
    """Sampling twice gives the same, keeps the mode, leaves no gradient and does not touch torch's random state."""
    model = make(Images(1, 4, 4, levels=2)).train()
    state = torch.get_rng_state()
    a, b = model.sample(3, seed=1), model.sample(3, seed=1)
    assert torch.equal(a, b) and model.training and not a.requires_grad
    assert torch.equal(state, torch.get_rng_state())
    model.log_prob(a).nats.sum().backward()  # a sample is an ordinary tensor


@pytest.mark.parametrize("height,width,reach", [(28, 28, 3), (5, 9, 1), (9, 2, 3), (1, 7, 3), (7, 1, 0), (4, 6, 0)])
def test_wavefront_visits_each_pixel_after_its_past(height: int, width: int, reach: int) -> None:
    front, when = Wavefront(height, width, reach), torch.full((height, width), -1)
    for rows, columns in front:
        assert 0 < len(rows) == front.live <= front.most
        assert (when[rows, columns] == -1).all()
        when[rows, columns] = front.t
    assert (when >= 0).all() and when.max() == len(front) - 1
    for i, j in product(range(height), range(width)):
        above = when[max(0, i - reach) : i, max(0, j - reach) : j + reach + 1]
        assert (above < when[i, j]).all() and (when[i, :j] < when[i, j]).all()
    assert (height, width, reach) != (28, 28, 3) or len(front) == 136


# Refusals


def test_refuses_what_is_not_in_the_space() -> None:
    model = make(Images(1, 4, 4, levels=2))
    with pytest.raises(UsageError, match="not on"):
        model.log_prob(torch.zeros(2, 1, 4, 4))
    with pytest.raises(UsageError, match="shape"):
        model.log_prob(torch.ones(2, 1, 4, 5))
    with pytest.raises(UsageError, match=r"\[-1, 1\]"):
        model.log_prob(torch.full((2, 1, 4, 4), 2.0))
    with pytest.raises(UsageError, match="not on"):
        make(Images(3, 2, 2)).log_prob(torch.rand(1, 3, 2, 2))


@pytest.mark.parametrize("fields,near", [({"width": 128}, "width=128.*126"), ({"head": 64}, "head=64.*63")])
def test_refuses_features_that_colors_cannot_share(fields: dict[str, int], near: str) -> None:
    with pytest.raises(ValueError, match=near):
        PixelCNNConfig(x=Images(3, 8, 8), **{"width": 12, "head": 12, **fields})


def test_refuses_an_even_kernel() -> None:
    with pytest.raises(ValueError, match=r"kernel=4.*odd, e\.g\. 5"):
        PixelCNNConfig(kernel=4)


def test_masked_convolution_refuses_uneven_parts_and_even_kernels() -> None:
    for inputs, outputs, size in ((4, 6, 3), (6, 4, 3), (6, 6, 2)):
        with pytest.raises(ValueError, match="MaskedConv2d"):
            MaskedConv2d(inputs, outputs, size, "B", colors=3)


@pytest.mark.parametrize("name", [name for name in PRESETS if "tiny" in name])
def test_tiny_presets_work(name: str) -> None:
    model = PixelCNN(PRESETS[name].config)
    assert model.log_prob(model.sample(2, seed=0)).nats.shape == (2,)
