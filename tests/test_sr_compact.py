"""SR-Compact: where it begins, how far it looks, and pictures in tiles."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.losses import pictures
from triptych.models.translation.sr_compact import PRESETS, SRCompact, SRCompactConfig
from triptych.nn.compact import Compact, magnification

TINY = PRESETS["sr-compact-tiny"].config


def shaken(depth=3, times=2, channels=1):
    """A model that is no longer the identity."""
    config = SRCompactConfig(
        x=Images(channels, 8 * times, 8 * times), given=Images(channels, 8, 8), width=4, depth=depth
    )
    model = SRCompact(config)
    for w in model.average.module.parameters():
        w.add_(0.05 * torch.randn_like(w))
    return model


def small(*shape):
    return 1.6 * torch.rand(*shape) - 0.8  # away from where samples are clipped


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_it_begins_with_every_pixel_as_a_square(times):
    config = SRCompactConfig(x=Images(3, 4 * times, 5 * times), given=Images(3, 4, 5), width=4, depth=1)
    c = small(2, 3, 4, 5)
    x = SRCompact(config).sample(2, Picture(c), seed=0)
    assert torch.allclose(x, c.repeat_interleave(times, 2).repeat_interleave(times, 3), atol=1e-6)


def test_what_the_body_says_is_added_at_the_place_of_its_pixel():
    net = Compact(1, 2, 4, 0)
    nn.init.zeros_(net.body[-1].weight)
    net.body[-1].bias.data.copy_(torch.tensor([0.0, 0.1, 0.2, 0.3]))  # in [0, 1], so twice as much in [-1, 1]
    c = small(1, 1, 3, 3)
    added = net(c) - interpolate(c, scale_factor=2.0)
    assert torch.allclose(added[0, 0, 2:4, 4:6], torch.tensor([[0.0, 0.2], [0.4, 0.6]]), atol=1e-6)


def test_the_weights_are_named_as_in_the_papers_code():
    shapes = {name: tuple(w.shape) for name, w in Compact(3, 4, 64, 16).named_parameters()}
    assert len(shapes) == 2 * 18 + 17
    assert shapes["body.0.weight"] == (64, 3, 3, 3)
    assert shapes["body.1.weight"] == (64,)
    assert shapes["body.33.weight"] == (64,)
    assert shapes["body.34.weight"] == (48, 64, 3, 3)


def test_the_border_is_padded_with_black():
    net = Compact(1, 1, 4, 0)
    first, slope, last = net.body
    nn.init.normal_(last.weight)
    c = small(1, 1, 6, 6)
    framed = nn.functional.pad((c + 1) / 2, (1, 1, 1, 1))  # 0 is black
    h = slope(nn.functional.conv2d(framed, first.weight, first.bias))
    assert torch.allclose(net(c), c + 2 * last(h), atol=1e-5)


def test_signals_keep_their_size_from_layer_to_layer():
    net = Compact(3, 4, 48, 16)
    h = net.body[:-1](torch.rand(4, 3, 16, 16))
    assert 0.1 < h.std() < 3


@pytest.mark.parametrize("depth", [1, 3])
def test_reach_is_exact(depth):
    model = shaken(depth)
    assert model.reach == depth + 2
    c = small(1, 1, 1, 24)
    other = c.clone()
    other[..., 10] += 0.2
    changed = (model.sample(1, Picture(other)) - model.sample(1, Picture(c))).abs().amax((0, 1, 2))
    away = (torch.arange(48) // 2 - 10).abs()
    assert changed[away > model.reach].max() <= 1e-6
    assert changed[:20][away[:20] == model.reach].max() > 1e-6
    assert changed[20:][away[20:] == model.reach].max() > 1e-6


def test_tiles_that_overlap_by_the_reach_are_the_whole():
    model = shaken(depth=2, times=3, channels=3)
    c, r = small(1, 3, 20, 23), model.reach
    whole = model.sample(1, Picture(c))
    pieces = []
    for top in range(0, 20, 7):
        row = []
        for left in range(0, 23, 7):
            a, b = max(top - r, 0), max(left - r, 0)
            tile = model.sample(1, Picture(c[..., a : top + 7 + r, b : left + 7 + r]))
            tall, wide = 3 * min(7, 20 - top), 3 * min(7, 23 - left)
            row.append(tile[..., 3 * (top - a) :, 3 * (left - b) :][..., :tall, :wide])
        pieces.append(torch.cat(row, -1))
    assert torch.allclose(torch.cat(pieces, -2), whole, atol=1e-5)


def test_samples_come_from_the_average_and_are_clipped():
    model = SRCompact(TINY)
    model.average.module.body[-1].bias.data.fill_(7.0)
    c = small(2, 1, 4, 4)
    assert torch.equal(model.sample(2, Picture(c)), torch.ones(2, 1, 8, 8))
    assert torch.allclose(
        model.train().draw(StepNoise(0, 2, slice(None)), Picture(c)), interpolate(c, scale_factor=2.0)
    )


def test_the_loss_is_the_mean_distance_and_the_log_is_in_decibels():
    model = SRCompact(TINY).train()
    c = small(6, 1, 4, 4)
    x = interpolate(c, scale_factor=2.0) + 0.02
    loss = model.loss(Batch(x, Picture(c), StepNoise(0, 6, slice(None))), Clock(0, 0.0))
    assert loss.value.item() == pytest.approx(0.02, rel=1e-4)
    assert loss.logs["PSNR"].item() == pytest.approx(40, abs=1e-2)


def test_decibels():
    black = -torch.ones(1, 1, 4, 4)
    assert pictures.psnr(black, -black).item() == pytest.approx(0)
    assert pictures.psnr(black, black).item() == pytest.approx(106, abs=0.1)  # identical: a large number, not infinity
    assert pictures.l1(black, -black).item() == 2


@pytest.mark.parametrize(
    ("x", "given", "words"),
    [
        (Images(3, 9, 8), Images(3, 4, 4), "9 x 8 .* 4 x 4.*same whole number"),
        (Images(3, 8, 12), Images(3, 4, 4), "same whole number"),
        (Images(3, 4, 4), Images(3, 8, 8), "same whole number"),
        (Images(3, 8, 8), Images(1, 4, 4), "3 channels .* has 1"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(x, given, words):
    with pytest.raises(ValueError, match=words):
        magnification(x, given)
    with pytest.raises(ValueError, match=words):
        SRCompactConfig(x=x, given=given)


def test_a_picture_of_other_channels_is_refused():
    with pytest.raises(UsageError):
        SRCompact(TINY).sample(1, Picture(torch.zeros(1, 3, 4, 4)))
