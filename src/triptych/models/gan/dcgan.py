"""DCGAN: a GAN of strided convolutions and batch normalization.

Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks.
Radford, Metz and Chintala, 2015. https://arxiv.org/abs/1511.06434
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
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
    Player,
    Preset,
    Stage,
    config,
)
from triptych.losses import adversarial
from triptych.nn.ema import EMA


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved until the shorter has 4 to 7 pixels; 0 if they cannot, or need not, be."""
    k = (min(height, width) // 4).bit_length() - 1
    return k if k > 0 and height % 2**k == width % 2**k == 0 else 0


def buildable(x: Images) -> Images:
    """Raises ValueError, with sizes that would do, unless the networks can be built for images of this size."""
    if not halvings(x.height, x.width):
        around = [range(max(s - s // 8 - 4, 8), s + s // 8 + 9) for s in (x.height, x.width)]
        sizes = [(h, w) for h in around[0] for w in around[1] if halvings(h, w) and (h == w) == (x.height == x.width)]
        sizes = sorted(sizes, key=lambda s: abs(s[0] - x.height) + abs(s[1] - x.width))[:3]
        raise ValueError(
            f"DCGAN doubles a grid whose shorter side has 4 to 7 pixels until it is the image, and never arrives at "
            f"{x.height} x {x.width}; near it, these work: {', '.join(f'{h} x {w}' for h, w in sorted(sizes))}"
        )
    return x


@config
class DCGANConfig:
    x: Annotated[Images, AfterValidator(buildable)] = Images(3, 64, 64)
    """What is modeled: sides of 4 to 7 pixels, doubled at least once."""
    latent: Count = 100
    """Dimensions of z, uniform on [-1, 1]."""
    width: Count = 128
    """Channels at half the image's size; they double at each halving."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player."""


def generator(c: DCGANConfig) -> nn.Sequential:
    """z [n, latent] -> images: projected and reshaped to a small grid, then doubled (Figure 1).

    Kernels are 4 pixels wide, not the figure's 5: a multiple of the stride reaches every pixel equally often.
    """
    k = halvings(c.x.height, c.x.width)
    h, w = c.x.height >> k, c.x.width >> k
    wide = [c.width << i for i in reversed(range(k))]
    layers: list[nn.Module] = [nn.Linear(c.latent, wide[0] * h * w, bias=False), nn.Unflatten(1, (wide[0], h, w))]
    layers += [nn.BatchNorm2d(wide[0]), nn.ReLU()]
    for cin, cout in pairwise(wide):
        layers += [nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(wide[-1], c.x.channels, 4, 2, 1), nn.Tanh())


def discriminator(c: DCGANConfig) -> nn.Sequential:
    """Images -> one logit each; the generator's mirror, without normalization at the first layer."""
    k = halvings(c.x.height, c.x.width)
    h, w = c.x.height >> k, c.x.width >> k
    wide = [c.width << i for i in range(k)]
    layers: list[nn.Module] = [nn.Conv2d(c.x.channels, wide[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for cin, cout in pairwise(wide):
        layers += [nn.Conv2d(cin, cout, 4, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(1), nn.Linear(wide[-1] * h * w, 1), nn.Flatten(0))


def initialize(layer: nn.Module) -> None:
    """Weights from N(0, .02) (Section 4); gains of batch normalization from N(1, .02), as in the authors' code."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class DCGAN(Generative[None]):
    name = "dcgan"

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = generator(config).apply(initialize)
        self.discriminator = discriminator(config).apply(initialize)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.generator if self.training else self.average.module
        return net(2 * noise.uniform(self.config.latent) - 1)

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        real, fake = self.discriminator(batch.x), self.discriminator(self.draw(batch.noise))
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        return Loss(adversarial.discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        return Loss(adversarial.non_saturating(self.discriminator(self.draw(batch.noise))))

    def stages(self) -> Sequence[Stage]:
        adam, follow = self.config.adam, partial(self.average.update, self.generator)
        players = [
            Player(name="discriminator", owns=self.discriminator, loss=self.discriminator_loss, optimizer=adam),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "dcgan-64": Preset(
        config=DCGANConfig(),
        steps=100_000,
        batch=128,
        expect="The paper's size for color images of 64 x 64; not trained by us.",
    ),
    "dcgan-mnist": Preset(
        config=DCGANConfig(x=Images(1, 28, 28), width=64),
        steps=9000,
        batch=128,
        expect="Grey MNIST with the paper's recipe; not measured yet.",
    ),
    "dcgan-mnist-demo": Preset(
        config=DCGANConfig(
            x=Images(1, 28, 28), width=32, ema=0.99, adam=Adam(lr=2e-3, betas=(0.5, 0.999), schedule="linear")
        ),
        steps=2900,
        batch=32,
        expect="Grey MNIST, one of two CPU cores, seed 0: 3 to 4 minutes; 2,000 samples: mean confidence .85 by our "
        "classifier (real images: .99), all ten digits, FD-mnist-classifier 3.5 (floor .22).",
    ),
    "dcgan-tiny": Preset(
        config=DCGANConfig(x=Images(1, 8, 8), latent=4, width=4), steps=10, batch=8, expect="For tests."
    ),
}
