"""What a classifier reads in generated images: which classes, how surely, and whether those that were asked for."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Labels, UsageError
from triptych.metrics.extractors import MNISTClassifier


class Reader(Protocol):
    """A classifier of images."""

    @property
    def name(self) -> str:
        """ "mnist-classifier"."""

    @property
    def sha256(self) -> str:
        """Of its weights."""

    @property
    def about(self) -> str:
        """How it was trained, and how good it is."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    def probabilities(self, images: Tensor) -> Float[Tensor, "n classes"]:
        """Of each class, of images as `eight_bit` takes them. Raises UsageError for other images."""


@dataclass(frozen=True)
class ClassReport:
    """What a classifier makes of n images."""

    n: int
    confidence: float
    """Mean probability of the likeliest class."""
    counts: tuple[int, ...]
    """Images taken for each of the classes."""
    sha256: str
    """Of the classifier's weights."""
    accuracy: float | None = None
    """Share taken for the class that was asked for; None if none were."""
    reader: str = MNISTClassifier.name
    about: str = MNISTClassifier.about

    @property
    def present(self) -> int:
        """How many of the classes occur."""
        return sum(count > 0 for count in self.counts)


def read_classes(reader: Reader, images: Tensor, asked: Int[Tensor, " n"] | None = None) -> ClassReport:
    """Whether generated images look like the classes, like all of them, and like the ones that were asked for.

    Raises UsageError for images that the reader does not take, and if `asked` does not say one class for each.
    """
    confidence, taken = reader.probabilities(images).max(1)
    counts = tuple(taken.bincount(minlength=reader.classes).tolist())
    accuracy = None
    if asked is not None:
        Labels(reader.classes).check(asked, "asked")
        check_pairs(taken, asked)
        accuracy = (taken == asked.cpu()).double().mean().item()
    return ClassReport(
        len(taken), confidence.double().mean().item(), counts, reader.sha256, accuracy, reader.name, reader.about
    )


def judge_digits(images: Tensor, asked: Int[Tensor, " n"] | None = None) -> ClassReport:
    """`read_classes` by the shipped classifier of digits."""
    return read_classes(MNISTClassifier(), images, asked)


def purity(code: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> float:
    """The share of items whose label is the commonest one among the items of their code.

    How well a code that nobody named, such as InfoGAN's category, matches labels; several codes may match one label.
    At least the share of the commonest label.

    Raises UsageError unless there is one code (from 0 on) and one label (from 0 on) for each item, and an item.
    """
    check_pairs(code, label)
    if not len(code) or code.min() < 0 or label.min() < 0:
        raise UsageError(f"purity takes at least one item, codes and labels from 0 on; got {len(code)} items")
    labels = int(label.max()) + 1
    table = (code.cpu() * labels + label.cpu()).bincount(minlength=(int(code.max()) + 1) * labels).view(-1, labels)
    return table.amax(1).sum().item() / len(code)


def check_pairs(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.dim() != 1:
        raise UsageError(f"one number for each item is needed on both sides; got {list(a.shape)} and {list(b.shape)}")
