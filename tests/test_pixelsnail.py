"""PixelSNAIL: normalization, order, attention, the sampler against the naive loop and against the likelihood."""

from itertools import product

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from triptych.core import UNKNOWN, Batch, Clock, Exact, Images, ItemNoise, Sampling, StepNoise, UsageError
from triptych.models.autoregressive.pixelsnail import (
    PRESETS,
    Causal,
    PixelSNAIL,
    PixelSNAILConfig,
    attend_before,
    concat_elu,
)
from triptych.nn.fixed_point import draw_naively

GREY, RGB = Images(1, 4, 5, levels=2), Images(3, 3, 3, levels=4)


def make(x: Images, *, blocks: int = 2, dropout: float = 0.0, sharp: float = 1.0) -> PixelSNAIL:
    """A small random PixelSNAIL; `sharp` is the standard deviation of its logits on random images."""
    torch.manual_seed(0)
    config = PixelSNAILConfig(x=x, width=8, blocks=blocks, layers=1, keys=3, values=5, head=8, dropout=dropout)
    model = PixelSNAIL(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.5)
        scale = sharp / model.logits(noisy(x, 64)).std()
        model.out.weight.mul_(scale)
        model.out.bias.mul_(scale)
    return model


def noisy(x: Images, n: int) -> Tensor:
    return x.from_index(torch.randint(x.levels, (n, *x.shape), generator=torch.Generator().manual_seed(1)))


def everything(x: Images) -> Tensor:
    states = torch.tensor(list(product(range(x.levels), repeat=x.dims)))
    return x.from_index(states.view(-1, *x.shape))


# The likelihood


@pytest.mark.parametrize(
    "x", [Images(1, 3, 3, levels=2), Images(3, 1, 2, levels=3), Images(2, 2, 1, levels=4)], ids=str
)
def test_probabilities_sum_to_one(x: Images) -> None:
    model = make(x)
    with torch.no_grad():
        single, double = model.log_prob(everything(x)), model.double().log_prob(everything(x).double())
    assert isinstance(single, Exact) and (single.dims, single.measure, single.how) == (x.dims, "mass", "chain rule")
    assert single.nats.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert double.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert single.nats.std() > 0.1  # a uniform distribution would prove little


def test_likelihood_does_not_depend_on_batch_mates() -> None:
    model = make(RGB).double().train()
    some = noisy(RGB, 6).double()
    torch.testing.assert_close(model.log_prob(some[2:4]).nats, model.log_prob(some).nats[2:4], rtol=0, atol=1e-12)


def test_loss_is_nats_per_dim() -> None:
    model, x = make(RGB), noisy(RGB, 8)
    loss, p = model.loss(Batch(x, None, StepNoise(0, 8, slice(None))), Clock(0, 0.0)), model.log_prob(x)
    torch.testing.assert_close(loss.value, -p.nats.mean() / RGB.dims)
    torch.testing.assert_close(loss.logs["bits_per_dim"], p.bits_per_dim().mean())


# The order


def dependence(model: PixelSNAIL) -> Tensor:
    """Which logits move with which input, by differentiation: [dims, dims] in raster order, colors innermost."""
    shape = model.config.x.shape
    x = torch.randn(1, *shape, dtype=torch.float64)

    def rising(x: Tensor) -> Tensor:
        torch.manual_seed(0)  # the same units are dropped
        return model.logits(x).abs().sum((0, -1))

    moved = torch.autograd.functional.jacobian(rising, x).abs()
    return moved.reshape(*shape, *shape).permute(1, 2, 0, 4, 5, 3).reshape(2 * [model.config.x.dims]) > 0


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("x", [GREY, RGB, Images(2, 1, 4), Images(3, 1, 1), Images(1, 5, 1)], ids=str)
def test_each_sub_pixel_sees_all_that_comes_before_and_nothing_else(x: Images, training: bool) -> None:
    """Attention leaves no blind spot: wherever it lies, an earlier value counts. Also with dropout."""
    model = make(x, dropout=0.1 if training else 0.0).double().train(training)
    assert torch.equal(dependence(model), torch.ones(x.dims, x.dims, dtype=torch.bool).tril(-1))


