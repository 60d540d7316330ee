"""NR-GAN: a GAN that learns clean images from noisy ones, of which it only knows what kind of noise it may be.

Noise Robust Generative Adversarial Networks.
Kaneko and Harada, 2019 (CVPR 2020). https://arxiv.org/abs/1911.11776

    max_D min_{G_x, G_n}  E log D(x_noisy) + E log(1 - D(G_x(z_x) + G_n(z_n)))

Two generators, of the image and of the noise, share a discriminator that sees noisy images only. What keeps all noise
out of G_x, and all of the image out of G_n, are constraints on G_n; which ones hold depends on what is known:

    SI-NR-GAN-I     the noise does not depend on the image, and is Gaussian in each value: n = eps sigma(z_n)
    SI-NR-GAN-II    the noise does not depend on the image, and turned, its channels exchanged or its sign inverted, it
                    is as likely as before
    SD-NR-GAN-I     Gaussian, and how it follows the image is known: sigma times the brightness (multiplicative), or
                    times its square root (Poisson, for many events)
    SD-NR-GAN-II    Gaussian, and how it follows the image is learned: z_x is an input of G_n
    SD-NR-GAN-III   it follows the image in a way that is learned, and its sign is as likely as the other one

For data of Poisson noise the authors also show the discriminator blurred images only; that is left out here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

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
    Player,
    Preset,
    Stage,
    config,
    precisely,
    sized,
)
from triptych.losses import adversarial, penalties
from triptych.models.paper import Paper
from triptych.nn import unnormalized
from triptych.nn.brightness import brightness
from triptych.nn.ema import EMA
from triptych.nn.strided import Halvable

PAPER = Paper(
    called="NR-GAN",
    title="Noise Robust Generative Adversarial Networks",
    authors="Takuhiro Kaneko, Tatsuya Harada",
    year=2019,
    url="https://arxiv.org/abs/1911.11776",
)

Variant = Literal[
    "SI-NR-GAN-I",
    "SI-NR-GAN-II",
    "SD-NR-GAN-I (multiplicative)",
    "SD-NR-GAN-I (Poisson)",
    "SD-NR-GAN-II",
    "SD-NR-GAN-III",
]


@dataclass(frozen=True)
class Constraints:
    """What the noise generator is held to (Sections 4 and 5)."""

    prior: Literal["additive", "multiplicative", "poisson"] | None = None
    """The noise is Gaussian: the generator's output, times this function of the image, is its deviation (up to its
    sign, which a Gaussian does not show)."""
    implicit: bool = False
    """The generator knows which image the noise is for."""
    turned: bool = False
    """Rotations by a quarter, and exchanges of channels."""
    inverted: bool = False
    """The sign of each channel."""


CONSTRAINTS: dict[Variant, Constraints] = {
    "SI-NR-GAN-I": Constraints(prior="additive"),
    "SI-NR-GAN-II": Constraints(turned=True, inverted=True),
    "SD-NR-GAN-I (multiplicative)": Constraints(prior="multiplicative"),
    "SD-NR-GAN-I (Poisson)": Constraints(prior="poisson"),
    "SD-NR-GAN-II": Constraints(prior="additive", implicit=True),
    "SD-NR-GAN-III": Constraints(implicit=True, inverted=True),
}


@config
class NRGANConfig:
    x: Halvable = Images(3, 32, 32)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once. Clean images; those trained on are noisy."""
    variant: Variant = "SI-NR-GAN-I"
    """What the noise is held to."""
    latent: Count = 128
    """Dimensions of z_x and of z_n, both N(0, I)."""
    width: Count = 128
    """Channels at the image's size."""
    widening: Count = 1
    """Times as many at each halving."""
    penalty: NonNegative = 10.0
    """lambda of R1: the squared gradient of the discriminator's logit at real x, not halved."""
    diversity: NonNegative = 0.02
    """lambda of the diversity-sensitive term: without it the noise may be one picture, whatever z_n."""
    ema: Fraction = 0.999
    """Decay of the average of both generators' weights that samples are drawn from."""
    adam: Adam = Adam(lr=2e-4, betas=(0.0, 0.99))
    """For either player."""


@dataclass(frozen=True)
class Parts:
    """Noisy images, and what they are made of."""

    clean: Float[Tensor, "n c h w"]
    noise: Float[Tensor, "n c h w"]
    """As it is added."""
    made: Float[Tensor, "n c h w"]
    """The noise before it is turned and inverted: all that the generator and its prior say."""
    z: Float[Tensor, "n latents"]
    """What the noise generator made it from."""

    @property
    def noisy(self) -> Float[Tensor, "n c h w"]:
        """What a camera would have kept of them: what the discriminator sees."""
        return (self.clean + self.noise).clamp(-1, 1)

    @property
    def level(self) -> Float[Tensor, " n"]:
        """The noise's standard deviation in each image, in levels of 255."""
        return 127.5 * self.noise.square().mean((1, 2, 3)).sqrt()


