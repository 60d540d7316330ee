"""The vocabulary: randomness, spaces, likelihoods, schedules, and what sampling promises."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from triptych.core import (
    Adam,
    AnySpace,
    Audio,
    Batch,
    Exact,
    Generative,
    Images,
    ItemNoise,
    Label,
    Labels,
    PartialLabel,
    PartialLabels,
    Picture,
    Points,
    RMSProp,
    StepNoise,
    Text,
    Tokens,
    UsageError,
    Vector,
    Video,
    Voxels,
    config,
    evaluating,
    mix,
)

# A space says what it is, and what an element of it is as a condition

SPACES = [Images(3, 4, 5, levels=7), Voxels(1, 2, 3, 4), Video(2, 3, 4, 5), Audio(1, 8), Tokens(5, 3), Points(2)]
SPACES += [Labels(3), PartialLabels(3)]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_is_told_by_its_kind_in_json(space) -> None:
    every = TypeAdapter(AnySpace)
    plain = every.dump_python(space, mode="json")
    assert plain["kind"] == space.kind
    assert every.validate_python(plain) == space
    assert len({s.kind for s in SPACES}) == len(SPACES)


@pytest.mark.parametrize("space", [s for s in SPACES if not isinstance(s, PartialLabels)], ids=str)
def test_a_space_without_a_kind_is_told_by_its_fields(space) -> None:
    plain = TypeAdapter(AnySpace).dump_python(space, mode="json")
    del plain["kind"]
    assert TypeAdapter(type(space)).validate_python(plain) == space


def test_the_kind_decides_where_the_fields_do_not() -> None:
    with pytest.raises(ValueError, match="points where images belong"):
        TypeAdapter(Images).validate_python({"kind": "points", "channels": 1, "height": 2, "width": 2})


@pytest.mark.parametrize(
    ("space", "given", "words"),
    [
        (Labels(3), Label(torch.tensor([0, 99])), "99"),
        (Labels(3), Text(torch.zeros(2, 4, dtype=torch.long)), "a Text; one in Labels"),
        (PartialLabels(3), PartialLabel(torch.tensor([-2, 0])), "-2"),
        (Images(3, 4, 4), Picture(torch.zeros(2, 3, 8, 8)), "8, 8"),
        (Images(3, 4, 4), Picture(torch.full((2, 3, 4, 4), 255.0)), "255"),
        (Tokens(5, 3), Label(torch.tensor([0, 1])), "a Label"),
        (Points(2), Vector(torch.zeros(2, 3)), "2, 3"),
    ],
)
def test_a_condition_is_checked_by_its_space(space, given, words) -> None:
    with pytest.raises(UsageError, match=words):
        space.check_condition(given)
    with pytest.raises(UsageError, match=words):
        ConditionedOn(space).sample(2, given, seed=0)


def test_classes_that_are_all_known_are_fine_where_some_may_be_unknown() -> None:
    PartialLabels(3).check_condition(Label(torch.tensor([0, 2])))


class ConditionedOn(Generative[Any]):
    name = "conditioned-on"

    def __init__(self, given) -> None:
        super().__init__()
        self.config = SimpleNamespace(x=Points(1), given=given)
        self.weight = nn.Parameter(torch.zeros(()))

    def draw(self, noise, given):
        return noise.normal(1)

    def stages(self):
        return []


# Randomness: known answers are of BLAKE2b and of numpy's Philox, which never change

MIXED = {
    (0,): 7210762507766007076,
    (0, 0): 1350176041220068806,
    (1, 2, 3): 733464669408481064,
    (2**63,): 4543668902481546354,
}
NORMAL = [
    [1.0341837406158447, 0.9943931698799133],
    [-0.4959261119365692, -0.8315975069999695],
    [2.132556200027466, 0.9528017044067383],
]
UNIFORM = [
    [0.8925414681434631, 0.6407799124717712],
    [0.8565962314605713, 0.25456875562667847],
    [0.03740912675857544, 0.563324511051178],
]


def test_mix_is_the_same_everywhere() -> None:
    assert MIXED == {parts: mix(*parts) for parts in MIXED}


def test_mix_spreads() -> None:
    parts = [(seed, step) for seed in range(20) for step in range(20)] + [(seed,) for seed in range(20)]
    parts += [(2**32,), (0, 1), (0, 0), (0, 0, 0), (2**32, 0)]
    assert len({mix(*some) for some in parts}) == len(set(parts))
    assert all(0 <= mix(seed) < 2**63 for seed in range(100))


def test_item_noise_is_the_same_everywhere() -> None:
    noise = ItemNoise(7, [0, 1, 5])
    torch.testing.assert_close(noise.normal(2), torch.tensor(NORMAL), rtol=0, atol=1e-6)
    torch.testing.assert_close(noise.uniform(2), torch.tensor(UNIFORM), rtol=0, atol=0)


@pytest.mark.parametrize("items", [[3], [3, 9], [9, 3], range(2, 12)], ids=str)
def test_an_item_has_its_noise_whatever_is_beside_it(items: list[int]) -> None:
    alone, among = ItemNoise(1, [3]), ItemNoise(1, items)
    at = list(items).index(3)
    for draw in (lambda n: n.normal(2, 3), lambda n: n.uniform(4), lambda n: n.normal()):
        assert torch.equal(draw(alone)[0], draw(among)[at])


def test_successive_draws_and_items_and_seeds_are_independent() -> None:
    noise = ItemNoise(0, range(2000))
    x = torch.cat([noise.normal(2), noise.normal(1), ItemNoise(1, range(2000)).normal(1)], 1)
    assert torch.allclose(x.T.cov(), torch.eye(4), atol=0.12)
    u = noise.uniform(3)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.02


def test_no_items_no_noise() -> None:
    assert ItemNoise(0, []).normal(3, 2).shape == (0, 3, 2)


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_the_ranks_share_one_stream(ranks: int) -> None:
    whole = StepNoise(11, 6, slice(None))
    parts = [StepNoise(11, 6, slice(r * 6 // ranks, (r + 1) * 6 // ranks)) for r in range(ranks)]
    assert sum(part.n for part in parts) == whole.n == 6
    for draw in (lambda n: n.normal(2), lambda n: n.uniform(1, 3), lambda n: n.normal()):
        assert torch.equal(draw(whole), torch.cat([draw(part) for part in parts]))


# Spaces

LEVELED = [Images(3, 2, 5, levels=k) for k in (2, 3, 5, 256)]
LEVELED += [Voxels(1, 2, 3, 4), Video(2, 3, 4, 5), Audio(1, 7)]


@pytest.mark.parametrize("space", LEVELED, ids=str)
def test_levels_come_back(space) -> None:
    k = torch.randint(space.levels, (9, *space.shape))
    k.view(-1)[:2] = torch.tensor([0, space.levels - 1])
    x = space.from_index(k)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert torch.equal(space.index(x), k)
    assert torch.equal(space.nearest(x), k)
    assert space.dims == math.prod(space.shape)


def test_a_level_is_two_k_over_levels_less_one() -> None:
    assert Images(1, 1, 3, levels=3).from_index(torch.tensor([0, 1, 2])).tolist() == [-1, 0, 1]
    assert Images(1, 1, 1, levels=256).from_index(torch.tensor([255, 0])).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(2, 1, 2, 2), "off|between|step"),
        (torch.ones(2, 1, 2, 3), "shape"),
        (torch.ones(2, 1, 2), "shape"),
        (torch.full((1, 1, 2, 2), 3.0), "scaled"),
        (torch.full((1, 1, 2, 2), torch.nan), "scaled"),
        (torch.full((1, 1, 2, 2), -torch.inf), "scaled"),
    ],
)
def test_what_is_not_in_the_space_is_refused(x, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Images(1, 2, 2, levels=2).index(x)


def test_whole_numbers_are_asked_for() -> None:
    Tokens(5, 2).check(torch.tensor([[0, 4]]))
    Labels(3).check(torch.tensor([0, 2]))
    for space, bad in ((Tokens(5, 2), torch.tensor([[0, 5]])), (Labels(3), torch.tensor([-1]))):
        with pytest.raises(UsageError, match="takes 0 to"):
            space.check(bad)
    with pytest.raises(UsageError, match="whole numbers"):
        Labels(3).check(torch.tensor([0.0]))


def test_an_empty_batch_is_in_every_space() -> None:
    for space in (*LEVELED, Tokens(2, 3), Labels(4), Points(2)):
        space.check(torch.empty(0, *space.shape, dtype=torch.int64 if isinstance(space, Tokens | Labels) else None))


@pytest.mark.parametrize("bad", [{"channels": 0}, {"levels": 1}, {"levels": 65537}, {"height": "x"}, {"deep": 1}])
def test_a_space_checks_its_numbers(bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Images(**{"channels": 1, "height": 2, "width": 2, **bad})


# Likelihood


def test_uniform_over_256_values_is_8_bits_a_dimension() -> None:
    nats = torch.tensor([-12 * math.log(256)])
    exact = Exact(nats=nats, dims=12, measure="mass", how="by hand")
    assert exact.bits_per_dim().item() == pytest.approx(8, abs=1e-6)
    assert exact.kind == "exact"


# Schedules


@pytest.mark.parametrize(
    ("adam", "rates"),
    [
        (Adam(lr=2.0), {0: 2, 0.5: 2, 1: 2}),
        (Adam(lr=2.0, schedule="linear"), {0: 2, 0.25: 1.5, 0.5: 1, 1: 0}),
        (Adam(lr=2.0, schedule="cosine"), {0: 2, 0.5: 1, 1: 0, 1 / 3: 1.5}),
        (Adam(lr=2.0, warmup=0.5), {0: 0, 0.25: 1, 0.5: 2, 1: 2}),
        (Adam(lr=2.0, schedule="linear", warmup=0.5), {0: 0, 0.25: 1, 0.5: 2, 0.75: 1, 1: 0}),
        (Adam(lr=2.0, schedule="cosine", warmup=1.0), {0: 0, 0.5: 1, 1: 2}),
        (Adam(lr=2.0, schedule="cosine", floor=0.25), {0: 2, 0.5: 1.25, 1: 0.5}),
        (Adam(lr=2.0, schedule="linear", floor=0.5, warmup=0.5), {0: 0, 0.25: 1, 0.5: 2, 0.75: 1.5, 1: 1}),
    ],
    ids=str,
)
def test_the_rate_is_a_function_of_progress(adam: Adam, rates) -> None:
    assert {p: adam.rate(p) for p in rates} == pytest.approx(rates, abs=1e-12)


def test_betas_go_where_they_are_sent_as_the_rate_falls() -> None:
    adam = Adam(lr=2.0, betas=(0.5, 0.9), final_betas=(0, 0.99), schedule="cosine", warmup=0.25)
    assert adam.settings(0.0) == {"lr": 0, "betas": pytest.approx((0.5, 0.9))}
    assert adam.settings(0.5)["betas"] == pytest.approx((0.25, 0.945))
    assert adam.settings(1.0) == {"lr": pytest.approx(0), "betas": pytest.approx((0, 0.99))}
    assert Adam(betas=(0.5, 0.9), schedule="linear").settings(0.7)["betas"] == (0.5, 0.9)
    optimizer = adam([nn.Parameter(torch.zeros(1))])
    assert RMSProp(lr=2.0).settings(0.3) == {"lr": 2.0} and set(adam.settings(0)) <= set(optimizer.param_groups[0])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_optimizers_follow_one_schedule(schedule) -> None:
    adam, rmsprop = (kind(lr=2.0, schedule=schedule, warmup=0.25) for kind in (Adam, RMSProp))
    assert [adam.rate(k / 8) for k in range(9)] == [rmsprop.rate(k / 8) for k in range(9)]


def test_rmsprop_divides_by_the_running_root_mean_square() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = RMSProp(lr=0.5, decay=0.75)([weight])
    square, at = torch.zeros(2), torch.zeros(2)
    for gradient in (torch.tensor([1.0, -100.0]), torch.tensor([3.0, 1.0])):
        weight.grad = gradient
        optimizer.step()
        square = 0.75 * square + 0.25 * gradient**2
        at = at - 0.5 * gradient / square.sqrt()
        assert torch.allclose(weight, at, rtol=1e-5)


def test_decay_is_decoupled() -> None:
    weight = nn.Parameter(torch.ones(1))
    assert type(Adam()([weight])) is torch.optim.Adam
    assert type(Adam(weight_decay=0.1)([weight])) is torch.optim.AdamW


@pytest.mark.parametrize("bad", [{"lr": 0}, {"lr": -1}, {"lr": "fast"}, {"betas": (0.5, 2)}, {"schedule": "step"}])
def test_adam_checks_its_numbers(bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Adam(**bad)


# Conditions and sampling


def test_conditions_are_batches() -> None:
    given = Label(torch.arange(4))
    assert len(given) == 4
    assert given[1:3].y.tolist() == [1, 2]
    assert given[torch.tensor([3, 0])].y.tolist() == [3, 0]
    assert Text(torch.zeros(2, 5)).to("cpu").tokens.shape == (2, 5)


@config
class CoinConfig:
    x: Points = Points(2)
    given: Labels | None = None


class Coin(Generative):
    name = "coin"

    def __init__(self, config: CoinConfig) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))

    def draw(self, noise, given):
        return self.net(noise.normal(2))

    def stages(self):
        return []


def test_codes_are_read_in_float32_whatever_the_precision_of_a_run() -> None:
    """Those that were read before are, and a code is the nearest one or it is not."""
    torch.manual_seed(0)
    encode, x = nn.Linear(8, 8), torch.randn(64, 8)
    batch = Batch(x, None, ItemNoise(0, range(64)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert batch.coded(encode).dtype == torch.float32 and encode(x).dtype == torch.bfloat16


def test_sampling_asks_for_what_the_model_needs() -> None:
    free, conditional = Coin(CoinConfig()), Coin(CoinConfig(given=Labels(3)))
    assert free.sample(3, seed=0).shape == (3, 2)
    assert conditional.sample(2, Label(torch.tensor([0, 1])), seed=0).shape == (2, 2)
    with pytest.raises(UsageError, match="takes no condition"):
        free.sample(1, Label(torch.tensor([0])))
    with pytest.raises(UsageError, match="needs a condition in Labels"):
        conditional.sample(1)
    with pytest.raises(UsageError, match="2 samples need 2 conditions, got 1"):
        conditional.sample(2, Label(torch.tensor([0])))
    with pytest.raises(UsageError, match="must not be negative"):
        free.sample(-1)


def test_sampling_without_a_seed_follows_the_global_generator() -> None:
    model = Coin(CoinConfig())
    torch.manual_seed(1)
    a, b = model.sample(2), model.sample(2)
    torch.manual_seed(1)
    assert torch.equal(a, model.sample(2)) and not torch.equal(a, b)


def test_evaluating_gives_everything_back() -> None:
    model = Coin(CoinConfig()).train()
    model.net[1].eval()
    before, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    with pytest.raises(KeyError), evaluating(model):
        assert not any(m.training for m in model.modules())
        torch.rand(5)
        raise KeyError
    assert torch.equal(before, torch.get_rng_state())
    assert modes == [m.training for m in model.modules()]


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CoinConfig().x = Points(3)
    with pytest.raises(ValueError, match="wings"):
        CoinConfig(wings=2)
