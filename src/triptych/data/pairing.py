"""Two sources as one: paired, row by row, or both as they come."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core import Batch, Data, DataError, Noise, Space, UsageError
from triptych.data.columns import Column, Gathered, columns_of, gathered, readings_of
from triptych.data.files import Problem, sha256_of
from triptych.data.sources import Served, data
from triptych.media.reading import Reading


def pair(*, x: Any, split: str | None = None, size: Any = None, crop: int | None = None, **columns: Any) -> Served:
    """Opens x with further columns from other sources: `pair(x="photos/", map="maps/")`.

    Folders (and archives) of pictures are matched by the names of their files below them, without the ending; a row
    that lacks one is left out and named. Arrays are matched row by row. `split`, `size` and `crop` are as for `data`,
    which takes further options with `pair={"map": "maps/"}`. Raises as `data` does.
    """
    if not columns:
        raise UsageError('pair needs a column beside x: pair(x="photos/", map="maps/")')
    return data(x, pair=columns, split=split, size=size, crop=crop)


@dataclass(frozen=True, eq=False)
class View:
    """A column of a data set for x, of all its rows or of those of one class. Satisfies `triptych.core.Data`."""

    data: Any
    column: str = "x"
    label: int | None = None
    """The class whose rows are served."""

    def __post_init__(self) -> None:
        if not len(self):
            raise DataError(f"{self.name}: there is no picture of it")

    @cached_property
    def rows(self) -> Int[Tensor, " n"]:
        """Those of the data."""
        return torch.arange(len(self.data)) if self.label is None else (self.data.labels == self.label).nonzero()[:, 0]

    @property
    def called(self) -> str:
        return self.column if self.label is None else str((self.data.classes or [])[self.label])

    @property
    def name(self) -> str:
        return f"{self.data.name}, {self.called}"

    @property
    def fingerprint(self) -> str:
        return sha256_of(self.data.fingerprint, self.column, str(self.label))

    @property
    def x(self) -> Space:
        return columns_of(self.data)[self.column]

    given = None

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, rows: Int[Tensor, " batch"], noise: Noise) -> Batch[Any]:
        return Batch(gathered(self.data, self.rows[rows], noise)[self.column], None, noise)

    def held_out(self) -> "View | None":
        """None, too, where all rows of its class are for training."""
        held = self.data.held_out()
        if held is None or (self.label is not None and not (held.labels == self.label).any()):
            return None
        return replace(self, data=held)

    def training_part(self) -> "View":
        return replace(self, data=self.data.training_part())

    @property
    def readings(self) -> Mapping[str, Reading]:
        found = readings_of(self.data)
        return {"x": found[self.column]} if self.column in found else {}

    @property
    def split(self) -> str:
        return str(getattr(self.data, "split", "all"))

    @property
    def opened(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = getattr(self.data, "opened", None)
        return found

    @property
    def problems(self) -> list[Problem]:
        return list(getattr(self.data, "problems", []))

    labels = classes = captions = tokenizer = truth = None


@dataclass(frozen=True, eq=False)
class Unpaired:
    """Two data sets, both served, whose rows have nothing to do with each other. Satisfies `triptych.core.Data`.

    Row i has the i-th x and any row of the other, drawn anew whenever it is served. Where they are columns of the same
    rows, and so their truth is known, held-out rows are served as they belong together: to measure by, not to train on.
    """

    paired: ClassVar[bool] = False
    a: Any
    """The column A: what is translated."""
    b: Any
    """x."""

    @property
    def name(self) -> str:
        if isinstance(self.a, View) and isinstance(self.b, View) and self.a.data is self.b.data:
            return f"{self.b.name} from {self.a.called}"
        return f"{self.b.name}+{self.a.name}"

    @property
    def fingerprint(self) -> str:
        return sha256_of("unpaired", self.a.fingerprint, self.b.fingerprint)

    @property
    def x(self) -> Space:
        space: Space = self.b.x
        return space

    @property
    def given(self) -> Space | None:
        space: Space | None = self.b.given
        return space

    @property
    def columns(self) -> Mapping[str, Space]:
        return {**columns_of(self.b), "A": self.a.x}

    @property
    def known(self) -> bool:
        """Whether both are columns of the same rows."""
        return isinstance(self.a, View) and isinstance(self.b, View) and self.a.data is self.b.data and not self.classed

    @property
    def classed(self) -> bool:
        return any(isinstance(side, View) and side.label is not None for side in (self.a, self.b))

    @property
    def together(self) -> bool:
        """Whether rows are served as they belong together."""
        return self.known and self.split not in ("train", "all")

    def __len__(self) -> int:
        return len(self.b)

    def fetch(self, rows: Int[Tensor, " batch"], noise: Noise) -> Batch[Any]:
        batch: Batch[Any] = self.b.fetch(rows, noise)
        return batch

    def gather(self, rows: Int[Tensor, " batch"], noise: Noise) -> Gathered:
        """Every column of rows of x, with any row of A (or that which belongs to it, see `together`)."""
        if self.together:
            both = gathered(self.b.data, rows, noise)
            return Gathered({"x": lambda: both[self.b.column], "A": lambda: both[self.a.column]})
        found = gathered(self.b, rows, noise)
        others = (noise.uniform(1)[:, 0].cpu().double() * len(self.a)).long().clamp_(max=len(self.a) - 1)
        a = self.a.fetch(others, noise).x
        return Gathered({**{name: partial(found.__getitem__, name) for name in found}, "A": lambda: a})

    def held_out(self) -> "Unpaired | None":
        a, b = self.a.held_out(), self.b.held_out()
        if a is None or b is None:
            return None
        return Unpaired(replace(a, data=b.data), b) if self.known else Unpaired(a, b)

    def training_part(self) -> "Unpaired":
        a, b = self.a.training_part(), self.b.training_part()
        return Unpaired(replace(a, data=b.data), b) if self.known else Unpaired(a, b)

    @property
    def maps(self) -> Mapping[str, Column]:
        found: Mapping[str, Column] = getattr(self.b, "maps", {})
        return found

    @property
    def readings(self) -> Mapping[str, Reading]:
        """Of x, and of what is translated, which is called A."""
        sides = {"x": readings_of(self.b), "A": readings_of(self.a)}
        return {name: its["x"] for name, its in sides.items() if "x" in its}

    @property
    def problems(self) -> list[Problem]:
        return [*getattr(self.b, "problems", []), *getattr(self.a, "problems", [])]

    @property
    def split(self) -> str:
        """What x is a part of."""
        split: str = getattr(self.b, "split", "all")
        return split

    @property
    def opened(self) -> Mapping[str, Any] | None:
        """How to open the data again, of which both are parts."""
        found: Mapping[str, Any] | None = self.b.opened if isinstance(self.b, View) else None
        return found

    labels = classes = captions = tokenizer = truth = None


def unpaired(a: Any, b: Any = None, *, split: str | None = None, size: Any = None, crop: int | None = None) -> Unpaired:
    """Opens two sources (or takes two data sets) that are not paired: x is of b, and beside it the column A has rows of
    a, drawn anew whenever they are served. Of one source, b is its trainB (and testB), and a its trainA.

    Raises as `data` does."""

    def opened(source: Any, x: str | None = None) -> Any:
        return source if isinstance(source, Data) else data(source, split=split, size=size, crop=crop, x=x)

    return Unpaired(opened(a, "A"), opened(a, "B")) if b is None else Unpaired(opened(a), opened(b))
