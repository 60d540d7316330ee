"""How the files of a source belong together, row by row: by the columns `*_file` of its table, by folders side by side
(x/ map/, A/ B/, HR/ LR/, images/ labels/, ...), or as the halves of one picture.

Folders are columns if their names are words for them and most of their files have a partner of the same name; they
may lie above the folders of splits, below them, or say the split as well (train_A). All other folders are classes.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from posixpath import splitext

from triptych.core import DataError, UsageError
from triptych.data.files import Problem, Tree, shown
from triptych.data.folders import IMAGES
from triptych.data.lookbook import pairs as lookbook
from triptych.data.metadata import ANY_FILE, is_table, read_table
from triptych.data.splits import DEEPEST, SPLITS, said
from triptych.data.values import NAME

LOW = re.compile(r"(?:(.*)_)?LR(?:_[a-zA-Z]+)?(?:_[xX]\d)?")
"""Folders of small pictures, as those of DIV2K are called: DIV2K_train_LR_bicubic/X2/0001x2.png."""
SCALE, SCALED = re.compile(r"[xX]\d"), re.compile(r"(.+)x\d")
X = "x"
BESIDE: dict[str, frozenset[str]] = {
    "images": frozenset(("labels", "masks", "maps", "annotations", "segmentations", "edges", "depths")),
    "image": frozenset(("label", "mask", "map", "annotation", "segmentation", "edge", "depth")),
    "img": frozenset(("label", "inst", "mask", "edge", "depth")),
    "b": frozenset("a"),
    "target": frozenset(("input",)),
    "hr": frozenset(("lr",)),
}
"""The word for what models learn to draw, and what may lie beside it. "x" goes with any words of two letters or more,
as one-letter names are rather classes."""
WORDS = frozenset(word for words in ((x, *beside) for x, beside in BESIDE.items()) for word in words if len(word) > 1)
PICTURE = "picture"
"""What the column that is called x, or that nobody named, is called where another is x."""


@dataclass(frozen=True)
class Declared:
    """The columns of a source, and the files of its rows."""

    names: tuple[str, ...]
    """The first column is the one whose files name the rows: they say the split, the class and the caption."""
    x: str
    """Which of them is x."""
    rows: dict[str, tuple[str, ...]]
    """The files of the other columns, by that of the first."""
    note: str
    problems: list[Problem] = field(default_factory=list)
    halves: bool = False
    """Whether the two columns are the halves of one file."""

    @property
    def called(self) -> dict[str, str]:
        """What each column is called in the pack."""
        taken = {X: PICTURE, "label": "labels", "caption": "captions"}
        return {name: X if name == self.x else taken.get(name, name) for name in self.names}


def declares(tree: Tree) -> bool:
    """Whether a source says that it has further columns, by names and the first lines of tables alone."""
    said = any(names_files(tree, name) for name in tree.files if is_table(name))
    return said or named_as_lookbook(tree, None) is not None or siblings(tree, None) is not None


def names_files(tree: Tree, table: str) -> bool:
    try:
        start = next(iter(tree.pieces(table)), b"").split(b"\n", 1)[0]
    except OSError:  # it is said when the table is read
        return False
    return ANY_FILE.encode() in start.lower()


def declared(tree: Tree, x: str | None, halves: str | None) -> Declared | None:
    """The columns of a source and their rows; None if it has none. `x` names the column to be x.

    Raises UsageError if what is asked is not there.
    """
    found = halved(tree, x, halves) if halves is not None else by_files(tree, x)
    if found is None and x is not None:
        raise UsageError(f"x={x}: {tree.name} has no columns: it is for folders side by side, tables and halves")
    if found and x is not None and found.x.lower() != x.lower():
        raise UsageError(f"x={x}: {tree.name} has no such column: there are {', '.join(map(shown, found.names))}")
    names = Counter(found.called.values() if found else ())
    if wrong := [name for name, times in names.items() if times > 1 or not NAME.fullmatch(name)]:
        raise DataError(f"{tree.name}: a column cannot be called {shown(wrong[0])!r}; give it another name")
    return found


def by_files(tree: Tree, x: str | None) -> Declared | None:
    return tabled(tree, x) or named_as_lookbook(tree, x) or siblings(tree, x)


def named_as_lookbook(tree: Tree, x: str | None) -> Declared | None:
    """By the names of files, where most are LookBook's: a row for each wearer, with the product."""
    names = pictures(tree)
    found, alone = lookbook(names)
    if 2 * (len({*found, *found.values()}) + len(alone)) <= len(names) or not found:
        return None
    columns = ("wearer", "product")
    mine = chosen(columns, x) or "product"
    reason = "LookBook has no partner for it: a product is called ..._CLEAN1_..., its wearers ..._CLEAN0_..."
    problems = [Problem(file=shown(name), reason=reason) for name in alone]
    note = f"{len(found)} wearers of {len(set(found.values()))} products, by LookBook's names; x is {mine}"
    return Declared(columns, mine, {name: (product,) for name, product in found.items()}, note, problems)


