"""Rows of several pictures each, read together: a row whose one picture cannot be used is left out whole."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from triptych.core import DataError, UsageError, planar
from triptych.data.columns import Column, label_map, scale_of
from triptych.data.decoding import MEMORY, content_of, load_all
from triptych.data.files import Problem, Tree, shown
from triptych.data.fitting import Fitting
from triptych.data.folders import IMAGES, Item, arrange, described
from triptych.data.pairs import Declared
from triptych.data.sides import SizesDiffer
from triptych.data.sink import CHUNK, Content, Sink
from triptych.media.images import BadImage, Decoded, decode, decode_grey_index, palette_of
from triptych.media.maps import NO_CLASS, BadTable, ClassTable, Color, code_of, read_classes
from triptych.media.reading import Reading

MAPS = frozenset(
    "label labels map maps mask masks annotation annotations segmentation segmentations classes index".split()
)
"""Columns that are label maps where their files are palette pictures, or grey ones of small numbers."""
CLASSES = "classes.csv"
"""The table of a source's classes, at its top."""
MOST_COLORS = 64
"""Of label maps that no table speaks of."""
LOOKED_AT = 16
"""Files of a column that are looked at for whether their values are numbers of classes."""
OUT = "its row is left out"


class Colored(Exception):
    """Colour turned up in a column in which all was grey so far; its name."""


@dataclass
class Part:
    """Those files of a tree that name the rows, and the tables and texts about them."""

    tree: Tree
    files: dict[str, int]

    @classmethod
    def of(cls, tree: Tree, rows: dict[str, Any]) -> "Part":
        above = {parent for name in rows for parent in PurePosixPath(name).parents}
        suffixes = IMAGES.suffixes

        def about(name: str) -> bool:
            path = PurePosixPath(name)
            return path.suffix.lower() not in suffixes and path.parent in above

        return cls(tree, {name: size for name, size in tree.files.items() if name in rows or about(name)})

    def __post_init__(self) -> None:
        self.name, self.problems, self.stamp = self.tree.name, self.tree.problems, self.tree.stamp

    def read(self, name: str) -> bytes:
        return self.tree.read(name)

    def pieces(self, name: str) -> Iterator[bytes]:
        return self.tree.pieces(name)


def read_rows(tree: Tree, said: Declared, sink: Sink, index: str | None = None) -> Content:
    """Decodes every row into `sink`, x first. `index` names the label maps, with commas between.

    A column is read as a label map if it is named so, or, where nothing is said, if it is called `MAPS` and its first
    file is a palette picture without transparency. Raises DataError as `read_images` does.
    """
    found = arrange(Part.of(tree, said.rows), IMAGES)
    found.notes.append(said.note)
    named = {problem.file for problem in said.problems}
    found.problems[:] = [*(p for p in found.problems if p.file not in named), *said.problems]
    called = said.called
    names = sorted(said.names, key=lambda name: name != said.x)  # x first
    table = class_table(tree)
    found.notes[:] = [note for note in found.notes if table is None or not note.startswith(f"{CLASSES}: ")]
    maps, decided = label_maps(tree, said, found.items, index, table)
    found.notes.extend(decided)
    options = sink.options
    readings = {
        name: replace(maps[name].reading, size=options.size)
        if name in maps
        else Reading(size=options.size, channels=options.channels)
        for name in names
    }
    if said.halves:
        left, right = said.names
        readings[left] = replace(readings[left], half="left")
        readings[right] = replace(readings[right], half="right")
    gather = Gather(tree, said, names, sink)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; damage to the pixels raises
        while True:
            try:
                kept, bad = gather.all(found.items, readings)
                break
            except Colored as e:
                readings[str(e)] = replace(readings[str(e)], channels=3)
                sink.restart()
    found.notes.extend(gather.fitting.notes())
    content = described(tree, IMAGES, found, kept, bad)
    if said.halves and gather.side:
        height, width = gather.side
        readings = {name: replace(reading, wide=2 * width / height) for name, reading in readings.items()}
    content.half, content.wide = readings[said.x].half, readings[said.x].wide
    for name in sorted(set(called.values()) & content.values.keys()):
        del content.values[name]
        content.notes.append(f"{name} is a column of pictures: the values of that name are not used")
    for name in names[1:]:
        space = sink.column(called[name]).space()
        assert planar(space)
        if name in maps:
            space = label_map(space, len(readings[name].names) or gather.most[name] + 1)
        colors = maps[name].colors if name in maps else ()
        content.columns[called[name]] = Column(space=space, reading=readings[name], colors=colors)
    return content


def class_table(tree: Tree) -> ClassTable | None:
    """What a source says of the classes of its label maps. Raises DataError for a table that cannot be used."""
    if CLASSES not in tree.files:
        return None
    content = content_of(tree, CLASSES)
    try:
        return read_classes(content if isinstance(content, str) else content.decode("utf-8-sig"))
    except (BadTable, UnicodeDecodeError) as e:
        raise DataError(f"{tree.name}/{CLASSES}: {e}") from e


