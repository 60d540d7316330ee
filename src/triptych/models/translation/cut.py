"""CUT: pictures of one kind turned into another, in one direction, by telling where in the picture a patch was.

Contrastive Learning for Unpaired Image-to-Image Translation.
Park, Efros, Zhang and Zhu, 2020. https://arxiv.org/abs/2007.15651

    L_G = L_GAN(G, D) + nce L_PatchNCE(G, H, a) + identity L_PatchNCE(G, H, x)     (Equation 5)

where c is a picture a of the first kind, x one of the second that has nothing to do with it, and L_PatchNCE asks, at
several layers of the first half of G: of 256 places of a, which is the one that this place of G(a) was made of? What a
layer sees at a place goes through a network H of two layers to a vector of unit length; G(a) at a place is to be
nearest to a at that place, and far from a at the others (see `losses.contrastive`). The GAN is that of least squares. H
is made with the model, not with the first batch.

Where this departs from the paper: the generator normalizes each place by itself and ends without tanh, and halves by
means of 2 x 2 where the paper blurs (see `nn.translator`); the discriminator has spectral normalization; samples are
drawn by a moving average of the generator.

The model is a function of c: it shows one of the x that are possible, and always the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

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
    Positive,
    Preset,
    Stage,
    config,
)
from triptych.losses import adversarial
from triptych.losses.contrastive import patch_nce
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.patch import PatchDiscriminator, check_patches
from triptych.nn.reach import reach
from triptych.nn.translator import Translator, check_translator

PAPER = Paper(
    called="CUT",
    title="Contrastive Learning for Unpaired Image-to-Image Translation",
    authors="Taesung Park, Alexei A. Efros, Richard Zhang, Jun-Yan Zhu",
    year=2020,
    url="https://arxiv.org/abs/2007.15651",
    conditions="picture",
)


@config
class CUTConfig:
    x: Images = Images(3, 64, 64)
    """What is modeled: pictures of the second kind, as large as those trained on. A trained model takes any size."""
    given: Images = Images(3, 64, 64)
    """Pictures of the first kind, as large."""
    width: Count = 24
    """Channels of the generator at the picture's size, twice as many at each halving."""
    blocks: Count = 4
    """Residual blocks of the generator, at its least size."""
    halvings: Doublings = 2
    """How often the generator halves the picture."""
    judge: Count = 32
    """Channels of the discriminator at half the picture's size, twice as many at each halving."""
    judge_halvings: Doublings = 2
    """How often the discriminator halves the picture: patches of 16, 34, 70 pixels at 1, 2, 3."""
    patches: Count = 256
    """Places of a picture that are told apart, or all of a layer where there are fewer."""
    head: Count = 256
    """Width of H, and of the vectors that are compared."""
    temperature: Positive = 0.07
    """What similarities are divided by: less makes the nearest of the others count the more."""
    nce: NonNegative = 1.0
    """Weight of L_PatchNCE: more keeps more of the picture."""
    identity: NonNegative = 1.0
    """Weight of L_PatchNCE of pictures of the second kind, which are to stay as they are; 0 and nce=10 are FastCUT."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    discriminator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))

    def __post_init__(self) -> None:
        check_translator(self.x, self.given, self.halvings)
        check_patches(self.x, self.judge_halvings)


class Heads(nn.Module):
    """H: what each layer sees at some places -> vectors of unit length."""

    def __init__(self, seen: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width)) for channels in seen
        )

    def forward(
        self, seen: Sequence[Float[Tensor, "n c h w"]], where: Sequence[Tensor]
    ) -> list[Float[Tensor, "n patches d"]]:
        found = []
        for layer, h, places in zip(self.layers, seen, where, strict=True):
            at = h.flatten(2).transpose(1, 2).gather(1, places[:, :, None].expand(-1, -1, h.shape[1]))
            found.append(normalize(layer(at), dim=-1))
        return found


class CUT(AnySize[Picture]):
    name = "cut"

    def __init__(self, config: CUTConfig) -> None:
        super().__init__()
        self.config = c = config
        n = c.x.channels
        self.generator = Translator(n, n, c.width, c.blocks, c.halvings, anew=True)
        self.heads = Heads(self.generator.seen, c.head)
        self.discriminator = PatchDiscriminator(n, c.judge, c.judge_halvings)
        self.average = EMA(self.generator, c.ema)
        self.multiple = 2**c.halvings
        self.reach = reach(self.generator, self.multiple)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise, where what is beyond black and white is clipped."""
        x = self.average.unless_training(self.generator)(given.grid)
        return x if self.training else x.clamp(-1, 1)

    def places(self, noise: Noise, seen: Sequence[Float[Tensor, "n c h w"]]) -> list[Tensor]:
        """Some of each layer, drawn without repetition: int64 [n, patches]."""
        sizes = [h.shape[2] * h.shape[3] for h in seen]
        return [noise.uniform(size).topk(min(size, self.config.patches), 1).indices for size in sizes]

    def told(self, noise: Noise, before: Float[Tensor, "n c h w"], after: Float[Tensor, "n c h w"]) -> Tensor:
        """L_PatchNCE: the mean over the layers."""
        old, new = self.generator.features(before), self.generator.features(after)
        where = self.places(noise, old)
        pairs = zip(self.heads(new, where), self.heads(old, where), strict=True)
        return torch.stack([patch_nce(query, key, self.config.temperature) for query, key in pairs]).mean()

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Half of L_GAN, as in the paper."""
        scores, _ = self.discriminator(torch.cat([batch.x, self.draw(batch.noise, batch.given)]))
        real, fake = scores.chunk(2)
        logs = {"score(real)": real.mean(), "score(fake)": fake.mean()}
        return Loss(adversarial.least_squares_discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G"""
        c, fake = self.config, self.draw(batch.noise, batch.given)
        fooled = 2 * adversarial.least_squares_generator(self.discriminator(fake)[0])
        logs = {"fooled": fooled, "nce": self.told(batch.noise, batch.given.grid, fake)}
        value = fooled + c.nce * logs["nce"]
        if c.identity:
            logs["identity"] = self.told(batch.noise, batch.x, self.generator(batch.x))
            value = value + c.identity * logs["identity"]
        return Loss(value, logs)

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges=self.discriminator,
        )
        generator = Player(
            name="generator",
            owns=nn.ModuleList([self.generator, self.heads]),
            loss=self.generator_loss,
            optimizer=c.generator_adam,
            project=follow,
        )
        return [Stage(name="train", players=[discriminator, generator])]


