"""pix2pix, SPADE and OASIS: what their parts do, in closed form where there is one."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.models.translation import oasis, pix2pix, spade
from triptych.nn.equalized import PixelNorm
from triptych.nn.patch import MultiScale, PatchDiscriminator, patch
from triptych.nn.reach import field, reach
from triptych.nn.spade import SPADE, Block, SpadeGenerator
from triptych.nn.unet import UNet
from triptych.training.turn import only

NOW = Clock(0, 0.0)


def one_hot(t, classes):
    return 2 * nn.functional.one_hot(t, classes).movedim(-1, 1).float() - 1


def maps(n, classes, height, width):
    """Maps of two regions each."""
    t = torch.zeros(n, height, width, dtype=torch.long)
    t[:, :, width // 2 :] = torch.arange(n)[:, None, None] % (classes - 1) + 1
    return t


def batch_of(config, n=4):
    x, given = config.x, config.given
    t = maps(n, given.channels, given.height, given.width)
    pictures = 2 * torch.rand(n, *x.shape) - 1
    return Batch(pictures, Picture(one_hot(t, given.channels)), StepNoise(0, n, slice(None)))


# Patches


@pytest.mark.parametrize(("halvings", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_is_as_large_as_the_paper_says(halvings, side):
    assert field(PatchDiscriminator(2, 3, halvings)) == patch(halvings) == side


@pytest.mark.parametrize("halvings", [1, 2])
def test_a_score_sees_its_patch_and_nothing_else(halvings):
    net, side = PatchDiscriminator(1, 2, halvings).double().eval(), patch(halvings)
    x = torch.randn(1, 1, 3 * side, 3 * side, dtype=torch.float64, requires_grad=True)
    scores = net(x)[0]
    middle = scores.shape[-1] // 2
    (slope,) = torch.autograd.grad(scores[0, 0, middle, middle], x)
    rows, columns = slope[0, 0].nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == side


def test_sizes_are_judged_one_by_one():
    net = MultiScale(2, 3, 2, 1)
    found = net(torch.ones(2, 3, 32, 32))
    assert [tuple(scores.shape[-2:]) for scores, _ in found] == [(14, 14), (6, 6)]
    assert torch.allclose(found[1][0], net.each[1](torch.ones(2, 3, 16, 16))[0], atol=1e-5)  # the mean of ones is one


# The U-Net


def test_the_unet_can_be_the_identity():
    net = UNet(3, 3, 2, 2, nn.Sequential)
    for weight in net.last.parameters():
        nn.init.zeros_(weight)
    for channel in range(3):
        net.last.weight.data[channel, 2 + channel, 1, 1] = 1
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(net(x), x)


def test_the_unet_learns_the_identity():
    torch.manual_seed(0)
    net = UNet(1, 1, 4, 2, lambda conv: nn.Sequential(conv, PixelNorm()))
    adam = torch.optim.Adam(net.parameters(), lr=2e-2)
    for _ in range(120):
        x = 2 * torch.rand(8, 1, 8, 8) - 1
        loss = (torch.tanh(net(x)) - x).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.1  # the mean of all pictures is .5 away


def test_what_is_small_in_the_unet_sees_far():
    net = UNet(1, 1, 2, 2, nn.Sequential).double()
    far = reach(net, 4)
    x = torch.randn(1, 1, 4, 8 * far, dtype=torch.float64, requires_grad=True)
    seen = []
    for place in range(4 * far, 4 * far + 4):
        (slope,) = torch.autograd.grad(net(x)[0, 0, :, place].sum(), x)
        where = slope.abs().amax((0, 1, 2)).nonzero().flatten()
        seen += [place - where.min().item(), where.max().item() - place]
    assert far / 2 < max(seen) <= far


# Normalization by a map


def test_a_map_that_is_constant_is_plain_normalization():
    layer, x = SPADE(3, 2), torch.randn(2, 3, 7, 7)
    for weight in layer.both.parameters():
        nn.init.normal_(weight)
    m = torch.tensor([0.3, -2.0]).view(1, 2, 1, 1).expand(2, 2, 7, 7)
    gain, bias = (layer.both.weight.sum((2, 3)) @ m[0, :, 0, 0] + layer.both.bias).chunk(2)
    wanted = PixelNorm()(x) * (1 + gain)[:, None, None] + bias[:, None, None]
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # at the border a map ends
    assert torch.allclose(layer(x, m)[inside], wanted[inside], atol=1e-5)
    nn.init.zeros_(layer.both.weight)
    nn.init.zeros_(layer.both.bias)
    assert torch.equal(layer(x, m), PixelNorm()(x))


def test_a_color_that_the_whole_picture_has_is_not_normalized_away():
    layer = SPADE(3, 2)
    red, blue = torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1), torch.tensor([0, 0, 1.0]).view(1, 3, 1, 1)
    m = torch.zeros(1, 2, 5, 5)
    a, b = (layer(color.expand(1, 3, 5, 5), m) for color in (red, blue))
    assert (a - b).abs().max() > 1


def test_a_block_changes_where_its_map_does():
    block, x = Block(2, 3, 2, 4), torch.randn(1, 2, 20, 20)
    given = torch.randn(1, 2, 20, 20)
    other = given.clone()
    other[..., 10] += 1
    off = (block(x, given) - block(x, other)).abs().amax((0, 1, 2))
    assert off[10] > 0
    assert not off[:5].any() and not off[15:].any()  # 2 pixels for the features, 2 for the convolutions


def test_reach_of_a_generator_is_exact():
    net = SpadeGenerator(2, 1, 2, 2, 3).double()
    far = net.reach
    given = torch.randn(1, 2, 4, 4 * (far + 4), dtype=torch.float64, requires_grad=True)
    seen = []
    for place in range(2 * (far + 4), 2 * (far + 4) + 4):
        (slope,) = torch.autograd.grad(net(given)[0, 0, :, place].sum(), given)
        where = slope.abs().amax((0, 1, 2)).nonzero().flatten()
        seen += [place - where.min().item(), where.max().item() - place]
    assert max(seen) == far


# pix2pix


def test_the_loss_of_pix2pix_is_a_hundred_times_the_distance_beside_being_taken_for_real():
    config = replace(pix2pix.PRESETS["pix2pix-tiny"].config, pixel=100.0)
    model, b = pix2pix.Pix2Pix(config).eval(), batch_of(config)
    loss = model.generator_loss(b, NOW)
    made = torch.tanh(model.average.module(b.given.grid))
    scores = model.discriminator(torch.cat([b.given.grid, made], 1))[0]
    wanted = -scores.sigmoid().log().mean() + 100 * (made - b.x).abs().mean()
    assert loss.value.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_the_discriminator_sees_the_condition_beside_the_picture():
    config = pix2pix.PRESETS["pix2pix-tiny"].config
    model, b = pix2pix.Pix2Pix(config).eval(), batch_of(config)
    loss = model.discriminator_loss(b, NOW)
    real, fake = (model.discriminator(torch.cat([b.given.grid, x], 1))[0] for x in (b.x, model.draw(b.noise, b.given)))
    wanted = -(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()) / 2
    assert loss.value.item() == pytest.approx(wanted.item(), rel=1e-4)


# SPADE


def test_the_loss_of_spade_has_the_distance_in_features():
    config = spade.PRESETS["spade-tiny"].config
    model, b = spade.SPADE(config).eval(), batch_of(config)
    plain = spade.SPADE(replace(config, matching=0.0)).eval()
    plain.load_state_dict(model.state_dict())
    loss = model.generator_loss(b, NOW)
    assert loss.value.item() == pytest.approx(
        plain.generator_loss(b, NOW).value.item() + 10 * loss.logs["matching"].item(), rel=1e-4
    )
    same = Batch(model.draw(b.noise, b.given), b.given, b.noise)
    assert model.generator_loss(same, NOW).logs["matching"] < 1e-6


# OASIS

TINY = oasis.PRESETS["oasis-tiny"].config


def test_classes_are_read_from_the_map_and_pixels_of_no_class_are_none():
    t = maps(2, 3, 8, 8)
    grid = one_hot(t, 3)
    grid[0, :, 0] = -1
    found = oasis.classes_of(grid)
    assert (found[0, 0] == oasis.NO_CLASS).all()
    assert torch.equal(found[:, 1:], t[:, 1:])


def test_each_class_has_the_same_part_in_the_loss():
    """a_k of Equation 3: all pixels over the class's own, over the number of classes that there are."""
    t = maps(4, 3, 8, 8)
    t[:, 0] = oasis.NO_CLASS
    logits = torch.randn(4, 4, 8, 8)
    each = cross_entropy(logits, t.clamp(min=0), reduction="none")
    wanted = torch.stack([each[t == k].mean() for k in range(3)]).mean()
    assert oasis.balanced(logits, t, 3).item() == pytest.approx(wanted.item(), rel=1e-5)
    two = t.where(t != 2, 1)
    wanted = torch.stack(
        [each[two == 0].mean(), cross_entropy(logits, two.clamp(min=0), reduction="none")[two == 1].mean()]
    )
    assert oasis.balanced(logits, two, 3).item() == pytest.approx(wanted.mean().item(), rel=1e-5)


