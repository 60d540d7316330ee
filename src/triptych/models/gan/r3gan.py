"""R3GAN: a relativistic loss and two gradient penalties in place of every trick that GANs were thought to need.

The GAN is dead; long live the GAN! A Modern GAN Baseline.
Huang, Gokaslan, Kuleshov and Tompkin, 2024. https://arxiv.org/abs/2501.05441

    L_D = E softplus(D(G(z)) - D(x)) + gamma / 2 (E |grad D(x)|^2 + E |grad D(G(z))|^2)
    L_G = E softplus(D(x) - D(G(z)))

Each sample is paired with a real example and judged against it, so that no single threshold can be defended by leaving
out modes; the penalties R1 and R2 make the game converge near its equilibrium (Section 2). The networks are plain
ResNets: blocks of a 1 x 1, a grouped 3 x 3 and another 1 x 1 convolution, no normalization, an initialization after
Fixup (Zhang et al., 2019) in its place, and bilinear resampling (Section 3).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import cos, pi
from typing import Annotated, Self

import torch
from jaxtyping import Float
from pydantic import AfterValidator, model_validator
from torch import Tensor, nn

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
    NonNegative,
    Player,
    Points,
    Preset,
    Stage,
    Text,
    Tokens,
    config,
    planar,
    precisely,
    sized,
    unchanged,
)
from triptych.losses import adversarial, penalties
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.conditioning import embed
from triptych.nn.dense import mlp
from triptych.nn.ema import EMA

PAPER = Paper(
    called="R3GAN",
    title="The GAN is dead; long live the GAN! A Modern GAN Baseline",
    authors="Yiwen Huang, Aaron Gokaslan, Volodymyr Kuleshov, James Tompkin",
    year=2024,
    url="https://arxiv.org/abs/2501.05441",
    conditions="none, label or text",
    takes=("images", "points"),
)

SLOPE = 0.2
"""Negative slope of LeakyReLU."""
EXPANSION = 2
"""The 3 x 3 convolution of a block has so many times the channels of its ends."""


@config
class R3GANConfig:
    x: Annotated[Images | Points, AfterValidator(strided.buildable)] = Images(3, 64, 64)
    """What is modeled: images with sides of 4 to 7 pixels, doubled at least once; or points."""
    given: Labels | Tokens | None = None
    """The classes, or the space of the texts, that samples are to be of, if anything is asked for."""
    latent: Count = 64
    """Dimensions of z ~ N(0, I)."""
    width: Count = 128
    """Channels of the coarsest stages of either network; of points, units in each of three hidden layers."""
    wide: Count = 2
    """How many stages, from the coarsest on, have all these channels; each one after has half of those before it."""
    blocks: Count = 2
    """Residual blocks a stage."""
    group: Count = 16
    """Channels in a group of the 3 x 3 convolutions."""
    gamma: tuple[NonNegative, NonNegative] = (1.0, 0.1)
    """Weight of the gradient penalties at the beginning of training and, along a cosine, at its end. More for larger
    images: the authors begin with .05 on CIFAR-10, 2 on FFHQ at 64 x 64 and 150 at 256 x 256."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from."""
    adam: Adam = Adam(lr=2e-4, betas=(0, 0.9), final_betas=(0, 0.99), schedule="cosine", floor=0.25)
    """For either player."""

    @model_validator(mode="after")
    def groups(self) -> Self:
        for width in widths(self.x, self) if planar(self.x) else ():
            if not width or EXPANSION * width % min(self.group, EXPANSION * width):
                raise ValueError(
                    f"width={self.width} leaves a stage {width} channels, and the {EXPANSION * width} of its 3 x 3 "
                    f"convolutions are not a multiple of group={self.group}: take a power of two for either"
                )
        return self


def widths(x: Images, c: R3GANConfig) -> list[int]:
    """Channels of each stage, the coarsest first."""
    stages = strided.halvings(x.height, x.width) + 1
    return [c.width >> max(0, k - c.wide + 1) for k in range(stages)]


