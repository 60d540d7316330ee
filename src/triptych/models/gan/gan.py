"""GAN: a generator and a discriminator, each learning against the other.

Generative Adversarial Nets.
Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville and Bengio, 2014. https://arxiv.org/abs/1406.2661
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from jaxtyping import Float
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
    precisely,
    sized,
    unchanged,
)
from triptych.losses import adversarial, penalties
from triptych.models.paper import Paper
from triptych.nn.ema import EMA

PAPER = Paper(
    called="GAN",
    title="Generative Adversarial Networks",
    authors=(
        "Ian J. Goodfellow, Jean Pouget-Abadie, Mehdi Mirza, Bing Xu, David Warde-Farley, Sherjil Ozair, "
        "Aaron Courville, Yoshua Bengio"
    ),
    year=2014,
    url="https://arxiv.org/abs/1406.2661",
    takes=("images", "points"),
)


@config
class GANConfig:
    """The sizes are those of the authors' network for MNIST; they trained with SGD and momentum, here it is Adam."""

    x: Images | Points = Images(1, 28, 28)
    """What is modeled."""
    latent: Count = 100
    """Dimensions of z ~ N(0, I)."""
    generator_width: Count = 1200
    """Units in each of the generator's two hidden layers."""
    discriminator_width: Count = 240
    """Units in each of the discriminator's two hidden layers."""
    pieces: Count = 5
    """Linear pieces of each maxout unit."""
    input_dropout: Fraction = 0.2
    """The share of the discriminator's inputs dropped in training."""
    hidden_dropout: Fraction = 0.5
    """The share of the discriminator's hidden units dropped in training."""
    generator_loss: Literal["non-saturating", "saturating"] = "non-saturating"
    """Both are in Section 3: the first is for practice, the second is the minimax game's own."""
    penalty: NonNegative = 0.0
    """gamma: gamma / 2 times the squared gradient of the discriminator's logit, at real (R1) and at generated x (R2),
    is added to its loss (Mescheder et al., 2018); 0: no penalty, as in the paper."""
    ema: Fraction = 0.0
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player."""


class Maxout(nn.Module):
    """The largest of several linear functions (Goodfellow et al., 2013; https://arxiv.org/abs/1302.4389)."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inputs, pieces * units)

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n units"]:
        return self.linear(x).unflatten(1, (self.pieces, -1)).amax(1)


def generator(c: GANConfig) -> nn.Sequential:
    """z [n, latent] -> x, in [-1, 1] if x is an image."""
    return nn.Sequential(
        nn.Linear(c.latent, c.generator_width),
        nn.ReLU(),
        nn.Linear(c.generator_width, c.generator_width),
        nn.ReLU(),
        nn.Linear(c.generator_width, c.x.dims),
        nn.Tanh() if c.x.scaled else nn.Identity(),
        nn.Unflatten(1, c.x.shape),
    )


def discriminator(c: GANConfig) -> nn.Sequential:
    """x -> one logit each, of x being real."""
    return nn.Sequential(
        nn.Flatten(1),
        nn.Dropout(c.input_dropout),
        Maxout(c.x.dims, c.discriminator_width, c.pieces),
        nn.Dropout(c.hidden_dropout),
        Maxout(c.discriminator_width, c.discriminator_width, c.pieces),
        nn.Dropout(c.hidden_dropout),
        nn.Linear(c.discriminator_width, 1),
        nn.Flatten(0),
    )


class GAN(Generative[None]):
    name = "gan"

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = generator(config)
        self.discriminator = discriminator(config)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n ..."]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(noise.normal(self.config.latent))

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 1, from the discriminator's side."""
        x, made = batch.x, self.draw(batch.noise)
        if self.config.penalty:
            x, made = penalties.watched(x), penalties.watched(made)
        judge = partial(precisely, self.discriminator) if self.config.penalty else self.discriminator
        real, fake = judge(x), judge(made)
        value = adversarial.discriminator(real, fake)
        logs = {"D(real)": real.sigmoid().mean(), "D(fake)": fake.sigmoid().mean()}
        if self.config.penalty:
            logs |= {"R1": penalties.squared_gradient(real, x), "R2": penalties.squared_gradient(fake, made)}
            value = value + self.config.penalty / 2 * (logs["R1"] + logs["R2"])
        return Loss(value, logs)

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        fake = self.discriminator(self.draw(batch.noise))
        saturating = self.config.generator_loss == "saturating"
        return Loss(adversarial.saturating(fake) if saturating else adversarial.non_saturating(fake))

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


MIXTURES = GANConfig(
    x=Points(2),
    latent=2,
    generator_width=256,
    discriminator_width=128,
    pieces=3,
    input_dropout=0,
    hidden_dropout=0,
    adam=Adam(lr=1e-3, betas=(0, 0.99), schedule="linear"),
)
"""For mixtures in the plane."""

PRESETS = {
    "gan-mnist": Preset(
        config=GANConfig(adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="linear")),
        steps=6_000,
        batch=100,
        expect="Grey MNIST, seed 0: 9 minutes of one CPU core. Digits with speckles, as in the paper: mean "
        "confidence .824, FD-mnist-classifier 10.0 (2,000 samples; floor .22).",
    ),
    "gan-25-gaussians": Preset(
        config=replace(MIXTURES, penalty=0.01, ema=0.999),
        steps=8_000,
        batch=128,
        expect="The 25-Gaussian grid, with R1 and R2, seed 0, 2.5 minutes of one CPU core: all 25 modes, .53 of "
        "2,500 samples of high quality (ideal: .989), reverse KL .062 nats. The ring of 8: 8 modes, .96.",
    ),
    "gan-25-gaussians-plain": Preset(
        config=MIXTURES,
        steps=8_000,
        batch=128,
        expect="The same without penalty and average, as in the paper: 21 modes, .43 of high quality, reverse KL "
        ".221 nats. The ring of 8: 8 modes, .96.",
    ),
    "gan-25-gaussians-saturating": Preset(
        config=replace(MIXTURES, generator_loss="saturating"),
        steps=8_000,
        batch=128,
        expect="The same with the minimax game's own loss: all 25 modes, .40 of high quality, reverse KL .052 "
        "nats. The ring of 8: 8 modes, .92.",
    ),
    "gan-tiny": Preset(
        config=GANConfig(x=Images(1, 4, 4), latent=4, generator_width=8, discriminator_width=4, pieces=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "gan-tiny-points": Preset(
        config=GANConfig(x=Points(2), latent=2, generator_width=8, discriminator_width=4, penalty=0.1, ema=0.9),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["gan-small"] = Preset(
    config=replace(PRESETS["gan-mnist"].config, x=Images(3, 32, 32), ema=0.99),
    fits=unchanged,
    steps=1_800,
    batch=100,
    expect="Emoji (`--data emoji --size 32 --condition none`), seed 0: 5 minutes of one CPU core. "
    "FD-random-conv 7.08, floor 1.21 (358 held-out emoji): blobs and persons of a few kinds, full of speckles.",
)
PRESETS["gan-medium"] = sized(PRESETS["gan-mnist"], steps=24_000)
PRESETS["gan-paper"] = sized(PRESETS["gan-mnist"], steps=30_000)
