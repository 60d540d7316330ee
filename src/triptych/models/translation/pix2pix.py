"""pix2pix: pictures translated into other pictures, learned from pairs of them.

Image-to-Image Translation with Conditional Adversarial Networks.
Isola, Zhu, Zhou and Efros, 2016. https://arxiv.org/abs/1611.07004

    min_G max_D  E log D(c, x) + E log(1 - D(c, G(c)))  +  100 E |x - G(c)|_1                     (Equations 1, 3, 4)

The generator is a U-Net: each size on the way back also sees what there was on the way there, so that edges stay where
they are. The discriminator sees the condition and the picture, channels beside channels, and has a score for each
patch (70 x 70 pixels for three halvings): what is right from patch to patch is the distance's part. As in the paper G
is trained to be taken for real (-log D), and the discriminator's loss is halved.

Where this departs from the paper: every place is normalized by itself (`PixelNorm`), not each channel over the places
of a picture, which takes its colour out; sizes are doubled by repeating pixels before a convolution, which leaves no
chequered pattern; the discriminator's weights have spectral norms in place of batch normalization; samples are drawn
from an average of the generator's weights. There is no dropout: the paper's is there to make the result differ from
time to time, and it says itself that it hardly does.

The model is a function of c: it shows one of the x that are possible, and always the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
)
from triptych.losses import adversarial, pictures
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.equalized import PixelNorm
from triptych.nn.patch import PatchDiscriminator, check_aligned, check_patches
from triptych.nn.reach import reach
from triptych.nn.unet import UNet

PAPER = Paper(
    called="pix2pix",
    title="Image-to-Image Translation with Conditional Adversarial Networks",
    authors="Phillip Isola, Jun-Yan Zhu, Tinghui Zhou, Alexei A. Efros",
    year=2016,
    url="https://arxiv.org/abs/1611.07004",
    conditions="picture",
)


@config
class Pix2PixConfig:
    x: Images = Images(3, 256, 256)
    """What is modeled: pictures as large as those trained on. A trained model translates pictures of any size."""
    given: Images = Images(3, 256, 256)
    """What is translated: as large as x, of any number of channels."""
    width: Count = 64
    """Channels of the generator at half the size; twice as many at each halving, eight times at the most."""
    depth: Doublings = 6
    """How often the generator halves the picture: a pixel sees about 3 x 2^depth pixels around it."""
    judge: Count = 64
    """Channels of the discriminator at half the size, and so on."""
    halvings: Doublings = 3
    """How often the discriminator halves the picture: 3 for patches of 70 x 70 pixels, 2 for 34 x 34, 1 for 16 x 16."""
    pixel: NonNegative = 100.0
    """Weight of the distance in pixels (L1); black and white are 2 apart."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    discriminator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))

    def __post_init__(self) -> None:
        check_aligned(self.x, self.given, self.depth)
        check_patches(self.x, self.halvings)


class Pix2Pix(AnySize[Picture]):
    name = "pix2pix"
    judges_pairs = True

    def __init__(self, config: Pix2PixConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = UNet(
            c.given.channels, c.x.channels, c.width, c.depth, lambda conv: nn.Sequential(conv, PixelNorm())
        )
        self.discriminator = PatchDiscriminator(c.given.channels + c.x.channels, c.judge, c.halvings)
        self.average = EMA(self.generator, c.ema)
        self.multiple = 2**c.depth
        self.reach = reach(self.generator, self.multiple)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return torch.tanh(net(given.grid))

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Equation 1, halved; real and translated pictures go through together, with one step of power iteration."""
        fake = batch.fakes(self.draw(batch.noise, batch.given))
        pairs = [torch.cat([batch.given.grid, x], 1) for x in (batch.x, fake)]
        right, wrong = self.discriminator(torch.cat(pairs))[0].chunk(2)
        logs = {"D(real)": right.sigmoid().mean(), "D(fake)": wrong.sigmoid().mean()}
        return Loss(adversarial.discriminator(right, wrong) / 2, logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """-log D(c, G(c)) + 100 |x - G(c)|"""
        made = self.draw(batch.noise, batch.given)
        scores, _ = self.discriminator(torch.cat([batch.given.grid, made], 1))
        pixel, fooled = pictures.l1(batch.x, made), adversarial.non_saturating(scores)
        logs = {"pixel": pixel, "fooled": fooled, "PSNR": pictures.psnr(batch.x, made)}
        return Loss(fooled + self.config.pixel * pixel, logs)

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges="its discriminator compares a picture with its condition, place by place: they would be moved apart",
        )
        generator = Player(
            name="generator",
            owns=self.generator,
            loss=self.generator_loss,
            optimizer=c.generator_adam,
            project=follow,
        )
        return [Stage(name="train", players=[discriminator, generator])]


QUICK = Pix2PixConfig(
    x=Images(3, 64, 64),
    given=Images(3, 64, 64),
    width=32,
    depth=4,
    judge=32,
    halvings=2,
    generator_adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="cosine", warmup=0.01),
    discriminator_adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="cosine"),
)
"""For 20 minutes of one CPU core."""

PRESETS = {
    "pix2pix-64": Preset(
        config=QUICK,
        steps=2400,
        batch=16,
        expect="Satellite pictures of maps of 17 kinds of land, 22 minutes of one CPU core: 21.12 dB on held-out land, "
        "where a table of means by class and latitude gets 20.57.",
    ),
    "pix2pix-32": Preset(
        config=replace(
            QUICK,
            x=Images(1, 32, 32),
            given=Images(1, 32, 32, levels=2),
            depth=3,
            halvings=1,
        ),
        steps=3000,
        batch=16,
        expect="Fashion-MNIST of its outlines (`edges`), seed 0: 6 minutes of one CPU core. PSNR 20.66 dB "
        "(mean picture 11.04); a classifier finds the class in .824 of the answers, and in .865 of the true pictures "
        "(1,000 held-out pictures).",
    ),
    "pix2pix-paper": Preset(
        config=Pix2PixConfig(
            depth=8,
            ema=0.0,
            generator_adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="linear"),
            discriminator_adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="linear"),
        ),
        steps=80_000,
        batch=1,
        expect="The paper's channels, depth, losses and rates at 256 x 256, 200 passes through 400 pairs (facades); "
        "not trained by us.",
    ),
    "pix2pix-tiny": Preset(
        config=Pix2PixConfig(
            x=Images(1, 16, 16), given=Images(2, 16, 16), width=4, depth=2, judge=2, halvings=1, pixel=10.0
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "pix2pix-tiny-rgb": Preset(
        config=Pix2PixConfig(
            x=Images(3, 16, 24), given=Images(1, 16, 24), width=2, depth=3, judge=4, halvings=1, pixel=10.0, ema=0.0
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
