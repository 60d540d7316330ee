"""CAAE: a face is a person and an age; a code says who, and a number beside it how old.

Age Progression/Regression by Conditional Adversarial Autoencoder.
Zhang, Song and Qi, 2017. https://arxiv.org/abs/1702.08423

    L_Dz   = -E log Dz(u) - E log(1 - Dz(E(x)))                        u uniform on [-1, 1]      (Equation 2)
    L_Dimg = -E log Dimg(x, l) - E log(1 - Dimg(G(E(x), l), l))                                  (Equation 3)
    L_EG   = restore |x - G(E(x), l)| + smooth TV(G(E(x), l))
             - prior E log Dz(E(x)) - real E log Dimg(G(E(x), l), l)                             (Equation 4)

The encoder E makes a code z of a picture, the generator G a picture of a code and an age l. The discriminator Dz has
codes of faces fill the cube evenly, so that between two of them there is no hole, and walking through codes or ages is
walking from face to face; Dimg, which is told the age, has pictures look like faces of that age.

The condition is a picture, and behind it a plane for each group of ages: 1 for the one that the face should have, else
-1; or shares of two neighbours, for ages between. In training x is a picture of the age of its condition; the
condition's picture is then not looked at.

Where this departs from the paper: Dimg judges faces at another age than their own (that of another item of the batch),
at which the paper's generator is never looked at, and there they are to be smooth; differences are absolute, not
squared; samples are drawn by a moving average; no sex is given beside the age.

The model is a function of its condition.
"""

from collections.abc import Sequence
from dataclasses import replace
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
    Loss,
    Noise,
    NonNegative,
    Picture,
    Player,
    Preset,
    Stage,
    config,
)
from triptych.losses import adversarial, pictures
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.dense import mlp
from triptych.nn.domains import planes_of, shares_of
from triptych.nn.ema import EMA
from triptych.nn.ranks import before
from triptych.nn.strided import Halvable, initialize

PAPER = Paper(
    called="CAAE",
    title="Age Progression/Regression by Conditional Adversarial Autoencoder",
    authors="Zhifei Zhang, Yang Song, Hairong Qi",
    year=2017,
    url="https://arxiv.org/abs/1702.08423",
    conditions="picture",
)


@config
class CAAEConfig:
    x: Halvable = Images(3, 64, 64)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    given: Images = Images(11, 64, 64)
    """The picture and behind it a plane for each group of ages, of which there are two or more."""
    latent: Count = 64
    """Dimensions of the code, each from -1 to 1."""
    width: Count = 32
    """Channels of every network at half the picture's size; they double at each halving."""
    restore: NonNegative = 10.0
    """Weight of the difference from the picture, a mean over pixels."""
    smooth: NonNegative = 0.1
    """Weight of the total variation, also a mean."""
    prior: NonNegative = 0.1
    """Weight of the game about codes."""
    real: NonNegative = 0.1
    """Weight of the game about pictures."""
    ema: Fraction = 0.999
    """Decay of the average of the weights that samples are drawn by."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For all players."""

    def __post_init__(self) -> None:
        x, given = self.x, self.given
        if given.channels < x.channels + 2 or (given.height, given.width) != (x.height, x.width):
            raise ValueError(
                f"given is {given.channels} x {given.height} x {given.width}, and x {x.channels} x {x.height} x "
                f"{x.width}: behind a picture of the same size lies a plane for each group of ages, of which there are "
                "two or more"
            )


