"""PixelDTGAN: the thing itself, of a picture of somebody who wears it.

Pixel-Level Domain Transfer.
Yoo, Kim, Park, Paek and Kweon, 2016. https://arxiv.org/abs/1603.07442

    L_D = E [-log D(x) - log D(x-) - log(1 - D(G(c)))] / 3                         (Equation 3)
    L_A = E [-log A(c, x) - log(1 - A(c, x-)) - log(1 - A(c, G(c)))] / 3           (Equation 4)
    L_G = -E [log D(G(c)) + log A(c, G(c))] / 2 + pixel E |x - G(c)|               (Equations 5 and 6)

where c is a picture of the wearer, x that of what is worn, and x- the picture of something else: as real as x (D, the
real/fake discriminator), and not what belongs to c (A, the domain discriminator of pairs). The generator squeezes c
through a vector and draws x anew, without any connection past it: a pose is not to be copied.

Where this departs from the paper: G maximizes log D rather than minimizing log(1 - D); a distance in pixels may be
added, for products that are always shown alike; where the product is drawn, nothing is normalized over the batch, which
would take away the color of the whole (features are divided by their root mean square at each place), and doubling
comes before a convolution; discriminators have spectral normalization.

The model is a function of c: it shows one of the x that are possible, and always the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

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
    full,
)
from triptych.losses import adversarial, pictures
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.equalized import PixelNorm
from triptych.nn.residual import DoublingConv
from triptych.nn.strided import Halvable, halvings

PAPER = Paper(
    called="PixelDTGAN",
    title="Pixel-Level Domain Transfer",
    authors="Donggeun Yoo, Namil Kim, Sunggyun Park, Anthony S. Paek, In So Kweon",
    year=2016,
    url="https://arxiv.org/abs/1603.07442",
    conditions="picture",
)

SLOPE = 0.2
"""Negative slope of LeakyReLU."""


@config
class PixelDTGANConfig:
    x: Halvable = Images(3, 64, 64)
    """What is modeled: pictures of products, with sides of 4 to 7 pixels, doubled at least once."""
    given: Images = Images(3, 64, 64)
    """Pictures of the wearer, as large."""
    width: Count = 24
    """Channels of the generator at half the picture's size, twice as many at each halving."""
    code: Count = 256
    """Numbers that all the generator knows of the wearer goes through."""
    judge: Count = 24
    """Channels of the discriminators at half the picture's size, twice as many at each halving."""
    pixel: NonNegative = 0.0
    """Weight of the distance in pixels (L1); 0: none, as in the paper."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    discriminator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))

    def __post_init__(self) -> None:
        x, given = self.x, self.given
        if (x.height, x.width) != (given.height, given.width):
            raise ValueError(
                f"x is {x.height} x {x.width} and the picture given {given.height} x {given.width}: they are judged "
                "side by side, and have the same size"
            )


def read(cin: int, cout: int) -> nn.Sequential:
    """Halves the sides."""
    return nn.Sequential(nn.Conv2d(cin, cout, 4, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.LeakyReLU(SLOPE))


def drawn(cin: int, cout: int) -> nn.Sequential:
    """Doubles them."""
    return nn.Sequential(DoublingConv(cin, cout, 3, padding=1), PixelNorm(), nn.LeakyReLU(SLOPE))


def generator(c: PixelDTGANConfig) -> nn.Sequential:
    """A picture -> a vector -> a picture."""
    k = halvings(c.x.height, c.x.width)
    wide = [c.width << i for i in range(k)]
    h, w = c.x.height >> k, c.x.width >> k
    there = [read(a, b) for a, b in pairwise([c.given.channels, *wide])]
    back = [drawn(b, a) for a, b in reversed([*pairwise([c.width, *wide])])]
    return nn.Sequential(
        *there,
        nn.Flatten(1),
        nn.Linear(wide[-1] * h * w, c.code),
        nn.LeakyReLU(SLOPE),
        nn.Linear(c.code, wide[-1] * h * w),
        nn.Unflatten(1, (wide[-1], h, w)),
        PixelNorm(),
        nn.LeakyReLU(SLOPE),
        *back,
        nn.Conv2d(c.width, c.x.channels, 3, padding=1),
        nn.Tanh(),
    )


def discriminator(channels: int, c: PixelDTGANConfig) -> nn.Sequential:
    """A picture, or two of them, channels beside channels -> a logit each."""
    k = halvings(c.x.height, c.x.width)
    wide = [c.judge << i for i in range(k)]
    layers: list[nn.Module] = []
    for cin, cout in pairwise([channels, *wide]):
        layers += [spectral_norm(nn.Conv2d(cin, cout, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
    features = wide[-1] * (c.x.height >> k) * (c.x.width >> k)
    return nn.Sequential(*layers, nn.Flatten(1), nn.Linear(features, 1), nn.Flatten(0))


class Beside(nn.Module):
    """What is worn and its wearer, channels beside channels: as they are judged."""

    def forward(self, x: Float[Tensor, "n c h w"], wearer: Float[Tensor, "n d h w"]) -> Float[Tensor, "n e h w"]:
        return torch.cat([x, wearer], 1)


class PixelDTGAN(Generative[Picture]):
    name = "pixel-dtgan"
    judges_pairs = True

    def __init__(self, config: PixelDTGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = generator(c)
        self.real = discriminator(c.x.channels, c)
        self.beside, self.pair = Beside(), discriminator(c.x.channels + c.given.channels, c)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        return self.average.unless_training(self.generator)(given.grid)

    def fits(self, x: Float[Tensor, "n c h w"], given: Picture) -> Float[Tensor, " n"]:
        """A"""
        return self.pair(self.beside(x, given.grid))

    def real_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_D: x and x- are the same pictures over the batch, and count twice."""
        real, fake = self.real(torch.cat([batch.x, self.draw(batch.noise, batch.given)])).chunk(2)
        value = (2 * softplus(-full(real)) + softplus(full(fake))).mean() / 3
        return Loss(value, {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()})

    def pair_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_A"""
        given, other, fake = batch.given, batch.others(), batch.fakes(self.draw(batch.noise, batch.given))
        three = Picture(given.grid.repeat(3, 1, 1, 1))
        real, wrong, made = self.fits(torch.cat([batch.x, other, fake]), three).chunk(3)
        value = (softplus(-full(real)) + softplus(full(wrong)) + softplus(full(made))).mean() / 3
        logs = {"A(right)": real, "A(wrong)": wrong, "A(fake)": made}
        return Loss(value, {name: logit.sigmoid().mean() for name, logit in logs.items()})

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G"""
        found = self.draw(batch.noise, batch.given)
        fooled = adversarial.non_saturating(self.real(found))
        fits = adversarial.non_saturating(self.fits(found, batch.given))
        pixel = pictures.l1(batch.x, found)
        logs = {"fooled": fooled, "fits": fits, "pixel": pixel, "PSNR": pictures.psnr(batch.x, found)}
        return Loss((fooled + fits) / 2 + self.config.pixel * pixel, logs)

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        players = [
            Player(
                name="real",
                owns=self.real,
                loss=self.real_loss,
                optimizer=c.discriminator_adam,
                judges=self.real,
            ),
            Player(
                name="pair",
                owns=self.pair,
                loss=self.pair_loss,
                optimizer=c.discriminator_adam,
                judges=self.beside,
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


QUICK = PixelDTGANConfig(
    pixel=10.0,
    generator_adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="cosine", warmup=0.02),
    discriminator_adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="cosine"),
)
"""For a quarter of an hour of one CPU core."""

