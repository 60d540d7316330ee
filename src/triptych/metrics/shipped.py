"""Extractors that ship with the package and know a data set: the one place where a data set is asked for by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from triptych.core import Data
from triptych.metrics.extractors import MNISTClassifier

CHANGED = r"(-binary|-fixed|-threshold|-(gaussian|uniform|multiplicative|poisson|mutated)-[\d.]+|-\d+-labels)*"
"""What the name of a data set may say of how it is served."""


@dataclass(frozen=True)
class Shipped:
    """A data set, and the classifier that was trained on it."""

    names: re.Pattern[str]
    """Of the data, but for the split: "mnist-binary"."""
    shape: tuple[int, int, int]
    reader: Callable[[], MNISTClassifier]
    kinds: str
    """What the classes are: "digits"."""
    called: tuple[str, ...]
    """What each of them is called."""


SHIPPED = (Shipped(re.compile("mnist" + CHANGED), (1, 28, 28), MNISTClassifier, "digits", tuple("0123456789")),)


def shipped(data: Data) -> Shipped | None:
    """What is known of a data set in advance, by its name and its shape; None for the user's own."""
    name = data.name.partition(":")[0]
    return next((one for one in SHIPPED if one.names.fullmatch(name) and data.x.shape == one.shape), None)
