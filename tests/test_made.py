"""MADE: the masks against a walk over the units, mixtures of orderings, what a draw costs."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from triptych.core import Batch, Clock, Exact, Images, ItemNoise, StepNoise, UsageError
from triptych.models.autoregressive.made import MADE, MADEConfig
from triptych.nn.fixed_point import draw_naively

NINE = Images(1, 3, 3, levels=2)


def make(x: Images = NINE, sharp: float = 4.0, **fields) -> MADE:
    """A random MADE; weights `sharp` times those of initialization make its pixels depend on each other."""
    model = MADE(MADEConfig(x=x, **{"hidden": (20, 15), **fields})).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(sharp)
    return model


def everything() -> Tensor:
    return NINE.from_index(torch.tensor(list(product(range(2), repeat=9))).view(-1, 1, 3, 3))


def images(x: Images, n: int) -> Tensor:
    return x.from_index(torch.randint(2, (n, *x.shape)))


def connected(model: MADE, mask: int) -> Tensor:
    """Which output sees which input: [outputs, inputs], by walking from unit to unit as the paper allows it."""
    place, *hidden = (d.tolist() for d in model.degrees(mask))
    table = torch.zeros(len(place), len(place), dtype=torch.bool)
    for j, start in enumerate(place):
        reached = [start]  # the degrees of the units that input j reaches, layer by layer
        for layer in hidden:
            reached = [degree for degree in layer if any(degree >= r for r in reached)]
        if model.direct is not None:
            reached = [*reached, start]
        table[:, j] = torch.tensor([any(p > r for r in reached) for p in place])
    return table


# The masks


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_masks_against_a_walk_over_the_units(direct: bool, training: bool) -> None:
    model = make(hidden=(6, 4), direct=direct, masks=4).double().train(training)
    with torch.no_grad():
        for weights in model.parameters():
            weights.abs_().add_(0.01)  # so that no unit is at rest and no two paths cancel
    for mask in range(4):
        moved = torch.autograd.functional.jacobian(
            lambda x, mask=mask: model.logits(x, mask=mask), torch.ones(1, 1, 3, 3, dtype=torch.float64)
        )
        assert torch.equal(moved.view(9, 9) != 0, connected(model, mask))


def test_with_direct_connections_an_output_sees_all_before_it_and_nothing_else() -> None:
    model = make(hidden=(1,), direct=True, masks=3)
    for mask in range(3):
        place = model.degrees(mask)[0]
        assert torch.equal(connected(model, mask), place[:, None] > place)


def test_degrees() -> None:
    """An ordering each, raster order first; hidden units see as many inputs as they say, some but not all."""
    model = make(hidden=(50, 40), masks=5)
    orderings = set()
    for mask in range(5):
        place, first, second = model.degrees(mask)
        assert sorted(place.tolist()) == list(range(1, 10))
        assert 1 <= first.min() <= second.min() and max(first.max(), second.max()) <= 8
        assert len(first.unique()) == 8
        orderings.add(tuple(place.tolist()))
    assert len(orderings) == 5 and tuple(range(1, 10)) in orderings
    torch.manual_seed(1)
    again = make(hidden=(50, 40), masks=7)
    assert all(torch.equal(a, b) for k in range(5) for a, b in zip(model.degrees(k), again.degrees(k), strict=True))


# The likelihood


@pytest.mark.parametrize("direct", [False, True])
def test_every_mask_and_every_mixture_sums_to_one(direct: bool) -> None:
    model, every = make(direct=direct, masks=4).double(), everything().double()
    with torch.no_grad():
        alone = [model(every, k).log_prob((every + 1) / 2).flatten(1).sum(1) for k in range(4)]
        for k in range(1, 5):
            mixture = model.log_prob(every, masks=k)
            assert isinstance(mixture, Exact)
            assert mixture.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
            torch.testing.assert_close(mixture.nats.exp(), torch.stack(alone[:k]).exp().mean(0))
    assert all(p.exp().sum().item() == pytest.approx(1, abs=1e-12) for p in alone)
    assert (alone[0] - alone[1]).abs().max() > 1  # other orderings, other models
    assert alone[0].exp().max() > 10 / 512
    assert model.log_prob(every).how == "chain rule" and model.log_prob(every, masks=4).how == "mixture of 4 orderings"


@pytest.mark.parametrize("masks", [0, 5])
def test_a_mixture_of_more_masks_than_there_are_is_refused(masks: int) -> None:
    with pytest.raises(UsageError, match=f"masks={masks}: this model was made with 4"):
        make(masks=4).log_prob(everything(), masks=masks)


def test_training_cycles_through_the_masks() -> None:
    model = make(masks=3)
    batch = Batch(images(NINE, 8), None, StepNoise(0, 8, slice(None)))
    for step in range(7):
        nats = -model(batch.x, step % 3).log_prob((batch.x + 1) / 2).flatten(1).sum(1).mean()
        loss = model.loss(batch, Clock(step, 0.0))
        torch.testing.assert_close(loss.value, nats / 9)
        torch.testing.assert_close(loss.logs["nats"], nats)


def test_a_sure_and_right_prediction_costs_nothing() -> None:
    model, some = make(), images(NINE, 1)
    torch.nn.init.zeros_(model.out.weight)
    with torch.no_grad():
        model.out.bias.copy_(40 * some.flatten())
    torch.testing.assert_close(model.log_prob(some).nats, torch.zeros(1), rtol=0, atol=1e-15)
    torch.testing.assert_close(model.log_prob(-some).nats, torch.tensor([-360.0]))


# Sampling


@pytest.mark.parametrize(
    ("x", "fields"),
    [
        (Images(1, 7, 9, levels=2), {"hidden": (80, 60, 70)}),
        (Images(3, 4, 3, levels=2), {"hidden": (10,), "direct": True, "masks": 2}),  # degrees that no unit has
        (Images(1, 1, 1, levels=2), {}),
    ],
    ids=["deep", "direct", "one pixel"],
)
def test_sampler_equals_the_naive_loop(x: Images, fields: dict) -> None:
    model = make(x, **fields)
    drawn = model.sample(16, seed=7)
    assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(16))))
    assert x.dims == 1 or model.logits(drawn).std() >= 1


def test_a_draw_costs_no_more_arithmetic_than_one_pass(monkeypatch) -> None:
    monkeypatch.setenv("TRIPTYCH_NATIVE", "0")  # whose products can be counted
    model = make(Images(1, 7, 9, levels=2), hidden=(80, 60), direct=True)
    with FlopCounterMode(display=False) as draw:
        drawn = model.sample(4, seed=0)
    with FlopCounterMode(display=False) as once:
        model.logits(drawn)
    assert 0.2 < draw.get_total_flops() / once.get_total_flops() < 0.7  # about half: the masked half is not computed


def test_more_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.levels=256.*two levels"):
        MADEConfig(x=Images(1, 28, 28))
