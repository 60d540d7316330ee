"""VAE-GAN: a VAE that measures its errors by a discriminator's features, while the discriminator learns to catch it.

Autoencoding beyond pixels using a learned similarity metric.
Larsen, Sønderby, Larochelle and Winther, 2015. https://arxiv.org/abs/1512.09300

    L_prior = KL(q(z | x) || p(z))
    L_like  = -E_q log p(D_l(x) | z),    p(D_l(x) | z) = N(D_l(x); D_l(decoder(z)), I)
    L_GAN   = log D(x) + log(1 - D(decoder(z_p))) + log(1 - D(decoder(z))),    z_p ~ p(z), z ~ q(z | x)

Three players, as in Algorithm 1: the encoder lowers L_prior + L_like, the decoder lowers gamma L_like and fools the
discriminator (with the non-saturating loss here), the discriminator raises L_GAN. So L_like teaches the discriminator
nothing, and what passes for real does not teach the encoder.

L_like is a likelihood of features, which change as the discriminator learns. It says nothing about how likely an image
is: this model has no log_prob.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Images,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Stage,
    check_sides,
    config,
    full,
    sized,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper
from triptych.nn.ema import EMA

PAPER = Paper(
    called="VAE-GAN",
    title="Autoencoding beyond pixels using a learned similarity metric",
    authors="Anders Boesen Lindbo Larsen, Søren Kaae Sønderby, Hugo Larochelle, Ole Winther",
    year=2015,
    url="https://arxiv.org/abs/1512.09300",
)


@config
class VAEGANConfig:
    x: Images = Images(3, 64, 64)
    """What is modeled."""
    latent: Count = 128
    """Dimensions of z ~ N(0, I)."""
    widths: tuple[Count, ...] = (64, 128, 256)
    """Feature maps of the encoder and of the discriminator, each at half the size of the one before. The decoder
    mirrors them."""
    hidden: Count = 512
    """Units of the layer that the encoder and the discriminator have before their output."""
    gamma: NonNegative = 1e-3
    """The weight of L_like, in nats summed over the features, against the decoder's part of L_GAN."""
    ema: Fraction = 0.999
    """Decay of the average of the decoder's weights that samples are drawn from; 0: the weights themselves, as in the
    paper."""
    adam: Adam = Adam(lr=3e-4, betas=(0.5, 0.999))
    """For each player. The paper: RMSProp."""

    def __post_init__(self) -> None:
        halvings = len(self.widths)
        check_sides(self.x, 2**halvings, f"widths={self.widths} halve x {halvings} times", "give fewer widths")

    @property
    def small(self) -> tuple[int, int]:
        """Height and width after all halvings."""
        return self.x.height >> len(self.widths), self.x.width >> len(self.widths)


