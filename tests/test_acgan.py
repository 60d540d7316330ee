"""ACGAN: both players want the class to be seen; logits go into the cross entropy as they are."""

import math

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Label, Labels, StepNoise
from triptych.models.gan.acgan import ACGAN, PRESETS, ACGANConfig

TINY = PRESETS["acgan-tiny"].config


class Says(nn.Module):
    """A discriminator with a fixed answer for each image, in order."""

    def __init__(self, source, kinds):
        super().__init__()
        self.source, self.kinds = source, kinds

    def forward(self, x):
        return torch.full((len(x),), self.source), self.kinds[: len(x)]


def losses(source, kinds, y, **options):
    model = ACGAN(ACGANConfig(x=Images(1, 8, 8), given=Labels(kinds.shape[1]), latent=4, width=4, **options))
    model.discriminator = Says(source, kinds)
    batch = Batch(torch.zeros(len(y), 1, 8, 8), Label(y), StepNoise(0, len(y), slice(None)))
    return model.discriminator_loss(batch, Clock(0, 0.0)), model.generator_loss(batch, Clock(0, 0.0)).value.item()


def test_a_perfect_answer_costs_nothing():
    """The floor is 0, not 1.461 nats: no softmax before the cross entropy."""
    y = torch.arange(10)
    loss, generator = losses(0.0, 50.0 * torch.eye(10), y)
    assert loss.value.item() == pytest.approx(2 * math.log(2), abs=1e-5)
    assert generator == pytest.approx(math.log(2), abs=1e-5)
    assert loss.logs["accuracy(real)"].item() == loss.logs["accuracy(fake)"].item() == 1


def test_a_class_unseen_costs_both_players_and_the_discriminator_twice():
    y = torch.arange(10)
    loss, generator = losses(0.0, torch.zeros(10, 10), y)
    assert loss.value.item() == pytest.approx(2 * math.log(2) + 2 * math.log(10))
    assert generator == pytest.approx(math.log(2) + math.log(10))
    loss, generator = losses(0.0, torch.zeros(10, 10), y, class_weight=0.5)
    assert loss.value.item() == pytest.approx(2 * math.log(2) + math.log(10))


def test_the_discriminator_is_not_told_the_class():
    model = ACGAN(TINY).eval()
    source, kind = model.discriminator(torch.rand(5, 1, 8, 8))
    assert source.shape == (5,) and kind.shape == (5, 3)
    assert kind.min() < 0 or kind.sum(1).max() > 1.01  # logits, not probabilities


def test_the_class_reaches_the_generator():
    model = ACGAN(TINY).eval()
    x = [model.sample(1, Label(torch.tensor([y])), seed=0) for y in range(3)]
    assert not torch.equal(x[0], x[1]) and not torch.equal(x[1], x[2])
