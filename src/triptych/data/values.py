"""Columns of values beside x: an age, a camera's place, an attribute. Numbers are points of one dimension, words are
classes by their names."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from triptych.core import Labels, PartialLabels, Points
from triptych.media import of_kind
from triptych.media.work import BadFile

NAME = re.compile(r"\w[\w .-]{0,63}")
"""What a column may be called."""
TAKEN = ("x", "label", "caption")
"""Columns that there may be already."""
UNKNOWN = -1
"""The class of a row of which it is not known."""
MOST_KINDS = 1000
MOST_TOLD = 8

Valued = tuple[Points | Labels | PartialLabels, np.ndarray]
"""Where a column lives, and its values: float32 [n, 1] of numbers, int64 [n] of classes (-1: not known)."""


def valued(
    rows: Sequence[Mapping[str, str]], named: Mapping[str, tuple[str, ...]], taken: Sequence[str] = ()
) -> tuple[dict[str, Valued], list[str]]:
    """The columns that these rows of values have, and what to say of those that are none.

    `named` says of columns that hold the numbers of classes what these are called. A column is one of numbers if each
    row has a number; else one of classes, if they are not about as many as there are rows.
    """
    found, left = dict[str, Valued](), list[str]()
    for name in dict.fromkeys(name for row in rows for name in row):
        words = [row.get(name, "").strip() for row in rows]
        made = (
            "it cannot be called so"
            if not NAME.fullmatch(name) or name in (*TAKEN, *taken)
            else column(words, named.get(name))
        )
        if isinstance(made, str):
            left.append(f"{name} ({made})")
        else:
            found[name] = made
    more = f" and {len(left) - MOST_TOLD} more" if len(left) > MOST_TOLD else ""
    return found, [f"columns of values that are not used: {', '.join(left[:MOST_TOLD])}{more}"] if left else []


def column(words: Sequence[str], names: tuple[str, ...] | None) -> Valued | str:
    """One column of the words in its fields; or why it is none."""
    there = [word for word in words if word]
    if 2 * len(there) <= len(words):
        return "most rows have none"
    if names is None and (numbers := as_numbers(there)) is not None:
        if len(there) < len(words):
            return f"{len(words) - len(there)} rows have no number"
        return Points(1), numbers
    kinds = len(set(there))
    if names is None and (kinds > MOST_KINDS or (2 * kinds > len(there) > 4)):
        return f"{kinds} different words in {len(there)} rows"
    medium = of_kind("labels")
    space = medium.survey(map(as_file, there)) if names is None else Labels(len(names), names=names)
    number = {word: read(space, word) for word in set(there)}
    y = np.array([number.get(word, UNKNOWN) for word in words], np.int64)
    return (PartialLabels(space.classes, names=space.names) if (y == UNKNOWN).any() else space), y


def as_numbers(words: Sequence[str]) -> np.ndarray | None:
    """float32 [n, 1]; None if any of them is no finite number."""
    medium, space = of_kind("points"), Points(1)
    try:
        known = {word: medium.read(space, as_file(word)) for word in dict.fromkeys(words)}
    except BadFile:
        return None
    return np.stack([known[word] for word in words]) if words else None


def read(space: Labels, word: str) -> int:
    """The number of a class; `UNKNOWN` of what is none."""
    try:
        return int(of_kind("labels").read(space, as_file(word)))
    except BadFile:
        return UNKNOWN


def as_file(word: str) -> bytes:
    """A field of a table as the file that it would be: a column is read as one file that a person brings."""
    return word.encode("utf-8", "replace")
