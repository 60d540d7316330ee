"""VAE of solids: an auto-encoder of voxels by three-dimensional convolutions, with a bound on their likelihood.

Generative and Discriminative Voxel Modeling with Convolutional Neural Networks.
Brock, Lim, Ritchie and Weston, 2016. https://arxiv.org/abs/1608.04236

    log p(x | y)  >=  E_q(z|x,y) log p(x | z, y)  -  KL(q(z | x, y) || N(0, I))

each voxel of p(x | z, y) Bernoulli. Where this departs from the paper: its reconstruction term weighs full voxels, of
which there are few, far above empty ones, and is none of a likelihood; here it is log p(x | z), as it stands. Channels
are normalized in groups, not over the batch, so that a solid's likelihood is its own. With classes, encoder and decoder
see a one for the class; with pictures, some numbers that a network of convolutions makes of the picture: then z is left
with what cannot be seen in it.

Half a solid is completed by latents that the encoder proposes for what is known of it (`triptych impute`).
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import AfterValidator
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence
from torch.nn.functional import one_hot

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Decoding,
    Given,
    Images,
    Label,
    Labels,
    Loss,
    LowerBound,
    Noise,
    Picture,
    Player,
    Preset,
    Stage,
    UsageError,
    Voxels,
    config,
    full,
    planar,
)
from triptych.losses.bounds import importance_weighted_in_parts
from triptych.losses.pixels import Binary
from triptych.models.paper import Paper
from triptych.nn import strided

PAPER = Paper(
    called="Voxel VAE",
    title="Generative and Discriminative Voxel Modeling with Convolutional Neural Networks",
    authors="Andrew Brock, Theodore Lim, J. M. Ritchie, Nick Weston",
    year=2016,
    url="https://arxiv.org/abs/1608.04236",
    conditions="none, label or picture",
    likelihood="lower bound",
    takes=("solids",),
)


@config
class VAE3DConfig:
    x: Annotated[Voxels, AfterValidator(strided.solid)] = Voxels(1, 32, 32, 32)
    """What is modeled, of two levels: sides of 4 to 7 voxels, doubled at least once."""
    given: Labels | Images | None = None
    """The classes, for p(x | class), or pictures, for p(x | picture)."""
    latent: Count = 100
    """Dimensions of z ~ N(0, I)."""
    width: Count = 24
    """Channels at half the solid's size, and at half a picture's; they double at each halving."""
    seen: Count = 128
    """Numbers that are made of a picture."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine", warmup=0.02)

    def __post_init__(self) -> None:
        if self.x.levels != 2:
            raise UsageError(f"x={self.x}: vae-3d models solids of two levels, full and empty")
        if planar(self.given) and not strided.halvings(self.given.height, self.given.width):
            raise UsageError(f"given={self.given}: pictures are halved to 4 to 7 pixels: 16, 32 and 64 a side work")


def groups(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8 if channels % 8 == 0 and channels > 8 else 1, channels)


