"""ACGAN: a GAN whose discriminator, besides telling real from generated, also names the class.

Conditional Image Synthesis With Auxiliary Classifier GANs.
Odena, Olah and Shlens, 2017. https://arxiv.org/abs/1610.09585

    L_S = E log P(S = real | x) + E log P(S = fake | G(c, z))        (Equation 2)
    L_C = E log P(C = c | x)    + E log P(C = c | G(c, z))           (Equation 3)

The discriminator raises L_S + L_C, the generator L_C - L_S: both want the class to be seen in real and in generated
images. The discriminator is not told the class, it has to find it; both answers come from one trunk of convolutions.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

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
    NonNegative,
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
    called="ACGAN",
    title="Conditional Image Synthesis With Auxiliary Classifier GANs",
    authors="Augustus Odena, Christopher Olah, Jonathon Shlens",
    year=2016,
    url="https://arxiv.org/abs/1610.09585",
    conditions="label",
)


@config
class ACGANConfig:
    x: strided.Halvable = Images(3, 32, 32)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    given: Labels = Labels(10)
    """The classes."""
    latent: Count = 100
    """Dimensions of z ~ N(0, I)."""
    width: Count = 64
    """Channels at half the image's size; they double at each halving."""
    dropout: Fraction = 0.5
    """Share of the trunk's features that are dropped before the two answers."""
    class_weight: NonNegative = 1.0
    """Weight of L_C, the classification loss; L_S, that of the source, has weight 1."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player."""


class Discriminator(nn.Module):
    """x -> the logit of x being real, and the logits of its class."""

    def __init__(self, c: ACGANConfig) -> None:
        super().__init__()
        features = strided.trunk_features(c.x, c.width)
        self.trunk = nn.Sequential(*strided.trunk(c.x, c.width), nn.Dropout(c.dropout))
        self.source, self.kind = nn.Linear(features, 1), nn.Linear(features, c.given.classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n classes"]]:
        h = self.trunk(x)
        return self.source(h).flatten(), self.kind(h)


class ACGAN(Generative[Label]):
    name = "acgan"

    def __init__(self, config: ACGANConfig) -> None:
        super().__init__()
        self.config = c = config
        inputs = c.latent + c.given.classes
        self.generator = strided.generator(inputs, c.x, c.width).apply(strided.initialize)
        self.discriminator = Discriminator(c).apply(strided.initialize)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: Label) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        z, y = noise.normal(self.config.latent), one_hot(given.y, self.config.given.classes)
        return net(torch.cat([z, y.to(z.dtype)], 1))

    def discriminator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        """-(L_S + L_C). `cross_entropy` takes logits: a softmax before it would leave 1.46 nats to a perfect answer."""
        y = batch.given.y
        real, real_kind = self.discriminator(batch.x)
        fake, fake_kind = self.discriminator(self.draw(batch.noise, batch.given))
        classes = cross_entropy(real_kind, y) + cross_entropy(fake_kind, y)
        logs = {
            "D(real)": real.sigmoid().mean(),
            "D(fake)": fake.sigmoid().mean(),
            "accuracy(real)": (real_kind.argmax(1) == y).to(real.dtype).mean(),
            "accuracy(fake)": (fake_kind.argmax(1) == y).to(real.dtype).mean(),
        }
        return Loss(adversarial.discriminator(real, fake) + self.config.class_weight * classes, logs)

    def generator_loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        """-(L_C - L_S), of which only generated images depend on the generator; L_S in its non-saturating form."""
        fake, kind = self.discriminator(self.draw(batch.noise, batch.given))
        return Loss(adversarial.non_saturating(fake) + self.config.class_weight * cross_entropy(kind, batch.given.y))

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
    "acgan-cifar": Preset(
        config=ACGANConfig(width=128),
        steps=50_000,
        batch=100,
        expect="Color images of 32 x 32 in ten classes: the paper reached an Inception score of 8.25 +- .07 on "
        "CIFAR-10, with other networks; not trained by us.",
    ),
    "acgan-mnist": Preset(
        config=ACGANConfig(
            x=Images(1, 28, 28), width=32, ema=0.99, adam=Adam(lr=2e-3, betas=(0.5, 0.999), schedule="linear")
        ),
        steps=6000,
        batch=32,
        expect="Grey MNIST, seed 0: 6 minutes of one CPU core. Of 2,000 samples our classifier takes 95.4 % for "
        "the digit asked for (mean confidence .975); FD-mnist-classifier .99, floor .22.",
    ),
    "acgan-tiny": Preset(
        config=ACGANConfig(x=Images(1, 8, 8), given=Labels(3), latent=4, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "acgan-tiny-rgb": Preset(
        config=ACGANConfig(x=Images(3, 8, 12), given=Labels(2), latent=4, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["acgan-small"] = sized(PRESETS["acgan-mnist"])
PRESETS["acgan-medium"] = sized(PRESETS["acgan-cifar"])
PRESETS["acgan-paper"] = sized(PRESETS["acgan-cifar"])
