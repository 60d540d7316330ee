"""What turns images into the features that distances are taken between. Each has a name and a sha256, so that two
numbers can be told to be of one kind.
"""

import difflib
import hashlib
from typing import Protocol, Self

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import UsageError
from triptych.metrics import digits
from triptych.metrics.blocks import evenly
from triptych.metrics.images import BATCH, eight_bit


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

    def __call__(self, images: Tensor) -> Float[Tensor, "n dims"]:
        """Features, float32 on the CPU, of images as `eight_bit` takes them. Raises UsageError for other images."""


class Pixels:
    """The pixels themselves, level / 255, so from 0 to 1; channels first, in rows."""

    name = "pixels"

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
            raise UsageError(f"pca-{dims} takes at least {dims} images of {dims} pixels, got {len(x)} of {x.shape[1]}")
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

    def __call__(self, images: Tensor) -> Float[Tensor, "n dims"]:
        net = digits.load()
        parts = torch.split(eight_bit(images), BATCH)
        with torch.no_grad():
            return torch.cat([net.features(digits.scaled(part)) for part in parts])


EXTRACTORS = ("pixels", "pca-64", "mnist-classifier")
"""The names that `extractor` knows."""


def extractor(name: str, train: Tensor) -> Extractor:
    """The extractor called `name`, for images like `train` (which PCA is fitted to).

    Raises UsageError for another name.
    """
    match name:
        case "pixels":
            return Pixels((train.shape[1], train.shape[2], train.shape[3]))
        case "pca-64":
            return PCA.fit(train)
        case "mnist-classifier":
            return MNISTClassifier()
    close = difflib.get_close_matches(name, EXTRACTORS, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"no feature extractor {name!r}: there are {', '.join(EXTRACTORS)}{hint}")


def unit_pixels(images: Tensor, shape: tuple[int, int, int], name: str) -> Float[Tensor, "n pixels"]:
    """Flattened pixels, level / 255."""
    if tuple(images.shape[1:]) != shape:
        raise UsageError(
            f"images have shape {list(images.shape)}; this {name} extractor takes [n, {str(list(shape))[1:]}"
        )
    return eight_bit(images).flatten(1).float() / 255
