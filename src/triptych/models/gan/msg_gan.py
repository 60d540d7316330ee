"""MSG-GAN: the generator makes its image at every scale, and the critic looks at all of them at once.

MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks.
Karnewar and Wang, 2019. https://arxiv.org/abs/1903.06048

    o_k = r_k(a_k),   a_k = g_k(up(a_{k-1}))                          (the generator's scales, Section 2)
    b_k = d_k([r'_k(o_k); b_{k+1}])                                   (phi_lin_cat, in the critic)

r and r' are 1 x 1 convolutions, d_k halves the size, and real images come to the critic averaged to every scale. So
each layer of the generator has a short way to the loss, and learns from the beginning what Progressive GAN's layers
learn one after the other: nothing grows. The networks are that model's, and so is the loss, WGAN-GP, its penalty
averaged over the scales.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from triptych.core import (
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
    RMSProp,
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
    called="MSG-GAN",
    title="MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks",
    authors="Animesh Karnewar, Oliver Wang",
    year=2019,
    url="https://arxiv.org/abs/1903.06048",
)

ImageBatch = Float[Tensor, "n c h w"]
SLOPE = 0.2
"""Negative slope of LeakyReLU."""


@config
class MSGGANConfig:
    x: strided.Halvable = Images(3, 64, 64)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    latent: Count = 512
    """Dimensions of z ~ N(0, I), scaled to a length of sqrt(latent)."""
    width: Count = 512
    """Channels of the coarsest scales of either network."""
    wide: Count = 4
    """How many scales, from the coarsest on, have all these channels; each one after has half of those before it."""
    penalty: NonNegative = 10.0
    """lambda, the weight of the critic's gradient penalty."""
    drift: NonNegative = 0.001
    """The weight of the squared score of real images in the critic's loss."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from."""
    rmsprop: RMSProp = RMSProp(lr=0.003)
    """For either player: one rate for both and for every resolution (Section 3)."""


def widths(c: MSGGANConfig) -> list[int]:
    """Channels at each scale, the coarsest first."""
    scales = strided.halvings(c.x.height, c.x.width) + 1
    return [max(2, c.width >> max(0, k - c.wide + 1)) for k in range(scales)]


def sizes(c: MSGGANConfig) -> list[tuple[int, int, int]]:
    """The shape of the image at each scale, the coarsest first."""
    last = strided.halvings(c.x.height, c.x.width)
    return [(c.x.channels, c.x.height >> k, c.x.width >> k) for k in reversed(range(last + 1))]


def pyramid(x: ImageBatch, scales: int) -> list[ImageBatch]:
    """Images at every scale, the coarsest first: each is the one after it, averaged over 2 x 2 pixels."""
    found = [x]
    for _ in range(scales - 1):
        found.append(avg_pool2d(found[-1], 2))
    return found[::-1]


def flat(scales: Sequence[ImageBatch]) -> Float[Tensor, "n values"]:
    """All scales of each image in a row."""
    return torch.cat([x.flatten(1) for x in scales], 1)


class Generator(nn.Module):
    """z -> the image at every scale, the coarsest first."""

    levels: Any
    rgb: Any

    def __init__(self, c: MSGGANConfig) -> None:
        super().__init__()
        wide, (_, h, w) = widths(c), sizes(c)[0]

        def convolution(cin: int, cout: int) -> list[nn.Module]:
            return [EqualizedConv2d(cin, cout, 3), nn.LeakyReLU(SLOPE), PixelNorm()]

        first = nn.Sequential(
            PixelNorm(),
            EqualizedLinear(c.latent, wide[0] * h * w, HE / 4),  # a fourth of He's gain, as in Progressive GAN
            nn.Unflatten(1, (wide[0], h, w)),
            nn.LeakyReLU(SLOPE),
            PixelNorm(),
            *convolution(wide[0], wide[0]),
        )
        rest = [nn.Sequential(*convolution(a, b), *convolution(b, b)) for a, b in pairwise(wide)]
        self.levels = nn.ModuleList([first, *rest])
        self.rgb = nn.ModuleList(EqualizedConv2d(n, c.x.channels, 1, gain=1) for n in wide)

    def forward(self, z: Float[Tensor, "n latent"]) -> list[ImageBatch]:
        first, *rest = self.levels
        features = [first(z)]
        for layers in rest:
            features.append(layers(interpolate(features[-1], scale_factor=2, mode="nearest")))
        return [rgb(a) for rgb, a in zip(self.rgb, features, strict=True)]


