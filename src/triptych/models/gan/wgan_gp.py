"""WGAN-GP: a Wasserstein GAN whose critic is kept near 1-Lipschitz by a penalty on its gradient, not by clipping.

Improved Training of Wasserstein GANs.
Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, 2017. https://arxiv.org/abs/1704.00028

    L = E D(G(z)) - E D(x) + lambda E (|grad D(x^)|_2 - 1)^2        (Equation 3)

with x^ uniform on the straight line between a real and a generated x: a best critic has gradients of norm 1 almost
everywhere on such lines (Proposition 1). The penalty speaks of each x^ alone, so the critic has layer normalization in
place of batch normalization (Section 4); normalizing over all of an image's values is group normalization of one group.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from jaxtyping import Float
from pydantic import AfterValidator
from torch import Tensor, nn

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
    Points,
    Preset,
    Stage,
    config,
    full,
    precisely,
    sized,
)
from triptych.losses import penalties
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.ema import EMA

PAPER = Paper(
    called="WGAN with gradient penalty",
    title="Improved Training of Wasserstein GANs",
    authors="Ishaan Gulrajani, Faruk Ahmed, Martin Arjovsky, Vincent Dumoulin, Aaron Courville",
    year=2017,
    url="https://arxiv.org/abs/1704.00028",
    takes=("images", "points"),
)


@config
class WGANGPConfig:
    x: Annotated[Images | Points, AfterValidator(strided.buildable)] = Images(3, 64, 64)
    """What is modeled: images with sides of 4 to 7 pixels, doubled at least once; or points."""
    latent: Count = 128
    """Dimensions of z ~ N(0, I)."""
    width: Count = 64
    """Channels at half the image's size, doubled at each halving; of points, units in each of three hidden layers."""
    penalty: NonNegative = 10.0
    """lambda; the authors' code has .1 for points of the plane."""
    critic_turns: Count = 5
    """Updates of the critic for each of the generator."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=1e-4, betas=(0, 0.9))
    """For either player (Algorithm 1)."""


class WGANGP(Generative[None]):
    name = "wgan-gp"

    def __init__(self, config: WGANGPConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = strided.drawing(config.latent, config.x, config.width)
        self.critic = strided.judging(config.x, config.width, partial(nn.GroupNorm, 1))
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n ..."]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(noise.normal(self.config.latent))

    def critic_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 3."""
        fake = self.draw(batch.noise)
        distance = full(self.critic(batch.x)).mean() - full(self.critic(fake)).mean()
        middle = penalties.between(batch.x, fake, batch.noise.uniform())
        penalty = penalties.unit_gradient(precisely(self.critic, middle), middle)
        return Loss(self.config.penalty * penalty - distance, {"distance": distance, "penalty": penalty})

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Algorithm 1, line 12."""
        return Loss(-full(self.critic(self.draw(batch.noise))).mean())

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        players = [
            Player(
                name="critic",
                owns=self.critic,
                loss=self.critic_loss,
                optimizer=c.adam,
                turns=c.critic_turns,
                judges=self.critic,
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=c.adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "wgan-gp-64": Preset(
        config=WGANGPConfig(),
        steps=200_000,
        batch=64,
        expect="The paper's recipe with DCGAN's networks, for color images of 64 x 64; not trained by us.",
    ),
    "wgan-gp-mnist": Preset(
        config=WGANGPConfig(
            x=Images(1, 28, 28),
            latent=64,
            width=32,
            critic_turns=3,
            ema=0.99,
            adam=Adam(lr=1e-3, betas=(0, 0.9), schedule="linear"),
        ),
        steps=2000,
        batch=32,
        expect="Grey MNIST, seed 0: 7 minutes of one CPU core. Most samples are digits: mean confidence .850, "
        "FD-mnist-classifier 2.26 (2,000 samples; floor .22).",
    ),
    "wgan-gp-25-gaussians": Preset(
        config=WGANGPConfig(
            x=Points(2), latent=2, width=128, penalty=0.1, adam=Adam(lr=1e-3, betas=(0, 0.9), schedule="linear")
        ),
        steps=8_000,
        batch=128,
        expect="The 25-Gaussian grid, seed 0, 5 minutes of one CPU core: all 25 modes, .76 of 2,500 samples of "
        "high quality (ideal: .989), reverse KL .004 nats. The ring of 8: 8 modes, .96.",
    ),
    "wgan-gp-tiny": Preset(
        config=WGANGPConfig(x=Images(1, 8, 8), latent=4, width=4, critic_turns=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "wgan-gp-tiny-points": Preset(
        config=WGANGPConfig(x=Points(2), latent=2, width=8), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["wgan-gp-small"] = sized(PRESETS["wgan-gp-mnist"])
PRESETS["wgan-gp-medium"] = sized(PRESETS["wgan-gp-64"])
PRESETS["wgan-gp-paper"] = sized(PRESETS["wgan-gp-64"])
