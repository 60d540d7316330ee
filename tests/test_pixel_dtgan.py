"""PixelDTGAN: its three losses by hand, what counts as fake, and who learns when."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.models.translation.pixel_dtgan import PRESETS, PixelDTGAN, PixelDTGANConfig
from triptych.training.turn import only

TINY = PRESETS["pixel-dtgan-tiny"].config
NOW = Clock(0, 0.0)


def batch(model, n=4, **more):
    x, c = (2 * torch.rand(n, *space.shape) - 1 for space in (model.config.x, model.config.given))
    return Batch(x, Picture(c), StepNoise(0, n, slice(None)), **more)


def test_discriminators_that_know_nothing_cost_log_2():
    model = PixelDTGAN(TINY).train()
    for judge in (model.real, model.pair):
        nn.init.zeros_(judge[-2].weight)
        nn.init.zeros_(judge[-2].bias)
    for loss in (model.real_loss, model.pair_loss, model.generator_loss):
        assert loss(batch(model), NOW).value.item() == pytest.approx(torch.tensor(2.0).log().item())


def test_the_wrong_product_is_real_to_one_and_fake_to_the_other():
    model = PixelDTGAN(TINY).train()
    some = batch(model)
    real, fake = model.real(some.x), model.real(model.draw(some.noise, some.given))
    by_hand = (2 * -real.sigmoid().log() - (-fake).sigmoid().log()).mean() / 3
    assert model.eval().real_loss(some, NOW) is not None
    model.train()
    assert by_hand.item() == pytest.approx(model.real_loss(some, NOW).value.item(), rel=0.05)  # norms move a little
    assert torch.equal(some.others()[1:], some.x[:-1])
    seen = []
    model.beside.register_forward_pre_hook(lambda module, parts: seen.append(parts))
    model.pair_loss(some, NOW)
    x, wearer = seen[0]
    assert torch.equal(x[:4], some.x)
    assert torch.equal(x[4:8], some.others())
    assert torch.equal(wearer, some.given.grid.repeat(3, 1, 1, 1))


def test_of_items_that_are_wrong_the_x_of_another_counts_as_generated():
    model = PixelDTGAN(TINY)
    plain = batch(model)
    generated = torch.rand(4, 1, 8, 8)
    assert plain.fakes(generated) is generated
    some = batch(model, wrong=torch.tensor([True, False, False, True]))
    mixed = some.fakes(generated)
    assert torch.equal(mixed[[0, 3]], some.x[[3, 2]])
    assert torch.equal(mixed[[1, 2]], generated[[1, 2]])
    lone = batch(model, 1, wrong=torch.tensor([True]))
    assert lone.fakes(generated[:1]) is not lone.x


def test_the_generator_learns_by_the_weighted_sum():
    model = PixelDTGAN(replace(TINY, pixel=3.0)).train()
    loss = model.generator_loss(batch(model), NOW)
    fooled, fits, pixel = (loss.logs[name].item() for name in ("fooled", "fits", "pixel"))
    assert loss.value.item() == pytest.approx((fooled + fits) / 2 + 3 * pixel, rel=1e-5)


def test_each_player_learns_alone():
    model = PixelDTGAN(TINY).train()
    for player in model.stages()[0].players:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch(model), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        assert all((w.grad is not None) == (id(w) in mine) for w in model.parameters() if w.requires_grad)


def test_all_goes_through_the_code():
    model = PixelDTGAN(TINY).eval()
    code = next(layer for layer in model.average.module if isinstance(layer, nn.Linear))
    nn.init.zeros_(code.weight)
    x = model.sample(2, Picture(torch.rand(2, 1, 8, 8)))
    assert torch.equal(x[0], x[1])


def test_a_color_of_the_whole_reaches_the_code():
    model = PixelDTGAN(PixelDTGANConfig(x=Images(3, 16, 16), given=Images(3, 16, 16), width=4, code=8, judge=4)).eval()
    reds = torch.stack([torch.tensor([v, -1.0, -1.0])[:, None, None].expand(3, 16, 16) for v in (-0.5, 0.0, 0.5)])
    codes = model.average.module[:6](reds)
    assert (codes[0] - codes[1]).norm() > 1e-3
    assert (codes[1] - codes[2]).norm() > 1e-3


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(UsageError, match="x is 64 x 64 and the picture given 32 x 32"):
        PixelDTGANConfig(given=Images(3, 32, 32))


def test_sides_that_are_never_arrived_at_are_refused():
    with pytest.raises(UsageError, match="never arrives at 9 x 9; near it, these work: 8 x 8"):
        PixelDTGANConfig(x=Images(3, 9, 9), given=Images(3, 9, 9))
