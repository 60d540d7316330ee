"""VAE: a latent-variable model, trained together with the network that infers its latent.

Auto-Encoding Variational Bayes.
Kingma and Welling, 2013. https://arxiv.org/abs/1312.6114
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Decoding,
    Images,
    Loss,
    LowerBound,
    Noise,
    Player,
    Preset,
    Stage,
    config,
    full,
    unchanged,
)
from triptych.losses.bounds import importance_weighted_in_parts
from triptych.losses.pixels import Binary, DiscretizedLogistic
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.dense import mlp

PAPER = Paper(
    called="VAE",
    title="Auto-Encoding Variational Bayes",
    authors="Diederik P. Kingma, Max Welling",
    year=2013,
    url="https://arxiv.org/abs/1312.6114",
    likelihood="lower bound",
)


@config
class VAEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    latent: Count = 50
    """Dimensions of z ~ N(0, I)."""
    hidden: tuple[Count, ...] = (500, 500)
    """Units in each hidden layer of the encoder; the decoder mirrors it. The paper: one layer of 500, tanh."""
    width: Annotated[int, Field(ge=0)] = 0
    """Channels at half the picture's size, twice as many at each halving, of strided convolutions in place of the
    hidden layers, which pictures in color want; 0: the layers, as in the paper."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine")

    @model_validator(mode="after")
    def halvable(self) -> Self:
        if self.width:
            strided.buildable(self.x)
        return self


def convolutional_encoder(c: VAEConfig) -> nn.Sequential:
    """Pictures -> 2 latent numbers each: halved until the shorter side has 4 to 7 pixels."""
    trunk = strided.trunk(c.x, c.width, nn.Identity)
    return nn.Sequential(*trunk, nn.Linear(strided.trunk_features(c.x, c.width), 2 * c.latent))


