"""BiGAN: a GAN with an encoder, by a discriminator that judges x and z together.

Adversarial Feature Learning. The discriminator tells pairs (x, E(x)) of an example and its code from pairs (G(z), z)
of a latent and its sample; the encoder and the generator play against it as one (Equation 2):

    min over G, E  max over D  of  E_x log D(x, E(x)) + E_z log(1 - D(G(z), z))

Where no discriminator can tell the two, E inverts G (Theorem 2).

Donahue, Krähenbühl and Darrell, 2016. https://arxiv.org/abs/1605.09782
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

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
    learned,
    sized,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper

PAPER = Paper(
    called="BiGAN",
    title="Adversarial Feature Learning",
    authors="Jeff Donahue, Philipp Krähenbühl, Trevor Darrell",
    year=2016,
    url="https://arxiv.org/abs/1605.09782",
    takes=("images", "points"),
)


@config
class BiGANConfig:
    """The sizes are those of the paper's networks for permutation-invariant MNIST. Their weight decay is left out."""

    x: Images | Points = Images(1, 28, 28)
    """What is modeled."""
    latent: Count = 50
    """Dimensions of z, uniform on [-1, 1]."""
    width: Count = 1024
    """Units in each of the two hidden layers of every network."""
    adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    """For either player."""


def mlp(inputs: int, width: int, outputs: int, leak: float) -> nn.Sequential:
    """Two hidden layers, the second normalized over the batch without learned gains (as in the paper)."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(leak),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width, affine=False),
        nn.LeakyReLU(leak),
        nn.Linear(width, outputs),
    )


class BiGAN(Generative[None]):
    name = "bigan"

    def __init__(self, config: BiGANConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        end = nn.Tanh() if x.scaled else nn.Identity()
        generator = mlp(config.latent, config.width, x.dims, leak=0.0).extend([end, nn.Unflatten(1, x.shape)])
        encoder = nn.Sequential(nn.Flatten(1), *mlp(x.dims, config.width, config.latent, leak=0.2))
        self.coder = nn.ModuleDict({"encoder": encoder, "generator": generator})
        self.discriminator = mlp(x.dims + config.latent, config.width, 1, leak=0.2)
        self.view = nn.Identity()  # where x is as it is judged; its code is that of x as it was

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n ..."]:
        return self.decode(self.latent(noise))

    def latent(self, noise: Noise) -> Float[Tensor, "n latent"]:
        return 2 * noise.uniform(self.config.latent) - 1

    def encode(self, x: Float[Tensor, "n ..."], given: None = None) -> Float[Tensor, "n latent"]:
        """E(x): the latent that x is taken to come from. There is one, not a distribution."""
        return self.coder["encoder"](x)

    def features(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n width"]:
        """What the encoder's last layer sees: the features that the authors measure."""
        return self.coder["encoder"][:-1](x)  # type: ignore[index]

    def decode(self, z: Float[Tensor, "n latent"], given: None = None) -> Float[Tensor, "n ..."]:
        """G(z)"""
        return self.coder["generator"](z)

    def reconstruct(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """G(E(x)): nothing in training compares it with x."""
        return self.decode(self.encode(x))

    def judge(self, x: Float[Tensor, "n ..."], z: Float[Tensor, "n latent"]) -> Float[Tensor, " n"]:
        """The logit of D(x, z), of x being an example and z its code."""
        return self.discriminator(torch.cat([self.view(x).flatten(1), z], 1)).squeeze(1)

    def anomaly(self, x: Float[Tensor, "n ..."], weight: Fraction = 0.9) -> Float[Tensor, " n"]:
        """How unlike the training data x is: weight |x - G(E(x))|_1 - (1 - weight) log D(x, E(x)).

        Efficient GAN-Based Anomaly Detection (Zenati et al., 2018, Section 3; https://arxiv.org/abs/1802.06222).
        """
        z = self.encode(x)
        off = (x - self.decode(z)).abs().flatten(1).sum(1)
        return weight * off + (1 - weight) * softplus(-self.judge(x, z))

    @learned
    def pairs(self, batch: Batch[None]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """The logits of (x, E(x)) and of (G(z), z)."""
        z = self.latent(batch.noise)
        return self.judge(batch.x, self.encode(batch.x)), self.judge(self.decode(z), z)

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """Equation 2, from the discriminator's side."""
        real, fake = self.pairs(batch)
        logs = {"D(x, E(x))": real.sigmoid().mean(), "D(G(z), z)": fake.sigmoid().mean()}
        return Loss(adversarial.discriminator(real, fake), logs)

    def coder_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """The discriminator's loss with its two answers exchanged (Section 3.4): both terms keep their gradients when
        the discriminator is sure, and both pull. The encoder's part is log(1 - D(x, E(x)))."""
        real, fake = self.pairs(batch)
        return Loss(adversarial.discriminator(fake, real))

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
            Player(name="coder", owns=self.coder, loss=self.coder_loss, optimizer=adam),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "bigan-mnist-paper": Preset(
        config=BiGANConfig(),
        steps=187_000,
        batch=128,
        expect="Grey MNIST, permutation invariant, 400 epochs. The authors' log: 97.35 % by the nearest neighbor in "
        "features, reconstruction error .62 of that of random pairs; not trained by us.",
    ),
    "bigan-mnist": Preset(
        config=BiGANConfig(adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="linear")),
        steps=4_000,
        batch=128,
        expect="Grey MNIST, seed 0: 8.5 epochs in 9 minutes of one CPU core. Features of the test images find a "
        "neighbor of their class in 96.18 %; reconstructions are .70 as far as random pairs (the authors' "
        "log: 96.28 % and .77 after 25 epochs, 97.35 % and .62 after 400). Digits with speckles: mean "
        "confidence .827.",
    ),
    "bigan-25-gaussians": Preset(
        config=BiGANConfig(x=Points(2), latent=2, width=256, adam=Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear")),
        steps=8_000,
        batch=128,
        expect="The 25-Gaussian grid, seed 0, 2 minutes of one CPU core: all 25 modes, .75 of 2,500 samples of "
        "high quality (ideal: .989), reverse KL .005 nats. The ring of 8: nothing, the samples "
        "run away. (ALI, the same game: 24.1 modes in the PacGAN paper.)",
    ),
    "bigan-tiny": Preset(
        config=BiGANConfig(x=Images(1, 4, 4), latent=3, width=8), steps=10, batch=8, expect="For tests."
    ),
}
PRESETS["bigan-small"] = sized(PRESETS["bigan-mnist"])
PRESETS["bigan-medium"] = sized(PRESETS["bigan-mnist"], steps=16_000)
PRESETS["bigan-paper"] = sized(PRESETS["bigan-mnist-paper"])
