"""VQ-VAE on spaces so small that all grids of codes can be summed over: the bound, the prior, the two stages."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Images,
    ItemNoise,
    Label,
    Labels,
    LowerBound,
    StepNoise,
    UsageError,
    inverse_cdf,
)
from triptych.models.vae.vq_vae import PRESETS, VQVAE, VQVAEConfig
from triptych.testing.toys import Examples, every_element
from triptych.training import Run, train

TINY: VQVAEConfig = PRESETS["vq-vae-tiny"].config
GREY = replace(TINY, x=Images(1, 2, 4, levels=2), given=Labels(2))


def make(c: VQVAEConfig) -> VQVAE:
    """A random model whose prior is not uniform."""
    torch.manual_seed(0)
    model = VQVAE(c).double().eval()
    torch.nn.init.normal_(model.code_prior.out.weight, std=0.7)
    torch.nn.init.normal_(model.decoder[-1].weight, std=0.7)
    return model


def every_grid(c: VQVAEConfig) -> Tensor:
    rows, columns = c.grid
    return torch.tensor(list(itertools.product(range(c.codes), repeat=rows * columns))).view(-1, rows, columns)


def batch_of(x: Tensor, given: Label | None = None) -> Batch:
    return Batch(x, given, StepNoise(0, len(x), slice(None)))


# The likelihood


@pytest.mark.parametrize("c", [TINY, GREY], ids=["alone", "by class"])
def test_the_bound_is_one_term_of_the_sum_that_p_is(c: VQVAEConfig) -> None:
    model, x, grids = make(c), every_element(c.x).double(), every_grid(c)

    def label(n: int) -> Label | None:
        return Label(torch.ones(n, dtype=torch.long)) if c.given else None

    with torch.no_grad():
        prior = model.code_prior.log_prob(grids, label(len(grids)))
        joint = prior + model.decode(grids).log_prob(x[:, None])
        bound, code = model.log_prob(x, label(len(x))), model.encode(x)
    assert prior.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert joint.exp().sum().item() == pytest.approx(1, abs=1e-12)
    mine = [next(i for i, g in enumerate(grids) if torch.equal(g, k)) for k in code]
    torch.testing.assert_close(bound.nats, joint[range(len(x)), mine])
    assert isinstance(bound, LowerBound) and bound.measure == "mass" and bound.dims == c.x.dims
    assert (bound.nats < joint.logsumexp(1)).all()


def test_the_prior_is_uniform_until_it_is_trained() -> None:
    model, grids = VQVAE(TINY), every_grid(TINY)
    torch.testing.assert_close(model.code_prior.log_prob(grids, None).exp(), torch.full((9,), 1 / 9))


def test_pixels_of_many_levels_sum_to_one() -> None:
    """What the decoder says of a pixel is a mass over its levels: no squared error."""
    c = replace(TINY, x=Images(3, 2, 2, levels=7))
    model, x = make(c), torch.linspace(-1, 1, 7, dtype=torch.float64)
    p = model.decode(torch.tensor([[[1]]])).base_dist
    assert p.log_prob(x.view(7, 1, 1, 1, 1)).exp().sum(0).sub(1).abs().max() < 1e-9


def test_decoding_takes_any_axes_before_the_grid() -> None:
    model, code = make(TINY), torch.randint(3, (5, 2, 1, 2))
    x = every_element(TINY.x)[:2].double()
    many = model.decode(code).log_prob(x)
    torch.testing.assert_close(many, torch.stack([model.decode(k).log_prob(x) for k in code]))


def test_images_outside_the_space_are_refused() -> None:
    model = VQVAE(TINY)
    with pytest.raises(UsageError, match="levels"):
        model.log_prob(torch.zeros(1, 1, 2, 4))
    with pytest.raises(UsageError, match="shape"):
        model.log_prob(torch.ones(1, 1, 3, 3))
    with pytest.raises(UsageError, match="needs a condition"):
        VQVAE(GREY).log_prob(torch.ones(1, 1, 2, 4))


# The first stage


def test_the_loss_is_equation_3() -> None:
    model, x = make(TINY), every_element(TINY.x)[::5].double()
    loss = model.loss(batch_of(x), Clock(0, 0.0))
    z, e = model.vectors(x), model.codebook(model.encode(x))
    distortion = -model.decode(model.encode(x)).log_prob(x).mean()
    commitment = (z - e).square().flatten(1).sum(1).mean()
    torch.testing.assert_close(loss.value, distortion + 0.25 * commitment)
    torch.testing.assert_close(loss.logs["distortion"], distortion)
    assert set(loss.logs) == {"distortion", "commitment"}
    assert set(model.codebook.follow()) == {"used", "perplexity"}, "of the whole batch"


def test_the_encoder_learns_from_the_decoder_as_if_nothing_was_quantized() -> None:
    """Its gradient is the decoder's input's, plus that of the commitment."""
    model, x = make(TINY), every_element(TINY.x)[::5].double()
    got = torch.autograd.grad(model.loss(batch_of(x), Clock(0, 0.0)).value, model.encoder[0].weight)[0]
    z, e = model.vectors(x), model.codebook(model.encode(x)).requires_grad_()
    from_decoder = torch.autograd.grad(-model.pixels(e).log_prob(x).flatten(1).sum(1).mean(), e)[0]
    commitment = 2 * 0.25 * (z - e) / len(x)
    want = torch.autograd.grad(z, model.encoder[0].weight, (from_decoder + commitment).detach())[0]
    torch.testing.assert_close(got, want)


def test_the_stages_train_what_they_should() -> None:
    model, run = VQVAE(TINY), Run(steps=4, batch=8)
    first = copy.deepcopy(model.state_dict())
    for now in train(model, Examples(TINY.x), run):
        if (now.stage_name, now.stage_step) == ("codes", 4):
            between = copy.deepcopy(model.state_dict())
    last = model.state_dict()

    def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
        return {k.partition(".")[0] for k in a if not torch.equal(a[k], b[k])}

    assert moved(first, between) == {"encoder", "decoder", "codebook"} and moved(between, last) == {"code_prior"}


def test_training_finds_codes_and_their_distribution() -> None:
    """Each half of the image is all black or all white, and the right one the left's opposite: one bit in all."""
    torch.manual_seed(0)
    c = replace(TINY, codes=4, decay=0.9, adam=Adam(lr=1e-2), prior_adam=replace(TINY.prior_adam, lr=1e-2))
    left = torch.tensor([1.0, -1.0]).repeat(32)[:, None, None, None].expand(-1, 1, 2, 2)
    data = Examples(c.x, n=64)
    data.values = torch.cat((left, -left), 3)
    model = VQVAE(c)
    for _ in train(model, data, Run(steps=60, batch=16)):
        pass
    x = data.values[:2]
    with torch.no_grad():
        nats = model.eval().log_prob(x).nats
    assert nats.min() > -1.0 and nats.max() < -0.5  # -log 2 = -.69
    seen = (model.sample(200, seed=0)[:, None] == x).flatten(2).all(2).float().mean(0)
    assert seen.sum() > 0.9 and seen.min() > 0.3


