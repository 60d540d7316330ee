"""What every space is: a shape, a number of dimensions, which values are valid, how stored integers become tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from math import prod
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

import torch
from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from torch import Tensor

from triptych.core.config import RULES, explained
from triptych.core.given import Given, Label, PartialLabel
from triptych.core.text import Symbols
from triptych.errors import UsageError

T = TypeVar("T")

TRUSTING = ContextVar("TRUSTING", default=False)
"""Whether values are taken for what they should be."""


@contextmanager
def trusting() -> Iterator[None]:
    """For a while, shapes are checked and values are not: to look at them is to wait for a GPU."""
    token = TRUSTING.set(True)
    try:
        yield
    finally:
        TRUSTING.reset(token)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def space(cls: type[T]) -> type[T]:
    """As `config`, with positional arguments: `Images(1, 28, 28)`; in JSON it says its `kind`."""
    cls.tagged = model_serializer(mode="wrap")(tagged)  # type: ignore[attr-defined]
    before: Any = model_validator(mode="before")
    cls.untagged = before(classmethod(untagged))  # type: ignore[attr-defined]
    return explained(dataclass(cls, frozen=True, config=RULES))  # type: ignore[arg-type]


def tagged(self: Any, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
    return {"kind": self.kind, **fields(self)}


def untagged(cls: Any, value: Any) -> Any:
    """The fields alone. What earlier versions wrote has no tag, and is told apart by its fields."""
    fields = value.kwargs if isinstance(value, ArgsKwargs) else value
    if not isinstance(fields, dict) or "kind" not in fields:
        return value
    if fields["kind"] != cls.kind:
        raise ValueError(f"{str(fields['kind'])[:40]} where {cls.kind} belong")
    return {name: field for name, field in fields.items() if name != "kind"}


class Space:
    """What every space answers."""

    kind: ClassVar[str]
    """Its tag in JSON."""
    given: ClassVar[type[Given]]
    """What an element of it is as a condition: a class is given as a `Label`."""
    dims: int
    """How many numbers one element has."""
    measure: ClassVar[Literal["mass", "density"]] = "mass"
    """What a likelihood here is: a probability, or a density."""
    channel_axis: ClassVar[int] = 0
    """Which axis of an element holds its channels, where it has any."""
    ragged: ClassVar[bool] = False
    """Whether what is shorter than an element stands for one, with nothing after it."""
    planar: ClassVar[bool] = False
    """Whether its elements are pictures, [channels, height, width]."""
    scaled: ClassVar[bool] = False
    """Whether x lies in [-1, 1]."""
    optional: ClassVar[bool] = False
    """Whether a condition in it may be left out, all of it or a part."""
    symbols: Symbols | None = None
    """What its elements stand for, where they stand for text."""

    @property
    def values(self) -> int | None:
        """How many values each number of an element may take; None: it is a real number."""
        return None

    @property
    def choices(self) -> int | None:
        """How many classes there are, of a space of classes; else None."""
        return None

    @property
    def classed(self) -> bool:
        """Whether each element is a class that is known."""
        return self.choices is not None and not self.optional

    @property
    def told(self) -> tuple[str, ...] | None:
        """What its classes are called, of a space of classes with names."""
        return None

    def from_index(self, index: Tensor) -> Tensor:
        """What is stored of a batch, as x: the inverse of `index`."""
        return index

    def index(self, x: Tensor) -> Tensor:
        """A batch of x as it is stored: numbers from 0 to `values` - 1, or real numbers as they are. Raises UsageError
        if x is not in the space."""
        self.check(x)
        return x

    def nearest(self, x: Tensor) -> Tensor:
        """As `index`, of the nearest element."""
        return x

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one element, without the batch."""
        raise NotImplementedError

    def serves(self, needs: "Space") -> bool:
        """Whether elements of it are elements of what a model needs."""
        return self == needs

    def condition(self, values: Tensor) -> Given:
        """A batch of elements as conditions."""
        make: Any = self.given
        condition: Given = make(values)
        return condition

    def elements(self, said: Any, n: int) -> Tensor:
        """n elements, of what a person would write: a tensor, an array or a list; one element stands for n of it.

        Raises UsageError for what is nothing of the kind.
        """
        try:
            values = torch.as_tensor(said)
        except (TypeError, ValueError, RuntimeError) as e:
            raise UsageError(f"{said!r} is no element of {self}: {e}") from e
        return values.expand(n, *self.shape) if tuple(values.shape) == self.shape else values

    def check_condition(self, given: Given) -> None:
        """Raises UsageError unless these are conditions in this space: of its kind, its shape and its values."""
        known = isinstance(given, Label) and self.given is PartialLabel  # classes that are all known
        if not isinstance(given, self.given) and not known:
            takes, came = self.given.__name__, type(given).__name__
            raise UsageError(f"the condition is a {came}; one in {self} is a {takes}")
        (values,) = vars(given).values()
        self.check(values, "the condition")

    def check(self, x: Tensor, what: str = "x") -> None:
        """Raises UsageError unless `x` is a batch of elements of this space."""
        if not isinstance(x, Tensor):
            raise UsageError(
                f"{what} is a {type(x).__name__}: make a tensor of it (torch.as_tensor, .float() of images)"
            )
        if tuple(x.shape[1:]) != self.shape:
            raise UsageError(
                f"{what} has shape {list(x.shape)}; {self} takes [batch, {', '.join(map(str, self.shape))}]"
            )


