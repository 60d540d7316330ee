"""BigGAN: SAGAN made large, and a generator whose samples can be traded, good ones for varied ones.

Large Scale GAN Training for High Fidelity Natural Image Synthesis.
Brock, Donahue and Simonyan, 2019. https://arxiv.org/abs/1809.11096

    L_D = E max(0, 1 - D(x, y)) + E max(0, 1 + D(G(z, y), y))
    L_G = -E D(G(z, y), y) + beta sum_W |W^T W * (1 - I)|^2           (Equation 3)

Batches of 2,048 images and half as many channels again did most. One embedding of the class serves every layer, and z
is cut into chunks: the first begins the image, and one goes to each block beside the embedding (skip-z, Section 3).
Filters that are kept at right angles to each other leave most generators fit for truncation: z near 0, normalized by
statistics taken of such z (Section 3.1, Appendix E):

    model.sample(16, given, seed=0, how=Sampling(truncation=0.5))

The paper's networks for 128 x 128 are in its Table 4; those for other sizes follow the same rule.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from triptych.core import (
    FAITHFUL,
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Images,
    ItemNoise,
    Label,
    Labels,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Sampling,
    Stage,
    Truncatable,
    config,
    sized,
    unchanged,
)
from triptych.losses import adversarial, penalties
from triptych.models.paper import Paper
from triptych.nn import residual, strided
from triptych.nn.attention import SelfAttention
from triptych.nn.conditional import ConditionalBatchNorm
from triptych.nn.ema import EMA
from triptych.nn.truncation import standing_statistics, truncated

PAPER = Paper(
    called="BigGAN",
    title="Large Scale GAN Training for High Fidelity Natural Image Synthesis",
    authors="Andrew Brock, Jeff Donahue, Karen Simonyan",
    year=2018,
    url="https://arxiv.org/abs/1809.11096",
    conditions="label",
)

STANDING = 16, 64
"""Standing statistics are taken over so many batches of so many images."""


@config
class BigGANConfig:
    x: strided.Halvable = Images(3, 128, 128)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    given: Labels = Labels(1000)
    """The classes."""
    chunk: Count = 20
    """Dimensions of each chunk of z ~ N(0, I): one begins the image, and one goes to each of its doublings."""
    embedding: Count = 128
    """Dimensions of the class's embedding."""
    width: Count = 96
    """Channels at the image's size in the generator, at half of it in the discriminator; doubled at each halving."""
    attention: Count | None = 64
    """Height of the feature maps that attend to themselves, in both networks; None: none do."""
    orthogonal: NonNegative = 1e-4
    """beta."""
    discriminator_turns: Count = 2
    """Updates of the discriminator for each of the generator."""
    ema: Fraction = 0.9999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves."""
    generator_adam: Adam = Adam(lr=5e-5, betas=(0, 0.999))
    discriminator_adam: Adam = Adam(lr=2e-4, betas=(0, 0.999))

    def __post_init__(self) -> None:
        residual.check_attention(self.x, self.attention)


def initialize(layer: nn.Module) -> None:
    """Orthogonal weights, no biases (Saxe and others, 2014)."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
        nn.init.orthogonal_(layer.weight)
    if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def attention(channels: int, height: int, width: int) -> SelfAttention:
    return SelfAttention(channels)


