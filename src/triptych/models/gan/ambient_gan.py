"""AmbientGAN: a GAN that learns clean images from measurements of them, made in a way that is known.

AmbientGAN: Generative models from lossy measurements.
Bora, Price and Dimakis, 2018. https://openreview.net/forum?id=Hy7fDog0b

    max_D min_G  E log D(y) + E log(1 - D(f_Theta(G(z)))),   Theta drawn anew    (Section 4)

The generated image is measured before the discriminator sees it, as the real one was before it was kept. Here the
measurement is f(x) = clip(x + sigma eps): the standard to hold NR-GAN against, which is not told sigma. With sigma = 0
nothing is measured, and what is left is a plain GAN of the same networks: the other standard.
"""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
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
    NonNegative,
    Player,
    Preset,
    Stage,
    config,
    precisely,
    sized,
)
from triptych.losses import adversarial, penalties
from triptych.models.paper import Paper
from triptych.nn import unnormalized
from triptych.nn.ema import EMA
from triptych.nn.strided import Halvable

PAPER = Paper(
    called="AmbientGAN",
    title="AmbientGAN: Generative models from lossy measurements",
    authors="Ashish Bora, Eric Price, Alexandros G. Dimakis",
    year=2018,
    url="https://openreview.net/forum?id=Hy7fDog0b",
)


@config
class AmbientGANConfig:
    """Networks, penalty and optimizer are those of NR-GAN (Kaneko and Harada, 2020), which compares the two."""

    x: Halvable = Images(3, 32, 32)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once. Clean images; those trained on are noisy."""
    sigma: NonNegative = 25.0
    """Standard deviation of the noise that the data is known to have, in levels of 255. 0: a plain GAN."""
    latent: Count = 128
    """Dimensions of z ~ N(0, I)."""
    width: Count = 128
    """Channels at the image's size."""
    widening: Count = 1
    """Times as many at each halving."""
    penalty: NonNegative = 10.0
    """lambda of R1: the squared gradient of the discriminator's logit at real x, not halved."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from."""
    adam: Adam = Adam(lr=2e-4, betas=(0.0, 0.99))
    """For either player."""


class AmbientGAN(Generative[None]):
    name = "ambient-gan"

    def __init__(self, config: AmbientGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = unnormalized.generator(c.latent, c.x, c.width, c.widening)
        self.discriminator = unnormalized.discriminator(c.x, c.width, c.widening)
        self.average = EMA(self.generator, c.ema)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n c h w"]:
        """Clean images, by the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(noise.normal(self.config.latent))

    def measured(self, noise: Noise, copies: int = 1) -> Float[Tensor, "n c h w"]:
        """Images with noise, as the data has it: `copies` of them for each item of `noise`."""
        net = self.average.unless_training(self.generator)
        x = net(noise.normal(copies, self.config.latent).flatten(0, 1))
        if not self.config.sigma:
            return x
        eps = noise.normal(copies, *self.config.x.shape).flatten(0, 1)
        return (x + self.config.sigma / 127.5 * eps).clamp(-1, 1)

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """The discriminator's side of the game, with R1."""
        x = penalties.watched(batch.x) if self.config.penalty else batch.x
        real = precisely(self.discriminator, x) if self.config.penalty else self.discriminator(x)
        fake = self.discriminator(self.measured(batch.noise))
        value = adversarial.discriminator(real, fake)
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        if self.config.penalty:
            logs["R1"] = penalties.squared_gradient(real, x)
            value = value + self.config.penalty * logs["R1"]
        return Loss(value, logs)

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Not saturating, on two images for each example, as in NR-GAN."""
        return Loss(adversarial.non_saturating(self.discriminator(self.measured(batch.noise, copies=2))))

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
    "ambient-gan-cifar10": Preset(
        config=AmbientGANConfig(),
        steps=200_000,
        batch=64,
        expect="The size and recipe of NR-GAN's paper for CIFAR-10 with noise of 25; not trained by us.",
    ),
    "ambient-gan-mnist": Preset(
        config=AmbientGANConfig(
            x=Images(1, 28, 28),
            latent=64,
            width=8,
            widening=2,
            ema=0.99,
            adam=Adam(lr=1e-3, betas=(0.0, 0.99), schedule="linear"),
        ),
        steps=3_000,
        batch=16,
        expect="Grey MNIST or Fashion-MNIST with noise: --noisy gaussian-25, or gaussian-50 and sigma=50. With "
        "sigma=0 a plain GAN. MNIST, sigma 25, seed 0: 6 minutes of one CPU core, FD-mnist-classifier to "
        "clean images 4.24 (2,000 samples, floor .22; with sigma=0: 22.8).",
    ),
    "ambient-gan-tiny": Preset(
        config=AmbientGANConfig(x=Images(1, 8, 8), latent=4, width=4), steps=10, batch=8, expect="For tests."
    ),
    "ambient-gan-tiny-plain": Preset(
        config=AmbientGANConfig(x=Images(3, 8, 12), sigma=0.0, latent=4, width=4),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["ambient-gan-small"] = sized(PRESETS["ambient-gan-mnist"])
PRESETS["ambient-gan-medium"] = sized(PRESETS["ambient-gan-cifar10"])
PRESETS["ambient-gan-paper"] = sized(PRESETS["ambient-gan-cifar10"])
