"""A folder (or a zip archive) of files: where its splits, classes and captions are; and the pixels of images."""

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from triptych.core import Audio, DataError
from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, shown
from triptych.data.metadata import TABLES, Row, read_table
from triptych.data.sink import Content, Sink
from triptych.data.splits import SPLITS, held_out
from triptych.media.images import FORMATS, SUFFIXES, BadImage, Decoded, decode

log = logging.getLogger(__name__)

DOCUMENTS = frozenset(
    (".txt", ".md", ".rst", ".html", ".pdf", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml")
)
"""What may lie beside images or sounds without being meant as one."""
TOGETHER = 32
"""Files decoded at a time."""


@dataclass(frozen=True)
class Kind:
    """What the files of a folder are."""

    name: str
    formats: tuple[str, ...]
    suffixes: frozenset[str]

    def among(self, tree: Tree) -> int:
        """How many files of a tree are of this kind, by their names."""
        return sum(PurePosixPath(name).suffix.lower() in self.suffixes for name in tree.files)


IMAGES = Kind(name="image", formats=FORMATS, suffixes=SUFFIXES)


@dataclass(frozen=True)
class Item:
    file: str
    split: str = ""
    label: str | None = None
    caption: str | None = None


class Mixed(Exception):
    """Colour turned up where all was grey so far."""


def read_images(tree: Tree, sink: Sink) -> Content:
    """Decodes every image of `tree` into `sink`, split by split.

    Sub-folders train/ and test/ (or val/, validation/) are splits. The next folder is the class. A table
    (metadata.jsonl or .csv) gives captions or labels. Without split folders, a tenth is held out by name
    (see `held_out`). Raises DataError if there is no image to be had, or if their sizes differ and no size was asked.
    """
    items, problems = arrange(tree, IMAGES)
    items = in_splits(items)
    channels = sink.options.channels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; damage to the pixels raises
        try:
            kept, bad = decode_all(tree, items, sink, channels or 1)
        except Mixed:
            sink.restart()
            kept, bad = decode_all(tree, items, sink, 3)
    return described(tree, IMAGES, items, kept, problems + bad)


def in_splits(items: list[Item]) -> list[Item]:
    """The items split after split, those for training first."""
    return sorted(items, key=lambda item: (item.split != "train", item.split))


def described(
    tree: Tree, kind: Kind, items: list[Item], kept: list[Item], problems: list[Problem], x: Audio | None = None
) -> Content:
    """What is known of those items that could be read, `kept`. Raises DataError if there are none."""
    if not kept:
        raise DataError(f"{tree.name}: none of {len(items)} {kind.name} files can be read; the first: {problems[0]}")
    order = dict.fromkeys(("train", *(item.split for item in items)))
    classes = tuple(sorted({i.label for i in kept if i.label is not None}, key=natural))
    number = {label: n for n, label in enumerate(classes)}
    counts = Counter(i.split for i in kept)
    return Content(
        splits={split: counts[split] for split in order},
        labels=np.array([number[str(i.label)] for i in kept]) if classes else None,
        classes=classes or None,
        captions=[str(i.caption) for i in kept] if kept[0].caption is not None else None,
        problems=problems,
        x=x,
    )


def natural(label: str) -> tuple[int, str]:
    """Whole numbers in their own order, then words in theirs."""
    return (int(label), "") if label.isdecimal() and len(label) < 18 else (1 << 62, label)


def arrange(tree: Tree, kind: Kind) -> tuple[list[Item], list[Problem]]:
    """Every file of this kind with its split, class and caption, and the problems found on the way."""
    problems, what = list(tree.problems), kind.name
    kinds: dict[str, list[str]] = {what: [], "table": [], "other": []}
    for name in tree.files:
        path = PurePosixPath(name)
        if path.suffix.lower() in kind.suffixes:
            kinds[what].append(name)
        elif path.name in TABLES:
            kinds["table"].append(name)
        elif path.suffix.lower() in DOCUMENTS or path.stem.upper() in ("LICENSE", "LICENCE", "NOTICE", "README"):
            kinds["other"].append(name)
        else:
            problems.append(Problem(file=shown(name), reason=f"not a file of {', '.join(kind.formats)} by its name"))
    if kinds["other"]:
        log.info("%s: %d documents beside the %ss are not used", tree.name, len(kinds["other"]), what)
    if not kinds[what]:
        other = Counter(PurePosixPath(n).suffix or "(none)" for n in tree.files).most_common(3)
        found = ", ".join(f"{n} {shown(suffix)}" for suffix, n in other)
        first = f"; the first problem: {problems[0]}" if problems else ""
        holds = (
            f"holds no {what}s ({', '.join(kind.formats)}); found: {found}{first}"
            if found
            else f"is an empty folder{first}"
        )
        raise DataError(f"{tree.name} {holds}")

    tables, captioned = dict[str, Row](), set[str]()
    for table in kinds["table"]:
        folder = str(PurePosixPath(table).parent)
        if folder in captioned:
            problems.append(Problem(file=shown(table), reason="not used: metadata.csv is there too"))
            continue
        captioned.add(folder)
        read = read_table(tree, table)
        tables |= read.rows
        problems += read.problems
    top = common_folder(kinds[what] + kinds["table"])
    items, strays, top = with_splits(kinds[what], top)
    problems += strays
    items, strays = with_rows(items, tables) if kinds["table"] else with_classes(items, top, tree.name)
    problems += strays
    if not items:
        raise DataError(f"{tree.name}: none of its {what}s can be used; the first problem: {problems[0]}")
    return items, problems


def common_folder(names: list[str]) -> int:
    """How many folders all of `names` share from the top: a zip of photos/ holds photos/..., for one."""
    folders = [PurePosixPath(n).parts[:-1] for n in names]
    first, last = min(folders), max(folders)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def below(name: str, top: int) -> tuple[str, ...]:
    return PurePosixPath(name).parts[top:]


def with_splits(names: list[str], top: int) -> tuple[list[Item], list[Problem], int]:
    """Items with their split, the files outside of every split, and how deep the classes begin."""
    folders = {parts[0].lower() for n in names if len(parts := below(n, top)) > 1}
    splits = {SPLITS[f] for f in folders if f in SPLITS}
    if "train" not in splits or len(splits) == 1:
        held = held_out(["/".join(below(n, top)) for n in names])
        return [Item(n, "test" if h else "train") for n, h in zip(names, held, strict=True)], [], top
    items, problems = [], []
    for name in names:
        first, *rest = below(name, top)
        if rest and first.lower() in SPLITS:
            items.append(Item(name, SPLITS[first.lower()]))
        else:
            problems.append(Problem(file=shown(name), reason=f"in none of the folders {', '.join(sorted(splits))}"))
    return items, problems, top + 1


def with_rows(items: list[Item], rows: dict[str, Row]) -> tuple[list[Item], list[Problem]]:
    """Items with the captions and labels of the tables; those without a row, and rows without a file, are problems.

    A column counts if most rows have it.
    """
    most = len(rows) / 2
    texts = sum(r.text is not None for r in rows.values()) > most
    labels = sum(r.label is not None for r in rows.values()) > most
    taken, problems = [], []
    for item in items:
        row = rows.get(item.file)
        if row is None:
            problems.append(Problem(file=shown(item.file), reason="no usable row in metadata"))
        elif (texts and row.text is None) or (labels and row.label is None):
            problems.append(Problem(file=shown(item.file), reason=f"no {'text' if row.text is None else 'label'}"))
        else:
            taken.append(replace(item, caption=row.text if texts else None, label=row.label if labels else None))
    files = {item.file for item in items}
    problems += [
        Problem(file=shown(f), reason="has a row in metadata and is not there") for f in rows if f not in files
    ]
    return taken, problems


def with_classes(items: list[Item], top: int, name: str) -> tuple[list[Item], list[Problem]]:
    """Items with the sub-folder that they lie in as label.

    One sub-folder alone is no class. Where some files lie in none: fewer than half, and they are left out as
    problems; otherwise the folders are taken for a mere filing system, and there are no labels.
    """
    labels = [parts[0] if len(parts := below(i.file, top)) > 1 else None for i in items]
    loose = labels.count(None)
    if len({*labels} - {None}) < 2 or 2 * loose >= len(items):
        if loose < len(items):
            log.info("%s: its sub-folders are not taken for classes", name)
        return items, []
    reason = "in no class folder, where most files are in one"
    problems = [Problem(file=shown(i.file), reason=reason) for i, y in zip(items, labels, strict=True) if y is None]
    return [replace(i, label=shown(y)) for i, y in zip(items, labels, strict=True) if y is not None], problems


def decode_all(tree: Tree, items: list[Item], sink: Sink, channels: int) -> tuple[list[Item], list[Problem]]:
    """Appends all images to `sink`. Returns the items that could be read, and the problems.

    Raises Mixed if a picture has colour, one channel is to be stored, and nobody asked for one.
    """
    kept: list[Item] = []
    problems: list[Problem] = []
    size = sink.options.size
    convert = channels if channels == 3 else sink.options.channels
    first: tuple[str, tuple[int, ...]] | None = None
    for some in load_all(tree, items, size, convert):
        pixels = []
        for item, picture in some:
            if isinstance(picture, str):
                problems.append(Problem(file=shown(item.file), reason=picture))
                continue
            if picture.note:
                problems.append(Problem(file=shown(item.file), reason=picture.note))
            if len(picture.pixels) > channels:
                raise Mixed
            shape = picture.pixels.shape[1:]
            first = first or (item.file, shape)
            if sink.options.whole:
                kept.append(item)
                sink.append(picture.pixels[None])
                continue
            if shape != first[1]:
                raise DataError(
                    f"{tree.name}: {shown(first[0])} has {first[1][0]} x {first[1][1]} pixels (height x width) and "
                    f"{shown(item.file)} has {shape[0]} x {shape[1]}; give size= to bring all to one size"
                )
            kept.append(item)
            pixels.append(picture.pixels)
        if pixels:
            sink.append(np.stack(pixels))
    return kept, problems


def load_all(
    tree: Tree, items: list[Item], size: tuple[int, int] | None, channels: int | None
) -> Iterator[list[tuple[Item, Decoded | str]]]:
    """A few images after the other, decoded side by side, in order; instead of a bad one, what is wrong with it."""

    def load(item: Item) -> Decoded | str:
        if tree.files[item.file] > LARGEST_FILE:
            return f"{tree.files[item.file]:,} bytes; at most {LARGEST_FILE:,} are read"
        try:
            return decode(tree.read(item.file), size, channels)
        except BadImage as e:
            return str(e)
        except OSError as e:
            return reason_of(e)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), TOGETHER):
            some = items[start : start + TOGETHER]
            yield list(zip(some, pool.map(load, some), strict=True))
