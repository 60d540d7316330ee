"""CycleGAN: its losses by hand, its pool, both directions, and who learns when."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.models.translation.cyclegan import PRESETS, CycleGAN, CycleGANConfig
from triptych.nn.pool import Pool
from triptych.nn.reach import reach
from triptych.nn.translator import Translator
from triptych.testing import Examples
from triptych.training import Run, train
from triptych.training.turn import only, turn

TINY = PRESETS["cyclegan-tiny"].config
NOW = Clock(0, 0.0)


def batch(model, n=4, seed=0):
    x, c = (2 * torch.rand(n, *space.shape) - 1 for space in (model.config.x, model.config.given))
    return Batch(x, Picture(c), StepNoise(seed, n, slice(None)))


def shaken(model):
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    return model


def test_the_cycle_of_generators_that_are_the_identity_costs_nothing():
    model = CycleGAN(TINY).train()
    model.generators.update({"there": nn.Identity(), "back": nn.Identity()})
    loss = model.generator_loss(batch(model), NOW)
    assert loss.logs["cycle"].item() == 0
    assert loss.logs["identity"].item() == 0
    assert loss.value.item() == pytest.approx(loss.logs["fooled"].item())


def test_the_loss_is_the_weighted_sum():
    model = shaken(CycleGAN(replace(TINY, cycle=3.0, identity=7.0))).train()
    loss = model.generator_loss(batch(model), NOW)
    parts = [loss.logs[name].item() for name in ("fooled", "cycle", "identity")]
    assert all(part > 0 for part in parts)
    assert loss.value.item() == pytest.approx(parts[0] + 3 * parts[1] + 7 * parts[2], rel=1e-5)


def test_the_cycle_is_there_and_back_of_both_kinds():
    model = shaken(CycleGAN(TINY)).train()
    some = batch(model)
    there, back = (model.generators[way] for way in ("there", "back"))
    a, x = some.given.grid, some.x
    by_hand = (back(there(a)) - a).abs().mean() + (there(back(x)) - x).abs().mean()
    assert model.generator_loss(some, NOW).logs["cycle"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_discriminators_that_are_always_half_sure_cost_a_quarter_each():
    model = CycleGAN(TINY).train()
    for judge in model.discriminators.values():
        judge.score = nn.Conv2d(judge.score.in_channels, 1, 4, 1, 1)
        nn.init.zeros_(judge.score.weight)
        nn.init.constant_(judge.score.bias, 0.5)
    assert model.discriminator_loss(batch(model), NOW).value.item() == pytest.approx(2 * (0.125 + 0.125))


def test_each_player_learns_alone():
    model = CycleGAN(TINY).train()
    for player in model.stages()[0].players:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch(model), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        assert all((w.grad is not None) == (id(w) in mine) for w in model.parameters() if w.requires_grad)


def test_reversed_it_goes_back():
    model = shaken(CycleGAN(TINY))
    model.average.update(model.generators)
    other, c = model.reversed(), torch.rand(2, 1, 16, 16)
    back = model.average.module["back"](c).clamp(-1, 1)
    assert torch.equal(other.sample(2, Picture(c)), back)
    assert torch.equal(other.reversed().sample(2, Picture(c)), model.sample(2, Picture(c)))
    assert not torch.equal(other.sample(2, Picture(c)), model.sample(2, Picture(c)))


def test_reversed_it_models_the_other_kind():
    other = CycleGAN(replace(TINY, given=Images(1, 16, 16, levels=2))).reversed()
    assert (other.config.x.levels, other.config.given.levels) == (2, 256)


# The pool


def pictures(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()


def test_a_pool_of_none_gives_the_picture_itself():
    pool, fake = Pool(Images(1, 2, 2), 0), pictures(1, 2, 3)
    assert pool.mixed(fake, StepNoise(0, 3, slice(None))) is fake
    pool.follow()
    assert not pool.state_dict()


def test_a_pool_takes_in_what_comes_until_it_is_full_and_then_swaps_half():
    pool = Pool(Images(1, 2, 2), 8)
    for turn_number in range(2):
        fake = pictures(*range(4 * turn_number, 4 * turn_number + 4))
        assert torch.equal(pool.mixed(fake, StepNoise(turn_number, 4, slice(None))), fake)
        pool.follow()
    assert int(pool.held) == 8
    assert pool.pictures[:, 0, 0, 0].tolist() == list(range(8))
    swapped = 0
    for turn_number in range(100):
        before = pool.pictures[:, 0, 0, 0].tolist()
        fake = pictures(*(1000 + 4 * turn_number + i for i in range(4)))
        shown = pool.mixed(fake, StepNoise(100 + turn_number, 4, slice(None)))[:, 0, 0, 0].tolist()
        assert pool.pictures[:, 0, 0, 0].tolist() == before, "parts of a batch all see the pool before the turn"
        pool.follow()
        old = [a != b for a, b in zip(shown, fake[:, 0, 0, 0].tolist(), strict=True)]
        assert all(one in before for one, was in zip(shown, old, strict=True) if was)
        assert all(
            new in pool.pictures[:, 0, 0, 0] or old.count(True) > 1
            for new, was in zip(fake[:, 0, 0, 0], old, strict=True)
            if was
        )
        swapped += sum(old)
    assert 140 < swapped < 260


def test_the_pool_of_a_batch_in_parts_is_that_of_the_whole():
    pools = [Pool(Images(1, 2, 2), 5) for _ in range(2)]
    for k in range(6):
        fake = torch.rand(4, 1, 2, 2)
        whole = pools[0].mixed(fake, StepNoise(k, 4, slice(None)))
        halves = [pools[1].mixed(fake[i : i + 2], StepNoise(k, 4, slice(i, i + 2))) for i in (0, 2)]
        assert torch.equal(whole, torch.cat(halves))
        for pool in pools:
            pool.follow()
    assert torch.equal(pools[0].pictures, pools[1].pictures)


def test_what_came_in_a_turn_that_failed_is_not_in_the_pool():
    model = CycleGAN(TINY).train()
    player, good, bad = model.stages()[0].players[0], batch(model), batch(model)
    bad.x[0] = torch.nan
    optimizer = player.optimizer(player.owns.parameters())
    with pytest.raises(Exception, match="not finite"):
        turn(model, player, optimizer, bad, NOW)
    assert int(model.pools["there"].held) == 0
    turn(model, player, optimizer, good, NOW)
    assert int(model.pools["there"].held) == 4
    assert model.pools["there"].pictures.isfinite().all()


def test_a_run_fills_the_pools():
    model = CycleGAN(TINY)
    for _ in train(model, Examples(TINY.x, TINY.given), Run(steps=1, batch=4)):
        pass
    assert [int(pool.held) for pool in model.pools.values()] == [4, 4]


# The networks


def test_the_translator_begins_as_the_identity_and_looks_as_far_as_it_says():
    net = Translator(2, 1, 4, 1, 1)
    x = torch.rand(1, 2, 40, 40)
    assert torch.equal(net(x), x[:, :1])
    for weight in net.parameters():
        nn.init.normal_(weight, 0, 0.3)
    far = reach(net, 2)
    seen = set()
    for place in (20, 21):
        other = x.clone().requires_grad_()
        net(other)[0, 0, place, place].backward()
        rows = other.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]
        seen |= {place - int(rows[0]), int(rows[-1]) - place}
    assert max(seen) == far


def test_the_first_half_of_the_translator_sees_as_many_channels_as_it_says():
    for blocks in (1, 2, 5):
        net = Translator(3, 3, 2, blocks, 2)
        found = net.features(torch.rand(1, 3, 8, 8))
        assert [h.shape[1] for h in found] == net.seen
        assert [h.shape[2] for h in found[:3]] == [8, 4, 2]


def test_what_cannot_be_built_is_refused():
    with pytest.raises(UsageError, match="the same channels and the same size"):
        CycleGANConfig(x=Images(3, 64, 64), given=Images(1, 64, 64))
    with pytest.raises(UsageError, match="the sides of x must be multiples of 4, not 30 x 64"):
        CycleGANConfig(x=Images(3, 30, 64), given=Images(3, 30, 64))
    with pytest.raises(UsageError, match="judges patches of 70 x 70 pixels, and pictures are 16 x 16"):
        CycleGANConfig(x=Images(3, 16, 16), given=Images(3, 16, 16), judge_halvings=3)
    with pytest.raises(UsageError, match="pool=-1"):
        CycleGANConfig(pool=-1)
