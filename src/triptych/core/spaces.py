"""The spaces that random variables live in: x, and what x is conditioned on.

A space knows its shape, its number of dimensions, which values are valid, and how stored integers become tensors
and come back. Media of a fixed number of levels (images, voxels, video, audio) are tensors in [-1, 1]: level k of
`levels` is the value 2 k / (levels - 1) - 1, so that a binary pixel is -1 or 1 whatever the number of levels beside it.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import field
from difflib import get_close_matches
from math import log1p, prod
from typing import Annotated, Any, ClassVar, Literal, TypeVar, dataclass_transform

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from torch import Tensor

from triptych.core.config import RULES, Count, explained
from triptych.core.given import Given, Label, PartialLabel, Picture, Text, Vector
from triptych.core.text import Symbols
from triptych.errors import UsageError

T = TypeVar("T")
LevelCount = Annotated[int, Field(ge=2, le=65536)]
MU = 255
"""Of mu-law companding."""


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

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one element, without the batch."""
        raise NotImplementedError

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

    levels: int

    @property
    def dims(self) -> int:  # type: ignore[override]
        return prod(self.shape)

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
        if x.numel() and not (x.min() >= -1 - 1e-6 and x.max() <= 1 + 1e-6):
            low, high = x.min().item(), x.max().item()
            raise UsageError(f"{what} has values from {low:g} to {high:g}; {self} is scaled to [-1, 1]")


@space
class Images(Leveled):
    """Images of any number of channels and any height and width: [batch, channels, height, width]."""

    kind: ClassVar[str] = "images"
    given: ClassVar[type[Given]] = Picture
    channels: Count
    height: Count
    width: Count
    levels: LevelCount = field(default=256, kw_only=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)


@space
class Voxels(Leveled):
    """Solids on a grid: [batch, channels, depth, height, width]."""

    kind: ClassVar[str] = "voxels"
    given: ClassVar[type[Given]] = Picture
    channels: Count
    depth: Count
    height: Count
    width: Count
    levels: LevelCount = field(default=2, kw_only=True)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.channels, self.depth, self.height, self.width)


@space
class Video(Leveled):
    """Moving images: [batch, frames, channels, height, width]."""

    kind: ClassVar[str] = "video"
    given: ClassVar[type[Given]] = Picture
    frames: Count
    channels: Count
    height: Count
    width: Count
    levels: LevelCount = field(default=256, kw_only=True)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.frames, self.channels, self.height, self.width)


@space
class Audio(Leveled):
    """Sound: [batch, channels, length]; `rate` is in samples a second.

    The levels are evenly spaced in amplitude, or with companding="mu-law" in its companded form, f(a) = sign(a)
    log(1 + mu |a|) / log(1 + mu) with mu = 255 (ITU-T G.711): x is then f of the sound, and a likelihood is that of
    the companded levels, which lie closest where sound is softest.
    """

    kind: ClassVar[str] = "audio"
    given: ClassVar[type[Given]] = Picture
    channels: Count
    length: Count
    rate: Count = field(default=16000, kw_only=True)
    levels: LevelCount = field(default=65536, kw_only=True)
    companding: Literal["mu-law"] | None = field(default=None, kw_only=True)

    @property
    def shape(self) -> tuple[int, int]:
        return (self.channels, self.length)

    def compand(self, amplitude: Tensor) -> Tensor:
        """Amplitudes in [-1, 1] as values of x, not rounded to levels (`nearest` does that)."""
        if self.companding is None:
            return amplitude
        return amplitude.sign() * (MU * amplitude.abs()).log1p() / log1p(MU)

    def expand(self, x: Tensor) -> Tensor:
        """The amplitudes that x stands for: the inverse of `compand`."""
        return x if self.companding is None else x.sign() * torch.expm1(x.abs() * log1p(MU)) / MU


