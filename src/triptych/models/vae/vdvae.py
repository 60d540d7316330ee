"""Very deep VAE: many layers of latents on grids that grow from one cell to the image, each correcting the ones above.

Child, 2020. Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images.
https://arxiv.org/abs/2011.10650

    p(x, z) = p(x | z_1 ... z_N) p(z_1) p(z_2 | z_1) ... p(z_N | z_<N),    q(z | x) = prod_i q(z_i | z_<i, x)

Features come down from the coarsest grid to the image; at each block, p reads the mean and the deviation of the next
latents off them, and q reads its own off them and off what an encoder found in x at the same resolution. What was drawn
is added to the features, which is all that later blocks learn of it (Figure 3). What makes this trainable at depth
(Section 3): the residual paths' last weights begin smaller by sqrt(1/N), grids grow by their nearest neighbors, large
gradients are clipped. Samples and likelihoods come from an average of the weights.

Left out: steps whose gradient is huge are clipped as others are, where the paper does not take them at all.

What the methods below call z is standardized, e_i = (z_i - mean_p) / deviation_p, all latents in one row. This changes
no probability ratio and no likelihood, but then the prior is N(0, I), whatever has been learned.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import gcd, prod
from typing import Annotated, Any

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
    Positive,
    Preset,
    Stage,
    UsageError,
    config,
    full,
    sized,
)
from triptych.losses.bounds import importance_weighted_in_parts
from triptych.losses.mixture import LogisticMixture, parameters_of
from triptych.losses.pixels import Binary
from triptych.models.paper import Paper
from triptych.nn.ema import EMA

PAPER = Paper(
    called="Very deep VAE",
    title="Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images",
    authors="Rewon Child",
    year=2020,
    url="https://arxiv.org/abs/2011.10650",
    likelihood="lower bound",
)

Shape = torch.Size | list[int] | tuple[int, ...]
Choose = Callable[[int, Distribution], Tensor]
"""What standardized latents to take in a block, given their distribution."""
Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)]


@config
class VDVAEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else mixtures of discretized logistics."""
    fold: Count = 1
    """Pixels of a square of so many by so many that are channels of one place of the finest grid, which makes all
    cheaper; 1, as in the paper: a place for each."""
    strides: tuple[Count, ...] = (2, 2, 7)
    """From each grid to the next coarser one, the finest being the first: 28, 14, 7, 1."""
    up: Blocks = (1, 1, 1, 1)
    """Blocks of the encoder on each grid, the finest first; all but the coarsest have one more, before they shrink."""
    down: Blocks = (1, 4, 6, 2)
    """Blocks of the decoder, each with its latents, on each grid, the finest first."""
    width: Count = 32
    """Channels of the features."""
    bottleneck: Fraction = 0.25
    """Channels within a block, as a share of `width`."""
    latent: Count = 16
    """Channels of a block's latents."""
    components: Count = 10
    """Logistics a mixture, for more than two levels."""
    ema: Fraction = 0.9999
    """Decay of the average of the weights that samples and likelihoods come from; 0: the weights themselves."""
    clip: Positive = 200.0
    """Largest gradient norm, of the loss in nats a dimension."""
    adam: Adam = Adam(lr=2e-4, betas=(0.9, 0.9), weight_decay=0.01)

    def __post_init__(self) -> None:
        for name, blocks in (("up", self.up), ("down", self.down)):
            if len(blocks) != len(self.strides) + 1:
                raise UsageError(
                    f"{name}={blocks}: strides={self.strides} makes {len(self.strides) + 1} grids, so it takes that "
                    f"many numbers"
                )
        unit = self.fold * prod(self.strides)
        if self.x.height % unit or self.x.width % unit:
            raise UsageError(
                f"fold={self.fold} and strides={self.strides} shrink sides by {unit} in all, which does not divide "
                f"{self.x.height} x {self.x.width} pixels: choose numbers whose product divides both sides"
            )

    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each grid, the finest first."""
        shrunk = [self.fold * prod(self.strides[:i]) for i in range(len(self.strides) + 1)]
        return [(self.x.height // s, self.x.width // s) for s in shrunk]


def bottleneck(c: VDVAEConfig, inputs: int, outputs: int, size: tuple[int, int]) -> nn.Sequential:
    """Four convolutions, with GELU before each; those in the middle see neighbors if the grid has any to speak of."""
    inner, kernel = max(1, round(c.width * c.bottleneck)), 3 if min(size) > 2 else 1
    layers: list[nn.Module] = []
    for cin, cout, k in ((inputs, inner, 1), (inner, inner, kernel), (inner, inner, kernel), (inner, outputs, 1)):
        layers += [nn.GELU(), nn.Conv2d(cin, cout, k, padding=k // 2)]
    return nn.Sequential(*layers)


def begin(layer: nn.Module, share: float) -> None:
    """Weights as torch begins them, uniform up to 1 / sqrt(inputs), but for a factor; no bias."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    bound = share * layer.weight[0].numel() ** -0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)


