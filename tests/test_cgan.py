"""Conditional GAN: the class reaches both players, and generated images keep the class that they were asked for."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Label, Labels, StepNoise, UsageError
from triptych.models.gan.cgan import CGAN, PRESETS, CGANConfig

TINY = PRESETS["cgan-tiny"].config


def noise(n, seed=0):
    return StepNoise(seed, n, slice(None))


def test_one_z_makes_another_image_of_each_class():
    model = CGAN(TINY).eval()
    x = torch.cat([model.sample(1, Label(torch.tensor([y])), seed=0) for y in range(3)])
    assert not torch.equal(x[0], x[1]) and not torch.equal(x[1], x[2])
    together = model.sample(3, Label(torch.arange(3)), seed=0)
    assert torch.allclose(together[0], x[0], atol=1e-6)
    assert not torch.allclose(together[1], x[1], atol=1e-6)  # another z


def test_the_discriminator_judges_an_image_as_one_of_a_class():
    model = CGAN(TINY).eval()
    x = torch.rand(1, 1, 8, 8).expand(3, -1, -1, -1)
    logits = model.discriminator(x, torch.arange(3)).sort().values
    assert (logits.diff() > 1e-4).all()
    nn.init.zeros_(model.discriminator.label.weight)
    logits = model.discriminator(x, torch.arange(3))
    assert torch.allclose(logits, logits[:1], rtol=0, atol=1e-6)


def test_a_bias_for_each_class_is_a_convolution_of_its_plane():
    """Inside of the border: the first layer on the image and a plane for each class, against the first layer here."""
    d = CGAN(CGANConfig(x=Images(1, 16, 16), given=Labels(3), width=4)).discriminator
    x, y = torch.randn(2, 1, 16, 16), torch.tensor([2, 0])
    planes = nn.functional.one_hot(y, 3).float()[:, :, None, None].expand(-1, -1, 16, 16)
    kernel = (d.label.weight / 16).T[:, :, None, None].expand(-1, -1, 4, 4)
    expected = nn.functional.conv2d(
        torch.cat([x, planes], 1), torch.cat([d.first.weight, kernel], 1), d.first.bias, 2, 1
    )
    ours = d.first(x) + d.label(y)[:, :, None, None]
    assert torch.allclose(ours[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-6)


def test_generated_images_are_judged_by_the_class_they_were_asked_for():
    """A discriminator that only looks at the class says the same of real and of generated images."""

    class ByClass(nn.Module):
        def forward(self, x, y):
            return y.float()

    model = CGAN(TINY)
    model.discriminator = ByClass()
    given = Label(torch.tensor([0, 1, 2, 2]))
    batch = Batch(torch.zeros(4, 1, 8, 8), given, noise(4))
    logs = model.discriminator_loss(batch, Clock(0, 0.0)).logs
    assert logs["D(real)"].item() == logs["D(fake)"].item() == pytest.approx(given.y.float().sigmoid().mean().item())


def test_a_sample_needs_its_class():
    with pytest.raises(UsageError, match="needs a condition"):
        CGAN(TINY).sample(1, None)