# The prior


@pytest.mark.parametrize("c", [TINY, GREY, replace(TINY, x=Images(1, 8, 6, levels=2), codes=50)])
def test_the_cache_draws_what_the_naive_loop_draws(c: VQVAEConfig) -> None:
    model = make(c).float()
    given = Label(torch.arange(20) % 2) if c.given else None
    u = ItemNoise(3, range(20)).uniform(*c.grid)
    with torch.no_grad():
        drawn, naive = model.code_prior.draw(u, given), torch.zeros(u.shape, dtype=torch.long)
        for i, j in itertools.product(*map(range, c.grid)):
            naive[:, i, j] = inverse_cdf(model.code_prior(naive, given)[:, i, j], u[:, i, j])
        scores = model.code_prior(drawn, given)
    assert torch.equal(drawn, naive) and len(drawn.unique()) > 1
    assert scores.std() > 0.5
    if given is not None:
        assert not torch.equal(scores[:1], model.code_prior(drawn[:1], Label(1 - given.y[:1])))


def test_each_place_of_the_prior_sees_those_before_it() -> None:
    c = replace(TINY, x=Images(1, 6, 6, levels=2), codes=5)
    model, code = make(c), torch.randint(5, (1, 3, 3))
    with torch.no_grad():
        base = model.code_prior(code, None).flatten(1, 2)
        for i in range(9):
            other = code.flatten(1).clone()
            other[:, i] = (other[:, i] + 1) % 5
            moved = (model.code_prior(other.view(1, 3, 3), None).flatten(1, 2) != base).any(-1)[0]
            assert not moved[: i + 1].any() and (i == 8 or moved[i + 1 :].all())


# Refusals


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"halvings": 3}, r"multiples of 8, not 28 x 28; halve less often"),
        ({"prior_width": 100, "prior_heads": 8}, r"prior_width=100 .* multiple of 32, for example 96"),
        ({"codes": 0}, "codes"),
        ({"revive": 0.0}, "revive"),
    ],
)
def test_what_cannot_be_built(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VQVAEConfig(**fields)