def test_attention_is_to_those_strictly_before() -> None:
    """The formula, pixel by pixel: the first finds zeros, not NaN; the second the first's value."""
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 7, 3), torch.randn(2, 7, 3), torch.randn(2, 7, 4)
    found = attend_before(query, key, value)
    assert torch.equal(found[:, 0], torch.zeros(2, 4)) and found.isfinite().all()
    torch.testing.assert_close(found[:, 1], value[:, 0])
    for p in range(1, 7):
        weight = ((query[:, p, None] * key[:, :p]).sum(-1) / 3**0.5).softmax(-1)
        torch.testing.assert_close(found[:, p], (weight[..., None] * value[:, :p]).sum(1))


def test_gradients_of_attention_are_finite() -> None:
    parts = [torch.randn(1, 5, 2, requires_grad=True) for _ in range(3)]
    attend_before(*parts).square().sum().backward()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in parts)


def test_causal_convolution_looks_up_and_to_the_left() -> None:
    torch.manual_seed(0)
    layer, x = Causal(1, 1), torch.zeros(1, 4, 4, 1)
    x[0, 1, 1] = 1
    moved = (layer(x) - layer(torch.zeros_like(x)))[0, ..., 0].detach()
    assert moved.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_concat_elu_loses_nothing() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0])
    expected = torch.tensor([-0.8647, 0.0, 3.0, 2.0, 0.0, -0.9502])
    torch.testing.assert_close(concat_elu(x), expected, rtol=0, atol=1e-4)


# Sampling


SPACES = [
    Images(1, 6, 7, levels=2),
    Images(1, 4, 4),
    Images(3, 4, 3, levels=5),
    Images(3, 3, 4, levels=2),
    Images(2, 1, 5, levels=3),
    Images(1, 5, 1, levels=3),
    Images(3, 1, 1),
]


@pytest.mark.parametrize("x", SPACES, ids=str)
def test_sampler_equals_the_naive_loop(x: Images) -> None:
    model = make(x, sharp=2.0, dropout=0.5)
    fast, naive = model.sample(8, seed=7), draw_naively(model, ItemNoise(7, range(8)))
    assert torch.equal(fast, naive) and torch.equal(x.from_index(x.index(fast)), fast)
    assert model.logits(fast).std() >= 1


def test_a_sample_does_not_depend_on_the_batch_or_on_known_ones_beside_it() -> None:
    model = make(RGB, sharp=2.0)
    all8 = model.sample(8, seed=3)
    assert torch.equal(model.sample(3, seed=3, first=4), all8[4:7])
    assert model.sample(0, seed=3).shape == (0, *RGB.shape)
    known = RGB.index(all8[:1]).clone()
    known[:, :, 1:] = UNKNOWN
    again = model.sample(8, seed=3, how=Sampling(known=known))
    assert torch.equal(again[:, :, 0], all8[:1, :, 0].expand(8, -1, -1)) and torch.equal(again[0], all8[0])


def test_sampler_agrees_with_likelihood() -> None:
    x, n = Images(3, 1, 2, levels=2), 20_000
    model = make(x)
    drawn = x.index(model.draw(StepNoise(11, n, slice(None)))).flatten(1)
    counts = torch.bincount((drawn * 2 ** torch.arange(5, -1, -1)).sum(1), minlength=64).double()
    with torch.no_grad():
        expected = n * model.log_prob(everything(x)).nats.double().exp()
    assert expected.max() > 3 * expected.mean()
    rare = expected < 5  # pooled, as the approximation asks
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None].clamp_min(1e-9)])
    assert chi2.sf(((counts - expected) ** 2 / expected).sum().item(), len(expected) - 1) > 1e-3


# Refusals


def test_refuses_what_is_not_in_the_space() -> None:
    model = make(GREY)
    with pytest.raises(UsageError, match="not on"):
        model.log_prob(torch.zeros(2, *GREY.shape))
    with pytest.raises(UsageError, match="shape"):
        model.log_prob(torch.ones(2, 1, 5, 4))


@pytest.mark.parametrize("name", [name for name in PRESETS if "tiny" in name])
def test_tiny_presets_work(name: str) -> None:
    model = PixelSNAIL(PRESETS[name].config)
    assert model.log_prob(model.sample(2, seed=0)).nats.shape == (2,)
