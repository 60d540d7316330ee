"""LlamaGen on code spaces so small that all codes can be summed over: the sum, the cache, guidance, the two stages."""

import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import triptych as tt
from triptych.core import (
    UNKNOWN,
    Batch,
    Clock,
    Given,
    Images,
    ItemNoise,
    Label,
    Sampling,
    StepNoise,
    Text,
    UsageError,
)
from triptych.inference.importance import LatentVariable
from triptych.models.autoregressive.llamagen import PRESETS, LlamaGen, LlamaGenConfig
from triptych.testing.toys import Examples, every_element, first_examples
from triptych.training import Run, extracting, train

TINY: LlamaGenConfig = PRESETS["llamagen-tiny"].config
CLASSES: LlamaGenConfig = PRESETS["llamagen-tiny-classes"].config
TEXT: LlamaGenConfig = PRESETS["llamagen-tiny-text"].config
EVERY = pytest.mark.parametrize("c", [TINY, CLASSES, TEXT], ids=["alone", "by class", "by text"])


def make(c: LlamaGenConfig) -> LlamaGen:
    """A random model of codes that are not equally likely."""
    torch.manual_seed(0)
    model = LlamaGen(c).double().eval()
    torch.nn.init.normal_(model.out.weight, std=0.7)
    torch.nn.init.normal_(model.tokenizer.decoder[-1].weight, std=0.7)
    return model


def one(c: LlamaGenConfig, n: int) -> Given | None:
    """The same condition for all."""
    if c is TEXT:
        return Text(torch.tensor([[3, 1, 0]]).expand(n, -1))
    return None if c.given is None else Label(torch.full((n,), 2))


def every_code(model: LlamaGen) -> Tensor:
    return torch.tensor(list(itertools.product(range(model.codes.vocabulary), repeat=model.codes.length)))


@EVERY
def test_codes_sum_to_one(c: LlamaGenConfig) -> None:
    model = make(c)
    code = every_code(model)
    p = model.log_prob_codes(code, one(c, len(code)))
    assert p.kind == "exact" and p.dims == model.codes.length
    assert p.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert p.nats.std() > 0.1


def test_the_bound_is_one_term_of_the_sum_that_p_is() -> None:
    model, x = make(TINY), every_element(TINY.x).double()
    code = every_code(model)
    joint = model.log_prob_codes(code).nats + model.decode(code).log_prob(x[:, None])
    assert joint.exp().sum().item() == pytest.approx(1, abs=1e-12)
    bound, mine = model.log_prob(x), (model.encode(x) * torch.tensor([6, 1])).sum(1)
    torch.testing.assert_close(bound.nats, joint[range(len(x)), mine])
    assert bound.kind == "lower bound" and (bound.nats < joint.logsumexp(1)).all()


@EVERY
def test_a_code_is_scored_by_those_before_it_alone(c: LlamaGenConfig) -> None:
    model = make(c)
    n = model.codes.length
    code = torch.zeros(1, n, dtype=torch.long)
    ids = model.prefix.ids(1, one(c, 1))
    base = model.code_prior.scores(code, ids)
    for i in range(n):
        moved = code.clone()
        moved[0, i] = 1
        same = (model.code_prior.scores(moved, ids) == base).flatten(2).all(2)[0]
        assert same[: i + 1].all() and not same[i + 1 :].any()


@EVERY
@pytest.mark.parametrize("guidance", [1.0, 0.0, 3.0])
def test_the_cache_draws_what_the_naive_loop_does(c: LlamaGenConfig, guidance: float) -> None:
    """Guidance 1 is plain, 0 is without the condition, and between and beyond are l_u + s (l_c - l_u)."""
    if c.given is None and guidance != 1:
        return
    model, n, how = make(c), 16, Sampling(guidance=guidance, temperature=0.9, top_k=3)
    given = first_examples(model, Examples(c.x, c.given), n).given
    noise = ItemNoise(3, range(n), dtype=torch.float64)
    u, code = (
        ItemNoise(3, range(n), dtype=torch.float64).uniform(model.codes.length),
        torch.zeros(n, model.codes.length),
    )
    code, ids = code.long(), model.prefix.ids(n, given)
    with torch.no_grad():
        drawn = model.draw_codes(noise, given, how)
        for i in range(model.codes.length):
            told, untold = (model.code_prior.scores(code, k)[:, i] for k in (ids, model.prefix.none(n)))
            code[:, i] = how.pick(untold + guidance * (told - untold), u[:, i])
    assert torch.equal(drawn, code) and len(code.unique(dim=0)) > 1


