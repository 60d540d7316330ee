"""SPADE: photographs from semantic maps, which scale and shift the features at every place and size.

Semantic Image Synthesis with Spatially-Adaptive Normalization.
Park, Liu, Wang and Zhu, 2019. https://arxiv.org/abs/1903.07291

    h = normalized(h) * (1 + gain(c)) + bias(c)                                                    (Equation 1)
    L_D = E max(0, 1 - D(c, x)) + E max(0, 1 + D(c, G(c))),   L_G = -E D(c, G(c)) + 10 matching    (Appendix A)

A map that goes in at a network's first layer is washed out by normalization on the way: large regions of one class
become zero. Here each normalization is told the map anew (`nn.spade`). Discriminators judge patches of the picture
beside its map, at two sizes, and "matching" is the distance of pictures in their features (`losses.features`).

Where this departs from the paper: no distance in the features of VGG, a classifier trained on millions of labeled
photographs; places are normalized one by one (see `nn.spade.SPADE`); the two normalizations of a block share what they
read from the map, and its shortcut has none; no encoder of a style.

The model is a function of c: it shows one of the x that are possible, and always the same. `oasis` shows many.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

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
from triptych.losses import adversarial, features, pictures
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.patch import Judged, MultiScale, check_aligned, check_patches
from triptych.nn.spade import SpadeGenerator

PAPER = Paper(
    called="SPADE",
    title="Semantic Image Synthesis with Spatially-Adaptive Normalization",
    authors="Taesung Park, Ming-Yu Liu, Ting-Chun Wang, Jun-Yan Zhu",
    year=2019,
    url="https://arxiv.org/abs/1903.07291",
    conditions="picture",
)


@config
class SPADEConfig:
    x: Images = Images(3, 256, 256)
    """What is modeled: pictures as large as those trained on. A trained model draws pictures of any size."""
    given: Images = Images(35, 256, 256, levels=2)
    """The map: a channel for each class, 1 where it is and -1 elsewhere; others may follow."""
    width: Count = 64
    """Channels of the generator at the full size; twice as many at each halving, eight times at the most."""
    depth: Doublings = 5
    """How often the map is halved before the first block."""
    features: Count = 128
    """Channels of what a block reads from the map."""
    judge: Count = 64
    """Channels of the discriminators at half the size; twice as many at each halving, eight times at the most."""
    halvings: Doublings = 3
    """How often a discriminator halves the picture: 3 for patches of 70 x 70 pixels, 2 for 34 x 34, 1 for 16 x 16."""
    scales: Count = 2
    """At how many sizes the picture is judged, each half the one before."""
    matching: NonNegative = 10.0
    """Weight of the distance in the discriminators' features."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=1e-4, betas=(0.0, 0.9))
    discriminator_adam: Adam = Adam(lr=4e-4, betas=(0.0, 0.9))

    def __post_init__(self) -> None:
        check_aligned(self.x, self.given, self.depth)
        check_patches(self.x, self.halvings, self.scales)


class SPADE(AnySize[Picture]):
    name = "spade"
    judges_pairs = True

    def __init__(self, config: SPADEConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = SpadeGenerator(c.given.channels, c.x.channels, c.width, c.depth, c.features)
        self.discriminator = MultiScale(c.scales, c.given.channels + c.x.channels, c.judge, c.halvings)
        self.average = EMA(self.generator, c.ema)
        self.multiple, self.reach = 2**c.depth, self.generator.reach

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(given.grid)

    def judged(self, batch: Batch[Picture], made: Tensor) -> tuple[list[Judged], list[Judged]]:
        """Real and made pictures, judged together (with one step of power iteration for both)."""
        pairs = [torch.cat([batch.given.grid, x], 1) for x in (batch.x, made)]
        found = self.discriminator(torch.cat(pairs))
        halves = [
            [(scores.chunk(2)[k], [layer.chunk(2)[k] for layer in seen]) for scores, seen in found] for k in (0, 1)
        ]
        return halves[0], halves[1]

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_D, the mean over sizes."""
        real, fake = self.judged(batch, batch.fakes(self.draw(batch.noise, batch.given)))
        losses = [adversarial.hinge_discriminator(a, b) for (a, _), (b, _) in zip(real, fake, strict=True)]
        logs = {"score(real)": real[0][0].mean(), "score(fake)": fake[0][0].mean()}
        return Loss(torch.stack(losses).mean(), logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G, the mean over sizes."""
        made = self.draw(batch.noise, batch.given)
        real, fake = self.judged(batch, made)
        fooled = torch.stack([adversarial.hinge_generator(scores) for scores, _ in fake]).mean()
        matching = torch.stack([features.matching(a, b) for (_, a), (_, b) in zip(real, fake, strict=True)]).mean()
        logs = {"fooled": fooled, "matching": matching, "PSNR": pictures.psnr(batch.x, made)}
        return Loss(fooled + self.config.matching * matching, logs)

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges="its discriminators compare a picture with its map, place by place: they would be moved apart",
        )
        generator = Player(
            name="generator",
            owns=self.generator,
            loss=self.generator_loss,
            optimizer=c.generator_adam,
            project=follow,
        )
        return [Stage(name="train", players=[discriminator, generator])]


QUICK = SPADEConfig(
    x=Images(3, 64, 64),
    given=Images(17, 64, 64, levels=2),
    width=16,
    depth=3,
    features=16,
    judge=32,
    halvings=2,
    scales=1,
    generator_adam=Adam(lr=1e-3, betas=(0.0, 0.99), schedule="cosine", warmup=0.01),
    discriminator_adam=Adam(lr=2e-4, betas=(0.0, 0.99), schedule="cosine", warmup=0.01),
)
"""For 20 minutes of one CPU core. At the generator's rate the discriminator's scores ran to 2.7 for real and fake alike
in six steps, and to nothing after that; at this one they stay."""

PRESETS = {
    "spade-64": Preset(
        config=QUICK,
        steps=1500,
        batch=16,
        expect="Satellite pictures of maps of 17 kinds of land, 3,040 steps on a shared GPU: 20.34 dB on held-out land "
        "(a table of means: 20.57), and as like satellite pictures as training pictures are, to FD-random-conv. One "
        "picture of a map.",
    ),
    "spade-paper": Preset(
        config=SPADEConfig(ema=0.0),
        steps=93_000,
        batch=32,
        expect="The paper's channels, losses and rates for Cityscapes' classes at 256 x 256, 1,000 passes through its "
        "2,975 pictures; not trained by us.",
    ),
    "spade-tiny": Preset(
        config=SPADEConfig(
            x=Images(1, 16, 16),
            given=Images(3, 16, 16, levels=2),
            width=2,
            depth=1,
            features=4,
            judge=2,
            halvings=1,
            scales=1,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "spade-tiny-rgb": Preset(
        config=SPADEConfig(
            x=Images(3, 32, 32), given=Images(4, 32, 32), width=2, depth=2, features=2, judge=2, halvings=1, ema=0.0
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
