"""What a model is conditioned on: one frozen dataclass of tensors for each kind of condition."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from triptych.core.noise import Noise
from triptych.core.precision import precisely


class Given:
    """A batch of conditions; every field is a tensor with the batch as its first axis."""

    def map(self, f: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(**{name: f(value) for name, value in vars(self).items()})

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda t: t.to(device))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return self.map(lambda t: t[rows])

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))


@dataclass(frozen=True, eq=False)
class Label(Given):
    """A class each."""

    y: Int[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class PartialLabel(Given):
    """A class each, where known: -1 stands for unknown (semi-supervised learning)."""

    y: Int[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Text(Given):
    """A sentence each, as tokens."""

    tokens: Int[Tensor, "batch length"]


@dataclass(frozen=True, eq=False)
class Vector(Given):
    """Some numbers each: an age, attributes, where a camera stood."""

    values: Float[Tensor, "batch dims"]


@dataclass(frozen=True, eq=False)
class Picture(Given):
    """A grid aligned with x: a label map, a low resolution, a masked image with its mask, past frames, a mel."""

    grid: Float[Tensor, "batch channels *size"]


@dataclass(frozen=True, eq=False)
class Transfer(Given):
    """A picture, and where it should go: a domain or an age."""

    grid: Float[Tensor, "batch channels height width"]
    target: Int[Tensor, " batch"]


G = TypeVar("G", bound=Given | None)


@dataclass(frozen=True, eq=False)
class Batch(Generic[G]):
    """Examples, their conditions, and the randomness that this step may spend on them."""

    x: Float[Tensor, "batch ..."]
    given: G
    noise: Noise
    labeled: Float[Tensor, ""] | None = None
    """Where this is one of several parts of a batch whose labels may be unknown: how many are known, a part."""
    lengths: Int[Tensor, " batch"] | None = None
    """Where examples may be shorter than their space, as recordings are: how far each goes, before silence."""
    wrong: Bool[Tensor, " batch"] | None = None
    """Where negatives are to be aware of the condition: for which items another's x stands in for what is generated."""
    before: Callable[[], Tensor] | None = None
    """Where this is one of several parts of a batch: gives for each item the x of the item before it in all of it."""
    made: Callable[[Callable[[], Tensor]], Tensor] | None = None
    """Where several players move on this batch: gives what one of them makes of it."""

    codes: Tensor | None = None
    """Where a stage reads codes of x that stay the same as long as it lasts (`Stage.reads`): they, computed before."""

    def coded(self, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """What `encode` makes of x: computed now, if it was not before, and in float32, as then."""
        return precisely(encode, self.x) if self.codes is None else self.codes

    def once(self, make: Callable[[], Tensor]) -> Tensor:
        """What `make` makes of the batch: made once, if several players move on it (`Stage.maker`)."""
        return make() if self.made is None else self.made(make)

    def others(self) -> Float[Tensor, "batch ..."]:
        """The x of the item before for each: real, but not what the condition asks for. (That of a batch of one is.)"""
        return self.x.roll(1, 0) if self.before is None else self.before()

    def fakes(self, generated: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """What a discriminator of x and its condition is to call generated: what was, or for `wrong` ones `others`."""
        if self.wrong is None or (len(self.x) == 1 and self.before is None):
            return generated
        wrong = self.wrong.view(-1, *[1] * (self.x.dim() - 1))
        return torch.where(wrong, self.others().to(generated.dtype), generated)
