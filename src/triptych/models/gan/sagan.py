"""SAGAN: a class-conditional GAN whose networks attend to distant places of their own feature maps.

Self-Attention Generative Adversarial Networks.
Zhang, Goodfellow, Metaxas and Odena, 2019. https://arxiv.org/abs/1805.08318

    L_D = E max(0, 1 - D(x, y)) + E max(0, 1 + D(G(z, y), y))
    L_G = -E D(G(z, y), y)                                           (Equation 4)

A convolution sees its surroundings; a layer of attention (`nn.attention`) takes from all places what is like the one it
writes to. Either network has one, and spectral normalization in all its layers; the discriminator learns at four times
the generator's rate, which takes the place of several turns in a row (Sections 4.1 and 4.2). The class reaches the
generator by conditional batch normalization, and the discriminator by projection.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
from triptych.nn import residual, strided
from triptych.nn.attention import SelfAttention
from triptych.nn.conditional import ConditionalBatchNorm
from triptych.nn.ema import EMA

PAPER = Paper(
    called="SAGAN",
    title="Self-Attention Generative Adversarial Networks",
    authors="Han Zhang, Ian Goodfellow, Dimitris Metaxas, Augustus Odena",
    year=2018,
    url="https://arxiv.org/abs/1805.08318",
    conditions="label",
)


@config
class SAGANConfig:
    x: strided.Halvable = Images(3, 128, 128)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    given: Labels = Labels(1000)
    """The classes."""
    latent: Count = 128
    """Dimensions of z ~ N(0, I)."""
    width: Count = 64
    """Channels at the image's size in the generator, at half of it in the discriminator; doubled at each halving."""
    attention: Count | None = 32
    """Height of the feature maps that attend to themselves, in both networks; None: none do."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=1e-4, betas=(0, 0.9))
    discriminator_adam: Adam = Adam(lr=4e-4, betas=(0, 0.9))

    def __post_init__(self) -> None:
        residual.check_attention(self.x, self.attention)


def initialize(layer: nn.Module) -> None:
    """Weights after Glorot and Bengio (2010), no biases; gains of 1 for every class."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Embedding):
        nn.init.zeros_(layer.weight)


def attention(channels: int, height: int, width: int) -> SelfAttention:
    return SelfAttention(channels)


def generator(c: SAGANConfig) -> residual.Generator:
    """z, and the class as the code of each block -> images."""

    def normalization(channels: int) -> ConditionalBatchNorm:
        return ConditionalBatchNorm(channels, *(nn.Embedding(c.given.classes, channels) for _ in range(2)))

    net = residual.Generator(c.x, c.latent, c.width, normalization, attention, c.attention)
    return net.apply(initialize).apply(residual.spectral)


class SAGAN(Generative[Label]):
    name = "sagan"

    def __init__(self, config: SAGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = generator(c)
        self.discriminator = residual.ProjectionDiscriminator(c.x, c.given.classes, c.width, attention, c.attention)
        self.discriminator.apply(initialize).apply(residual.spectral)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: Label) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(noise.normal(self.config.latent), [given.y] * len(self.generator.blocks))

    def discriminator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        """L_D; real and generated images go through together, with one step of power iteration for both."""
        x = torch.cat([batch.x, self.draw(batch.noise, batch.given)])
        real, fake = self.discriminator(x, batch.given.y.repeat(2)).chunk(2)
        logs = {"score(real)": real.mean(), "score(fake)": fake.mean()}
        return Loss(adversarial.hinge_discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        fake = self.draw(batch.noise, batch.given)
        return Loss(adversarial.hinge_generator(self.discriminator(fake, batch.given.y)))

    def stages(self) -> Sequence[Stage]:
        follow, c = partial(self.average.update, self.generator), self.config
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges=self.discriminator,
        )
        generator = Player(
            name="generator",
            owns=self.generator,
            loss=self.generator_loss,
            optimizer=c.generator_adam,
            project=follow,
        )
        return [Stage(name="train", players=[discriminator, generator])]


PRESETS = {
    "sagan-imagenet-128": Preset(
        config=SAGANConfig(),
        steps=1_000_000,
        batch=256,
        expect="The paper's size: FID 18.65 and an Inception score of 52.52 on ImageNet at 128 x 128; not trained by "
        "us.",
    ),
    "sagan-mnist": Preset(
        config=SAGANConfig(
            x=Images(1, 28, 28),
            given=Labels(10),
            latent=64,
            width=16,
            attention=14,
            ema=0.99,
            generator_adam=Adam(lr=5e-4, betas=(0, 0.9), schedule="linear"),
            discriminator_adam=Adam(lr=2e-3, betas=(0, 0.9), schedule="linear"),
        ),
        steps=3600,
        batch=16,
        expect="Grey MNIST, seed 0: 7 minutes of one CPU core (channels last). Of 2,000 samples our classifier "
        "takes 99.0 % for the digit asked for (mean confidence .991); FD-mnist-classifier .78, floor .22.",
    ),
    "sagan-tiny": Preset(
        config=SAGANConfig(x=Images(1, 16, 16), given=Labels(3), latent=4, width=4, attention=8),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "sagan-tiny-rgb": Preset(
        config=SAGANConfig(x=Images(3, 16, 24), given=Labels(2), latent=4, width=4, attention=None),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["sagan-small"] = sized(PRESETS["sagan-mnist"], fits=residual.attending)
PRESETS["sagan-medium"] = sized(PRESETS["sagan-mnist"], steps=14_400, fits=residual.attending)
PRESETS["sagan-paper"] = sized(PRESETS["sagan-imagenet-128"], fits=partial(residual.attending, most=32))
