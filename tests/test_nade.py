"""NADE: the blocks against the paper's formula, known answers of the loss, the sampler away from initialization."""

from itertools import product

import pytest
import torch
from torch import Tensor

from triptych.core import Batch, Clock, Images, ItemNoise, StepNoise
from triptych.models.autoregressive.nade import BLOCK, NADE, NADEConfig
from triptych.nn.fixed_point import draw_naively


def make(x: Images, hidden: int = 12, sharp: float = 6.0) -> NADE:
    """A random NADE; weights `sharp` times those of initialization make its pixels depend on each other."""
    model = NADE(NADEConfig(x=x, hidden=hidden)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(sharp)
        model.b.normal_(std=0.5)
        model.c.normal_(std=0.5)
    return model


def images(x: Images, n: int) -> Tensor:
    return x.from_index(torch.randint(x.levels, (n, *x.shape)))


@pytest.mark.parametrize("x", [Images(1, 7, 9, levels=2), Images(1, BLOCK, 2, levels=2), Images(2, 3, 5, levels=2)])
def test_factors_are_those_of_the_paper(x: Images) -> None:
    """p(x_i = 1 | x_<i) = sigmoid(b_i + V_i sigmoid(c + W_<i x_<i)), one pixel at a time, colors innermost."""
    model, some = make(x).double(), images(x, 3).double()
    v = (some + 1).permute(0, 2, 3, 1).reshape(3, -1) / 2
    with torch.no_grad():
        found = model(some).probs.permute(0, 2, 3, 1).reshape(3, -1)
        for i in range(x.dims):
            h = torch.sigmoid(model.c + v[:, :i] @ model.W[:i])
            torch.testing.assert_close(found[:, i], torch.sigmoid(model.b[i] + h @ model.V[i]), rtol=0, atol=1e-12)


def test_probabilities_sum_to_one_away_from_initialization() -> None:
    x = Images(1, 3, 3, levels=2)
    every = x.from_index(torch.tensor(list(product(range(2), repeat=9))).view(-1, 1, 3, 3))
    with torch.no_grad():
        p = make(x).double().log_prob(every.double()).nats.exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    assert p.max() > 20 * p.mean()


def test_a_sure_and_right_prediction_costs_nothing() -> None:
    """Probabilities that are taken for log-odds once more would cost 0.3133 nats a pixel or more, whatever is learned.

    Of log-odds of 40 either way, the right ones cost exp(-40) a pixel, the wrong ones 40.
    """
    x = Images(1, 4, 5, levels=2)
    model, some = make(x), images(x, 1)
    torch.nn.init.zeros_(model.V)
    with torch.no_grad():
        model.b.copy_(40 * some.flatten())
    torch.testing.assert_close(model.log_prob(some).nats, torch.zeros(1), rtol=0, atol=1e-15)
    torch.testing.assert_close(model.log_prob(-some).nats, torch.tensor([-40.0 * x.dims]))
    assert torch.equal(model.sample(3, seed=0), some.expand(3, -1, -1, -1))


def test_loss_is_nats_a_pixel() -> None:
    x = Images(1, 4, 5, levels=2)
    model = make(x)
    batch = Batch(images(x, 8), None, StepNoise(0, 8, slice(None)))
    loss, p = model.loss(batch, Clock(0, 0.0)), model.log_prob(batch.x)
    torch.testing.assert_close(loss.value, -p.nats.mean() / 20)
    torch.testing.assert_close(loss.logs["nats"], -p.nats.mean())


@pytest.mark.parametrize("x", [Images(1, 7, 9, levels=2), Images(3, 4, 3, levels=2)], ids=str)
def test_sampler_equals_the_naive_loop(x: Images) -> None:
    model = make(x)
    drawn = model.sample(16, seed=7)
    assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(16))))
    assert model.logits(drawn).std() >= 1


def test_more_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.levels=256.*two levels"):
        NADEConfig(x=Images(1, 28, 28))
