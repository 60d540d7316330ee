"""Conditional GAN: generator and discriminator are both told the class.

Conditional Generative Adversarial Nets.
Mirza and Osindero, 2014. https://arxiv.org/abs/1411.1784

    min_G max_D E log D(x | y) + E log(1 - D(G(z | y) | y))        (Equation 2)

The class enters each network as an additional input. The paper's networks for MNIST are fully connected, with maxout
units; these are DCGAN's, told the class in the paper's way: beside z in the generator, and beside the image in the
discriminator, as a plane for each class, 1 in that of y and 0 in the others. A convolution makes the same number of a
constant plane everywhere but at the border: so no planes are built, and the first layer has a bias for each class.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Images,
    Label,
    Labels,
    Loss,
    Noise,
    Player,
    Preset,
    Stage,
    config,
    sized,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.ema import EMA

PAPER = Paper(
    called="Conditional GAN",
    title="Conditional Generative Adversarial Nets",
    authors="Mehdi Mirza, Simon Osindero",
    year=2014,
    url="https://arxiv.org/abs/1411.1784",
    conditions="label",
)


@config
class CGANConfig:
    x: strided.Halvable = Images(1, 28, 28)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    given: Labels = Labels(10)
    """The classes."""
    latent: Count = 100
    """Dimensions of z, uniform on [-1, 1]."""
    width: Count = 64
    """Channels at half the image's size; they double at each halving."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player."""


class Discriminator(nn.Module):
    """(x, y) -> one logit each, of x being a real image of class y."""

    def __init__(self, c: CGANConfig) -> None:
        super().__init__()
        self.first, *rest = strided.discriminator(c.x, c.width).apply(strided.initialize)
        self.label = nn.Embedding(c.given.classes, c.width)
        nn.init.normal_(self.label.weight, 0, 0.08)  # a sum of 16 weights of a 4 x 4 kernel, each from N(0, .02)
        self.rest = nn.Sequential(*rest)

    def forward(self, x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return self.rest(self.first(x) + self.label(y)[:, :, None, None])


class CGAN(Generative[Label]):
    name = "cgan"

    def __init__(self, config: CGANConfig) -> None:
        super().__init__()
        self.config = c = config
        inputs = c.latent + c.given.classes
        self.generator = strided.generator(inputs, c.x, c.width).apply(strided.initialize)
        self.discriminator = Discriminator(c)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: Label) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        z, y = 2 * noise.uniform(self.config.latent) - 1, one_hot(given.y, self.config.given.classes)
        return net(torch.cat([z, y.to(z.dtype)], 1))

    def discriminator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        """Equation 2, from the discriminator's side; generated images have the classes of the batch."""
        y = batch.given.y
        real = self.discriminator(batch.x, y)
        fake = self.discriminator(self.draw(batch.noise, batch.given), y)
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        return Loss(adversarial.discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        fake = self.draw(batch.noise, batch.given)
        return Loss(adversarial.non_saturating(self.discriminator(fake, batch.given.y)))

    def stages(self) -> Sequence[Stage]:
        adam, follow = self.config.adam, partial(self.average.update, self.generator)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=adam,
                judges=self.discriminator,
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "cgan-64": Preset(
        config=CGANConfig(x=Images(3, 64, 64), width=128),
        steps=100_000,
        batch=128,
        expect="DCGAN's size, for color images of 64 x 64 in ten classes; not trained by us.",
    ),
    "cgan-mnist": Preset(
        config=CGANConfig(width=32, ema=0.99, adam=Adam(lr=2e-3, betas=(0.5, 0.999), schedule="linear")),
        steps=6000,
        batch=32,
        expect="Grey MNIST, seed 0: 6 minutes of one CPU core. Of 2,000 samples our classifier takes 99.2 % for "
        "the digit asked for (mean confidence .991); FD-mnist-classifier .31, floor .22.",
    ),
    "cgan-tiny": Preset(
        config=CGANConfig(x=Images(1, 8, 8), given=Labels(3), latent=4, width=4), steps=10, batch=8, expect="For tests."
    ),
    "cgan-tiny-rgb": Preset(
        config=CGANConfig(x=Images(3, 8, 12), given=Labels(2), latent=4, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["cgan-small"] = sized(PRESETS["cgan-mnist"])
PRESETS["cgan-medium"] = sized(PRESETS["cgan-64"])
PRESETS["cgan-paper"] = sized(PRESETS["cgan-64"])
