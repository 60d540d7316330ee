"""Ladder VAE: a hierarchy of latents, inferred from the top down by correcting what the model itself expects.

Sønderby, Raiko, Maaløe, Sønderby and Winther, 2016. Ladder Variational Autoencoders.
https://arxiv.org/abs/1602.02282

    p(x, z) = p(x | z_1) p(z_1 | z_2) ... p(z_L),    q(z | x) = q(z_L | x) q(z_L-1 | z_L, x) ... q(z_1 | z_2, x)

On its way up, a deterministic network says of each layer what x suggests, a Gaussian of mean m and variance v. On the
way down, q combines it with the model's p(z_i | z_i+1) = N(mean_p, variance_p), each weighted by its precision:

    variance_q = 1 / (1 / v + 1 / variance_p),    mean_q = variance_q (m / v + mean_p / variance_p)

Batch normalization everywhere, and a rate that is charged little by little (warm-up), keep the upper layers in use.

What the methods below call z is standardized, e_i = (z_i - mean_p) / deviation_p, all layers side by side. This changes
no probability ratio and no likelihood, but then the prior is N(0, I), whatever has been learned.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence
from torch.nn import functional as F

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Decoding,
    Fraction,
    Images,
    Loss,
    LowerBound,
    Noise,
    Player,
    Preset,
    Stage,
    UsageError,
    asked,
    config,
    full,
    sized,
)
from triptych.losses.bounds import importance_weighted_in_parts
from triptych.losses.pixels import Binary, DiscretizedLogistic
from triptych.models.paper import Paper

PAPER = Paper(
    called="Ladder VAE",
    title="Ladder Variational Autoencoders",
    authors="Casper Kaae Sønderby, Tapani Raiko, Lars Maaløe, Søren Kaae Sønderby, Ole Winther",
    year=2016,
    url="https://arxiv.org/abs/1602.02282",
    likelihood="lower bound",
)

Shape = torch.Size | list[int] | tuple[int, ...]
Choose = Callable[[int, Distribution], Tensor]
"""What standardized latent to take in a layer, given its distribution."""

LEAST_VARIANCE = 1e-5
"""Keeps precisions finite."""


@config
class LadderVAEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z_1): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    latent: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 32, 16, 8, 4)
    """Dimensions of each layer of latents, from the one next to x to the top."""
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (512, 256, 128, 64, 32)
    """Units of both hidden layers of the networks below each layer of latents, up and down."""
    warmup: Fraction = 0.1
    """The share of training over which the weight of the rate climbs from 0 to 1."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine")

    def __post_init__(self) -> None:
        if len(self.hidden) != len(self.latent):
            raise UsageError(
                f"hidden={self.hidden} for {len(self.latent)} layers of latents: it takes one number for each"
            )


class BatchNorm(nn.BatchNorm1d):
    """Of features on the last axis, whatever comes before it; torch's own takes them on the second."""

    def forward(self, x: Float[Tensor, "... features"]) -> Float[Tensor, "... features"]:
        return super().forward(x.flatten(0, -2)).view(x.shape)


