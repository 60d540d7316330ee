"""LAPGAN: the pyramid comes back exactly, and its levels never meet in training."""

import pytest
import torch

from triptych.core import Batch, Clock, Images, Label, Labels, StepNoise
from triptych.models.gan.lapgan import LAPGAN, PRESETS, LAPGANConfig, down, pyramid, rebuild, up

NOW = Clock(0, 0.0)
CONFIGS = [PRESETS["lapgan-tiny"].config, PRESETS["lapgan-tiny-class"].config]


def batch(config, n=8):
    x = 2 * torch.rand(n, *config.x.shape, generator=torch.Generator().manual_seed(1)) - 1
    given = Label(torch.arange(n) % config.given.classes) if config.given else None
    return Batch(x, given, StepNoise(0, n, slice(None)))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 8, 20)])
def test_the_pyramid_reconstructs(shape):
    x = 2 * torch.rand(4, *shape) - 1
    lost, small = pyramid(x, 3)
    assert [h.shape[2] for h in lost] == [shape[1], shape[1] // 2] and small.shape[2] == shape[1] // 4
    assert (rebuild(lost, small) - x).abs().max() < 1e-6
    flat = torch.full((1, *shape), 0.3)
    assert (pyramid(flat, 3)[0][0]).abs().max() < 1e-6  # nothing is lost of what is flat: down and up keep the mean


def test_up_and_down_keep_the_place():
    """No shift: the center of mass of a pixel's block stays where it is."""
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 6:8, 6:8] = 1
    y = up(down(x))[0, 0]
    center = (torch.arange(16.0)[:, None] * y).sum() / y.sum()
    assert center.item() == pytest.approx(6.5, abs=1e-5) and y.sum().item() == pytest.approx(4, abs=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_each_level_learns_from_its_own_level_of_the_data(config):
    model = LAPGAN(config)
    b = batch(config)
    lost, small = pyramid(b.x, config.levels)
    for k in range(config.levels):
        x, low = model.pair(b.x, k)
        if k == config.levels - 1:
            assert low is None and torch.equal(x, small)
        else:
            assert torch.allclose(x - low, lost[k], atol=1e-6)
    names = [stage.name for stage in model.stages()]
    assert names == [f"level {k}" for k in reversed(range(config.levels))]


@pytest.mark.parametrize("config", CONFIGS)
def test_levels_never_meet_in_training(config):
    for k, stage in zip(reversed(range(config.levels)), LAPGAN(config).stages(), strict=True):
        model = LAPGAN(config)
        stage = model.stage(k)
        for player in stage.players:
            model.zero_grad()
            player.loss(batch(config), NOW).value.backward()
            felt = {name.split(".")[1] for name, w in model.named_parameters() if w.grad is not None}
            assert felt == {str(k)}
            assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in player.owns.parameters()), player.name


@pytest.mark.parametrize("config", CONFIGS)
def test_each_player_lowers_its_loss_against_a_resting_opponent(config):
    for stage in LAPGAN(config).train().stages():
        for player in stage.players:
            optimizer = torch.optim.Adam(player.owns.parameters(), lr=1e-2)
            values = []
            for _ in range(30):
                loss = player.loss(batch(config), NOW).value
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                values.append(loss.item())
            assert sum(values[-5:]) / 5 < 0.95 * values[0], (stage.name, player.name)


def test_both_players_of_every_level_see_the_class():
    config = PRESETS["lapgan-tiny-class"].config
    model = LAPGAN(config).eval()
    x = batch(config).x[:1].expand(3, -1, -1, -1)
    y = model.one_hot(3, Label(torch.arange(3)))
    for k, level in enumerate(model.levels):
        seen, low = model.pair(x, k)
        answers = level.judge(seen, low, y)
        assert (answers.sort().values.diff() > 1e-5).all()
        noise = StepNoise(0, 3, slice(None))
        drawn = level.draw(Same(noise), low, y)
        assert not torch.equal(drawn[0], drawn[1])


class Same:
    """The first item's noise for every item."""

    def __init__(self, noise):
        self.noise, self.n = noise, noise.n

    def uniform(self, *shape):
        return self.noise.uniform(*shape)[:1].expand(self.n, *shape)


def test_a_sample_adds_each_levels_difference_to_the_one_below():
    config = PRESETS["lapgan-tiny"].config
    model = LAPGAN(config).eval()
    with torch.no_grad():
        for level in model.levels[:-1]:
            for w in level.average.module.layers[-1].parameters():
                w.zero_()  # h_k = 0
        coarse = model.levels[-1].draw(StepNoise(0, 2, slice(None)), None, torch.empty(2, 0))
        assert torch.allclose(model.draw(StepNoise(0, 2, slice(None))), up(up(coarse)), atol=1e-6)


def test_the_coarsest_level_may_have_more_steps():
    c = LAPGANConfig(x=Images(1, 8, 8), levels=3, latent=4, hidden=8, width=4, coarsest_times=4)
    stages = LAPGAN(c).stages()
    assert [(stage.name, stage.rounds(5)) for stage in stages] == [("level 2", 20), ("level 1", 5), ("level 0", 5)]


def test_samples_come_from_the_averages():
    model = LAPGAN(PRESETS["lapgan-tiny"].config)
    before = model.sample(2, seed=0)
    with torch.no_grad():
        for level in model.levels:
            for w in level.generator.parameters():
                w.add_(0.1)
    assert torch.equal(model.sample(2, seed=0), before)
    for stage in model.stages():
        stage.players[1].project()
    assert not torch.equal(model.sample(2, seed=0), before)


def test_sizes_that_do_not_halve_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 4, not 30 x 28"):
        LAPGANConfig(x=Images(1, 30, 28))
    with pytest.raises(ValueError, match="levels"):
        LAPGANConfig(levels=1)
    LAPGANConfig(x=Images(1, 30, 28), levels=2, given=Labels(2))