PRESETS = {
    "pixel-dtgan-64": Preset(
        config=replace(
            QUICK,
            pixel=50.0,
            ema=0.995,
            generator_adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="cosine", warmup=0.02),
            discriminator_adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="cosine"),
        ),
        steps=3000,
        batch=16,
        expect="Clothes of game figures in any pose (`flare-clothing`), seed 0, 19 minutes of one CPU core: PSNR 22.4 "
        "dB (mean picture 18.3, copy 9.2), hue off by 25 degrees, the right garment is the nearest of 100 for 21 % "
        "(400 held-out figures).",
    ),
    "pixel-dtgan-32": Preset(
        config=replace(QUICK, x=Images(3, 32, 32), given=Images(3, 32, 32)),
        steps=4000,
        batch=16,
        expect="Clothes on drawn figures (`dressed`), seed 0, 6 minutes of one CPU core: PSNR 15.3 dB (mean picture "
        "13.6, copy 8.4), hue off by 4.2 degrees, the right garment is the nearest of 100 for 49 % (1,000 held-out "
        "wearers); 30 % after a minute.",
    ),
    "pixel-dtgan-paper": Preset(
        config=PixelDTGANConfig(width=96, code=1024, judge=96, ema=0),
        steps=14_600,
        batch=128,
        expect="The paper's sizes and length (25 epochs of 75,000 pictures); not trained by us.",
    ),
    "pixel-dtgan-tiny": Preset(
        config=PixelDTGANConfig(x=Images(1, 8, 8), given=Images(1, 8, 8), width=2, code=4, judge=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "pixel-dtgan-tiny-rgb": Preset(
        config=PixelDTGANConfig(x=Images(1, 8, 12), given=Images(3, 8, 12), width=2, code=4, judge=2, pixel=10),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
