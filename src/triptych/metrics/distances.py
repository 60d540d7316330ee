"""Distances and shares that compare generated images with real ones, never without their protocol."""

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import UsageError
from triptych.metrics.blocks import evenly
from triptych.metrics.extractors import Extractor
from triptych.metrics.frechet import frechet_distance
from triptych.metrics.images import eight_bit
from triptych.metrics.kernel import kernel_distance
from triptych.metrics.neighbors import Nearest, nearest, prdc

NEIGHBORS = 5
"""k of precision, recall, density and coverage."""
FALSE_POSITIVES = 0.01
"""The share of held-out real images that the memorization test may accuse."""


@dataclass(frozen=True)
class Scores:
    """How one set of images compares with the real test images."""

    fd: float
    kd: float
    kd_stderr: float
    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Scores of generated images, the same scores of real training images, and the protocol of both."""

    data: str
    """What the real images are called."""
    real_sha256: str
    """Of the real test images' bytes."""
    extractor: str
    extractor_sha256: str
    resizer: str
    """How the extractor resizes; "none": images are compared at their own size."""
    n_gen: int
    n_real: int
    k: int
    """Neighbors in precision, recall, density and coverage."""
    generated: Scores
    floor: Scores
    """The null floor: training images in place of generated ones. No honest generator can be expected below it."""
    n_floor: int
    """Training images in the floor: `n_gen`, or all there are."""
    extractor_about: str = ""
    """What else one should know of the features: how good a network that was trained for them is."""

    @property
    def names(self) -> dict[str, str]:
        """What to call the distances in tables."""
        return {"fd": f"FD-{self.extractor}", "kd": f"KD-{self.extractor}"}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be equal for two evaluations to be ranked against each other."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"generated", "floor"}}

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {"names": self.names, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Memorization:
    """How many generated images were copied from training images, with its protocol."""

    data: str
    extractor: str
    extractor_sha256: str
    n_gen: int
    n_real: int
    n_train: int
    memorized: float
    """Share of generated images nearer to a training image (or its mirror image) than is usual, see `Nearest.ratio`.
    Held-out images show `memorized_floor`; only what exceeds it counts."""
    memorized_floor: float
    memorized_threshold: float
    """The ratio below which an image counts as memorized: a quantile of the held-out images' ratios."""


class Reference:
    """Real images seen through one extractor, once, to judge any number of generators.

    test, train: images [n, c, h, w], uint8 or floats in [-1, 1]. `test` must be held out: the train images are what the
    generators learned from, and what the null floor is measured with.
    """

    def __init__(self, extractor: Extractor, *, test: Tensor, train: Tensor, data: str) -> None:
        test, self.train_images = eight_bit(test), eight_bit(train)
        self.data, self.extractor = data, extractor
        self.sha256 = sha256(test.numpy().tobytes()).hexdigest()
        self.test = extractor(test)
        self.floors: dict[int, Scores] = {}

    def scores(self, features: Float[Tensor, "n d"]) -> Scores:
        """Of a set of features against the test images'."""
        kd = kernel_distance(features, self.test)
        shares = prdc(self.test, features, k=NEIGHBORS)
        return Scores(
            frechet_distance(features, self.test),
            kd.value,
            kd.stderr,
            shares.precision,
            shares.recall,
            shares.density,
            shares.coverage,
        )

    def floor(self, n: int) -> Scores:
        """The scores of n training images, evenly spaced; computed once for each n."""
        if n not in self.floors:
            chosen = evenly(len(self.train_images), n)
            self.floors[n] = self.scores(self.extractor(self.train_images[chosen]))
        return self.floors[n]

    @cached_property
    def train_and_mirrored(self) -> Float[Tensor, "n d"]:
        """Features of the training images, then of their mirror images."""
        return torch.cat([self.extractor(self.train_images), self.extractor(self.train_images.flip(3))])

    @cached_property
    def held_out_ratios(self) -> Float[Tensor, " n"]:
        """`Nearest.ratio` of the test images: what a generator that memorized nothing would show."""
        return nearest(self.test, self.train_and_mirrored).ratio

    def nearest(self, images: Tensor) -> Nearest:
        """The nearest training image of each image; a mirror image counts as the image itself."""
        return self.nearest_to(self.extractor(images))

    def nearest_to(self, features: Float[Tensor, "n d"]) -> Nearest:
        found = nearest(features, self.train_and_mirrored)
        return Nearest(found.index % len(self.train_images), found.ratio)


def distances(generated: Tensor, reference: Reference) -> Distances:
    """Compares generated images [n, c, h, w] (uint8, or floats in [-1, 1]: quantized to 8 bits) with real ones.

    Raises UsageError for images that the extractor does not take, fewer than 6 of them, or NaN among them.
    """
    features = seen(generated, reference)
    n_floor = min(len(features), len(reference.train_images))
    return Distances(
        data=reference.data,
        real_sha256=reference.sha256,
        extractor=reference.extractor.name,
        extractor_sha256=reference.extractor.sha256,
        extractor_about=reference.extractor.about,
        resizer=reference.extractor.resizer,
        n_gen=len(features),
        n_real=len(reference.test),
        k=NEIGHBORS,
        generated=reference.scores(features),
        floor=reference.floor(n_floor),
        n_floor=n_floor,
    )


def memorization(generated: Tensor, reference: Reference) -> Memorization:
    """How many of the generated images were copied from training images. Raises UsageError as `distances`."""
    features = seen(generated, reference)
    threshold = reference.held_out_ratios.quantile(FALSE_POSITIVES)
    return Memorization(
        data=reference.data,
        extractor=reference.extractor.name,
        extractor_sha256=reference.extractor.sha256,
        n_gen=len(features),
        n_real=len(reference.test),
        n_train=len(reference.train_images),
        memorized=share_below(threshold, reference.nearest_to(features).ratio),
        memorized_floor=share_below(threshold, reference.held_out_ratios),
        memorized_threshold=threshold.item(),
    )


def seen(generated: Tensor, reference: Reference) -> Float[Tensor, "n d"]:
    if len(generated) <= NEIGHBORS:
        raise UsageError(f"{len(generated)} generated images: evaluation takes at least {NEIGHBORS + 1}")
    return reference.extractor(generated)


def share_below(threshold: Tensor, values: Tensor) -> float:
    return (values < threshold).double().mean().item()
