"""SGAN, semi-supervised: the discriminator is a classifier that learns from few labels and many examples without.

Semi-Supervised Learning with Generative Adversarial Networks. Odena, 2016. https://arxiv.org/abs/1606.01583
Improved Techniques for Training GANs (Section 5). Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, 2016.
https://arxiv.org/abs/1606.03498

A classifier into K classes and one more, "generated". Only differences of logits matter, so that of the last class may
be fixed at 0 and needs no output. With l(x) the K others, p(y | x) is their softmax and, of being real,

    D(x) = Z / (Z + 1),  Z = sum over k of exp l_k(x),  which is the sigmoid of log Z.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

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
    PartialLabel,
    PartialLabels,
    Player,
    Preset,
    Stage,
    config,
    full,
    sized,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper
from triptych.nn.ranks import whole

PAPER = Paper(
    called="Semi-supervised GAN",
    title="Semi-Supervised Learning with Generative Adversarial Networks",
    authors="Augustus Odena",
    year=2016,
    url="https://arxiv.org/abs/1606.01583",
    conditions="partial label",
)

Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


@config
class SGANConfig:
    """The sizes are those of Salimans et al. for MNIST."""

    x: Images = Images(1, 28, 28)
    """What is modeled and classified."""
    given: PartialLabels = PartialLabels(10)
    """The classes."""
    latent: Count = 100
    """Dimensions of z ~ N(0, I)."""
    generator: Widths = (500, 500)
    """Units in each of the generator's hidden layers."""
    classifier: Widths = (1000, 500, 250, 250, 250)
    """Units in each of the classifier's hidden layers; the last are the features that the generator matches."""
    input_noise: NonNegative = 0.3
    """Standard deviation of the noise added to the classifier's input in training."""
    hidden_noise: NonNegative = 0.5
    """Standard deviation of the noise added to its hidden activations in training."""
    candidates: Count = 32
    """Samples that one of an asked class is chosen from."""
    adam: Adam = Adam(lr=1e-3, betas=(0.5, 0.999), schedule="linear")
    """For either player."""


def generator(c: SGANConfig) -> nn.Sequential:
    """z [n, latent] -> images."""
    layers: list[nn.Module] = []
    for cin, cout in pairwise((c.latent, *c.generator)):
        layers += [nn.Linear(cin, cout, bias=False), nn.BatchNorm1d(cout), nn.Softplus()]
    return nn.Sequential(*layers, nn.Linear(c.generator[-1], c.x.dims), nn.Tanh(), nn.Unflatten(1, c.x.shape))


class Normalized(nn.Linear):
    """A linear layer whose units' weights have the norm sqrt 2, whatever is learned.

    So that no layer can outgrow the noise that is added to what it puts out. (The authors take the norm at which the
    first batch comes out with unit variance; with this one, ReLU layers keep the variance of what comes in.)
    """

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        return linear(x, normalize(self.weight) * sqrt(2), self.bias)


class Classifier(nn.Module):
    """Images -> K logits."""

    def __init__(self, c: SGANConfig) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(Normalized(cin, cout) for cin, cout in pairwise((c.x.dims, *c.classifier)))
        self.head = nn.Linear(c.classifier[-1], c.given.classes)
        for layer in self.hidden:
            nn.init.normal_(layer.weight, 0, 0.1)  # type: ignore[arg-type]  # the authors': how far an update turns it
        self.input_noise, self.hidden_noise = c.input_noise, c.hidden_noise

    def features(self, x: Float[Tensor, "n c h w"], noise: Noise | None = None) -> Float[Tensor, "n features"]:
        """The last hidden layer; `noise` is for training."""
        h, deviation = x.flatten(1), self.input_noise
        for layer in self.hidden:
            h, deviation = layer(noisy(h, deviation, noise)).relu(), self.hidden_noise
        return h

    def forward(self, x: Float[Tensor, "n c h w"], noise: Noise | None = None) -> Float[Tensor, "n classes"]:
        return self.head(noisy(self.features(x, noise), self.hidden_noise, noise))


def noisy(h: Float[Tensor, "n d"], deviation: float, noise: Noise | None) -> Float[Tensor, "n d"]:
    return h if noise is None else h + deviation * noise.normal(h.shape[1])


def supervised(
    logits: Float[Tensor, "n classes"], y: Int[Tensor, " n"], labeled: Float[Tensor, ""] | None = None
) -> Float[Tensor, ""]:
    """-log p(y | x), averaged over the examples whose class is known (y >= 0); 0 if none is.

    labeled: how many are, a part, where these are one of several parts of a batch: the mean of the parts' is the
    batch's.
    """
    count = (y >= 0).sum() if labeled is None else labeled
    return cross_entropy(logits, y, ignore_index=-1, reduction="sum") / torch.where(count > 0, count, 1)


