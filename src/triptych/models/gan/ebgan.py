"""EBGAN: the discriminator is an autoencoder, and what it reconstructs badly has a high energy.

Energy-based Generative Adversarial Network. With m the margin and [a]^+ = max(0, a), the players minimize

    L_D = D(x) + [m - D(G(z))]^+    (Equation 1)
    L_G = D(G(z))                   (Equation 2)

Zhao, Mathieu and LeCun, 2016. https://arxiv.org/abs/1609.03126
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Generative,
    Images,
    Loss,
    Noise,
    NonNegative,
    Player,
    Points,
    Positive,
    Preset,
    Stage,
    config,
    full,
    precisely,
    sized,
)
from triptych.models.paper import Paper
from triptych.nn.ranks import whole

PAPER = Paper(
    called="Energy-based GAN",
    title="Energy-based Generative Adversarial Network",
    authors="Junbo Zhao, Michael Mathieu, Yann LeCun",
    year=2016,
    url="https://arxiv.org/abs/1609.03126",
    takes=("images", "points"),
)

Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


@config
class EBGANConfig:
    """Networks as in the paper's grid search on MNIST (Section 4.1): fully connected, normalized over the batch."""

    x: Images | Points = Images(1, 28, 28)
    """What is modeled."""
    latent: Count = 100
    """Dimensions of z ~ N(0, I)."""
    hidden: Widths = (800, 800)
    """Units in each of the generator's hidden layers."""
    encoder: Widths = (400,)
    """Units in each layer of the discriminator's encoder; the last is the code. The decoder mirrors it."""
    margin: Positive = 0.1
    """m: samples of a higher energy are left alone. In units of the energy, which is a mean over pixels, and so does
    not change with the size of x. (With the norm of all pixels as energy, the paper's m = 10 for MNIST is
    10^2 / 784 = .13 here.)"""
    pull: NonNegative = 0.1
    """Weight of the pulling-away term: EBGAN-PT; 0 is plain EBGAN."""
    adam: Adam = Adam(lr=1e-3, betas=(0.5, 0.999))
    """For either player."""


def mlp(*sizes: int) -> list[nn.Module]:
    """Linear layers with batch normalization and ReLU after each."""
    layers: list[nn.Module] = []
    for cin, cout in pairwise(sizes):
        layers += [nn.Linear(cin, cout, bias=False), nn.BatchNorm1d(cout), nn.ReLU()]
    return layers


def generator(c: EBGANConfig) -> nn.Sequential:
    """z [n, latent] -> x, in [-1, 1] if x is an image."""
    end = nn.Tanh() if c.x.scaled else nn.Identity()
    hidden = mlp(c.latent, *c.hidden)
    return nn.Sequential(*hidden, nn.Linear(c.hidden[-1], c.x.dims), end, nn.Unflatten(1, c.x.shape))


class Autoencoder(nn.Module):
    """x -> its code and its reconstruction. The first layer is not normalized, or real and fake batches, which are
    normalized apart, would look more alike than they are."""

    def __init__(self, c: EBGANConfig) -> None:
        super().__init__()
        first, *_ = c.encoder
        self.encoder = nn.Sequential(nn.Flatten(1), nn.Linear(c.x.dims, first), nn.ReLU(), *mlp(*c.encoder))
        back = tuple(reversed(c.encoder))
        end = nn.Tanh() if c.x.scaled else nn.Identity()
        self.decoder = nn.Sequential(*mlp(*back), nn.Linear(back[-1], c.x.dims), end, nn.Unflatten(1, c.x.shape))

    def forward(self, x: Float[Tensor, "n ..."]) -> tuple[Float[Tensor, "n code"], Float[Tensor, "n ..."]]:
        code = self.encoder(x)
        return code, self.decoder(code)


def pulling_away(codes: Float[Tensor, "n code"]) -> Float[Tensor, ""]:
    """The squared cosine of the angle between two codes, averaged over all pairs of different items (Equation 4).

    0 if all are orthogonal; 1 if all lie on one line, whichever way they point.
    """
    n = len(codes)
    s = normalize(full(codes))
    squares = precisely(torch.mm, s, s.T).square()
    return (squares.sum() - squares.diagonal().sum()) / (n * (n - 1))


class EBGAN(Generative[None]):
    name = "ebgan"

    def __init__(self, config: EBGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = generator(config)
        self.discriminator = Autoencoder(config)
        self.view = nn.Identity()  # where x is as it is judged: what a run augments is what has to be reconstructed
        for net, deviation in ((self.generator, 0.02), (self.discriminator, 0.002)):  # Appendix A
            for layer in net.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, 0, deviation)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n ..."]:
        return self.generator(noise.normal(self.config.latent))

    def energy(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """D(x): the mean squared error of its reconstruction. Low where the model takes x for data."""
        x = self.view(x)
        return (full(self.discriminator(x)[1]) - full(x)).square().flatten(1).mean(1)

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 1: D(x) + [m - D(G(z))]^+"""
        real, fake = self.energy(batch.x).mean(), self.energy(self.draw(batch.noise))
        value = real + (self.config.margin - fake).relu().mean()
        return Loss(value, {"energy(real)": real, "energy(fake)": fake.mean()})

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 2, D(G(z)), with the pulling-away term, which is for the generator alone (Section 2.4)."""
        fake = self.view(self.draw(batch.noise))
        codes, reconstruction = self.discriminator(fake)
        energy, pull = (full(reconstruction) - full(fake)).square().mean(), pulling_away(whole(codes))
        return Loss(energy + self.config.pull * pull, {"energy": energy, "pulling_away": pull})

    def stages(self) -> Sequence[Stage]:
        adam = self.config.adam
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=adam,
                judges=self.view,
            ),
            Player(
                name="generator",
                owns=self.generator,
                loss=self.generator_loss,
                optimizer=adam,
                together="the pulling-away term",
            ),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "ebgan-mnist": Preset(
        config=EBGANConfig(adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear")),
        steps=10_000,
        batch=100,
        expect="Grey MNIST, seed 0: 6 minutes of one CPU core. Digits, some blurred or broken: mean confidence "
        ".899, FD-mnist-classifier 5.33 (2,000 samples; floor .22).",
    ),
    "ebgan-25-gaussians": Preset(
        config=EBGANConfig(
            x=Points(2),
            latent=2,
            hidden=(400, 400),
            encoder=(200,),
            margin=1.0,
            adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear"),
        ),
        steps=8_000,
        batch=128,
        expect="The 25-Gaussian grid, seed 0, 1.5 minutes of one CPU core: 18 modes, .03 of 2,500 samples of high "
        "quality (ideal: .989), reverse KL .222 nats. The ring of 8: 8 modes, .49. An autoencoder may learn "
        "to copy all of the plane.",
    ),
    "ebgan-tiny": Preset(
        config=EBGANConfig(x=Images(1, 4, 4), latent=4, hidden=(8,), encoder=(8, 6)),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["ebgan-small"] = sized(PRESETS["ebgan-mnist"])
PRESETS["ebgan-medium"] = sized(PRESETS["ebgan-mnist"], steps=40_000)
PRESETS["ebgan-paper"] = sized(PRESETS["ebgan-mnist"], steps=100_000)