def rotated(x: Float[Tensor, "n c h w"], u: Float[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Each by a multiple of a quarter, chosen by u in [0, 1); of a half where that would not fit."""
    turns = (0, 1, 2, 3) if x.shape[2] == x.shape[3] else (0, 2)
    every = torch.stack([x.rot90(k, (2, 3)) for k in turns])
    return every[(u * len(turns)).long(), torch.arange(len(x), device=x.device)]


def shuffled(x: Float[Tensor, "n c h w"], u: Float[Tensor, "n c"]) -> Float[Tensor, "n c h w"]:
    """Each one's channels in the order of u."""
    return x.gather(1, u.argsort(1)[:, :, None, None].expand_as(x))


def inverted(x: Float[Tensor, "n c h w"], u: Float[Tensor, "n c"]) -> Float[Tensor, "n c h w"]:
    """The channels with u below a half, with the other sign."""
    return torch.where(u[:, :, None, None] < 0.5, -x, x)


def spread(n: Float[Tensor, "n c h w"], z: Float[Tensor, "n latents"]) -> Float[Tensor, ""]:
    """How far noise moves with its latent: the mean of |n - n'|_1 / |z - z'|_1 over pairs of neighbors, each distance
    a mean over values.

    Diversity-Sensitive Conditional Generative Adversarial Networks (Yang et al., 2019; https://arxiv.org/abs/1901.09024).
    """
    by, of = (
        abs(pairs[:, 0] - pairs[:, 1]).flatten(1).mean(1) for pairs in (v.view(-1, 2, *v.shape[1:]) for v in (n, z))
    )
    return (by / of.clamp(min=1e-12)).mean()


class NRGAN(Generative[None]):
    name = "nr-gan"

    def __init__(self, config: NRGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.constraints = CONSTRAINTS[c.variant]
        inputs = 2 * c.latent if self.constraints.implicit else c.latent
        image, noise = (unnormalized.generator(size, c.x, c.width, c.widening) for size in (c.latent, inputs))
        self.generators = nn.ModuleDict({"image": image, "noise": noise})
        self.discriminator = unnormalized.discriminator(c.x, c.width, c.widening)
        self.average = EMA(self.generators, c.ema)

    @property
    def nets(self) -> nn.Module:
        """The generators in training, their averages otherwise."""
        return self.average.unless_training(self.generators)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n c h w"]:
        """Clean images."""
        return self.nets["image"](noise.normal(self.config.latent))  # type: ignore[index]

    def parts(self, noise: Noise, copies: int = 1) -> Parts:
        """Images as `draw` makes them, and the noise that goes with each; `copies` of both for each item of `noise`."""
        c, rule = self.config, self.constraints
        z_x, z_n = (noise.normal(copies, c.latent).flatten(0, 1) for _ in range(2))
        z = torch.cat([z_x, z_n], 1) if rule.implicit else z_n
        clean, made = self.nets["image"](z_x), self.nets["noise"](z)  # type: ignore[index]
        if rule.prior is not None:
            made = made * noise.normal(copies, *c.x.shape).flatten(0, 1)  # reparameterized (Equation 4)
        if rule.prior == "multiplicative":
            made = made * brightness(clean)
        if rule.prior == "poisson":
            made = made * brightness(clean).sqrt()
        moved = made
        if rule.turned:
            moved = rotated(moved, noise.uniform(copies).flatten(0, 1))
            moved = shuffled(moved, noise.uniform(copies, c.x.channels).flatten(0, 1))
        if rule.inverted:
            moved = inverted(moved, noise.uniform(copies, c.x.channels).flatten(0, 1))
        return Parts(clean, moved, made, z)

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 2, from the discriminator's side, with R1."""
        x = penalties.watched(batch.x) if self.config.penalty else batch.x
        real = precisely(self.discriminator, x) if self.config.penalty else self.discriminator(x)
        fake = self.discriminator(self.parts(batch.noise).noisy)
        value = adversarial.discriminator(real, fake)
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        if self.config.penalty:
            logs["R1"] = penalties.squared_gradient(real, x)
            value = value + self.config.penalty * logs["R1"]
        return Loss(value, logs)

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Not saturating, on two images for each example; each two are a pair of the diversity-sensitive term."""
        parts = self.parts(batch.noise, copies=2)
        diversity = spread(parts.made, parts.z)
        value = adversarial.non_saturating(self.discriminator(parts.noisy)) - self.config.diversity * diversity
        return Loss(value, {"diversity": diversity, "noise": parts.level.mean()})

    def stages(self) -> Sequence[Stage]:
        adam, follow = self.config.adam, partial(self.average.update, self.generators)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=adam,
                judges=self.discriminator,
            ),
            Player(name="generators", owns=self.generators, loss=self.generator_loss, optimizer=adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "nr-gan-cifar10": Preset(
        config=NRGANConfig(),
        steps=200_000,
        batch=64,
        expect="The paper's size and recipe for CIFAR-10; not trained by us.",
    ),
    "nr-gan-mnist": Preset(
        config=NRGANConfig(
            x=Images(1, 28, 28),
            latent=64,
            width=8,
            widening=2,
            ema=0.99,
            adam=Adam(lr=1e-3, betas=(0.0, 0.99), schedule="linear"),
        ),
        steps=3_000,
        batch=16,
        expect="Grey MNIST or Fashion-MNIST with noise (--noisy gaussian-25 or gaussian-50). MNIST, sigma 25, "
        "seed 0: 8 minutes of one CPU core. Clean strokes and digits: FD-mnist-classifier to clean images "
        "5.48 (2,000 samples, floor .22; a plain GAN: 22.8), noise found 22.6. Sigma 50, half of the "
        "steps: 9.05 (56.3), noise found 47.8.",
    ),
    "nr-gan-tiny": Preset(
        config=NRGANConfig(x=Images(1, 8, 8), latent=4, width=4), steps=10, batch=8, expect="For tests."
    ),
    "nr-gan-tiny-rgb": Preset(
        config=NRGANConfig(x=Images(3, 8, 12), variant="SI-NR-GAN-II", latent=4, width=2, widening=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "nr-gan-tiny-follows": Preset(
        config=NRGANConfig(x=Images(3, 16, 16), variant="SD-NR-GAN-III", latent=4, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["nr-gan-small"] = sized(PRESETS["nr-gan-mnist"])
PRESETS["nr-gan-medium"] = sized(PRESETS["nr-gan-cifar10"])
PRESETS["nr-gan-paper"] = sized(PRESETS["nr-gan-cifar10"])