@dataclass(frozen=True)
class Map:
    """How a column of label maps is read."""

    reading: Reading
    colors: tuple[Color, ...]


def label_maps(
    tree: Tree, said: Declared, items: list[Item], index: str | None, table: ClassTable | None
) -> tuple[dict[str, Map], list[str]]:
    """The columns that are label maps, how they are read, and what to say of that."""
    asked = None if index is None else [word.strip() for word in index.split(",") if word.strip()]
    others = {name: k for k, name in enumerate(said.names) if name != said.x}
    if unknown := [word for word in asked or () if word not in others or said.halves]:
        raise UsageError(f"index={index}: {unknown[0]} is no column beside x: there are {', '.join(others)}")
    out, notes = dict[str, Map](), list[str]()
    for name, k in others.items():
        if said.halves or (name.lower() not in MAPS if asked is None else name not in asked):
            continue
        files = [item.file if k == 0 else said.rows[item.file][k - 1] for item in items]
        content = content_of(tree, files[0])
        try:
            colors = None if isinstance(content, str) else palette_of(content)
        except BadImage:  # it is said when it is decoded
            colors = None
        if table is not None:
            out[name] = Map(Reading(kind="index", names=table.names, colors=table.colors), table.colors)
            notes.append(f"{name} is read as label maps of the {len(table)} classes of {CLASSES}")
        elif asked is not None and colors is None and not isinstance(content, str) and is_colored(content):
            known = colors_of(tree, name, files)
            out[name] = Map(Reading(kind="index", names=known.names, colors=known.colors), known.colors)
            notes.append(f"{name} is read as label maps: a class for each of its {len(known)} colours ({known})")
        elif asked is not None or colors is not None or numbers(tree, files):
            out[name] = Map(Reading(kind="index"), colors or ())
            if asked is None:
                files_have = "its files have palettes" if colors is not None else "its values are small numbers"
                notes.append(
                    f'{name} is read as label maps, as its name says so and {files_have}; index="" reads pictures'
                )
    return out, notes


