"""A folder (or a zip archive) of files: where its splits, classes and captions are."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np

from triptych.core import DataError
from triptych.core.classes import folded
from triptych.data.files import Problem, Tree, shown
from triptych.data.layouts import called, class_names, layout
from triptych.data.lookbook import product_of
from triptych.data.metadata import Row, captions_beside, is_table, read_captions, read_table
from triptych.data.sink import Content, Kept
from triptych.data.splits import Said, ambiguous, held_out, level
from triptych.data.values import UNKNOWN, valued
from triptych.media.images import FORMATS, SUFFIXES

DOCUMENTS = frozenset(
    (".txt", ".md", ".rst", ".html", ".pdf", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml")
)
"""What may lie beside images or sounds without being meant as one."""
UNLABELED = ("unlabeled", "unlabelled")
"""Folders beside those of classes whose items have none."""


@dataclass(frozen=True)
class Kind:
    """What the files of a folder are."""

    name: str
    formats: tuple[str, ...]
    suffixes: frozenset[str]
    beside: frozenset[str] = frozenset()
    """What belongs to such files and is not read: the textures of a mesh."""

    def among(self, tree: Tree) -> int:
        """How many files of a tree are of this kind, by their names."""
        return sum(PurePosixPath(name).suffix.lower() in self.suffixes for name in tree.files)


IMAGES = Kind(name="image", formats=FORMATS, suffixes=SUFFIXES)


@dataclass(frozen=True)
class Item:
    file: str
    place: tuple[str, ...] = ()
    """The folders that it lies in, but for those that name its split or hold everything."""
    split: str = ""
    label: str | None = None
    caption: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Arranged:
    """The files of a source, each in its place."""

    items: list[Item]
    problems: list[Problem]
    notes: list[str]
    """What was decided about the source as a whole, and could have been meant otherwise."""
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the numbers in a column of values stand for."""


def described(
    tree: Tree, kind: Kind, found: Arranged, kept: list[Item], bad: list[Problem], x: Kept | None = None
) -> Content:
    """What is known of those items that could be read, `kept`. Raises DataError if there are none."""
    problems = found.problems + bad
    if not kept:
        count = len(found.items)
        raise DataError(f"{tree.name}: none of {count} {kind.name} files can be read; the first: {bad[0]}")
    order = dict.fromkeys(("train", *(item.split for item in found.items)))
    classes = tuple(sorted({i.label for i in kept if i.label is not None}, key=natural))
    number = {label: n for n, label in enumerate(classes)}
    if alike := [label for label, times in Counter(map(folded, classes)).items() if times > 1]:
        some = ", ".join(f'"{label}"' for label in classes if folded(label) == alike[0])
        found.notes.append(f"{some} are classes of their own, though they differ by capitals or accents alone")
    counts = Counter(i.split for i in kept)
    values, said = valued([i.values for i in kept], found.named)
    found.notes.extend(said)
    return Content(
        splits={split: counts[split] for split in order},
        labels=np.array([UNKNOWN if i.label is None else number[i.label] for i in kept]) if classes else None,
        classes=called(classes, class_names(tree)) or None,
        values=values,
        captions=[str(i.caption) for i in kept] if kept[0].caption is not None else None,
        problems=problems,
        notes=found.notes,
        x=x,
    )


def natural(label: str) -> tuple[int, str]:
    """Whole numbers in their own order, then words in theirs: no two labels share a place."""
    return (int(label) if label.isdecimal() and len(label) < 18 else 1 << 62, label)


