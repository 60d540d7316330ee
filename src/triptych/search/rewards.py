"""How good the images of a generator are, as one number: what a search for generators learns from.

Both work offline. Any other function of images will do as well.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from triptych import metrics
from triptych.core import Data, ItemNoise

Reward = Callable[[Float[Tensor, "n c h w"]], float]
"""How good generated images are, in [-1, 1] and perhaps of a lower resolution: more is better."""


def reduced(x: Float[Tensor, "n c h w"], halvings: int) -> Float[Tensor, "n c h2 w2"]:
    """Images at a lower resolution: means of squares; what does not fill one is cut off."""
    return avg_pool2d(x, 2**halvings) if halvings else x


class Closeness:
    """Minus the logarithm of the Frechet distance to real images at the same resolution: the same for each halving of
    the distance, wherever that is.

    On features of a shipped classifier that knows the data (MNIST), else on principal components. No downloads.
    """

    def __init__(self, data: Data, n: int = 2000) -> None:
        chosen = torch.arange(min(n, len(data))) * len(data) // min(n, len(data))
        self.real = data.fetch(chosen, ItemNoise(0, chosen.tolist())).x
        shipped = metrics.shipped(data)
        self.look = shipped.reader() if shipped else metrics.extractor("pca-64", self.real)
        self.name = f"- log FD-{self.look.name}"
        self.features: dict[int, Tensor] = {}

    def seen(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.look(interpolate(x, size=self.real.shape[2:], mode="nearest"))

    def __call__(self, images: Float[Tensor, "n c h w"]) -> float:
        halvings = (self.real.shape[3] // images.shape[3]).bit_length() - 1
        if halvings not in self.features:
            self.features[halvings] = self.seen(reduced(self.real, halvings))
        return -math.log(metrics.frechet_distance(self.seen(images), self.features[halvings]))


class InceptionScore:
    """exp of the mean KL(p(y | x), p(y)) by the digit classifier: from 1 to 10 (Salimans et al., 2016)."""

    name = "Inception score by the digit classifier"

    def __call__(self, images: Float[Tensor, "n 1 h w"]) -> float:
        p = metrics.classify(interpolate(images, size=(28, 28), mode="nearest")).double().clamp(min=1e-12)
        return (p * (p.log() - p.mean(0).log())).sum(1).mean().exp().item()
