"""Options of autoregressive sampling, and the two samplers that need no caches."""

import math

import pytest
import torch
from torch import Tensor, nn

from triptych.core import (
    UNKNOWN,
    Audio,
    Autoregressive,
    Coding,
    Given,
    Images,
    ItemNoise,
    Noise,
    Sampling,
    Space,
    Tokens,
    UsageError,
    Video,
    config,
    inverse_cdf,
    prefix,
)
from triptych.core.sampling import FAITHFUL, from_sequence, raster, to_sequence
from triptych.models import find, own
from triptych.nn.fixed_point import draw_by_iteration, draw_naively
from triptych.testing.toys import Examples, first_examples
from triptych.verbs.create import create

P = torch.tensor([0.5, 0.1, 0.3, 0.1])


def frequencies(how: Sampling, logits: Tensor) -> list[float]:
    u = (torch.arange(1000) + 0.5) / 1000
    picked = how.pick(logits.expand(1000, -1), u)
    return (torch.bincount(picked, minlength=max(2, logits.shape[-1])) / 1000).tolist()


def test_inverse_cdf() -> None:
    logits = torch.tensor([0.25, 0.5, 0.25]).log().expand(4, 3)
    assert inverse_cdf(logits, torch.tensor([0.0, 0.2499, 0.2501, 0.9999])).tolist() == [0, 0, 1, 2]
    assert inverse_cdf(torch.zeros(3, 1), torch.tensor([0.0, 0.4999, 0.5])).tolist() == [0, 0, 1]
    assert inverse_cdf(torch.tensor([[0.0, -200.0]]), torch.tensor([1 - 2**-24])).tolist() == [0]


def test_by_default_values_are_picked_as_likely_as_the_model_says() -> None:
    assert FAITHFUL.faithful and Sampling(known=torch.zeros(1, 2)).faithful and Sampling(top_p=1.0).faithful
    assert frequencies(FAITHFUL, P.log()) == pytest.approx(P.tolist())


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Sampling(temperature=0.5), (P**2 / (P**2).sum()).tolist()),
        (Sampling(temperature=0), [1, 0, 0, 0]),
        (Sampling(top_k=1), [1, 0, 0, 0]),
        (Sampling(top_k=2), [5 / 8, 0, 3 / 8, 0]),
        (Sampling(top_k=9), P.tolist()),
        (Sampling(top_p=0.4), [1, 0, 0, 0]),
        (Sampling(top_p=0.51), [5 / 8, 0, 3 / 8, 0]),
        (Sampling(temperature=0.5, top_k=2), [25 / 34, 0, 9 / 34, 0]),
    ],
    ids=str,
)
def test_each_option_does_what_it_says(how: Sampling, expected: list[float]) -> None:
    assert not how.faithful
    assert frequencies(how, P.log()) == pytest.approx(expected, abs=2e-3)


