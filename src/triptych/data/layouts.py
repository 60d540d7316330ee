"""Layouts of well-known sets, each a reader of a few lines: what their file names and lists say of each row."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from triptych.core import DataError
from triptych.data.files import LARGEST_FILE, Tree, shown
from triptych.data.metadata import Row
from triptych.media.encodings import decode
from triptych.media.maps import BadTable, read_classes
from triptych.media.work import BadFile

MOSTLY = 0.9
"""So many of the files must be called so."""
UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+")
"""age_gender_race_date.jpg (https://susanqq.github.io/UTKFace)"""
ATTRIBUTES, PARTS = (
    ("list_attr_celeba.txt", "list_attr_celeba.csv"),
    ("list_eval_partition.txt", "list_eval_partition.csv"),
)
LANDMARKS = ("list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv", "list_landmarks_celeba.txt")
PART = {"0": "train", "1": "validation", "2": "test"}


@dataclass(frozen=True)
class Layout:
    """What is known of files by a habit of their set."""

    note: str
    rows: dict[str, Row]
    """By file; one that has none is left out."""
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the numbers in a column stand for."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """By file, where the set says it."""
    used: tuple[str, ...] = ()
    """The documents that it was read from."""


def layout(tree: Tree, names: list[str], documents: list[str]) -> Layout | None:
    """What the names and documents of a source say, if they are called as those of a set that we know."""
    readers: tuple[Callable[[Tree, list[str], list[str]], Layout | None], ...] = (celeba, utkface)
    return next((found for read in readers if (found := read(tree, names, documents))), None)


def utkface(tree: Tree, names: list[str], documents: list[str]) -> Layout | None:
    matched = {name: match for name in names if (match := UTKFACE.match(PurePosixPath(name).name))}
    if len(matched) < MOSTLY * len(names):
        return None
    what = ("age", "gender", "race")
    rows = {name: Row(None, None, dict(zip(what, m.groups(), strict=True))) for name, m in matched.items()}
    named = {"gender": ("male", "female"), "race": ("White", "Black", "Asian", "Indian", "other")}
    return Layout("files are called as those of UTKFace: age, gender and race are columns", rows, named)


def celeba(tree: Tree, names: list[str], documents: list[str]) -> Layout | None:
    """https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html; also as .csv, as it is passed on elsewhere."""
    lists = [name for name in documents if PurePosixPath(name).name.lower() in ATTRIBUTES][:1]
    places = [name for name in documents if PurePosixPath(name).name.lower() in LANDMARKS][:1]
    if not lists and not places:
        return None
    by_name = {PurePosixPath(name).name: name for name in names}
    values, notes, attributes = dict[str, dict[str, str]](), list[str](), list[str]()
    for name in (*lists, *places):
        heading, *lines = table(tree, name)
        for file, *said in lines:
            if file in by_name:
                words = ["0" if v == "-1" and name in lists else v for v in said]
                values.setdefault(by_name[file], {}).update(zip(heading, words, strict=False))
        if name in lists:
            attributes = heading
            notes.append(f"{shown(name)} says {len(heading)} attributes of each file: they are columns")
        else:
            notes.append(f"{shown(name)} says where eyes, noses and mouths are: these are columns")
    rows = {file: Row(None, None, said) for file, said in values.items()}
    parts = [name for name in documents if PurePosixPath(name).name.lower() in PARTS]
    placed = [words for name in parts[:1] for words in table(tree, name)[1:]]
    splits = {by_name[file]: PART[part] for file, part, *_ in placed if file in by_name and part in PART}
    named = {name: ("no", "yes") for name in attributes}
    return Layout("; ".join(notes), rows, named, splits, (*lists, *places, *parts[:1]))


def table(tree: Tree, name: str) -> list[list[str]]:
    """The words of each line: first the heading without that of the files, then a line a file. Raises DataError."""
    where = f"{tree.name}/{shown(name)}"
    if tree.files[name] > LARGEST_FILE:
        raise DataError(f"{where} has {tree.files[name]:,} bytes; at most {LARGEST_FILE:,} are read")
    try:
        lines = [line.replace(",", " ").split() for line in decode(tree.read(name)).splitlines()]
    except (OSError, BadFile) as e:
        raise DataError(f"{where} cannot be read: {e}") from e
    lines = [line for line in lines if line]
    if lines and len(lines[0]) == 1 and lines[0][0].isdecimal():  # how many there are
        lines = lines[1:]
    if not lines:
        raise DataError(f"{where} holds nothing")
    if "." in lines[0][0]:  # no heading: the first line is of a file
        return [[], *lines]
    files = name.lower().endswith(".csv")
    return [lines[0][1:] if files else lines[0], *lines[1:]]


def class_names(tree: Tree) -> dict[str, str]:
    """What classes.csv calls the classes (see `media.maps`): number -> name; nothing if there is no such table."""
    found = [name for name in tree.files if PurePosixPath(name).name.lower() == "classes.csv"]
    if len(found) != 1 or tree.files[found[0]] > LARGEST_FILE:
        return {}
    try:
        names = read_classes(decode(tree.read(found[0]))).names
    except (OSError, BadFile, BadTable):  # then it is one of the documents that are not used
        return {}
    return {str(k): name for k, name in enumerate(names)} if len(set(names)) == len(names) else {}


def called(classes: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    """Classes by their names, if every one is a number that has one."""
    return tuple(names[c] for c in classes) if classes and all(c in names for c in classes) else classes
