"""CVAE: a VAE of images by class, or by numbers as an age, in which encoder, prior and decoder know them.

Learning Structured Output Representation using Deep Conditional Generative Models.
Sohn, Lee and Yan, 2015.
https://papers.nips.cc/paper/5775-learning-structured-output-representation-using-deep-conditional-generative-models

    log p(x | y) >= E_q(z|x,y) [log p(x | y, z)] - KL(q(z | x, y) || p(z | y))        (Equation 4)

in our letters: the paper writes x for what is given, and y for what is modeled. There the former is an image; here it
is a class, for which the paper's recognition network of the prior p(z | y) comes down to a table; or numbers.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence
from torch.nn import functional as F

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Decoding,
    Images,
    Label,
    Labels,
    Loss,
    LowerBound,
    Noise,
    Player,
    Points,
    Preset,
    Stage,
    Vector,
    config,
    full,
    sized,
)
from triptych.losses.bounds import importance_weighted_in_parts
from triptych.losses.pixels import Binary, DiscretizedLogistic
from triptych.models.paper import Paper
from triptych.nn.dense import mlp

PAPER = Paper(
    called="CVAE",
    title="Learning Structured Output Representation using Deep Conditional Generative Models",
    authors="Kihyuk Sohn, Honglak Lee, Xinchen Yan",
    year=2015,
    url="https://papers.nips.cc/paper/5775-learning-structured-output-representation-using-deep-conditional-generative-models",
    conditions="label or numbers",
    likelihood="lower bound",
)


@config
class CVAEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Labels | Points = Labels(10)
    """The classes; or numbers, as an age, which the networks are shown as they are."""
    latent: Count = 50
    """Dimensions of z, which is Gaussian given the class."""
    hidden: tuple[Count, ...] = (500, 500)
    """Units in each hidden layer of the encoder, with ReLU; the decoder mirrors it."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine")


