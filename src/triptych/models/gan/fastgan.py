"""FastGAN: a GAN for a few hundred pictures, whose discriminator also has to reconstruct them.

Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis.
Liu, Zhu, Song and Elgammal, 2021. https://arxiv.org/abs/2101.04775

    y       = F(x_low, W) * x_high                                                         (Equation 1)
    L_recon = E |decode(f) - T(x)|                                                          (Equation 2)
    L_D     = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))) + L_recon                           (Equation 3)
    L_G     = -E D(G(z))                                                                     (Equation 4)

Skip-layer excitation: what the generator drew coarsely scales the channels of what it draws finely, so that gradients
have a short way. The discriminator is an encoder, too: from two of its layers small decoders make the whole real
picture at half its size and a quarter of it at its full size, so that it must look at all of a picture and does not
overfit to few. All that it sees is augmented (see `nn.augment`).

Where this departs from the paper: the differences of Equation 2 are those of pixels, where the authors' program
compares features of a network that was trained on a million pictures; the networks begin with sides of 4 to 7 pixels
and have as many blocks as the picture's size takes; no noise is added within them, so that a picture follows from z
alone.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, glu

from triptych.core import (
    FAITHFUL,
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Images,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Sampling,
    Stage,
    Truncatable,
    config,
    sized,
)
from triptych.losses import adversarial, pictures
from triptych.models.paper import Paper
from triptych.nn.augment import Augmentation, augment
from triptych.nn.ema import EMA
from triptych.nn.residual import DoublingConv, spectral
from triptych.nn.strided import Halvable, halvings, initialize
from triptych.nn.truncation import truncated

PAPER = Paper(
    called="FastGAN",
    title="Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis",
    authors="Bingchen Liu, Yizhe Zhu, Kunpeng Song, Ahmed Elgammal",
    year=2021,
    url="https://arxiv.org/abs/2101.04775",
)

FAR = 3
"""Halvings between the two ends of a skip-layer excitation."""
SLOPE = 0.2
"""Negative slope of LeakyReLU."""
GRID = 4
"""Sides of the plane that gates are computed of."""


@config
class FastGANConfig:
    x: Halvable = Images(3, 64, 64)
    """What is modeled: sides of 4 to 7 pixels, doubled three times or more."""
    latent: Count = 128
    """Dimensions of z ~ N(0, I)."""
    width: Count = 32
    """Channels at the picture's size, twice as many at each halving, but no more than `most`."""
    most: Count = 256
    """Channels of the coarsest blocks."""
    recon: NonNegative = 1.0
    """Weight of the discriminator's reconstruction."""
    augment: tuple[Augmentation, ...] = ("color", "translation")
    """What is done to all that the discriminator sees (see `nn.augment`); () is for data of many thousands."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player."""

    def __post_init__(self) -> None:
        k = halvings(self.x.height, self.x.width)
        if k < FAR:
            raise ValueError(
                f"x: pictures of {self.x.height} x {self.x.width} are halved {k} times, and skip-layer excitation "
                f"takes {FAR}: sides of {4 << FAR} or more"
            )


def widths(c: FastGANConfig) -> list[int]:
    """Channels at each size, the picture's first."""
    return [min(c.width << i, c.most) for i in range(halvings(c.x.height, c.x.width) + 1)]


class Up(nn.Module):
    """Doubles the sides: convolution, normalization and a gated linear unit (half of the channels gate the others)."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(DoublingConv(cin, 2 * cout, 3, padding=1, bias=False), nn.BatchNorm2d(2 * cout))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        return glu(self.layers(x), 1)


class Means(nn.Module):
    """The means of GRID x GRID parts of an image, which overlap where it cannot be divided so; then their gradient is
    not the same bits every time on a GPU."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c grid grid"]:
        height, width = x.shape[2:]
        if height % GRID or width % GRID:
            return nn.functional.adaptive_avg_pool2d(x, GRID)
        return nn.functional.avg_pool2d(x, (height // GRID, width // GRID))


class Excitation(nn.Module):
    """F: coarse features -> a gate in (0, 1) for each channel of finer ones."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        inner = nn.Conv2d(low, high, GRID)
        self.layers = nn.Sequential(Means(), inner, nn.SiLU(), nn.Conv2d(high, high, 1))

    def forward(self, low: Float[Tensor, "n c h w"], high: Float[Tensor, "n d h2 w2"]) -> Float[Tensor, "n d h2 w2"]:
        return high * self.layers(low).sigmoid()


class Generator(nn.Module):
    """z -> x"""

    def __init__(self, c: FastGANConfig) -> None:
        super().__init__()
        wide = widths(c)[::-1]  # the coarsest first
        k = len(wide) - 1
        h, w = c.x.height >> k, c.x.width >> k
        self.first = nn.Sequential(
            nn.Linear(c.latent, 2 * wide[0] * h * w, bias=False),
            nn.Unflatten(1, (2 * wide[0], h, w)),
            nn.BatchNorm2d(2 * wide[0]),
            nn.GLU(1),
        )
        self.blocks = nn.ModuleList(Up(a, b) for a, b in pairwise(wide))
        self.excite = nn.ModuleList(Excitation(wide[i], wide[i + FAR]) for i in range(k - FAR + 1))
        self.last = nn.Conv2d(wide[-1], c.x.channels, 3, padding=1)

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n c h w"]:
        found = [self.first(z)]
        for i, block in enumerate(self.blocks):
            h = block(found[-1])
            if (far := i + 1 - FAR) >= 0:
                h = self.excite[far](found[far], h)
            found.append(h)
        return torch.tanh(self.last(found[-1]))


class Down(nn.Module):
    """Halves the sides: the mean of a way with two convolutions and of one that pools."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(cin, cout, 4, 2, 1, bias=False),
            nn.BatchNorm2d(cout),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(cout, cout, 3, padding=1, bias=False),
            nn.BatchNorm2d(cout),
            nn.LeakyReLU(SLOPE),
        )
        self.short = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout), nn.LeakyReLU(SLOPE)
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        return (self.main(x) + self.short(x)) / 2