def test_a_single_logit_takes_the_options_too() -> None:
    logit = torch.tensor([math.log(3.0)])  # level 1 with probability 3/4
    assert frequencies(FAITHFUL, logit) == pytest.approx([0.25, 0.75])
    assert frequencies(Sampling(temperature=0.5), logit) == pytest.approx([0.1, 0.9])
    assert frequencies(Sampling(top_k=1), logit) == [0, 1]


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"temperature": math.nan}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 2.0}]
)
def test_options_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Sampling(**bad)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (torch.zeros(1, 3), "takes levels"),
        (torch.zeros(1, 4, dtype=torch.long), "shape"),
        (torch.zeros(5, 3, dtype=torch.long), "5 rows for 2 samples"),
        (torch.full((1, 3), 7), "levels 0 to 6"),
        (torch.full((2, 3), -2), "levels 0 to 6"),
    ],
)
def test_what_is_known_has_to_be_in_the_space(known: Tensor, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sampling(known=known).start(Tokens(7, 3), ItemNoise(0, range(2)))


def test_options_of_some_of_the_samples() -> None:
    known = torch.tensor([[0, -1], [1, -1], [2, -1]])
    assert Sampling(known=known)[slice(1, 3)].start(Tokens(3, 2), ItemNoise(0, range(2))).tolist() == [[1, -1], [2, -1]]
    one = Sampling(known=known[:1])
    assert one[slice(1, 3)].start(Tokens(3, 2), ItemNoise(0, range(2))).tolist() == [[0, -1], [0, -1]]


@pytest.mark.parametrize("space", [Images(3, 2, 4), Video(2, 3, 2, 2), Audio(2, 5), Tokens(9, 6)], ids=str)
def test_raster_order(space: Space) -> None:
    order = raster(space).tolist()
    assert sorted(order) == list(range(space.dims))
    where = [torch.unravel_index(torch.tensor(i), space.shape) for i in order]
    channel = {Images: 0, Video: 1, Audio: 0}.get(type(space))
    keys = [tuple(int(k) for k in place) for place in where]
    if channel is not None:
        keys = [key[:channel] + key[channel + 1 :] + (key[channel],) for key in keys]
    assert keys == sorted(keys)


@pytest.mark.parametrize("space", [Images(3, 2, 4), Video(2, 3, 2, 2), Audio(2, 5), Tokens(9, 6)], ids=str)
def test_sequences_come_back(space: Space) -> None:
    x = torch.rand(5, *space.shape)
    values = to_sequence(space, x)
    assert torch.equal(from_sequence(space, values), x) and torch.equal(values, x.flatten(1)[:, raster(space)])
    assert torch.equal(to_sequence(space, x.expand(2, *x.shape)), values.expand(2, *values.shape))


def test_a_prefix_fills_the_image_from_its_corner() -> None:
    known = prefix(Images(3, 2, 2, levels=4), torch.tensor([[1, 2, 3, 0]]))
    assert known[0, :, 0, 0].tolist() == [1, 2, 3] and known[0, :, 0, 1].tolist() == [0, -1, -1]
    assert (known[0, :, 1] == UNKNOWN).all()
    with pytest.raises(UsageError, match="longer than"):
        prefix(Tokens(4, 2), torch.zeros(1, 3, dtype=torch.long))


def test_levels_and_back() -> None:
    level = torch.tensor([[[[0, 3], [1, 2]]]])
    space = Images(1, 2, 2, levels=4)
    assert torch.equal(space.index(space.from_index(level)), level)
    assert torch.equal(Tokens(5, 2).from_index(level.view(2, 2)), level.view(2, 2))
    with pytest.raises(UsageError):
        Tokens(2, 2).index(level.view(2, 2))


@config
class MarkovConfig:
    x: Tokens = Tokens(5, 40)


class Markov(Autoregressive[None]):
    """Each token depends on the one before; drawn without a cache."""

    name = "markov"

    def __init__(self, config: MarkovConfig) -> None:
        super().__init__()
        self.config, self.passes = config, 0
        self.table = nn.Parameter(2 * torch.randn(6, 5))

    def logits(self, x: Tensor, given: None = None) -> Tensor:
        self.passes += 1
        return self.table[torch.cat((torch.full_like(x[:, :1], 5), x[:, :-1]), 1)]

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Tensor:
        return draw_by_iteration(self, noise, given, how)

    def stages(self):
        return []


@pytest.mark.parametrize(
    "how", [FAITHFUL, Sampling(top_k=2), Sampling(known=prefix(Tokens(5, 40), torch.ones(1, 7).long()))]
)
def test_fixed_point_iteration_draws_what_the_loop_draws_in_fewer_passes(how: Sampling) -> None:
    torch.manual_seed(0)
    model = Markov(MarkovConfig())
    drawn, few = model.sample(8, seed=3, how=how), model.passes
    assert torch.equal(drawn, draw_naively(model, ItemNoise(3, range(8)), None, how))
    assert few < 40 and len(drawn.unique()) > 1
    if how.known is not None:
        assert (drawn[:, :7] == 1).all() and not (drawn[:, 7:] == 1).all()


def test_other_models_take_no_options() -> None:
    vae = find("vae").load()(find("vae").presets()["vae-tiny"].config)
    with pytest.raises(UsageError, match="not autoregressive"):
        vae.sample(1, seed=0, how=Sampling(temperature=0.5))


LAST = 1 - 2**-24
"""The highest uniform number in float32."""


@pytest.mark.parametrize("how", [FAITHFUL, Sampling(top_k=3), Sampling(top_p=0.7), Sampling(temperature=0.3, top_k=3)])
def test_a_level_that_may_not_come_never_comes(how: Sampling) -> None:
    """At either end of the uniform numbers: probabilities in float32 often add up to less than the last of them."""
    logits = 2 * torch.randn(2000, 50)
    logits[:, :5] = -torch.inf
    logits[:, 45:] = -torch.inf
    for u in (0.0, LAST):
        level = how.pick(logits, torch.full((2000,), u))
        p = how.steer(logits).softmax(-1).gather(-1, level[:, None])
        assert (p > 0).all()
    for sure in (-torch.inf, torch.inf):
        coin = how.pick(torch.full((2, 1), sure), torch.tensor([0.0, LAST]))
        assert coin.tolist() == [int(sure > 0)] * 2


def test_inverse_cdf_skips_what_is_impossible() -> None:
    p = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    u = torch.tensor([0.0, 0.25, 0.5, 0.75, LAST])
    assert inverse_cdf(p.log().expand(5, -1), u).tolist() == [1, 1, 3, 3, 3]


@pytest.mark.parametrize(
    ("p", "top_p", "kept"),
    [
        ([0.4, 0.3, 0.2, 0.1], 0.7, 2),
        ([0.7, 0.2, 0.1], 0.9, 2),
        ([0.1] * 10, 0.3, 3),
        ([0.25] * 4, 0.75, 3),
        ([0.6, 0.3, 0.1], 0.6, 1),
        ([0.6, 0.3, 0.1], 0.601, 2),
        ([0.05] * 20, 0.95, 19),
    ],
)
def test_top_p_keeps_no_more_than_it_takes(p: list[float], top_p: float, kept: int) -> None:
    for order in (torch.arange(len(p)), torch.randperm(len(p))):
        for shift in (0.0, 8.0, -8.0):
            left = Sampling(top_p=top_p).steer(torch.tensor(p).log()[order] + shift)
            assert left.isfinite().sum() == kept


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-46, 1e-39, 1e-38, 1e-30, 1e-10])
def test_a_low_temperature_takes_the_likeliest(temperature: float) -> None:
    logits = torch.randn(200, 7) * 30
    level = Sampling(temperature=temperature).pick(logits, torch.rand(200))
    assert torch.equal(level, logits.argmax(-1))
    coin = Sampling(temperature=temperature).pick(torch.tensor([[2.0], [-2.0]]), torch.tensor([0.99, 0.01]))
    assert coin.tolist() == [1, 0]