def pictures(tree: Tree) -> list[str]:
    return [name for name in tree.files if splitext(name)[1].lower() in IMAGES.suffixes]


def chosen(names: tuple[str, ...], x: str | None) -> str | None:
    """The column that is x: the one of that name, or else the one that is called so by habit."""
    if x is not None:
        return next((name for name in names if name.lower() == x.lower()), None)
    return next((name for word in (X, *BESIDE) for name in names if name.lower() == word), None)


def halved(tree: Tree, x: str | None, halves: str) -> Declared:
    names = tuple(word.strip() for word in halves.split("|"))
    if len(names) != 2 or not all(map(NAME.fullmatch, names)) or names[0] == names[1]:
        raise UsageError(f'halves={halves!r}: it names the left half and the right one, as in "A|B"')
    mine = chosen(names, x)
    if mine is None:
        raise UsageError(f"halves={halves!r}: which half is x? x={names[0]} or x={names[1]}")
    note = f"the left half of each picture is {names[0]}, the right one {names[1]}; x is {mine}"
    return Declared(names, mine, {name: () for name in pictures(tree)}, note, halves=True)


def tabled(tree: Tree, x: str | None) -> Declared | None:
    """By the columns `*_file` of tables. Where a column's files are mostly no pictures, it is not one."""
    files, problems = dict[str, dict[str, str]](), list[Problem]()
    for table in tree.files:
        if is_table(table) and names_files(tree, table):
            files |= read_table(tree, table).files
    counts, good = Counter[str](), Counter[str]()
    for row in files.values():
        counts.update(row.keys())
        good.update(n for n, file in row.items() if PurePosixPath(file).suffix.lower() in IMAGES.suffixes)
    names = tuple(name for name in counts if 2 * good[name] > counts[name])
    if not names:
        return None
    rows = dict[str, tuple[str, ...]]()
    for file, row in files.items():
        partners = {name: row.get(name, "") for name in names}
        lacking = [name for name, partner in partners.items() if partner not in tree.files]
        if lacking:
            partner = partners[lacking[0]]
            field = shown(lacking[0]) + ANY_FILE
            reason = f"its {field}, {shown(partner)}, is not there" if partner else f"no {field}"
            problems.append(Problem(file=shown(file), reason=reason))
        else:
            rows[file] = tuple(partners.values())
    used = {*files, *(file for row in files.values() for file in row.values())}
    problems += [Problem(file=shown(n), reason="in no row of metadata") for n in pictures(tree) if n not in used]
    every = (X, *names)
    mine = chosen(every, x) or X
    fields = {name: "file_name" if name == X else name + ANY_FILE for name in every}
    note = f"columns of its table: x is {fields[mine]}, beside {', '.join(fields[n] for n in every if n != mine)}"
    return Declared(every, mine, checked(tree, rows, problems), note, problems)