class CVAE(Decoding[Label | Vector]):
    name = "cvae"

    def __init__(self, config: CVAEConfig) -> None:
        super().__init__()
        self.config, x, told = config, config.x, config.given.choices or config.given.dims
        self.encoder = mlp(x.dims + told, *config.hidden, 2 * config.latent)
        self.decoder = mlp(config.latent + told, *reversed(config.hidden), x.dims)
        classes = config.given.choices is not None
        self.table = nn.Embedding(told, 2 * config.latent) if classes else mlp(told, *config.hidden, 2 * config.latent)
        last = self.table if isinstance(self.table, nn.Embedding) else self.table[-1]
        for weight in last.parameters():
            nn.init.zeros_(weight)  # p(z | y) = N(0, I) for every y, to begin with
        if x.levels > 2:
            self.log_scale = nn.Parameter(torch.full(x.shape, -2.0))

    def told(self, features: Float[Tensor, "... n features"], given: Label | Vector) -> Float[Tensor, "... n both"]:
        """Features, and beside them a one for the class among zeros; or the numbers."""
        if isinstance(given, Vector):
            one = given.values
        else:
            one = F.one_hot(given.y, self.config.given.choices)
        return torch.cat((features, one.to(features.dtype).expand(*features.shape[:-1], -1)), -1)

    def prior(self, given: Label | Vector) -> Distribution:
        """p(z | y)"""
        return gaussian(self.table(given.values if isinstance(given, Vector) else given.y))

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | Vector) -> Distribution:
        """q(z | x, y)"""
        return gaussian(self.encoder(self.told(x.flatten(1), given)))

    def decode(self, z: Float[Tensor, "... n latent"], given: Label | Vector) -> Distribution:
        """p(x | y, z), over images"""
        return Independent(self.pixels(z, given), 3, validate_args=False)

    def pixels(self, z: Float[Tensor, "... n latent"], given: Label | Vector) -> Binary | DiscretizedLogistic:
        """p(x | y, z) of each pixel; they are independent."""
        y = self.decoder(self.told(z, given)).unflatten(-1, self.config.x.shape)
        if self.config.x.levels == 2:
            return Binary(y)
        return DiscretizedLogistic(y, self.log_scale, self.config.x.levels)

    def observe(self, noise: Noise, given: Label | Vector) -> Binary | DiscretizedLogistic:
        p = self.prior(given)
        return self.pixels(p.mean + p.stddev * noise.normal(self.config.latent), given)

    def loss(self, batch: Batch[Label | Vector], clock: Clock) -> Loss:
        """Minus the bound of Equation 4, in nats, with one draw of z and the divergence in closed form."""
        q, p = self.encode(batch.x, batch.given), self.prior(batch.given)
        z = q.mean + q.stddev * batch.noise.normal(self.config.latent)
        distortion = -self.decode(z, batch.given).log_prob(batch.x).mean()
        rate = kl_divergence(q, p).mean()
        return Loss(distortion + rate, {"distortion": distortion, "rate": rate})

    def log_prob(self, x: Float[Tensor, "n c h w"], given: Label | Vector, *, draws: int = 1) -> LowerBound:
        """A lower bound on log p(x | y): Equation 4 for one draw, the tighter one of Burda et al. for more.

        Importance Weighted Autoencoders (2015, Equation 8; https://arxiv.org/abs/1509.00519). Draws come from torch's
        global generator. Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        q, p = self.encode(x, given), self.prior(given)
        if draws == 1:
            nats, how = self.decode(q.rsample(), given).log_prob(x) - kl_divergence(q, p), "ELBO, 1 draw"
        else:

            def weigh(part: int) -> Tensor:
                z = q.rsample((part,))
                return self.decode(z, given).log_prob(x) + p.log_prob(z) - q.log_prob(z)

            nats, how = importance_weighted_in_parts(weigh, draws, x.numel()), f"IWAE bound, {draws} draws"
        return LowerBound(nats=nats, dims=self.config.x.dims, measure="mass", how=how)

    def stages(self) -> Sequence[Stage]:
        player = Player(name="cvae", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


def gaussian(parameters: Float[Tensor, "n two_latent"]) -> Distribution:
    """A diagonal Gaussian from means and logarithms of standard deviations."""
    mean, log_scale = full(parameters).chunk(2, dim=-1)
    return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)


PRESETS = {
    "cvae-mnist": Preset(
        config=CVAEConfig(latent=20, hidden=(500,), adam=Adam(lr=2e-3, schedule="cosine", warmup=0.02)),
        steps=12_000,
        batch=128,
        expect="Dynamically binarized MNIST by digit, seed 0: 4 minutes of one CPU core, at most 93.14 +- .26 "
        "nats given the digit on the 10,000 test images (bound, 1 draw). Most samples are the digit asked "
        "for, a third of them broken.",
    ),
    "cvae-mnist-large": Preset(
        config=CVAEConfig(hidden=(1000, 1000)),
        steps=500_000,
        batch=128,
        expect="Dynamically binarized MNIST by digit; not trained by us. The paper completes images of digits and does "
        "not draw them by class: none of its numbers compares.",
    ),
    "cvae-tiny": Preset(
        config=CVAEConfig(x=Images(1, 2, 2, levels=2), given=Labels(3), latent=1, hidden=(8,)),
        steps=10,
        batch=8,
        expect="For tests: the latent can be integrated out.",
    ),
    "cvae-tiny-rgb": Preset(
        config=CVAEConfig(x=Images(3, 1, 2, levels=3), given=Labels(2), latent=2, hidden=(8,)),
        steps=10,
        batch=8,
        expect="For tests of levels and colors.",
    ),
}
PRESETS["cvae-small"] = sized(PRESETS["cvae-mnist"])
PRESETS["cvae-medium"] = sized(PRESETS["cvae-mnist-large"])
PRESETS["cvae-paper"] = sized(PRESETS["cvae-mnist-large"])