class Discriminator(nn.Module):
    """x -> scores of its patches; and, from features halfway, the whole picture and a part of it."""

    def __init__(self, c: FastGANConfig) -> None:
        super().__init__()
        wide = widths(c)
        k = len(wide) - 1  # the trunk stops one halving before the end, at sides of 8 to 15
        self.first = nn.Sequential(nn.Conv2d(c.x.channels, wide[1], 4, 2, 1), nn.LeakyReLU(SLOPE))
        self.trunk = nn.ModuleList(Down(a, b) for a, b in pairwise(wide[1:k]))
        self.score = nn.Sequential(
            nn.Conv2d(wide[k - 1], wide[k], 1, bias=False),
            nn.BatchNorm2d(wide[k]),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(wide[k], 1, 4),
        )
        self.whole = decoder(wide[k - 1 : 0 : -1], c.x.channels)  # up to half the picture's sides
        self.part = decoder(wide[k - 2 :: -1], c.x.channels)

    def features(self, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d h2 w2"]]:
        found = [self.first(x)]
        for block in self.trunk:
            found.append(block(found[-1]))
        return found

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h2 w2"]:
        return self.score(self.features(x)[-1])

    def both(
        self, x: Float[Tensor, "n c h w"], quarter: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n 1 h2 w2"], Float[Tensor, ""]]:
        """The scores, and how far off the reconstructions are: of the whole, and of one quarter of each picture."""
        *_, middle, deep = self.features(x)
        whole = pictures.l1(self.whole(deep), avg_pool2d(x, 2))
        part = pictures.l1(self.part(quarters(middle, quarter)), quarters(x, quarter))
        return self.score(deep), whole + part


def decoder(wide: Sequence[int], channels: int) -> nn.Sequential:
    """Doubles features from one width to the next, and makes a picture of the last."""
    return nn.Sequential(*(Up(a, b) for a, b in pairwise(wide)), nn.Conv2d(wide[-1], channels, 3, padding=1), nn.Tanh())


def quarters(x: Float[Tensor, "n c h w"], which: Int[Tensor, " n"]) -> Float[Tensor, "n c h2 w2"]:
    """The quarter 0, 1, 2 or 3 (upper left, upper right, lower left, lower right) of each."""
    n, c, h, w = x.shape
    four = x.reshape(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [n, 4, c, h2, w2]
    return four[torch.arange(len(x), device=x.device), which]


class FastGAN(Truncatable[None]):
    name = "fastgan"

    def __init__(self, config: FastGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config).apply(initialize)
        self.discriminator = Discriminator(config).apply(initialize)
        for net in (self.discriminator.first, self.discriminator.trunk, self.discriminator.score):
            net.apply(spectral)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise; z truncated as `how` says."""
        z = noise.normal(self.config.latent)
        z = z if how.truncation is None else truncated(z, how.truncation)
        return self.average.unless_training(self.generator)(z)

    def view(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """As the discriminator sees it."""
        return augment(x, self.config.augment)

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """L_D"""
        fake = self.discriminator(self.view(self.draw(batch.noise)))
        quarter = (4 * batch.noise.uniform()).long().clamp(max=3)
        real, off = self.discriminator.both(self.view(batch.x), quarter)
        logs = {"D(real)": real.mean(), "D(fake)": fake.mean(), "reconstruction": off}
        return Loss(adversarial.hinge_discriminator(real, fake) + self.config.recon * off, logs)

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """L_G"""
        return Loss(adversarial.hinge_generator(self.discriminator(self.view(self.draw(batch.noise)))))

    def stages(self) -> Sequence[Stage]:
        adam, follow = self.config.adam, partial(self.average.update, self.generator)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=adam,
                judges="it reconstructs what it sees, and augments it itself (its field augment)",
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "fastgan-faces": Preset(
        config=FastGANConfig(x=Images(1, 64, 64), width=8, adam=Adam(lr=4e-4, betas=(0.5, 0.999))),
        steps=3500,
        batch=8,
        expect="ORL faces at 64 x 64, 32 people (8 others held out), seed 0: 7 minutes of one CPU core (with "
        "--channels-last). By eye half of the samples are whole faces; none is memorized; FD-self-supervised .67 "
        "(200 samples; floor, of other people, .68).",
    ),
    "fastgan-64": Preset(
        config=FastGANConfig(),
        steps=10_000,
        batch=8,
        expect="718 `furniture-renders` at 64 px, seed 0, 2,939 steps of 16: 4 minutes of an H100 beside nine other "
        "trainings (TF32). FD-random-conv 1.72, floor 1.50 (102 held-out renders): seats, legs and cushions, hardly a "
        "whole chair.",
    ),
    "fastgan-256": Preset(
        config=FastGANConfig(x=Images(3, 256, 256), latent=256, most=512),
        steps=50_000,
        batch=8,
        expect="About the paper's sizes, rates and length, for pictures of 256 x 256; not trained by us.",
    ),
    "fastgan-tiny": Preset(
        config=FastGANConfig(x=Images(1, 32, 32), latent=4, width=2, most=4), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["fastgan-small"] = sized(PRESETS["fastgan-faces"])
PRESETS["fastgan-medium"] = sized(PRESETS["fastgan-64"])
PRESETS["fastgan-paper"] = sized(PRESETS["fastgan-256"])