class Critic(nn.Module):
    """The image at every scale, the coarsest first -> one score each.

    Below the finest scale, half of a block's channels are of the image and half come from the block before. Every
    block sees how much the batch differs at its scale.
    """

    levels: Any
    rgb: Any

    def __init__(self, c: MSGGANConfig) -> None:
        super().__init__()
        wide, (_, h, w) = widths(c), sizes(c)[0]

        def convolution(cin: int, cout: int) -> list[nn.Module]:
            return [EqualizedConv2d(cin, cout, 3), nn.LeakyReLU(SLOPE)]

        last = nn.Sequential(
            MinibatchDeviation(),
            *convolution(wide[0] + 1, wide[0]),
            nn.Flatten(1),
            EqualizedLinear(wide[0] * h * w, wide[0]),
            nn.LeakyReLU(SLOPE),
            EqualizedLinear(wide[0], 1, gain=1),
            nn.Flatten(0),
        )
        rest = [
            nn.Sequential(MinibatchDeviation(), *convolution(b + 1, b), *convolution(b, a // 2), nn.AvgPool2d(2))
            for a, b in pairwise(wide)
        ]
        self.levels = nn.ModuleList([last, *rest])
        parts = [n - n // 2 for n in wide[:-1]] + wide[-1:]
        self.rgb = nn.ModuleList(EqualizedConv2d(c.x.channels, n, 1, gain=1) for n in parts)

    def forward(self, scales: Sequence[ImageBatch]) -> Float[Tensor, " n"]:
        images = [rgb(x) for rgb, x in zip(self.rgb, scales, strict=True)]
        h = self.levels[-1](images[-1])
        for layers, image in zip(reversed(self.levels[:-1]), reversed(images[:-1]), strict=True):
            h = layers(torch.cat([image, h], 1))
        return h


class MSGGAN(Generative[None]):
    name = "msg-gan"

    def __init__(self, config: MSGGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.judge = Critic(config)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None) -> ImageBatch:
        """By the generator in training, by its average otherwise: there, values beyond black and white are clipped."""
        z = noise.normal(self.config.latent)
        x = self.average.unless_training(self.generator)(z)[-1]
        return x if self.training else x.clamp(-1, 1)

    def penalty(self, real: Sequence[ImageBatch], fake: Sequence[ImageBatch], noise: Noise) -> Float[Tensor, ""]:
        """WGAN-GP's penalty of the gradient at each scale, averaged over the scales (Section 2)."""
        shapes = sizes(self.config)
        cuts = [prod(shape) for shape in shapes]
        middle = penalties.between(flat(real), flat(fake), noise.uniform())
        parts = zip(torch.split(middle, cuts, 1), shapes, strict=True)
        scores = precisely(self.judge, [part.reshape(-1, *shape) for part, shape in parts])
        slopes = torch.split(penalties.gradients(scores, middle), cuts, 1)
        return torch.stack([(slope.norm(dim=1) - 1).square().mean() for slope in slopes]).mean()

    def critic_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """WGAN-GP's, and Progressive GAN's drift term."""
        c, x = self.config, pyramid(batch.x, len(sizes(self.config)))
        made = self.generator(batch.noise.normal(c.latent))
        real, fake = full(self.judge(x)), full(self.judge(made))
        penalty, distance = self.penalty(x, made, batch.noise), real.mean() - fake.mean()
        value = c.penalty * penalty + c.drift * real.square().mean() - distance
        return Loss(value, {"distance": distance, "penalty": penalty})

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        return Loss(-full(self.judge(self.generator(batch.noise.normal(self.config.latent)))).mean())

    def stages(self) -> Sequence[Stage]:
        rmsprop, follow = self.config.rmsprop, partial(self.average.update, self.generator)
        players = [
            Player(
                name="critic",
                owns=self.judge,
                loss=self.critic_loss,
                optimizer=rmsprop,
                judges="its critic looks at an image in several sizes at once, which have to fit together",
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=rmsprop, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "msg-gan-ffhq": Preset(
        config=MSGGANConfig(x=Images(3, 1024, 1024)),
        steps=1_000_000,
        batch=16,
        expect="The authors' networks and rates, on a ProGAN base, for FFHQ at 1024 x 1024 (theirs, on a StyleGAN "
        "base: FID 5.80); not trained by us.",
    ),
    "msg-gan-cifar": Preset(
        config=MSGGANConfig(x=Images(3, 32, 32), latent=128, width=128),
        steps=200_000,
        batch=64,
        expect="Progressive GAN's widths for CIFAR-10, with all scales from the beginning; not trained by us.",
    ),
    "msg-gan-64": Preset(
        config=MSGGANConfig(latent=256, width=256, wide=3, rmsprop=RMSProp(lr=0.002, schedule="linear")),
        steps=60_000,
        batch=64,
        expect="Color images of 64 x 64, on a GPU; not trained yet.",
    ),
    "msg-gan-mnist": Preset(
        config=MSGGANConfig(
            x=Images(1, 28, 28), latent=64, width=32, wide=1, ema=0.99, rmsprop=RMSProp(lr=0.003, schedule="linear")
        ),
        steps=2200,
        batch=16,
        expect="Grey MNIST, 7, 14 and 28 pixels, seed 0: 6 minutes of one CPU core, in which it sees 35,200 "
        "images. Strokes, some of them digits (mean confidence .772, FD-mnist-classifier 8.21 by 2,000 "
        "samples; floor .22): short of training.",
    ),
    "msg-gan-tiny": Preset(
        config=MSGGANConfig(x=Images(3, 12, 8), latent=4, width=16, wide=2), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["msg-gan-small"] = sized(PRESETS["msg-gan-mnist"])
PRESETS["msg-gan-medium"] = sized(PRESETS["msg-gan-64"])
PRESETS["msg-gan-paper"] = sized(PRESETS["msg-gan-ffhq"])
