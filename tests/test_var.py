"""VAR on code spaces so small that all codes can be summed over: scales, the sum, the caches, guidance, the stages."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.core import UNKNOWN, Batch, Clock, Given, Images, ItemNoise, Label, Sampling, StepNoise, Text, UsageError
from triptych.models.autoregressive.var import PRESETS, VAR, VARConfig
from triptych.nn.scales import Resized, Scales, doublings, sizes
from triptych.testing.toys import Examples, every_element, first_examples
from triptych.training import Run, train

TINY: VARConfig = PRESETS["var-tiny"].config
CLASSES: VARConfig = PRESETS["var-tiny-classes"].config
TEXT: VARConfig = PRESETS["var-tiny-text"].config
EVERY = pytest.mark.parametrize("c", [TINY, CLASSES, TEXT], ids=["alone", "by class", "by text"])


def make(c: VARConfig) -> VAR:
    """A random model of codes that are not equally likely."""
    torch.manual_seed(0)
    model = VAR(c).double().eval()
    for layer in model.out:
        torch.nn.init.normal_(layer.weight, std=0.7)
    torch.nn.init.normal_(model.decoder[-1].weight, std=0.7)
    return model


def one(c: VARConfig, n: int) -> Given | None:
    """The same condition for all."""
    if c is TEXT:
        return Text(torch.tensor([[3, 1, 0]]).expand(n, -1))
    return None if c.given is None else Label(torch.full((n,), 2))


def every_code(model: VAR) -> Tensor:
    return torch.tensor(list(itertools.product(range(model.codes.vocabulary), repeat=model.codes.length)))


def test_the_sizes_of_scales() -> None:
    assert doublings((7, 7)) == (1, 2, 4, 7) and doublings((8, 4)) == (1, 2, 4, 8) and doublings((1, 1)) == (1,)
    assert sizes((7, 3), (1, 2, 4, 7)) == [(1, 1), (2, 1), (4, 2), (7, 3)]


@pytest.mark.parametrize("after", [(1, 1), (2, 3), (4, 4), (9, 8)])
def test_grids_are_resized_as_torch_does(after: tuple[int, int]) -> None:
    f = torch.randn(2, 3, 5, 7)
    small = Resized((5, 7), after)(f)
    mode: Any = {"mode": "area"} if after < (5, 7) else {"mode": "bicubic", "align_corners": False}
    torch.testing.assert_close(small, F.interpolate(f, size=after, **mode), rtol=1e-5, atol=1e-5)


def test_each_scale_takes_what_the_coarser_ones_left() -> None:
    """By hand: without phi, one code for the mean, then one a place for what is left."""
    scales = Scales([(1, 1), (1, 2)], 2, 1)
    for mix in scales.mixing:
        torch.nn.init.dirac_(mix.layer.weight)
        torch.nn.init.zeros_(mix.layer.bias)
    scales.books[0].codes = torch.tensor([[0.0], [5.0]])
    scales.books[1].codes = torch.tensor([[-1.0], [1.0]])
    code = scales.encode(torch.tensor([[[[3.8, 6.4]]], [[[0.9, 1.1]]]]))
    assert code.tolist() == [[1, 0, 1], [0, 1, 1]]
    torch.testing.assert_close(scales.decode(code), torch.tensor([[[[4.0, 6.0]]], [[[1.0, 1.0]]]]))
    torch.testing.assert_close(scales.before(code)[0], torch.tensor([[[5.0], [5.0]], [[0.0], [0.0]]]))
    f = torch.tensor([[[[3.0, 6.0]]]], requires_grad=True)
    through, toward, fitted = scales.learn(f, StepNoise(0, 1, slice(None)))
    assert toward.item() == fitted.item() == pytest.approx((4 + 1 + 1) / 2)
    assert through.tolist() == [[[[4.0, 6.0]]]]
    assert torch.autograd.grad(through.sum(), f)[0].tolist() == [[[[1.0, 1.0]]]]


def test_codes_that_fall_out_of_use_are_placed_anew_at_every_scale() -> None:
    """One vector an image at the coarsest scale is enough to bring 32 codes into use there."""
    torch.manual_seed(0)
    scales, said = Scales([(1, 1), (2, 2)], 32, 2, decay=0.9), {}
    for step in range(60):
        f = torch.randn(16, 2, 2, 2) + 3 * torch.randn(16, 2, 1, 1) + 9
        with torch.no_grad():
            scales.learn(f, StepNoise(step, 16, slice(None)))
        said = scales.follow()
    assert set(said) == {"used_1x1", "perplexity_1x1", "used_2x2", "perplexity_2x2"}
    assert said["used_1x1"] > 0.8 and said["used_2x2"] > 0.9, said
    assert said["perplexity_1x1"] > 16


@EVERY
def test_codes_sum_to_one(c: VARConfig) -> None:
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
    bound, mine = model.log_prob(x), (model.encode(x) * torch.tensor([16, 4, 1])).sum(1)
    torch.testing.assert_close(bound.nats, joint[range(len(x)), mine])
    assert bound.kind == "lower bound" and (bound.nats < joint.logsumexp(1)).all()


@EVERY
def test_a_scale_is_scored_by_coarser_ones_alone(c: VARConfig) -> None:
    model = make(c)
    code = torch.zeros(1, model.codes.length, dtype=torch.long)
    ids = model.prefix.ids(1, one(c, 1))
    base, lengths = model.scores(code, ids), model.quantizer.lengths
    for i in range(code.shape[1]):
        moved = code.clone()
        moved[0, i] = 1
        scale = next(k for k in range(len(lengths)) if i < sum(lengths[: k + 1]))
        same = (model.scores(moved, ids) == base).flatten(2).all(2)[0]
        after = sum(lengths[: scale + 1])
        assert same[:after].all() and not same[after:].any()


@EVERY
@pytest.mark.parametrize("guidance", [1.0, 0.0, 3.0])
def test_the_caches_draw_what_the_naive_loop_does(c: VARConfig, guidance: float) -> None:
    """In as many passes as scales; guidance grows from none to l_u + s (l_c - l_u), but where it is less than plain."""
    if c.given is None and guidance != 1:
        return
    model, n, how = make(c), 16, Sampling(guidance=guidance, temperature=0.9, top_k=3)
    given = first_examples(model, Examples(c.x, c.given), n).given
    passes: list[int] = []
    model.transformer.register_forward_hook(lambda *_: passes.append(1))
    u = ItemNoise(3, range(n), dtype=torch.float64).uniform(model.codes.length)
    code, ids, lengths = torch.zeros_like(u).long(), model.prefix.ids(n, given), model.quantizer.lengths
    with torch.no_grad():
        drawn = model.draw_codes(ItemNoise(3, range(n), dtype=torch.float64), given, how)
        assert len(passes) == len(lengths)
        for k, length in enumerate(lengths):
            part = slice(sum(lengths[:k]), sum(lengths[:k]) + length)
            told, untold = (model.scores(code, i)[:, part] for i in (ids, model.prefix.none(n)))
            by = 1 + (guidance - 1) * k / (len(lengths) - 1) if guidance > 1 else guidance
            code[:, part] = how.pick(untold + by * (told - untold), u[:, part])
    assert torch.equal(drawn, code) and len(code.unique(dim=0)) > 1


def test_known_codes_stay() -> None:
    model = make(CLASSES)
    known = torch.tensor([[2, UNKNOWN, 1, UNKNOWN, 0]])
    code = model.draw_codes(ItemNoise(0, range(99)), one(CLASSES, 99), Sampling(known=known))
    assert (code[:, [0, 2, 4]] == torch.tensor([2, 1, 0])).all() and len(code.unique(dim=0)) > 1


def test_guided_samples_have_no_likelihood() -> None:
    model = make(CLASSES)
    x, given = model.sample(2, [0, 1], seed=0, how=Sampling(guidance=3)), Label(torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="guided samples are not drawn from p"):
        model.log_prob(x, given, guidance=3.0)


def test_what_is_dropped_teaches_the_null_condition() -> None:
    for drop, told in ((1.0, False), (0.0, True)):
        model = make(replace(CLASSES, drop=drop))
        batch = Batch(Examples(CLASSES.x).values[:8].double(), one(CLASSES, 8), StepNoise(0, 8, slice(None)))
        gradient = torch.autograd.grad(model.code_loss(batch, Clock(0, 0.0)).value, model.prefix.token.weight)[0]
        rows = gradient.abs().sum(1) > 0
        assert rows.tolist() == [False, False, told, not told]


def test_the_stages_train_what_they_should() -> None:
    model = VAR(CLASSES)
    first = copy.deepcopy(model.state_dict())
    for now in train(model, Examples(CLASSES.x, CLASSES.given), Run(steps=3, batch=8)):
        if (now.stage_name, now.stage_step) == ("tokenizer", 3):
            between = copy.deepcopy(model.state_dict())
            assert "tokenizer/used_4x4" not in now.logs() and "tokenizer/used_2x2" in now.logs()
    last = model.state_dict()

    def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
        return {k.partition(".")[0] for k in a if not torch.equal(a[k], b[k])}

    assert moved(first, between) == {"encoder", "quantizer", "decoder"}
    assert moved(between, last) == {"prefix", "read", "scale", "where", "transformer", "out"}


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match="halvings=3"):
        VARConfig(x=Images(1, 12, 12), halvings=3)
    with pytest.raises(UsageError, match="width=10"):
        VARConfig(width=10)
    for scales in ((2, 7), (1, 4), (1, 4, 2, 7)):
        with pytest.raises(UsageError, match=r"they grow from 1 to 7.*\[1, 2, 4, 7\]"):
            VARConfig(scales=scales)
