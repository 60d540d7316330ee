"""Which rows are for training and which are held out."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from triptych.core import DataError

WORDS = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "t10k", "eval", "evaluation", "holdout", "heldout"),
}
SPLITS = {word: split for split, words in WORDS.items() for word in words}
"""The words for a split in names of folders, files and arrays, and what we call it."""
FILLERS = frozenset(
    "set sets data dataset split part images image imgs img pictures pics photos jpg jpeg png audio wav wavs clips "
    "sounds recordings text texts txt files samples examples".split()
)
"""Words that may stand beside the word for a split and say nothing."""
JOINED = re.compile(f"({'|'.join(sorted(SPLITS, key=len, reverse=True))})({'|'.join(sorted(FILLERS))})?[0-9]*")
REQUESTS = ("train", "test", "validation", "val", "all")
HELD_OUT = 0.1
DEEPEST = 3
"""Folders above those of the splits, at most: photos/cats/train/."""


@dataclass(frozen=True)
class Said:
    """What a name says: the split, and what else."""

    split: str
    rest: str
    """The other words, joined by "_": "A" of trainA, "wiki" of wiki.train."""

    @property
    def kind(self) -> str:
        """The rest without what says nothing: names of the same kind are parts of the same thing."""
        return "_".join(w for w in self.rest.lower().split("_") if w not in FILLERS)


def said(name: str) -> Said | None:
    """The split that a name says: "train", "Test-Set", "val2017", "train_images", "wiki.valid"; None if it says none,
    or two."""
    apart = re.sub(r"(?i)(hold|held)[-_ ]?out", r"\1out", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name))
    words = [word for word in re.split(r"[\W_]+", apart) if word]
    found = {i: SPLITS[match[1]] for i, word in enumerate(words) if (match := JOINED.fullmatch(word.lower()))}
    if len(found) != 1:
        return None
    ((at, split),) = found.items()
    return Said(split, "_".join(w for i, w in enumerate(words) if i != at and not w.isdecimal()))


def taken(names: Collection[str]) -> dict[str, Said]:
    """Those of the names side by side that are splits, and what they say; none, unless they make sense together.

    There must be two splits, and what is held out must be of the same kind as what is trained on: train_cats beside
    test_cats, but not train_station beside test_tube. Without a training part, there must be nothing but splits.
    """
    found = {name: what for name in names if (what := said(name))}
    train = {what.kind for what in found.values() if what.split == "train"}
    held = {what.kind for what in found.values() if what.split != "train"}
    if not train:
        whole = len(found) == len(names) and held == {""}
        return found if whole and len({what.split for what in found.values()}) > 1 else {}
    return {name: what for name, what in found.items() if what.kind in train & held}


def level(places: Sequence[tuple[str, ...]]) -> tuple[int, dict[str, Said]] | None:
    """At which depth of these paths the splits are, and what the names there say; None where there are none.

    At the top, whatever lies beside the splits is in none of them; further down, it must be the lesser part.
    """
    for depth in range(DEEPEST):
        found = taken({place[depth] for place in places if len(place) > depth})
        within = sum(len(place) > depth and place[depth] in found for place in places)
        if found and (depth == 0 or 2 * within > len(places)):
            return depth, found
    return None


def ambiguous(names: Iterable[str]) -> list[str]:
    """Those names that are the word for a split and nothing else, as where they are not taken for one."""
    return sorted(name for name in set(names) if (what := said(name)) and not what.rest)


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
