"""LSGAN: its losses on its own scores."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, StepNoise
from triptych.models.gan.lsgan import LSGAN, PRESETS, LSGANConfig


def model_that_always_says(score):
    model = LSGAN(PRESETS["lsgan-tiny"].config)
    nn.init.zeros_(model.discriminator[-2].weight)
    nn.init.constant_(model.discriminator[-2].bias, score)
    return model


def batch(model, n=6):
    return Batch(torch.zeros(n, *model.config.x.shape), None, StepNoise(0, n, slice(None)))


@pytest.mark.parametrize(("score", "discriminator", "generator"), [(0, 0.5, 0.5), (0.5, 0.25, 0.125), (3, 6.5, 2)])
def test_the_losses_are_squares_of_scores_without_a_sigmoid(score, discriminator, generator):
    model = model_that_always_says(score)
    loss = model.discriminator_loss(batch(model), Clock(0, 0.0))
    assert loss.value.item() == pytest.approx(discriminator)
    assert loss.logs["D(real)"].item() == loss.logs["D(fake)"].item() == pytest.approx(score)
    assert model.generator_loss(batch(model), Clock(0, 0.0)).value.item() == pytest.approx(generator)


def test_samples_come_from_the_average_and_z_from_the_cube():
    model = LSGAN(PRESETS["lsgan-tiny-points"].config).eval()
    z = 2 * StepNoise(3, 4, slice(None)).uniform(2) - 1
    assert torch.equal(model.draw(StepNoise(3, 4, slice(None))), model.average.module(z))
    assert z.min() < 0


def test_images_that_do_not_halve_are_refused():
    with pytest.raises(ValueError, match="30 x 30"):
        LSGANConfig(x=Images(1, 30, 30))
