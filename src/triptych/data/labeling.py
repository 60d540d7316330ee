"""Classes of examples: how a model numbers them, and which examples keep theirs where only some do."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core import Labels, UsageError, mix
from triptych.data.values import UNKNOWN


@dataclass(frozen=True)
class Numbering:
    """The classes of a pack, numbered as a model does."""

    space: Labels
    """The model's."""
    numbers: tuple[int, ...]
    """The model's number of each class of the pack."""

    @property
    def unchanged(self) -> bool:
        return self.numbers == tuple(range(len(self.numbers)))

    def of(self, y: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Classes of the pack as the model numbers them; what is unknown stays so."""
        return torch.tensor([*self.numbers, UNKNOWN])[y]  # -1 is the last


def shared_out(y: Int[Tensor, " n"], classes: int, labels: int, seed: int, name: str) -> Int[Tensor, " labels"]:
    """Which examples keep their class: `labels` of them, as many of each class (or one more), by a seed.

    Raises UsageError unless every class has its share.
    """
    most = int(y[y != UNKNOWN].bincount(minlength=classes).min()) * classes
    if not classes <= labels <= most:
        raise UsageError(
            f"labels={labels}: as many of each of the {classes} classes keep their label: {classes} to {most} of {name}"
        )
    generator = torch.Generator().manual_seed(mix(seed, labels))
    shuffled, order = torch.randperm(len(y), generator=generator), torch.randperm(classes, generator=generator)
    share = (labels - order + classes - 1) // classes  # the classes that come first take what is left over
    return torch.cat([shuffled[y[shuffled] == c][: int(share[c])] for c in range(classes)])