def test_known_codes_stay() -> None:
    model = make(TEXT)
    known = torch.tensor([[2, UNKNOWN, 1, UNKNOWN]])
    code = model.draw_codes(ItemNoise(0, range(9)), one(TEXT, 9), Sampling(known=known, guidance=2))
    assert (code[:, 0] == 2).all() and (code[:, 2] == 1).all() and len(code.unique(dim=0)) > 1


def test_guided_samples_have_no_likelihood() -> None:
    model = make(CLASSES)
    x = model.sample(2, [0, 1], seed=0, how=Sampling(guidance=3))
    given = Label(torch.tensor([0, 1]))
    for ask in (
        lambda: model.log_prob(x, given, guidance=3.0),
        lambda: model.log_prob_codes(model.encode(x), given, guidance=0.0),
    ):
        with pytest.raises(UsageError, match="guided samples are not drawn from p"):
            ask()
    torch.testing.assert_close(model.log_prob(x, given, guidance=1.0).nats, model.log_prob(x, given).nats)
    with pytest.raises(UsageError, match="has no condition to follow"):
        make(TINY).sample(2, how=Sampling(guidance=3))
    with pytest.raises(UsageError, match="guidance=-1"):
        Sampling(guidance=-1)


def test_of_several_the_likeliest_is_kept() -> None:
    model, n = make(CLASSES), 24
    given = Label(torch.arange(n) % 2)
    noise = ItemNoise(3, range(n), dtype=torch.float64)
    codes = torch.stack([model.draw_codes(noise, given) for _ in range(4)])
    means = torch.stack([model.pixels(code).mean for code in codes])
    nats = torch.stack([model.log_prob_codes(model.encode(x), given).nats for x in means])
    found = model.steered(ItemNoise(3, range(n), dtype=torch.float64), given, Sampling(best_of=4)).mean
    assert torch.equal(found, means[nats.argmax(0), torch.arange(n)]) and (found != means[0]).any()
    with pytest.raises(UsageError, match="dcgan has no codes to choose the likeliest of"):
        tt.create("dcgan-tiny").sample(1, how=Sampling(best_of=2))
    with pytest.raises(UsageError, match="best_of=0: it must be 1 or more"):
        Sampling(best_of=0)


def test_the_command_line_guides(tmp_path: Path, cli: Any) -> None:
    """By either name."""
    torch.manual_seed(0)
    model = LlamaGen(CLASSES)
    torch.nn.init.normal_(model.out.weight, std=2.0)
    torch.nn.init.normal_(model.tokenizer.decoder[-1].weight, std=2.0)
    tt.save_pretrained(model, tmp_path / "run")

    def drawn(*options: object) -> np.ndarray:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        done = cli("sample", tmp_path / "run", "--out", out, "-n", 64, "--given", 1, *options)
        assert done.code == 0, done
        with np.load(out) as arrays:
            return np.asarray(arrays[arrays.files[0]])

    plain, guided = drawn(), drawn("--guidance", 5)
    assert (guided == drawn("--cfg-scale", 5)).all() and (drawn("--guidance", 1) == plain).all()
    assert (guided != plain).any()
    assert (drawn("--best-of", 1) == plain).all() and (drawn("--best-of", 3) != plain).any()


def test_words_of_captions_are_a_condition() -> None:
    """As data that come with captions have them: with words, and what fills up."""
    data = tt.data("shapes", size=16)
    model = LlamaGen(replace(TEXT, x=data.x, given=data.given))
    assert len(model.sample(2, "a red circle", seed=0, how=Sampling(guidance=2))) == 2
    for _ in train(model, data, Run(steps=1, batch=4)):
        pass


def test_what_is_dropped_teaches_the_null_condition() -> None:
    """With drop = 1 no condition is ever seen, with 0 none is ever left out."""
    for drop, seen, unseen in ((1.0, 3, 0), (0.0, 0, 3)):
        model = make(replace(CLASSES, drop=drop, dropout=0.0))
        batch = Batch(Examples(CLASSES.x).values[:8].double(), one(CLASSES, 8), StepNoise(0, 8, slice(None)))
        gradient = torch.autograd.grad(model.code_loss(batch, Clock(0, 0.0)).value, model.prefix.token.weight)[0]
        rows = gradient.abs().sum(1) > 0
        assert rows[3] == bool(seen) and rows[2] == bool(unseen) and not rows[:2].any()


