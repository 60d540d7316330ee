"""DARN: the bound against the sum over all hidden units, gradients against the exact one, exact ancestral samples."""

from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from triptych.core import Batch, Clock, Images, ItemNoise, LowerBound, StepNoise
from triptych.inference.importance import LatentVariable, importance_sampling
from triptych.models.autoregressive.darn import DARN, DARNConfig, Layer, Taylor

SIX = Images(1, 2, 3, levels=2)


def make(x: Images = SIX, hidden: tuple[int, ...] = (3, 2), sharp: float = 3.0, **fields) -> DARN:
    """A random DARN; weights `sharp` times those of initialization make its units depend on each other."""
    model = DARN(DARNConfig(x=x, hidden=hidden, **fields)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(sharp)
        for weights in [model.top, *model.within]:
            weights.normal_(std=sharp / len(weights) ** 0.5)
    return model


def every(size: int) -> Tensor:
    """All words of so many bits."""
    return torch.tensor(list(product([0.0, 1.0], repeat=size)))


def everything(x: Images) -> Tensor:
    return x.from_index(every(x.dims).long().view(-1, *x.shape))


def images(x: Images, n: int) -> Tensor:
    return x.from_index(torch.randint(2, (n, *x.shape)))


@dataclass
class Chosen:
    """Noise that makes hidden units come out as chosen: [n, draws, z] of zeros and ones."""

    bits: Tensor

    @property
    def n(self) -> int:
        return len(self.bits)

    def uniform(self, *shape: int) -> Tensor:
        assert self.bits.shape[1:] == shape
        return self.bits


# Layers


def test_a_layer_is_the_paper_s() -> None:
    """p(v_j = 1 | v_<j) = sigmoid(a_j + W_j v_<j), whatever lies on and above the diagonal of W."""
    a, w = torch.randn(4, 7).double(), torch.randn(7, 7).double()
    v = torch.randint(2, (4, 7)).double()
    odds = torch.stack([a[:, j] + v[:, :j] @ w[j, :j] for j in range(7)], 1)
    p = odds.sigmoid()
    torch.testing.assert_close(Layer(a, w).log_prob(v), (v * p + (1 - v) * (1 - p)).log().sum(1))
    total = Layer(a[:1], w).log_prob(every(7).double()).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


def test_a_layer_draws_bit_by_bit() -> None:
    """As a loop does that computes all log-odds anew for each bit; for any batch, and axes before it."""
    a, w, u = torch.randn(2, 5, 30), torch.randn(30, 30), torch.rand(2, 5, 30)
    v = torch.zeros(2, 5, 30)
    for j in range(30):
        v[..., j] = (u[..., j] >= (-(a + v @ w.tril(-1).T)).sigmoid()[..., j]).float()
    assert torch.equal(Layer(a, w).icdf(u), v)
    assert torch.equal(Layer(a[1:, :2], w).icdf(u[1:, :2]), v[1:, :2])
    assert 0.2 < v.mean() < 0.8


# The bound


def enumerated(model: DARN, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x, z) and log q(z | x) for all z: [z, n] each, and the z."""
    z = every(sum(model.config.hidden)).to(x.dtype)
    some = z[:, None].expand(-1, len(x), -1)
    return model.decode(some).log_prob(x) + model.prior().log_prob(some), model.encode(x).log_prob(some), z


@pytest.mark.parametrize(("hidden", "tanh"), [((4,), 0), ((3, 2), 0), ((2, 2, 1), 5)])
def test_everything_sums_to_one(hidden: tuple[int, ...], tanh: int) -> None:
    model = make(hidden=hidden, tanh=tanh).double()
    x = everything(SIX).double()
    with torch.no_grad():
        log_p, log_q, z = enumerated(model, x)
        assert model.prior().log_prob(z).exp().sum().item() == pytest.approx(1, abs=1e-12)
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(log_q.exp().sum(0), torch.ones(64, dtype=torch.float64))


@pytest.mark.parametrize("hidden", [(4,), (3, 2)])
def test_the_bound_is_below_what_summing_over_the_hidden_units_gives(hidden: tuple[int, ...]) -> None:
    """By the divergence from q to the posterior on average; more draws and importance sampling close the gap."""
    model, x = make(hidden=hidden).double(), images(SIX, 6).double()
    with torch.no_grad():
        log_p, log_q, _ = enumerated(model, x)
        exact, q = log_p.logsumexp(0), log_q.exp()
        divergence = (q * (log_q - (log_p - exact))).sum(0)
        bounds = model.log_prob(x.repeat(2000, 1, 1, 1)).nats.view(2000, 6)
        tight = model.log_prob(x.repeat(200, 1, 1, 1), draws=20).nats.view(200, 6)
    error = bounds.std(0) / 2000**0.5
    assert divergence.min() > 0.05
    assert ((bounds.mean(0) - (exact - divergence)).abs() < 5 * error).all()
    assert (tight.mean(0) > exact - divergence).all() and (tight.mean(0) < exact + 5 * tight.std(0) / 200**0.5).all()
    found = importance_sampling(model, x, draws=20_000)
    assert ((found.nats - exact).abs() < 5 * found.stderr + 1e-9).all() and found.stderr.max() < 0.1


def test_kinds_of_answers() -> None:
    model, x = make(), images(SIX, 2)
    one, many = model.log_prob(x), model.log_prob(x, draws=7)
    assert isinstance(model, LatentVariable) and isinstance(one, LowerBound)
    assert (one.how, many.how, one.measure, one.dims) == ("ELBO, 1 draw", "IWAE bound, 7 draws", "mass", 6)


@pytest.mark.parametrize(("estimator", "draws"), [("taylor", 1), ("reinforce", 3)])
def test_a_sure_and_right_prediction_costs_nothing(estimator: str, draws: int) -> None:
    """Pixels that need no description, and a description as likely as it is in the prior."""
    model, x = make(estimator=estimator, draws=draws), images(SIX, 1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.decoder[0].bias.copy_(40 * x.flatten())
    loss = model.loss(Batch(x.expand(5, -1, -1, -1), None, StepNoise(0, 5, slice(None))), Clock(0, 0.0))
    assert loss.value.item() == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(model.log_prob(-x).nats, torch.tensor([-240.0]))
    assert torch.equal(model.sample(3, seed=0), x.expand(3, -1, -1, -1))


# Gradients


def exact_gradient(model: DARN, x: Tensor) -> list[Tensor]:
    log_p, log_q, _ = enumerated(model, x)
    length = (log_q.exp() * (log_q - log_p)).sum(0).mean()
    return list(torch.autograd.grad(length, list(model.parameters())))


def mean_gradient(model: DARN, x: Tensor) -> tuple[float, list[Tensor]]:
    """The expectation, by enumeration, of the loss and of its gradient for one image."""
    with torch.no_grad():
        _, log_q, z = enumerated(model, x)
    total, gradient = 0.0, [torch.zeros_like(w) for w in model.parameters()]
    for rows in product(range(len(z)), repeat=model.config.draws):
        weight = log_q[list(rows), 0].sum().exp().item()
        loss = model.loss(Batch(x, None, Chosen(z[list(rows)][None])), Clock(0, 0.0)).value
        total += weight * loss.item()
        for sum_, g in zip(gradient, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            sum_ += weight * g
    return total, gradient


@pytest.mark.parametrize(("estimator", "draws"), [("taylor", 1), ("reinforce", 2)])
def test_the_loss_is_the_description_length(estimator: str, draws: int) -> None:
    model, x = make(hidden=(2, 1), estimator=estimator, draws=draws).double(), images(SIX, 1).double()
    log_p, log_q, _ = enumerated(model, x)
    loss, gradient = mean_gradient(model, x)
    assert loss == pytest.approx((log_q.exp() * (log_q - log_p)).sum().item())
    # what the decoder learns is unbiased either way
    for (name, _), found, want in zip(model.named_parameters(), gradient, exact_gradient(model, x), strict=True):
        if not name.startswith("encoder"):
            torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("tanh", [0, 3])
def test_leave_one_out_is_unbiased(tanh: int) -> None:
    model = make(hidden=(2, 1), tanh=tanh, estimator="reinforce", draws=2).double()
    x = images(SIX, 1).double()
    for found, want in zip(mean_gradient(model, x)[1], exact_gradient(model, x), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_taylor_is_right_up_to_squares(degree: int) -> None:
    """Of polynomials in 4 bits; beyond, its mean is by the trapezoid rule: 3/2 of the truth for a cube."""
    a = torch.randn(4, dtype=torch.float64, requires_grad=True)
    slope, mixed = torch.randn(4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64).triu(1)

    def cost(h: Tensor) -> Tensor:
        return h**degree @ slope + (h @ mixed * h).sum(-1)

    z = every(4).double()
    p = torch.distributions.Bernoulli(logits=a)
    weights = p.log_prob(z).sum(1).exp()
    (want,) = torch.autograd.grad(weights @ cost(z), a, retain_graph=True)
    (found,) = torch.autograd.grad(weights.detach() @ cost(Taylor.apply(a.expand(16, 4), z)), a)
    q = a.sigmoid()
    bias = q * (1 - q) * slope * (0.5 if degree == 3 else 0)
    torch.testing.assert_close(found, want + bias)


def test_taylor_of_the_code_points_where_the_exact_gradient_does() -> None:
    """It is biased, as the code's length is no square of its bits, but not by much."""
    model, x = make(hidden=(3, 2), sharp=2.0).double(), images(SIX, 1).double()
    mine = [name.startswith("encoder") for name, _ in model.named_parameters()]
    found, want = (
        torch.cat([g.flatten() for g, own in zip(gradient, mine, strict=True) if own])
        for gradient in (mean_gradient(model, x)[1], exact_gradient(model, x))
    )
    assert not torch.allclose(found, want, rtol=1e-3)
    assert torch.cosine_similarity(found, want, dim=0) > 0.99


# Sampling


@pytest.mark.parametrize("x", [Images(1, 7, 9, levels=2), Images(3, 4, 3, levels=2)], ids=str)
def test_sampler_equals_naive_ancestral_sampling(x: Images) -> None:
    """All log-odds of a layer computed anew for each of its bits, from the same uniform numbers."""
    model, noise = make(x, hidden=(20, 10), tanh=8), ItemNoise(7, range(16))
    a = model.top.expand(16, -1)
    with torch.no_grad():
        for layer in (2, 1, 0):
            size = (x.dims, 20, 10)[layer]
            u = noise.uniform(*x.shape).movedim(1, -1).flatten(1) if layer == 0 else noise.uniform(size)
            h = torch.zeros(16, size)
            for j in range(size):
                odds = a + h @ model.within[layer].tril(-1).T
                h[:, j] = (u[:, j] >= (-odds[:, j]).sigmoid()).float()
            a = model.decoder[layer - 1](h) if layer else a
    want = x.from_index(h.view(16, x.height, x.width, x.channels).movedim(-1, 1))
    drawn = model.sample(16, seed=7)
    assert torch.equal(drawn, want) and drawn.std() > 0.5


def test_samples_follow_the_sum_over_the_hidden_units() -> None:
    model, n = make(), 20_000
    with torch.no_grad():
        expected = n * enumerated(model, everything(SIX))[0].logsumexp(0).exp()
        drawn = model.draw(StepNoise(3, n, slice(None))).flatten(1)
    number = ((drawn + 1) / 2 @ 2.0 ** torch.arange(5, -1, -1)).long()
    counts = torch.bincount(number, minlength=64)
    often = expected >= 5
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None].clamp_min(1e-9)])
    assert chi2.sf(((observed - wanted) ** 2 / wanted).sum().item(), len(wanted) - 1) > 1e-3


def test_distributions_draw_in_their_shapes() -> None:
    model, x = make(), images(SIX, 4)
    assert model.prior().sample((3,)).shape == (3, 5)
    assert model.encode(x).sample((3,)).shape == (3, 4, 5)
    z = model.encode(x).sample((3,))
    assert SIX.index(model.decode(z).sample((2,)).flatten(0, 2)).shape == (24, 1, 2, 3)


# Refusals


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": Images(1, 28, 28)}, r"x\.levels=256.*two levels"),
        ({"hidden": ()}, "at least 1"),
        ({"estimator": "reinforce"}, "set draws=2"),
    ],
)
def test_what_cannot_be_built_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(DARNConfig(), **fields)
