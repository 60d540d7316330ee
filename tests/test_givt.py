"""GIVT: mixtures against torch's, the cache against the naive loop, and the bound against the integral that p(x) is."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from triptych.core import Images, ItemNoise, Label, UsageError
from triptych.models.autoregressive.givt import GIVT, PRESETS, GIVTConfig
from triptych.nn.gaussians import GaussianMixture
from triptych.testing.toys import Examples, every_element
from triptych.training import Run, train

TINY: GIVTConfig = PRESETS["givt-tiny"].config
CLASSES: GIVTConfig = PRESETS["givt-tiny-classes"].config


def make(c: GIVTConfig) -> GIVT:
    """A random model whose latents tell of x, and depend on each other."""
    torch.manual_seed(0)
    model = GIVT(c).double().eval()
    torch.nn.init.normal_(model.out.weight, std=0.3)
    torch.nn.init.normal_(model.decoder[-1].weight, std=0.7)
    return model


def test_mixtures_are_torchs() -> None:
    torch.manual_seed(0)
    y, z = torch.randn(5, 3 * 5, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    ours = GaussianMixture.of(y, 3)
    assert (ours.scale > 0).all() and ours.scale.shape == (5, 3, 2)
    theirs = MixtureSameFamily(Categorical(logits=ours.weights), Independent(Normal(ours.mean, ours.scale), 1))
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))
    raw = torch.tensor([[0.0] * 3 + [0.0] * 6 + [0.0] * 6]).view(1, 15)
    assert (GaussianMixture.of(raw, 3).scale == 1).all()


def test_a_mixture_of_one_is_a_gaussian() -> None:
    """Its one score is no odds of two."""
    y, e = torch.randn(50, 5), torch.randn(50, 2)
    one = GaussianMixture.of(y, 1)
    torch.testing.assert_close(one.draw(torch.rand(50), e), one.mean[:, 0] + one.scale[:, 0] * e)
    torch.testing.assert_close(one.log_prob(e), Normal(one.mean[:, 0], one.scale[:, 0]).log_prob(e).sum(1))


def test_draws_follow_the_mixture() -> None:
    mixture = GaussianMixture(
        torch.tensor([math.log(3.0), 0.0]), torch.tensor([[0.0], [8.0]]), torch.tensor([[1.0], [0.5]])
    )
    noise, n = ItemNoise(0, range(4000), dtype=torch.float64), 4000
    wide = GaussianMixture(*(t.double().expand(n, *t.shape) for t in vars(mixture).values()))
    z = wide.draw(noise.uniform(), noise.normal(1))[:, 0]
    high = z > 5
    assert high.double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert z[high].std().item() == pytest.approx(0.5, abs=0.05) and z[~high].std().item() == pytest.approx(1, abs=0.06)


def test_the_density_of_latents_integrates_to_one() -> None:
    model, side = make(TINY), torch.linspace(-14, 14, 281, dtype=torch.float64)
    z = torch.cartesian_prod(side, side)[..., None]
    with torch.no_grad():
        p = model.log_prob_latents(z)
    assert p.kind == "exact" and p.measure == "density" and p.dims == 2
    assert p.nats.exp().sum().item() * (side[1] - side[0]).item() ** 2 == pytest.approx(1, abs=1e-3)


def test_the_bound_is_below_the_integral() -> None:
    """p(x), by a grid over both numbers; more draws come closer; the mean of weights is p(x)."""
    model, x = make(TINY), every_element(TINY.x)[::37].double()
    torch.nn.init.constant_(model.encoder[-1].bias[1:], 0.7)  # q is wide enough to propose by
    side = torch.linspace(-9, 9, 121, dtype=torch.float64)
    z = torch.cartesian_prod(side, side)[..., None]
    with torch.no_grad():
        joint = model.log_prob_latents(z).nats[:, None] + model.decode(z[:, None]).log_prob(x)
        truth = joint.logsumexp(0) + 2 * math.log((side[1] - side[0]).item())
        torch.manual_seed(0)
        elbo = torch.stack([model.log_prob(x).nats for _ in range(400)])
        many = model.log_prob(x, draws=4000)
    off = 4 * elbo.std(0) / 20
    assert (elbo.mean(0) < truth + off).all() and (truth - elbo.mean(0)).mean() > 0.05
    assert many.kind == "lower bound" and many.how == "IWAE bound, 4000 draws"
    assert (many.nats - truth).abs().mean() < 0.15
    with pytest.raises(UsageError, match="draws=0"):
        model.log_prob(x, draws=0)


@pytest.mark.parametrize("c", [TINY, CLASSES], ids=["alone", "by class"])
def test_the_cache_draws_what_the_naive_loop_does(c: GIVTConfig) -> None:
    model, n = make(c), 6
    given = None if c.given is None else Label(torch.arange(n) % 3)
    noise = ItemNoise(3, range(n), dtype=torch.float64)
    u, e = noise.uniform(model.places), noise.normal(model.places, c.latent)
    z, ids = torch.zeros_like(e), model.prefix.ids(n, given)
    with torch.no_grad():
        drawn = model.draw_latents(ItemNoise(3, range(n), dtype=torch.float64), given)
        for i in range(model.places):
            mixture = model.mixtures(z, ids)
            each = GaussianMixture(*(t[:, i] for t in vars(mixture).values()))
            z[:, i] = each.draw(u[:, i], e[:, i])
    torch.testing.assert_close(drawn, z)
    assert drawn.std() > 0.1


def test_a_vector_is_predicted_by_those_before_it_alone() -> None:
    model = make(CLASSES)
    z, ids = torch.zeros(1, 4, 2, dtype=torch.float64), torch.tensor([[1]])
    base = model.mixtures(z, ids).mean
    for i in range(4):
        moved = z.clone()
        moved[0, i] = 1
        same = (model.mixtures(moved, ids).mean == base).flatten(2).all(2)[0]
        assert same[: i + 1].all() and not same[i + 1 :].any()


def test_the_stages_train_what_they_should() -> None:
    model = GIVT(CLASSES)
    first = copy.deepcopy(model.state_dict())
    for now in train(model, Examples(CLASSES.x, CLASSES.given), Run(steps=3, batch=8)):
        if (now.stage_name, now.stage_step) == ("coder", 3):
            between = copy.deepcopy(model.state_dict())
    last = model.state_dict()

    def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
        return {k.partition(".")[0] for k in a if not torch.equal(a[k], b[k])}

    assert moved(first, between) == {"encoder", "decoder"}
    assert moved(between, last) == {"prefix", "read", "where", "transformer", "out"}


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match="halvings=3"):
        GIVTConfig(x=Images(1, 12, 12), halvings=3)
    with pytest.raises(UsageError, match="width=10"):
        replace(TINY, width=10)