def encoder(c: VAEGANConfig) -> nn.Sequential:
    """Images -> mean and log standard deviation of q(z | x) [n, 2 latent] (Table 1)."""
    layers: list[nn.Module] = []
    for cin, cout in pairwise((c.x.channels, *c.widths)):
        layers += [nn.Conv2d(cin, cout, 5, 2, 2, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    h, w = c.small
    layers += [nn.Flatten(1), nn.Linear(c.widths[-1] * h * w, c.hidden, bias=False), nn.BatchNorm1d(c.hidden)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(c.hidden, 2 * c.latent))


def decoder(c: VAEGANConfig) -> nn.Sequential:
    """z [n, latent] -> images. Kernels are 4 pixels wide, not 5: then they reach every pixel equally often."""
    (h, w), top = c.small, c.widths[-1]
    layers: list[nn.Module] = [nn.Linear(c.latent, top * h * w, bias=False), nn.BatchNorm1d(top * h * w), nn.ReLU()]
    layers.append(nn.Unflatten(1, (top, h, w)))
    for cin, cout in pairwise(reversed(c.widths)):
        layers += [nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(c.widths[0], c.x.channels, 4, 2, 1), nn.Tanh())


class Discriminator(nn.Module):
    """Images -> their features D_l, and from those one logit each, of the image being real (Table 1)."""

    def __init__(self, c: VAEGANConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(c.x.channels, c.widths[0], 5, 2, 2), nn.ReLU()]
        for cin, cout in pairwise(c.widths):
            layers += [nn.Conv2d(cin, cout, 5, 2, 2, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
        self.features = nn.Sequential(*layers[:-1])
        """D_l: the last convolution's output, normalized, before its ReLU."""
        h, w = c.small
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Flatten(1),
            nn.Linear(c.widths[-1] * h * w, c.hidden, bias=False),
            nn.BatchNorm1d(c.hidden),
            nn.ReLU(),
            nn.Linear(c.hidden, 1),
            nn.Flatten(0),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        out: Tensor = self.head(self.features(x))
        return out


class VAEGAN(Generative[None]):
    name = "vae-gan"
    zero: Tensor

    def __init__(self, config: VAEGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder, self.discriminator = encoder(config), decoder(config), Discriminator(config)
        self.average = EMA(self.decoder, config.ema)
        self.register_buffer("zero", torch.zeros(config.latent), persistent=False)

    def encode(self, x: Float[Tensor, "n c h w"], given: None = None) -> Distribution:
        """q(z | x)"""
        mean, log_scale = full(self.encoder(x)).chunk(2, dim=1)
        return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n c h w"]:
        """By the decoder in training, by its average otherwise."""
        net = self.average.unless_training(self.decoder)
        x: Tensor = net(noise.normal(self.config.latent))
        return x

    def reconstruct(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """What the decoder's average makes of q(z | x)'s mean."""
        back: Tensor = self.average.module(self.encode(x).mean)
        return back

    def passed(self, batch: Batch[None]) -> tuple[Distribution, Float[Tensor, "n c h w"]]:
        """q(z | x), and the image decoded from one draw of it."""
        q = self.encode(batch.x)
        return q, self.decoder(q.mean + q.stddev * batch.noise.normal(self.config.latent))

    def dissimilarity(self, x: Float[Tensor, "n c h w"], other: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        """L_like: -log N(D_l(x); D_l(other), I), in nats, without its constant, summed over the features."""
        features = self.discriminator.features
        return (full(features(x)) - full(features(other))).square().flatten(1).sum(1).mean() / 2

    def encoder_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """L_prior + L_like"""
        q, back = self.passed(batch)
        p = Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1, validate_args=False)
        rate, distortion = kl_divergence(q, p).mean(), self.dissimilarity(batch.x, back)
        return Loss(rate + distortion, {"rate": rate, "distortion": distortion})

    def decoder_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """gamma L_like, and to be taken for real: what is decoded from q(z | x) and from p(z)."""
        _, back = self.passed(batch)
        distortion = self.dissimilarity(batch.x, back)
        fakes = [self.discriminator(back), self.discriminator(self.draw(batch.noise))]
        fooling = adversarial.non_saturating(fakes[0]) + adversarial.non_saturating(fakes[1])
        return Loss(self.config.gamma * distortion + fooling, {"distortion": distortion, "fooling": fooling})

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-L_GAN"""
        _, back = self.passed(batch)
        real, rebuilt = self.discriminator(batch.x), self.discriminator(back)
        drawn = self.discriminator(self.draw(batch.noise))
        value = adversarial.discriminator(real, rebuilt) + nn.functional.softplus(drawn).mean()
        means = [logits.sigmoid().mean() for logits in (real, rebuilt, drawn)]
        return Loss(value, dict(zip(("D(real)", "D(rebuilt)", "D(drawn)"), means, strict=True)))

    def stages(self) -> Sequence[Stage]:
        adam = self.config.adam

        def follow() -> None:
            self.average.update(self.decoder)

        players = [
            Player(name="encoder", owns=self.encoder, loss=self.encoder_loss, optimizer=adam),
            Player(name="decoder", owns=self.decoder, loss=self.decoder_loss, optimizer=adam, project=follow),
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=adam,
                judges=self.discriminator,
            ),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "vae-gan-mnist": Preset(
        config=VAEGANConfig(
            x=Images(1, 28, 28),
            latent=32,
            widths=(32, 64),
            hidden=128,
            ema=0.99,
            adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear"),
        ),
        steps=2000,
        batch=32,
        expect="Grey MNIST, seed 0: 7 minutes of one CPU core. About half of the samples are digits: mean "
        "confidence .79 by our classifier, FD-mnist-classifier 6.54 (2,000 samples; floor .22).",
    ),
    "vae-gan-64": Preset(
        config=VAEGANConfig(),
        steps=100_000,
        batch=64,
        expect="The paper's size for faces of 64 x 64 (CelebA); not trained by us.",
    ),
    "vae-gan-tiny": Preset(
        config=VAEGANConfig(x=Images(1, 8, 8), latent=3, widths=(4, 6), hidden=8),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["vae-gan-small"] = sized(PRESETS["vae-gan-mnist"])
PRESETS["vae-gan-medium"] = sized(PRESETS["vae-gan-mnist"], steps=20_000)
PRESETS["vae-gan-paper"] = sized(PRESETS["vae-gan-64"])
