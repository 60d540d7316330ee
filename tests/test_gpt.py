"""GPT and the transformer that it shares: normalization, attention, the cache, refusals."""

import pytest
import torch
from torch import Tensor

from triptych.core import FAITHFUL, Batch, Clock, ItemNoise, Sampling, StepNoise, Tokens, UsageError, prefix
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.nn.fixed_point import draw_naively
from triptych.nn.transformer import Attention, Transformer, rotate, rotations
from triptych.testing.toys import every_element


def make(x: Tokens, sharp: float = 1.5, **fields: int) -> GPT:
    """A small random GPT; its logits have a standard deviation of about `sharp`."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(x=x, **{"width": 16, "layers": 2, "heads": 2, **fields})).eval()
    torch.nn.init.constant_(model.transformer.norm.weight, sharp)
    return model


# The likelihood


@pytest.mark.parametrize("x", [Tokens(3, 5), Tokens(5, 3), Tokens(2, 8), Tokens(7, 1), Tokens(1, 3)], ids=str)
def test_probabilities_sum_to_one(x: Tokens) -> None:
    model, every = make(x), every_element(x)
    assert every is not None
    with torch.no_grad():
        single, double = model.log_prob(every).nats, model.double().log_prob(every).nats
    assert single.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert double.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert x.vocabulary == 1 or single.std() > 0.1


def test_loss_is_nats_a_token_and_every_weight_learns() -> None:
    """The first factor too: what stands before the first token is learned."""
    model, x = make(Tokens(4, 6)).train(), torch.randint(4, (8, 6))
    loss, p = model.loss(Batch(x, None, StepNoise(0, 8, slice(None))), Clock(0, 0.0)), model.log_prob(x)
    torch.testing.assert_close(loss.value, -p.nats.mean() / 6)
    torch.testing.assert_close(loss.logs["bits_per_token"], p.bits_per_dim().mean())
    first = model.logits(x)[:, 0]
    torch.testing.assert_close(first, first[:1].expand(8, -1))
    gradients = torch.autograd.grad(-first.log_softmax(-1)[:, 2].sum(), [model.start, model.embedding.weight])
    assert all(g.abs().sum() > 0 for g in gradients)
    loss.value.backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in model.parameters())


# Attention


def test_attention_to_values_of_one_is_one() -> None:
    """What is averaged is places, not heads: the popular mistake gives sums that grow along the sequence."""
    attention = Attention(8, 2)
    torch.nn.init.eye_(attention.give.weight)
    with torch.no_grad():
        attention.take.weight[16:] = torch.eye(8)[:1]  # every value is the first number of its place
        x = torch.randn(3, 11, 8)
        x[..., 0] = 1
        out = attention(x, rotations(torch.arange(11)[:, None], 4, 100))
    torch.testing.assert_close(out, torch.ones(3, 11, 8))


def test_attention_without_queries_is_the_mean_of_what_came_before() -> None:
    attention = Attention(6, 3)
    torch.nn.init.eye_(attention.give.weight)
    with torch.no_grad():
        attention.take.weight[:6], attention.take.weight[12:] = 0.0, torch.eye(6)
        x = torch.randn(2, 9, 6)
        out = attention(x, rotations(torch.arange(9)[:, None], 2, 100))
    torch.testing.assert_close(out, x.cumsum(1) / torch.arange(1, 10)[:, None])


@pytest.mark.parametrize("axes", [1, 2])
def test_rotary_products_depend_on_the_way_between_two_places(axes: int) -> None:
    places = torch.tensor([[3, 4], [5, 1], [13, 24], [15, 21]])[:, :axes]
    turn = rotations(places, 8, 100)
    q, k = torch.randn(8), torch.randn(8)
    a, b = rotate(q.expand(4, 8), turn), rotate(k.expand(4, 8), turn)
    torch.testing.assert_close(a[0] @ b[1], a[2] @ b[3])
    torch.testing.assert_close(a.norm(dim=1), q.norm().expand(4))
    assert (a[0] @ b[1] - a[0] @ b[2]).abs() > 1e-3
    with pytest.raises(ValueError, match="no pairs to share out"):
        rotations(places, 6 if axes == 2 else 7, 100)


@pytest.mark.parametrize("first", [1, 2, 7, 12])
def test_the_cache_gives_what_the_whole_pass_gives(first: int) -> None:
    net = Transformer(3, 12, 2, rotations(torch.arange(12)[:, None], 6, 100)).double()
    h = torch.randn(2, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        whole, caches = net(h), net.caches(2)
        parts = [net(h[:, :first], caches)] + [net(h[:, i : i + 1], caches) for i in range(first, 12)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-10)
    assert all(cache.seen == 12 for cache in caches)


# Sampling


@pytest.mark.parametrize("x", [Tokens(11, 40), Tokens(300, 9), Tokens(2, 1)], ids=str)
def test_sampler_equals_the_naive_loop(x: Tokens) -> None:
    model = make(x)
    drawn = model.sample(16, seed=7)
    assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(16))))
    assert x.length == 1 or model.logits(drawn).std() >= 1
    assert torch.equal(model.sample(5, seed=7, first=4), drawn[4:9])
    assert model.sample(0, seed=7).shape == (0, x.length)


def test_a_beginning_is_read_at_once_and_kept(monkeypatch) -> None:
    monkeypatch.setenv("TRIPTYCH_NATIVE", "0")  # whose passes can be counted
    x = Tokens(11, 30)
    model, passes = make(x), list[int]()
    model.transformer.register_forward_pre_hook(lambda net, inputs: passes.append(inputs[0].shape[1]))
    begin = torch.randint(11, (4, 12))
    how = Sampling(known=prefix(x, begin))
    drawn = model.sample(4, seed=3, how=how)
    assert torch.equal(drawn[:, :12], begin) and passes == [13] + [1] * 17
    assert torch.equal(drawn, draw_naively(model, ItemNoise(3, range(4)), None, how))
    whole = torch.randint(11, (4, 30))
    assert torch.equal(model.sample(4, seed=3, how=Sampling(known=whole)), whole)


def test_nothing_is_cut_off_unless_asked() -> None:
    """Rare tokens come as often as they should: a popular library keeps the likeliest tenth by default."""
    model, n = make(Tokens(40, 1), sharp=1.0), 20_000
    with torch.no_grad():
        p = model.logits(torch.zeros(1, 1, dtype=torch.long))[0, 0].softmax(-1)

    def rare(how: Sampling) -> float:
        drawn = model.draw(StepNoise(1, n, slice(None)), None, how)
        return (p[drawn[:, 0]] < p.median()).float().mean().item()

    expected = p[p < p.median()].sum().item()
    assert rare(FAITHFUL) == pytest.approx(expected, rel=0.2) and rare(Sampling(top_k=4)) == 0


# Refusals


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (
            torch.zeros(2, 7, dtype=torch.long),
            r"x has shape \[2, 7\]; Tokens\(vocabulary=4, length=6\) takes \[batch, 6\]",
        ),
        (torch.full((2, 6), 4), "x has values from 4 to 4; .* takes 0 to 3"),
        (torch.full((2, 6), -1), "values from -1"),
        (torch.zeros(2, 6), "takes whole numbers"),
    ],
)
def test_what_is_not_in_the_space_has_no_likelihood(x: Tensor, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(Tokens(4, 6)).log_prob(x)


def test_a_width_that_heads_cannot_share() -> None:
    with pytest.raises(ValueError, match=r"width=10 cannot be shared out among 4 heads in pairs: .* for example 8"):
        GPTConfig(width=10, heads=4)


def test_known_tokens_that_are_none() -> None:
    model = make(Tokens(4, 6))
    with pytest.raises(UsageError, match="levels 0 to 3"):
        model.sample(1, how=Sampling(known=torch.full((1, 6), 4)))
