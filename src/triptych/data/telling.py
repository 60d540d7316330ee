"""What a model is told beside x, and what data have: a sentence where they do not go together, with what would help."""

from collections.abc import Iterable

from triptych.core import Data, Space
from triptych.core.classes import listed
from triptych.data.columns import columns_of

CALLED = {
    "labels": "classes",
    "partial-labels": "classes",
    "tokens": "captions",
    "points": "numbers",
    "images": "pictures",
    "voxels": "solids",
    "video": "videos",
}
"""What elements of a space are called, by its kind, where they are told beside x."""
COME_FROM = {
    "classes": "classes come from sub-folders, from a label column of metadata.csv, or from y in a .npz",
    "captions": "captions come from a text column of metadata.csv or metadata.jsonl, or from a text file beside each",
    "numbers": "numbers are columns of metadata.csv: an age, a size",
}
PARTS = ("split", "subset", "fold")
"""Columns that say which part of the data a row belongs to: nothing to tell a model."""


def told(kinds: Iterable[Space | type[Space]]) -> list[str]:
    """What is told, in words, each once: of spaces, or of types of spaces."""
    return list(dict.fromkeys(CALLED.get(one.kind, one.kind) for one in kinds))


def beside(data: Data) -> dict[str, str]:
    """What each column beside x is, in words."""
    found = {name: CALLED.get(space.kind, space.kind) for name, space in columns_of(data).items() if name != "x"}
    if not found and data.given is not None:
        found["given"] = CALLED.get(data.given.kind, data.given.kind)
    return {name: kind for name, kind in found.items() if name not in PARTS}


def held(data: Data) -> str:
    """What there is beside x: "classes (material and tone) and captions"."""
    columns, parts = beside(data), list[str]()
    for kind in dict.fromkeys(columns.values()):
        names = [name for name, one in columns.items() if one == kind]
        own = names in (["label"], ["caption"], ["given"])
        parts.append(kind if own else f"{kind} ({listed(names)})")
    return " and ".join(parts)


def unlike(who: str, wanted: list[str], data: Data, others: str = "") -> str:
    """Who is told what the data do not serve, what they have, and how the two may come together: by another column of
    the data, by what has yet to be put beside them, or by `others`, models that are told what there is."""
    columns = beside(data)
    fitting = [name for name, kind in columns.items() if kind in wanted and name != "given"]
    has = f"has {held(data)}" if columns else "has nothing beside x"
    if fitting:
        helps = ["open the data with " + " or ".join(f'condition="{name}"' for name in fitting)]
    else:
        helps = [COME_FROM[kind] for kind in wanted if kind in COME_FROM][:1]
    helps += [others] if others else []
    return f"{who} is told {' or '.join(wanted)}; {data.name} {has}: " + "; or ".join(helps)
