"""MIWAE: a latent-variable model of incomplete images, which learns from what is there and fills in what is not.

MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets.
Mattei and Frellsen, 2018. https://arxiv.org/abs/1812.02633

Values that are missing (at random) are integrated out: the decoder's pixels are independent given z, so

    log p(x_known) >= E log (1/K) sum_k w_k,    w_k = p(x_known | z_k) p(z_k) / q(z_k | x_known),    z_k ~ q

and the encoder sees zeros where nothing is known (on our scale, the grey between black and white). With nothing
missing it is the bound of the IWAE. The same weights, normalized, turn the z_k into draws from p(z | x_known), which
tell what is missing: by its expectation, or by several draws that show how sure it is.
"""

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from triptych.core import (
    UNKNOWN,
    Adam,
    Batch,
    Clock,
    Count,
    Decoding,
    Fraction,
    Images,
    ItemNoise,
    Loss,
    LowerBound,
    Noise,
    Player,
    Preset,
    Sampling,
    Stage,
    UsageError,
    category,
    config,
    full,
    sized,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic
from triptych.models.paper import Paper
from triptych.nn.dense import mlp

PAPER = Paper(
    called="MIWAE",
    title="MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets",
    authors="Pierre-Alexandre Mattei, Jes Frellsen",
    year=2018,
    url="https://arxiv.org/abs/1812.02633",
    likelihood="lower bound",
)


@config
class MIWAEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    missing: Fraction = 0.5
    """The share of values hidden in training, each on its own (missing completely at random), beside those that are NaN
    in the data. It is drawn anew whenever an image is served: what is hidden in one epoch may be seen in another. For a
    set of which each image lacks the same values for good, serve it with NaN there, and set this to 0."""
    latent: Count = 50
    """Dimensions of z ~ N(0, I)."""
    hidden: tuple[Count, ...] = (500, 500)
    """Units in each hidden layer of the encoder; the decoder mirrors it."""
    draws: Count = 50
    """K, latents for each image, in training and in the bound."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine")


class MIWAE(Decoding[None]):
    name = "miwae"
    zero: Tensor

    def __init__(self, config: MIWAEConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        self.encoder = mlp(x.dims, *config.hidden, 2 * config.latent)
        self.decoder = mlp(config.latent, *reversed(config.hidden), x.dims)
        self.register_buffer("zero", torch.zeros(config.latent), persistent=False)
        if x.levels > 2:
            self.log_scale = nn.Parameter(torch.full(x.shape, -2.0))

    def prior(self, given: None = None) -> Distribution:
        """p(z)"""
        return Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1, validate_args=False)

    def encode(self, x: Float[Tensor, "n c h w"], given: None = None) -> Distribution:
        """q(z | x_known), with x zero where nothing is known"""
        mean, log_scale = full(self.encoder(x.flatten(1))).chunk(2, dim=1)
        return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)

    def decode(self, z: Float[Tensor, "... latent"], given: None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(z), 3, validate_args=False)

    def pixels(self, z: Float[Tensor, "... latent"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        y = self.decoder(z).unflatten(-1, self.config.x.shape)
        if self.config.x.levels == 2:
            return Binary(y)
        return DiscretizedLogistic(y, self.log_scale, self.config.x.levels)

    def observe(self, noise: Noise, given: None = None) -> Binary | DiscretizedLogistic:
        return self.pixels(noise.normal(self.config.latent))

    def log_weights(
        self, x: Float[Tensor, "n c h w"], known: Bool[Tensor, "n c h w"], e: Float[Tensor, "k n latent"]
    ) -> tuple[Float[Tensor, "k n"], Float[Tensor, "k n latent"]]:
        """log w_k, and the z_k, from standard normal numbers. What x holds where it is not known has no influence."""
        x = torch.where(known, x, 0.0)
        q, p = self.encode(x), self.prior()
        z = q.mean + q.stddev * e
        nats = torch.where(known, self.pixels(z).log_prob(x), 0.0).flatten(2).sum(2)
        return nats + p.log_prob(z) - q.log_prob(z), z

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Minus the bound, for each image over what is known of it. NaN in the data is missing, too."""
        x, noise = batch.x, batch.noise
        known = ~x.isnan() & (noise.uniform(*self.config.x.shape) >= self.config.missing)
        log_w, _ = self.log_weights(x, known, noise.normal(self.config.draws, self.config.latent).movedim(1, 0))
        nats = (log(self.config.draws) - log_w.logsumexp(0)).mean()
        # how many of the K draws count: 1 where a single one has all the weight
        effective = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp().mean()
        return Loss(nats, {"effective_draws": effective})

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None, *, draws: int | None = None) -> LowerBound:
        """A lower bound on log p(x) of whole images, of `draws` latents (K of the configuration, if nothing is said).

        Draws come from torch's global generator. Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        return self.bound(x, torch.ones_like(x, dtype=torch.bool), draws)

    def log_prob_known(self, known: Int[Tensor, "n c h w"], *, draws: int | None = None) -> LowerBound:
        """A lower bound on log p(x_known): `known` holds levels, and -1 where a value is missing.

        Values that are missing are still counted as dimensions. Raises UsageError if a level is not of the space.
        """
        return self.bound(*self.split(known), draws)

    def bound(self, x: Float[Tensor, "n c h w"], known: Bool[Tensor, "n c h w"], draws: int | None) -> LowerBound:
        k = self.config.draws if draws is None else draws
        total = x.new_full((len(x),), -torch.inf)
        at_once = max(1, 2**24 // max(1, x.numel()))  # keeps the decoded images within 64 MB
        for first in range(0, k, at_once):
            e = self.prior().sample((min(at_once, k - first), len(x)))
            total = torch.logaddexp(total, self.log_weights(x, known, e)[0].logsumexp(0))
        return LowerBound(
            nats=total - log(k), dims=self.config.x.dims, measure="mass", how=f"importance-weighted bound, {k} draws"
        )

    def split(self, known: Int[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], Bool[Tensor, "n c h w"]]:
        """Levels, and -1 where unknown -> values, and where they are known. Raises UsageError for anything else."""
        level = Sampling(known=known).start(self.config.x, ItemNoise(0, range(len(known)), self.device))
        return self.config.x.from_index(level).type_as(self.zero), level != UNKNOWN

    def expect(self, known: Int[Tensor, "n c h w"], *, draws: int = 1000, seed: int = 0) -> Float[Tensor, "n c h w"]:
        """What is known, and the expectation of what is not, E[x | x_known]: the single
        imputation of least square error.

        By self-normalized importance sampling, sum_k w_k E[x | z_k] / sum_k w_k, which has a bias of order 1 / draws.
        `known` holds levels, and -1 where a value is missing. Values lie between the levels. Item i is a
        function of the seed and of i.

        Raises UsageError if a level is not of the space.
        """
        x, there = self.split(known)
        filled = []
        for rows in self.shares(len(x), draws):
            noise = ItemNoise(seed, rows, self.device, self.precision)
            log_w, z = self.log_weights(x[rows], there[rows], noise.normal(draws, self.config.latent).movedim(1, 0))
            mean = (log_w.softmax(0)[..., None, None, None] * self.pixels(z).mean).sum(0)
            filled.append(torch.where(there[rows], x[rows], mean))
        return torch.cat(filled) if filled else x

    def impute(
        self, known: Int[Tensor, "n c h w"], *, copies: int = 1, draws: int = 1000, seed: int = 0
    ) -> Float[Tensor, "copies n c h w"]:
        """What is known, and draws from p(x_missing | x_known): multiple imputation, `copies` of each image.

        By sampling importance resampling: of `draws` latents from q, one by the weights w_k, then x from
        p(x | z). Exact in the limit of many draws; all copies of an image share the same latents to choose from.
        `known` holds levels, and -1 where a value is missing. Item i is a function of the seed and of i.

        Raises UsageError if a level is not of the space.
        """
        x, there = self.split(known)
        filled = []
        for rows in self.shares(len(x), draws):
            noise = ItemNoise(seed, rows, self.device, self.precision)
            log_w, z = self.log_weights(x[rows], there[rows], noise.normal(draws, self.config.latent).movedim(1, 0))
            pick = category(log_w.T[:, None].expand(-1, copies, -1), noise.uniform(copies)).T
            p = self.pixels(z.take_along_dim(pick[..., None], 0))
            drawn = p.icdf(noise.uniform(copies, *self.config.x.shape).movedim(1, 0))
            filled.append(torch.where(there[rows], x[rows], drawn))
        return torch.cat(filled, 1) if filled else x.expand(copies, *x.shape)

    def shares(self, n: int, draws: int) -> list[range]:
        """The items in parts whose decoded images stay within 64 MB. Raises UsageError for less than one draw."""
        if draws < 1:
            raise UsageError(f"imputation takes draws >= 1, got {draws}")
        size = max(1, 2**24 // (draws * self.config.x.dims))
        return [range(first, min(first + size, n)) for first in range(0, n, size)]

    def stages(self) -> Sequence[Stage]:
        return [
            Stage(name="train", players=[Player(name="miwae", owns=self, loss=self.loss, optimizer=self.config.adam)])
        ]


PRESETS = {
    "miwae-mnist": Preset(
        config=MIWAEConfig(latent=20, hidden=(200, 200), draws=10),
        steps=12_000,
        batch=64,
        expect="Dynamically binarized MNIST with half of the pixels hidden, seed 0: 7 minutes of one CPU core; "
        "61 nats for the half that is seen (bound, 10 draws). Filled in, digits are whole; 123.6 +- 1.7 "
        "nats for whole images, of which it never saw one (500 draws, 500 test images).",
    ),
    "miwae-mnist-paper": Preset(
        config=MIWAEConfig(),
        steps=500_000,
        batch=64,
        expect="Half of the pixels hidden, as the paper has it for MNIST, with layers of 500 units in place of the "
        "paper's convolutions; not trained by us.",
    ),
    "miwae-tiny": Preset(
        config=MIWAEConfig(x=Images(1, 2, 2, levels=2), latent=1, hidden=(8,), draws=3),
        steps=10,
        batch=8,
        expect="For tests: the latent can be integrated out.",
    ),
    "miwae-tiny-rgb": Preset(
        config=MIWAEConfig(x=Images(3, 2, 2, levels=5), latent=2, hidden=(8,), draws=3),
        steps=10,
        batch=8,
        expect="For tests of colors.",
    ),
}
PRESETS["miwae-small"] = sized(PRESETS["miwae-mnist"])
PRESETS["miwae-medium"] = sized(PRESETS["miwae-mnist"], steps=48_000)
PRESETS["miwae-paper"] = sized(PRESETS["miwae-mnist-paper"])