def arrange(tree: Tree, kind: Kind) -> Arranged:
    """Every file of this kind with its split, class and caption, split after split, those for training first."""
    problems, notes, what = list(tree.problems), list[str](), kind.name
    names, tables, documents = list[str](), list[str](), list[str]()
    for name in tree.files:
        path = PurePosixPath(name)
        if path.suffix.lower() in kind.suffixes:
            names.append(name)
        elif is_table(name):
            tables.append(name)
        elif path.suffix.lower() in DOCUMENTS or path.stem.upper() in ("LICENSE", "LICENCE", "NOTICE", "README"):
            documents.append(name)
        elif path.suffix.lower() not in kind.beside:
            problems.append(Problem(file=shown(name), reason=f"not a file of {', '.join(kind.formats)} by its name"))
    if not names:
        other = Counter(PurePosixPath(n).suffix or "(none)" for n in tree.files).most_common(3)
        found = ", ".join(f"{n} {shown(suffix)}" for suffix, n in other)
        first = f"; the first problem: {problems[0]}" if problems else ""
        holds = (
            f"holds no {what}s ({', '.join(kind.formats)}); found: {found}{first}"
            if found
            else f"is an empty folder{first}"
        )
        raise DataError(f"{tree.name} {holds}")
    known = layout(tree, names, documents)
    documents = [name for name in documents if known is None or name not in known.used]
    rows, wrong, said = rows_of(tree, names, tables, documents)
    notes += said
    if known is not None:
        notes.append(known.note)
        rows = {name: laid(row, (rows or {}).get(name)) for name, row in known.rows.items()}
    items, strays, said = with_splits(names)
    notes += said
    if known is not None and known.splits:
        items = [replace(item, split=known.splits.get(item.file, "train")) for item in items]
    items, loose, said = with_classes(items, all_or_none=rows is not None)
    notes += said
    problems += wrong + strays + loose
    if rows is not None:
        items, unused = with_rows(items, rows)
        problems += unused
    if not items:
        raise DataError(f"{tree.name}: none of its {what}s can be used; the first problem: {problems[0]}")
    items.sort(key=lambda item: (item.split != "train", item.split))
    return Arranged(items, problems, notes, known.named if known else {})


def laid(row: Row, beside: Row | None) -> Row:
    """A row by its layout, with what a table says beside."""
    return row if beside is None else Row(beside.text, beside.label, {**row.values, **beside.values})


def rows_of(
    tree: Tree, names: list[str], tables: list[str], documents: list[str]
) -> tuple[dict[str, Row] | None, list[Problem], list[str]]:
    """Captions and labels by file, of tables or, if no table has captions, of text files; None if there are neither."""
    rows, problems, notes, seen = dict[str, Row](), list[Problem](), list[str](), dict[PurePosixPath, str]()
    for table in tables:
        folder = PurePosixPath(table).parent
        if folder in seen:
            problems.append(Problem(file=shown(table), reason=f"not used: {seen[folder]} is there too"))
            continue
        seen[folder] = shown(PurePosixPath(table).name)
        read = read_table(tree, table)
        rows |= read.rows
        problems += read.problems
    beside = captions_beside(tree, names, documents)
    if any(row.text is not None for row in rows.values()):
        if beside:
            notes.append(f"{len(beside)} text files beside files of their name are not used: a table has captions")
    elif 2 * len(beside) > len(names):
        read = read_captions(tree, beside)
        problems += read.problems
        if not read.rows and not read.problems:
            notes.append(f"{len(beside)} text files hold nothing but numbers, which are not taken for captions")
        for name, row in read.rows.items():
            rows[name] = Row(row.text, rows[name].label if name in rows else None)
    elif beside:
        notes.append(f"{len(beside)} of {len(names)} files have a text file of their name: too few to be captions")
    unread = [n for n in documents if PurePosixPath(n).name.lower() != "classes.csv" or not class_names(tree)]
    used = set(beside.values())
    listed = [shown(n) for n in unread if n not in used and may_list(PurePosixPath(n))]
    if listed:
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        notes.append(
            f"{', '.join(listed[:3])}{more}: not used; labels and captions are looked for in metadata.csv or .jsonl, "
            f"with the columns file_name and label or text"
        )
    return rows if rows or tables else None, problems, notes


def may_list(path: PurePosixPath) -> bool:
    """Whether somebody may expect a document to say what the files beside it are, or which of them are held out."""
    said = path.stem.upper() in ("LICENSE", "LICENCE", "NOTICE", "README", "REQUIREMENTS")
    return not said and path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".txt", ".xml")


