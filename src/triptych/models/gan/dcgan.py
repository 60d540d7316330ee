"""DCGAN: a GAN of strided convolutions and batch normalization.

Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks.
Radford, Metz and Chintala, 2015. https://arxiv.org/abs/1511.06434
"""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Images,
    Loss,
    Noise,
    Player,
    Preset,
    Stage,
    config,
    sized,
    unchanged,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.ema import EMA
from triptych.nn.strided import Halvable, initialize

PAPER = Paper(
    called="DCGAN",
    title="Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
    authors="Alec Radford, Luke Metz, Soumith Chintala",
    year=2015,
    url="https://arxiv.org/abs/1511.06434",
)


@config
class DCGANConfig:
    x: Halvable = Images(3, 64, 64)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    latent: Count = 100
    """Dimensions of z, uniform on [-1, 1]."""
    width: Count = 128
    """Channels at half the image's size; they double at each halving."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    shared: bool = False
    """Whether both players of a round move on one batch, and the samples that they judge and improve are made once: a
    pass of the generator less, as in PyTorch's own example and many others. Else each turn draws afresh, as in
    Algorithm 1 of Goodfellow and others (2014)."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player."""


class DCGAN(Generative[None]):
    name = "dcgan"

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = strided.generator(config.latent, config.x, config.width).apply(initialize)
        self.discriminator = strided.discriminator(config.x, config.width).apply(initialize)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(2 * noise.uniform(self.config.latent) - 1)

    def fakes(self, batch: Batch[None]) -> Float[Tensor, "n c h w"]:
        """A sample for each example."""
        return batch.once(lambda: self.draw(batch.noise))

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        real, fake = self.discriminator(batch.x), self.discriminator(self.fakes(batch))
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        return Loss(adversarial.discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        return Loss(adversarial.non_saturating(self.discriminator(self.fakes(batch))))

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
        return [Stage(name="train", players=players, maker="generator" if self.config.shared else None)]


PRESETS = {
    "dcgan-small": Preset(
        config=DCGANConfig(width=32, ema=0.99, adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear")),
        fits=unchanged,
        steps=4600,
        batch=32,
        expect="Emoji at 32 px (`--data emoji --size 32`, 3,009 of them), seed 0: 5 minutes of one CPU core (with "
        "--channels-last). FD-random-conv 1.91, floor 1.21 (358 held-out emoji). Clean "
        "colors; faces and figures with ragged details. As long on 718 `furniture-renders`: 2.00, floor 2.14 (102 of "
        "them).",
    ),
    "dcgan-medium": Preset(
        config=DCGANConfig(width=64, adam=Adam(lr=4e-4, betas=(0.5, 0.999), schedule="linear")),
        fits=unchanged,
        steps=20_000,
        batch=64,
        expect="Pictures of any size, an hour of one core and more; not trained by us.",
    ),
    "dcgan-64": Preset(
        config=DCGANConfig(),
        steps=100_000,
        batch=128,
        expect="The paper's size for color images of 64 x 64; not trained by us.",
    ),
    "dcgan-mnist": Preset(
        config=DCGANConfig(
            x=Images(1, 28, 28), width=64, ema=0.99, adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear")
        ),
        steps=3000,
        batch=64,
        expect="Grey MNIST, seed 0: 11 minutes of one CPU core (with --channels-last). Strokes like handwriting, "
        "most of them digits: mean confidence .865, FD-mnist-classifier 3.70 (2,000 samples; floor .22), "
        "recall .91; zeros and nines come up most, fours least.",
    ),
    "dcgan-mnist-demo": Preset(
        config=DCGANConfig(
            x=Images(1, 28, 28), width=32, ema=0.99, adam=Adam(lr=2e-3, betas=(0.5, 0.999), schedule="linear")
        ),
        steps=2900,
        batch=32,
        expect="Grey MNIST, one of two CPU cores, seed 0: 3 to 4 minutes; 2,000 samples: mean confidence .85 by our "
        "classifier (real images: .99), all ten digits, FD-mnist-classifier 3.5 (floor .22).",
    ),
    "dcgan-tiny": Preset(
        config=DCGANConfig(x=Images(1, 8, 8), latent=4, width=4), steps=10, batch=8, expect="For tests."
    ),
    "dcgan-tiny-shared": Preset(
        config=DCGANConfig(x=Images(1, 8, 8), latent=4, width=4, shared=True),
        steps=10,
        batch=8,
        expect="For tests of samples that both players share.",
    ),
}
PRESETS["dcgan-paper"] = sized(PRESETS["dcgan-64"])
