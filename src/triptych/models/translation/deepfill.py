"""DeepFill: fills holes of any form in pictures, by convolutions that learn which pixels to trust.

Free-Form Image Inpainting with Gated Convolution.
Yu et al., 2018. https://arxiv.org/abs/1806.03589

    O = phi(W_f * I) sigma(W_g * I)                                                (Section 3.1)
    L_D = E max(0, 1 - D(x)) + E max(0, 1 + D(z)),    L_G = |x - z|_1 - E D(z)       (Section 3.3)

A convolution that is told nothing else treats a hole as if it were black or grey; here a second one, the gate, says for
every place and channel how much the first one's answer is worth. c is the picture, its hole filled smoothly from the
border, and a channel beside it that is 1 in the hole and -1 elsewhere. z is the result: in the hole c with what the
network adds to it, and outside the picture as it was given, exactly. The distance is taken in the hole, each picture's
own mean. The discriminator, with spectral normalization, sees the result and the mask; each number of its last layer is
a score of its own, for a patch of the picture (SN-PatchGAN, Section 3.2).

Where this departs from the paper: the hole is filled smoothly beforehand, and the network begins by adding nothing (the
paper's holes are white, and a coarse network fills them first); one generator in place of that and a refining one, and
no contextual attention, the refining one's layer that copies patches from anywhere in the picture. With that a pixel
would depend on all of the picture, and large pictures could not be filled in tiles. A hole is bettered from what is
within `reach`: in the middle of a larger one than that, it stays about as smooth as it came. User guidance (sketches)
is left out, too.

The model is a function of c: it fills a hole in one of the ways that are possible, and always the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import elu
from torch.nn.utils.parametrizations import spectral_norm

from triptych.core import (
    Adam,
    AnySize,
    Batch,
    Clock,
    Count,
    Fraction,
    Images,
    Loss,
    Noise,
    NonNegative,
    Picture,
    Player,
    Preset,
    Stage,
    check_sides,
    config,
)
from triptych.losses import adversarial, pictures
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.reach import reach
from triptych.nn.residual import DoublingConv

PAPER = Paper(
    called="DeepFill v2",
    title="Free-Form Image Inpainting with Gated Convolution",
    authors="Jiahui Yu, Zhe Lin, Jimei Yang, Xiaohui Shen, Xin Lu, Thomas Huang",
    year=2018,
    url="https://arxiv.org/abs/1806.03589",
    conditions="picture",
)

SLOPE = 0.2
"""Of the discriminator's LeakyReLU below zero."""
GAIN = 2.3
"""Of the features' initial weights: with ELU and a gate that is half open, signals keep about their size."""


@config
class DeepFillConfig:
    x: Images = Images(3, 64, 64)
    """What is modeled: crops as large as those trained on. A trained model fills pictures of any size."""
    given: Images = Images(4, 64, 64)
    """The picture, its hole filled smoothly, and a channel for the hole: 1 inside, -1 where pixels are known."""
    width: Count = 16
    """Channels of the generator at the picture's size; twice as many at half of it, four times at a quarter."""
    dilations: tuple[Count, ...] = (2, 4, 8)
    """Of the 3 x 3 convolutions in the middle, at a quarter of the size: how far the generator looks."""
    judge: Count = 32
    """Channels of the discriminator at half the picture's size; twice as many at a quarter, and four times from there
    on."""
    halvings: Count = 4
    """How often the discriminator halves the picture."""
    pixel: NonNegative = 1.0
    """Weight of the distance in pixels (L1)."""
    adversarial: NonNegative = 1.0
    """Weight of the adversarial loss: less is smoother, and closer to the truth in the mean."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=1e-4, betas=(0.5, 0.999))
    discriminator_adam: Adam = Adam(lr=1e-4, betas=(0.5, 0.999))

    def __post_init__(self) -> None:
        x, given = self.x, self.given
        if (given.channels, given.height, given.width) != (x.channels + 1, x.height, x.width):
            raise ValueError(
                f"given has {given.channels} channels of {given.height} x {given.width}; for x with {x.channels} of "
                f"{x.height} x {x.width} it has {x.channels + 1} of the same size: the picture and the mask of its hole"
            )
        check_sides(x, DeepFill.multiple, "the generator halves x twice")


class Gated(nn.Module):
    """phi(W_f * I) sigma(W_g * I), phi being ELU: both convolutions as one, of twice the channels."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        half, spread = conv.out_channels // 2, conv.weight[0].numel() ** -0.5
        nn.init.normal_(conv.weight[:half], 0, GAIN * spread)
        nn.init.normal_(conv.weight[half:], 0, spread)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        features, gates = self.conv(x).chunk(2, 1)
        return elu(features) * gates.sigmoid()


