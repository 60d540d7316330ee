"""SRGAN: super resolution that looks like a photograph, not like the mean of all that it could be.

Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network.
Ledig et al., 2016. https://arxiv.org/abs/1609.04802

    min_G max_D E log D(x) + E log(1 - D(G(c)))                                    (Equation 2)
    L_G = content(x, G(c)) + weight x adversarial(G(c)),   adversarial = -log D    (Equations 3 and 6)

where c is a small version of the picture x. Training has two stages, as in the paper: "pretrain" for the pixels alone,
"adversarial" against a discriminator.

Where this departs from the paper: the content loss there is a distance in the features of VGG, a classifier trained on
millions of labeled photographs. There is none here: it is a distance in pixels plus one in the features of the
discriminator itself (`losses.features`), which learns them from the user's own pictures. The pixels' distance is L1.
The generator is the compact network of Real-ESRGAN (Wang et al., 2021, https://arxiv.org/abs/2107.10833) in place of
SRResNet, and so are the weights of the losses and the discriminator: a U-Net with spectral normalization that judges
every pixel in its surroundings, not the picture as a whole.

The model is a function of c: it shows one of the x that are possible, and always the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.parametrizations import spectral_norm

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
    check_sides,
    config,
)
from triptych.losses import adversarial, features, pictures
from triptych.models.paper import Paper
from triptych.nn.compact import Compact, magnification
from triptych.nn.ema import EMA

PAPER = Paper(
    called="SRGAN",
    title="Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
    authors=(
        "Christian Ledig, Lucas Theis, Ferenc Huszár, Jose Caballero, Andrew Cunningham, Alejandro Acosta, "
        "Andrew Aitken, Alykhan Tejani, Johannes Totz, Zehan Wang, Wenzhe Shi"
    ),
    year=2016,
    url="https://arxiv.org/abs/1609.04802",
    conditions="picture",
)

SLOPE = 0.2
"""Negative slope of the discriminator's LeakyReLU."""


@config
class SRGANConfig:
    x: Images = Images(3, 128, 128)
    """What is modeled: crops as large as those trained on. A trained model enlarges pictures of any size."""
    given: Images = Images(3, 32, 32)
    """The small picture; x is a whole number of times as high and as wide."""
    width: Count = 48
    """Channels of the generator."""
    depth: Count = 8
    """Convolutions between the generator's first and last; how far it looks grows with them."""
    judge: Count = 16
    """Channels of the discriminator at the size of x; they double at each halving."""
    halvings: Doublings = 3
    """How often the discriminator halves x, and doubles it again."""
    pixel: NonNegative = 0.5
    """Weight of the distance in pixels (L1), in the second stage; between black and white it is 2."""
    feature: NonNegative = 1.0
    """Weight of the distance in the discriminator's features."""
    adversarial: NonNegative = 0.1
    """Weight of the adversarial loss: more is sharper, and further from the truth."""
    pretrain: Count = 1
    """Rounds of the first stage for each one of the second."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves."""
    pretrain_adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.99), schedule="cosine", warmup=0.01)
    """For the generator in the first stage."""
    adam: Adam = Adam(lr=2e-4, betas=(0.9, 0.99))
    """For either player in the second stage."""

    def __post_init__(self) -> None:
        magnification(self.x, self.given)
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings} of the discriminator", "halve less often")


def layer(conv: nn.Module) -> nn.Sequential:
    """A convolution whose weights are divided by their largest singular value, and its nonlinearity."""
    return nn.Sequential(spectral_norm(conv), nn.LeakyReLU(SLOPE))


class Discriminator(nn.Module):
    """A picture -> a logit for every pixel of being real, and the features of every layer.

    A U-Net: to an eighth of the size and back, each size on the way back being added to that on the way there.
    """

    def __init__(self, channels: int, width: int, halvings: int) -> None:
        super().__init__()
        wide = [width << i for i in range(halvings + 1)]
        self.first = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.down = nn.ModuleList(layer(nn.Conv2d(a, b, 4, 2, 1, bias=False)) for a, b in pairwise(wide))
        self.up = nn.ModuleList(
            layer(nn.Conv2d(b, a, 3, padding=1, bias=False)) for a, b in reversed([*pairwise(wide)])
        )
        self.end = nn.ModuleList(layer(nn.Conv2d(width, width, 3, padding=1, bias=False)) for _ in range(2))
        self.logit = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n 1 h w"], list[Tensor]]:
        found = [self.first(x)]
        for down in self.down:
            found.append(down(found[-1]))
        there = found[-2::-1]
        for up, same in zip(self.up, there, strict=True):
            doubled = interpolate(found[-1], scale_factor=2.0, mode="bilinear", align_corners=False)
            found.append(up(doubled) + same)
        for end in self.end:
            found.append(end(found[-1]))
        return self.logit(found[-1]), found


