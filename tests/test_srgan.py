"""SRGAN: its discriminator, its losses by hand, and who learns when."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.losses import features
from triptych.models.translation.srgan import PRESETS, SRGAN, Discriminator, SRGANConfig
from triptych.training.turn import only

TINY = PRESETS["srgan-tiny"].config
NOW = Clock(0, 0.0)


def batch(model, n=4):
    x, c = (2 * torch.rand(n, *space.shape) - 1 for space in (model.config.x, model.config.given))
    return Batch(x, Picture(c), StepNoise(0, n, slice(None)))


def test_every_pixel_gets_a_logit_and_every_layer_shows_what_it_sees():
    logits, seen = Discriminator(3, 4, 2)(torch.zeros(2, 3, 8, 12))
    assert logits.shape == (2, 1, 8, 12)
    sizes = [(4, 8, 12), (8, 4, 6), (16, 2, 3), (8, 4, 6), (4, 8, 12), (4, 8, 12), (4, 8, 12)]
    assert [tuple(h.shape[1:]) for h in seen] == sizes


def test_the_way_back_is_added_to_the_way_there():
    net = Discriminator(1, 4, 1)
    x = torch.randn(2, 1, 4, 4)
    seen = net.eval()(x)[1]
    doubled = interpolate(seen[1], scale_factor=2.0, mode="bilinear", align_corners=False)
    assert torch.allclose(seen[2], net.up[0](doubled) + seen[0])


def test_inner_layers_have_a_spectral_norm_of_one():
    net = Discriminator(1, 4, 2).train()
    for _ in range(100):
        net(torch.zeros(1, 1, 8, 8))
    net.eval()
    normalized = [m for m in net.modules() if isinstance(m, nn.Conv2d) and hasattr(m, "parametrizations")]
    assert len(normalized) == 2 + 2 + 2
    for conv in normalized:
        largest = torch.linalg.svdvals(conv.weight.flatten(1).detach())[0]
        assert largest.item() == pytest.approx(1, abs=1e-2)


def test_feature_matching_by_hand():
    a, b = [torch.zeros(2, 3, 4), torch.zeros(2, 5)], [torch.ones(2, 3, 4), -3 * torch.ones(2, 5)]
    assert features.matching(a, b).item() == 2
    assert features.matching(a, a).item() == 0
    with pytest.raises(ValueError):
        features.matching(a, b[:1])


def test_identical_pictures_differ_by_nothing():
    model = SRGAN(TINY).train()
    c = torch.rand(4, 1, 4, 4)
    x = interpolate(c, scale_factor=2.0)  # what the generator makes of it at first
    loss = model.generator_loss(Batch(x, Picture(c), StepNoise(0, 4, slice(None))), NOW)
    assert loss.logs["pixel"].item() == pytest.approx(0, abs=1e-6)
    assert loss.logs["feature"].item() == pytest.approx(0, abs=1e-6)
    assert loss.value.item() == pytest.approx(0.1 * loss.logs["fooled"].item(), abs=1e-6)


def test_the_loss_is_the_weighted_sum():
    config = replace(TINY, pixel=2.0, feature=3.0, adversarial=5.0)
    model = SRGAN(config).train()
    loss = model.generator_loss(batch(model), NOW)
    parts = [loss.logs[name].item() for name in ("pixel", "feature", "fooled")]
    assert all(part > 0 for part in parts)
    assert loss.value.item() == pytest.approx(2 * parts[0] + 3 * parts[1] + 5 * parts[2], rel=1e-5)


def test_a_discriminator_that_knows_nothing_costs_log_4():
    model = SRGAN(TINY).train()
    nn.init.zeros_(model.discriminator.logit.weight)
    nn.init.zeros_(model.discriminator.logit.bias)
    loss = model.discriminator_loss(batch(model), NOW)
    assert loss.value.item() == pytest.approx(2 * torch.tensor(2.0).log().item())
    assert loss.logs["D(real)"].item() == loss.logs["D(fake)"].item() == 0.5


def test_each_player_learns_alone():
    model = SRGAN(TINY).train()
    pretrain, game = model.stages()
    assert [stage.name for stage in model.stages()] == ["pretrain", "adversarial"]
    assert [player.name for player in pretrain.players] == ["generator"]
    for player in (*pretrain.players, *game.players):
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch(model), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        moved = {name: w.grad is not None for name, w in model.named_parameters()}
        assert {name for name, there in moved.items() if there} == {
            name for name, w in model.named_parameters() if id(w) in mine
        }


def test_the_first_stage_takes_its_multiple_of_the_rounds():
    pretrain, game = SRGAN(replace(TINY, pretrain=3)).stages()
    assert (pretrain.rounds(100), game.rounds(100)) == (300, 100)


def test_it_enlarges_any_size_by_its_average():
    model = SRGAN(PRESETS["srgan-tiny-x3"].config)
    c = 1.6 * torch.rand(1, 3, 5, 7) - 0.8
    x = model.sample(1, Picture(c))
    assert torch.allclose(x, c.repeat_interleave(3, 2).repeat_interleave(3, 3), atol=1e-6)
    assert model.reach == 4


def test_sizes_that_the_discriminator_cannot_halve_are_refused():
    with pytest.raises(UsageError, match=r"halvings=3 .* multiples of 8, not 12 x 12"):
        SRGANConfig(x=Images(3, 12, 12), given=Images(3, 6, 6))
    with pytest.raises(UsageError, match="same whole number"):
        SRGANConfig(x=Images(3, 16, 16), given=Images(3, 6, 6))
