"""DF-GAN: pictures of a sentence in one stage; it steers every block, and the discriminator is to see misfits.

DF-GAN: A Simple and Effective Baseline for Text-to-Image Synthesis. Tao, Tang, Wu, Jing, Bao and Xu, 2022.
https://arxiv.org/abs/2008.05865

    L_D = E max(0, 1 - D(x, e)) + 1/2 E max(0, 1 + D(G(z, e), e)) + 1/2 E max(0, 1 + D(x, e'))
          + k E (|grad_x D(x, e)| + |grad_e D(x, e)|)^p                                    (Equations 1 and 2)
    L_G = -E D(G(z, e), e)

x and e are a picture and what is said of it, e' is what is said of another. The penalty is taken at real pictures that
fit alone: there the score is to be high and flat, so that what is made is drawn to pictures that are real and fit. In
the generator every convolution comes after two affine transformations by (z, e), a leaky ReLU after each (deep fusion);
there is no normalization in either network. The paper ends in tanh; here the last layer is linear, and what it makes is
clipped once it is trained: pictures on white drove tanh to its end within a hundred steps, where no gradient returns.

The paper's sentence vector is that of an encoder that was trained before; here each network has an encoder of its own,
which is trained with it, from the words alone. So classes do as well (`nn.conditioning`).
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from triptych.core import (
    FAITHFUL,
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Images,
    Label,
    Labels,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Sampling,
    Stage,
    Text,
    Tokens,
    Truncatable,
    config,
    full,
    precisely,
    sized,
    unchanged,
)
from triptych.losses import adversarial, penalties
from triptych.models.paper import Paper
from triptych.nn.conditioning import embed, told_apart
from triptych.nn.ema import EMA
from triptych.nn.ranks import averaged, before
from triptych.nn.residual import DoublingConv, doubled
from triptych.nn.strided import Halvable, halvings
from triptych.nn.truncation import truncated

PAPER = Paper(
    called="DF-GAN",
    title="DF-GAN: A Simple and Effective Baseline for Text-to-Image Synthesis",
    authors="Ming Tao, Hao Tang, Fei Wu, Xiao-Yuan Jing, Bing-Kun Bao, Changsheng Xu",
    year=2022,
    url="https://arxiv.org/abs/2008.05865",
    conditions="text or label",
)

MOST = 8
"""Channels are at most so many times those at the picture's size."""


@config
class DFGANConfig:
    x: Halvable = Images(3, 64, 64)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    given: Tokens | Labels = Tokens(1000, 16)
    """The space of the sentences, or the classes, that pictures are made of."""
    latent: Count = 100
    """Dimensions of z ~ N(0, I)."""
    embedding: Count = 128
    """Dimensions of e."""
    width: Count = 32
    """Channels at the picture's size; they double at each halving, eight times as many at the most."""
    penalty: NonNegative = 2.0
    """k"""
    power: Count = 6
    """p"""
    penalty_every: Count = 1
    """Steps from one penalty to the next, which weighs as many times as much (lazy regularization: Karras and others,
    2020. https://arxiv.org/abs/1912.04958). 1, as in the paper: at each."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves."""
    generator_adam: Adam = Adam(lr=1e-4, betas=(0.0, 0.9))
    discriminator_adam: Adam = Adam(lr=4e-4, betas=(0.0, 0.9))


def widths(x: Images, width: int) -> list[int]:
    """Channels from the smallest grid to the picture's size."""
    return [width * min(MOST, 2**i) for i in reversed(range(halvings(x.height, x.width) + 1))]


class Affine(nn.Module):
    """h * scale(code) + shift(code), channel by channel; at first h itself."""

    def __init__(self, code: int, channels: int) -> None:
        super().__init__()
        last = nn.Linear(channels, 2 * channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(code, channels), nn.ReLU(), last)

    def forward(self, h: Float[Tensor, "n c h w"], code: Float[Tensor, "n code"]) -> Float[Tensor, "n c h w"]:
        scale, shift = self.layers(code)[:, :, None, None].chunk(2, 1)
        return h * (1 + scale) + shift