class Residual(nn.Module):
    """What is found is added to x: little, at first, if there are many of these."""

    def __init__(self, c: VDVAEConfig, size: tuple[int, int], depth: int) -> None:
        super().__init__()
        self.path = bottleneck(c, c.width, c.width, size)
        begin(self.path[-1], depth**-0.5)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.path(x)


class Encoder(nn.Module):
    """x to features on each grid, the finest first."""

    def __init__(self, c: VDVAEConfig) -> None:
        super().__init__()
        self.fold, depth, sizes = c.fold, sum(c.up) + len(c.strides), c.sizes()
        self.first = nn.Conv2d(c.x.channels * c.fold**2, c.width, 3, padding=1)
        self.scales = nn.ModuleList()
        for i, (blocks, size) in enumerate(zip(c.up, sizes, strict=True)):
            smaller = [Residual(c, sizes[i - 1], depth), nn.AvgPool2d(c.strides[i - 1])] if i else []
            self.scales.append(nn.Sequential(*smaller, *(Residual(c, size, depth) for _ in range(blocks))))

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        x, found = self.first(F.pixel_unshuffle(x, self.fold)), []
        for scale in self.scales:
            x = scale(x)
            found.append(x)
        return found


class TopDownBlock(nn.Module):
    """One layer of latents: p(z | features), q(z | features, x), and what z adds to the features (Figure 3)."""

    def __init__(self, c: VDVAEConfig, size: tuple[int, int], depth: int) -> None:
        super().__init__()
        self.p = bottleneck(c, c.width, 2 * c.latent + c.width, size)
        self.q = bottleneck(c, 2 * c.width, 2 * c.latent, size)
        self.of_z = nn.Conv2d(c.latent, c.width, 1)
        self.after = Residual(c, size, depth)
        self.split = [c.latent, c.latent, c.width]
        begin(self.p[-1], 0.0)  # p(z) = N(0, I), to begin with
        begin(self.of_z, depth**-0.5)

    def forward(
        self, features: Tensor, choose: Callable[[Distribution], Tensor], heard: Tensor | None
    ) -> tuple[Tensor, Tensor, Distribution]:
        """The features after this block, its standardized latents, and the distribution they were chosen from."""
        mean, log_sd, more = torch.split(full(self.p(features)), self.split, 1)
        if heard is None:
            own = Normal(torch.zeros_like(mean), torch.ones_like(mean), validate_args=False)
        else:
            mean_q, log_sd_q = full(self.q(torch.cat((features, heard), 1))).chunk(2, 1)
            own = Normal((mean_q - mean) * (-log_sd).exp(), (log_sd_q - log_sd).exp(), validate_args=False)
        e = choose(own)
        features = features + more + self.of_z(mean + log_sd.exp() * e)
        return self.after(features), e, own


class Decoder(nn.Module):
    """Latents to the parameters of pixels, from the coarsest grid to the image."""

    def __init__(self, c: VDVAEConfig, parameters: int) -> None:
        super().__init__()
        self.fold, self.sizes, depth = c.fold, c.sizes(), sum(c.down)
        self.start = nn.ParameterList(torch.zeros(1, c.width, *size) for size in self.sizes)
        self.grids = [i for i in reversed(range(len(c.down))) for _ in range(c.down[i])]
        """On which grid each block works, in their order: the coarsest comes first."""
        self.blocks = nn.ModuleList(TopDownBlock(c, self.sizes[i], depth) for i in self.grids)
        self.out = nn.Conv2d(c.width, parameters * c.fold**2, 1)

    def forward(
        self, n: int, choose: Choose, heard: Sequence[Tensor] | None = None
    ) -> tuple[Float[Tensor, "n parameters h w"], list[Tensor], list[Distribution]]:
        """The parameters for n images, and each block's standardized latents with the distribution they come from."""
        chosen: list[Tensor] = []
        layers: list[Distribution] = []
        at = self.grids[0]
        features = self.start[at].expand(n, -1, -1, -1)
        for k, (i, block) in enumerate(zip(self.grids, self.blocks, strict=True)):
            if i != at:
                at, features = i, self.start[i] + F.interpolate(features, self.sizes[i], mode="nearest")
            features, e, own = block(features, partial(choose, k), None if heard is None else heard[i])
            chosen.append(e)
            layers.append(own)
        return F.pixel_shuffle(self.out(features), self.fold), chosen, layers


