"""WGAN-GP: the penalty on a critic of known slope, and what the critic must not do for the penalty to make sense."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, StepNoise
from triptych.models.gan.wgan_gp import PRESETS, WGANGP, WGANGPConfig


def batch(config, n=6):
    return Batch(torch.randn(n, *config.x.shape), None, StepNoise(0, n, slice(None)))


@pytest.mark.parametrize(("w", "penalty"), [([0.6, 0.8], 0.0), ([3.0, 4.0], 16.0), ([0.0, 0.0], 1.0)])
def test_the_penalty_of_a_linear_critic_is_the_square_of_its_slope_less_one(w, penalty):
    model = WGANGP(PRESETS["wgan-gp-tiny-points"].config)
    model.critic = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    with torch.no_grad():
        model.critic[0].weight.copy_(torch.tensor([w]))
    loss = model.critic_loss(batch(model.config), Clock(0, 0.0))
    assert loss.logs["penalty"].item() == pytest.approx(penalty, abs=1e-5)
    assert loss.value.item() == pytest.approx(10 * penalty - loss.logs["distance"].item(), rel=1e-4, abs=1e-4)


def test_the_critic_looks_at_images_one_by_one():
    """With batch normalization a gradient would be of the batch, and its norm would say nothing."""
    model = WGANGP(WGANGPConfig(x=Images(1, 16, 16), width=4)).train()
    x = torch.randn(5, 1, 16, 16)
    assert torch.allclose(model.critic(x)[2:3], model.critic(x[2:3]), atol=1e-6)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.critic.modules())


def test_the_penalty_reaches_the_critic_and_not_the_generator():
    model = WGANGP(PRESETS["wgan-gp-tiny"].config).train()
    model.critic_loss(batch(model.config), Clock(0, 0.0)).logs["penalty"].backward()
    assert all(w.grad is None for w in model.generator.parameters())
    assert any(w.grad is not None and w.grad.any() for w in model.critic.parameters())


def test_optimizer_and_turns_are_the_papers():
    critic, generator = WGANGP(WGANGPConfig()).stages()[0].players
    assert (critic.turns, generator.turns) == (5, 1)
    assert critic.optimizer.betas == (0, 0.9) and critic.optimizer.lr == 1e-4