def scaled(layer: nn.Linear | nn.Conv2d, gain: float) -> None:
    """Initializes a layer: its outputs have a variance of gain^2 times that of its inputs."""
    nn.init.normal_(layer.weight, 0, gain * layer.weight[0].numel() ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Linear(nn.Linear):
    """A matrix over the channels, axis 1: of pictures, a 1 x 1 convolution, as the matrix product that it is.

    Second derivatives of torch's convolutions are slow, and those of products are not. A bias is there only to be
    followed by a nonlinearity.
    """

    def __init__(self, cin: int, cout: int, *, gain: float = 1.0, bias: bool = False) -> None:
        super().__init__(cin, cout, bias)
        scaled(self, gain)

    def forward(self, x: Float[Tensor, "n c ..."]) -> Float[Tensor, "n d ..."]:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """x + f(x), f being 0 at first. `depth`: how many blocks the network has."""

    def __init__(self, width: int, group: int, depth: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        gain = (2 / (1 + SLOPE**2)) ** 0.5 * depth ** (-1 / 4)  # L^(-1 / (2 m - 2)) of Fixup, m = 3 layers a block
        middle = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // min(group, inner))
        scaled(middle, gain)
        self.layers = nn.Sequential(
            Linear(width, inner, gain=gain, bias=True),
            nn.LeakyReLU(SLOPE),
            middle,
            nn.LeakyReLU(SLOPE),
            Linear(inner, width, gain=0),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x)


def transition(cin: int, cout: int, resample: nn.Module) -> list[nn.Module]:
    """From one stage to the next: resampled, and where the channels change, through a 1 x 1 convolution."""
    change = [] if cin == cout else [Linear(cin, cout)]
    return [*change, resample] if isinstance(resample, nn.Upsample) else [resample, *change]


class FromBasis(nn.Module):
    """z -> a linear function of z times a learned picture, for each channel."""

    def __init__(self, inputs: int, width: int, h: int, w: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.empty(width, h, w).normal_())
        self.linear = Linear(inputs, width)

    def forward(self, z: Float[Tensor, "n inputs"]) -> Float[Tensor, "n c h w"]:
        return self.basis * self.linear(z)[:, :, None, None]


class ToBasis(nn.Module):
    """The mirror: each channel's product with a learned picture -> linear functions of these."""

    def __init__(self, width: int, outputs: int, h: int, w: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.empty(width, h, w).normal_(0, (h * w) ** -0.5))
        self.linear = Linear(width, outputs)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n outputs"]:
        return self.linear((x * self.basis).sum((2, 3)))


class Generator(nn.Module):
    """(z, y) -> x; a class or a text is embedded and stands beside z."""

    def __init__(self, c: R3GANConfig) -> None:
        super().__init__()
        inputs = c.latent
        if c.given:
            self.embedding = embed(c.given, c.latent, c.given.values**-0.5)
            inputs += c.latent
        self.layers = self.resnet(inputs, c.x, c) if planar(c.x) else mlp(inputs, *[c.width] * 3, c.x.dims)

    @staticmethod
    def resnet(inputs: int, x: Images, c: R3GANConfig) -> nn.Sequential:
        wide = widths(x, c)
        h, w = x.height >> len(wide) - 1, x.width >> len(wide) - 1
        block = partial(Block, group=c.group, depth=len(wide) * c.blocks)
        layers: list[nn.Module] = [FromBasis(inputs, wide[0], h, w), *(block(wide[0]) for _ in range(c.blocks))]
        for cin, cout in pairwise(wide):
            layers += transition(cin, cout, nn.Upsample(scale_factor=2, mode="bilinear"))
            layers += [block(cout) for _ in range(c.blocks)]
        return nn.Sequential(*layers, Linear(wide[-1], x.channels))

    def forward(self, z: Float[Tensor, "n latent"], y: Label | Text | None) -> Float[Tensor, "n ..."]:
        return self.layers(z if y is None else torch.cat([z, self.embedding(y)], 1))


class Discriminator(nn.Module):
    """(x, y) -> one logit each; given a class or a text, the inner product of its embedding and the features of x."""

    def __init__(self, c: R3GANConfig) -> None:
        super().__init__()
        features = 1
        if c.given:
            features = c.width
            self.embedding = embed(c.given, features, (features * c.given.values) ** -0.5)
        self.layers = self.resnet(features, c.x, c) if planar(c.x) else mlp(c.x.dims, *[c.width] * 3, features)

    @staticmethod
    def resnet(features: int, x: Images, c: R3GANConfig) -> nn.Sequential:
        wide = widths(x, c)[::-1]
        h, w = x.height >> len(wide) - 1, x.width >> len(wide) - 1
        block = partial(Block, group=c.group, depth=len(wide) * c.blocks)
        layers: list[nn.Module] = [Linear(x.channels, wide[0]), *(block(wide[0]) for _ in range(c.blocks))]
        for cin, cout in pairwise(wide):
            layers += transition(cin, cout, nn.AvgPool2d(2))
            layers += [block(cout) for _ in range(c.blocks)]
        return nn.Sequential(*layers, ToBasis(wide[-1], features, h, w))

    def forward(self, x: Float[Tensor, "n ..."], y: Label | Text | None) -> Float[Tensor, " n"]:
        features = self.layers(x)
        return features.squeeze(1) if y is None else (features * self.embedding(y)).sum(1)


class R3GAN(Generative[Label | Text | None]):
    name = "r3gan"

    def __init__(self, config: R3GANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: Label | Text | None = None) -> Float[Tensor, "n ..."]:
        """By the generator in training, by its average otherwise: there, values beyond black and white are clipped."""
        net = self.average.unless_training(self.generator)
        x = net(noise.normal(self.config.latent), given)
        return x if self.training or not self.config.x.scaled else x.clamp(-1, 1)

    def gamma(self, clock: Clock) -> float:
        """The weight of the penalties: a cosine from the first to the last."""
        first, last = self.config.gamma
        return last + (first - last) * (0.5 + 0.5 * cos(pi * clock.progress))

    def discriminator_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """L_D. Only differences of logits mean anything, so the share of pairs judged rightly is logged instead."""
        y = batch.given
        x = penalties.watched(torch.cat([batch.x, self.draw(batch.noise, y)]))
        scores = precisely(self.discriminator, x, None if y is None else y.map(lambda t: torch.cat([t, t])))
        real, fake = scores.chunk(2)
        r1, r2 = (part.mean() for part in penalties.gradients(scores, x).square().sum(1).chunk(2))
        value = adversarial.relativistic(real, fake) + clock.number(self.gamma) / 2 * (r1 + r2)
        return Loss(value, {"R1": r1, "R2": r2, "right": (real > fake).float().mean()})

    def generator_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """L_G: its samples against the batch's real examples."""
        fake = self.discriminator(self.draw(batch.noise, batch.given), batch.given)
        return Loss(adversarial.relativistic(fake, self.discriminator(batch.x, batch.given)))

    def stages(self) -> Sequence[Stage]:
        adam, follow = self.config.adam, partial(self.average.update, self.generator)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=adam,
                judges=self.discriminator,
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


DIGITS = R3GANConfig(
    x=Images(1, 28, 28), width=64, wide=1, blocks=1, adam=Adam(lr=1e-3, betas=(0, 0.99), schedule="cosine")
)
"""For 28 x 28 pixels on a CPU: 7, 14 and 28 pixels, with 64, 32 and 16 channels."""

QUICK = replace(DIGITS, width=32, ema=0.99, adam=Adam(lr=3e-3, betas=(0, 0.99), schedule="cosine"))
"""Half as wide: twice the steps in the same time, which serves one channel of grey better."""

MIXTURES = R3GANConfig(
    x=Points(2), latent=2, width=128, gamma=(0.5, 0.0002), adam=Adam(lr=4e-3, betas=(0, 0.99), schedule="cosine")
)
"""For mixtures in the plane."""

PRESETS = {
    "r3gan-medium": Preset(
        config=replace(DIGITS, x=Images(3, 32, 32), width=128, wide=2),
        fits=unchanged,
        steps=20_000,
        batch=64,
        expect="Emoji (`--data emoji --condition none ema=0.999`), seed 0, 5 minutes of an H100 beside nine other "
        "trainings (TF32), far from its length: FD-random-conv 1.61, floor 1.21, at 32 px (2,679 steps); 1.44, floor "
        ".88, at 64 px (1,829), and 1.34 with `gamma=[2,0.2]` (2,310): smooth things of clear colors.",
    ),
    "r3gan-mnist": Preset(
        config=QUICK,
        steps=4000,
        batch=16,
        expect="Grey MNIST, seed 0: 7 minutes of one CPU core (with --channels-last), in which it sees 64,000 images. "
        "Most samples are digits: mean confidence .879, FD-mnist-classifier 2.96 (2,000 samples; floor .22); with seed "
        "1 .885 and 2.65.",
    ),
    "r3gan-mnist-class": Preset(
        config=replace(QUICK, given=Labels(10)),
        steps=4000,
        batch=16,
        expect="Grey MNIST given the digit, seed 0: 7 minutes of one CPU core (with --channels-last). 95.1 % of the "
        "samples are the digit asked for, mean confidence .969, FD-mnist-classifier 1.02 (2,000 samples; floor .22).",
    ),
    "r3gan-stacked-digits": Preset(
        config=replace(DIGITS, x=Images(3, 28, 28)),
        steps=3800,
        batch=16,
        expect="Stacked digits (`--data stacked-digits`), seed 0: 12 minutes of one CPU core. 974 of the 1,000 modes "
        "(26,000 samples), reverse KL .562 nats; colored strokes, most channels readable digits.",
    ),
    "r3gan-25-gaussians": Preset(
        config=MIXTURES,
        steps=8_000,
        batch=256,
        expect="The 25-Gaussian grid, seeds 0 to 4, 2 minutes of one CPU core each: all 25 modes with every seed, .964 "
        "of 2,500 samples within three deviations of one (.959 to .972; an ideal sampler: .989).",
    ),
    "r3gan-ring-8": Preset(
        config=MIXTURES,
        steps=5_000,
        batch=256,
        expect="The ring of 8 Gaussians, seeds 0 to 4, a minute of one CPU core each: all 8 modes with every seed, "
        ".968 of 2,500 samples within three deviations of one (.965 to .977).",
    ),
    "r3gan-cifar": Preset(
        config=R3GANConfig(x=Images(3, 32, 32), width=768, wide=4, gamma=(0.05, 0.005), ema=0.99993),
        steps=39_000,
        batch=512,
        expect="The authors' networks and rates for CIFAR-10, 20 million images (theirs: FID 1.96, with "
        "augmentation that grows over training); not trained by us.",
    ),
    "r3gan-faces": Preset(
        config=R3GANConfig(
            x=Images(3, 64, 64),
            width=64,
            wide=3,
            blocks=1,
            gamma=(2.0, 0.2),
            adam=Adam(lr=1e-3, betas=(0, 0.99), schedule="cosine"),
        ),
        steps=20_000,
        batch=16,
        expect="Thousands of faces of 64 x 64 in colour: .77 s a step of one CPU core (measured), so about 4 hours; "
        "not trained by us. For few faces add `--augment color,translation`, or take fastgan.",
    ),
    "r3gan-ffhq-64": Preset(
        config=R3GANConfig(x=Images(3, 64, 64), width=768, wide=4, gamma=(2.0, 0.2), ema=0.99965),
        steps=78_000,
        batch=256,
        expect="The authors' networks and rates for FFHQ at 64 x 64, 20 million images (theirs: FID 1.95, with "
        "augmentation that grows over training); not trained by us.",
    ),
    "r3gan-tiny": Preset(
        config=R3GANConfig(x=Images(1, 8, 12), latent=4, width=4, wide=1, blocks=1, group=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "r3gan-tiny-class": Preset(
        config=R3GANConfig(x=Images(3, 8, 8), given=Labels(3), latent=4, width=4, blocks=1, group=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "r3gan-tiny-text": Preset(
        config=R3GANConfig(x=Images(1, 8, 8), given=Tokens(5, 3), latent=4, width=4, blocks=1, group=2),
        steps=10,
        batch=8,
        expect="For tests of texts.",
    ),
    "r3gan-tiny-points": Preset(
        config=R3GANConfig(x=Points(2), given=Labels(2), latent=2, width=8), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["r3gan-small"] = replace(
    sized(PRESETS["r3gan-mnist"], fits=lambda x: {"width": 64} if planar(x) and x.channels > 1 else {}),
    expect="Emoji (`--data emoji --size 32 --condition none`), seed 0, 3,462 steps: 5 minutes of one CPU core (with "
    "--channels-last). FD-random-conv 1.91, floor 1.21 (358 held-out emoji): smooth things of clear colors. Pictures "
    "of one channel get networks half as wide, of which r3gan-mnist says what to expect.",
)
PRESETS["r3gan-hour"] = replace(
    PRESETS["r3gan-small"],
    config=replace(PRESETS["r3gan-small"].config, ema=0.999),
    steps=31_000,
    expect="Emoji, as r3gan-small but for longer and with a slower average, seed 0, 31,106 steps: 45 minutes of one "
    "CPU core. FD-random-conv 1.84, FD-pixels 63.5 (floors 1.21 and 51.6): faces and people that one can name. These "
    "weights are r3gan-emoji.",
)
PRESETS["r3gan-paper"] = sized(PRESETS["r3gan-ffhq-64"])
