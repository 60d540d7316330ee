"""DeepFill: gates, holes, how far it looks, and who learns when."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import elu

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.losses import adversarial
from triptych.models.translation.deepfill import (
    DIMMEST,
    PRESETS,
    DeepFill,
    DeepFillConfig,
    Gated,
    distance,
    doubled,
    in_patches,
    local,
    same,
)
from triptych.nn.reach import reach
from triptych.training.turn import only

TINY = PRESETS["deepfill-tiny"].config
NOW = Clock(0, 0.0)


def holed(n, channels, height, width):
    """Pictures with a hole each, as a condition."""
    x = 2 * torch.rand(n, channels, height, width) - 1
    mask = -torch.ones(n, 1, height, width)
    mask[:, :, height // 4 : height // 2, width // 4 : width // 2] = 1
    return x, Picture(torch.cat([torch.where(mask > 0, torch.zeros(()), x), mask], 1))


def batch(n=4):
    x, given = holed(n, 1, 8, 8)
    return Batch(x, given, StepNoise(0, n, slice(None)))


def test_a_gate_of_zero_is_half_open_and_one_far_below_is_shut():
    layer = same(2, 3)
    features, gates = layer.conv.weight.data.chunk(2)
    gates.zero_()
    x = torch.randn(2, 2, 5, 5)
    assert torch.allclose(layer(x), elu(nn.functional.conv2d(x, features, padding=1)) / 2, atol=1e-6)
    layer.conv.bias.data[3:] = -200
    assert not layer(x).any()


def test_a_doubling_layer_is_gated_too():
    layer = doubled(2, 3)
    plain = nn.Conv2d(2, 6, 3, padding=1)
    plain.load_state_dict(layer.conv.state_dict())
    x = torch.randn(1, 2, 4, 5)
    wanted = Gated(nn.Conv2d(2, 6, 3, padding=1))
    wanted.conv.load_state_dict(plain.state_dict())
    assert torch.allclose(layer(x), wanted(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), atol=1e-5)


def test_signals_keep_about_their_size():
    net, seen = DeepFill(PRESETS["deepfill-64"].config).generator, []
    net.last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(holed(2, 3, 64, 64)[1].grid)
    assert 0.1 < seen[0].square().mean().sqrt() < 3


def test_it_begins_by_adding_nothing():
    _, given = holed(3, 1, 8, 16)
    assert torch.equal(DeepFill(TINY).sample(3, given, seed=0), given.grid[:, :1])


def shaken(config):
    """A model that is no longer the identity."""
    model = DeepFill(config)
    for net in (model.generator, model.average.module):
        nn.init.normal_(net.last.weight, 0, 0.1)
    return model


def test_known_pixels_come_back_exactly():
    model = shaken(TINY)
    x, given = holed(3, 1, 8, 16)
    hole = given.grid[:, -1:] > 0
    for found in (model.sample(3, given, seed=0), model.train().draw(StepNoise(0, 3, slice(None)), given)):
        assert torch.equal(found[~hole], x[~hole])
        assert (found[hole] != 0).all()


def test_without_a_hole_the_picture_comes_back():
    x = 2 * torch.rand(2, 1, 8, 8) - 1
    assert torch.equal(DeepFill(TINY).sample(2, Picture(torch.cat([x, -torch.ones_like(x)], 1))), x)


@pytest.mark.parametrize("dilations", [(1,), (2,), (2, 3)])
def test_reach_is_exact(dilations):
    model = shaken(replace(TINY, dilations=dilations)).double()
    net, far = model.average.module, model.reach
    start = 8 * (far // 8 + 1)
    grid = torch.randn(1, 2, 8, 2 * start + 8, dtype=torch.float64)
    seen = []
    for place in range(start, start + 8):
        grid.requires_grad_()
        (slope,) = torch.autograd.grad(net(grid)[0, 0, :, place].sum(), grid)
        where = slope.abs().amax((0, 1, 2)).nonzero().flatten()
        seen += [place - where.min().item(), where.max().item() - place]
    assert max(seen) == far


def test_patches_are_what_pixel_shuffle_undoes():
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(nn.functional.pixel_shuffle(in_patches(x, 2), 2), x)
    assert in_patches(x[:0], 2).shape == (0, 12, 2, 3)


def test_brightness_and_contrast_pass_through():
    model = shaken(TINY).eval()
    _, given = holed(2, 1, 16, 16)
    mask = given.grid[:, -1:]
    brighter = torch.cat([0.1 + 0.4 * given.grid[:, :1], mask], 1)
    net = model.average.module
    assert torch.allclose(net(brighter), 0.4 * net(given.grid), rtol=0.02, atol=1e-3)


def test_contrast_is_the_deviation_from_the_mean_around():
    x = torch.rand(1, 3, 64, 64)
    mean, contrast = local(x)
    patch = x[..., 15:48, 15:48]
    assert torch.allclose(mean[0, :, 31, 31], patch.mean((0, 2, 3)), atol=1e-6)
    off = patch.var((0, 2, 3), correction=0).mean() + DIMMEST**2
    assert contrast[0, 0, 31, 31].item() == pytest.approx(off.sqrt().item(), rel=1e-4)


def test_reach_of_plain_convolutions():
    conv = nn.Conv2d
    assert reach(nn.Sequential(conv(1, 1, 1), nn.ReLU())) == 0
    assert reach(nn.Sequential(conv(1, 1, 3, padding=1), conv(1, 1, 5, padding=2))) == 3
    assert reach(nn.Sequential(conv(1, 1, 3, padding=4, dilation=4))) == 4


def test_tiles_that_overlap_by_the_reach_are_the_whole():
    model = shaken(replace(TINY, dilations=(1,)))
    side, far = 240, -(-model.reach // 8) * 8  # tiles begin at multiples of 8
    _, given = holed(1, 1, 8, side)
    given.grid[:, -1:] = 1  # all of it is found by the network
    whole = model.sample(1, given)
    pieces = []
    for left in range(0, side, 80):
        begin = max(left - far, 0)
        tile = model.sample(1, Picture(given.grid[..., begin : left + 80 + far]))
        pieces.append(tile[..., left - begin :][..., :80])
    assert torch.allclose(torch.cat(pieces, -1), whole, atol=1e-5)


def test_the_discriminator_has_a_spectral_norm_of_one():
    model = DeepFill(TINY).train()
    for _ in range(100):
        model.judge(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    model.eval()
    convolutions = [m for m in model.discriminator if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == TINY.halvings
    for conv in convolutions:
        largest = torch.linalg.svdvals(conv.weight.flatten(1).detach())[0]
        assert largest.item() == pytest.approx(1, abs=1e-2)


def test_every_patch_and_channel_has_a_score():
    model = DeepFill(replace(PRESETS["deepfill-64"].config, adversarial=1.0))
    scores = model.judge(torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64))
    assert scores.shape == (2, 128, 4, 4)
    assert scores.min() < 0 < scores.max()  # nothing cuts them off


def test_the_loss_is_the_distance_in_the_hole_and_the_scores_of_what_is_filled():
    model = shaken(replace(TINY, pixel=2.0, adversarial=3.0)).train()
    model.average.module.load_state_dict(model.generator.state_dict())
    model.eval()  # no step of power iteration
    b = batch()
    mask = b.given.grid[:, -1:]
    z = torch.where(mask > 0, b.given.grid[:, :1] + model.generator(b.given.grid), b.given.grid[:, :1]).clamp(-1, 1)
    assert model.pixel_loss(b, NOW).value.item() == pytest.approx(distance(b.x, z, b.given).item(), rel=1e-5)
    loss = model.generator_loss(b, NOW)
    off = ((b.x - z).abs() / local(b.given.grid[:, :1])[1])[mask > 0].mean()  # holes are of one size here
    wanted = 2 * off + 3 * adversarial.hinge_generator(model.judge(z, mask))
    assert loss.logs["pixel"].item() == pytest.approx(off.item(), rel=1e-5)
    assert loss.value.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_each_player_learns_alone():
    model = DeepFill(TINY).train()
    for player in [player for stage in model.stages() for player in stage.players]:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch(), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        for name, w in model.named_parameters():
            assert (w.grad is not None) == (id(w) in mine), name


def test_without_the_adversarial_loss_there_is_one_stage():
    assert [stage.name for stage in DeepFill(TINY).stages()] == ["pretrain", "adversarial"]
    assert [stage.name for stage in DeepFill(replace(TINY, adversarial=0)).stages()] == ["pretrain"]


@pytest.mark.parametrize(
    ("x", "given", "words"),
    [
        (Images(3, 64, 64), Images(3, 64, 64), r"it has 4 of the same size"),
        (Images(3, 64, 64), Images(4, 64, 32), r"it has 4 of the same size"),
        (Images(1, 10, 8), Images(2, 10, 8), r"multiples of 8, not 10 x 8"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(x, given, words):
    with pytest.raises(UsageError, match=words):
        DeepFillConfig(x=x, given=given)


def test_a_picture_that_cannot_be_halved_thrice_is_refused():
    with pytest.raises(UsageError, match="multiples of 8; the picture is 10 x 8"):
        DeepFill(TINY).sample(1, holed(1, 1, 10, 8)[1])
