"""Progressive GAN: both players grow, from small images to large ones, while they learn.

Progressive Growing of GANs for Improved Quality, Stability, and Variation.
Karras, Aila, Laine and Lehtinen, 2018. https://arxiv.org/abs/1710.10196

Training begins with small images. Layers for twice the size are then faded in, in the generator and in the critic

    G:  (1 - alpha) up(rgb_old(h)) + alpha rgb_new(layers(up(h)))
    D:  (1 - alpha) rgb_old(down(x)) + alpha down(layers(rgb_new(x)))        (Figure 2)

with alpha going from 0 to 1, and then trained with all the others; and so on. Real images are faded alike. The loss is
WGAN-GP's, with a weak pull of the critic's scores to zero. Weights are scaled at run time (equalized learning rate),
the generator normalizes each pixel's features, and the critic sees how much the samples of a batch differ.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

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
    Positive,
    Preset,
    Stage,
    config,
    full,
    precisely,
    sized,
)
from triptych.losses import penalties
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.ema import EMA
from triptych.nn.equalized import HE, EqualizedConv2d, EqualizedLinear, MinibatchDeviation, PixelNorm

PAPER = Paper(
    called="Progressive GAN",
    title="Progressive Growing of GANs for Improved Quality, Stability, and Variation",
    authors="Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen",
    year=2017,
    url="https://arxiv.org/abs/1710.10196",
)

ImageBatch = Float[Tensor, "n c h w"]
Alpha = float | Float[Tensor, ""]
"""In training a number on the device: a host that asked for it would wait."""
SLOPE = 0.2
"""Negative slope of LeakyReLU."""


@config
class ProGANConfig:
    x: strided.Halvable = Images(3, 64, 64)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once. Training begins with these."""
    latent: Count = 512
    """Dimensions of z ~ N(0, I), scaled to a length of sqrt(latent)."""
    width: Count = 512
    """Channels of the coarsest levels of either network."""
    wide: Count = 4
    """How many levels, from the coarsest on, have all these channels; each one after has half of those before it."""
    penalty: NonNegative = 10.0
    """lambda, the weight of the critic's gradient penalty."""
    slope: Positive = 1.0
    """gamma: the norm that the gradient is drawn to. The authors take 750 for CIFAR-10."""
    drift: NonNegative = 0.001
    """The weight of the squared score of real images in the critic's loss."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from."""
    adam: Adam = Adam(lr=1e-3, betas=(0, 0.99), warmup=0.067)
    """For either player; it starts afresh whenever they grow, its rate climbing for 40,000 of 600,000 images."""


def up(x: ImageBatch) -> ImageBatch:
    """Twice the size, each pixel four times."""
    return interpolate(x, scale_factor=2, mode="nearest")


def down(x: ImageBatch) -> ImageBatch:
    """Half the size, the mean of each four pixels."""
    return avg_pool2d(x, 2)


def fade(old: ImageBatch, new: ImageBatch, alpha: Alpha) -> ImageBatch:
    """(1 - alpha) old + alpha new."""
    return torch.lerp(old, new, alpha.to(new.dtype) if isinstance(alpha, Tensor) else alpha)


def fading(alpha: Alpha) -> bool:
    """Whether there is an old one to be seen yet."""
    return isinstance(alpha, Tensor) or alpha < 1


def widths(c: ProGANConfig) -> list[int]:
    """Channels of each level, the coarsest first."""
    levels = strided.halvings(c.x.height, c.x.width) + 1
    return [max(1, c.width >> max(0, k - c.wide + 1)) for k in range(levels)]


