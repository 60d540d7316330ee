"""nanochat: its block, its likelihood, what its optimizer moves, and that its cache draws what the whole pass says."""

import pytest
import torch

from triptych.core import ItemNoise, Tokens, UsageError
from triptych.models.autoregressive.nanochat import Attention, Nanochat, NanochatConfig
from triptych.nn.fixed_point import draw_naively
from triptych.nn.transformer import rotations
from triptych.testing.toys import every_element


def make(x: Tokens, depth: int = 2) -> Nanochat:
    """With random weights where it starts at zero."""
    torch.manual_seed(0)
    model = Nanochat(NanochatConfig(x=x, depth=depth, aspect=8)).eval()
    for name, weight in model.named_parameters():
        if weight.abs().sum() == 0:
            torch.nn.init.normal_(weight, std=0.5 if name.startswith("head") else 0.3)
    return model


def test_it_begins_with_all_tokens_alike() -> None:
    model = Nanochat(NanochatConfig(x=Tokens(7, 5), depth=2, aspect=8))
    x = torch.randint(7, (3, 5))
    assert model.log_prob(x).bits_per_dim().tolist() == pytest.approx([torch.tensor(7.0).log2().item()] * 3)


@pytest.mark.parametrize("x", [Tokens(3, 5), Tokens(5, 3)], ids=str)
def test_probabilities_sum_to_one(x: Tokens) -> None:
    model, every = make(x).double(), every_element(x)
    assert every is not None
    with torch.no_grad():
        nats = model.log_prob(every).nats
    assert nats.exp().sum().item() == pytest.approx(1, abs=1e-12) and nats.std() > 0.1


def test_scores_keep_below_the_cap_and_queries_have_one_length() -> None:
    model = make(Tokens(9, 6))
    with torch.no_grad():
        model.head.weight *= 1000
        assert model.logits(torch.randint(9, (2, 6))).abs().max() <= 15
        attention, turn = Attention(16, 2), rotations(torch.arange(6)[:, None], 8, 100)
        x = torch.randn(1, 6, 16)
        before = attention(x, turn)
        attention.query.weight *= 50
        attention.key.weight *= 0.02
        torch.testing.assert_close(attention(x, turn), before, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("x", [Tokens(11, 20), Tokens(2, 1)], ids=str)
def test_sampler_equals_the_naive_loop(x: Tokens) -> None:
    model = make(x)
    drawn = model.sample(6, seed=7)
    assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(6))))


def test_one_dial_sets_the_size() -> None:
    config = NanochatConfig(depth=3, aspect=10)
    model = Nanochat(config)
    assert config.width == 30 and len(model.transformer.blocks) == model.transformer.heads == 3
    with pytest.raises(UsageError, match=r"aspect=9: .* take 10"):
        NanochatConfig(aspect=9)


def test_muon_moves_the_matrices_of_the_blocks_and_no_others() -> None:
    model = make(Tokens(5, 4))
    optimizer = model.stages()[0].players[0].optimizer(model.parameters())
    matrices, others = (set(map(id, group["params"])) for group in optimizer.param_groups)
    assert len(matrices) == 2 * 6 and matrices == {
        id(w) for name, w in model.transformer.named_parameters() if "norm" not in name
    }
    assert {id(model.embedding.weight), id(model.head.weight), id(model.start)} <= others
