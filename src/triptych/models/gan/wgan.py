"""WGAN: a generator that lowers the Wasserstein distance to the data, as a critic with clipped weights measures it.

Wasserstein GAN.
Arjovsky, Chintala and Bottou, 2017. https://arxiv.org/abs/1701.07875

    W(p, q) = max over 1-Lipschitz f of E_p f(x) - E_q f(x)        (Equation 2)

The critic f climbs this difference for several turns, its weights clipped to a box so that f is K-Lipschitz for some K;
then the generator lowers it (Algorithm 1). What the critic reaches falls as samples improve: it is logged.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from jaxtyping import Float
from pydantic import AfterValidator
from torch import Tensor

from triptych.core import (
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Images,
    Loss,
    Noise,
    Player,
    Points,
    Positive,
    Preset,
    RMSProp,
    Stage,
    config,
    full,
    sized,
)
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.ema import EMA

PAPER = Paper(
    called="Wasserstein GAN",
    title="Wasserstein GAN",
    authors="Martin Arjovsky, Soumith Chintala, Léon Bottou",
    year=2017,
    url="https://arxiv.org/abs/1701.07875",
    takes=("images", "points"),
)


@config
class WGANConfig:
    x: Annotated[Images | Points, AfterValidator(strided.buildable)] = Images(3, 64, 64)
    """What is modeled: images with sides of 4 to 7 pixels, doubled at least once; or points."""
    latent: Count = 100
    """Dimensions of z ~ N(0, I)."""
    width: Count = 64
    """Channels at half the image's size, doubled at each halving; of points, units in each of three hidden layers."""
    clip: Positive = 0.01
    """c: every weight of the critic is kept in [-c, c]."""
    critic_turns: Count = 5
    """Updates of the critic for each of the generator."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    rmsprop: RMSProp = RMSProp(lr=5e-5)
    """For either player; with momentum the critic may become unstable (Section 4)."""


class WGAN(Generative[None]):
    name = "wgan"

    def __init__(self, config: WGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = strided.drawing(config.latent, config.x, config.width)
        self.critic = strided.judging(config.x, config.width)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n ..."]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(noise.normal(self.config.latent))

    def critic_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Algorithm 1, line 5, to be lowered instead of raised."""
        distance = full(self.critic(batch.x)).mean() - full(self.critic(self.draw(batch.noise))).mean()
        return Loss(-distance, {"distance": distance})

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Algorithm 1, line 10."""
        return Loss(-full(self.critic(self.draw(batch.noise))).mean())

    def clip(self) -> None:
        """Algorithm 1, line 7; gains and shifts of batch normalization are weights, too."""
        for w in self.critic.parameters():
            w.clamp_(-self.config.clip, self.config.clip)

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        players = [
            Player(
                name="critic",
                owns=self.critic,
                loss=self.critic_loss,
                optimizer=c.rmsprop,
                turns=c.critic_turns,
                project=self.clip,
                judges=self.critic,
            ),
            Player(
                name="generator", owns=self.generator, loss=self.generator_loss, optimizer=c.rmsprop, project=follow
            ),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "wgan-64": Preset(
        config=WGANConfig(),
        steps=200_000,
        batch=64,
        expect="The paper's recipe for color images of 64 x 64; not trained by us.",
    ),
    "wgan-mnist": Preset(
        config=WGANConfig(x=Images(1, 28, 28), width=32, ema=0.99, rmsprop=RMSProp(lr=5e-4, schedule="linear")),
        steps=2500,
        batch=32,
        expect="Grey MNIST, seed 0: 8 minutes of one CPU core. Strokes, half of them digits: mean confidence "
        ".749, FD-mnist-classifier 8.21 (2,000 samples; floor .22); what clipping costs, beside WGAN-GP's "
        "2.26.",
    ),
    "wgan-25-gaussians": Preset(
        config=WGANConfig(x=Points(2), latent=2, width=128, clip=0.1, rmsprop=RMSProp(lr=5e-4, schedule="linear")),
        steps=8_000,
        batch=128,
        expect="The 25-Gaussian grid, seed 0, 4 minutes of one CPU core: 21 modes, .10 of 2,500 samples of high "
        "quality (ideal: .989), reverse KL .099 nats. The ring of 8: 8 modes, .90. Most samples lie between "
        "the modes.",
    ),
    "wgan-tiny": Preset(
        config=WGANConfig(x=Images(1, 8, 8), latent=4, width=4, critic_turns=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "wgan-tiny-points": Preset(
        config=WGANConfig(x=Points(2), latent=2, width=8), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["wgan-small"] = sized(PRESETS["wgan-mnist"])
PRESETS["wgan-medium"] = sized(PRESETS["wgan-64"])
PRESETS["wgan-paper"] = sized(PRESETS["wgan-64"])
