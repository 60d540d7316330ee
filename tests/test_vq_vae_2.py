"""VQ-VAE-2 on a space so small that all pairs of grids can be summed over: the bound, the two priors, the stages."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from triptych.core import Batch, Clock, Images, ItemNoise, Label, Labels, StepNoise, UsageError, inverse_cdf
from triptych.models.vae.vq_vae_2 import PRESETS, VQVAE2, VQVAE2Config
from triptych.testing.toys import Examples
from triptych.training import Run, train

TINY: VQVAE2Config = PRESETS["vq-vae-2-tiny"].config
CLASSES = replace(TINY, x=Images(1, 8, 4, levels=2), codes=5, given=Labels(2))


def make(c: VQVAE2Config) -> VQVAE2:
    """A random model whose priors are not uniform."""
    torch.manual_seed(0)
    model = VQVAE2(c).double().eval()
    for layer in (model.top_prior.out, model.bottom_prior.out, model.decoder[-1]):
        torch.nn.init.normal_(layer.weight, std=0.7)
    return model


def grids(codes: int, rows: int, columns: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(codes), repeat=rows * columns))).view(-1, rows, columns)


def some_images(c: VQVAE2Config, n: int) -> Tensor:
    return c.x.from_index((StepNoise(3, n, slice(None)).uniform(*c.x.shape) < 0.5).long()).double()


def test_the_bound_is_one_term_of_the_sum_that_p_is() -> None:
    model, x = make(TINY), some_images(TINY, 12)
    tops, bottoms = grids(2, 1, 1), grids(2, 2, 2)
    top = tops.repeat_interleave(len(bottoms), 0)
    bottom = bottoms.repeat(len(tops), 1, 1)
    with torch.no_grad():
        p_top = model.top_prior.log_prob(top, None, None)
        p_bottom = model.bottom_prior.log_prob(bottom, None, model.above(top))
        joint = p_top + p_bottom + model.decode((top, bottom)).log_prob(x[:, None])
        bound, (a, b) = model.log_prob(x), model.encode(x)
    assert (p_top + p_bottom).exp().sum().item() == pytest.approx(1, abs=1e-12)
    mine = a.flatten() * 16 + (b.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1)
    torch.testing.assert_close(bound.nats, joint[range(len(x)), mine])
    assert (bound.nats < joint.logsumexp(1)).all()


def test_the_priors_are_uniform_until_they_are_trained() -> None:
    model, x = VQVAE2(TINY).eval(), some_images(TINY, 3).float()
    uniform = model.decode(model.encode(x)).log_prob(x) - 5 * torch.tensor(2.0).log()
    torch.testing.assert_close(model.log_prob(x).nats, uniform)


def test_the_grids() -> None:
    assert PRESETS["vq-vae-2-imagenet"].config.top == (32, 32) and PRESETS["vq-vae-2-imagenet"].config.bottom == (
        64,
        64,
    )
    model = make(CLASSES)
    top, bottom = model.encode(some_images(CLASSES, 6))
    assert top.shape == (6, 2, 1) and bottom.shape == (6, 4, 2)
    p = model.decode((top.view(2, 3, 2, 1), bottom.view(2, 3, 4, 2)))
    assert p.batch_shape == (2, 3) and p.event_shape == (1, 8, 4)


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_the_cache_draws_what_the_naive_loop_draws(level: str) -> None:
    model, given = make(CLASSES).float(), Label(torch.arange(8) % 2)
    prior, size = (model.top_prior, CLASSES.top) if level == "top" else (model.bottom_prior, CLASSES.bottom)
    with torch.no_grad():
        above = None if level == "top" else model.above(torch.arange(16).view(8, 2, 1) % 5)
        u = ItemNoise(3, range(8)).uniform(*size)
        drawn, naive = prior.draw(u, given, above), torch.zeros(u.shape, dtype=torch.long)
        for i, j in itertools.product(*map(range, size)):
            naive[:, i, j] = inverse_cdf(prior(naive, given, above)[:, i, j], u[:, i, j])
    assert torch.equal(drawn, naive) and len(drawn.unique()) > 1


def test_the_bottom_prior_is_told_of_the_top() -> None:
    """Every place of it, the first one included; and the class tells both."""
    model, bottom = make(TINY), torch.zeros(1, 2, 2, dtype=torch.long)
    with torch.no_grad():
        one, other = (model.bottom_prior(bottom, None, model.above(torch.tensor([[[k]]]))) for k in (0, 1))
    assert ((one - other).abs().amax(-1) > 1e-6).all()
    model, x = make(CLASSES), some_images(CLASSES, 2)
    with torch.no_grad():
        zero, one = (model.log_prob(x, Label(torch.full((2,), y))).nats for y in (0, 1))
    assert ((zero - one).abs() > 1e-6).all()


def test_codes_are_drawn_as_often_as_the_priors_say(monkeypatch: pytest.MonkeyPatch) -> None:
    model, n, seen = make(TINY).float(), 8000, []
    pixels = model.pixels
    monkeypatch.setattr(model, "pixels", lambda *e: seen.append(e) or pixels(*e))
    with torch.no_grad():
        model.draw(StepNoise(5, n, slice(None)))
        top, bottom = model.top_codebook.nearest(seen[0][0]), model.bottom_codebook.nearest(seen[0][1])
        tops, bottoms = grids(2, 1, 1).repeat_interleave(16, 0), grids(2, 2, 2).repeat(2, 1, 1)
        log_p = model.top_prior.log_prob(tops, None, None)
        p = (log_p + model.bottom_prior.log_prob(bottoms, None, model.above(tops))).exp()
    pair = top.flatten() * 16 + (bottom.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1)
    z = (pair.bincount(minlength=32) - n * p) / (n * p * (1 - p)).sqrt()
    assert z[n * p > 5].abs().max() < 4.5 and p.max() < 0.9


def test_the_loss_is_equation_2() -> None:
    model, x = make(TINY), some_images(TINY, 8)
    loss = model.loss(Batch(x, None, StepNoise(0, 8, slice(None))), Clock(0, 0.0))
    h, (top, bottom) = model.bottom_encoder(x), model.encode(x)
    far = (model.of_top(h) - model.top_codebook(top)).square().flatten(1).sum(1)
    far = far + (model.of_bottom(h, model.top_codebook(top)) - model.bottom_codebook(bottom)).square().flatten(1).sum(1)
    torch.testing.assert_close(loss.value, (0.25 * far - model.decode((top, bottom)).log_prob(x)).mean())


def test_priors_learn_codes_in_float32_whatever_the_precision_of_a_run() -> None:
    model, seen = make(CLASSES).float(), list[torch.dtype]()
    model.bottom_vectors.register_forward_hook(lambda *_: seen.append(_[2].dtype))
    batch = Batch(some_images(CLASSES, 4).float(), Label(torch.arange(4) % 2), StepNoise(0, 4, slice(None)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for loss in (model.top_loss, model.bottom_loss):
            loss(batch, Clock(0, 0.0))
    assert seen == [torch.float32] * 2


def test_both_encoders_learn_through_the_codes() -> None:
    """With no commitment, what they learn comes from the decoder, straight through both grids."""
    model, x = make(replace(TINY, commitment=0.0)), some_images(TINY, 8)
    model.loss(Batch(x, None, StepNoise(0, 8, slice(None))), Clock(0, 0.0)).value.backward()
    for part in (model.bottom_encoder, model.top_encoder, model.top_vectors, model.bottom_vectors, model.top_decoder):
        assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in part.parameters())


def test_the_stages_train_what_they_should() -> None:
    model = VQVAE2(TINY)
    first = copy.deepcopy(model.state_dict())
    for now in train(model, Examples(TINY.x), Run(steps=3, batch=8)):
        if (now.stage_name, now.stage_step) == ("codes", 3):
            between = copy.deepcopy(model.state_dict())

    def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
        return {k.partition(".")[0] for k in a if not torch.equal(a[k], b[k])}

    priors = {"top_prior", "bottom_prior", "above"}
    assert moved(first, between) == {k.partition(".")[0] for k in first} - priors
    assert moved(between, model.state_dict()) == priors


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": Images(1, 28, 28)}, r"halvings=2, and once more to the top grid: .* multiples of 8, not 28 x 28"),
        ({"prior_width": 100}, r"prior_width=100 .* multiple of 32, for example 96"),
    ],
)
def test_what_cannot_be_built(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VQVAE2Config(**fields)


def test_images_outside_the_space_are_refused() -> None:
    with pytest.raises(UsageError, match="levels"):
        VQVAE2(TINY).log_prob(torch.zeros(1, 1, 4, 4))
