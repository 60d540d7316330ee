"""EoNADE: the objective against all orderings, the factors against the network run pixel by pixel, mixtures."""

from itertools import permutations, product
from math import comb

import pytest
import torch
from torch import Tensor

from triptych.core import Batch, Clock, Images, ItemNoise, StepNoise, UsageError
from triptych.models.autoregressive.eonade import BLOCK, EoNADE, EoNADEConfig
from triptych.nn.fixed_point import draw_naively

NINE = Images(1, 3, 3, levels=2)


def make(x: Images = NINE, hidden: tuple[int, ...] = (12, 10), sharp: float = 3.0) -> EoNADE:
    """A random EoNADE; weights `sharp` times those of initialization make its pixels depend on each other."""
    model = EoNADE(EoNADEConfig(x=x, hidden=hidden)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(sharp)
        model.b.normal_(std=0.5)
        model.c.normal_(std=0.5)
    return model


def everything(x: Images) -> Tensor:
    return x.from_index(torch.tensor(list(product(range(2), repeat=x.dims))).view(-1, *x.shape))


def images(x: Images, n: int) -> Tensor:
    return x.from_index(torch.randint(2, (n, *x.shape)))


@pytest.mark.parametrize("hidden", [(8,), (8, 7), (8, 7, 6)])
@pytest.mark.parametrize("number", [0, 3])
def test_factors_are_passes_of_the_masked_network(hidden: tuple[int, ...], number: int) -> None:
    model = make(Images(1, 5, BLOCK // 4, levels=2), hidden).double()
    order, v = model.ordering(number), torch.randint(2, (3, 35)).double()
    known = torch.zeros(35, dtype=torch.float64)
    with torch.no_grad():
        found = model.factors(v[:, order], order)
        for step, i in enumerate(order.tolist()):
            h = model.deep(model.c + (known * v) @ model.W + known @ model.U)
            torch.testing.assert_close(found[:, step], h @ model.V[i] + model.b[i], rtol=0, atol=1e-12)
            known[i] = 1


def test_the_objective_is_the_mean_over_all_orderings() -> None:
    """Of -log p(x | ordering): by going through all sets of known pixels, as often as orderings begin with them."""
    x = Images(1, 1, 5, levels=2)
    model, v = make(x).double(), torch.randint(2, (4, 5)).double()
    with torch.no_grad():
        orders = [torch.tensor(o) for o in permutations(range(5))]
        binary = torch.nn.functional.binary_cross_entropy_with_logits
        want = torch.stack([binary(model.factors(v[:, o], o), v[:, o], reduction="none").sum(1) for o in orders])
        found = torch.zeros(4, dtype=torch.float64)
        for known in torch.tensor(list(product([False, True], repeat=5)))[:-1]:
            found += model.unknown_pixels(v, known.expand(4, 5)) / (5 * comb(5, int(known.sum())))
    torch.testing.assert_close(found, want.mean(0))


def test_the_loss_draws_an_ordering_and_a_place_for_each_image() -> None:
    """Its mean over many draws is the objective, and no pixel is always known."""
    x = Images(1, 1, 3, levels=2)
    model, n = make(x), 40_000
    some = images(x, 1)
    v = some.flatten(1) / 2 + 0.5
    with torch.no_grad():
        orders = [torch.tensor(o) for o in permutations(range(3))]
        cost = torch.nn.functional.binary_cross_entropy_with_logits
        want = torch.stack([cost(model.factors(v[:, o], o), v[:, o], reduction="sum") for o in orders]).mean()
        loss = model.loss(Batch(some.expand(n, -1, -1, -1), None, StepNoise(0, n, slice(None))), Clock(0, 0.0))
    assert loss.logs["nats"].item() == pytest.approx(want.item(), rel=0.02)
    assert loss.value.item() == pytest.approx(loss.logs["nats"].item() / 3)


def test_every_mixture_sums_to_one() -> None:
    model, every = make().double(), everything(NINE).double()
    with torch.no_grad():
        one, four = model.log_prob(every), model.log_prob(every, orderings=4)
    assert one.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert four.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert (one.nats - four.nats).abs().max() > 0.5  # other orderings, other models
    assert (one.how, four.how) == ("chain rule", "mixture of 4 orderings")


def test_a_mixture_is_the_mean_of_its_orderings() -> None:
    model, some = make().double(), images(NINE, 6).double()
    v = (some.flatten(1) + 1) / 2
    with torch.no_grad():
        p = [
            torch.distributions.Bernoulli(logits=model.factors(v[:, o], o)).log_prob(v[:, o]).sum(1).exp()
            for o in map(model.ordering, range(3))
        ]
        torch.testing.assert_close(model.log_prob(some, orderings=3).nats.exp(), torch.stack(p).mean(0))


def test_orderings() -> None:
    """Raster order first, and then the same permutations for ever."""
    model = make()
    assert model.ordering(0).tolist() == list(range(9))
    assert model.ordering(1).tolist() != model.ordering(2).tolist()
    assert sorted(model.ordering(7).tolist()) == list(range(9))
    assert model.ordering(1).tolist() == [3, 5, 2, 7, 0, 8, 6, 1, 4]


def test_no_ordering_is_refused() -> None:
    with pytest.raises(UsageError, match="orderings=0: a mixture takes one or more"):
        make().log_prob(images(NINE, 1), orderings=0)


def test_a_sure_and_right_prediction_costs_nothing() -> None:
    model, some = make(), images(NINE, 1)
    torch.nn.init.zeros_(model.V)
    with torch.no_grad():
        model.b.copy_(40 * some.flatten())
    torch.testing.assert_close(model.log_prob(some, orderings=2).nats, torch.zeros(1), rtol=0, atol=1e-6)
    noise = StepNoise(0, 5, slice(None))
    loss = model.loss(Batch(some.expand(5, -1, -1, -1), None, noise), Clock(0, 0.0))
    assert loss.value.item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("x", [Images(1, 7, 9, levels=2), Images(3, 4, 3, levels=2)], ids=str)
def test_sampler_equals_the_naive_loop(x: Images) -> None:
    model = make(x, hidden=(40, 30))
    drawn = model.sample(16, seed=7)
    assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(16))))
    assert model.logits(drawn).std() >= 1


@pytest.mark.parametrize(
    ("fields", "words"), [({"x": Images(1, 28, 28)}, r"x\.levels=256.*two levels"), ({"hidden": ()}, "at least 1")]
)
def test_what_cannot_be_built_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EoNADEConfig(**fields)
