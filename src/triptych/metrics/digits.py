"""A small classifier of handwritten digits, trained by this project on MNIST: features, and a judge of samples.

Measured on the 10,000 test images (one model, no ensembling, no test-time augmentation): PENDING
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from triptych.core import IntegrityError, UsageError
from triptych.metrics.images import BATCH, eight_bit

WEIGHTS = "mnist-classifier.safetensors"
SHA256 = "086440db0e7c1f193050643a6f0e7dc88548232f7b4389210ef38cc89dd5cfb5"
"""Of the shipped weights."""


class DigitNet(nn.Module):
    """Four convolutions with batch normalization, averaged over the plane into 64 features, then a linear layer."""

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *convolution(1, 32, 5, stride=2),
            *convolution(32, 32, 3),
            *convolution(32, self.width, 3, stride=2),
            *convolution(self.width, self.width, 3),
        )
        self.head = nn.Linear(self.width, 10)

    def features(self, x: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 64"]:
        """The 64 averaged activations before the last layer; x is in [-1, 1]."""
        return self.trunk(x).mean((2, 3))

    def forward(self, x: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        """Logits of the ten digits; x is in [-1, 1]."""
        return self.head(self.features(x))


def convolution(cin: int, cout: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(cin, cout, size, stride, size // 2, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]


@cache
def load() -> DigitNet:
    """The shipped classifier, in evaluation mode, on the CPU. Raises IntegrityError if its file was changed."""
    content = (files("triptych.metrics") / WEIGHTS).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise IntegrityError(f"{WEIGHTS}: sha256 is {found}, expected {SHA256}; install the package again")
    net = DigitNet()
    net.load_state_dict(load_tensors(content))
    return net.eval().requires_grad_(False)


def scaled(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n 1 28 28"]:
    """8-bit images in [-1, 1]. Raises UsageError unless they are 1 x 28 x 28."""
    if tuple(images.shape[1:]) != (1, 28, 28):
        raise UsageError(f"images have shape {list(images.shape)}; the digit classifier takes [n, 1, 28, 28]")
    return images.float().div_(127.5).sub_(1)


def classify(images: Tensor) -> Float[Tensor, "n 10"]:
    """The probability of each digit, float32, of images [n, 1, 28, 28] (uint8, or floats in [-1, 1]).

    Raises UsageError for other images.
    """
    net = load()
    with torch.no_grad():
        return torch.cat([net(scaled(part)).softmax(1) for part in torch.split(eight_bit(images), BATCH)])


@dataclass(frozen=True)
class DigitReport:
    """What the classifier makes of n images."""

    n: int
    confidence: float
    """Mean probability of the likeliest digit."""
    counts: tuple[int, ...]
    """Images taken for each of the digits 0 to 9."""
    sha256: str
    """Of the classifier's weights."""

    @property
    def present(self) -> int:
        """How many of the ten digits occur."""
        return sum(count > 0 for count in self.counts)


def judge_digits(images: Tensor) -> DigitReport:
    """Whether generated images look like digits, and like all of them. Raises UsageError as `classify`."""
    confidence, digit = classify(images).max(1)
    counts = tuple(digit.bincount(minlength=10).tolist())
    return DigitReport(len(digit), confidence.double().mean().item(), counts, SHA256)
