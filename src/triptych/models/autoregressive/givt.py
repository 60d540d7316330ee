"""GIVT: an image as a grid of real vectors, each drawn from a mixture of Gaussians, given those before it.

Tschannen, Eastwood and Mentzer, 2023. GIVT: Generative Infinite-Vocabulary Transformers.
https://arxiv.org/abs/2312.02116

    p(z | c) = prod_t sum_k pi_k N(z_t; mu_k, diag(sigma_k^2)),   all of z_1, ..., z_{t-1} and c    (Section 3.2)
    log p(x | c) >= E_q(z | x) [log p(x | z) + log p(z | c) - log q(z | x)]

The first stage is a beta-VAE whose latents are a grid of a few numbers a place; there is no codebook. In the second, it
stands still, and a causal transformer learns the density of such grids: it reads the vectors before, and gives a
mixture in place of a softmax. The bound is that of a VAE whose prior is autoregressive: `beta` below 1 lets latents
tell more than a standard normal prior would pay for, which the learned one wins back.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Decoding,
    Doublings,
    Exact,
    Fraction,
    Images,
    Label,
    Labels,
    Loss,
    LowerBound,
    Noise,
    Player,
    Positive,
    Preset,
    Stage,
    Text,
    Tokens,
    UsageError,
    asked,
    check_sides,
    config,
    full,
    sized,
    unchanged,
)
from triptych.losses.bounds import importance_weighted_in_parts
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.gaussians import GaussianMixture
from triptych.nn.prefix import Prefix, places_after
from triptych.nn.tokenizer import decoder, encoder
from triptych.nn.transformer import Transformer, check_heads, rotations

PAPER = Paper(
    called="GIVT",
    title="GIVT: Generative Infinite-Vocabulary Transformers",
    authors="Michael Tschannen, Cian Eastwood, Fabian Mentzer",
    year=2023,
    url="https://arxiv.org/abs/2312.02116",
    conditions="none, label or text",
    likelihood="lower bound",
)


@config
class GIVTConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Labels | Tokens | None = None
    """The classes, or the space of the texts, that images are conditioned on."""
    latent: Count = 16
    """Numbers of a place's vector."""
    beta: Positive = 0.5
    """The weight of the divergence of latents from a standard normal, in the first stage."""
    pixel_beta: Fraction = 0.0
    """How the first stage weighs pixels: 0, by likelihood, of which an exact ground can take the most; 1, as
    by squared errors (`losses.pixels.evened`). What it learns is a likelihood, p(x | z), either way."""
    halvings: Doublings = 2
    """How often each side is halved on the way from the image to the grid of vectors."""
    coder_width: Count = 64
    """Feature maps of the encoder and the decoder."""
    coder_blocks: Count = 2
    """Residual blocks of either at the grid; there is one more at each size between."""
    components: Count = 16
    """Gaussians of a mixture."""
    width: Count = 128
    """Width of the transformer. A multiple of four times the heads."""
    layers: Count = 4
    """Blocks of attention and network."""
    heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    dropout: Fraction = 0.1
    """The share of what a layer adds that is left out in training."""
    coder_adam: Adam = Adam(lr=1e-3, schedule="cosine", warmup=0.02)
    """Optimizer of the VAE."""
    adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.1)
    """Optimizer of the transformer."""

    def __post_init__(self) -> None:
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings}", "halve less often")
        check_heads("width", self.width, self.heads, axes=2)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of vectors."""
        return self.x.height >> self.halvings, self.x.width >> self.halvings


class GIVT(Decoding[Label | Text | None]):
    """A bound on the likelihood of images, the density of their latents, and samples, by class, text or neither."""

    name = "givt"
    zero: Tensor

    def __init__(self, config: GIVTConfig) -> None:
        super().__init__()
        self.config, x, c = config, config.x, config
        self.encoder = encoder(x.channels, 2 * c.latent, c.halvings, c.coder_width, c.coder_blocks)
        self.decoder = decoder(c.latent, outputs_of(x), c.halvings, c.coder_width, c.coder_blocks)
        self.places = c.grid[0] * c.grid[1]
        self.register_buffer("zero", torch.zeros(self.places, c.latent), persistent=False)
        self.prefix = Prefix(c.given, c.width)
        places = places_after(self.prefix.length, c.grid)[:-1]  # nothing is read after the last vector
        self.read = nn.Linear(c.latent, c.width)
        self.where = nn.Parameter(torch.empty(len(places), c.width).normal_())
        turns = rotations(places, c.width // c.heads, slowest=100)
        self.transformer = Transformer(c.layers, c.width, c.heads, turns, dropout=c.dropout)
        self.out = nn.Linear(c.width, c.components * (1 + 2 * c.latent))
        nn.init.normal_(self.out.weight, std=0.1 * c.width**-0.5)
        nn.init.normal_(self.out.bias, std=0.2)  # components that begin the same would stay the same

    # The VAE

    def statistics(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n places two_latent"]:
        """Means and log standard deviations of q(z | x), place by place."""
        out: Tensor = self.encoder(x).flatten(2).mT
        return full(out)

    @staticmethod
    def posterior(told: Float[Tensor, "n places two_latent"]) -> Distribution:
        mean, log_scale = told.chunk(2, -1)
        return Independent(Normal(mean, log_scale.clamp(-7, 7).exp(), validate_args=False), 2, validate_args=False)

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | Text | None = None) -> Distribution:
        """q(z | x)"""
        return self.posterior(self.statistics(x))

    def decode(self, z: Float[Tensor, "*n places latent"], given: Label | Text | None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(z), 3, validate_args=False)

    def pixels(self, z: Float[Tensor, "*n places latent"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        flat = z.flatten(0, -3)
        y: Tensor = self.decoder(flat.mT.reshape(flat.shape[0], self.config.latent, *self.config.grid))
        return pixels_of(y.view(*z.shape[:-2], *y.shape[1:]), self.config.x.levels)

    # The density of latents

    def mixtures(self, z: Float[Tensor, "n places latent"], ids: Int[Tensor, "n prefix"]) -> GaussianMixture:
        """The mixture of each place, given the vectors before it and the condition's tokens."""
        h = torch.cat((self.prefix(ids), self.read(z[:, :-1])), 1) + self.where  # n prefix+places-1 width
        return GaussianMixture.of(self.out(self.transformer(h)[:, self.prefix.length - 1 :]), self.config.components)

    def density(self, z: Float[Tensor, "*n places latent"], ids: Int[Tensor, "m prefix"]) -> Float[Tensor, "*n"]:
        """log p(z | c); there may be an axis of draws before the batch."""
        flat = z.flatten(0, -3)
        ids = ids.repeat(len(flat) // max(1, len(ids)), 1)
        return self.mixtures(flat, ids).log_prob(flat).sum(1).view(z.shape[:-2])

    def draw_latents(self, noise: Noise, given: Label | Text | None) -> Float[Tensor, "n places latent"]:
        """One vector after the other, by the key-value cache."""
        places, first = self.places, self.prefix.length
        u, e = noise.uniform(places), noise.normal(places, self.config.latent)
        h, caches = self.prefix(self.prefix.ids(noise.n, given)) + self.where[:first], self.transformer.caches(noise.n)
        z = list[Tensor]()
        for i in range(places):
            y: Tensor = self.out(self.transformer(h, caches)[:, -1])
            z.append(GaussianMixture.of(y, self.config.components).draw(u[:, i], e[:, i]))
            if i + 1 < places:
                h = (self.read(z[i]) + self.where[first + i])[:, None]
        return torch.stack(z, 1)

    def observe(self, noise: Noise, given: Label | Text | None) -> Binary | DiscretizedLogistic:
        return self.pixels(self.draw_latents(noise, given))

    # The losses and the likelihood

    def loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """-log p(x | z) + beta KL(q(z | x) || N(0, I)), in nats where pixel_beta is 0."""
        q = self.encode(batch.x)
        z = q.mean + q.stddev * batch.noise.normal(self.places, self.config.latent)
        normal = Independent(Normal(self.zero, self.zero + 1, validate_args=False), 2, validate_args=False)
        p = self.pixels(z)
        nats, rate = -p.log_prob(batch.x), kl_divergence(q, normal).mean()
        weighed = evened(p, nats, self.config.pixel_beta, balanced=True).flatten(1).sum(1).mean()
        logs = {"distortion": nats.flatten(1).sum(1).mean(), "rate": rate}
        return Loss(weighed + self.config.beta * rate, logs)

    def latent_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """-log p(z | c) a number, in nats, of latents drawn from q(z | x); and what the bound's rate comes to."""
        q = self.posterior(batch.coded(self.statistics))
        z = q.mean + q.stddev * batch.noise.normal(self.places, self.config.latent)
        nats = -self.density(z, self.prefix.ids(len(z), batch.given))
        return Loss(nats.mean() / z[0].numel(), {"rate": (nats + q.log_prob(z)).mean()})

    @asked
    def log_prob_latents(self, z: Float[Tensor, "n places latent"], given: Label | Text | None = None) -> Exact:
        """log p(z | c), a density."""
        self.check_given(len(z), given)
        nats = self.density(z, self.prefix.ids(len(z), given))
        return Exact(nats=nats, dims=z[0].numel(), measure="density", how="chain rule over mixtures of Gaussians")

    def log_prob(self, x: Float[Tensor, "n c h w"], given: Label | Text | None = None, *, draws: int = 1) -> LowerBound:
        """The evidence lower bound with the autoregressive prior, of one draw of z; the bound of Burda et al. for more.

        Importance Weighted Autoencoders (2015, Equation 8; https://arxiv.org/abs/1509.00519). Draws come from torch's
        global generator. Raises UsageError if x is not in the model's space, or for no draw.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        if draws < 1:
            raise UsageError(f"draws={draws}: the bound takes one or more")
        q, ids = self.encode(x), self.prefix.ids(len(x), given)

        def weigh(part: int) -> Tensor:
            z = q.rsample((part,))
            return self.decode(z).log_prob(x) + self.density(z, ids) - q.log_prob(z)

        nats = importance_weighted_in_parts(weigh, draws, x.numel())
        how = "ELBO, 1 draw" if draws == 1 else f"IWAE bound, {draws} draws"
        return LowerBound(nats=nats, dims=self.config.x.dims, measure="mass", how=how)

    def stages(self) -> Sequence[Stage]:
        c, coder = self.config, nn.ModuleList([self.encoder, self.decoder])
        owned = nn.ModuleDict({"prefix": self.prefix, "read": self.read, "transformer": self.transformer})
        owned["out"] = self.out
        owned.register_parameter("where", self.where)
        first = Player(name="coder", owns=coder, loss=self.loss, optimizer=c.coder_adam, clip=10.0)
        second = Player(name="latents", owns=owned, loss=self.latent_loss, optimizer=c.adam, clip=1.0)
        return [
            Stage(name="coder", players=[first]),
            Stage(name="latents", players=[second], reads=self.statistics),
        ]


PRESETS = {
    "givt-mnist": Preset(
        config=GIVTConfig(latent=4, coder_width=32, coder_blocks=1, components=8, width=96, layers=4),
        steps=1500,
        batch=16,
        expect="Dynamically binarized MNIST, seed 0, 894 steps a stage (95 CPU seconds of one core): at most 100.6 "
        "+- .8 nats (1,000 test images, one draw), FD-pca-64 2.72 (500 samples; floor 3.47). Most samples are digits.",
    ),
    "givt-32": Preset(
        config=GIVTConfig(x=Images(3, 32, 32), latent=8, coder_width=48, coder_blocks=1, width=96),
        steps=3000,
        batch=32,
        expect="Color images of 32 x 32, meant for 20 minutes of one CPU core for both stages; not trained by us yet.",
    ),
    "givt-paper": Preset(
        config=GIVTConfig(
            x=Images(3, 256, 256),
            given=Labels(1000),
            halvings=4,
            coder_width=128,
            width=1024,
            layers=24,
            heads=16,
        ),
        fits=unchanged,
        steps=300_000,
        batch=2048,
        expect="The sizes of the paper's causal model for ImageNet at 256 x 256: 16 x 16 places of 16 numbers, 16 "
        "Gaussians, 24 layers of 1,024; for GPUs, not trained by us.",
    ),
    "givt-tiny": Preset(
        config=GIVTConfig(
            x=Images(1, 2, 4, levels=2),
            latent=1,
            halvings=1,
            coder_width=8,
            coder_blocks=1,
            components=2,
            width=8,
            layers=1,
            heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests: two numbers, over which one can integrate.",
    ),
    "givt-tiny-classes": Preset(
        config=GIVTConfig(
            x=Images(3, 4, 4, levels=3),
            given=Labels(3),
            latent=2,
            halvings=1,
            coder_width=8,
            coder_blocks=1,
            components=3,
            width=8,
            layers=2,
            heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests of colors and classes.",
    ),
}
PRESETS["givt-small"] = sized(PRESETS["givt-mnist"])
PRESETS["givt-medium"] = sized(PRESETS["givt-32"], steps=30_000)