def test_a_map_without_any_class_costs_nothing():
    t = torch.full((2, 4, 4), oasis.NO_CLASS)
    logits = torch.randn(2, 4, 4, 4, requires_grad=True)
    loss = oasis.balanced(logits, t, 3)
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_regions_are_whole_classes():
    t = maps(6, 3, 8, 8)
    t[:, 0] = oasis.NO_CLASS
    u = torch.tensor([[0.1, 0.9, 0.9, 0.1], [0.9, 0.1, 0.1, 0.9]]).repeat(3, 1)
    mask = oasis.regions(t, u)
    assert mask.shape == (6, 1, 8, 8)
    assert mask[0, 0, 1:, :4].all() and not mask[0, 0, 1:, 4:].any() and mask[0, 0, 0].all()
    assert torch.equal(mask[1], ~mask[0] if t[0, 1, 7] == t[1, 1, 7] else mask[1])


def test_mixing_equal_pictures_costs_nothing():
    model, b = oasis.OASIS(TINY).eval(), batch_of(TINY)
    b = Batch(model.draw(StepNoise(0, 4, slice(None)), b.given), b.given, StepNoise(0, 4, slice(None)))
    assert model.discriminator_loss(b, NOW).logs["mix"].item() == pytest.approx(0, abs=1e-10)


