"""FastGAN: skip-layer excitation, quarters, a discriminator that reconstructs, and its losses by hand."""

from dataclasses import replace

import pytest
import torch

from triptych.core import Batch, Clock, Images, Sampling, StepNoise, UsageError
from triptych.models.gan.fastgan import PRESETS, Excitation, FastGAN, FastGANConfig, quarters
from triptych.training.turn import only

TINY = replace(PRESETS["fastgan-tiny"].config, augment=())
NOW = Clock(0, 0.0)


def batch(config, n=4):
    return Batch(2 * torch.rand(n, *config.x.shape) - 1, None, StepNoise(0, n, slice(None)))


def test_quarters_are_those_of_each_picture():
    x = torch.arange(4.0).repeat_interleave(2).view(1, 1, 1, 8).expand(4, 2, 6, 8)
    x = x + 10 * torch.arange(6.0).view(1, 1, 6, 1)
    found = quarters(x, torch.tensor([0, 1, 2, 3]))
    expected = [x[0, :, :3, :4], x[1, :, :3, 4:], x[2, :, 3:, :4], x[3, :, 3:, 4:]]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_is_coarse_scales_the_channels_of_what_is_fine():
    excite = Excitation(3, 2)
    high = torch.randn(2, 2, 16, 16)
    ratio = excite(torch.randn(2, 3, 4, 4), high) / high
    assert ratio.flatten(2).std(2).max() < 1e-5  # one gate for all of a channel
    assert 0 < ratio.min() <= ratio.max() < 1
    for weight in excite.parameters():
        torch.nn.init.zeros_(weight)
    assert torch.allclose(excite(torch.randn(2, 3, 4, 4), high), high / 2)


def test_the_losses_are_the_hinges_and_what_was_not_reconstructed():
    model = FastGAN(replace(TINY, recon=3.0)).train()
    some = batch(model.config)
    seen = []
    model.discriminator.whole.register_forward_hook(lambda module, inputs, output: seen.append(output))
    loss = model.discriminator_loss(some, NOW)
    parts = {name: value.item() for name, value in loss.logs.items()}
    assert seen[0].shape == (4, 1, 16, 16)  # half the sides
    hinges = loss.value.item() - 3 * parts["reconstruction"]
    assert 0 <= hinges and parts["reconstruction"] > 0.1
    away = (seen[0] - torch.nn.functional.avg_pool2d(some.x, 2)).abs().mean().item()
    assert away < parts["reconstruction"] < away + 2  # the rest is the part's


def test_both_players_see_what_is_augmented():
    config = replace(TINY, augment=("translation",))
    model = FastGAN(config).train()
    x = torch.ones(64, *config.x.shape)
    assert (model.view(x) == 0).any() and not torch.equal(model.view(x), model.view(x))
    assert torch.equal(FastGAN(TINY).view(x), x)


def test_each_player_learns_alone():
    model = FastGAN(TINY).train()
    for player in model.stages()[0].players:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch(TINY), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        assert all((w.grad is not None) <= (id(w) in mine) for w in model.parameters() if w.requires_grad)


def test_truncation_keeps_samples_of_a_seed_and_brings_them_together():
    model = FastGAN(TINY).eval()
    plain, all_of_it = model.sample(20, seed=0), model.sample(20, seed=0, how=Sampling(truncation=float("inf")))
    assert torch.allclose(plain, all_of_it, atol=1e-5)
    near = model.sample(20, seed=0, how=Sampling(truncation=0.3))
    assert near.std(0).mean() < 0.6 * plain.std(0).mean()


def test_small_pictures_are_refused():
    with pytest.raises(UsageError, match="sides of 32 or more"):
        FastGANConfig(x=Images(1, 28, 28))