def same(cin: int, cout: int, side: int = 3, dilation: int = 1) -> Gated:
    """At the same size."""
    return Gated(nn.Conv2d(cin, 2 * cout, side, padding=side // 2 * dilation, dilation=dilation))


def halved(cin: int, cout: int) -> Gated:
    return Gated(nn.Conv2d(cin, 2 * cout, 3, stride=2, padding=1))


def doubled(cin: int, cout: int) -> Gated:
    return Gated(DoublingConv(cin, 2 * cout, 3, padding=1))


def generator(c: DeepFillConfig) -> nn.Sequential:
    """To a quarter of the size and back, as the paper's coarse network: a picture with its mask -> what is to be added
    to it, at first nothing."""
    w, wide = c.width, 4 * c.width
    there = [same(c.given.channels, w, 5), halved(w, 2 * w), same(2 * w, 2 * w), halved(2 * w, wide)]
    middle = [same(wide, wide), *(same(wide, wide, dilation=d) for d in c.dilations), same(wide, wide)]
    back = [doubled(wide, 2 * w), same(2 * w, 2 * w), doubled(2 * w, w), same(w, w)]
    last = nn.Conv2d(w, c.x.channels, 3, padding=1)
    for weight in last.parameters():
        nn.init.zeros_(weight)
    return nn.Sequential(*there, *middle, *back, last)


def discriminator(c: DeepFillConfig) -> nn.Sequential:
    """A picture with its mask -> scores [n, channels, h, w], each for a patch of it."""
    wide = [c.given.channels, *(c.judge * min(2**i, 4) for i in range(c.halvings))]
    layers: list[nn.Module] = []
    for cin, cout in pairwise(wide):
        layers += [spectral_norm(nn.Conv2d(cin, cout, 5, stride=2, padding=2)), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


class Beside(nn.Module):
    """A picture and its mask, channels beside channels: as they are judged."""

    def forward(self, x: Float[Tensor, "n c h w"], mask: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c+1 h w"]:
        return torch.cat([x, mask], 1)


class DeepFill(AnySize[Picture]):
    name = "deepfill"
    multiple = 4

    def __init__(self, config: DeepFillConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = generator(c)
        self.discriminator = discriminator(c)
        self.beside, self.average = Beside(), EMA(self.generator, c.ema)
        self.reach = reach(self.generator, self.multiple)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise; known pixels are those given."""
        x = filled(given, self.average.unless_training(self.generator)(given.grid))
        return x if self.training else x.clamp(-1, 1)

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_D; real pictures have the masks of the batch, and go through together with the filled ones, with one step
        of power iteration for both."""
        x = torch.cat([batch.x, self.draw(batch.noise, batch.given)])
        real, fake = self.judge(x, batch.given.grid[:, -1:].repeat(2, 1, 1, 1)).chunk(2)
        logs = {"score(real)": real.mean(), "score(fake)": fake.mean()}
        return Loss(adversarial.hinge_discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G"""
        c, z = self.config, self.draw(batch.noise, batch.given)
        hole = (batch.given.grid[:, -1:] > 0).to(z.dtype)
        off = ((batch.x - z).abs() * hole).sum((1, 2, 3)) / (hole.sum((1, 2, 3)) * z.shape[1]).clamp(min=1)
        pixel, scores = off.mean(), self.judge(z, batch.given.grid[:, -1:])
        logs = {"pixel": pixel, "PSNR": pictures.psnr(batch.x, z)}
        return Loss(c.pixel * pixel + c.adversarial * adversarial.hinge_generator(scores), logs)

    def judge(self, x: Float[Tensor, "n c h w"], mask: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n d h2 w2"]:
        return self.discriminator(self.beside(x, mask))

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges=self.beside,
        )
        generator = Player(
            name="generator",
            owns=self.generator,
            loss=self.generator_loss,
            optimizer=c.generator_adam,
            project=follow,
        )
        return [Stage(name="train", players=[discriminator, generator])]


def filled(given: Picture, added: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """What is added, in the hole; elsewhere the picture, exactly as it was given."""
    picture, mask = given.grid[:, :-1], given.grid[:, -1:]
    return torch.where(mask > 0, picture + added, picture)


QUICK = DeepFillConfig(
    adversarial=0.02,
    generator_adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="cosine", warmup=0.01),
    discriminator_adam=Adam(lr=2e-3, betas=(0.5, 0.999), schedule="cosine"),
)
"""For half an hour of one CPU core. The discriminator, slowed down by its norms, learns at four times the generator's
rate, as in SAGAN."""

PRESETS = {
    "deepfill-64": Preset(
        config=QUICK,
        steps=3000,
        batch=16,
        expect="Crops of photographs, seed 0, 1,500 of these steps (a quarter of an hour of one CPU core): the network "
        "adds next to nothing yet. PSNR in the hole 29.38 dB, as the smooth fill that it begins with (29.39); the mean "
        "of the border 24.12 (1,000 held-out crops).",
    ),
    "deepfill-paper": Preset(
        config=DeepFillConfig(
            x=Images(3, 256, 256),
            given=Images(4, 256, 256),
            width=48,
            dilations=(2, 4, 8, 16),
            judge=64,
            halvings=6,
        ),
        steps=1_000_000,
        batch=16,
        expect="The paper's coarse generator, with twice the channels after each gate, and its discriminator and rates "
        "at 256 x 256; not trained by us.",
    ),
    "deepfill-tiny": Preset(
        config=DeepFillConfig(x=Images(1, 8, 8), given=Images(2, 8, 8), width=2, dilations=(2,), judge=4, halvings=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "deepfill-tiny-rgb": Preset(
        config=replace(
            QUICK, x=Images(3, 8, 12), given=Images(4, 8, 12), width=2, dilations=(1, 2), judge=2, halvings=1
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
