"""What stands beside x in each row of a pack: its class, its caption, numbers, and further pictures."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core import Labels, PartialLabels, Space, sent
from triptych.data.packs import Pack

Makers = dict[str, Callable[[], Tensor]]


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


def makers(pack: Pack, rows: Int[Tensor, " k"], device: torch.device) -> Makers:
    """Those columns for rows of the pack, each made when it is asked for: int64 of classes (-1 where unknown) and
    captions, float32 of numbers."""

    def taken(array: np.ndarray) -> Tensor:
        found = sent(torch.from_numpy(array).index_select(0, rows), device)
        return found if found.is_floating_point() else found.long()

    arrays = {"label": pack.y, "caption": pack.tokens, **pack.values}
    return {name: partial(taken, array) for name, array in arrays.items() if array is not None}
