"""A data set that is ready to be served: rows of a pack."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from triptych.core import (
    Batch,
    DataError,
    Given,
    ItemNoise,
    Labels,
    Noise,
    PartialLabels,
    Space,
    Tokens,
    UsageError,
    planar,
    sent,
)
from triptych.data.beside import NO_CONDITION, check_condition, makers, spaces
from triptych.data.columns import Column, Gathered
from triptych.data.controlled import Mixture
from triptych.data.files import Problem, sha256_of
from triptych.data.labeling import Numbering, shared_out
from triptych.data.notebook import html_of_data
from triptych.data.packs import Pack
from triptych.data.sink import Kept, check_grey
from triptych.data.splits import choose
from triptych.data.text import Tokenizer
from triptych.data.values import UNKNOWN
from triptych.data.windows import Windows
from triptych.media.reading import Reading


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples by number, with their conditions. Satisfies `triptych.core.Data`.

    `pack` is what the source was packed to, and `rows` are those of its rows that are served: a range, or int64 [n].
    Of a text they are tokens, at each of which a window starts.
    """

    pack: Pack
    split: str
    """ "train", "test", "validation" or "all"."""
    rows: range | Tensor
    dynamic: bool
    """Whether each pixel is drawn anew, -1 or 1, whenever it is fetched."""
    opened: Mapping[str, Any] | None = None
    """What `data` was called with, but for the split: how to open the source again. JSON values."""
    windows: Windows | None = None
    """How text is cut into examples."""
    mutate: float = 0.0
    """The share of values that are replaced by any level, drawn anew whenever they are fetched."""
    labeled: Tensor | None = None
    """Those rows of the pack, bool, whose class is served; that of the others is unknown. None: all are."""
    condition: str | None = None
    """Which column was asked for as the condition; "none" for none. None: captions, if there are any, or else
    classes."""
    numbering: Numbering | None = None
    """How the classes are numbered, if not as in the pack."""

    def __post_init__(self) -> None:
        if not 0 <= self.mutate <= 1:
            raise UsageError(f"mutate={self.mutate}: it is a share, from 0 to 1")
        if self.mutate and (self.pack.meta.x.symbols or self.pack.meta.x.values is None):
            raise UsageError(f"mutate= is for images and sound; {self.pack.meta.name} holds {self.pack.meta.x}")
        if not self.dynamic:
            return
        if not self.pack.meta.x.planar:
            raise UsageError(f"binary= is for images; {self.pack.meta.name} holds {self.pack.meta.x}")
        check_grey(self.pack.meta.x.shape[0])

    @classmethod
    def of(
        cls,
        pack: Pack,
        split: str,
        dynamic: bool = False,
        opened: Mapping[str, Any] | None = None,
        windows: Windows | None = None,
    ) -> "Dataset":
        """The rows of a split ("all" for all of them). Raises DataError if there are none."""
        chosen, start, stop = choose(split, pack.meta.splits, pack.meta.name)
        rows = windows.within(start, stop) if windows else range(start, stop)
        if windows and not rows:
            raise DataError(
                f'{pack.meta.name} has {stop - start} tokens in split "{chosen}", fewer than a window of '
                f"length={windows.length}: lower the length"
            )
        return cls(pack, chosen, rows, dynamic, opened, windows)

    def held_out(self) -> "Dataset | None":
        """What a model trained on this may be checked on: the validation split, else the test split; None if neither
        holds anything, or of a text not even a window."""
        for split in ("validation", "test"):
            start, stop = self.pack.meta.splits.get(split, (0, 0))
            windows = Windows.of(self.windows.length, None, split) if self.windows else None
            if self.split == "train" and (windows.within(start, stop) if windows else stop > start):
                return self.part(split, windows)
        return None

    def part(self, split: str, windows: Windows | None) -> "Dataset":
        """A split of the same source, its conditions served in the same way."""
        found = Dataset.of(self.pack, split, self.dynamic, self.opened, windows)
        return replace(found, condition=self.condition, numbering=self.numbering)

    def training_part(self) -> "Dataset":
        """What was not held out, of the same source and served in the same way.

        Raises UsageError if this is a part of it, and DataError if there is none.
        """
        if self.split in ("train", "all"):
            raise UsageError(f"{self.name} is what is trained on, or holds it: nothing of it is held out")
        return self.part("train", Windows.of(self.windows.length, None, "train") if self.windows else None)

    @property
    def name(self) -> str:
        """ "mnist-binary:test"."""
        part = "" if isinstance(self.rows, range) else f"[{len(self.rows)}]"
        mutated = f"-mutated-{self.mutate:g}" if self.mutate else ""
        labels = "" if self.labeled is None else f"-{int(self.labeled.sum())}-labels"
        return f"{self.pack.meta.name}{'-binary' if self.dynamic else ''}{mutated}{labels}:{self.split}{part}"

    @property
    def fingerprint(self) -> str:
        """A sha256 of the content and of the way it is served."""
        if isinstance(self.rows, range):
            rows = str(self.rows)
        else:
            rows = hashlib.sha256(self.rows.numpy().tobytes()).hexdigest()
        served = str(self.windows) if self.windows else str(self.dynamic)
        if self.labeled is not None:
            served += hashlib.sha256(self.labeled.numpy().tobytes()).hexdigest()
        if self.condition in (*self.pack.values, NO_CONDITION) or (self.condition == "label" and self.tokenizer):
            served += str(self.condition)
        if self.numbering and not self.numbering.unchanged:
            served += str(self.numbering.numbers)
        return sha256_of(self.pack.fingerprint, rows, served, *([str(self.mutate)] if self.mutate else []))

    @property
    def x(self) -> Kept:
        """Where the examples live. Two levels if they are made binary."""
        x = self.pack.meta.x
        if self.windows and isinstance(x, Tokens):  # the one space that is served in other lengths than it is stored
            return replace(x, length=self.windows.length)
        return replace(x, levels=2) if self.dynamic and planar(x) else x  # only pictures are drawn anew

    @property
    def given(self) -> Space | None:
        """Where their conditions live: captions if there are any, or else classes; or what was asked for."""
        if self.serves == self.kinds:
            return self.label_space
        return spaces(self.pack)[self.serves] if self.serves else None

    @property
    def kinds(self) -> str:
        """The column that says the class of each example: label, or that of values which was asked for."""
        asked = self.pack.meta.values.get(self.condition or "")
        return str(self.condition) if asked is not None and asked.choices else "label"

    @property
    def y(self) -> np.ndarray | None:
        """The classes of all rows of the pack, as it numbers them."""
        return self.pack.y if self.kinds == "label" else self.pack.values[self.kinds]

    @property
    def label_space(self) -> Labels | PartialLabels | None:
        """Where the classes live, if there are any."""
        stored = spaces(self.pack).get(self.kinds)
        if stored is None or stored.choices is None:
            return None
        space = self.numbering.space if self.numbering else Labels(stored.choices, names=stored.told)
        unknown = self.labeled is not None or stored.optional
        return PartialLabels(space.classes, names=space.names) if unknown else space

    @property
    def columns(self) -> Mapping[str, Space]:
        """All that a row has, by name: x, label, caption, values, and further pictures; see `gather`."""
        found: dict[str, Space] = {"x": self.x, **spaces(self.pack)}
        if self.label_space:
            found[self.kinds] = self.label_space
        return found | {name: stored.column.space for name, stored in self.pack.columns.items()}

    @property
    def maps(self) -> Mapping[str, Column]:
        """The further columns of pictures, and how each was read."""
        return self.pack.meta.columns

    @property
    def readings(self) -> Mapping[str, Reading]:
        """How the files of each column of pictures were read."""
        return self.pack.readings

    def gather(self, rows: Int[Tensor, " batch"], noise: Noise) -> Gathered:
        """Every column of the examples numbered `rows`, on the device of `noise`: x as `fetch` serves it, classes int64
        [n] (-1 where unknown), captions int64 [n, length], pictures float32 in [-1, 1]."""
        numbers, device = self.locate(rows), noise.device

        def taken(array: np.ndarray) -> Tensor:
            return sent(torch.from_numpy(array).index_select(0, numbers), device)

        x = self.fetch(rows, noise).x
        found = {"x": lambda: x, **makers(self.pack, numbers, device)}
        if self.y is not None:
            found[self.kinds] = lambda: sent(self.classes_of(numbers), device)
        for name, stored in self.pack.columns.items():
            found[name] = partial(lambda one: one.column.served(taken(one.pixels)), stored)
        return Gathered(found)

    @property
    def serves(self) -> str | None:
        """Which column is served as the condition."""
        if self.condition:
            return self.condition if self.condition in spaces(self.pack) else None
        return "caption" if self.tokenizer else "label" if self.pack.meta.classes else None

    def serving(self, condition: str) -> "Dataset":
        """The same with this column as the condition. Raises UsageError if there is none of this name."""
        check_condition(self.pack, condition)
        return replace(self, condition=condition)

    def numbered(self, numbering: Numbering) -> "Dataset":
        """The same with other numbers for the classes that it serves."""
        if self.numbering:
            before = self.numbering.numbers
            numbering = replace(numbering, numbers=tuple(numbering.numbers[k] for k in before))
        return replace(self, numbering=numbering)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        given = f", given {self.given}" if self.given else ""
        return f"<data {self.name}: {len(self):,} of {self.x}{given}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html_of_data(self, self.classes)

    def __getitem__(self, row: int | slice) -> Any:
        """One example: x alone, or the pair of x and its condition, where there is one; or some of the rows.

        Binary pixels are drawn by the row's number, always the same. Raises IndexError.
        """
        if isinstance(row, slice):
            return self.subset(row)
        number = row + len(self) if row < 0 else row
        if not 0 <= number < len(self):
            raise IndexError(f"{self.name} has rows 0 to {len(self) - 1}; asked for {row}")
        rows = torch.tensor([number])
        x = self.fetch(rows, ItemNoise(0, [number])).x[0]
        if self.serves == "caption" and (captions := self.pack.captions):
            return x, captions[int(self.locate(rows))]
        return x if self.serves is None else (x, self.gather(rows, ItemNoise(0, [number]))[self.serves].item())

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def fetch(self, rows: Int[Tensor, " batch"], noise: Noise) -> Batch[Any]:
        """The examples numbered `rows`, on the device of `noise`.

        One gather from the packed array; bytes are what crosses to the device. x is float32: images and sound in
        [-1, 1], points as they are; or int64 tokens.
        """
        numbers, device = self.locate(rows), noise.device
        if self.windows:
            places = numbers[:, None] + torch.arange(self.windows.length)
            return Batch(sent(torch.from_numpy(self.pack.x)[places, 0], device).long(), None, noise)
        k = sent(self.pack.levels(numbers), device)
        given: Given | None = None
        where, column = self.given, self.serves
        if where is not None and column is not None:
            classes = sent(self.classes_of(numbers), device) if column == self.kinds else None
            given = where.condition(makers(self.pack, numbers, device)[column]() if classes is None else classes)
        space, sizes = self.x, self.pack.sizes
        lengths = None if sizes is None else sent(torch.from_numpy(sizes)[numbers, 1], device)
        if self.dynamic:
            k = noise.uniform(*space.shape) < k / 255
        if self.mutate and space.values is not None:
            replaced, by = noise.uniform(*space.shape) < self.mutate, noise.uniform(*space.shape) * space.values
            k = torch.where(replaced, by.long(), k.long())
        return Batch(space.from_index(k), given, noise, lengths=lengths)

    def locate(self, rows: Tensor) -> Tensor:
        """The rows of the pack that `rows` of this data set are. Raises IndexError."""
        if len(rows) and not (0 <= int(rows.min()) and int(rows.max()) < len(self)):
            raise IndexError(f"{self.name} has rows 0 to {len(self) - 1}; asked for {rows.min()} to {rows.max()}")
        return rows * self.rows.step + self.rows.start if isinstance(self.rows, range) else self.rows[rows]

    def take(self, array: Any) -> Tensor:
        """The served rows of one of the pack's arrays: a view where they are a range."""
        tensor = torch.from_numpy(array)
        if self.windows:
            tensor = tensor[:, 0].unfold(0, self.windows.length, 1)
        rows = self.rows
        return tensor[rows.start : rows.stop : rows.step] if isinstance(rows, range) else tensor[rows]

    @property
    def stored(self) -> Shaped[Tensor, "n ..."]:
        """What is stored: levels [n, *x.shape], uint8 or int32 (before any drawing; sound with the silence after it),
        float32 points [n, dims], or windows of tokens [n, length].

        A view of the mapped file where it can be: nothing is read before it is used.
        """
        if self.pack.sizes is not None:
            return self.pack.levels(self.locate(torch.arange(len(self))))
        return self.take(self.pack.x)

    @property
    def labels(self) -> Int[Tensor, " n"] | None:
        """The class of each example, int64, if there are classes; -1 where it is not known, or not served."""
        rows = (
            torch.arange(self.rows.start, self.rows.stop, self.rows.step) if isinstance(self.rows, range) else self.rows
        )
        return None if self.y is None else self.classes_of(rows)

    def classes_of(self, rows: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
        """The classes of rows of the pack, as they are served."""
        assert self.y is not None
        y = torch.from_numpy(self.y).index_select(0, rows)
        if self.labeled is not None:
            y = torch.where(self.labeled[rows], y, UNKNOWN)
        return y if self.numbering is None else self.numbering.of(y)

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes, by their number."""
        return list(self.label_space.called) if self.label_space else None

    @property
    def captions(self) -> list[str] | None:
        """The caption of each example, if there are captions."""
        captions = self.pack.captions
        return (
            None
            if captions is None
            else [captions[i] for i in (self.rows if isinstance(self.rows, range) else self.rows.tolist())]
        )

    @property
    def tokenizer(self) -> Tokenizer | None:
        """How captions become tokens."""
        return self.pack.meta.tokenizer

    @property
    def problems(self) -> list[Problem]:
        """Files of the source (of any split) that were skipped or not taken whole."""
        return list(self.pack.meta.problems)

    @property
    def truth(self) -> Mixture | None:
        """The distribution that x was drawn from, where it is known."""
        return self.pack.meta.truth

    def partly_labeled(self, labels: int, seed: int = 0) -> "Dataset":
        """Only `labels` examples keep their class, as many of each class (or one more); that of the others becomes
        unknown.

        Which ones is a function of the seed. They are repeated, as often as it takes for about half of all examples,
        and so of a batch, to have a class; each is also there once among the others.

        Raises UsageError unless there are classes and every class has its share of `labels`.
        """
        y = self.labels
        if y is None or self.serves != self.kinds:
            raise UsageError(f"labels={labels}: {self.pack.meta.name} has no classes")
        kept = shared_out(y, len(self.classes or ()), labels, seed, self.name)
        every, chosen = self.locate(torch.arange(len(self))), self.locate(kept)
        labeled = torch.zeros(len(self.pack), dtype=torch.bool)
        labeled[chosen] = True
        return replace(self, rows=torch.cat([every, chosen.repeat(len(self) // labels)]), labeled=labeled)

    def subset(self, rows: slice | Sequence[int] | Int[Tensor, " n"]) -> "Dataset":
        """Only these rows, by number. Raises IndexError."""
        if isinstance(rows, slice):
            rows = range(len(self))[rows]
            if rows.step == 1 and isinstance(self.rows, range):
                return replace(self, rows=self.rows[rows.start : rows.stop])
        numbers = rows if isinstance(rows, Tensor) else torch.tensor(list(rows), dtype=torch.int64)
        return replace(self, rows=self.locate(numbers))
