"""OASIS: many photographs of one semantic map, told from real ones by a network that segments them.

You Only Need Adversarial Supervision for Semantic Image Synthesis.
Sushko, Schönfeld, Zhang, Gall, Schiele and Khoreva, 2020. https://arxiv.org/abs/2012.04781

    L_D = -E sum_k a_k sum_ij t_ijk log D(x)_ijk - E sum_ij log D(G(z, t))_ij,fake                  (Equation 2)
    L_G = -E sum_k a_k sum_ij t_ijk log D(G(z, t))_ijk                                              (Equation 4)
    L_mix = |D(mix(x, G)) - mix(D(x), D(G))|^2,   mix(a, b) = m a + (1 - m) b                       (Equations 5, 6)

where t says the class of each pixel, and a_k is larger the rarer a class is in the batch (Equation 3). The
discriminator is a U-Net that gives each pixel of a real picture its class of the map, and each pixel of a generated
one a class of its own, "fake": it learns from the map what to look for, and the generator needs no other loss, neither
a distance from the true picture nor features of a trained network. A mask m joins regions of a real and a generated
picture along the borders of classes, and the discriminator is to be of the same mind about each pixel then.

z is one vector, spread over all places, beside the map at every layer: many pictures for one map. Pixels of no class
(a map that is -1 in all channels) count in no loss about real pictures, and neither does the generator's there.

Channels of the condition beyond the classes (a latitude, say) are shown to both networks. Places are normalized one by
one (see `nn.spade.SPADE`), the generator's weights have no spectral norms, and a block's normalizations share what
they read from the map; else this is as in the paper.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss
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
    config,
    full,
)
from triptych.losses import pictures
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.patch import check_aligned
from triptych.nn.ranks import averaged
from triptych.nn.spade import SpadeGenerator
from triptych.nn.unet import UNet

PAPER = Paper(
    called="OASIS",
    title="You Only Need Adversarial Supervision for Semantic Image Synthesis",
    authors="Vadim Sushko, Edgar Schönfeld, Dan Zhang, Juergen Gall, Bernt Schiele, Anna Khoreva",
    year=2020,
    url="https://arxiv.org/abs/2012.04781",
    conditions="picture",
)
NO_CLASS = -1
"""Label of pixels that are ignored by every loss."""


@config
class OASISConfig:
    x: Images = Images(3, 256, 256)
    """What is modeled: pictures as large as those trained on. A trained model draws pictures of any size."""
    given: Images = Images(35, 256, 256, levels=2)
    """The map: a channel for each class, 1 where it is and -1 elsewhere; others may follow."""
    classes: Count | None = None
    """How many of the channels of `given` are classes, the first ones; None: all."""
    latent: Count = 64
    """Numbers in z."""
    width: Count = 64
    """Channels of the generator at the full size; twice as many at each halving, eight times at the most."""
    depth: Doublings = 5
    """How often the map is halved before the first block."""
    features: Count = 128
    """Channels of what a block reads from the map."""
    judge: Count = 128
    """Channels of the discriminator at half the size; twice as many at each halving, eight times at the most."""
    halvings: Doublings = 6
    """How often the discriminator halves the picture, and doubles it again."""
    mix: NonNegative = 10.0
    """Weight of L_mix."""
    pixel: NonNegative = 0.0
    """Weight of the energy score of pixels, which the paper does without: in a short training it shows the generator
    the colours, and how much they differ between pictures of one map, before the discriminator knows the classes."""
    ema: Fraction = 0.9999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves."""
    generator_adam: Adam = Adam(lr=1e-4, betas=(0.0, 0.999))
    discriminator_adam: Adam = Adam(lr=4e-4, betas=(0.0, 0.999))

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes > self.given.channels:
            raise ValueError(f"classes={self.classes}: the condition has {self.given.channels} channels")
        check_aligned(self.x, self.given, max(self.depth, self.halvings))