@space
class Tokens(Space):
    """Sequences of symbols: int64 [batch, length] in [0, vocabulary)."""

    kind: ClassVar[str] = "tokens"
    given: ClassVar[type[Given]] = Text
    vocabulary: Count
    length: Count
    symbols: Symbols | None = field(default=None, kw_only=True, repr=False)
    """What the tokens stand for, if they stand for text."""

    def __post_init__(self) -> None:
        if self.symbols is not None and len(self.symbols) != self.vocabulary:
            raise UsageError(f"vocabulary={self.vocabulary}, but there are {len(self.symbols)} symbols")

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def dims(self) -> int:  # type: ignore[override]
        return self.length

    def encode(self, text: str) -> Tensor:
        """Text of any length as tokens, int64 [m]. Raises UsageError for a character that has none."""
        return self.written().encode(text)

    def decode(self, tokens: Tensor) -> str:
        """The text that tokens [m] stand for."""
        return self.written().decode(tokens.tolist())

    def written(self) -> Symbols:
        """`symbols`. Raises UsageError if these are not tokens of text."""
        if self.symbols is None:
            raise UsageError(f"{self} does not say what its tokens stand for: it has no symbols")
        return self.symbols

    def elements(self, said: Any, n: int) -> Tensor:
        """Texts as tokens, or tokens as they are."""
        texts = [said] if isinstance(said, str) else said
        if not (isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts)):
            return super().elements(said, n)
        rows = [self.encode(text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if len(row) != self.length:
                raise UsageError(f"{text!r} is {len(row)} tokens; {self} takes {self.length}")
        return super().elements(rows[0] if isinstance(said, str) else torch.stack(rows), n)

    def check(self, x: Tensor, what: str = "x") -> None:
        super().check(x, what)
        check_range(x, self.vocabulary, what, self)


@space
class Points(Space):
    """Points in a Euclidean space: float32 [batch, dims], unscaled. Likelihoods here are densities."""

    kind: ClassVar[str] = "points"
    given: ClassVar[type[Given]] = Vector
    dims: Count

    @property
    def shape(self) -> tuple[int]:
        return (self.dims,)


class Classes(Space):
    """What spaces of one class each have in common."""

    classes: int
    names: tuple[str, ...] | None

    def __post_init__(self) -> None:
        if self.names is not None and len(self.names) != self.classes:
            raise UsageError(f"classes={self.classes}, but there are {len(self.names)} names")
        if self.names is not None and len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise UsageError(f"names: {twice!r} comes twice")

    def __repr__(self) -> str:
        some = ", ".join(map(repr, (self.names or ())[:6]))
        more = ", ..." if len(self.names or ()) > 6 else ""
        return f"{type(self).__name__}(classes={self.classes}{f', names=({some}{more})' if self.names else ''})"

    @property
    def shape(self) -> tuple[()]:
        return ()

    @property
    def dims(self) -> int:  # type: ignore[override]
        return 1

    @property
    def called(self) -> tuple[str, ...]:
        """What each class is called; its number, where they have no names."""
        return self.names or tuple(map(str, range(self.classes)))

    def named(self, name: str) -> int:
        """The number of the class of this name; capitals, and how accents are encoded, do not matter where no two names
        differ by them alone.

        Raises UsageError, with the names there are.
        """
        if name in self.called:
            return self.called.index(name)
        alike = [k for k, known in enumerate(self.called) if folded(known) == folded(name)]
        if len(alike) == 1:
            return alike[0]
        near = get_close_matches(name, self.called, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {listed(self.called)}"
        raise UsageError(f"there is no class {name!r}; {hint}")

    def number(self, name: str | int) -> int:
        """The number of a class by its name, or else by its number. Raises UsageError, with the names there are."""
        text = str(name)
        by_number = text not in self.called and text.isdecimal() and int(text) < self.classes
        return int(text) if by_number else self.named(text)

    def elements(self, said: Any, n: int) -> Tensor:
        """Classes by their numbers, or by their names."""
        return super().elements(numbered(self, said), n)


@space
class Labels(Classes):
    """One class each: int64 [batch] in [0, classes)."""

    kind: ClassVar[str] = "labels"
    given: ClassVar[type[Given]] = Label
    classes: Count
    names: tuple[str, ...] | None = field(default=None, kw_only=True, compare=False)
    """What the classes are called. As many classes are the same space, whatever they are called: where data meet a
    model, they are matched by their names (see `triptych.data.fits`)."""

    __repr__ = Classes.__repr__

    def check(self, x: Tensor, what: str = "y") -> None:
        super().check(x, what)
        check_range(x, self.classes, what, self)


@space
class PartialLabels(Classes):
    """One class each where it is known, and -1 where it is not: int64 [batch] in [-1, classes)."""

    kind: ClassVar[str] = "partial-labels"
    given: ClassVar[type[Given]] = PartialLabel
    classes: Count
    names: tuple[str, ...] | None = field(default=None, kw_only=True, compare=False)
    """As those of `Labels`."""

    __repr__ = Classes.__repr__

    def check(self, x: Tensor, what: str = "y") -> None:
        super().check(x, what)
        check_range(x, self.classes, what, self, start=-1)


def folded(name: str) -> str:
    """Names that people would call the same are one, folded: in other capitals, or with accents encoded otherwise (as
    some systems do in names of files)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def listed(names: Sequence[str], most: int = 8) -> str:
    """A few names for a message: "cat, dog and 98 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def numbered(space: Classes, said: Any) -> Any:
    """Names of classes as their numbers; what is no name stays as it is. Raises UsageError for an unknown name."""
    if isinstance(said, str):
        return space.number(said)
    return [numbered(space, one) for one in said] if isinstance(said, list | tuple) else said


def check_range(x: Tensor, end: int, what: str, space: Space, start: int = 0) -> None:
    if x.is_floating_point():
        raise UsageError(f"{what} holds {x.dtype} values; {space} takes whole numbers (int64)")
    if x.numel() and not (x.min() >= start and x.max() < end):
        low, high = x.min().item(), x.max().item()
        raise UsageError(f"{what} has values from {low} to {high}; {space} takes {start} to {end - 1}")


AnySpace = Images | Voxels | Video | Audio | Tokens | Points | PartialLabels | Labels
"""Every space, for reading one back from JSON: by its tag, or by its fields where an earlier version wrote it."""
