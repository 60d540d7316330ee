"""GAT: a generator and a discriminator that are plain transformers, in the latent space of a VAE.

Scalable GANs with Transformers.
Hyun, Lee and Heo, 2025. https://arxiv.org/abs/2509.24935

    L_D = E softplus(D(G(z)) - D(h)) + gamma / 2 (R(h) + R(G(z)))
    L_G = E softplus(D(h) - D(G(z)))
    R(h) = E (D(h) - D(h + s e))^2 / s^2,  e ~ N(0, I)

R1 and R2 of R3GAN, by differences: as s -> 0, R(h) becomes E |grad D(h)|^2, and no second derivative is taken.

In the first stage an autoencoder learns: the paper takes one that is there, Stable Diffusion's. In the second it stands
still, and the game is about the latents h that it gives images. Each quarter of the generator's blocks adds its part to
what it puts out, and the discriminator sees all four sums side by side, the earlier the noisier, or four copies of an h
with such noise: what noise leaves of a picture is coarse, so the coarse is what early blocks must learn (multi-level
noise-perturbed image guidance). Left out: DiffAugment of latents, and the discriminator's second task, to predict the
features of DINOv2 (REPA), which needs that network.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Self

import torch
from jaxtyping import Float, Int
from pydantic import model_validator
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence
from torch.nn import functional as F

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Doublings,
    Fraction,
    Generative,
    Images,
    Label,
    Labels,
    Loss,
    Noise,
    NonNegative,
    Player,
    Positive,
    Preset,
    Stage,
    check_multiple,
    check_sides,
    config,
    full,
    precisely,
    sized,
)
from triptych.losses import adversarial, penalties
from triptych.losses.pixels import DiscretizedLogistic
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.equalized import PixelNorm
from triptych.nn.transformer import SwiGLU, check_heads, rotate, rotations

PAPER = Paper(
    called="GAT",
    title="Scalable GANs with Transformers",
    authors="Sangeek Hyun, MinKyu Lee, Jae-Pil Heo",
    year=2025,
    url="https://arxiv.org/abs/2509.24935",
    conditions="none or label",
)

START = 0.1
"""How much of a block is added at first: the gain of what modulates the generator's, the scale of the discriminator's.
"""
SLOW = 0.01
"""The rate of what maps z and y, as a share of the others' (StyleGAN's)."""

Latents = Float[Tensor, "n channels rows columns"]
Levels = Float[Tensor, "levels n channels rows columns"]


@config
class GATConfig:
    x: Images = Images(3, 256, 256)
    """What is modeled."""
    given: Labels | None = None
    """The classes, if samples are to be of one that is asked for."""
    halvings: Doublings = 3
    """How often the autoencoder halves each side on the way from the image to its latents."""
    channels: Count = 4
    """Numbers at each place of the latents."""
    vae_width: Count = 128
    """Feature maps of the autoencoder."""
    vae_blocks: Count = 2
    """Residual blocks of its encoder, and of its decoder."""
    latent: Count = 64
    """Dimensions of z ~ N(0, I)."""
    patch: Count = 2
    """Patch size: places of the latents, down and across, that one token of the transformers stands for."""
    width: Count = 384
    """Width of either transformer's residual stream. A multiple of four times the heads."""
    depth: Count = 12
    """Blocks of either. A multiple of the levels."""
    heads: Count = 6
    """Attention heads of each layer."""
    levels: Count = 4
    """How many sums of the generator's the discriminator sees."""
    clearest: Fraction = 0.125
    """The share of a picture that the noise of the first level leaves; the last is left almost whole."""
    gamma: NonNegative = 0.1
    """Weight of the gradient penalties."""
    nearby: Positive = 0.01
    """s, the length of the differences that stand for gradients."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from."""
    vae_adam: Adam = Adam(lr=2e-3, schedule="cosine", warmup=0.02)
    """Optimizer of the autoencoder."""
    adam: Adam = Adam(lr=2e-4, betas=(0, 0.99))
    """Optimizer of either transformer at width 768; for width w, the learning rate is 768 / w times as high."""

    @model_validator(mode="after")
    def fits(self) -> Self:
        why = f"halvings={self.halvings} and patch={self.patch}"
        check_sides(self.x, self.patch << self.halvings, why, "halve less often")
        check_heads("width", self.width, self.heads, axes=2)
        check_multiple("depth", self.depth, self.levels, f"{self.levels} levels")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the latents."""
        return self.x.height >> self.halvings, self.x.width >> self.halvings


class Residual(nn.Module):
    """Two 3 x 3 convolutions, each after a SiLU, added to what goes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.layers = nn.Sequential(nn.SiLU(), first, nn.SiLU(), second)

    def forward(self, h: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        return h + self.layers(h)


class Autoencoder(nn.Module):
    """A VAE of convolutions, trained by its bound: that is what makes its latents about as large as N(0, I)."""

    def __init__(self, c: GATConfig) -> None:
        super().__init__()
        wide, self.x = c.vae_width, c.x
        layers: list[nn.Module] = []
        for k in range(c.halvings):
            layers += [nn.Conv2d(wide if k else c.x.channels, wide, 4, 2, 1), nn.SiLU()]
        layers += [nn.Conv2d(wide, wide, 3, padding=1), *(Residual(wide) for _ in range(c.vae_blocks)), nn.SiLU()]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(wide, 2 * c.channels, 1))
        layers = [nn.Conv2d(c.channels, wide, 3, padding=1), *(Residual(wide) for _ in range(c.vae_blocks)), nn.SiLU()]
        for _ in range(c.halvings - 1):
            layers += [nn.ConvTranspose2d(wide, wide, 4, 2, 1), nn.SiLU()]
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(wide, c.x.channels, 4, 2, 1))
        self.log_scale = nn.Parameter(torch.full((c.x.channels, 1, 1), -2.0))

    def encode(self, x: Float[Tensor, "n c h w"]) -> Normal:
        """q(h | x) of each number."""
        mean, log_scale = full(self.encoder(x)).chunk(2, 1)
        return Normal(mean, log_scale.clamp(-8, 4).exp(), validate_args=False)

    def pixels(self, h: Latents) -> Distribution:
        """p(x | h), over images"""
        loc = self.decoder(h)
        return Independent(DiscretizedLogistic(loc, self.log_scale, self.x.levels), 3, validate_args=False)

    def bound(self, x: Float[Tensor, "n c h w"], noise: Noise) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Distortion -log p(x | h) and rate KL(q(h | x) | N(0, I)), in nats."""
        q = self.encode(x)
        h = q.mean + q.stddev * noise.normal(*q.mean.shape[1:])
        prior = Normal(torch.zeros_like(h), torch.ones_like(h), validate_args=False)
        return -self.pixels(h).log_prob(x).mean(), kl_divergence(q, prior).flatten(1).sum(1).mean()


class Slow(nn.Linear):
    """A linear layer that learns at `SLOW` times the optimizer's rate: its weights are kept larger by as much."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        nn.init.xavier_uniform_(self.weight, gain=1 / SLOW)
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        return F.linear(x, self.weight * SLOW, self.bias * SLOW)


def linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def scaled(x: Float[Tensor, "n places width"], scale: Float[Tensor, "n width"]) -> Float[Tensor, "n places width"]:
    """x, each of its numbers times 1 + scale, over its root mean square."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None])


def waves(places: Int[Tensor, "places 2"], width: int) -> Float[Tensor, "places width"]:
    """Sinusoidal position embedding: of its row and of its column, from one radian a place to 1 / 10,000."""
    angle = places[:, :, None] * 10_000 ** -torch.linspace(0, 1, width // 4)
    return torch.cat([angle.sin(), angle.cos()], 2).flatten(1)


class Attention(nn.Module):
    """Multi-head self-attention, not causal; queries and keys are normalized and carry a rotary embedding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.shape = 3, heads, width // heads
        self.take, self.give = linear(width, 3 * width), linear(width, width)
        self.gains = nn.Parameter(torch.ones(2, width // heads))

    def forward(self, x: Float[Tensor, "n t width"], turn: Float[Tensor, "2 t size"]) -> Float[Tensor, "n t width"]:
        parts = self.take(x).unflatten(2, self.shape).permute(2, 0, 3, 1, 4)
        both = F.rms_norm(parts[:2], turn.shape[-1:], eps=1e-6) * self.gains[:, None, None, None]
        queries, keys = rotate(both, turn)
        heads = F.scaled_dot_product_attention(queries, keys, parts[2])
        return self.give(heads.transpose(1, 2).flatten(2))


class Generator(nn.Module):
    """(z, y) -> the latents that are put out after each quarter of the blocks."""

    positions: Tensor
    turns: Tensor

    def __init__(self, c: GATConfig) -> None:
        super().__init__()
        wide, self.patch, self.every = c.width, c.patch, c.depth // c.levels
        self.grid = rows, columns = c.grid[0] // c.patch, c.grid[1] // c.patch
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        self.register_buffer("positions", waves(places, wide), persistent=False)
        self.register_buffer("turns", rotations(places, wide // c.heads, slowest=100), persistent=False)
        self.norm, inputs = PixelNorm(), c.latent
        if c.given:
            self.embedding = nn.Embedding(c.given.classes, c.latent)
            inputs += c.latent
        self.mapping = nn.Sequential(Slow(inputs, wide), nn.SiLU(), Slow(wide, wide), nn.SiLU())
        self.blocks = nn.ModuleList(ModulatedBlock(wide, c.heads) for _ in range(c.depth))
        self.outputs = nn.ModuleList(Output(wide, c.channels * c.patch**2) for _ in range(c.levels))

    def forward(self, z: Float[Tensor, "n latent"], y: Int[Tensor, " n"] | None) -> Levels:
        z = self.norm(z)
        w = self.mapping(z if y is None else torch.cat([self.norm(self.embedding(y)), z], 1))
        x, parts = self.positions.expand(z.shape[0], -1, -1), []
        for k, block in enumerate(self.blocks, 1):
            x = block(x, w, self.turns)
            if k % self.every == 0:
                part = self.outputs[k // self.every - 1](x, w).mT.unflatten(2, self.grid)
                parts.append(F.pixel_shuffle(part, self.patch))
        return torch.stack(parts).cumsum(0)


class ModulatedBlock(nn.Module):
    """Attention, then a network at each place, each read and added in proportions that w sets."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.network = Attention(width, heads), SwiGLU(width)
        self.modulation = linear(width, 4 * width, gain=START)

    def forward(
        self, x: Float[Tensor, "n t width"], w: Float[Tensor, "n width"], turn: Float[Tensor, "2 t size"]
    ) -> Float[Tensor, "n t width"]:
        scale1, gate1, scale2, gate2 = self.modulation(w).chunk(4, 1)
        x = x + gate1[:, None] * self.attention(scaled(x, scale1), turn)
        return x + gate2[:, None] * self.network(scaled(x, scale2))


class Output(nn.Module):
    """What a level adds to the latents, at each place."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.modulation, self.layer = linear(width, width, gain=START), linear(width, outputs)

    def forward(self, x: Float[Tensor, "n t width"], w: Float[Tensor, "n width"]) -> Float[Tensor, "n t outputs"]:
        return self.layer(scaled(x, self.modulation(w)))


class Block(nn.Module):
    """The discriminator's: a learned share of attention, then of a network at each place, added to what goes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.RMSNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2, self.network = nn.RMSNorm(width, eps=1e-6), SwiGLU(width)
        self.share1, self.share2 = (nn.Parameter(torch.full((width,), START)) for _ in range(2))

    def forward(self, x: Float[Tensor, "n t width"], turn: Float[Tensor, "2 t size"]) -> Float[Tensor, "n t width"]:
        x = x + self.share1 * self.attention(self.norm1(x), turn)
        return x + self.share2 * self.network(self.norm2(x))


class Discriminator(nn.Module):
    """(latents of all levels, y) -> one logit each, read off a place of its own; given a class, the inner product of
    what is read there and the class's vector."""

    positions: Tensor
    turns: Tensor

    def __init__(self, c: GATConfig) -> None:
        super().__init__()
        wide, self.patch = c.width, c.patch
        places = torch.cartesian_prod(torch.arange(c.grid[0] // c.patch), torch.arange(c.grid[1] // c.patch))
        self.register_buffer("positions", waves(places, wide), persistent=False)
        own = torch.zeros(1, 2, dtype=torch.long)
        self.register_buffer(
            "turns", rotations(torch.cat([own, places + 1]), wide // c.heads, slowest=100), persistent=False
        )
        self.read = linear(c.levels * c.channels * c.patch**2, wide)
        self.own = nn.Parameter(torch.empty(1, 1, wide).normal_(0, 0.02))
        self.blocks = nn.ModuleList(Block(wide, c.heads) for _ in range(c.depth))
        self.out = nn.Sequential(nn.RMSNorm(wide, eps=1e-6), linear(wide, wide if c.given else 1))
        if c.given:
            # N(0, 1), not the authors' .02: with that a narrow discriminator lost the game for good
            self.embedding = nn.Embedding(c.given.classes, wide)
            self.mapping = nn.Sequential(Slow(wide, wide), nn.SiLU(), Slow(wide, wide))

    def forward(self, h: Levels, y: Int[Tensor, " n"] | None) -> Float[Tensor, " n"]:
        x = F.pixel_unshuffle(torch.cat(list(h), 1), self.patch).flatten(2).mT
        x = torch.cat([self.own.expand(len(x), -1, -1), self.read(x) + self.positions], 1)
        for block in self.blocks:
            x = block(x, self.turns)
        features = self.out(x[:, 0])
        return features.squeeze(1) if y is None else (features * self.mapping(self.embedding(y))).sum(1)


class GAT(Generative[Label | None]):
    name = "gat"

    def __init__(self, config: GATConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config)
        self.generator = Generator(config)
        self.judge = Discriminator(config)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: Label | None = None) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise: the last level's latents, decoded."""
        h = self.latents(noise, given, self.average.unless_training(self.generator))[-1]
        return self.autoencoder.decoder(h).clamp(-1, 1)

    def latents(self, noise: Noise, given: Label | None, net: nn.Module) -> Levels:
        out: Tensor = net(noise.normal(self.config.latent), None if given is None else given.y)
        return out

    def encode(self, x: Float[Tensor, "n c h w"]) -> Latents:
        """The mean of q(h | x). Draws of it, as in the paper, have noise that no function of z can have: Stable
        Diffusion's q has next to none, ours, trained by its bound, much where the decoder needs no more.
        """
        return self.autoencoder.encode(x).mean

    def noises(self, noise: Noise) -> Levels:
        """What each level's picture is mixed with, (1 - t_k) h + n_k, n_k ~ N(0, t_k^2).

        From the last level to the first the same noise grows: a picture at level k is one at level k + 1 with more.
        """
        steps, shape = amounts(self.config), (self.config.channels, *self.config.grid)
        found = [steps[-1] * noise.normal(*shape)]
        for t, less in zip(reversed(steps[:-1]), reversed(steps[1:]), strict=True):
            kept = (1 - t) / (1 - less)
            found.append(kept * found[-1] + (t**2 - (kept * less) ** 2) ** 0.5 * noise.normal(*shape))
        return torch.stack(found[::-1])

    def seen(self, h: Levels, noises: Levels) -> Levels:
        """The levels as the discriminator sees them."""
        return torch.stack([(1 - t) * level for t, level in zip(amounts(self.config), h, strict=True)]) + noises

    def copies(self, h: Latents) -> Levels:
        """Of a real picture, every level is the whole."""
        return h.expand(self.config.levels, *h.shape)

    def vae_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """Minus the autoencoder's bound, in nats."""
        distortion, rate = self.autoencoder.bound(batch.x, batch.noise)
        return Loss(distortion + rate, {"distortion": distortion, "rate": rate})

    def discriminator_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """L_D: pairs, and the same pairs a small step aside under the same noise, judged in one pass."""
        c, noise, y = self.config, batch.noise, None if batch.given is None else batch.given.y
        real = self.copies(full(self.encode(batch.x)))
        fake = full(self.latents(noise, batch.given, self.generator))
        aside = torch.stack([noise.normal(*real.shape[2:]) for _ in range(2 * c.levels)]).chunk(2)
        near = real + c.nearby * self.copies(aside[0][0]), fake + c.nearby * aside[1]
        under = self.noises(noise), self.noises(noise)
        views = [self.seen(h, n) for h, n in zip((real, fake, *near), under * 2, strict=True)]
        scores = precisely(self.judge, torch.cat(views, 1), None if y is None else y.repeat(4))
        real_score, fake_score, real_near, fake_near = scores.chunk(4)
        r1 = penalties.squared_difference(real_score, real_near, c.nearby)
        r2 = penalties.squared_difference(fake_score, fake_near, c.nearby)
        value = adversarial.relativistic(real_score, fake_score) + c.gamma / 2 * (r1 + r2)
        return Loss(value, {"R1": r1, "R2": r2, "right": (real_score > fake_score).float().mean()})

    def generator_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """L_G: its samples against the batch's real examples."""
        noise, y = batch.noise, None if batch.given is None else batch.given.y
        real, fake = self.copies(self.encode(batch.x)), self.latents(noise, batch.given, self.generator)
        views = [self.seen(h, self.noises(noise)) for h in (fake, real)]
        fake_score, real_score = self.judge(torch.cat(views, 1), None if y is None else y.repeat(2)).chunk(2)
        return Loss(adversarial.relativistic(fake_score, real_score))

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        adam = replace(c.adam, lr=c.adam.lr * 768 / c.width)
        vae = Player(name="autoencoder", owns=self.autoencoder, loss=self.vae_loss, optimizer=c.vae_adam)
        players = [
            Player(
                name="discriminator",
                owns=self.judge,
                loss=self.discriminator_loss,
                optimizer=adam,
                clip=1.0,
                judges="its discriminator looks at latents, which are no pictures",
            ),
            Player(
                name="generator",
                owns=self.generator,
                loss=self.generator_loss,
                optimizer=adam,
                clip=1.0,
                project=follow,
            ),
        ]
        return [Stage(name="latents", players=[vae]), Stage(name="game", players=players)]


def amounts(c: GATConfig) -> list[float]:
    """t_k of each level, the first the noisiest: geometric in what is left, and a hundredth more."""
    return [1 - c.clearest ** (k / max(1, c.levels - 1)) + 0.01 for k in reversed(range(c.levels))]


DIGITS = GATConfig(
    x=Images(1, 28, 28),
    halvings=2,
    vae_width=32,
    vae_blocks=1,
    patch=1,
    width=64,
    depth=4,
    heads=4,
    ema=0.99,
    adam=Adam(lr=2e-4, betas=(0, 0.99), schedule="cosine", floor=0.05),
)
"""For 28 x 28 pixels on a CPU: latents of 7 x 7 x 4, every place of them one of the transformers'."""

PRESETS = {
    "gat-mnist": Preset(
        config=DIGITS,
        steps=1500,
        batch=16,
        expect="Grey MNIST, seed 0, --channels-last: 11 minutes of one CPU core for both stages. Half of the samples "
        "are digits, and alike: mean confidence .750, FD-mnist-classifier 13.22 (2,000 samples; floor .22), recall "
        ".08; short of training.",
    ),
    "gat-mnist-class": Preset(
        config=replace(DIGITS, given=Labels(10)),
        steps=1500,
        batch=16,
        expect="Grey MNIST given the digit, seeds 0 and 1, --channels-last: 11 minutes of one CPU core, one of them "
        "for the latents; the game sees 24,000 images. 81.7 and 67.8 % of 2,000 samples are the digit asked for, mean "
        "confidence .897 and .866, FD-mnist-classifier 6.08 and 7.55 (floor .22): short of training, and on this "
        "budget behind convolutions.",
    ),
    "gat-faces": Preset(
        config=replace(DIGITS, x=Images(3, 64, 64), patch=2, width=96),
        steps=20_000,
        batch=16,
        expect="Thousands of faces of 64 x 64 in colour: .04 s a step of the first stage and .53 s of the "
        "second (one core, measured), so about 3 hours; not trained by us.",
    ),
    "gat-s-imagenet": Preset(
        config=GATConfig(given=Labels(1000)),
        steps=100_000,
        batch=512,
        expect="The authors' smallest transformers (S/2) for ImageNet at 256 x 256, 40 epochs of either stage; "
        "not trained by us.",
    ),
    "gat-xl-imagenet": Preset(
        config=GATConfig(given=Labels(1000), width=1152, depth=28, heads=16),
        steps=150_000,
        batch=512,
        expect="The authors' largest (XL/2), 60 epochs (theirs, with Stable Diffusion's autoencoder, DiffAugment and "
        "REPA: FID 2.18); not trained by us.",
    ),
    "gat-tiny": Preset(
        config=GATConfig(
            x=Images(1, 8, 12),
            halvings=1,
            channels=2,
            vae_width=4,
            vae_blocks=1,
            latent=3,
            width=8,
            depth=4,
            heads=2,
            levels=2,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "gat-tiny-class": Preset(
        config=GATConfig(
            x=Images(3, 4, 4),
            given=Labels(3),
            halvings=1,
            channels=3,
            vae_width=4,
            vae_blocks=1,
            latent=3,
            patch=1,
            width=8,
            depth=3,
            heads=1,
            levels=3,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["gat-small"] = sized(PRESETS["gat-mnist"])
PRESETS["gat-medium"] = sized(PRESETS["gat-mnist"], steps=6_000)
PRESETS["gat-paper"] = sized(PRESETS["gat-xl-imagenet"])