QUICK = CUTConfig(
    head=64,
    generator_adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="linear", warmup=0.02),
    discriminator_adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="linear"),
)
"""For a quarter of an hour of one CPU core."""

PRESETS = {
    "cut-64": Preset(
        config=replace(QUICK, ema=0.99, discriminator_adam=Adam(lr=1e-4, betas=(0.5, 0.999), schedule="linear")),
        steps=2000,
        batch=4,
        expect="Reliefs to satellite pictures, 1,000 steps, 10 minutes of one CPU core: all held-out answers are taken "
        "for satellite pictures, 84 % are likest to their own relief of 100, and 15.86 dB from the true picture "
        "(the relief: 11.93); blurred. The rates were chosen by the discriminator's scores of two other runs.",
    ),
    "cut-32": Preset(
        config=replace(
            QUICK, x=Images(1, 32, 32), given=Images(1, 32, 32), width=16, judge=24, judge_halvings=1, blocks=3
        ),
        steps=3000,
        batch=8,
        expect="Sneakers to boots, 2,000 steps, 10 minutes of one CPU core: 96 % of held-out answers are taken "
        "for boots (95 % of boots are, 2 % of sneakers), 27 % are likest to their own sneaker of 100.",
    ),
    "cut-paper": Preset(
        config=CUTConfig(
            x=Images(3, 256, 256),
            given=Images(3, 256, 256),
            width=64,
            blocks=9,
            judge=64,
            judge_halvings=3,
            ema=0,
            generator_adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="linear"),
            discriminator_adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="linear"),
        ),
        steps=520_000,
        batch=1,
        expect="The paper's sizes and rates (400 epochs of 1,300 pictures); not trained by us.",
    ),
    "cut-tiny": Preset(
        config=CUTConfig(
            x=Images(1, 16, 16),
            given=Images(1, 16, 16),
            width=2,
            blocks=1,
            halvings=1,
            judge=2,
            judge_halvings=1,
            head=4,
            patches=8,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "cut-tiny-rgb": Preset(
        config=CUTConfig(
            x=Images(3, 16, 20),
            given=Images(3, 16, 20),
            width=2,
            blocks=2,
            judge=2,
            judge_halvings=1,
            identity=0,
            nce=10,
            head=4,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
