"""Finite scalar quantization by hand, and FSQ-VAE on spaces so small that all grids of codes can be summed over."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from triptych.core import Adam, Batch, Clock, Images, Label, LowerBound, Sampling, StepNoise, UsageError
from triptych.models.vae.fsq_vae import FSQVAE, PRESETS, FSQVAEConfig
from triptych.nn.fsq import FSQ
from triptych.testing.toys import Examples, every_element
from triptych.training import Run, train

TINY: FSQVAEConfig = PRESETS["fsq-vae-tiny"].config
CLASSES: FSQVAEConfig = PRESETS["fsq-vae-tiny-classes"].config


@pytest.mark.parametrize("levels", [(2,), (3,), (4,), (5, 2), (8, 6, 5), (7, 5, 5, 5, 5)])
def test_codes_and_numbers_are_one_to_one(levels: tuple[int, ...]) -> None:
    fsq, code = FSQ(levels), torch.arange(math.prod(levels))
    numbers = fsq(code)
    assert len(numbers.unique(dim=0)) == fsq.codes and numbers.abs().max() == 1
    digits = fsq.digits(numbers * fsq.scale + fsq.origin)
    torch.testing.assert_close((digits * fsq.radix).sum(-1), code, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("levels", "numbers"),
    [(2, [-1, 1]), (3, [-1, 0, 1]), (4, [-1, -0.5, 0, 0.5]), (5, [-1, -0.5, 0, 0.5, 1])],
)
def test_every_level_is_reached_in_order(levels: int, numbers: list[float]) -> None:
    """As the paper's Appendix A.1 has them: an even number of levels has one more below zero than above."""
    fsq, z = FSQ((levels,)), torch.linspace(-8, 8, 1001)[:, None]
    code = fsq.nearest(z)
    assert code.diff().min() == 0 and code.diff().max() == 1
    assert fsq(torch.arange(levels)).flatten().tolist() == numbers
    assert sorted(code.unique().tolist()) == list(range(levels))
    if levels > 2:
        assert fsq(fsq.nearest(torch.zeros(1, 1))).item() == 0


def test_bounds_are_the_papers() -> None:
    """Its Appendix A.1 in numpy, at four levels: half = 3 (1 + .001) / 2, offset = 1/2."""
    z, half = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None], 1.5015
    want = ((z + math.atanh(0.5 / half)).tanh() * half - 0.5).round() / 2
    fsq = FSQ((4,)).double()
    torch.testing.assert_close(fsq(fsq.nearest(z)), want)