class Eye(nn.Module):
    """A picture -> what is to be seen in it, and where: some numbers."""

    def __init__(self, space: Images, width: int, numbers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            strided.trunk(space, width, groups), nn.Linear(strided.trunk_features(space, width), numbers), nn.SiLU()
        )

    def forward(self, grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n numbers"]:
        out: Tensor = self.layers(grid)
        return out


class VAE3D(Decoding[Label | Picture | None]):
    name = "vae-3d"
    zero: Tensor

    def __init__(self, config: VAE3DConfig) -> None:
        super().__init__()
        self.config = c = config
        self.eye = Eye(c.given, c.width, c.seen) if planar(c.given) else None
        self.classes = (c.given.choices if c.given else None) or 0
        told = c.seen if self.eye else self.classes
        self.trunk = strided.trunk(c.x, c.width, groups)
        self.posterior = nn.Linear(strided.trunk_features(c.x, c.width) + told, 2 * c.latent)
        self.decoder = strided.generator(c.latent + told, c.x, c.width, groups)[:-1]  # logits, not their tanh
        self.register_buffer("zero", torch.zeros(c.latent), persistent=False)

    def told(self, features: Float[Tensor, "... n features"], given: Given | None) -> Float[Tensor, "... n both"]:
        """Features, and beside them a one for the class among zeros, or what is seen in the picture."""
        if isinstance(given, Picture) and self.eye is not None:
            beside = self.eye(given.grid)
        elif isinstance(given, Label) and self.classes:
            beside = one_hot(given.y, self.classes)
        else:
            return features
        return torch.cat((features, beside.to(features.dtype).expand(*features.shape[:-1], -1)), -1)

    def prior(self, given: Label | Picture | None = None) -> Distribution:
        """p(z)"""
        return Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1, validate_args=False)

    def encode(self, x: Float[Tensor, "n c d h w"], given: Label | Picture | None = None) -> Distribution:
        """q(z | x, y)"""
        mean, log_scale = full(self.posterior(self.told(self.trunk(x), given))).chunk(2, dim=1)
        scale = log_scale.clamp(-7, 7).exp()
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    def decode(self, z: Float[Tensor, "... n latent"], given: Label | Picture | None = None) -> Distribution:
        """p(x | z, y), over solids"""
        return Independent(self.voxels(z, given), 4, validate_args=False)

    def voxels(self, z: Float[Tensor, "... n latent"], given: Label | Picture | None) -> Binary:
        """p(x | z, y) of each voxel; they are independent."""
        told = self.told(z, given)
        return Binary(self.decoder(told.flatten(0, -2)).unflatten(0, told.shape[:-1]))

    def observe(self, noise: Noise, given: Label | Picture | None = None) -> Binary:
        return self.voxels(noise.normal(self.config.latent), given)

    def loss(self, batch: Batch[Label | Picture | None], clock: Clock) -> Loss:
        """Minus the bound, with one draw of z and the divergence in closed form, in nats."""
        q = self.encode(batch.x, batch.given)
        z = q.mean + q.stddev * batch.noise.normal(self.config.latent)
        distortion = -self.decode(z, batch.given).log_prob(batch.x).mean()
        rate = kl_divergence(q, self.prior()).mean()
        return Loss(distortion + rate, {"distortion": distortion, "rate": rate})

    def log_prob(
        self, x: Float[Tensor, "n c d h w"], given: Label | Picture | None = None, *, draws: int = 1
    ) -> LowerBound:
        """A lower bound on log p(x | y): the one above for one draw, the tighter one of Burda et al. for more.

        Importance Weighted Autoencoders (2015, Equation 8; https://arxiv.org/abs/1509.00519). Draws come from torch's
        global generator. Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        q, p = self.encode(x, given), self.prior()
        if draws == 1:
            nats, how = self.decode(q.rsample(), given).log_prob(x) - kl_divergence(q, p), "ELBO, 1 draw"
        else:

            def weigh(part: int) -> Tensor:
                z = q.rsample((part,))
                return self.decode(z, given).log_prob(x) + p.log_prob(z) - q.log_prob(z)

            nats, how = importance_weighted_in_parts(weigh, draws, x.numel()), f"IWAE bound, {draws} draws"
        return LowerBound(nats=nats, dims=self.config.x.dims, measure="mass", how=how)

    def stages(self) -> Sequence[Stage]:
        return [
            Stage(name="train", players=[Player(name="vae", owns=self, loss=self.loss, optimizer=self.config.adam)])
        ]


PRESETS = {
    "vae-3d-32": Preset(
        config=VAE3DConfig(latent=64),
        steps=800,
        batch=16,
        data={"size": 32},
        expect="furniture by class (`train vae-3d --data furniture --size 32 latent=64`), seed 0: 4 minutes of one CPU "
        "core. At most 3,033 nats (bound) a held-out solid (voxels by themselves: 8,880), IoU of reconstructions .558 "
        "(nearest training solid .560); samples are lumps: 1-NNA .85 (floor .54).",
    ),
    "vae-3d-view": Preset(
        config=VAE3DConfig(
            given=Images(1, 32, 32), latent=4, seen=256, adam=Adam(lr=2e-3, schedule="cosine", warmup=0.02)
        ),
        steps=1500,
        batch=8,
        data={"size": 32},
        expect="picture-to-solid of furniture, seed 0, IoU with held-out solids: .124 after 520 steps, 90 CPU seconds; "
        ".432 after 2,849 steps of 32, 1.7 minutes of a GPU (the training solid whose picture is nearest: .477).",
    ),
    "vae-3d-tiny-view": Preset(
        config=VAE3DConfig(x=Voxels(1, 8, 8, 8), given=Images(1, 8, 8), latent=2, width=4, seen=8),
        steps=10,
        batch=8,
        expect="For tests of pictures.",
    ),
    "vae-3d-tiny": Preset(
        config=VAE3DConfig(x=Voxels(1, 8, 8, 8), latent=2, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "vae-3d-tiny-classes": Preset(
        config=VAE3DConfig(x=Voxels(1, 8, 8, 8), given=Labels(3), latent=2, width=4),
        steps=10,
        batch=8,
        expect="For tests of classes.",
    ),
}
