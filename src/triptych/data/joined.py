"""Columns of a source: those that its files declare, or those that other sources bring."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from triptych.core import DataError, UsageError, planar
from triptych.data.builtin import Source
from triptych.data.columns import Column, Stored
from triptych.data.decoding import read_images
from triptych.data.files import Problem, Tree, sha256_of
from triptych.data.packing import build
from triptych.data.pairs import declared, declares, one_of, siblings, unpaired
from triptych.data.rows import Part, read_rows
from triptych.data.sink import CHUNK, Content, Options, Sink
from triptych.data.values import NAME, TAKEN

VERSION = 3
"""Changes when the same source would be read into other columns."""


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """What is asked of a source's columns (see `data`)."""

    x: str | None = None
    halves: str | None = None
    index: str | None = None
    pair: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in self.pair or ():
            if not NAME.fullmatch(name) or name in TAKEN:
                raise UsageError(f"pair: a column cannot be called {name!r}; give it another name")
        if self.pair and (self.x is not None or self.halves is not None):
            raise UsageError("pair= brings columns from other sources: leave out x= and halves=")

    @property
    def on_disk(self) -> bool:
        return all(isinstance(other, str | Path) for other in (self.pair or {}).values())

    @property
    def stamp(self) -> str:
        return sha256_of("columns", str(VERSION), str(self.x), str(self.halves), str(self.index))

    def opened(self, named: Callable[[str | Path], bool]) -> dict[str, Any]:
        """How to ask for it again: JSON values."""
        said = {"x": self.x, "halves": self.halves, "index": self.index}
        found: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        if self.pair and self.on_disk:
            found["pair"] = {n: str(s) if named(s) else str(Path(s).absolute()) for n, s in self.pair.items()}
        return found


def with_columns(found: Source, tree: Tree, arranged: Arrangement) -> Source:
    """The source with the columns that its files declare; as it is if they declare none."""
    if arranged.x and (files := one_of(tree, arranged.x)) is not None:
        part = Part(tree, files)
        return replace(
            found, read=lambda sink: read_images(part, sink), stamp=sha256_of(found.stamp, arranged.stamp), tree=None
        )
    asked = bool(arranged.x) or arranged.halves is not None
    if not asked and (arranged.x == "" or not declares(tree)):
        if arranged.index:
            raise UsageError(f"index={arranged.index}: {tree.name} has no column beside x")
        note = unpaired(tree)
        return found if note is None else replace(found, read=lambda sink: noted(found.read(sink), note))

    def read(sink: Sink) -> Content:
        said = declared(tree, arranged.x, arranged.halves)
        return read_images(tree, sink) if said is None else read_rows(tree, said, sink, arranged.index)

    return replace(found, read=read, stamp=sha256_of(found.stamp, arranged.stamp))


def noted(content: Content, note: str) -> Content:
    content.notes.append(note)
    return content


def joined(found: Source, others: Mapping[str, Source], arranged: Arrangement) -> Source:
    """A source with columns from others: by the names of files where all are files of pictures, else by row."""
    stamp = sha256_of(found.stamp, arranged.stamp, *(part for n, other in others.items() for part in (n, other.stamp)))
    trees = {"x": found.tree, **{name: other.tree for name, other in others.items()}}
    files = {name: tree for name, tree in trees.items() if tree is not None}
    if len(files) == len(trees):
        together = Together(files)

        def by_name(sink: Sink) -> Content:
            said = siblings(together, "x")
            if said is None:
                raise DataError(f"{together.name} hold no pictures to pair")
            return read_rows(together, said, sink, arranged.index)

        return replace(found, read=by_name, stamp=stamp, tree=None)
    if files:
        raise UsageError(f"pair: {', '.join(files)} is a folder of pictures; pair it with folders, arrays with arrays")
    if arranged.index is not None:
        raise UsageError("index= is for files of pictures, and these are arrays")
    return replace(found, read=lambda sink: by_row(found, others, sink), stamp=stamp)


@dataclass
class Together:
    """Several trees as one, each below a folder of its own."""

    trees: Mapping[str, Tree]

    def __post_init__(self) -> None:
        self.name = " and ".join(tree.name for tree in self.trees.values())
        below = [(f"{top}/{name}", size) for top, tree in self.trees.items() for name, size in tree.files.items()]
        self.files = dict(below)
        self.problems = [
            Problem(file=f"{top}/{p.file}", reason=p.reason) for top, tree in self.trees.items() for p in tree.problems
        ]
        self.stamp = sha256_of(*(tree.stamp for tree in self.trees.values()))

    def read(self, name: str) -> bytes:
        top, _, rest = name.partition("/")
        return self.trees[top].read(rest)

    def pieces(self, name: str) -> Iterator[bytes]:
        top, _, rest = name.partition("/")
        return self.trees[top].pieces(rest)


def by_row(found: Source, others: Mapping[str, Source], sink: Sink) -> Content:
    """Row i of each source is row i. Raises DataError if they have not as many rows in each split."""
    content, options = found.read(sink), replace(sink.options, binary=None, noisy=None, whole=False)
    for name, other in others.items():
        pack = build(name, other.read, options, None)
        theirs = {split: stop - start for split, (start, stop) in pack.meta.splits.items()}
        if theirs != content.splits:
            raise DataError(f"pair: {name} has the rows {theirs} where x has {content.splits}: row by row they differ")
        if not planar(pack.meta.x) or pack.meta.x.levels != 256:
            raise DataError(f"pair: {name} holds {pack.meta.x}; a column is pictures of 256 levels")
        content.columns[name] = copied(name, Stored(Column(space=pack.meta.x), pack.x), sink)
        content.notes.append(f"{name} is another source, matched row by row")
    return content


def copied(name: str, stored: Stored, sink: Sink) -> Column:
    """Appends a column that is packed already, converted as the sink's options say, and says what it became."""
    options: Options = sink.options
    column, into = stored.column, sink.column(name)
    reading = column.reading
    if options.size is not None or options.channels is not None:
        reading = replace(reading, size=options.size or reading.size, channels=options.channels or reading.channels)
    n = len(stored.pixels if stored.sizes is None else stored.sizes)
    if stored.sizes is None:
        for start in range(0, n, CHUNK):
            into.append(reading.fit(stored.pixels[start : start + CHUNK]))
    else:
        for i in range(n):
            into.append(reading.fit(stored.picture(i)[None]))
    space = into.space()
    assert planar(space)
    if reading.kind == "index":
        space = replace(column.space, height=space.height, width=space.width)
    return Column(space=space, reading=reading, colors=column.colors)
