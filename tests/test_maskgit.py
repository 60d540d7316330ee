"""MaskGIT on code spaces so small that all codes can be summed over: orders, the bound, few passes, holes."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.core import UNKNOWN, Batch, Clock, ItemNoise, Label, Sampling, StepNoise, UsageError
from triptych.models.autoregressive.maskgit import PRESETS, MaskGIT, MaskGITConfig, halton, shares
from triptych.testing.toys import Examples, every_element

TINY: MaskGITConfig = PRESETS["maskgit-tiny"].config
CLASSES: MaskGITConfig = PRESETS["maskgit-tiny-classes"].config


def make(c: MaskGITConfig) -> MaskGIT:
    """A random model of codes that are not equally likely."""
    torch.manual_seed(0)
    model = MaskGIT(c).double().eval()
    torch.nn.init.normal_(model.out.weight, std=0.7)
    torch.nn.init.normal_(model.tokenizer.decoder[-1].weight, std=0.7)
    return model


def every_code(model: MaskGIT) -> Tensor:
    return torch.tensor(list(itertools.product(range(model.codes.vocabulary), repeat=model.codes.length)))


ORDERS = [torch.tensor([0, 1]), torch.tensor([1, 0])]


def test_codes_sum_to_one_in_any_order() -> None:
    model = make(TINY)
    code = every_code(model)
    each = [model.log_prob_in_order(code, order) for order in ORDERS]
    for p in each:
        assert p.kind == "exact" and p.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert (each[0].nats - each[1].nats).abs().max() > 0.01


def test_the_bound_is_the_mean_over_orders() -> None:
    """Uria and others, 2014: over orders and cuts, D / m of the masked costs is what orders cost on average."""
    model = make(TINY)
    code = every_code(model)
    each = torch.stack([model.log_prob_in_order(code, order).nats for order in ORDERS])
    ids = model.prefix.none(len(code))
    with torch.no_grad():
        cuts = [
            (masked * model.cost(code, masked, ids)).sum(1) * 2 / masked.sum(1)
            for mask in ([1, 1], [1, 1], [1, 0], [0, 1])  # two orders, two cuts each
            for masked in [torch.tensor(mask, dtype=torch.bool).expand_as(code)]
        ]
        torch.testing.assert_close(-torch.stack(cuts).mean(0), each.mean(0))
        found = model.log_prob_codes(code, draws=300)
    off = (found.nats - each.mean(0)) / (torch.stack(cuts).std(0, correction=0) / 300**0.5)
    assert found.kind == "lower bound" and off.abs().max() < 5
    assert each.mean(0).exp().sum() < 1, "below the mixture of the orders, which sums to one"


def test_the_bound_of_images_is_below_what_p_is() -> None:
    model, x = make(TINY), every_element(TINY.x).double()
    code = every_code(model)
    mixture = torch.stack([model.log_prob_in_order(code, order).nats for order in ORDERS]).exp().mean(0)
    joint = mixture * model.decode(code).log_prob(x[:, None]).exp()
    assert joint.sum().item() == pytest.approx(1, abs=1e-12)
    bound = model.log_prob(x, draws=50).nats
    assert bound.exp().sum() < 1 and (bound - joint.sum(1).log()).mean() < -0.05


def test_a_masked_code_is_not_seen() -> None:
    model = make(CLASSES)
    code, masked = torch.zeros(1, 6, dtype=torch.long), torch.tensor([[1, 0, 0, 1, 0, 0]]).bool()
    ids = model.prefix.ids(1, Label(torch.tensor([1])))
    base, moved, seen = model.cost(code, masked, ids), code.clone(), code.clone()
    moved[0, 3], seen[0, 1] = 2, 2
    assert model.cost(moved, masked, ids)[0, 0] == base[0, 0] != model.cost(seen, masked, ids)[0, 0]


def test_one_code_a_pass_follows_the_likelihood_of_its_order() -> None:
    model = make(TINY)
    with torch.no_grad():
        drawn = model.draw_codes(ItemNoise(0, range(4000)), None)
    p = model.log_prob_in_order(every_code(model), model.halton.argsort()).nats.exp()
    seen = torch.bincount(drawn @ torch.tensor([6, 1]), minlength=36) / 4000
    assert (seen - p).abs().max() < 5 * (p.max() / 4000).sqrt()


@pytest.mark.parametrize("order", ["halton", "confidence"])
@pytest.mark.parametrize("passes", [1, 2, 3, 6, 99])
def test_few_passes_reveal_everything(order: Any, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(replace(CLASSES, order=order, passes=passes))
    hidden = []

    def scores(code: Tensor, ids: Tensor, plain: Any = model.scores) -> Tensor:
        hidden.append((code == UNKNOWN).sum().item() / len(code))
        found: Tensor = plain(code, ids)
        return found

    monkeypatch.setattr(model, "scores", scores)
    with torch.no_grad():
        code = model.draw_codes(ItemNoise(0, range(9)), Label(torch.arange(9) % 3))
    assert len(hidden) == min(passes, 6) and hidden == sorted(hidden, reverse=True) and hidden[0] == 6
    assert code.min() >= 0 and code.max() < 4 and len(code.unique(dim=0)) > 1
    assert passes < 6 or hidden == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("order", ["halton", "confidence"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_known_codes_stay_and_holes_are_filled(order: Any, guidance: float) -> None:
    model = make(replace(CLASSES, order=order))
    known = torch.tensor([[1, UNKNOWN, 3, UNKNOWN, UNKNOWN, 0]])
    with torch.no_grad():
        how = Sampling(known=known, guidance=guidance)
        code = model.draw_codes(ItemNoise(0, range(9)), Label(torch.arange(9) % 3), how)
    assert (code[:, [0, 2, 5]] == torch.tensor([1, 3, 0])).all() and code.min() >= 0
    assert len(code.unique(dim=0)) > 1
    x = model.sample(9, [0] * 9, seed=0, how=how)
    assert CLASSES.x.index(x).shape == (9, 3, 4, 6)


def test_with_no_chance_the_surest_codes_come_first() -> None:
    model = make(replace(CLASSES, order="confidence", passes=2, spread=0.0))
    given, seen = Label(torch.zeros(5, dtype=torch.long)), []
    plain = model.scores
    model.scores = lambda code, ids: seen.append(code) or plain(code, ids)  # type: ignore[method-assign]
    with torch.no_grad():
        model.draw_codes(ItemNoise(0, range(5)), given)
        first = plain(seen[0], model.prefix.ids(5, given))
        u = ItemNoise(0, range(5), dtype=torch.float64).uniform(6)
        drawn = Sampling().pick(first, u)
        sure = first.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
    came = seen[1] != UNKNOWN
    assert (came.sum(1) == 2).all()  # 1 - cos(pi / 4) of 6, rounded up
    assert torch.equal(came, sure >= sure.topk(2, 1).values[:, 1:])
    assert torch.equal(seen[1][came], drawn[came])


def test_the_halton_sequence() -> None:
    """By hand: (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), ... on a grid of 4 x 4."""
    rank = halton(4, 4).view(4, 4)
    assert [rank[place].item() for place in ((2, 1), (1, 2), (3, 0))] == [0, 1, 2]
    assert sorted(halton(7, 5).tolist()) == list(range(35))


@pytest.mark.parametrize("order", ["halton", "confidence"])
def test_shares_rise_to_one(order: str) -> None:
    found = shares(8, 49, order)
    assert len(found) == 8 and found == sorted(found) and found[-1] == 1 and found[0] < 1 / 8 + 0.01


def test_codes_of_places_that_are_not_all_known_are_unknown() -> None:
    model = make(CLASSES)
    x, known = torch.zeros(1, 3, 4, 6, dtype=torch.float64), torch.ones(1, 4, 6, dtype=torch.bool)
    known[0, 1, 2] = False
    code = model.known_codes(x, known)[0]
    assert (code == UNKNOWN).tolist() == [False, True, False, False, False, False]


def test_the_loss_is_equation_1() -> None:
    """Uniform scores cost log K a masked code, whatever is masked and however labels are smoothed."""
    model = MaskGIT(CLASSES)
    batch = Batch(Examples(CLASSES.x).values[:8], Label(torch.zeros(8, dtype=torch.long)), StepNoise(0, 8, slice(None)))
    assert model.code_loss(batch, Clock(0, 0.0)).value.item() == pytest.approx(torch.tensor(4.0).log().item())


def test_guided_samples_have_no_likelihood() -> None:
    model = make(CLASSES)
    x, given = model.sample(2, [0, 1], seed=0, how=Sampling(guidance=3)), Label(torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="guided samples are not drawn from p"):
        model.log_prob(x, given, guidance=3.0)
    with pytest.raises(UsageError, match="draws=0"):
        model.log_prob(x, given, draws=0)