# Models of codes


def models_of_codes() -> list[str]:
    """Tiny ones that have a condition."""
    of_codes = [entry.presets() for entry in own().values() if issubclass(entry.load(), Coding)]
    return [name for one in of_codes for name, p in one.items() if "-tiny" in name and p.config.given is not None]


def decided(name: str) -> tuple[Coding, Given]:
    """One whose codes are far from equally likely, and conditions for 12 samples."""
    torch.manual_seed(0)
    model = create(name, seed=0).eval()
    for weight in model.parameters():
        weight.data += 0.5 * torch.randn(weight.shape)
    return model, first_examples(model, Examples(model.config.x, model.config.given), 12).given


@pytest.mark.parametrize("name", models_of_codes())
def test_guidance_of_0_ignores_the_condition(name: str) -> None:
    model, given = decided(name)
    others = given[torch.arange(12).flip(0)]

    def same(guidance: float) -> bool:
        one, other = (model.sample(12, g, seed=1, how=Sampling(guidance=guidance)) for g in (given, others))
        return torch.equal(one, other)

    assert same(0.0) and not same(1.0)


@pytest.mark.parametrize("name", models_of_codes())
def test_the_best_of_several_is_a_function_of_the_seed(name: str) -> None:
    """Not of torch's own generator, nor of what is drawn beside it."""
    model, given, how = *decided(name), Sampling(best_of=4)
    x = model.sample(12, given, seed=1, how=how)
    torch.manual_seed(5)
    apart = [model.sample(1, given[i : i + 1], seed=1, first=i, how=how) for i in range(12)]
    torch.testing.assert_close(torch.cat(apart), x)