class Autoencoder(nn.Module):
    """E and G"""

    def __init__(self, c: CAAEConfig, groups: int) -> None:
        super().__init__()
        features = strided.trunk_features(c.x, c.width)
        self.encoder = nn.Sequential(*strided.trunk(c.x, c.width), nn.Linear(features, c.latent), nn.Tanh())
        self.times = max(1, c.latent // groups)  # an age is said as loudly as a person
        self.generator = strided.generator(c.latent + groups * self.times, c.x, c.width)

    def decode(self, z: Float[Tensor, "n latent"], age: Float[Tensor, "n groups"]) -> Float[Tensor, "n c h w"]:
        """G(z, l)"""
        return self.generator(torch.cat([z, (2 * age - 1).repeat(1, self.times)], 1))

    def forward(self, x: Float[Tensor, "n c h w"], age: Float[Tensor, "n groups"]) -> Float[Tensor, "n c h w"]:
        """G(E(x), l)"""
        return self.decode(self.encoder(x), age)


class CAAE(Generative[Picture]):
    name = "caae"

    def __init__(self, config: CAAEConfig) -> None:
        super().__init__()
        self.config = c = config
        self.groups = c.given.channels - c.x.channels
        self.autoencoder = Autoencoder(c, self.groups).apply(initialize)
        self.code_judge = mlp(c.latent, 64, 32, 1)
        self.judge = strided.discriminator(replace(c.x, channels=c.given.channels), c.width).apply(initialize)
        self.average = EMA(self.autoencoder, c.ema)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the networks in training, by their average otherwise."""
        net = self.average.unless_training(self.autoencoder)
        return net(given.grid[:, : self.config.x.channels], self.sought(given))

    def sought(self, given: Picture) -> Float[Tensor, "n groups"]:
        """l: the share of each group of ages."""
        return shares_of(given.grid[:, -self.groups :])

    def score(self, x: Float[Tensor, "n c h w"], age: Float[Tensor, "n groups"]) -> Float[Tensor, " n"]:
        """Dimg(x, l)"""
        return self.judge(torch.cat([x, planes_of(age, x)], 1))

    def code_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_Dz"""
        u = 2 * batch.noise.uniform(self.config.latent) - 1
        real, fake = self.code_judge(u), self.code_judge(self.autoencoder.encoder(batch.x))
        return Loss(adversarial.discriminator(real, fake), {"Dz(u)": real.sigmoid().mean()})

    def judge_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_Dimg"""
        age = self.sought(batch.given)
        other = before(age)
        real = self.score(batch.x, age)
        fake = self.score(self.autoencoder(batch.x, other), other)
        logs = {"Dimg(real)": real.sigmoid().mean(), "Dimg(fake)": fake.sigmoid().mean()}
        return Loss(adversarial.discriminator(real, fake), logs)

    def autoencoder_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_EG"""
        c, age = self.config, self.sought(batch.given)
        other = before(age)
        z = self.autoencoder.encoder(batch.x)
        same, moved = self.autoencoder.decode(z, age), self.autoencoder.decode(z, other)
        restored = pictures.l1(same, batch.x)
        value = c.restore * restored + c.smooth * pictures.total_variation(moved)
        value = value + c.prior * adversarial.non_saturating(self.code_judge(z))
        value = value + c.real * adversarial.non_saturating(self.score(moved, other))
        return Loss(value, {"restore": restored})

    def stages(self) -> Sequence[Stage]:
        adam, follow = self.config.adam, partial(self.average.update, self.autoencoder)
        each = "the ages of the next item, at which pictures are judged"
        players = [
            Player(name="code judge", owns=self.code_judge, loss=self.code_loss, optimizer=adam),
            Player(
                name="judge",
                owns=self.judge,
                loss=self.judge_loss,
                optimizer=adam,
                together=each,
                judges="a picture with its age, plane by plane",
            ),
            Player(
                name="autoencoder",
                owns=self.autoencoder,
                loss=self.autoencoder_loss,
                optimizer=adam,
                together=each,
                project=follow,
            ),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "caae-64": Preset(
        config=CAAEConfig(width=16, adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="linear")),
        steps=3000,
        batch=16,
        expect="anny-heads (200 people, 40 others held out), eight groups, seed 0: 6 minutes of one CPU core (with "
        "--channels-last). Made older, held-out faces are read as 10.9 years off what was asked, younger 10.0 (copies: "
        "33.3 and 30.5; real faces: 9.0). Noisy; skin, clothes and ground stay, finer features in part.",
    ),
    "caae-paper": Preset(
        config=CAAEConfig(
            x=Images(3, 128, 128), given=Images(13, 128, 128), latent=50, width=64, restore=1.0, prior=1e-4, real=1e-4
        ),
        steps=10_000,
        batch=100,
        expect="About the paper's sizes and rates, for ten groups of ages; not trained by us.",
    ),
    "caae-tiny": Preset(
        config=CAAEConfig(x=Images(1, 8, 8), given=Images(4, 8, 8), latent=4, width=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
