"""The LSTM language model: normalization, the way of gradients, memory, refusals."""

import pytest
import torch

from triptych.core import Batch, Clock, ItemNoise, Sampling, StepNoise, Tokens, UsageError, prefix
from triptych.models.autoregressive.lstm import LSTM, LSTMConfig
from triptych.nn.fixed_point import draw_naively
from triptych.testing.toys import every_element


def make(x: Tokens, sharp: float = 16.0, layers: int = 2) -> LSTM:
    """A small random model; `sharp` scales its logits."""
    torch.manual_seed(0)
    model = LSTM(LSTMConfig(x=x, embedding=6, width=10, layers=layers)).eval()
    with torch.no_grad():
        model.out.weight.mul_(sharp)
    return model


@pytest.mark.parametrize("x", [Tokens(3, 5), Tokens(5, 3), Tokens(2, 8), Tokens(7, 1)], ids=str)
def test_probabilities_sum_to_one(x: Tokens) -> None:
    model, every = make(x), every_element(x)
    assert every is not None
    with torch.no_grad():
        single, double = model.log_prob(every).nats, model.double().log_prob(every).nats
    assert single.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert double.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert single.std() > 0.1


@pytest.mark.parametrize("layers", [1, 3])
def test_sampler_equals_the_naive_loop(layers: int) -> None:
    x = Tokens(11, 30)
    model = make(x, layers=layers)
    for how in (Sampling(), Sampling(temperature=0.7, top_k=3), Sampling(known=prefix(x, torch.randint(11, (1, 9))))):
        drawn = model.sample(8, seed=7, how=how)
        assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(8)), None, how))
    assert model.logits(drawn).std() >= 1
    assert torch.equal(model.sample(3, seed=7, first=2, how=how), drawn[2:5])
    assert model.sample(0, seed=1).shape == (0, 30)


def test_memory_begins_empty_with_every_sequence() -> None:
    model = make(Tokens(5, 8))
    a, b = model.sample(1, seed=1), model.sample(1, seed=2)
    together = model.log_prob(torch.cat((a, b))).nats
    torch.testing.assert_close(together, torch.cat((model.log_prob(a).nats, model.log_prob(b).nats)))
    first = model.logits(torch.cat((a, b)))[:, 0]
    torch.testing.assert_close(first[0], first[1])


def test_every_layer_reads_the_token_and_is_read_by_the_output() -> None:
    """Equations 1 to 3: cut the way through the layers, and the short ways are still there."""
    model, x = make(Tokens(5, 6), layers=3), torch.randint(5, (2, 6))
    sizes = [layer.input_size for layer in model.layers]
    assert sizes == [6, 16, 16] and model.out.in_features == 30
    base = model.logits(x)
    for k in range(3):
        changed = make(Tokens(5, 6), layers=3)
        torch.nn.init.zeros_(changed.out.weight[:, :20] if k == 2 else changed.out.weight[:, 10 * (k + 1) :])
        assert not torch.equal(changed.logits(x), base)
    gates = model.layers[1].get_parameter("bias_ih_l0").view(4, 10)
    assert torch.equal(gates[1], torch.ones(10)) and gates[[0, 2, 3]].abs().max() < 1


def test_loss_is_nats_a_token_and_every_weight_learns() -> None:
    model, x = make(Tokens(4, 6)).train(), torch.randint(4, (8, 6))
    loss = model.loss(Batch(x, None, StepNoise(0, 8, slice(None))), Clock(0, 0.0))
    torch.testing.assert_close(loss.value, -model.log_prob(x).nats.mean() / 6)
    loss.value.backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in model.parameters())


def test_what_is_not_in_the_space_has_no_likelihood() -> None:
    model = make(Tokens(4, 6))
    for x, words in (
        (torch.zeros(2, 7, dtype=torch.long), "shape"),
        (torch.full((2, 6), 4), "takes 0 to 3"),
        (torch.zeros(2, 6), "whole numbers"),
    ):
        with pytest.raises(UsageError, match=words):
            model.log_prob(x)