def checked(tree: Tree, rows: dict[str, tuple[str, ...]], problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    """Raises DataError if no row is whole."""
    if not rows:
        raise DataError(f"{tree.name}: no row has a file in each of its columns; the first problem: {problems[0]}")
    return rows


def siblings(tree: Tree, x: str | None) -> Declared | None:
    """By folders side by side, at the first depth at which their names are columns. Naming x says that they are."""
    names = pictures(tree)
    folders = [folder.split("/") for folder in sorted({name.rpartition("/")[0] for name in names} - {""})]
    for depth in range(DEEPEST):
        there = {word_of(parts[depth])[1] for parts in folders if len(parts) > depth}
        if len(there) > 1 and picked(tuple(there), x) is not None:  # else names alone say that there are none
            parts = {name: tuple(name.split("/")) for name in names}
            if found := side_by_side(tree, parts, depth, x):
                return found
    return None


def picked(columns: tuple[str, ...], x: str | None) -> str | None:
    return by_habit(columns) if x is None else chosen(columns, x)


def unpaired(tree: Tree) -> str | None:
    """What to say of folders that are called as sources of two kinds are, which do not belong together."""
    parts = {name.split("/")[0].lower() for name in pictures(tree)}
    if not {"traina", "trainb"} <= parts:
        return None
    return 'trainA and trainB are taken for classes, A and B; x="B" takes one of them, tt.unpaired both as they come'


def one_of(tree: Tree, x: str) -> dict[str, int] | None:
    """The files of trainA, testA and the like, of a source of two kinds that are not paired; None if it is none.

    Raises UsageError if `x` is neither A nor B.
    """
    if unpaired(tree) is None:
        return None
    if x.upper() not in ("A", "B"):
        raise UsageError(f"x={x}: {tree.name} has two kinds of files, A and B")
    kinds = {name: what for name in tree.files if (what := said(name.split("/")[0]))}
    return {name: tree.files[name] for name, what in kinds.items() if what.rest.upper() == x.upper()}


def word_of(folder: str) -> tuple[str, str]:
    """What a folder's name says: the split and the like, and the column: train_A, DIV2K_train_HR. trainA, in one word,
    is as people name what is not paired."""
    what = said(folder) if re.search(r"[\W_]", folder) else None
    split, name = (what.split, what.rest) if what and what.rest else ("", folder)
    if match := LOW.fullmatch(name):
        return f"{split}/{match[1] or ''}", "LR"
    before, _, last = name.rpartition("_")
    return (f"{split}/{before}", last) if last.lower() in WORDS else (f"{split}/", name)


def side_by_side(tree: Tree, every: dict[str, tuple[str, ...]], depth: int, x: str | None) -> Declared | None:
    """Of files by name with the parts of it."""
    places = {name: parts for name, parts in every.items() if len(parts) > depth + 1}
    words = {folder: word_of(folder) for folder in {parts[depth] for parts in places.values()}}
    columns = tuple(sorted({column for _, column in words.values()}))
    mine = picked(columns, x)
    if len(columns) < 2 or mine is None or 2 * len(places) <= len(every):
        return None
    first = by_habit(columns) or mine  # the rows, and so what is held out, do not depend on which column is x
    columns = (first, *(column for column in columns if column != first))
    files: dict[str, dict[tuple[str, ...], str]] = {column: {} for column in columns}
    problems = list[Problem]()
    for name, parts in places.items():
        split, column = words[parts[depth]]
        within, stem = parts[depth + 1 : -1], splitext(parts[-1])[0]
        if column == "LR":
            within = tuple(part for part in within if not SCALE.fullmatch(part))
            stem = match[1] if (match := SCALED.fullmatch(stem)) else stem
        key = (*parts[:depth], split, *within, stem)
        if (other := files[column].setdefault(key, name)) != name:
            problems.append(Problem(file=shown(name), reason=f"not used: {shown(other)} has the same name"))
    whole = [key for key in files[first] if all(key in files[column] for column in columns)]
    if x is None and 2 * len(whole) <= max(map(len, files.values())):
        return None
    loose = [
        Problem(file=shown(n), reason=f"in none of the folders {', '.join(columns)}")
        for n in every.keys() - places.keys()
    ]
    for those in files.values():
        for key in those.keys() - set(whole):
            lacking = [other for other in columns if key not in files[other]]
            problems.append(Problem(file=shown(those[key]), reason=f"no file of its name in {', '.join(lacking)}"))
    problems = sorted(problems + loose, key=lambda p: p.file)
    rows = {files[first][key]: tuple(files[column][key] for column in columns[1:]) for key in whole}
    note = f"the folders {', '.join(columns)} are columns, matched by the names of their files; x is {mine}"
    note += "" if x else ' (x="" takes folders for classes)'
    return Declared(columns, mine, checked(tree, rows, problems), note, problems)


def by_habit(columns: tuple[str, ...]) -> str | None:
    """The column that is x, of names that are words for columns; None where they are not."""
    named = {name.lower(): name for name in columns}
    if X in named and len(named) > 1:
        others = named.keys() - {X}
        words = all(len(other) > 1 and NAME.fullmatch(other) for other in others)
        return named[X] if words and not others & SPLITS.keys() else None
    fits = [word for word, beside in BESIDE.items() if word in named and named.keys() - {word} <= beside]
    return named[fits[0]] if fits and len(named) > 1 else None
