"""The real data that models are judged by, seen once through each kind of features."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych import metrics
from triptych.core import Data, ItemNoise, UsageError
from triptych.metrics.trained import SECONDS, Trained
from triptych.verbs import features as looks
from triptych.verbs.hearing import looked, pictures

log = logging.getLogger(__name__)

FEWEST = 10
"""Held-out examples without which no distance is worth its name."""
POOL = 20_000
"""Training examples that samples are compared with: enough for the floor and for the nearest neighbors."""
NUMBERS = 2**27
"""In them, at most: of large images there are fewer."""


def served(data: Data, n: int, seed: int) -> Tensor:
    """Up to n items of a data set, evenly spaced, as it serves them (binary pixels drawn by `seed`)."""
    rows = torch.arange(n) * len(data) // n if n < len(data) else torch.arange(len(data))
    parts = [rows[first : first + 1000] for first in range(0, len(rows), 1000)]
    return torch.cat([data.fetch(part, ItemNoise(seed, part.tolist())).x for part in parts])


class Judge:
    """The real data, seen once through each feature extractor; judges any number of models.

    `n` held-out and `pool` training examples are looked at, evenly spaced. `features` are names of
    `metrics.FEATURES`, by default those that tell most of this data (`features.usual`), as far as they can be made:
    `left_out` says why others could not. Those that have to be trained take `seconds` of one core, about, the first
    time, and are kept in `cache` (by default the one that packs are kept in).

    Raises UsageError for features that were asked for by name and cannot be made of this data.
    """

    def __init__(
        self,
        train: Data,
        test: Data,
        *,
        n: int = 2000,
        pool: int = POOL,
        seed: int = 0,
        features: Sequence[str] | None = None,
        seconds: float = SECONDS,
        cache: str | Path | None = None,
    ) -> None:
        self.training, self.truth, self.space = train, getattr(test, "truth", None), test.x
        train, test = looked(train), looked(test)
        self.shipped, self.data = metrics.shipped(test), test.name
        self.names: tuple[str, ...] | None = (
            self.shipped.called if self.shipped else getattr(train.given, "names", None)
        )
        """Of the classes that the reader tells apart."""
        self.references: list[metrics.Reference] = []
        self.left_out: dict[str, str] = {}
        if not test.x.planar:
            if features:
                raise UsageError(f"features are of images; {test.name} serves {test.x}")
            if test.x.kind == "voxels":  # compared by their shapes
                self.train, self.test = served(train, pool, seed), served(test, n, seed)
            return
        if len(test) < FEWEST:
            raise UsageError(f"{test.name} holds {len(test)} items; a comparison takes at least {FEWEST} held-out ones")
        pool = max(min(pool, NUMBERS // test.x.dims), FEWEST)
        self.train, self.test = served(train, pool, seed), served(test, n, seed)
        for name in features or looks.usual(train):
            try:
                look = looks.made(name, train, self.train, seconds=seconds, cache=cache)
            except UsageError as e:
                if features:
                    raise
                self.left_out[name] = str(e)
            else:
                self.references.append(self.through(look))

    def seen(self, x: Tensor) -> Tensor:
        """Samples as they are looked at beside the real ones: sound as pictures."""
        space: Any = self.space
        return pictures(space, x) if space.kind == "audio" else x

    def through(self, look: metrics.Extractor) -> metrics.Reference:
        return metrics.Reference(look, test=self.test, train=self.train, data=self.data)

    @cached_property
    def pixels(self) -> metrics.Reference:
        """By which copies are found."""
        shape = self.train.shape[1], self.train.shape[2], self.train.shape[3]
        there = (r for r in self.references if r.extractor.name == metrics.Pixels.name)
        return next(there, None) or self.through(metrics.Pixels(shape))

    @property
    def reader(self) -> metrics.Reader | None:
        """A classifier of the data's classes: one that ships with the package, or one that was trained for features."""
        if self.shipped:
            return self.shipped.reader()
        looks = (r.extractor for r in self.references)
        return next((one for one in looks if isinstance(one, Trained) and one.name == "classifier"), None)
