"""Spaces of classes, and their names."""

import unicodedata
from collections.abc import Sequence
from dataclasses import field
from difflib import get_close_matches
from typing import Any, ClassVar

from torch import Tensor

from triptych.core.config import Count
from triptych.core.given import Given, Label, PartialLabel
from triptych.core.space import Space, check_range, space
from triptych.errors import UsageError


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
    def values(self) -> int:
        return self.classes

    @property
    def choices(self) -> int:
        return self.classes

    @property
    def told(self) -> tuple[str, ...] | None:
        return self.names

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
    optional: ClassVar[bool] = True
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