def connect(inputs: int, hidden: int) -> nn.Sequential:
    """Two layers, normalized, with leaky rectifiers."""
    layers: list[nn.Module] = []
    for cin, cout in pairwise((inputs, hidden, hidden)):
        layers += [nn.Linear(cin, cout, bias=False), BatchNorm(cout), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def gaussian(parameters: Float[Tensor, "... two_latent"]) -> Distribution:
    """From means, and variances before a softplus."""
    mean, variance = full(parameters).chunk(2, dim=-1)
    return Normal(mean, (F.softplus(variance) + LEAST_VARIANCE).sqrt(), validate_args=False)


def corrected(p: Distribution, heard: Distribution) -> Distribution:
    """q(e | above, x): what the model expects and what x suggests, weighted by precision, in units of the former.

    With gain = variance_p / (variance_p + v), the paper's mean_q = mean_p + gain (m - mean_p) and variance_q =
    (1 - gain) variance_p; 1 - gain = v / (variance_p + v), which keeps its digits where the gain is all but 1.
    """
    both = p.variance + heard.variance
    shift = p.stddev * (heard.mean - p.mean) / both
    return Normal(shift, (heard.variance / both).sqrt(), validate_args=False)


class LadderVAE(Decoding[None]):
    name = "ladder-vae"
    zero: Tensor

    def __init__(self, config: LadderVAEConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        latent, hidden = config.latent, config.hidden
        self.up = nn.ModuleList(connect(low, high) for low, high in pairwise((x.dims, *hidden)))
        self.heads = nn.ModuleList(nn.Linear(h, 2 * size) for h, size in zip(hidden, latent, strict=True))
        self.expect = nn.ModuleList(  # p(z_i | z_i+1)
            nn.Sequential(connect(above, h), nn.Linear(h, 2 * size))
            for size, above, h in zip(latent, latent[1:], hidden[1:], strict=False)
        )
        self.decoder = nn.Sequential(connect(latent[0], hidden[0]), nn.Linear(hidden[0], x.dims))
        self.register_buffer("zero", torch.zeros(latent[-1]), persistent=False)
        if x.levels > 2:
            self.log_scale = nn.Parameter(torch.full(x.shape, -2.0))

    def hear(self, x: Float[Tensor, "n c h w"]) -> list[Distribution]:
        """Bottom-up pass: the Gaussian that x suggests for each layer of latents, before the prior joins it."""
        heard, features = [], x.flatten(1)
        for up, head in zip(self.up, self.heads, strict=True):
            features = up(features)
            heard.append(gaussian(head(features)))
        return heard

    @asked
    def descend(
        self, choose: Choose, heard: Sequence[Distribution] | None = None
    ) -> tuple[Float[Tensor, "... z1"], list[Tensor], list[Distribution]]:
        """From the top to z_1: that, and each layer's standardized latent with the distribution it was chosen from.

        That is q(e_i | above, x) if something was heard of x, else N(0, I). Layer 1 comes first.
        """
        top = len(self.config.latent) - 1
        z: Tensor = self.zero
        chosen: list[Tensor] = []
        layers: list[Distribution] = []
        for i in reversed(range(top + 1)):
            p: Distribution = Normal(z, z + 1, validate_args=False) if i == top else gaussian(self.expect[i](z))
            own: Distribution
            if heard is None:
                own = Normal(torch.zeros_like(p.mean), torch.ones_like(p.mean), validate_args=False)
            else:
                own = heard[i] if i == top else corrected(p, heard[i])  # at the top, q is what was heard
            e = choose(i, own)
            z = p.mean + p.stddev * e
            chosen.append(e)
            layers.append(own)
        return z, chosen[::-1], layers[::-1]

    def fixed(self, e: Float[Tensor, "... latents"]) -> Choose:
        """Takes the latents that are known."""
        parts = torch.split(e, list(self.config.latent), -1)
        return lambda i, own: parts[i]

    def prior(self, given: None = None) -> Distribution:
        """N(0, I), of all layers' standardized latents side by side, layer 1 first."""
        zero = self.zero.new_zeros(sum(self.config.latent))
        return Independent(Normal(zero, zero + 1, validate_args=False), 1, validate_args=False)

    def encode(self, x: Float[Tensor, "n c h w"], given: None = None) -> "Posterior":
        """q(e | x)"""
        return Posterior(self, self.hear(x))

    def decode(self, z: Float[Tensor, "... latents"], given: None = None) -> Distribution:
        """p(x | e), over images: from all layers' standardized latents."""
        return self.images(self.descend(self.fixed(z))[0])

    def images(self, z1: Float[Tensor, "... z1"]) -> Distribution:
        """p(x | z_1)"""
        return Independent(self.pixels(z1), 3, validate_args=False)

    def pixels(self, z1: Float[Tensor, "... z1"]) -> Binary | DiscretizedLogistic:
        """p(x | z_1) of each pixel; they are independent."""
        y = self.decoder(z1).unflatten(-1, self.config.x.shape)
        if self.config.x.levels == 2:
            return Binary(y)
        return DiscretizedLogistic(y, self.log_scale, self.config.x.levels)

    def observe(self, noise: Noise, given: None = None) -> Binary | DiscretizedLogistic:
        z1, _, _ = self.descend(self.fixed(noise.normal(sum(self.config.latent))))
        return self.pixels(z1)

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Minus the bound in nats, but for the weight of the rate, which is 1 after the paper's warm-up.

        The bound is logged, and each layer's rate: those near 0 are layers that the model does without.
        """
        noise = torch.split(batch.noise.normal(sum(self.config.latent)), list(self.config.latent), -1)
        z1, _, layers = self.descend(lambda i, q: q.mean + q.stddev * noise[i], self.hear(batch.x))
        distortion = -self.images(z1).log_prob(batch.x).mean()
        rates = [divergence(q).mean() for q in layers]
        rate = torch.stack(rates).sum()
        logs = {"bound": distortion + rate, "distortion": distortion, "rate": rate}
        loss = distortion + clock.number(self.weight) * rate
        return Loss(loss, logs | {f"rate_{i + 1}": r for i, r in enumerate(rates)})

    def weight(self, clock: Clock) -> float:
        """Of the rate: it rises to 1 over the warm-up."""
        return min(1.0, clock.progress / self.config.warmup) if self.config.warmup else 1.0

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None, *, draws: int = 1) -> LowerBound:
        """A lower bound on log p(x): the ELBO for one draw of all latents, the tighter one of Burda et al. for more.

        Importance Weighted Autoencoders (2015, Equation 8; https://arxiv.org/abs/1509.00519), with the weights of whole
        hierarchies. Draws come from torch's global generator. Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        q, p = self.encode(x), self.prior()
        if draws == 1:
            z1, _, layers = self.descend(lambda i, own: own.rsample(), q.heard)
            rate = torch.stack([divergence(own) for own in layers]).sum(0)
            nats, how = self.images(z1).log_prob(x) - rate, "ELBO, 1 draw"
        else:

            def weigh(part: int) -> Tensor:
                z1, e, layers = self.descend(q.chooser((part,)), q.heard)
                log_q = torch.stack([own.log_prob(v).sum(-1) for own, v in zip(layers, e, strict=True)]).sum(0)
                return self.images(z1).log_prob(x) + p.log_prob(torch.cat(e, -1)) - log_q

            nats, how = importance_weighted_in_parts(weigh, draws, x.numel()), f"IWAE bound, {draws} draws"
        return LowerBound(nats=nats, dims=self.config.x.dims, measure="mass", how=how)

    def stages(self) -> Sequence[Stage]:
        player = Player(name="ladder-vae", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


def divergence(q: Distribution) -> Float[Tensor, "..."]:
    """KL(q || N(0, I)) of a layer: that of q(z_i | above, x) from p(z_i | above)."""
    return kl_divergence(q, Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean), validate_args=False)).sum(-1)


class Posterior(Distribution):
    """q(e | x): all layers' standardized latents side by side, layer 1 first, drawn from the top down."""

    arg_constraints = {}
    has_rsample = True

    def __init__(self, model: LadderVAE, heard: Sequence[Distribution]) -> None:
        self.model, self.heard = model, heard
        event = torch.Size([sum(model.config.latent)])
        super().__init__(heard[0].mean.shape[:-1], event, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The latents that come from each layer's mean, given those of the layers above."""
        return torch.cat(self.model.descend(lambda i, own: own.mean, self.heard)[1], -1)

    def chooser(self, sample_shape: Shape) -> Choose:
        """Draws; the axes of `sample_shape` come with the top layer, and go down with it."""
        top = len(self.heard) - 1
        return lambda i, own: own.rsample(torch.Size(sample_shape if i == top else ()))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        return torch.cat(self.model.descend(self.chooser(sample_shape), self.heard)[1], -1)

    def log_prob(self, value: Float[Tensor, "... latents"]) -> Float[Tensor, "..."]:
        _, e, layers = self.model.descend(self.model.fixed(value), self.heard)
        return torch.stack([own.log_prob(v).sum(-1) for own, v in zip(layers, e, strict=True)]).sum(0)


PRESETS = {
    "ladder-vae-mnist": Preset(
        config=LadderVAEConfig(adam=Adam(lr=2e-3, schedule="cosine", warmup=0.01)),
        steps=30_000,
        batch=128,
        expect="Dynamically binarized MNIST, the paper's five layers for 64 of its 2,000 passes, seed 0: 21 "
        "minutes of one CPU core, at most 88.06 +- .24 nats on the 10,000 test images (bound, 1 draw); "
        "the flat VAE, at its preset, 94.21. Samples are digits, some of them broken.",
    ),
    "ladder-vae-mnist-paper": Preset(
        config=LadderVAEConfig(),
        steps=469_000,
        batch=256,
        expect="The paper's model of dynamically binarized MNIST, for its 2,000 passes; not trained by us. The paper, "
        "after fine-tuning with importance weights: 81.74 nats by 5,000 draws.",
    ),
    "ladder-vae-tiny": Preset(
        config=LadderVAEConfig(x=Images(1, 2, 2, levels=2), latent=(1, 1), hidden=(8, 8)),
        steps=10,
        batch=8,
        expect="For tests: both latents can be integrated out.",
    ),
    "ladder-vae-tiny-rgb": Preset(
        config=LadderVAEConfig(x=Images(3, 1, 2, levels=3), latent=(3, 2, 1), hidden=(8, 6, 4), warmup=0.0),
        steps=10,
        batch=8,
        expect="For tests of three layers, of levels and of colors.",
    ),
}
PRESETS["ladder-vae-small"] = sized(PRESETS["ladder-vae-mnist"])
PRESETS["ladder-vae-medium"] = sized(PRESETS["ladder-vae-mnist"], steps=120_000)
PRESETS["ladder-vae-paper"] = sized(PRESETS["ladder-vae-mnist-paper"])