class SRGAN(AnySize[Picture]):
    name = "srgan"

    def __init__(self, config: SRGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = Compact(c.x.channels, magnification(c.x, c.given), c.width, c.depth)
        self.discriminator = Discriminator(c.x.channels, c.judge, c.halvings)
        self.average = EMA(self.generator, c.ema)
        self.reach = self.generator.reach

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise: there, what is beyond black and white is clipped."""
        x = self.average.unless_training(self.generator)(given.grid)
        return x if self.training else x.clamp(-1, 1)

    def pixel_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Of the first stage: E |x - G(c)|."""
        found = self.draw(batch.noise, batch.given)
        return Loss(pictures.l1(batch.x, found), {"PSNR": pictures.psnr(batch.x, found)})

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Equation 2, from the discriminator's side, pixel by pixel; real and generated pictures go through together,
        with one step of power iteration for both."""
        logits, _ = self.discriminator(torch.cat([batch.x, self.draw(batch.noise, batch.given)]))
        real, fake = logits.chunk(2)
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        return Loss(adversarial.discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G"""
        c, found = self.config, self.draw(batch.noise, batch.given)
        logits, seen = self.discriminator(torch.cat([batch.x, found]))
        real, fake = zip(*(layer.chunk(2) for layer in seen), strict=True)
        pixel, feature = pictures.l1(batch.x, found), features.matching(real, fake)
        fooled = adversarial.non_saturating(logits.chunk(2)[1])
        logs = {"pixel": pixel, "feature": feature, "fooled": fooled, "PSNR": pictures.psnr(batch.x, found)}
        return Loss(c.pixel * pixel + c.feature * feature + c.adversarial * fooled, logs)

    def stages(self) -> Sequence[Stage]:
        c, net, follow = self.config, self.generator, partial(self.average.update, self.generator)
        alone = Player(name="generator", owns=net, loss=self.pixel_loss, optimizer=c.pretrain_adam, project=follow)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=c.adam,
                judges="its discriminator also tells how alike two pictures are, which would be moved apart",
            ),
            Player(name="generator", owns=net, loss=self.generator_loss, optimizer=c.adam, project=follow),
        ]
        return [
            Stage(name="pretrain", players=[alone], times=c.pretrain),
            Stage(name="adversarial", players=players),
        ]


QUICK = SRGANConfig(x=Images(3, 64, 64), given=Images(3, 16, 16), pixel=0.3, adversarial=0.3, pretrain=3)
"""For half an hour of one CPU core. A discriminator of a few minutes sends weak gradients: at the default weights, they
would be a tenth of the pixels' (measured after 40 rounds)."""

PRESETS = {
    "srgan-x4": Preset(
        config=QUICK,
        steps=2800,
        batch=8,
        expect="Photographs (halved first), seed 0: 23 minutes of one CPU core. 748 held-out crops of 64: "
        "FD-random-conv .032, of sr-compact .044, of bicubic .088; a decibel of PSNR below sr-compact.",
    ),
    "srgan-x2": Preset(
        config=replace(QUICK, given=Images(3, 32, 32)),
        steps=2800,
        batch=8,
        expect="Photographs, half an hour of one CPU core; not trained by us yet.",
    ),
    "srgan-paper": Preset(
        config=SRGANConfig(
            x=Images(3, 256, 256),
            given=Images(3, 64, 64),
            width=64,
            depth=16,
            judge=64,
            pretrain=2,
            pretrain_adam=Adam(lr=2e-4, betas=(0.9, 0.99)),
            adam=Adam(lr=1e-4, betas=(0.9, 0.99)),
        ),
        steps=400_000,
        batch=48,
        expect="The compact network, the discriminator, the rates and the lengths of Real-ESRGAN; not trained by us.",
    ),
    "srgan-tiny": Preset(
        config=SRGANConfig(x=Images(1, 8, 8), given=Images(1, 4, 4), width=4, depth=1, judge=4, halvings=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "srgan-tiny-x3": Preset(
        config=SRGANConfig(x=Images(3, 12, 6), given=Images(3, 4, 2), width=4, depth=2, judge=2, halvings=1),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