class Fusion(nn.Module):
    """Deep fusion: affine, leaky ReLU, and again. What a place comes to does not depend on others, so it may come
    before the doubling as well as after."""

    def __init__(self, code: int, channels: int) -> None:
        super().__init__()
        self.first, self.second = Affine(code, channels), Affine(code, channels)

    def forward(self, h: Float[Tensor, "n c h w"], code: Float[Tensor, "n code"]) -> Float[Tensor, "n c h w"]:
        h = leaky_relu(self.first(h, code), 0.2)
        return leaky_relu(self.second(h, code), 0.2)


class UpBlock(nn.Module):
    """Doubles the sides."""

    def __init__(self, code: int, cin: int, cout: int) -> None:
        super().__init__()
        self.fuse1, self.fuse2 = Fusion(code, cin), Fusion(code, cout)
        self.conv1, self.conv2 = DoublingConv(cin, cout, 3, padding=1), nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"], code: Float[Tensor, "n code"]) -> Float[Tensor, "n c2 h2 w2"]:
        h = self.conv1(self.fuse1(x, code))
        return doubled(self.skip(x)) + self.conv2(self.fuse2(h, code))


class Generator(nn.Module):
    """(z, what is said) -> pictures."""

    def __init__(self, c: DFGANConfig) -> None:
        super().__init__()
        wide, times = widths(c.x, c.width), halvings(c.x.height, c.x.width)
        h, w = c.x.height >> times, c.x.width >> times
        self.condition = embed(c.given, c.embedding)
        self.first = nn.Sequential(nn.Linear(c.latent, wide[0] * h * w), nn.Unflatten(1, (wide[0], h, w)))
        code = c.latent + c.embedding
        self.blocks = nn.ModuleList(UpBlock(code, cin, cout) for cin, cout in pairwise(wide))
        self.last = nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(wide[-1], c.x.channels, 3, padding=1))

    def forward(self, z: Float[Tensor, "n latent"], given: Text | Label) -> Float[Tensor, "n c h w"]:
        code = torch.cat([z, self.condition(given)], 1)
        h = self.first(z)
        for block in self.blocks:
            h = block(h, code)
        return self.last(h)