def convolutional_decoder(c: VAEConfig) -> nn.Sequential:
    """[..., latent] -> [..., c * h * w]: the encoder's mirror."""
    k = strided.halvings(c.x.height, c.x.width)
    wide = [c.width << i for i in reversed(range(k))]
    h, w = c.x.height >> k, c.x.width >> k
    layers: list[nn.Module] = [nn.Linear(c.latent, wide[0] * h * w), nn.ReLU(), nn.Unflatten(1, (wide[0], h, w))]
    for cin, cout in pairwise([*wide, wide[-1]]):
        layers += [nn.ConvTranspose2d(cin, cout, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(wide[-1], c.x.channels, 3, padding=1), nn.Flatten(1))


class VAE(Decoding[None]):
    name = "vae"
    zero: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        if config.width:
            self.encoder, self.decoder = convolutional_encoder(config), convolutional_decoder(config)
        else:
            self.encoder = mlp(x.dims, *config.hidden, 2 * config.latent)
            self.decoder = mlp(config.latent, *reversed(config.hidden), x.dims)
        self.register_buffer("zero", torch.zeros(config.latent), persistent=False)
        if x.levels > 2:
            self.log_scale = nn.Parameter(torch.full(x.shape, -2.0))

    def prior(self, given: None = None) -> Distribution:
        """p(z)"""
        return Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1, validate_args=False)

    def encode(self, x: Float[Tensor, "n c h w"], given: None = None) -> Distribution:
        """q(z | x)"""
        mean, log_scale = full(self.encoder(x if self.config.width else x.flatten(1))).chunk(2, dim=1)
        return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)

    def decode(self, z: Float[Tensor, "... latent"], given: None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(z), 3, validate_args=False)

    def pixels(self, z: Float[Tensor, "... latent"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        y = self.decoder(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], *self.config.x.shape)
        if self.config.x.levels == 2:
            return Binary(y)
        return DiscretizedLogistic(y, self.log_scale, self.config.x.levels)

    def observe(self, noise: Noise, given: None = None) -> Binary | DiscretizedLogistic:
        return self.pixels(noise.normal(self.config.latent))

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Minus the bound of Equation 10, with one draw of z and the divergence in closed form (Appendix B)."""
        q = self.encode(batch.x)
        z = q.mean + q.stddev * batch.noise.normal(self.config.latent)
        distortion = -self.decode(z).log_prob(batch.x).mean()
        rate = kl_divergence(q, self.prior()).mean()
        return Loss(distortion + rate, {"distortion": distortion, "rate": rate})

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None, *, draws: int = 1) -> LowerBound:
        """A lower bound on log p(x): Equation 10 for one draw, the tighter one of Burda et al. for more.

        Importance Weighted Autoencoders (2015, Equation 8; https://arxiv.org/abs/1509.00519). Draws come from torch's
        global generator. Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        q, p = self.encode(x), self.prior()
        if draws == 1:
            nats, how = self.decode(q.rsample()).log_prob(x) - kl_divergence(q, p), "ELBO, 1 draw"
        else:

            def weigh(part: int) -> Tensor:
                z = q.rsample((part,))
                return self.decode(z).log_prob(x) + p.log_prob(z) - q.log_prob(z)

            nats, how = importance_weighted_in_parts(weigh, draws, x.numel()), f"IWAE bound, {draws} draws"
        return LowerBound(nats=nats, dims=self.config.x.dims, measure="mass", how=how)

    def stages(self) -> Sequence[Stage]:
        return [
            Stage(name="train", players=[Player(name="vae", owns=self, loss=self.loss, optimizer=self.config.adam)])
        ]


PRESETS = {
    "vae-small": Preset(
        config=VAEConfig(x=Images(3, 32, 32), width=32, latent=64, adam=Adam(lr=1e-3, schedule="cosine", warmup=0.02)),
        fits=unchanged,
        steps=2700,
        batch=64,
        expect="Emoji (`--data emoji --size 32 --condition none`), seed 0, 2,735 steps: 4 minutes "
        "of one CPU core (with --channels-last). At most 4.07 bits/dim (bound) on 358 held-out emoji; FD-random-conv "
        "11.0, floor 1.21: blurs.",
    ),
    "vae-medium": Preset(
        config=VAEConfig(x=Images(3, 64, 64), width=64, latent=128, adam=Adam(lr=1e-3, schedule="cosine", warmup=0.02)),
        fits=unchanged,
        steps=20_000,
        batch=128,
        expect="Pictures of any size; not trained by us.",
    ),
    "vae-paper": Preset(
        config=VAEConfig(latent=20, hidden=(500,)),
        fits=unchanged,
        steps=1_000_000,
        batch=100,
        expect="The paper's networks for MNIST, with 20 latents, for as long as its figures go (10^8 pictures; it has "
        "Adagrad); not trained by us.",
    ),
    "vae-mnist": Preset(
        config=VAEConfig(adam=Adam(lr=1e-3, schedule="cosine", warmup=0.02)),
        steps=20_000,
        batch=128,
        expect="Dynamically binarized MNIST, one of two CPU cores (shared), seed 0: 10 minutes, at most 94.2 nats "
        "(bound) on the test set, 90.0 by importance sampling with 5,000 draws (2,000 test images).",
    ),
    "vae-mnist-demo": Preset(
        config=VAEConfig(latent=20, hidden=(500,), adam=Adam(lr=3e-3, schedule="cosine", warmup=0.02)),
        steps=4200,
        batch=128,
        expect="Dynamically binarized MNIST, one of two CPU cores, seed 0: 2 minutes, at most 101.7 nats (bound) on "
        "the test set, 97.4 by importance sampling with 64 draws.",
    ),
    "vae-tiny": Preset(
        config=VAEConfig(x=Images(1, 2, 2, levels=2), latent=1, hidden=(8,)),
        steps=10,
        batch=8,
        expect="For tests: the latent can be integrated out.",
    ),
}
