"""3D-GAN: solids on a grid of voxels, by the networks of DCGAN in three dimensions.

Learning a Probabilistic Latent Space of Object Shapes via 3D Generative-Adversarial Modeling.
Wu, Zhang, Xue, Freeman and Tenenbaum, 2016. https://arxiv.org/abs/1610.07584

    min_D  -E log D(x) - E log(1 - D(G(z)))  +  gamma / 2  E |grad D(x)|^2,      min_G  -E log D(G(z))

Where this departs from the paper: its discriminator rests in every round in which it is right in more than 80 % of
cases, which is a matter of luck and of learning rates that few have found again. Here the gradient of its scores at
real solids is penalized instead (R1; Mescheder, Geiger and Nowozin, 2018. https://arxiv.org/abs/1801.04406), so that
it may go on learning; it has no batch normalization, and the last layer of the generator goes from -1 to 1. With
classes, z comes with a one for the class, and the discriminator adds the product of its features with a vector of the
class (Miyato and Koyama, 2018. https://arxiv.org/abs/1802.05637).

There is no likelihood: `vae-3d` has a bound, and `llamagen` has one by its codes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import AfterValidator
from torch import Tensor, nn
from torch.nn.functional import one_hot

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Label,
    Labels,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Stage,
    Voxels,
    config,
    precisely,
)
from triptych.losses import adversarial, penalties
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.ema import EMA

PAPER = Paper(
    called="3D-GAN",
    title="Learning a Probabilistic Latent Space of Object Shapes via 3D Generative-Adversarial Modeling",
    authors="Jiajun Wu, Chengkai Zhang, Tianfan Xue, William T. Freeman, Joshua B. Tenenbaum",
    year=2016,
    url="https://arxiv.org/abs/1610.07584",
    conditions="none or label",
    takes=("solids",),
)


@config
class GAN3DConfig:
    x: Annotated[Voxels, AfterValidator(strided.solid)] = Voxels(1, 64, 64, 64)
    """What is modeled: sides of 4 to 7 voxels, doubled at least once."""
    given: Labels | None = None
    """The classes, for p(x | class)."""
    latent: Count = 200
    """Dimensions of z, uniform on [-1, 1]."""
    width: Count = 64
    """Channels at half the solid's size; they double at each halving."""
    gamma: NonNegative = 0.5
    """Weight of the penalty: half of it times the squared gradient."""
    ema: Fraction = 0.99
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=1e-3, betas=(0.5, 0.99))
    discriminator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.99))


class Discriminator(nn.Module):
    """(x, y) -> one logit each."""

    def __init__(self, c: GAN3DConfig) -> None:
        super().__init__()
        features = strided.trunk_features(c.x, c.width)
        self.trunk = strided.trunk(c.x, c.width, lambda channels: nn.Identity())
        self.score = nn.Linear(features, 1)
        self.label = nn.Embedding(c.given.classes, features) if c.given else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)

    def forward(self, x: Float[Tensor, "n c d h w"], given: Label | None) -> Float[Tensor, " n"]:
        h = self.trunk(x)
        logit: Tensor = self.score(h)[:, 0]
        if self.label is not None and given is not None:
            logit = logit + (self.label(given.y) * h).sum(1)
        return logit


class GAN3D(Generative[Label | None]):
    name = "gan-3d"

    def __init__(self, config: GAN3DConfig) -> None:
        super().__init__()
        self.config = c = config
        inputs = c.latent + (c.given.classes if c.given else 0)
        self.generator = strided.generator(inputs, c.x, c.width)
        self.discriminator = Discriminator(c)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: Label | None = None) -> Float[Tensor, "n c d h w"]:
        """By the generator in training, by its average otherwise. A voxel is full above 0."""
        net, z = self.average.unless_training(self.generator), 2 * noise.uniform(self.config.latent) - 1
        if self.config.given and given is not None:
            z = torch.cat([z, one_hot(given.y, self.config.given.classes).to(z.dtype)], 1)
        return net(z)

    def discriminator_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """Generated solids have the classes of the batch; the penalty is at the real ones."""
        x, given = penalties.watched(batch.x), batch.given
        real = precisely(self.discriminator, x, given)
        fake = self.discriminator(self.draw(batch.noise, given), given)
        penalty = penalties.squared_gradient(real, x)
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean(), "penalty": penalty}
        return Loss(adversarial.discriminator(real, fake) + self.config.gamma / 2 * penalty, logs)

    def generator_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        fake = self.draw(batch.noise, batch.given)
        full = (fake > 0).float().mean()
        return Loss(adversarial.non_saturating(self.discriminator(fake, batch.given)), {"full": full})

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=c.discriminator_adam,
                judges=self.discriminator,
            ),
            Player(
                name="generator",
                owns=self.generator,
                loss=self.generator_loss,
                optimizer=c.generator_adam,
                project=follow,
            ),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "gan-3d-32": Preset(
        config=GAN3DConfig(x=Voxels(1, 32, 32, 32), latent=64, width=16),
        steps=900,
        batch=16,
        data={"size": 32},
        expect="Not trained by us yet.",
    ),
    "gan-3d-64": Preset(
        config=GAN3DConfig(),
        steps=50_000,
        batch=100,
        data={"size": 64},
        expect="The paper's size, latent and batch, for a GPU; not trained by us.",
    ),
    "gan-3d-tiny": Preset(
        config=GAN3DConfig(x=Voxels(1, 8, 8, 8), latent=4, width=4), steps=10, batch=8, expect="For tests."
    ),
    "gan-3d-tiny-classes": Preset(
        config=GAN3DConfig(x=Voxels(1, 8, 8, 8), given=Labels(3), latent=4, width=4, ema=0.0),
        steps=10,
        batch=8,
        expect="For tests of classes.",
    ),
}
