"""CAAE: ages as planes and back, who learns what, and a code that stays while the age goes."""

from dataclasses import replace

import pytest
import torch

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.losses.pictures import total_variation
from triptych.models.translation.caae import CAAE, PRESETS, CAAEConfig
from triptych.nn.domains import amounts_of, planes_of, shares_of
from triptych.training.turn import only

TINY = PRESETS["caae-tiny"].config
NOW = Clock(0, 0.0)


def batch(n=4):
    x = 2 * torch.rand(n, 1, 8, 8) - 1
    shares = torch.eye(3)[torch.arange(n) % 3]
    return Batch(x, Picture(torch.cat([x, planes_of(shares, x)], 1)), StepNoise(0, n, slice(None)))


def test_planes_and_shares_are_each_other():
    shares = torch.tensor([[0.0, 0.25, 0.75], [1, 0, 0]])
    planes = planes_of(shares, torch.zeros(2, 1, 4, 6))
    assert planes.shape == (2, 3, 4, 6) and planes.min() == -1 and planes.max() == 1
    assert torch.allclose(shares_of(planes), shares, atol=1e-5)
    assert torch.allclose(amounts_of(planes), shares, atol=1e-6)
    nothing = shares_of(-torch.ones(1, 4, 2, 2))
    assert torch.allclose(nothing, torch.full((1, 4), 0.25))


def test_total_variation_by_hand():
    x = torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]])
    assert total_variation(x).item() == pytest.approx((0.5 + 0.5) / 2 + (1 + 0) / 2)
    assert total_variation(torch.ones(2, 3, 4, 4)).item() == 0


def test_another_age_is_another_picture_of_the_same_code():
    model, some = CAAE(TINY).eval(), batch(3)
    other = Picture(torch.cat([some.given.grid[:, :1], some.given.grid[:, 1:].roll(1, 0)], 1))
    noise = StepNoise(0, 3, slice(None))
    one, two = model.draw(noise, some.given), model.draw(noise, other)
    assert not torch.allclose(one, two)
    net = model.average.module
    z = net.encoder(some.x)
    assert z.abs().max() <= 1
    assert torch.allclose(net.decode(z, model.sought(other)), two, atol=1e-6)


def test_the_loss_is_the_weighted_sum():
    torch.manual_seed(0)
    weights = {"restore": 7.0, "smooth": 0.0, "prior": 0.0, "real": 0.0}
    some = batch()
    plain = CAAE(replace(TINY, **weights)).train()
    found = plain.autoencoder_loss(some, NOW)
    assert found.value.item() == pytest.approx(7 * found.logs["restore"].item(), rel=1e-5)
    plain.config = replace(TINY, **{**weights, "real": 2.0, "prior": 3.0})
    more = plain.autoencoder_loss(some, NOW).value.item()
    age = plain.sought(some.given).roll(1, 0)
    z = plain.autoencoder.encoder(some.x)
    judged = torch.nn.functional.softplus(-plain.score(plain.autoencoder.decode(z, age), age)).mean().item()
    coded = torch.nn.functional.softplus(-plain.code_judge(z)).mean().item()
    assert more - found.value.item() == pytest.approx(2 * judged + 3 * coded, rel=1e-3)


def test_each_player_learns_alone():
    model = CAAE(TINY).train()
    for player in model.stages()[0].players:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch(), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        assert all((w.grad is not None) == (id(w) in mine) for w in model.parameters() if w.requires_grad)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(UsageError, match="a plane for each group of ages"):
        CAAEConfig(given=Images(4, 64, 64))
    with pytest.raises(UsageError, match="a plane for each group of ages"):
        CAAEConfig(given=Images(8, 32, 64))
