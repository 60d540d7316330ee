"""R3GAN: its losses, the start that Fixup asks for, its schedules, and what conditions do."""

import math

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Labels, Points, StepNoise
from triptych.losses import adversarial
from triptych.models.gan.r3gan import PRESETS, R3GAN, Block, Linear, R3GANConfig, widths

START, END = Clock(0, 0.0), Clock(9, 1.0)
CONFIGS = [preset.config for name, preset in PRESETS.items() if "tiny" in name]


def batch(config, n=8):
    x = 2 * torch.rand(n, *config.x.shape, generator=torch.Generator().manual_seed(1)) - 1
    return Batch(x, conditions(config, n), StepNoise(0, n, slice(None)))


def conditions(config, n):
    """One after the other, from the first again."""
    if config.given is None:
        return None
    values = torch.arange(n) % config.given.values
    return config.given.condition(values[(...,) + (None,) * len(config.given.shape)].expand(n, *config.given.shape))


def test_the_loss_is_of_pairs_and_of_differences():
    real, fake = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 1.0])
    value = adversarial.relativistic(real, fake)
    assert value.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 2)
    assert torch.allclose(adversarial.relativistic(real + 100, fake + 100), value)
    assert not torch.allclose(adversarial.relativistic(real, fake.flip(0) * torch.tensor([1.0, 2.0])), value)
    assert adversarial.relativistic(real, real).item() == pytest.approx(math.log(2))
    assert adversarial.relativistic(fake, real) > adversarial.relativistic(real, fake) - 1e-6


@pytest.mark.parametrize("config", CONFIGS)
def test_the_discriminator_pays_for_both_gradients_and_the_generator_for_none(config):
    model = R3GAN(config).train()
    loss = model.discriminator_loss(batch(config), START)
    logs = loss.logs
    assert logs["R1"] > 0 and logs["R2"] > 0
    y = batch(config).given
    fake, real = model.draw(batch(config).noise, batch(config).given), batch(config).x
    game = adversarial.relativistic(model.discriminator(real, y), model.discriminator(fake, y))
    penalty = config.gamma[0] / 2 * (logs["R1"] + logs["R2"])
    assert loss.value.item() == pytest.approx((game + penalty).item(), rel=1e-4)
    swapped = adversarial.relativistic(model.discriminator(fake, y), model.discriminator(real, y))
    assert model.generator_loss(batch(config), START).value.item() == pytest.approx(swapped.item(), rel=1e-4)


def test_the_penalty_of_a_linear_discriminator_is_its_slope():
    model = R3GAN(R3GANConfig(x=Points(2), latent=2, width=4, gamma=(3.0, 0.5)))
    model.discriminator.layers = nn.Linear(2, 1)
    with torch.no_grad():
        model.discriminator.layers.weight.copy_(torch.tensor([[3.0, 4.0]]))
    for clock, gamma in ((START, 3.0), (Clock(1, 0.5), 1.75), (END, 0.5)):
        model.config.x.check(batch(model.config).x)
        loss = model.discriminator_loss(batch(model.config), clock)
        assert loss.logs["R1"].item() == loss.logs["R2"].item() == pytest.approx(25)
        assert model.gamma(clock) == pytest.approx(gamma)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_penalties_do_not_reach_the_generator(config):
    model = R3GAN(config).train()
    logs = model.discriminator_loss(batch(config), START).logs
    (logs["R1"] + logs["R2"]).backward()
    assert all(w.grad is None for w in model.generator.parameters())
    assert any(w.grad is not None and w.grad.any() for w in model.discriminator.parameters())


def test_a_block_does_nothing_at_first_and_keeps_the_variance_within():
    torch.manual_seed(0)
    block = Block(64, 16, depth=1)
    x = torch.randn(16, 64, 8, 8)
    assert torch.equal(block(x), x)
    inner = block.layers[:-1](x)[:, :, 1:-1, 1:-1]  # after two nonlinearities that keep the mean square
    assert inner.square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.2)
    deep = Block(64, 16, depth=16)
    with torch.no_grad():
        assert deep.layers[0].weight.std() / block.layers[0].weight.std() == pytest.approx(0.5, rel=0.05)


def test_networks_keep_the_scale_and_have_no_normalization():
    torch.manual_seed(0)
    model = R3GAN(R3GANConfig(x=Images(3, 32, 32), width=32))
    x = model.train().draw(StepNoise(0, 64, slice(None)))
    assert 0.2 < x.std().item() < 3
    assert 0.2 < model.discriminator(torch.randn(256, 3, 1, 1).expand(-1, -1, 32, 32), None).std().item() < 3
    normal = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    assert not any(isinstance(m, normal) for m in model.modules())
    for m in model.modules():
        if isinstance(m, Block):
            assert [getattr(layer, "bias", None) is not None for layer in m.layers[::2]] == [True, True, False]


def test_a_matrix_over_the_channels_is_a_1_by_1_convolution():
    layer, x = Linear(5, 3, bias=True), torch.randn(2, 5, 4, 6)
    with torch.no_grad():
        layer.bias.normal_()
    same = nn.functional.conv2d(x, layer.weight[:, :, None, None], layer.bias)
    assert torch.allclose(layer(x), same, atol=1e-6)


def test_sizes_are_the_papers():
    cifar, ffhq = PRESETS["r3gan-cifar"].config, PRESETS["r3gan-ffhq-64"].config
    assert widths(cifar.x, cifar) == [768] * 4 and widths(ffhq.x, ffhq) == [768] * 4 + [384]
    with torch.device("meta"):
        model = R3GAN(cifar)
    groups = {m.groups for m in model.modules() if isinstance(m, nn.Conv2d)}
    assert groups == {96} and sum(isinstance(m, Block) for m in model.generator.modules()) == 8
    assert cifar.adam.settings(0.0) == {"lr": 2e-4, "betas": (0, 0.9)}
    last = cifar.adam.settings(1.0)
    assert last["lr"] == pytest.approx(5e-5) and last["betas"] == pytest.approx((0, 0.99))


@pytest.mark.parametrize("name", ["r3gan-tiny-class", "r3gan-tiny-text"])
def test_both_players_see_the_condition(name):
    config = PRESETS[name].config
    model = R3GAN(config).eval()
    y = conditions(config, config.given.values)
    x = batch(config).x[:1].expand(len(y), -1, -1, -1)
    assert (model.discriminator(x, y).sort().values.diff() > 1e-5).all()
    z = torch.randn(1, config.latent).expand(len(y), -1)
    drawn = model.generator(z, y)
    assert not torch.equal(drawn[0], drawn[1])


def test_samples_of_the_average_are_clipped_and_those_of_training_are_not():
    config = PRESETS["r3gan-tiny"].config
    model = R3GAN(config)
    with torch.no_grad():
        for net in (model.generator, model.average.module):
            net.layers[-1].weight.mul_(100)
    assert model.sample(8, seed=0).abs().max() == 1
    assert model.train().draw(StepNoise(0, 8, slice(None))).abs().max() > 1


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="not a multiple of group=16"):
        R3GANConfig(x=Images(1, 28, 28), width=36)
    with pytest.raises(ValueError, match="leaves a stage 0 channels"):
        R3GANConfig(x=Images(1, 28, 28), width=1, wide=1, group=1)
    R3GANConfig(x=Images(1, 28, 28), given=Labels(3), width=4, wide=1)