class Leveled(Space):
    """A space of `levels` evenly spaced values in [-1, 1]."""

    scaled: ClassVar[bool] = True
    levels: int

    @property
    def dims(self) -> int:  # type: ignore[override]
        return prod(self.shape)

    @property
    def values(self) -> int:
        return self.levels

    def from_index(self, index: Tensor) -> Tensor:
        """Levels 0 ... levels-1 (any integer type) -> float32 in [-1, 1]."""
        return index.float().mul_(2 / (self.levels - 1)).sub_(1)

    def nearest(self, x: Tensor) -> Tensor:
        """The level nearest to each value; values outside [-1, 1] go to the ends. float -> int64."""
        return ((x.float() + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1).long()

    def index(self, x: Tensor) -> Tensor:
        """The level of each value: the inverse of `from_index`. float -> int64.

        Raises UsageError where a value lies between levels: a likelihood of such a value would be a number
        about something that is not in the space.
        """
        self.check(x)
        k = self.nearest(x)
        if TRUSTING.get():
            return k
        # float32 keeps about 1e-7 of the value; 1e-3 of a step is far above rounding and far below a different value
        off = ((x.float() + 1) * ((self.levels - 1) / 2) - k).abs().max().item() if x.numel() else 0.0
        if not off <= max(1e-3, 2e-7 * self.levels):
            raise UsageError(
                f"x is not on {self}: a value lies {off:.3g} of a step from its nearest level (of {self.levels}); "
                f"quantize it (space.from_index(space.nearest(x))) or describe the data with another number of levels"
            )
        return k

    def check(self, x: Tensor, what: str = "x") -> None:
        super().check(x, what)
        if x.numel() and not TRUSTING.get() and not (x.min() >= -1 - 1e-6 and x.max() <= 1 + 1e-6):
            low, high = x.min().item(), x.max().item()
            raise UsageError(f"{what} has values from {low:g} to {high:g}; {self} is scaled to [-1, 1]")


def check_range(x: Tensor, end: int, what: str, space: Space, start: int = 0) -> None:
    if x.is_floating_point():
        raise UsageError(f"{what} holds {x.dtype} values; {space} takes whole numbers (int64)")
    if x.numel() and not TRUSTING.get() and not (x.min() >= start and x.max() < end):
        low, high = x.min().item(), x.max().item()
        raise UsageError(f"{what} has values from {low} to {high}; {space} takes {start} to {end - 1}")
