"""LSGAN: a GAN whose discriminator is fitted by least squares: scores go to 1 for real and to 0 for generated x.

Least Squares Generative Adversarial Networks.
Mao, Li, Xie, Lau, Wang and Smolley, 2017. https://arxiv.org/abs/1611.04076

    L(D) = E (D(x) - b)^2 / 2 + E (D(G(z)) - a)^2 / 2        L(G) = E (D(G(z)) - c)^2 / 2        (Equation 2)

with the labels a = 0 and b = c = 1 of Equation 9. The log of a sigmoid no longer pulls at a fake that the discriminator
takes for real; squares pull at it until it lies on the boundary. The paper's networks for 112 x 112 scenes are DCGAN's
but for more layers; here they are DCGAN's.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from jaxtyping import Float
from pydantic import AfterValidator
from torch import Tensor

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
    Player,
    Points,
    Preset,
    Stage,
    config,
    sized,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper
from triptych.nn import strided
from triptych.nn.ema import EMA

PAPER = Paper(
    called="Least squares GAN",
    title="Least Squares Generative Adversarial Networks",
    authors="Xudong Mao, Qing Li, Haoran Xie, Raymond Y. K. Lau, Zhen Wang, Stephen Paul Smolley",
    year=2016,
    url="https://arxiv.org/abs/1611.04076",
    takes=("images", "points"),
)


@config
class LSGANConfig:
    x: Annotated[Images | Points, AfterValidator(strided.buildable)] = Images(3, 64, 64)
    """What is modeled: images with sides of 4 to 7 pixels, doubled at least once; or points."""
    latent: Count = 100
    """Dimensions of z, uniform on [-1, 1]."""
    width: Count = 64
    """Channels at half the image's size, doubled at each halving; of points, units in each of three hidden layers."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player; the paper's rates are 1e-3 on scenes and 2e-4 on Chinese characters."""


class LSGAN(Generative[None]):
    name = "lsgan"

    def __init__(self, config: LSGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = strided.drawing(config.latent, config.x, config.width)
        self.discriminator = strided.judging(config.x, config.width)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n ..."]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(2 * noise.uniform(self.config.latent) - 1)

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 9, first line."""
        real, fake = self.discriminator(batch.x), self.discriminator(self.draw(batch.noise))
        value = adversarial.least_squares_discriminator(real, fake)
        return Loss(value, {"D(real)": real.mean(), "D(fake)": fake.mean()})

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 9, second line."""
        return Loss(adversarial.least_squares_generator(self.discriminator(self.draw(batch.noise))))

    def stages(self) -> Sequence[Stage]:
        adam, follow = self.config.adam, partial(self.average.update, self.generator)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=adam,
                judges=self.discriminator,
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "lsgan-64": Preset(
        config=LSGANConfig(),
        steps=100_000,
        batch=64,
        expect="The paper's recipe with DCGAN's networks, for color images of 64 x 64; not trained by us.",
    ),
    "lsgan-mnist": Preset(
        config=LSGANConfig(
            x=Images(1, 28, 28), width=32, ema=0.99, adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear")
        ),
        steps=5000,
        batch=32,
        expect="Grey MNIST, seed 0: 5 minutes of one CPU core. Most samples are digits: mean confidence .850, "
        "FD-mnist-classifier 3.54 (2,000 samples; floor .22).",
    ),
    "lsgan-25-gaussians": Preset(
        config=LSGANConfig(x=Points(2), latent=2, width=128, adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear")),
        steps=8_000,
        batch=128,
        expect="The 25-Gaussian grid, seed 0, a minute of one CPU core: 18 modes, .78 of 2,500 samples of high "
        "quality (ideal: .989), reverse KL .613 nats. The ring of 8: 7 modes, .90.",
    ),
    "lsgan-tiny": Preset(
        config=LSGANConfig(x=Images(1, 8, 8), latent=4, width=4), steps=10, batch=8, expect="For tests."
    ),
    "lsgan-tiny-points": Preset(
        config=LSGANConfig(x=Points(2), latent=2, width=8), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["lsgan-small"] = sized(PRESETS["lsgan-mnist"])
PRESETS["lsgan-medium"] = sized(PRESETS["lsgan-64"])
PRESETS["lsgan-paper"] = sized(PRESETS["lsgan-64"])