class OASIS(AnySize[Picture]):
    name = "oasis"

    def __init__(self, config: OASISConfig) -> None:
        super().__init__()
        self.config = c = config
        self.classes = c.classes or c.given.channels
        beside = c.given.channels - self.classes
        self.generator = SpadeGenerator(c.given.channels + c.latent, c.x.channels, c.width, c.depth, c.features)
        self.discriminator = UNet(c.x.channels + beside, self.classes + 1, c.judge, c.halvings, spectral_norm)
        self.average = EMA(self.generator, c.ema)
        self.multiple, self.reach = 2**c.depth, self.generator.reach

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net, (height, width) = self.average.unless_training(self.generator), given.grid.shape[-2:]
        z = noise.normal(self.config.latent)[:, :, None, None].expand(-1, -1, height, width)
        return net(torch.cat([given.grid, z], 1))

    def segmented(self, x: Tensor, given: Picture) -> Float[Tensor, "n classes+1 h w"]:
        """The discriminator's logits: of each class, and of a generated picture."""
        return self.discriminator(torch.cat([x, given.grid[:, self.classes :]], 1))

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_D + 10 L_mix; all pictures go through together, with one step of power iteration."""
        made, t = self.draw(batch.noise, batch.given), classes_of(batch.given.grid[:, : self.classes])
        mask = regions(t, batch.noise.uniform(self.classes + 1))
        every = torch.cat([batch.x, made, torch.where(mask, batch.x, made)])
        real, fake, mixed = self.segmented(every, batch.given.map(lambda c: c.repeat(3, 1, 1, 1))).chunk(3)
        other = torch.full_like(t, self.classes)
        right = balanced(real, t, self.classes)
        found = cross_entropy(full(fake), other, reduction="none").mean()  # the mean of its own is not repeatable
        apart = mse_loss(full(mixed), full(torch.where(mask, real, fake)))
        logs = {"class(real)": right, "fake": found, "mix": apart}
        return Loss(right + found + self.config.mix * apart, logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G, and as much of the energy score of two pictures of each map as is asked for."""
        made, t = self.draw(batch.noise, batch.given), classes_of(batch.given.grid[:, : self.classes])
        right = balanced(self.segmented(made, batch.given), t, self.classes)
        logs = {"class": right, "PSNR": pictures.psnr(batch.x, made)}
        if not self.config.pixel:
            return Loss(right, logs)
        pixel = pictures.energy(batch.x, made, self.draw(batch.noise, batch.given))
        return Loss(right + self.config.pixel * pixel, logs | {"pixel": pixel})

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            together="how rare each class is",
            judges="its discriminator tells the class of every pixel: pictures would be moved away from their maps",
        )
        generator = Player(
            name="generator",
            owns=self.generator,
            loss=self.generator_loss,
            optimizer=c.generator_adam,
            together="how rare each class is",
            project=follow,
        )
        return [Stage(name="train", players=[discriminator, generator])]


def classes_of(one_hot: Float[Tensor, "n k h w"]) -> Int[Tensor, "n h w"]:
    """The class of each pixel; `NO_CLASS` where it has none."""
    most, where = one_hot.max(1)
    return where.masked_fill(most <= 0, NO_CLASS)


def balanced(logits: Float[Tensor, "n k+1 h w"], t: Int[Tensor, "n h w"], classes: int) -> Float[Tensor, ""]:
    """-sum_k a_k sum t_k log D_k over all pixels, each class that there is having the same part in it (Equation 3)."""
    known, index = t != NO_CLASS, t.clamp(min=0)
    counts = t.new_zeros(classes, dtype=torch.float32).index_add_(0, index.flatten(), known.flatten().float())
    each = cross_entropy(full(logits), t, ignore_index=NO_CLASS, reduction="none")
    counts = averaged(counts)
    weight = torch.where(counts > 0, 1 / (counts * (counts > 0).sum()), 0)
    return (each * weight[index]).sum()


def regions(t: Int[Tensor, "n h w"], u: Float[Tensor, "n k+1"]) -> Bool[Tensor, "n 1 h w"]:
    """The mask of L_mix: for each picture every class, and no class, is wholly inside or outside."""
    inside = u < 0.5
    return inside.gather(1, t.where(t != NO_CLASS, u.shape[1] - 1).flatten(1)).view(t.shape)[:, None]


QUICK = OASISConfig(
    x=Images(3, 64, 64),
    given=Images(17, 64, 64, levels=2),
    latent=16,
    width=16,
    depth=3,
    features=16,
    judge=24,
    halvings=4,
    pixel=20.0,
    ema=0.999,
    generator_adam=Adam(lr=1e-3, betas=(0.0, 0.99), schedule="cosine", warmup=0.01),
    discriminator_adam=Adam(lr=1e-3, betas=(0.0, 0.99), schedule="cosine"),
)
"""For 20 minutes of one CPU core. The discriminator of so short a time knows few classes yet, and the paper's losses
alone would leave the generator where it began: hence the energy score of pixels."""

PRESETS = {
    "oasis-64": Preset(
        config=QUICK,
        steps=1600,
        batch=8,
        expect="Satellite pictures of maps of 17 kinds of land, 2,258 steps of 16 on a shared GPU: several pictures "
        "of a map, 13.6 levels apart, whose mean of 8 has 20.19 dB on held-out land (a table of means: 20.48). 1,600 "
        "steps of 8 take 17 minutes of one CPU core.",
    ),
    "oasis-paper": Preset(
        config=OASISConfig(),
        steps=200_000,
        batch=20,
        expect="The paper's channels, losses and rates for Cityscapes' classes at 256 x 256; not trained by us.",
    ),
    "oasis-tiny": Preset(
        config=OASISConfig(
            x=Images(1, 8, 8),
            given=Images(3, 8, 8, levels=2),
            latent=2,
            width=2,
            depth=1,
            features=4,
            judge=4,
            halvings=2,
            ema=0.9,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "oasis-tiny-rgb": Preset(
        config=OASISConfig(
            x=Images(3, 8, 16),
            given=Images(4, 8, 16),
            classes=3,
            latent=3,
            width=2,
            depth=2,
            features=2,
            judge=2,
            halvings=1,
            pixel=2.0,
            ema=0.9,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