class Generator(nn.Module):
    """z -> images of the size of `level`, of which its own layers contribute a share of `alpha`."""

    levels: Any
    rgb: Any

    def __init__(self, c: ProGANConfig) -> None:
        super().__init__()
        wide = widths(c)
        h, w = c.x.height >> len(wide) - 1, c.x.width >> len(wide) - 1

        def convolution(cin: int, cout: int) -> list[nn.Module]:
            return [EqualizedConv2d(cin, cout, 3), nn.LeakyReLU(SLOPE), PixelNorm()]

        first = nn.Sequential(
            PixelNorm(),
            EqualizedLinear(c.latent, wide[0] * h * w, HE / 4),  # a fourth of He's gain, as in the authors' code
            nn.Unflatten(1, (wide[0], h, w)),
            nn.LeakyReLU(SLOPE),
            PixelNorm(),
            *convolution(wide[0], wide[0]),
        )
        rest = [nn.Sequential(*convolution(a, b), *convolution(b, b)) for a, b in pairwise(wide)]
        self.levels = nn.ModuleList([first, *rest])
        self.rgb = nn.ModuleList(EqualizedConv2d(n, c.x.channels, 1, gain=1) for n in wide)

    def forward(self, z: Float[Tensor, "n latent"], level: int, alpha: Alpha) -> ImageBatch:
        x = self.levels[0](z)
        if level == 0:
            return self.rgb[0](x)
        for layers in self.levels[1:level]:
            x = layers(up(x))
        new = self.rgb[level](self.levels[level](up(x)))
        return fade(up(self.rgb[level - 1](x)), new, alpha) if fading(alpha) else new


class Critic(nn.Module):
    """Images of the size of `level`, to whose scores its own layers contribute a share of `alpha` -> scores."""

    levels: Any
    rgb: Any

    def __init__(self, c: ProGANConfig) -> None:
        super().__init__()
        wide = widths(c)
        h, w = c.x.height >> len(wide) - 1, c.x.width >> len(wide) - 1

        def convolution(cin: int, cout: int, kernel: int = 3) -> list[nn.Module]:
            return [EqualizedConv2d(cin, cout, kernel), nn.LeakyReLU(SLOPE)]

        last = nn.Sequential(
            MinibatchDeviation(),
            *convolution(wide[0] + 1, wide[0]),
            nn.Flatten(1),
            EqualizedLinear(wide[0] * h * w, wide[0]),
            nn.LeakyReLU(SLOPE),
            EqualizedLinear(wide[0], 1, gain=1),
            nn.Flatten(0),
        )
        rest = [nn.Sequential(*convolution(b, b), *convolution(b, a), nn.AvgPool2d(2)) for a, b in pairwise(wide)]
        self.levels = nn.ModuleList([last, *rest])
        self.rgb = nn.ModuleList(nn.Sequential(*convolution(c.x.channels, n, 1)) for n in wide)

    def forward(self, x: ImageBatch, level: int, alpha: Alpha) -> Float[Tensor, " n"]:
        h = self.levels[level](self.rgb[level](x))
        if level > 0 and fading(alpha):
            h = fade(self.rgb[level - 1](down(x)), h, alpha)
        for layers in reversed(self.levels[:level]):
            h = layers(h)
        return h


