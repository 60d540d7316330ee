"""StarGAN: pictures of several kinds turned into each other by one generator.

StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation.
Choi et al., 2017. https://arxiv.org/abs/1711.09020

    L_adv = E D_src(x) - E D_src(G(x, t)) - penalty E (|grad D_src(x^)| - 1)^2     (Equation 8)
    L_D   = -L_adv + classify E -log D_cls(d | x)                                  (Equations 2 and 5)
    L_G   = L_adv + classify E -log D_cls(t | G(x, t)) + restore E |x - G(G(x, t), d)|     (Equations 3, 4 and 6)

where d is the domain of x, t that of another item of the batch, and x^ lies on a line between a real and a generated
picture. Domains are classes of which a picture is of one (faces by hair color, by age), or attributes of which it may
have several (exclusive=false).

The condition is a picture, and behind it a plane for each domain: 1 where it should go there, else -1; or something
between, halfway or for ordered domains (groups of ages) between two neighbours. In training x is a picture that is of
the domains of its condition; the condition's picture is then not looked at.

Where this departs from the paper: the generator keeps the picture's colors and adds to it (see `nn.translator`); the
discriminator classifies by the mean over its last features, so that pictures of any size can be judged; samples are
drawn by a moving average of the generator.

The model is a function of its condition.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from triptych.core import (
    Adam,
    AnySize,
    Batch,
    Clock,
    Count,
    Doublings,
    Fraction,
    Images,
    Loss,
    Noise,
    NonNegative,
    Picture,
    Player,
    Preset,
    Stage,
    config,
    full,
    precisely,
)
from triptych.losses import penalties, pictures
from triptych.models.paper import Paper
from triptych.nn.domains import amounts_of, planes_of, shares_of
from triptych.nn.ema import EMA
from triptych.nn.ranks import before
from triptych.nn.reach import reach
from triptych.nn.translator import Translator, check_translator

PAPER = Paper(
    called="StarGAN",
    title="StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation",
    authors="Yunjey Choi, Minje Choi, Munyoung Kim, Jung-Woo Ha, Sunghun Kim, Jaegul Choo",
    year=2017,
    url="https://arxiv.org/abs/1711.09020",
    conditions="picture",
)

SLOPE = 0.01
"""Negative slope of the discriminator's LeakyReLU."""


