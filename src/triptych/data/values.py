"""Columns of values beside x: an age, a camera's place, an attribute. Numbers are points of one dimension, words are
classes by their names."""

import re
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from triptych.core import Labels, PartialLabels, Points

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
        return Points(1), numbers[:, None]
    kinds = tuple(sorted(set(there))) if names is None else names
    if names is None and (len(kinds) > MOST_KINDS or (2 * len(kinds) > len(there) > 4)):
        return f"{len(kinds)} different words in {len(there)} rows"
    number = {kind: k for k, kind in enumerate(kinds)} if names is None else {str(k): k for k in range(len(kinds))}
    y = np.array([number.get(word, UNKNOWN) for word in words], np.int64)
    space = PartialLabels if (y == UNKNOWN).any() else Labels
    return space(len(kinds), names=kinds), y


def as_numbers(words: Sequence[str]) -> np.ndarray | None:
    """float32 [n]; None if any of them is no finite number."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return np.array(values, np.float32) if all(map(isfinite, values)) and values else None