class Generator(nn.Module):
    """(z, y) -> images. A block's gains and biases are linear in its code: the class's embedding, and a chunk of z."""

    def __init__(self, c: BigGANConfig) -> None:
        super().__init__()

        def normalization(channels: int) -> ConditionalBatchNorm:
            code = c.embedding + c.chunk
            return ConditionalBatchNorm(channels, *(nn.Linear(code, channels, bias=False) for _ in range(2)))

        self.shared = nn.Embedding(c.given.classes, c.embedding)
        self.image = residual.Generator(c.x, c.chunk, c.width, normalization, attention, c.attention)
        self.apply(initialize).apply(residual.spectral)
        self.latent = c.chunk * (1 + len(self.image.blocks))

    def forward(self, z: Float[Tensor, "n latent"], y: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        first, *rest = z.chunk(1 + len(self.image.blocks), 1)
        e = self.shared(y)
        return self.image(first, [torch.cat([e, chunk], 1) for chunk in rest])

    def alike(self) -> Float[Tensor, ""]:
        """How far from right angles the filters of all layers are, the class's embedding aside."""
        return sum((penalties.alike(w) for w in self.image.parameters() if w.dim() > 1), torch.zeros(()))


class BigGAN(Truncatable[Label]):
    name = "biggan"

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = Generator(c)
        self.discriminator = residual.ProjectionDiscriminator(c.x, c.given.classes, c.width, attention, c.attention)
        self.discriminator.apply(initialize).apply(residual.spectral)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: Label, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise.

        With a truncation (which may be infinite) batch normalization goes by standing statistics for it, the same for
        all samples: some seconds of work, whatever their number.
        """
        z = noise.normal(self.generator.latent)
        net = self.average.unless_training(self.generator)
        if self.training or how.truncation is None:
            return net(z, given.y)
        with standing_statistics(net, self.ordinary(how.truncation)):
            return net(truncated(z, how.truncation), given.y)

    def ordinary(self, truncation: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of truncated z and random classes, always the same."""
        batches, size = STANDING
        for i in range(batches):
            noise = ItemNoise(0, range(i * size, (i + 1) * size), self.device, self.precision)
            y = (noise.uniform() * self.config.given.classes).long()
            yield truncated(noise.normal(self.generator.latent), truncation), y

    def discriminator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        """L_D; real and generated images go through together, with one step of power iteration for both."""
        x = torch.cat([batch.x, self.draw(batch.noise, batch.given)])
        real, fake = self.discriminator(x, batch.given.y.repeat(2)).chunk(2)
        logs = {"score(real)": real.mean(), "score(fake)": fake.mean()}
        return Loss(adversarial.hinge_discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        """L_G."""
        fake = self.discriminator(self.draw(batch.noise, batch.given), batch.given.y)
        alike = self.generator.alike()
        return Loss(adversarial.hinge_generator(fake) + self.config.orthogonal * alike, {"alike": alike})

    def stages(self) -> Sequence[Stage]:
        follow, c = partial(self.average.update, self.generator), self.config
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges=self.discriminator,
            turns=c.discriminator_turns,
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
    "biggan-small": Preset(
        config=BigGANConfig(
            x=Images(3, 32, 32),
            given=Labels(10),
            embedding=32,
            width=16,
            attention=None,
            discriminator_turns=1,
            ema=0.99,
            generator_adam=Adam(lr=5e-4, betas=(0, 0.99), schedule="linear"),
            discriminator_adam=Adam(lr=2e-3, betas=(0, 0.99), schedule="linear"),
        ),
        fits=unchanged,
        steps=2800,
        batch=16,
        expect="The settings of biggan-mnist without attention. Emoji by category (`--data emoji --size 32 "
        "--condition category`), seed 0, 2,020 steps: 3.4 minutes of one CPU core (with --channels-last). "
        "FD-random-conv 2.12, floor 1.21 (358 held-out emoji): ragged things of many colors.",
    ),
    "biggan-medium": Preset(
        config=BigGANConfig(x=Images(3, 64, 64), given=Labels(10), width=48, attention=None, ema=0.999),
        fits=unchanged,
        steps=50_000,
        batch=64,
        expect="Pictures of any size with classes, for a GPU; not trained by us.",
    ),
    "biggan-imagenet-128": Preset(
        config=BigGANConfig(),
        steps=140_000,
        batch=2048,
        expect="The paper's size, for which --accumulate divides a batch: FID 8.7 and an Inception score of 98.8 on "
        "ImageNet at 128 x 128; not trained by us.",
    ),
    "biggan-cifar": Preset(
        config=BigGANConfig(x=Images(3, 32, 32), given=Labels(10), width=64, attention=16, ema=0.999),
        steps=100_000,
        batch=64,
        expect="Color images of 32 x 32 in ten classes, on one GPU; not trained by us.",
    ),
    "biggan-mnist": Preset(
        config=BigGANConfig(
            x=Images(1, 28, 28),
            given=Labels(10),
            embedding=32,
            width=16,
            attention=14,
            discriminator_turns=1,
            ema=0.99,
            generator_adam=Adam(lr=5e-4, betas=(0, 0.99), schedule="linear"),
            discriminator_adam=Adam(lr=2e-3, betas=(0, 0.99), schedule="linear"),
        ),
        steps=2800,
        batch=16,
        expect="Grey MNIST, seed 0, `--channels-last`: 8 minutes of one CPU core. Of 2,000 samples our "
        "classifier takes 97.0 % for the digit asked for (mean confidence .973); FD-mnist-classifier .75, "
        "floor .22. With `--truncation 0.5`, cleaner and more alike.",
    ),
    "biggan-tiny": Preset(
        config=BigGANConfig(x=Images(1, 16, 16), given=Labels(3), chunk=2, embedding=3, width=4, attention=8),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "biggan-tiny-rgb": Preset(
        config=BigGANConfig(x=Images(3, 16, 24), given=Labels(2), chunk=2, embedding=3, width=4, attention=None),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["biggan-paper"] = sized(PRESETS["biggan-imagenet-128"], fits=partial(residual.attending, most=64))