class Network(nn.Module):
    """Both ways."""

    def __init__(self, c: VDVAEConfig) -> None:
        super().__init__()
        binary = c.x.levels == 2
        self.encoder = Encoder(c)
        self.decoder = Decoder(c, c.x.channels if binary else parameters_of(c.x.channels, c.components))


class VDVAE(Decoding[None]):
    name = "vdvae"

    def __init__(self, config: VDVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Network(config)
        self.average = EMA(self.network, config.ema)
        grids = reversed(list(zip(config.down, config.sizes(), strict=True)))
        self.grids = [(config.latent, *size) for blocks, size in grids for _ in range(blocks)]
        """The shape of each block's latents, from the coarsest grid on: the order in which they stand in z."""
        self.latents = sum(prod(grid) for grid in self.grids)

    @property
    def active(self) -> Network:
        """The network in training, its average otherwise."""
        return self.average.unless_training(self.network)

    def fixed(self, e: Float[Tensor, "n latents"]) -> Choose:
        """Takes the latents that are known."""
        parts = torch.split(e, [prod(grid) for grid in self.grids], -1)
        return lambda i, own: parts[i].view(e.shape[0], *self.grids[i])

    def prior(self, given: None = None) -> Distribution:
        """N(0, I), of all standardized latents in one row."""
        zero = torch.zeros(self.latents, device=self.device, dtype=self.active.decoder.out.weight.dtype)
        return Independent(Normal(zero, zero + 1, validate_args=False), 1, validate_args=False)

    def encode(self, x: Float[Tensor, "n c h w"], given: None = None) -> "Posterior":
        """q(e | x)"""
        return Posterior(self, self.active.encoder(x))

    def decode(self, z: Float[Tensor, "... latents"], given: None = None) -> Distribution:
        """p(x | e), over images"""
        flat = z.reshape(-1, z.shape[-1])
        parameters, _, _ = self.active.decoder(len(flat), self.fixed(flat))
        return self.pixels(parameters.view(*z.shape[:-1], *parameters.shape[1:]))

    def pixels(self, parameters: Float[Tensor, "... parameters h w"]) -> Distribution:
        """p(x | z), over images"""
        if self.config.x.levels == 2:
            return Independent(Binary(parameters), 3, validate_args=False)
        return MixedPixels(parameters, self.config.x)

    def observe(self, noise: Noise, given: None = None) -> Binary | LogisticMixture:
        x = self.config.x
        parameters, _, _ = self.active.decoder(noise.n, self.fixed(noise.normal(self.latents)))
        return Binary(parameters) if x.levels == 2 else LogisticMixture(parameters, x.channels, x.levels)

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Minus the bound a dimension, in nats, with one draw of all latents and each divergence in closed form."""
        noise = self.fixed(batch.noise.normal(self.latents))
        found, x = self.active.encoder(batch.x), batch.x
        parameters, _, layers = self.active.decoder(len(x), lambda i, q: q.mean + q.stddev * noise(i, q), found)
        distortion = -self.pixels(parameters).log_prob(x).mean()
        rate = sum_of([divergence(q) for q in layers]).mean()
        logs = {"bound": distortion + rate, "distortion": distortion, "rate": rate}
        return Loss((distortion + rate) / self.config.x.dims, logs)

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None, *, draws: int = 1) -> LowerBound:
        """A lower bound on log p(x): the ELBO for one draw of all latents, the tighter one of Burda et al. for more.

        Importance Weighted Autoencoders (2015, Equation 8; https://arxiv.org/abs/1509.00519), with the weights of whole
        hierarchies. Draws come from torch's global generator. Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        found, decoder = self.active.encoder(x), self.active.decoder
        standard: Distribution = Normal(0.0, 1.0)
        if draws == 1:
            parameters, _, layers = decoder(len(x), lambda i, own: own.rsample(), found)
            nats = self.pixels(parameters).log_prob(x) - sum_of([divergence(own) for own in layers])
        else:

            def weigh(part: int) -> Tensor:
                heard = [repeated(f, part) for f in found]
                parameters, e, layers = decoder(part * len(x), lambda i, own: own.rsample(), heard)
                log_q = sum_of([summed(own.log_prob(v)) for own, v in zip(layers, e, strict=True)])
                log_p = sum_of([summed(standard.log_prob(v)) for v in e])
                log_x = self.pixels(parameters.view(part, len(x), *parameters.shape[1:])).log_prob(x)
                return log_x + (log_p - log_q).view(part, len(x))

            nats = importance_weighted_in_parts(weigh, draws, x.numel() * self.config.width)
        how = "ELBO, 1 draw" if draws == 1 else f"IWAE bound, {draws} draws"
        return LowerBound(nats=nats, dims=self.config.x.dims, measure="mass", how=how)

    def stages(self) -> Sequence[Stage]:
        player = Player(
            name="vdvae",
            owns=self.network,
            loss=self.loss,
            optimizer=self.config.adam,
            clip=self.config.clip,
            project=partial(self.average.update, self.network),
        )
        return [Stage(name="train", players=[player])]


def repeated(x: Float[Tensor, "n ..."], times: int) -> Float[Tensor, "m ..."]:
    """The whole batch, again and again."""
    return x.expand(times, *x.shape).flatten(0, 1)


def summed(x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    return x.flatten(1).sum(1)


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(0)


def divergence(q: Distribution) -> Float[Tensor, " n"]:
    """KL(q || N(0, I)) of a block's standardized latents: that of q(z_i | z_<i, x) from p(z_i | z_<i)."""
    return summed(kl_divergence(q, Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean), validate_args=False)))


class Posterior(Distribution):
    """q(e | x): all standardized latents in one row, drawn block after block."""

    arg_constraints = {}
    has_rsample = True

    def __init__(self, model: VDVAE, found: Sequence[Tensor]) -> None:
        self.model, self.found, self.decoder = model, found, model.active.decoder
        super().__init__(torch.Size([len(found[0])]), torch.Size([model.latents]), validate_args=False)

    def run(self, sample_shape: torch.Size, choose: Choose) -> tuple[list[Tensor], list[Distribution]]:
        """Each block's latents and distribution, with the batch sample_shape and n in one."""
        times = prod(sample_shape)
        found = [repeated(f, times) for f in self.found]
        _, e, layers = self.decoder(times * len(self.found[0]), choose, found)
        return e, layers

    def row(self, e: Sequence[Tensor], sample_shape: torch.Size) -> Tensor:
        return torch.cat([part.flatten(1) for part in e], 1).view(self._extended_shape(sample_shape))

    @property
    def mean(self) -> Tensor:
        """The latents that come from each block's mean, given those of the blocks before."""
        e, _ = self.run(torch.Size(), lambda i, own: own.mean)
        return self.row(e, torch.Size())

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        e, _ = self.run(shape, lambda i, own: own.rsample())
        return self.row(e, shape)

    def log_prob(self, value: Float[Tensor, "*draws n latents"]) -> Float[Tensor, "*draws n"]:
        shape = value.shape[:-2]
        e, layers = self.run(shape, self.model.fixed(value.reshape(-1, value.shape[-1])))
        nats = sum_of([summed(own.log_prob(v)) for own, v in zip(layers, e, strict=True)])
        return nats.view(value.shape[:-1])


class MixedPixels(Distribution):
    """Images whose pixels are mixtures of discretized logistics, independent of each other."""

    arg_constraints = {}

    def __init__(self, parameters: Float[Tensor, "*batch parameters h w"], x: Images) -> None:
        self.mixture, self.x = LogisticMixture(parameters.flatten(0, -4), x.channels, x.levels), x
        super().__init__(parameters.shape[:-3], torch.Size(x.shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.mixture.mean.view(self._extended_shape())

    def log_prob(self, value: Float[Tensor, "... c h w"]) -> Float[Tensor, "*batch"]:
        flat = value.expand(self._extended_shape()).flatten(0, -4)
        return summed(self.mixture.log_prob(flat)).view(self.batch_shape)


def shrinking(x: Images) -> dict[str, Any]:
    """Three grids for pictures of any size: the finest of 8 to 15 rows or columns where the sides allow, the coarsest
    of one."""
    sides = gcd(x.height, x.width)
    fold = next((f for f in (16, 8, 4, 2) if sides % f == 0 and min(x.height, x.width) // f >= 7), 1)
    left = sides // fold
    stride = next((k for k in (2, 3, 5, 7) if left % k == 0), 1)
    return {"fold": fold, "strides": (stride, left // stride)}


def halving(x: Images) -> dict[str, Any]:
    """Five grids, as the paper has for CIFAR-10: sides are halved up to three times, and what is left goes at once."""
    left = gcd(x.height, x.width)
    halved = [left := left // 2 for _ in range(3) if left % 2 == 0]
    return {"strides": (*(2 for _ in halved), *(1 for _ in range(3 - len(halved))), left)}


PRESETS = {
    "vdvae-small": Preset(
        config=VDVAEConfig(
            x=Images(3, 32, 32),
            fold=4,
            strides=(2, 4),
            up=(1, 1, 1),
            down=(3, 3, 1),
            width=64,
            latent=8,
            ema=0.99,
            adam=Adam(lr=2e-3, betas=(0.9, 0.9), schedule="cosine", warmup=0.02),
        ),
        fits=shrinking,
        steps=1800,
        batch=32,
        expect="Emoji (`--data emoji --size 32 --condition none`), seed 0, 1,834 steps: 5 minutes "
        "of one CPU core (with --channels-last). At most 3.25 bits/dim (bound) on 358 held-out emoji; FD-random-conv "
        "3.03, floor 1.21: outlines of things in a mosaic of the squares that are folded.",
    ),
    "vdvae-medium": Preset(
        config=VDVAEConfig(
            x=Images(3, 32, 32),
            fold=4,
            strides=(2, 4),
            up=(2, 2, 1),
            down=(6, 4, 2),
            width=192,
            ema=0.999,
            adam=Adam(lr=1e-3, betas=(0.9, 0.9), schedule="cosine", warmup=0.02),
        ),
        fits=shrinking,
        steps=50_000,
        batch=32,
        expect="Emoji (`--data emoji --size 32 --condition none`), seed 0, 1,816 steps: 5 minutes of an H100 beside "
        "nine other trainings (TF32), far from its length. At most 3.12 bits/dim (bound) on 358 held-out emoji; "
        "FD-random-conv 3.13, floor 1.21.",
    ),
    "vdvae-mnist": Preset(
        config=VDVAEConfig(
            fold=2,
            strides=(2, 7),
            up=(1, 1, 1),
            down=(3, 4, 2),
            width=64,
            latent=4,
            ema=0.999,
            adam=Adam(lr=2e-3, betas=(0.9, 0.9), schedule="cosine", warmup=0.02),
        ),
        steps=6000,
        batch=32,
        expect="Dynamically binarized MNIST, seed 0: 27 minutes of one CPU core (channels last), at most 88.44 "
        "+- .23 nats on the 10,000 test images (bound, 1 draw); the flat VAE, at its preset, 94.21. Most "
        "samples are digits.",
    ),
    "vdvae-mnist-grey": Preset(
        config=VDVAEConfig(
            x=Images(1, 28, 28),
            width=64,
            latent=8,
            up=(2, 2, 2, 1),
            down=(4, 6, 6, 2),
            ema=0.999,
            adam=Adam(lr=1e-3, betas=(0.9, 0.9), schedule="cosine", warmup=0.02),
        ),
        steps=100_000,
        batch=32,
        expect="Grey MNIST, 256 levels, with grids of 1, 7, 14 and 28; not trained by us.",
    ),
    "vdvae-faces": Preset(
        config=VDVAEConfig(
            x=Images(3, 64, 64),
            fold=2,
            strides=(2, 2, 2, 4),
            up=(1, 1, 1, 1, 1),
            down=(2, 3, 3, 2, 1),
            width=64,
            latent=8,
            ema=0.999,
            adam=Adam(lr=1e-3, betas=(0.9, 0.9), schedule="cosine", warmup=0.02),
        ),
        steps=20_000,
        batch=16,
        expect="Thousands of faces of 64 x 64 in colour: .48 s a step of one CPU core (measured), so about 3 hours; "
        "not trained by us. A bound in nats, where GANs have none.",
    ),
    "vdvae-cifar": Preset(
        config=VDVAEConfig(
            x=Images(3, 32, 32),
            strides=(2, 2, 2, 4),
            up=(11, 6, 6, 3, 3),
            down=(22, 11, 6, 3, 1),
            width=384,
        ),
        steps=1_000_000,
        batch=32,
        expect="The paper's CIFAR-10 model of 39 million weights; not trained by us. The paper: 2.87 bits/dim.",
    ),
    "vdvae-tiny": Preset(
        config=VDVAEConfig(
            x=Images(1, 2, 2, levels=2),
            strides=(2,),
            up=(1, 1),
            down=(1, 2),
            width=4,
            bottleneck=0.5,
            latent=1,
            ema=0.5,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "vdvae-tiny-rgb": Preset(
        config=VDVAEConfig(
            x=Images(3, 1, 2, levels=3), strides=(1,), up=(1, 2), down=(1, 1), width=6, latent=2, components=2, ema=0.5
        ),
        steps=10,
        batch=8,
        expect="For tests of levels and colors.",
    ),
}
PRESETS["vdvae-paper"] = sized(PRESETS["vdvae-cifar"], fits=halving)
