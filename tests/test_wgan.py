"""WGAN: what the critic measures, in which direction each player moves, and the box that its weights stay in."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Points, RMSProp, StepNoise
from triptych.models.gan.wgan import PRESETS, WGAN, WGANConfig
from triptych.testing import Examples
from triptych.training import Run, train


def slope_critic(model, w):
    """f(x) = w . x"""
    model.critic = nn.Sequential(nn.Linear(len(w), 1, bias=False), nn.Flatten(0))
    with torch.no_grad():
        model.critic[0].weight.copy_(torch.tensor([w]))
    return model


def test_the_distance_is_the_difference_of_mean_scores_with_the_sign_of_the_paper():
    model = slope_critic(WGAN(PRESETS["wgan-tiny-points"].config), [2.0, 0.0])
    noise = StepNoise(1, 5, slice(None))
    fake = model.generator(StepNoise(1, 5, slice(None)).normal(2))
    real = torch.full((5, 2), 10.0)
    loss = model.critic_loss(Batch(real, None, noise), Clock(0, 0.0))
    expected = 20 - 2 * fake[:, 0].mean().item()
    assert loss.logs["distance"].item() == pytest.approx(expected, rel=1e-5)
    assert loss.value.item() == pytest.approx(-expected, rel=1e-5)
    value = model.generator_loss(Batch(real, None, StepNoise(1, 5, slice(None))), Clock(0, 0.0)).value
    assert value.item() == pytest.approx(-2 * fake[:, 0].mean().item(), abs=1e-6)


def test_after_each_turn_of_the_critic_its_weights_are_in_the_box_and_the_generators_are_not():
    config = WGANConfig(x=Images(1, 8, 8), latent=4, width=4, clip=0.003, rmsprop=RMSProp(lr=1e-2))
    model = WGAN(config)
    for now in train(model, Examples(config.x), Run(steps=2, batch=4)):
        assert all(w.abs().max() <= 0.003 for w in model.critic.parameters())
        assert now.drawn == now.step * 6  # five turns of the critic and one of the generator, a batch each
    assert any(w.abs().max() > 0.01 for w in model.generator.parameters())


def test_both_players_use_the_papers_optimizer():
    for player in WGAN(WGANConfig(x=Points(2))).stages()[0].players:
        assert type(player.optimizer([nn.Parameter(torch.zeros(1))])) is torch.optim.RMSprop
        assert player.optimizer.rate(0.7) == 5e-5


def test_the_critic_finds_the_distance_of_two_points():
    """Mass at 0 and at 3 is moved by 3: f(x) = clip * x is the best that a linear critic in the box can do."""
    config = WGANConfig(x=Points(1), latent=1, clip=0.1, rmsprop=RMSProp(lr=1e-2))
    model = slope_critic(WGAN(config), [0.0])
    model.generator = nn.Sequential(nn.Linear(1, 1))
    nn.init.zeros_(model.generator[0].weight)
    nn.init.zeros_(model.generator[0].bias)
    critic, _ = model.stages()[0].players
    optimizer = critic.optimizer(model.critic.parameters())
    for _ in range(30):
        loss = model.critic_loss(Batch(torch.full((4, 1), 3.0), None, StepNoise(0, 4, slice(None))), Clock(0, 0.0))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        with torch.no_grad():
            critic.project()
    assert loss.logs["distance"].item() == pytest.approx(0.1 * 3)