class DownBlock(nn.Module):
    """Halves the sides: skip(x) + gamma main(x), gamma being 0 at first."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(cin, cout, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(cout, cout, 3, padding=1, bias=False),
            nn.LeakyReLU(0.2),
        )
        self.skip = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity())
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        return self.skip(x) + self.gamma * self.main(x)


class Judge(nn.Module):
    """(features of x, e) -> one score each: whether x is real and fits."""

    def __init__(self, channels: int, embedding: int, grid: tuple[int, int]) -> None:
        super().__init__()
        inner = max(1, 2 * channels // MOST)
        self.both = nn.Conv2d(channels + embedding, inner, 3, padding=1, bias=False)
        self.score = nn.Conv2d(inner, 1, grid, bias=False)

    def forward(self, h: Float[Tensor, "n c h w"], e: Float[Tensor, "n embedding"]) -> Float[Tensor, " n"]:
        everywhere = e[:, :, None, None].expand(-1, -1, *h.shape[2:])
        return self.score(leaky_relu(self.both(torch.cat([h, everywhere], 1)), 0.2)).flatten()


class Discriminator(nn.Module):
    """What is seen (`trunk`), what is said (`condition`), and whether one is of the other (`judge`)."""

    def __init__(self, c: DFGANConfig) -> None:
        super().__init__()
        wide = widths(c.x, c.width)[::-1]
        times = halvings(c.x.height, c.x.width)
        blocks = [DownBlock(cin, cout) for cin, cout in pairwise(wide)]
        self.trunk = nn.Sequential(nn.Conv2d(c.x.channels, wide[0], 3, padding=1), *blocks)
        self.condition = embed(c.given, c.embedding)
        self.judge = Judge(wide[-1], c.embedding, (c.x.height >> times, c.x.width >> times))

    def forward(self, x: Float[Tensor, "n c h w"], given: Text | Label) -> Float[Tensor, " n"]:
        return self.judge(self.trunk(x), self.condition(given))


class DFGAN(Truncatable[Text | Label]):
    name = "df-gan"

    def __init__(self, config: DFGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator, self.discriminator = Generator(c), Discriminator(c)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: Text | Label, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise: there, values beyond black and white are clipped."""
        net = self.average.unless_training(self.generator)
        z = noise.normal(self.config.latent)
        x = net(z if how.truncation is None else truncated(z, how.truncation), given)
        return x if self.training else x.clamp(-1, 1)

    def made(self, batch: Batch[Text | Label]) -> Float[Tensor, "n c h w"]:
        return batch.once(lambda: self.draw(batch.noise, batch.given))

    def discriminator_loss(self, batch: Batch[Text | Label], clock: Clock) -> Loss:
        """L_D. The misfit of a picture is what is said of the next one in the batch, unless that is the same."""
        d, c = self.discriminator, self.config
        penalized = clock.step % c.penalty_every == 0
        x, e = penalties.watched(batch.x) if penalized else batch.x, full(d.condition(batch.given))
        seen = precisely(d.trunk, x)
        real = precisely(d.judge, seen, e)
        fake, misfit = d(self.made(batch), batch.given), d.judge(before(seen), e)
        others = batch.given.map(before)
        apart = told_apart(batch.given, others).to(misfit.dtype)
        count = averaged(apart.sum())
        wrong = (apart * relu(1 + full(misfit))).sum() / torch.where(count > 0, count, 1)
        value = relu(1 - real).mean() + relu(1 + full(fake)).mean() / 2 + wrong / 2
        logs = {"score(real)": real.mean(), "score(fake)": fake.mean(), "score(misfit)": misfit.mean()}
        if penalized:
            logs["penalty"] = penalties.matching_aware(real, x, e, c.power)
            value = value + c.penalty * c.penalty_every * logs["penalty"]
        return Loss(value, logs)

    def generator_loss(self, batch: Batch[Text | Label], clock: Clock) -> Loss:
        """L_G"""
        return Loss(adversarial.hinge_generator(self.discriminator(self.made(batch), batch.given)))

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges=self.discriminator.trunk,
            together="what is said of the next item, which its picture does not fit",
        )
        generator = Player(
            name="generator", owns=self.generator, loss=self.generator_loss, optimizer=c.generator_adam, project=follow
        )
        return [Stage(name="train", players=[discriminator, generator], maker="generator")]


QUICK = DFGANConfig(
    x=Images(3, 32, 32),
    embedding=64,
    width=16,
    penalty_every=4,
    generator_adam=Adam(lr=1e-3, betas=(0.0, 0.99), schedule="linear", floor=0.1),
    discriminator_adam=Adam(lr=1e-3, betas=(0.0, 0.99), schedule="linear", floor=0.1),
    ema=0.99,
)
"""For 10 minutes of one CPU core."""

PRESETS = {
    "df-gan-32": Preset(
        config=QUICK,
        steps=2500,
        batch=16,
        expect="Meant for 6 minutes of one CPU core at 32 x 32; not trained by us for as long. shapes-apart at 16 x "
        "16, 1,800 steps, seed 0, 92 s: of 300 pictures of held-out pairs all show the place asked for, 90 % the size, "
        "59 % the color, 14 % the shape (chance: 50, 17, 14).",
    ),
    "df-gan-paper": Preset(
        config=DFGANConfig(x=Images(3, 256, 256), embedding=256, ema=0.0),
        fits=unchanged,
        steps=170_000,
        batch=32,
        expect="The paper's channels, losses and rates for 256 x 256, 600 passes through CUB's 8,855 birds; not "
        "trained by us. The paper: FID 14.81 on CUB, with a sentence encoder trained before.",
    ),
    "df-gan-tiny": Preset(
        config=DFGANConfig(x=Images(3, 8, 8), given=Tokens(5, 3), latent=4, embedding=4, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "df-gan-tiny-classes": Preset(
        config=DFGANConfig(x=Images(1, 8, 12), given=Labels(3), latent=4, embedding=4, width=4, ema=0.0),
        steps=10,
        batch=8,
        expect="For tests of classes.",
    ),
}
PRESETS["df-gan-small"] = sized(PRESETS["df-gan-32"])
PRESETS["df-gan-medium"] = sized(PRESETS["df-gan-32"], steps=20_000)