def test_half_precision_gives_no_code_that_there_is_not() -> None:
    fsq = FSQ((8, 6, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = torch.linspace(-30, 30, 999).bfloat16()[:, None].expand(-1, 3)
        code, numbers = fsq.nearest(z), fsq.pass_through(z)
    assert code.min() == 0 and code.max() == 239 and numbers.dtype == torch.float32
    torch.testing.assert_close(numbers, fsq(code), rtol=0, atol=0)
    torch.testing.assert_close(code, fsq.nearest(z.float()), rtol=0, atol=0)


def test_the_gradient_is_that_of_what_was_rounded() -> None:
    fsq, z = FSQ((5, 4)).double(), torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 2, dtype=torch.float64)
    got = torch.autograd.grad((fsq.pass_through(z) * weight).sum(), z)[0]
    want = torch.autograd.grad((fsq.numbers(fsq.bound(z)) * weight).sum(), z)[0]
    torch.testing.assert_close(got, want)
    assert (got != 0).all()


def test_use_is_that_of_the_whole_batch() -> None:
    fsq = FSQ((2, 2))
    for part in ([0, 0], [1, 1]):
        fsq.observe(torch.tensor(part))
    said = fsq.follow()
    assert said["used"].item() == 0.5 and said["perplexity"].item() == pytest.approx(2)
    fsq.observe(torch.arange(4))
    assert fsq.follow()["perplexity"].item() == pytest.approx(4), "of this batch alone"


def make(c: FSQVAEConfig) -> FSQVAE:
    """A random model whose prior is not uniform."""
    torch.manual_seed(0)
    model = FSQVAE(c).double().eval()
    torch.nn.init.normal_(model.code_prior.out.weight, std=0.7)
    torch.nn.init.normal_(model.tokenizer.decoder[-1].weight, std=0.7)
    return model


@pytest.mark.parametrize("c", [TINY, replace(TINY, given=CLASSES.given)], ids=["alone", "by class"])
def test_the_bound_is_one_term_of_the_sum_that_p_is(c: FSQVAEConfig) -> None:
    model, x = make(c), every_element(c.x).double()
    rows, columns = model.tokenizer.grid
    grids = torch.tensor(list(itertools.product(range(6), repeat=rows * columns))).view(-1, rows, columns)

    def label(n: int) -> Label | None:
        return Label(torch.ones(n, dtype=torch.long)) if c.given else None

    with torch.no_grad():
        joint = model.code_prior.log_prob(grids, label(len(grids))) + model.decode(grids).log_prob(x[:, None])
        bound, code = model.log_prob(x, label(len(x))), model.encode(x)
    assert joint.exp().sum().item() == pytest.approx(1, abs=1e-12)
    mine = [next(i for i, g in enumerate(grids) if torch.equal(g, k)) for k in code]
    torch.testing.assert_close(bound.nats, joint[range(len(x)), mine])
    assert isinstance(bound, LowerBound) and bound.measure == "mass" and bound.dims == c.x.dims
    assert (bound.nats < joint.logsumexp(1)).all()


def test_samples_are_decoded_draws_of_the_prior() -> None:
    """Of the decoder's means, as many of each grid as the prior says."""
    model = make(TINY)
    grids = torch.tensor(list(itertools.product(range(6), repeat=2))).view(-1, 1, 2)
    with torch.no_grad():
        p = model.code_prior.log_prob(grids, None).exp()
        mean = model.decode(grids).mean
        u = torch.rand(4000, 1, 2, dtype=torch.float64)
        drawn = model.code_prior.draw(u, None)
    seen = torch.bincount(drawn[:, 0, 0] * 6 + drawn[:, 0, 1], minlength=36) / 4000
    assert (seen - p).abs().max() < 0.03 and mean.shape == (36, 1, 2, 4)


def test_the_loss_is_the_distortion_of_its_own_codes() -> None:
    model, x = make(TINY), every_element(TINY.x)[::5].double()
    loss = model.loss(Batch(x, None, StepNoise(0, len(x), slice(None))), Clock(0, 0.0))
    torch.testing.assert_close(loss.value, -model.decode(model.encode(x)).log_prob(x).mean())
    assert set(model.tokenizer.fsq.follow()) == {"used", "perplexity"}


def test_training_finds_codes_and_their_distribution() -> None:
    """Each half of the image is all black or all white, and the right one the left's opposite: one bit in all."""
    torch.manual_seed(0)
    c = replace(TINY, adam=Adam(lr=1e-2), prior_adam=Adam(lr=1e-2))
    left = torch.tensor([1.0, -1.0]).repeat(32)[:, None, None, None].expand(-1, 1, 2, 2)
    data = Examples(c.x, n=64)
    data.values = torch.cat((left, -left), 3)
    model = FSQVAE(c)
    for _ in train(model, data, Run(steps=80, batch=16)):
        pass
    nats = model.log_prob(data.values[:2]).nats
    assert -math.log(2) - 0.2 < nats.mean() < -math.log(2) + 0.05 and (nats < 0).all()


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match="halvings=3"):
        FSQVAEConfig(x=Images(1, 12, 12), halvings=3)
    with pytest.raises(UsageError, match="levels"):
        FSQVAEConfig(levels=(1, 5))
    with pytest.raises(UsageError, match="levels"):
        FSQVAEConfig(levels=())
    with pytest.raises(UsageError, match="no condition to follow; leave out guidance=3"):
        FSQVAE(TINY).sample(2, how=Sampling(guidance=3))