class ProGAN(Generative[None]):
    name = "progan"
    growth: Tensor

    def __init__(self, config: ProGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.critic = Critic(config)
        self.average = EMA(self.generator, config.ema)
        self.register_buffer("growth", torch.zeros(()))
        """How often both have doubled: 1.25 is a fourth of the way from the first to the second time."""

    def grown(self) -> tuple[int, float]:
        """The level that both have come to, and alpha there."""
        growth = self.growth.item()
        level = ceil(growth)
        return level, 1 - (level - growth)

    def grow(self, level: int, fades: bool, clock: Clock) -> tuple[int, Alpha]:
        """Sets `growth` to where training stands: the level, and alpha there, from 0 on."""
        if not fades:
            self.growth.fill_(level)
            return level, 1.0
        self.growth.fill_(level - 1 + clock.number(lambda now: now.progress))
        return level, self.growth - (level - 1)

    def draw(self, noise: Noise, given: None = None) -> ImageBatch:
        """By the generator in training, of the size that it has come to; by its average otherwise, in full size."""
        level, alpha = self.grown()
        x = self.average.unless_training(self.generator)(noise.normal(self.config.latent), level, alpha)
        if self.training:
            return x
        for _ in range(level, len(self.generator.levels) - 1):
            x = up(x)
        return x.clamp(-1, 1)

    def shown(self, x: ImageBatch, level: int, alpha: Alpha) -> ImageBatch:
        """Real images as the critic gets to see them: small, and faded as the generated ones are."""
        for _ in range(level, len(self.generator.levels) - 1):
            x = down(x)
        return fade(up(down(x)), x, alpha) if level > 0 and fading(alpha) else x

    def critic_loss(self, level: int, fades: bool, batch: Batch[None], clock: Clock) -> Loss:
        """WGAN-GP's, and the drift term (Appendix A.1)."""
        c, at = self.config, self.grow(level, fades, clock)
        x, made = self.shown(batch.x, *at), self.generator(batch.noise.normal(c.latent), *at)
        real, fake = full(self.critic(x, *at)), full(self.critic(made, *at))
        middle = penalties.between(x, made, batch.noise.uniform())
        # the minibatch's deviation ties the scores of a group together: as in the authors' code, that is let be
        penalty = penalties.unit_gradient(precisely(self.critic, middle, *at) / c.slope, middle)
        distance = real.mean() - fake.mean()
        value = c.penalty * penalty + c.drift * real.square().mean() - distance
        return Loss(value, {"distance": distance, "penalty": penalty, "growth": self.growth.clone()})

    def generator_loss(self, level: int, fades: bool, batch: Batch[None], clock: Clock) -> Loss:
        at = self.grow(level, fades, clock)
        return Loss(-full(self.critic(self.generator(batch.noise.normal(self.config.latent), *at), *at)).mean())

    def stages(self) -> Sequence[Stage]:
        """Each size after the first is faded in, and then trained for as long again. A run has `steps` of each."""
        stages = [self.stage(0, fades=False)]
        for level in range(1, len(self.generator.levels)):
            stages += [self.stage(level, fades=True), self.stage(level, fades=False)]
        return stages

    def stage(self, level: int, fades: bool) -> Stage:
        adam, follow = self.config.adam, partial(self.average.update, self.generator)
        critic_loss, generator_loss = (partial(f, level, fades) for f in (self.critic_loss, self.generator_loss))
        players = [
            Player(name="critic", owns=self.critic, loss=critic_loss, optimizer=adam, judges=self.critic),
            Player(name="generator", owns=self.generator, loss=generator_loss, optimizer=adam, project=follow),
        ]
        size = len(self.generator.levels) - 1 - level
        height, width = self.config.x.height >> size, self.config.x.width >> size
        return Stage(name=f"{height} x {width}{', fading in' if fades else ''}", players=players)


PRESETS = {
    "progan-celeba-hq": Preset(
        config=ProGANConfig(x=Images(3, 1024, 1024)),
        steps=50_000,
        batch=16,
        expect="The authors' networks and rates for CelebA-HQ, 800,000 images a stage, 9 sizes (they lower the batch "
        "from 256 x 256 on to fit their memory; theirs: FID 7.3); not trained by us.",
    ),
    "progan-cifar": Preset(
        config=ProGANConfig(x=Images(3, 32, 32), latent=128, width=128, slope=750.0),
        steps=25_000,
        batch=16,
        expect="The authors' networks and rates for CIFAR-10, 400,000 images a stage (theirs: Inception score 8.80); "
        "not trained by us.",
    ),
    "progan-64": Preset(
        config=ProGANConfig(latent=256, width=256, wide=3),
        steps=10_000,
        batch=64,
        expect="Color images of 64 x 64, on a GPU; not trained yet.",
    ),
    "progan-mnist": Preset(
        config=ProGANConfig(x=Images(1, 28, 28), latent=64, width=32, wide=1, ema=0.99),
        steps=900,
        batch=16,
        expect="Grey MNIST, seed 0: 7 minutes of one CPU core, 14,400 images in each of its five stages. "
        "Strokes, half of them digits (mean confidence .780, FD-mnist-classifier 6.23 by 2,000 samples; "
        "floor .22): short of training.",
    ),
    "progan-tiny": Preset(
        config=ProGANConfig(x=Images(3, 12, 8), latent=4, width=16, wide=2), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["progan-small"] = sized(PRESETS["progan-mnist"])
PRESETS["progan-medium"] = sized(PRESETS["progan-64"])
PRESETS["progan-paper"] = sized(PRESETS["progan-celeba-hq"])