def numbers(tree: Tree, files: list[str]) -> bool:
    """Whether the values of grey pictures are numbers of classes: some of them are looked at."""
    found = set[int]()
    for file in files[:: -(-len(files) // LOOKED_AT)]:
        content = content_of(tree, file)
        try:
            levels = None if isinstance(content, str) else decode_grey_index(content)[1]
        except BadImage:  # it is said when it is decoded
            continue
        if levels is None:
            return False
        found |= set(np.unique(levels).tolist())
    classes = found - {NO_CLASS}
    return len(classes) > 1 and max(classes) < MOST_COLORS


def is_colored(content: bytes) -> bool:
    """Whether a label map has colours, not numbers."""
    try:
        image, levels = decode_grey_index(content)
    except BadImage:  # it is said when it is decoded
        return False
    return levels is None and image.mode != "P"


def colors_of(tree: Tree, name: str, files: list[str]) -> ClassTable:
    """A class for each colour of a column's pictures. Raises DataError, naming the file, where they are too many."""
    found = set[int]()
    for file in files:
        content = content_of(tree, file)
        try:
            pixels = None if isinstance(content, str) else decode(content, channels=3).pixels
        except BadImage:  # it is said when it is decoded
            pixels = None
        if pixels is None:
            continue
        found |= set(np.unique(pixels.reshape(3, -1).T.astype(np.int64) @ [65536, 256, 1]).tolist())
        if len(found) > MOST_COLORS:
            raise DataError(
                f"{tree.name}: the label maps of {name} have more than {MOST_COLORS} colours by {shown(file)}: JPEG "
                f"makes such, and smoothed edges; save maps as PNG, or say in {CLASSES} (index,name,red,green,blue) "
                "what their colours mean"
            )
    colors = tuple((code >> 16, code >> 8 & 255, code & 255) for code in sorted(found))
    return ClassTable(tuple(f"#{code_of(color):06x}" for color in colors), colors)


def grey_if_grey(pixels: np.ndarray) -> np.ndarray:
    """A batch of one picture; of one channel where all its channels are equal."""
    return pixels[None, :1] if (pixels == pixels[:1]).all() else pixels[None]


@dataclass
class Gather:
    """Puts rows together and keeps those that are whole."""

    tree: Tree
    said: Declared
    names: list[str]
    """The columns, x first."""
    sink: Sink

    def jobs(
        self, items: list[Item], readings: dict[str, Reading]
    ) -> Iterator[tuple[tuple[Item, str, str], str, Callable[[bytes], list[Decoded]]]]:
        """Each file with its row, its column and what decodes it."""
        for item in items:
            if self.said.halves:
                yield (item, self.names[0], item.file), item.file, lambda data: self.split(data, readings)
                continue
            files = dict(zip(self.said.names, (item.file, *self.said.rows[item.file]), strict=True))
            for name in self.names:
                read = readings[name] if readings[name].kind == "picture" else replace(readings[name], size=None)
                yield (item, name, files[name]), files[name], lambda data, read=read: [read(data)]  # type: ignore[misc]

    def split(self, data: bytes, readings: dict[str, Reading]) -> list[Decoded]:
        """The halves of a picture, in the order of the columns. Raises BadImage."""
        whole = Reading()(data)
        width = whole.pixels.shape[2]
        if width % 2:
            raise BadImage(f"{width} pixels wide, which has no halves")
        halves = dict(zip(self.said.names, np.split(whole.pixels, 2, axis=2), strict=True))
        fitted = {name: readings[name].fit(grey_if_grey(half))[0] for name, half in halves.items()}
        size = (whole.size[0], width // 2)
        return [Decoded(np.ascontiguousarray(fitted[name]), whole.note, size) for name in self.names]

    def rows(
        self, items: list[Item], readings: dict[str, Reading], bad: list[Problem]
    ) -> Iterator[tuple[Item, list[tuple[str, Decoded]]]]:
        """Rows that could be decoded: a file and its picture for each column."""
        each = 1 if self.said.halves else len(self.names)
        row, whole = list[tuple[str, Decoded]](), True
        for k, ((item, _, file), made) in enumerate(load_all(self.tree, self.jobs(items, readings))):
            if isinstance(made, str):
                bad.append(Problem(file=shown(file), reason=f"{made}; {OUT}"))
                whole = False
            else:
                if note := made[0].note:
                    bad.append(Problem(file=shown(file), reason=note))
                row += [(file, picture) for picture in made]
            if (k + 1) % each == 0:
                if whole:
                    yield item, row
                row, whole = [], True

    def all(self, items: list[Item], readings: dict[str, Reading]) -> tuple[list[Item], list[Problem]]:
        """Appends all rows. Raises Colored, and DataError where sizes differ that should not."""
        kept, bad, odd = list[Item](), list[Problem](), list[Problem]()
        self.most = dict.fromkeys(self.names, 0)
        self.first: list[tuple[str, tuple[int, ...]]] = []
        self.scales: list[tuple[int, int] | None] = []
        self.fitting = Fitting(self.sink.options.size)
        self.side: tuple[int, int] | None = None
        waiting, held = [list[np.ndarray]() for _ in self.names], 0
        for item, row in self.rows(items, readings, bad):
            files = [file for file, _ in row]
            self.fitting.see(files, [one.size for _, one in row])
            self.side = self.side or row[0][1].size
            made = [
                self.stored(name, one.pixels, readings[name]) for name, (_, one) in zip(self.names, row, strict=True)
            ]
            if wrong := self.unlike(files, [pixels.shape[1:] for pixels in made]):
                odd.append(wrong)
                continue
            for pixels, column in zip(made, waiting, strict=True):
                column.append(pixels)
                held += pixels.nbytes
            kept.append(item)
            if self.sink.options.whole or held > MEMORY // 4 or len(waiting[0]) == CHUNK:
                self.append(waiting)
                held = 0
        self.append(waiting)
        if len(odd) > len(kept):
            raise DataError(f"{self.tree.name}: {len(odd)} rows do not fit together; the first: {odd[0]}")
        return kept, bad + odd

    def stored(self, name: str, pixels: np.ndarray, reading: Reading) -> np.ndarray:
        """The pixels as they are stored. Raises Colored."""
        if reading.kind == "index":  # classes are counted before any size takes some away
            used = pixels[pixels != NO_CLASS]
            self.most[name] = max(self.most[name], int(used.max()) if used.size else 0)
            return reading.fit(pixels[None])[0]
        if len(pixels) > (reading.channels or 1):
            raise Colored(name)
        return pixels

    def append(self, waiting: list[list[np.ndarray]]) -> None:
        if not waiting[0]:
            return
        for name, pixels in zip(self.names, waiting, strict=True):
            into = self.sink if name == self.said.x else self.sink.column(self.said.called[name])
            into.append(np.stack(pixels))
            pixels.clear()

    def unlike(self, files: list[str], sides: list[tuple[int, ...]]) -> Problem | None:
        """What is wrong with the sizes of a row whose pictures keep theirs: in proportion, and all rows in the same.

        Else raises DataError where a column's pictures are not of one size.
        """
        if not self.sink.options.whole:
            self.first = self.first or list(zip(files, sides, strict=True))
            for file, side, (before, its) in zip(files, sides, self.first, strict=True):
                if side != its:
                    raise SizesDiffer(
                        f"{self.tree.name}: {shown(before)} has {its[0]} x {its[1]} pixels (height x width) and "
                        f"{shown(file)} has {side[0]} x {side[1]}; give size= to bring all to one size, or crop=",
                        self.tree,
                    )
            return None
        scales = [scale_of(sides[0], side) for side in sides]
        if None not in scales:
            self.scales = self.scales or scales
        for k, (scale, usual) in enumerate(zip(scales, self.scales or scales, strict=True)):
            if scale is None or scale != usual:
                this, those = (f"{height} x {width}" for height, width in (sides[k], sides[0]))
                why = "not a whole number of times as large" if scale is None else "not in the proportion of other rows"
                return Problem(
                    file=shown(files[k]),
                    reason=f"{this} pixels (height x width) where {shown(files[0])} has {those}, {why}; {OUT}",
                )
        return None