def unsupervised(real: Float[Tensor, "n classes"], fake: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
    """-E log D(x) - E log(1 - D(G(z))), with log Z as the logit of D (Salimans et al., Section 5)."""
    return adversarial.discriminator(real.logsumexp(1), fake.logsumexp(1))


def feature_matching(real: Float[Tensor, "n features"], fake: Float[Tensor, "n features"]) -> Float[Tensor, ""]:
    """The squared distance of the two batches' mean features, a feature (Salimans et al., Section 3.1)."""
    return (full(real).mean(0) - full(fake).mean(0)).square().mean()


class SGAN(Generative[PartialLabel | None]):
    name = "sgan"

    def __init__(self, config: SGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = generator(config)
        self.classifier = Classifier(config)
        self.view = nn.Identity()  # where x is as it is judged, by all of the classifier or by its features

    def draw(self, noise: Noise, given: PartialLabel | None = None) -> Float[Tensor, "n c h w"]:
        """The generator knows no classes; where one is asked for, p(x | y) is proportional to p(x) p(y | x).

        So of several samples one is chosen, with probability proportional to p(y | x) (sampling-importance-resampling;
        Rubin, 1987): the first, if y is unknown.
        """
        c, n = self.config, noise.n
        if given is None:
            return self.generator(noise.normal(c.latent))
        x = self.generator(noise.normal(c.candidates, c.latent).flatten(0, 1)).view(n, c.candidates, *c.x.shape)
        p = self.classify(x.flatten(0, 1)).view(n, c.candidates, c.given.classes)
        y = given.y[:, None, None].expand(-1, c.candidates, 1)
        weight = torch.where(y < 0, torch.arange(c.candidates, device=x.device)[:, None] == 0, p.gather(2, y.clamp(0)))
        total = weight.squeeze(2).cumsum(1)
        all_of_it = total[:, -1:]  # none of probability 0 is chosen, however u times it is rounded
        chosen = ((total <= noise.uniform(1) * all_of_it) & (total < all_of_it)).sum(1)
        return x[torch.arange(n, device=x.device), chosen]

    def classify(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """p(y | x), of a real x."""
        return self.classifier(x).softmax(1)

    def classifier_loss(self, batch: Batch[PartialLabel], clock: Clock) -> Loss:
        fake = self.classifier(self.view(self.draw(batch.noise)), batch.noise)
        real, y = self.classifier(self.view(batch.x), batch.noise), batch.given.y
        told, game = supervised(real, y, batch.labeled), unsupervised(real, fake)
        logs = {"supervised": told, "unsupervised": game, "labels": (y >= 0).float().mean()}
        logs |= {"D(real)": real.logsumexp(1).sigmoid().mean(), "D(fake)": fake.logsumexp(1).sigmoid().mean()}
        return Loss(told + game, logs)

    def generator_loss(self, batch: Batch[PartialLabel], clock: Clock) -> Loss:
        features = self.classifier.features
        fake = features(self.view(self.draw(batch.noise)), batch.noise)
        return Loss(feature_matching(whole(features(self.view(batch.x), batch.noise)), whole(fake)))

    def stages(self) -> Sequence[Stage]:
        adam = self.config.adam
        players = [
            Player(
                name="classifier", owns=self.classifier, loss=self.classifier_loss, optimizer=adam, judges=self.view
            ),
            Player(
                name="generator",
                owns=self.generator,
                loss=self.generator_loss,
                optimizer=adam,
                together="the mean features that it matches",
            ),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "sgan-mnist": Preset(
        config=SGANConfig(),
        steps=5_000,
        batch=100,
        data={"labels": 100},
        expect="Grey MNIST, 100 labels, seed 0: 10 minutes of one CPU core. 87.1 % of the 10,000 test images "
        "right. Samples, as feature matching makes them: digits in pieces, with stray dots (mean "
        "confidence .682, FD-mnist-classifier 20.2, floor .22). Salimans et al.: 99.07 % right with 100 "
        "labels, after 300 epochs.",
    ),
    "sgan-tiny": Preset(
        config=SGANConfig(
            x=Images(1, 4, 4), given=PartialLabels(3), latent=4, generator=(8,), classifier=(8, 6), candidates=4
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["sgan-small"] = sized(PRESETS["sgan-mnist"])
PRESETS["sgan-medium"] = sized(PRESETS["sgan-mnist"], steps=20_000)
PRESETS["sgan-paper"] = sized(PRESETS["sgan-mnist"], steps=150_000)
