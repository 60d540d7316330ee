"""VideoGPT on code spaces so small that all codes can be summed over: the sum, the cache, guidance, blocks."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from triptych.core import UNKNOWN, Adam, Batch, Clock, ItemNoise, Picture, Sampling, StepNoise, UsageError, Video
from triptych.models.autoregressive.videogpt import PRESETS, VideoGPT, VideoGPTConfig
from triptych.testing.toys import Examples, every_element, first_examples
from triptych.training import Run, train

TINY: VideoGPTConfig = PRESETS["videogpt-tiny"].config
BLOCKS: VideoGPTConfig = PRESETS["videogpt-tiny-blocks"].config
EVERY = pytest.mark.parametrize("c", [TINY, BLOCKS], ids=["single frames", "blocks"])


def make(c: VideoGPTConfig) -> VideoGPT:
    """A random model of codes that are not equally likely."""
    torch.manual_seed(0)
    model = VideoGPT(c).double().eval()
    torch.nn.init.normal_(model.out.weight, std=0.7)
    torch.nn.init.normal_(model.tokenizer.decoder[-1].weight, std=0.7)
    return model


def some(c: VideoGPTConfig, n: int) -> Picture:
    return first_examples(VideoGPT(c), Examples(c.x, c.given), n).given.map(Tensor.double)


def same(given: Picture, n: int) -> Picture:
    """The first condition, for all."""
    return given.map(lambda t: t[:1].expand(n, *t.shape[1:]))


def every_code(model: VideoGPT) -> Tensor:
    return torch.tensor(list(itertools.product(range(model.codes.vocabulary), repeat=model.codes.length)))


@EVERY
def test_codes_sum_to_one_whatever_came_before(c: VideoGPTConfig) -> None:
    model = make(c)
    code, given = every_code(model), some(c, 2)
    p = [model.log_prob_codes(code, same(one, len(code))) for one in (given[:1], given[1:])]
    assert p[0].kind == "exact" and p[0].dims == model.codes.length
    for each in p:
        assert each.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert p[0].nats.std() > 0.1 and not torch.allclose(p[0].nats, p[1].nats)


def test_the_bound_is_one_term_of_the_sum_that_p_is() -> None:
    model, x = make(TINY), every_element(TINY.x).double()
    code, given = every_code(model), some(TINY, 1)
    joint = model.log_prob_codes(code, same(given, len(code))).nats + model.decode(code).log_prob(x[:, None])
    assert joint.exp().sum().item() == pytest.approx(1, abs=1e-12)
    bound, mine = model.log_prob(x, same(given, len(x))), (model.encode(x) * torch.tensor([6, 1])).sum(1)
    torch.testing.assert_close(bound.nats, joint[range(len(x)), mine])
    assert bound.kind == "lower bound" and (bound.nats < joint.logsumexp(1)).all()


@EVERY
def test_a_code_is_scored_by_those_before_it_alone(c: VideoGPTConfig) -> None:
    model, n = make(c), make(c).codes.length
    code, beside = torch.zeros(1, n, dtype=torch.long), model.beside(some(c, 1))
    base = model.scores(code, beside)
    for i in range(n):
        moved = code.clone()
        moved[0, i] = 1
        equal = (model.scores(moved, beside) == base).all(2)[0]
        assert equal[: i + 1].all() and not equal[i + 1 :].any()


@EVERY
@pytest.mark.parametrize("guidance", [1.0, 0.0, 3.0])
def test_the_cache_draws_what_the_naive_loop_does(c: VideoGPTConfig, guidance: float) -> None:
    """Guidance 1 is plain, 0 is without the frames before, and between and beyond are l_u + s (l_c - l_u)."""
    model, n, how = make(c), 16, Sampling(guidance=guidance, temperature=0.9, top_k=3)
    given, noise = some(c, n), lambda: ItemNoise(3, range(n), dtype=torch.float64)
    u, code = noise().uniform(model.codes.length), torch.zeros(n, model.codes.length, dtype=torch.long)
    with torch.no_grad():
        drawn = model.draw_codes(noise(), given, how)
        for i in range(model.codes.length):
            told, untold = (model.scores(code, k)[:, i] for k in (model.beside(given), model.where[None]))
            code[:, i] = how.pick(untold + guidance * (told - untold), u[:, i])
    assert torch.equal(drawn, code) and len(code.unique(dim=0)) > 1


def test_known_codes_stay() -> None:
    model = make(BLOCKS)
    known = torch.tensor([[1, UNKNOWN, 0, UNKNOWN, 1, UNKNOWN, UNKNOWN, 1]])
    code = model.draw_codes(ItemNoise(0, range(9), dtype=torch.float64), some(BLOCKS, 9), Sampling(known=known))
    assert (code[:, known[0] != UNKNOWN] == known[known != UNKNOWN]).all() and len(code.unique(dim=0)) > 1


def test_guided_samples_have_no_likelihood() -> None:
    model, given = make(TINY), some(TINY, 2)
    x = model.sample(2, given, seed=0, how=Sampling(guidance=3))
    for ask in (model.log_prob, lambda x, given, guidance: model.log_prob_codes(model.encode(x), given, guidance=0.0)):
        with pytest.raises(UsageError, match="guided samples are not drawn from p"):
            ask(x, given, guidance=3.0)


def test_a_block_is_made_of_its_own_frames_and_codes() -> None:
    """A change in frames 2 and 3 leaves the codes of the block of frames 0 and 1; and p(x | z) the other way round."""
    model = make(replace(BLOCKS, levels=(8, 8)))
    x = Examples(BLOCKS.x).values[:16].double()
    other = torch.cat((x[:, :2], -x[:, 2:]), 1)
    code, moved = model.encode(x), model.encode(other)
    assert torch.equal(code[:, :4], moved[:, :4]) and not torch.equal(code[:, 4:], moved[:, 4:])
    mean, meant = model.pixels(code).mean, model.pixels(moved).mean
    assert mean.shape == x.shape
    torch.testing.assert_close(mean[:, :2], meant[:, :2])
    assert not torch.allclose(mean[:, 2:], meant[:, 2:])
    learned = model.observed(model.tokenizer.learn(model.blocks(x)).unflatten(0, (16, 2))).mean
    torch.testing.assert_close(learned, mean)


def test_the_tokenizer_learns_what_frames_look_like() -> None:
    """Frames of which the left or the right is light: their codes tell which, four frames by a code of either side."""
    x, given = Video(4, 1, 4, 4, levels=4), Video(1, 1, 4, 4, levels=4)
    c = replace(BLOCKS, x=x, given=given, levels=(5, 5), tokenizer_adam=Adam(lr=1e-2))
    data = Examples(c.x, c.given)
    left = torch.rand(48, 4, 1, 1, 1, generator=torch.Generator().manual_seed(0)) < 0.5
    data.values = torch.where(left == (torch.arange(4) < 2), 1.0, -1.0).expand(48, 4, 1, 4, 4).contiguous()
    torch.manual_seed(0)
    model = VideoGPT(c)
    for now in train(model, data, Run(steps=100, batch=8)):
        if now.stage_name == "codes":
            break
    with torch.no_grad():
        error = (model.eval().pixels(model.encode(data.values)).mean - data.values).abs().mean()
    assert error < 0.2, f"{error}"


def test_what_is_dropped_does_without_the_frames_before() -> None:
    for drop, moved in ((1.0, False), (0.0, True)):
        model = make(replace(BLOCKS, drop=drop))
        batch = Batch(Examples(BLOCKS.x).values[:8].double(), some(BLOCKS, 8), StepNoise(0, 8, slice(None)))
        gradients = torch.autograd.grad(model.code_loss(batch, Clock(0, 0.0)).value, list(model.past.parameters()))
        assert any(g.any() for g in gradients) == moved


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match=r"span=2: 9 frames .* span=1 goes with any"):
        VideoGPTConfig(x=Video(9, 1, 64, 64))
    with pytest.raises(UsageError, match="halvings=3: sides of frames must be multiples of 8"):
        VideoGPTConfig(x=Video(10, 1, 60, 60), given=Video(10, 1, 60, 60))
    with pytest.raises(UsageError, match="width=100"):
        VideoGPTConfig(width=100)
    with pytest.raises(UsageError, match="as large as those before"):
        VideoGPTConfig(given=Video(10, 3, 64, 64))
