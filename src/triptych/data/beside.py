"""What stands beside x in each row of a pack: its class, its caption, numbers, and further pictures."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core import Labels, PartialLabels, Space, UsageError, sent
from triptych.core.classes import listed
from triptych.data.packs import Pack

Makers = dict[str, Callable[[], Tensor]]

NO_CONDITION = "none"
"""What is asked for as the condition where x alone is to be served, whatever stands beside it."""


def labels_of(classes: tuple[str, ...]) -> Labels:
    """The space of these classes. Names that are just their numbers are none."""
    numbers = tuple(map(str, range(len(classes))))
    return Labels(len(classes), names=None if classes == numbers else classes)


def spaces(pack: Pack) -> dict[str, Space]:
    """Where the class, the caption and the values of each row live, by the name of the column."""
    found: dict[str, Space] = {}
    if pack.meta.classes:
        space = labels_of(pack.meta.classes)
        found["label"] = PartialLabels(space.classes, names=space.names) if pack.partial else space
    if pack.meta.tokenizer:
        found["caption"] = pack.meta.tokenizer.space
    return found | dict(pack.meta.values)


def check_condition(pack: Pack, name: str) -> None:
    """Raises UsageError unless there is such a column of classes, captions or values, or none is asked for."""
    there = spaces(pack)
    if name == NO_CONDITION and name not in there:
        return
    if name in ("label", "caption") and name not in there:
        raise UsageError(f'{pack.meta.name} has no {name}s; leave out condition="{name}"')
    if name not in there:
        near = get_close_matches(name, there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {listed(tuple(there)) or 'none'}"
        raise UsageError(f"condition={name!r}: {pack.meta.name} has no such column to condition on; {hint}")


def makers(pack: Pack, rows: Int[Tensor, " k"], device: torch.device) -> Makers:
    """Those columns for rows of the pack, each made when it is asked for: int64 of classes (-1 where unknown) and
    captions, float32 of numbers."""

    def taken(array: np.ndarray) -> Tensor:
        found = sent(torch.from_numpy(array).index_select(0, rows), device)
        return found if found.is_floating_point() else found.long()

    arrays = {"label": pack.y, "caption": pack.tokens, **pack.values}
    return {name: partial(taken, array) for name, array in arrays.items() if array is not None}