@config
class StarGANConfig:
    x: Images = Images(3, 64, 64)
    """What is modeled: pictures as large as those trained on. A trained model takes any size."""
    given: Images = Images(5, 64, 64)
    """The picture and behind it a plane for each domain, of which there are two or more."""
    exclusive: bool = True
    """Whether a picture is of one domain; else domains are attributes, of which it may have several or none."""
    width: Count = 24
    """Channels of the generator at the picture's size, twice as many at each halving."""
    blocks: Count = 4
    """Residual blocks of the generator, at its least size."""
    halvings: Doublings = 2
    """How often the generator halves the picture."""
    slope: Fraction = 0.0
    """Of the generator's LeakyReLUs below 0; 0: ReLUs, as in the paper. With few and weak pictures the way back can
    press what the generator adds to nothing, and ReLUs that are all 0 stay so."""
    judge: Count = 24
    """Channels of the discriminator at half the picture's size, twice as many at each halving."""
    judge_halvings: Doublings = 4
    """How often the discriminator halves the picture."""
    classify: NonNegative = 1.0
    """Weight of the classification."""
    restore: NonNegative = 10.0
    """Weight of the way back."""
    penalty: NonNegative = 10.0
    """Weight of the gradient penalty."""
    turns: Count = 5
    """Updates of the discriminator for each of the generator."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=1e-4, betas=(0.5, 0.999), schedule="linear")
    """For either player."""

    def __post_init__(self) -> None:
        x, given = self.x, self.given
        if given.channels < x.channels + 2:
            raise ValueError(
                f"given has {given.channels} channels, and x {x.channels}: behind the picture lies a plane for each "
                "domain, of which there are two or more"
            )
        check_translator(x, replace(given, channels=x.channels), self.halvings)
        if min(x.height, x.width) < 2**self.judge_halvings:
            raise ValueError(
                f"judge_halvings={self.judge_halvings}: pictures of {x.height} x {x.width} cannot be halved so often"
            )


class Discriminator(nn.Module):
    """A picture -> scores of its patches, and a logit for each domain."""

    def __init__(self, channels: int, width: int, halvings: int, domains: int) -> None:
        super().__init__()
        wide = [channels, *(width << i for i in range(halvings))]
        self.trunk = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(SLOPE)) for a, b in pairwise(wide))
        )
        self.source = nn.Conv2d(wide[-1], 1, 3, padding=1)
        self.domain = nn.Linear(wide[-1], domains)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n 1 h2 w2"], Float[Tensor, "n domains"]]:
        h = self.trunk(x)
        return self.source(h), self.domain(h.mean((2, 3)))

    def score(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """The mean over the patches."""
        return self(x)[0].mean((1, 2, 3))


class StarGAN(AnySize[Picture]):
    name = "stargan"

    def __init__(self, config: StarGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.domains = c.given.channels - c.x.channels
        self.generator = Translator(c.given.channels, c.x.channels, c.width, c.blocks, c.halvings, c.slope)
        self.discriminator = Discriminator(c.x.channels, c.judge, c.judge_halvings, self.domains)
        self.average = EMA(self.generator, c.ema)
        self.multiple = 2**c.halvings
        self.reach = reach(self.generator, self.multiple)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise, where what is beyond black and white is clipped."""
        x = self.average.unless_training(self.generator)(given.grid)
        return x if self.training else x.clamp(-1, 1)

    def sought(self, given: Picture) -> Float[Tensor, "n domains"]:
        """How much a condition asks for each domain, from 0 to 1; of exclusive ones, the share of each."""
        planes = given.grid[:, -self.domains :]
        return shares_of(planes) if self.config.exclusive else amounts_of(planes)

    def read(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n domains"]:
        """D_cls: how probably a picture is of each domain."""
        logits = self.discriminator(x)[1]
        return logits.softmax(1) if self.config.exclusive else logits.sigmoid()

    def turned(self, x: Float[Tensor, "n c h w"], domains: Float[Tensor, "n domains"]) -> Float[Tensor, "n c h w"]:
        """G(x, t)"""
        return self.generator(torch.cat([x, planes_of(domains, x)], 1))

    def classified(self, logits: Float[Tensor, "n domains"], domains: Float[Tensor, "n domains"]) -> Tensor:
        """-log D_cls"""
        if self.config.exclusive:
            return cross_entropy(full(logits), full(domains))
        return binary_cross_entropy_with_logits(full(logits), full(domains), reduction="sum") / len(logits)

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_D"""
        c, domains = self.config, self.sought(batch.given)
        fake = self.turned(batch.x, before(domains))
        real, logits = self.discriminator(batch.x)
        distance = full(real).mean() - full(self.discriminator.score(fake)).mean()
        middle = penalties.between(batch.x, fake, batch.noise.uniform())
        penalty = penalties.unit_gradient(precisely(self.discriminator.score, middle), middle)
        wrong = self.classified(logits, domains)
        logs = {"distance": distance, "penalty": penalty, "classify": wrong}
        return Loss(c.penalty * penalty - distance + c.classify * wrong, logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G"""
        c, domains = self.config, self.sought(batch.given)
        target = before(domains)
        fake = self.turned(batch.x, target)
        scores, logits = self.discriminator(fake)
        restored = pictures.l1(batch.x, self.turned(fake, domains))
        wrong = self.classified(logits, target)
        logs = {"restore": restored, "classify": wrong}
        return Loss(-full(scores).mean() + c.classify * wrong + c.restore * restored, logs)

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        each = "the domains of the next item, to which pictures are turned"
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=c.adam,
                turns=c.turns,
                together=each,
                judges="it also classifies, and its penalty is of the pictures as they are",
            ),
            Player(
                name="generator",
                owns=self.generator,
                loss=self.generator_loss,
                optimizer=c.adam,
                together=each,
                project=follow,
            ),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "stargan-64": Preset(
        config=StarGANConfig(turns=2, adam=Adam(lr=4e-4, betas=(0.5, 0.999), schedule="linear")),
        steps=2500,
        batch=4,
        expect="Pictures of 64 x 64, about half an hour of one CPU core; not trained by us yet.",
    ),
    "stargan-faces": Preset(
        config=StarGANConfig(
            given=Images(11, 64, 64),
            width=16,
            blocks=3,
            slope=0.2,
            judge=16,
            restore=5.0,
            turns=2,
            adam=Adam(lr=4e-4, betas=(0.5, 0.999), schedule="linear"),
        ),
        steps=750,
        batch=8,
        expect="Ageing on anny-heads (200 people, 40 others held out), eight groups, seed 0: 4 minutes of one CPU core "
        "(with --channels-last). Hair whitens and darkens in part, all else stays: held-out faces made older are read "
        "as 24.2 years off what was asked, younger 19.3 (copies: 33.3 and 30.5; real faces: 9.0). Of attributes not "
        "trained by us.",
    ),
    "stargan-32": Preset(
        config=StarGANConfig(
            x=Images(1, 32, 32),
            given=Images(3, 32, 32),
            width=16,
            blocks=3,
            judge_halvings=3,
            turns=2,
            adam=Adam(lr=4e-4, betas=(0.5, 0.999), schedule="linear"),
        ),
        steps=2500,
        batch=8,
        expect="Pictures of 32 x 32, about 10 minutes of one CPU core; not trained by us yet.",
    ),
    "stargan-paper": Preset(
        config=StarGANConfig(
            x=Images(3, 128, 128),
            given=Images(8, 128, 128),
            exclusive=False,
            width=64,
            blocks=6,
            judge=64,
            judge_halvings=6,
        ),
        steps=40_000,
        batch=16,
        expect="The paper's sizes, rates and length, for five attributes of faces; not trained by us.",
    ),
    "stargan-tiny": Preset(
        config=StarGANConfig(
            x=Images(1, 8, 8),
            given=Images(3, 8, 8),
            width=2,
            blocks=1,
            halvings=1,
            judge=2,
            judge_halvings=2,
            turns=2,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "stargan-tiny-attributes": Preset(
        config=StarGANConfig(
            x=Images(3, 8, 12),
            given=Images(6, 8, 12),
            exclusive=False,
            width=2,
            blocks=1,
            halvings=1,
            judge=2,
            judge_halvings=1,
            turns=1,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
