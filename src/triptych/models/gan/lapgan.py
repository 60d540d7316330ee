"""LAPGAN: images from coarse to fine, by a conditional GAN for each level of a Laplacian pyramid.

Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks.

An image I_0 is blurred and halved, I_{k+1} = d(I_k), down to I_K. With u the smooth doubling, h_k = I_k - u(I_{k+1}) is
what a level loses, and the image comes back exactly as I_k = u(I_{k+1}) + h_k. A GAN learns I_K; at each level above, a
GAN learns h_k given l_k = u(I_{k+1}) (Section 3.1). The levels never meet in training.

Denton, Chintala, Szlam and Fergus, 2015. https://arxiv.org/abs/1506.05751
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Annotated, Any, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot

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
    check_sides,
    config,
    sized,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper
from triptych.nn.ema import EMA

PAPER = Paper(
    called="LAPGAN",
    title="Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks",
    authors="Emily Denton, Soumith Chintala, Arthur Szlam, Rob Fergus",
    year=2015,
    url="https://arxiv.org/abs/1506.05751",
    conditions="none or label",
)

ImageBatch = Float[Tensor, "n c h w"]
OneHot = Float[Tensor, "n classes"]


@config
class LAPGANConfig:
    x: Images = Images(3, 32, 32)
    """What is modeled."""
    given: Labels | None = None
    """The classes, if samples are to be of one that is asked for."""
    levels: Annotated[int, Field(ge=2, le=24)] = 3
    """I_0 to I_K: K = levels - 1 halvings."""
    latent: Count = 100
    """Dimensions of z ~ U(-1, 1) of the coarsest level; the others draw a plane of noise."""
    hidden: Count = 600
    """Units in each of the two hidden layers of both players of the coarsest level. The paper: 1200."""
    coarsest_times: Count = 1
    """How many times the steps of another level the coarsest one has: without convolutions they are cheap."""
    width: Count = 64
    """Channels of the other levels' convolutions, three a generator and two a discriminator."""
    dropout: Fraction = 0.5
    """The share of hidden units that the discriminators drop in training."""
    ema: Fraction = 0.999
    """Decay of the average of each generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For every player. The paper: SGD with momentum."""

    @model_validator(mode="after")
    def halves(self) -> Self:
        halvings = self.levels - 1
        check_sides(self.x, 2**halvings, f"levels={self.levels} halve x {halvings} times", "take fewer levels")
        return self


def down(x: ImageBatch) -> ImageBatch:
    """d: the mean of each 2 x 2 pixels."""
    return avg_pool2d(x, 2)


def up(x: ImageBatch) -> ImageBatch:
    """u: twice the size, interpolated linearly."""
    return interpolate(x, scale_factor=2, mode="bilinear")


def pyramid(x: ImageBatch, levels: int) -> tuple[list[ImageBatch], ImageBatch]:
    """The differences h_0 ... h_{K-1}, and I_K."""
    lost = []
    for _ in range(levels - 1):
        small = down(x)
        lost.append(x - up(small))
        x = small
    return lost, x


def rebuild(lost: Sequence[ImageBatch], x: ImageBatch) -> ImageBatch:
    """The image of a pyramid: the inverse of `pyramid`, up to rounding."""
    for h in reversed(lost):
        x = up(x) + h
    return x