def test_the_stages_train_what_they_should() -> None:
    model = LlamaGen(CLASSES)
    first = copy.deepcopy(model.state_dict())
    for now in train(model, Examples(CLASSES.x, CLASSES.given), Run(steps=3, batch=8)):
        if (now.stage_name, now.stage_step) == ("tokenizer", 3):
            between = copy.deepcopy(model.state_dict())
    last = model.state_dict()

    def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
        return {k.partition(".")[0] for k in a if not torch.equal(a[k], b[k])}

    assert moved(first, between) == {"tokenizer"}
    assert moved(between, last) == {"prefix", "code", "where", "transformer", "out"}


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match="halvings=3"):
        LlamaGenConfig(x=Images(1, 12, 12), halvings=3)
    with pytest.raises(UsageError, match="width=10"):
        LlamaGenConfig(width=10)


class Counted(LlamaGen):
    """Counts the images that it is asked the codes of."""

    def encode(self, x: Tensor, given: Given | None = None) -> Tensor:
        self.seen = getattr(self, "seen", 0) + len(x)
        return super().encode(x, given)


def trained(data: Examples, steps: int, stop: int | None = None, looks: int = 2) -> tuple[Counted, dict[str, Tensor]]:
    """A model trained for so many rounds a stage; with `stop`, interrupted then, and resumed in another model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extracting, "LOOKS", looks)
        patch.setattr(extracting, "CHUNK", 20)
        torch.manual_seed(0)
        model, run, state = Counted(CLASSES), Run(steps=steps, batch=8), None
        for now in train(model, data, run):
            if now.step == stop:
                state = copy.deepcopy(now.state())
                break
        if state is not None:
            kept = copy.deepcopy(model.state_dict())
            model = Counted(CLASSES)
            model.load_state_dict(kept)
            for _ in train(model, data, run, resume=state):
                pass
    return model, model.state_dict()


def test_codes_are_read_once_for_a_stage_that_sees_them_often() -> None:
    data = Examples(CLASSES.x, CLASSES.given, n=48)
    once, weights = trained(data, 14)
    anew, others = trained(data, 14, looks=99)
    assert (once.seen, anew.seen) == (48, 14 * 8)
    assert all(torch.equal(weights[k], others[k]) for k in weights), "they are the codes that it would have read"


@pytest.mark.parametrize("stop", [5, 17, 27])
def test_a_resumed_stage_reads_the_codes_again(stop: int) -> None:
    data = Examples(CLASSES.x, CLASSES.given, n=48)
    _, weights = trained(data, 14)
    model, again = trained(data, 14, stop)
    assert model.seen == 48
    assert all(torch.equal(weights[k], again[k]) for k in weights)


class Flickering(Examples):
    """As data that are drawn anew at each look."""

    def fetch(self, rows: Tensor, noise: Any) -> Batch[Any]:
        batch = super().fetch(rows, noise)
        return replace(batch, x=torch.where(noise.uniform(*self.x.shape) < 0.5, -batch.x, batch.x))


def test_what_is_drawn_anew_is_read_anew_and_so_is_what_is_seen_once() -> None:
    assert trained(Flickering(CLASSES.x, CLASSES.given, n=48), 14)[0].seen == 14 * 8
    assert trained(Examples(CLASSES.x, CLASSES.given, n=48), 11)[0].seen == 11 * 8


def test_more_than_memory_holds_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "MOST", 48 * 4 * 4 - 1)
    assert trained(Examples(CLASSES.x, CLASSES.given, n=48), 14)[0].seen == 20 + 14 * 8


def test_its_codes_are_no_latent_that_others_could_draw_of_a_prior() -> None:
    model = tt.create("llamagen-tiny")
    assert not isinstance(model, LatentVariable)
    assert {name.partition(".")[0] for name in model.state_dict()} == {
        "tokenizer",
        "prefix",
        "code",
        "where",
        "transformer",
        "out",
    }, "the names that runs are saved by"
