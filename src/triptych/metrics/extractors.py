"""What turns images into the features that distances are taken between. Each has a name and a sha256, so that two
numbers can be told to be of one kind.
"""

import difflib
import hashlib
from typing import Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import UsageError
from triptych.metrics import digits, trained
from triptych.metrics.blocks import evenly
from triptych.metrics.efficientnet import EfficientNetLite0
from triptych.metrics.images import BATCH, eight_bit
from triptych.metrics.random_conv import RandomConv


class Extractor(Protocol):
    """A fixed function from images to vectors."""

    @property
    def name(self) -> str:
        """What a distance on these features is called after: "pixels" gives FD-pixels."""

    @property
    def sha256(self) -> str:
        """Of all that the features depend on: weights, a fitted basis, or a definition."""

    @property
    def dims(self) -> int:
        """How many features."""

    @property
    def resizer(self) -> str:
        """How images are brought to another size first: "none" if they are not."""

    @property
    def about(self) -> str:
        """What else one should know of it: what it was trained on, how good it is. May be empty."""

    def __call__(self, images: Tensor) -> Float[Tensor, "n dims"]:
        """Features, float32 on the CPU, of images as `eight_bit` takes them. Raises UsageError for other images."""


class Pixels:
    """The pixels themselves, level / 255, so from 0 to 1; channels first, in rows."""

    name = "pixels"
    resizer, about = "none", ""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.dims = shape[0] * shape[1] * shape[2]
        self.sha256 = hashlib.sha256(
            f"pixels: level / 255, [channels, height, width] = {list(shape)}".encode()
        ).hexdigest()

    def __call__(self, images: Tensor) -> Float[Tensor, "n dims"]:
        return unit_pixels(images, self.shape, self.name)


class PCA:
    """The leading principal components of training images, on pixels from 0 to 1; not whitened."""

    resizer = "none"
    about = "fitted to training images"

    def __init__(self, shape: tuple[int, int, int], mean: Float[Tensor, " pixels"], basis: Float[Tensor, "pixels d"]):
        self.shape, self.mean, self.basis = shape, mean, basis
        self.dims = basis.shape[1]
        self.name = f"pca-{self.dims}"
        content = repr(shape).encode() + mean.numpy().tobytes() + basis.numpy().tobytes()
        self.sha256 = hashlib.sha256(content).hexdigest()

    @classmethod
    def fit(cls, train: Tensor, dims: int = 64, *, most: int = 8192) -> Self:
        """Fits to at most `most` images, evenly spaced over `train`; by subspace iteration from a fixed start (Halko,
        Martinsson and Tropp, 2011. https://arxiv.org/abs/0909.4061), in float64.

        Raises UsageError for fewer images, or fewer pixels, than `dims`.
        """
        shape = train.shape[1], train.shape[2], train.shape[3]
        x = unit_pixels(train[evenly(len(train), min(len(train), most))], shape, f"pca-{dims}").double()
        if min(x.shape) < dims:
            raise UsageError(
                f"pca-{dims} takes at least {dims} images of {dims} pixels, got {len(x)} of {x.shape[1]}: "
                "take random-conv or pixels"
            )
        mean = x.mean(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, _, basis = torch.svd_lowrank(x - mean, q=min(dims + 16, *x.shape), niter=8)
        basis = basis[:, :dims]
        # signs are arbitrary, and last bits differ between machines: fixed and rounded off, so that the hash agrees
        signs = basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
        return cls(shape, *(((value * 4096).round() / 4096).float() for value in (mean, basis * signs)))

    def __call__(self, images: Tensor) -> Float[Tensor, "n dims"]:
        parts = torch.split(images, BATCH)
        return torch.cat([(unit_pixels(part, self.shape, self.name) - self.mean) @ self.basis for part in parts])


class MNISTClassifier:
    """The 64 averaged activations before the last layer of the shipped digit classifier (see `digits`)."""

    name = "mnist-classifier"
    sha256 = digits.SHA256
    dims = digits.DigitNet.width
    classes = 10
    resizer = "none"
    about = "trained on MNIST, 99.58 % of its test images right"

    def __call__(self, images: Tensor) -> Float[Tensor, "n dims"]:
        net = digits.load()
        parts = torch.split(eight_bit(images), BATCH)
        with torch.no_grad():
            return torch.cat([net.features(digits.scaled(part)) for part in parts])

    def probabilities(self, images: Tensor) -> Float[Tensor, "n 10"]:
        """The probability of each digit."""
        return digits.classify(images)


EXTRACTORS = ("pixels", "pca-64", "random-conv", "self-supervised", "mnist-classifier")
"""Features of images alone, with nothing to be installed; mnist-classifier for MNIST only."""
FEATURES = (*EXTRACTORS, "classifier", "efficientnet-lite0")
"""The names that `extractor` knows: also those that take labels, or a package that is not always there."""


def extractor(
    name: str,
    train: Tensor,
    labels: Int[Tensor, " n"] | None = None,
    *,
    classes: int | None = None,
    seconds: float = trained.SECONDS,
) -> Extractor:
    """The extractor called `name`, for images like `train`, which it is fitted to or trained on if it learns.

    labels of the images, from 0 to `classes` - 1 (or -1, unknown), are for "classifier" only. `seconds` of one core,
    about, is what those that are trained may take.

    Raises UsageError for another name, and for images that such an extractor cannot be made for.
    """
    shape = train.shape[1], train.shape[2], train.shape[3]
    match name:
        case "pixels":
            return Pixels(shape)
        case "pca-64":
            return PCA.fit(train)
        case "random-conv":
            return RandomConv(shape)
        case "mnist-classifier":
            return MNISTClassifier()
        case "efficientnet-lite0":
            return EfficientNetLite0()
        case "self-supervised":
            return trained.Trained.self_supervised(train, seconds=seconds)
        case "classifier":
            if labels is None:
                raise UsageError(
                    "classifier features are learned from labels, and there are none: take self-supervised"
                )
            return trained.Trained.classifier(train, labels, classes, seconds=seconds)
    check_name(name)
    raise AssertionError(name)  # all that FEATURES names is above


def check_name(name: str) -> None:
    """Raises UsageError for a name that `extractor` does not know."""
    if name not in FEATURES:
        close = difflib.get_close_matches(name, FEATURES, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"no feature extractor {name!r}: there are {', '.join(FEATURES)}{hint}")


def unit_pixels(images: Tensor, shape: tuple[int, int, int], name: str) -> Float[Tensor, "n pixels"]:
    """Flattened pixels, level / 255."""
    if tuple(images.shape[1:]) != shape:
        raise UsageError(
            f"images have shape {list(images.shape)}; this {name} extractor takes [n, {str(list(shape))[1:]}"
        )
    return eight_bit(images).flatten(1).float() / 255