class Coarsest(nn.Module):
    """z -> I_K and I_K -> a logit: fully connected, with the class one-hot beside z and beside the pixels."""

    def __init__(self, c: LAPGANConfig, height: int, width: int) -> None:
        super().__init__()
        classes, shape = c.given.classes if c.given else 0, (c.x.channels, height, width)
        self.latent = c.latent
        self.generator = nn.Sequential(
            nn.Linear(c.latent + classes, c.hidden, bias=False),
            nn.BatchNorm1d(c.hidden),
            nn.ReLU(),
            nn.Linear(c.hidden, c.hidden, bias=False),
            nn.BatchNorm1d(c.hidden),
            nn.ReLU(),
            nn.Linear(c.hidden, prod(shape)),
            nn.Tanh(),
            nn.Unflatten(1, shape),
        )
        self.discriminator = nn.Sequential(
            nn.Linear(prod(shape) + classes, c.hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(c.dropout),
            nn.Linear(c.hidden, c.hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(c.dropout),
            nn.Linear(c.hidden, 1),
        )
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, low: ImageBatch | None, y: OneHot) -> ImageBatch:
        """I_K"""
        net = self.average.unless_training(self.generator)
        return net(torch.cat([2 * noise.uniform(self.latent) - 1, y], 1))

    def judge(self, x: ImageBatch, low: ImageBatch | None, y: OneHot) -> Float[Tensor, " n"]:
        return self.discriminator(torch.cat([x.flatten(1), y], 1)).squeeze(1)


class Convolutions(nn.Module):
    """Layers after a plane for the class, linear in its one-hot vector, has joined the planes that come in."""

    def __init__(self, classes: int, height: int, width: int, *layers: nn.Module) -> None:
        super().__init__()
        self.height, self.classes = height, nn.Linear(classes, height * width, bias=False) if classes else None
        self.layers = nn.Sequential(*layers)

    def forward(self, planes: ImageBatch, y: OneHot) -> Tensor:
        if self.classes is not None:
            planes = torch.cat([planes, self.classes(y).unflatten(1, (1, self.height, -1))], 1)
        return self.layers(planes)


class Finer(nn.Module):
    """l_k and a plane of noise -> h_k, and I_k with l_k -> a logit: convolutional."""

    def __init__(self, c: LAPGANConfig, height: int, width: int) -> None:
        super().__init__()
        classes, planes, wide = c.given.classes if c.given else 0, c.x.channels, c.width
        classed = int(c.given is not None)
        self.generator = Convolutions(
            classes,
            height,
            width,
            nn.Conv2d(planes + 1 + classed, wide, 5, 1, 2, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 5, 1, 2, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, planes, 5, 1, 2),
        )
        self.discriminator = Convolutions(
            classes,
            height,
            width,
            nn.Conv2d(2 * planes + classed, wide, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(wide, 2 * wide, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Flatten(1),
            nn.Dropout(c.dropout),
            nn.Linear(2 * wide * -(-height // 4) * -(-width // 4), 1),
        )
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, low: ImageBatch, y: OneHot) -> ImageBatch:
        """l_k + h_k"""
        net = self.average.unless_training(self.generator)
        return low + net(torch.cat([low, 2 * noise.uniform(1, *low.shape[2:]) - 1], 1), y)

    def judge(self, x: ImageBatch, low: ImageBatch, y: OneHot) -> Float[Tensor, " n"]:
        """The paper adds l_k to h_k before the first convolution (Section 3.2); here it also comes by itself."""
        return self.discriminator(torch.cat([x, low], 1), y).squeeze(1)


class LAPGAN(Generative[Label | None]):
    name = "lapgan"
    levels: Any
    """The finest first; Any, as a ModuleList does not say what its modules are."""

    def __init__(self, config: LAPGANConfig) -> None:
        super().__init__()
        self.config, last = config, config.levels - 1
        sizes = [(config.x.height >> k, config.x.width >> k) for k in range(config.levels)]
        self.levels = nn.ModuleList((Finer if k < last else Coarsest)(config, *sizes[k]) for k in range(config.levels))

    def draw(self, noise: Noise, given: Label | None = None) -> ImageBatch:
        """From coarse to fine, each level given what the one before drew; by the averages of the generators, and by
        the generators themselves in training."""
        y = self.one_hot(noise.n, given)
        x = self.levels[-1].draw(noise, None, y)
        for level in reversed(self.levels[:-1]):
            x = level.draw(noise, up(x), y)
        return x.clamp(-1, 1)

    def one_hot(self, n: int, given: Label | None) -> OneHot:
        """The classes, [n, classes]; [n, 0] without any."""
        if given is None:
            return torch.empty(n, 0, device=self.device, dtype=self.precision)
        return one_hot(given.y, self.config.given.classes).to(self.precision)

    def pair(self, x: ImageBatch, k: int) -> tuple[ImageBatch, ImageBatch | None]:
        """I_k of images, and l_k but for the coarsest level."""
        for _ in range(k):
            x = down(x)
        return x, None if k == self.config.levels - 1 else up(down(x))

    def discriminator_loss(self, k: int, batch: Batch[Label | None], clock: Clock) -> Loss:
        """Equation 2 of the paper at level k, from the discriminator's side."""
        level, y = self.levels[k], self.one_hot(len(batch.x), batch.given)
        x, low = self.pair(batch.x, k)
        real, fake = level.judge(x, low, y), level.judge(level.draw(batch.noise, low, y), low, y)
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        return Loss(adversarial.discriminator(real, fake), logs)

    def generator_loss(self, k: int, batch: Batch[Label | None], clock: Clock) -> Loss:
        level, y = self.levels[k], self.one_hot(len(batch.x), batch.given)
        _, low = self.pair(batch.x, k)
        return Loss(adversarial.non_saturating(level.judge(level.draw(batch.noise, low, y), low, y)))

    def stages(self) -> Sequence[Stage]:
        """A stage a level, the coarsest first. None depends on another."""
        return [self.stage(k) for k in reversed(range(self.config.levels))]

    def stage(self, k: int) -> Stage:
        level, c = self.levels[k], self.config
        players = [
            Player(
                name="discriminator",
                owns=level.discriminator,
                loss=partial(self.discriminator_loss, k),
                optimizer=c.adam,
                judges="each level adds to a smaller image that it is given, and is judged beside it",
            ),
            Player(
                name="generator",
                owns=level.generator,
                loss=partial(self.generator_loss, k),
                optimizer=c.adam,
                project=partial(level.average.update, level.generator),
            ),
        ]
        return Stage(name=f"level {k}", players=players, times=c.coarsest_times if k == c.levels - 1 else 1)


MNIST = LAPGANConfig(
    x=Images(1, 28, 28),
    levels=2,
    coarsest_times=4,
    width=16,
    dropout=0,
    ema=0.99,
    adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="linear"),
)
"""14 and 28 pixels: at 7, digits are no longer to be told apart."""

PRESETS = {
    "lapgan-cifar": Preset(
        config=LAPGANConfig(hidden=1200, width=128, adam=Adam(lr=2e-4, betas=(0.5, 0.999))),
        steps=100_000,
        batch=128,
        expect="The paper's pyramid for CIFAR-10, 8, 16 and 32 pixels; not trained by us.",
    ),
    "lapgan-mnist": Preset(
        config=MNIST,
        steps=2_500,
        batch=64,
        expect="Grey MNIST, 14 and 28 pixels, seed 0: 10 minutes of one CPU core (with --channels-last). Digits, "
        "some faint or in pieces: mean confidence .877, FD-mnist-classifier 4.47 (2,000 samples; floor "
        ".22), recall .71.",
    ),
    "lapgan-mnist-class": Preset(
        config=replace(MNIST, given=Labels(10)),
        steps=2_500,
        batch=64,
        expect="Grey MNIST given the digit, 14 and 28 pixels, seed 0, `--channels-last`: 11 minutes of one CPU "
        "core. Of 2,000 samples our classifier takes 95.8 % for the digit asked for (mean confidence "
        ".962); FD-mnist-classifier 1.88, floor .22.",
    ),
    "lapgan-tiny": Preset(
        config=LAPGANConfig(x=Images(3, 8, 12), levels=3, latent=4, hidden=8, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "lapgan-tiny-class": Preset(
        config=LAPGANConfig(x=Images(1, 8, 8), given=Labels(3), levels=2, latent=4, hidden=8, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["lapgan-small"] = sized(PRESETS["lapgan-mnist"])
PRESETS["lapgan-medium"] = sized(PRESETS["lapgan-cifar"])
PRESETS["lapgan-paper"] = sized(PRESETS["lapgan-cifar"])