def with_splits(names: list[str]) -> tuple[list[Item], list[Problem], list[str]]:
    """Items with their split, and the files outside of every split."""
    places = {name: PurePosixPath(name).parts[:-1] for name in names}
    found = level(list(places.values()))
    if found is None:
        wrapped = wrapping(list(places.values()))
        keys = [product_of(name) or "/".join(inside(PurePosixPath(name).parts, wrapped)) for name in names]
        items = [
            Item(name, inside(places[name], wrapped), "test" if held else "train")
            for name, held in zip(names, held_out(keys), strict=True)
        ]
        words = ambiguous(part for place in places.values() for part in place[len(wrapped) : len(wrapped) + 1])
        quoted = ", ".join(f'"{shown(word)}"' for word in words)
        return (
            items,
            [],
            [f"{quoted}: taken for a class or a mere folder, as no other split lies beside"] if words else [],
        )
    depth, splits = found
    several = len({what.kind for what in splits.values()}) > 1
    items, problems = list[Item](), list[Problem]()
    for name, place in places.items():
        what = splits.get(place[depth]) if len(place) > depth else None
        if what is None:
            reason = f"in none of the folders {', '.join(sorted(map(shown, splits)))}"
            problems.append(Problem(file=shown(name), reason=reason))
        else:
            kind = (what.rest,) if several else ()
            items.append(Item(name, (*place[:depth], *kind, *place[depth + 1 :]), what.split))
    wrapped = wrapping([item.place for item in items])
    items = [replace(item, place=inside(item.place, wrapped)) for item in items]
    return items, problems, together(splits)


def together(splits: dict[str, Said]) -> list[str]:
    """What to say of folders that are one split together."""
    parts: dict[tuple[str, str], list[str]] = {}
    for name, what in sorted(splits.items()):
        parts.setdefault((what.split, what.kind), []).append(f'"{shown(name)}"')
    return [f"{' and '.join(names)} together are the {split} part" for (split, _), names in parts.items() if names[1:]]


def wrapping(places: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders around everything, as a zip of photos/ holds photos/...; what is loose is not looked at as long as
    it is the lesser part."""
    wrapped: tuple[str, ...] = ()
    while True:
        depth = len(wrapped)
        further = {place[depth] for place in places if len(place) > depth and place[:depth] == wrapped}
        inner = sum(len(place) > depth and place[:depth] == wrapped for place in places)
        if len(further) != 1 or 2 * inner <= len(places):
            return wrapped
        wrapped += (further.pop(),)


def inside(place: tuple[str, ...], wrapped: tuple[str, ...]) -> tuple[str, ...]:
    return place[len(wrapped) :] if place[: len(wrapped)] == wrapped else ()


def with_classes(items: list[Item], *, all_or_none: bool) -> tuple[list[Item], list[Problem], list[str]]:
    """Items with the sub-folder that they lie in as label.

    One sub-folder alone is no class. Where some files lie in none: fewer than half, and they are left out as
    problems; otherwise (or with `all_or_none`) the folders are taken for a mere filing system, and there are no labels.
    A folder called unlabeled holds items whose class is not known.
    """
    folders = {item.place[0] for item in items if item.place}
    loose = sum(not item.place for item in items)
    if len(folders) < 2 or 2 * loose >= len(items) or (all_or_none and loose):
        said = f"{len(folders)} sub-folders are not taken for classes: {loose} of {len(items)} files lie in none"
        return items, [], [said] if len(folders) > 1 else []
    reason = "in no class folder, where most files are in one"
    problems = [Problem(file=shown(item.file), reason=reason) for item in items if not item.place]
    labels = {name: None if name.lower() in UNLABELED else shown(name) for name in folders}
    deeper = sorted({shown(item.place[0]) for item in items if len(item.place) > 1})
    notes = [f"the class is the first folder; those inside {deeper[0]} are not looked at"] if deeper else []
    return [replace(item, label=labels[item.place[0]]) for item in items if item.place], problems, notes


def with_rows(items: list[Item], rows: dict[str, Row]) -> tuple[list[Item], list[Problem]]:
    """Items with the captions and labels of the tables; those without a row, and rows without a file, are problems.

    Captions count if most rows have one, and then every item must have one. Labels count if any row has one; they take
    the place of folders, and an item without one is of unknown class.
    """
    texts = 2 * sum(row.text is not None for row in rows.values()) > len(rows)
    labels = any(row.label is not None for row in rows.values())
    taken, problems = [], []
    for item in items:
        row = rows.get(item.file)
        if row is None:
            problems.append(
                Problem(file=shown(item.file), reason="no usable row in metadata, and no caption beside it")
            )
        elif texts and row.text is None:
            problems.append(Problem(file=shown(item.file), reason="no text"))
        else:
            label = row.label if labels else item.label
            taken.append(replace(item, caption=row.text if texts else None, label=label, values=row.values))
    files = {item.file for item in items}
    problems += [
        Problem(file=shown(f), reason="has a row in metadata and is not there") for f in rows if f not in files
    ]
    return taken, problems
