"""Which rows are for training and which are held out."""

import hashlib
from collections.abc import Sequence

import numpy as np

from triptych.core import DataError

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "t10k": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
"""The words for a split in names of folders, files and arrays, and what we call it."""
REQUESTS = ("train", "test", "validation", "val", "all")
HELD_OUT = 0.1


def held_out(names: Sequence[str]) -> np.ndarray:
    """Which of `names` are held out where a source has no split of its own: bool [n].

    Those whose sha256, read as a number from 0 to 1, is below 0.1. So a file keeps its side when others come or go.
    Of two names or more at least one is on either side.
    """
    place = np.array([int.from_bytes(hashlib.sha256(n.encode("utf-8", "surrogateescape")).digest()[:7]) for n in names])
    held = place < HELD_OUT * 2**56
    if len(held) > 1 and not held.any():
        held[place.argmin()] = True
    elif len(held) > 1 and held.all():
        held[place.argmax()] = False
    elif len(held) == 1:
        held[0] = False
    return held


def choose(request: str, splits: dict[str, tuple[int, int]], name: str) -> tuple[str, int, int]:
    """The split that `request` asks for, and its first and last row (exclusive).

    "test" and "validation" each stand for "what is held out" where a source has only the other one.
    Raises DataError if there is nothing of the kind.
    """
    if request == "all":
        return "all", 0, max(stop for _, stop in splits.values())
    other = {"test": "validation", "validation": "test"}
    wanted = SPLITS[request]
    for split in (wanted, other.get(wanted)):
        if split in splits and splits[split][0] < splits[split][1]:
            return split, *splits[split]
    has = ", ".join(f"{split} ({stop - start})" for split, (start, stop) in splits.items())
    raise DataError(f'{name} has nothing in split "{request}"; it has {has}; split="all" serves everything')