def test_many_pictures_for_one_map():
    model = oasis.OASIS(TINY)
    given = batch_of(TINY, 1).given
    a, b = model.sample(1, given, seed=0), model.sample(1, given, seed=1)
    assert (a - b).abs().max() > 1e-4
    assert torch.equal(a, model.sample(1, given, seed=0))


def test_z_is_one_vector_at_all_places():
    """So a tile, a margin around it cut off, is the whole picture's own."""
    model = oasis.OASIS(replace(TINY, depth=1))
    t = maps(1, 3, 8, 96)
    given = Picture(one_hot(t, 3))
    whole, far = model.sample(1, given, seed=3), -(-model.reach // 2) * 2
    tile = model.sample(1, Picture(given.grid[..., 20 : 60 + far]), seed=3)
    assert torch.allclose(tile[..., far:40], whole[..., 20 + far : 60], atol=1e-5)


def test_channels_beyond_the_classes_are_shown_to_the_discriminator():
    config = oasis.PRESETS["oasis-tiny-rgb"].config
    model = oasis.OASIS(config)
    assert model.discriminator.down[0].in_channels == 3 + 1
    assert model.discriminator.last.out_channels == 3 + 1
    grid = torch.cat([one_hot(maps(2, 3, 8, 16), 3), torch.rand(2, 1, 8, 16)], 1)
    other = grid.clone()
    other[:, 3] *= -1
    x = torch.rand(2, 3, 8, 16)
    assert (model.segmented(x, Picture(grid)) - model.segmented(x, Picture(other))).abs().max() > 1e-5


# All three

EVERY = [
    (pix2pix.Pix2Pix, pix2pix.PRESETS["pix2pix-tiny"].config),
    (spade.SPADE, spade.PRESETS["spade-tiny"].config),
    (oasis.OASIS, TINY),
]


@pytest.mark.parametrize(("kind", "config"), EVERY, ids=[kind.name for kind, _ in EVERY])
def test_each_player_learns_alone(kind, config):
    model = kind(config).train()
    for player in model.stages()[0].players:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch_of(config), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        for name, w in model.named_parameters():
            assert (w.grad is not None) == (id(w) in mine), name


@pytest.mark.parametrize(("kind", "config"), EVERY, ids=[kind.name for kind, _ in EVERY])
def test_a_map_of_another_size_than_the_picture_is_refused(kind, config):
    with pytest.raises(UsageError, match="a picture's condition is as large as the picture"):
        replace(config, given=replace(config.given, height=2 * config.x.height))


@pytest.mark.parametrize(("kind", "config"), EVERY, ids=[kind.name for kind, _ in EVERY])
def test_pictures_that_cannot_be_halved_are_refused(kind, config):
    side = {"height": 25, "width": 25}
    with pytest.raises(UsageError, match="25 x 25 is no multiple of"):
        replace(config, x=replace(config.x, **side), given=replace(config.given, **side))


@pytest.mark.parametrize(("kind", "scales"), [(pix2pix.Pix2PixConfig, {}), (spade.SPADEConfig, {"scales": 1})])
def test_pictures_smaller_than_a_patch_are_refused(kind, scales):
    with pytest.raises(
        UsageError, match=r"patches of 70 x 70 pixels, and pictures are 64 x 64.*halvings=2 makes them 34"
    ):
        kind(x=Images(3, 64, 64), given=Images(3, 64, 64), **scales)
    with pytest.raises(UsageError, match="take larger pictures"):
        kind(x=Images(3, 8, 8), given=Images(3, 8, 8), depth=1 if kind is pix2pix.Pix2PixConfig else 3, **scales)
