"""What a stage reads in place of its examples, computed once for each: the codes of a tokenizer that stands still."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from triptych.core import Batch, Data, Generative, StepNoise, evaluating, mix
from triptych.core.data import sent
from triptych.nn import ranks

log = logging.getLogger(__name__)

CHUNK = 256
"""Examples that are read together: neighbors, whatever the batch, so that a resumed run reads the same bits."""
LOOKS = 2
"""Times that a stage has to see each example, on average, for it to pay."""
MOST = 2**32
"""Bytes that are kept, at most: of more, each batch is read anew."""
PROBE = 64
"""Examples by which it is told whether the data serve the same at each look."""


class Extracted:
    """What was read of each example, by its number; or None of all, where each batch is read anew.

    It is a function of the model as the stage finds it and of the data, not of how far the stage is: so it need not be
    saved, and a resumed stage reads the examples again. Whole numbers are kept as 32 bits, on the CPU.
    """

    def __init__(self, table: Tensor | None = None) -> None:
        self.table = table

    def beside(self, batch: Batch[Any], rows: Tensor) -> Batch[Any]:
        """The batch of these examples, with what was read of them."""
        if self.table is None:
            return batch
        found = sent(self.table[rows], batch.x.device)
        return replace(batch, codes=found if found.is_floating_point() else found.long())


def extracted(
    model: Generative[Any], data: Data, read: Callable[[Tensor], Tensor] | None, looks: float, seed: int
) -> Extracted:
    """Reads all examples, if the stage wants it (`Stage.reads`), sees them `looks` times, two at least, and data serve
    the same each time: what is drawn or mirrored anew at each look is read anew, too. Ranks share the work."""
    if read is None or looks < LOOKS or not steady(data, seed):
        return Extracted()
    first, size = ranks.rank(), len(data)
    chunks = torch.split(torch.arange(size), CHUNK)
    table: Tensor | None = None
    with evaluating(model), torch.no_grad():
        for k in range(first, len(chunks), ranks.world()):
            x = data.fetch(chunks[k], StepNoise(mix(seed, k), len(chunks[k]), slice(None), model.device)).x
            found = read(x).cpu()
            kind = found.dtype if found.is_floating_point() else torch.int32
            if table is None:
                if size * found[0].numel() * kind.itemsize > MOST:
                    return Extracted()
                table = torch.zeros(size, *found.shape[1:], dtype=kind)
            table[chunks[k]] = found.to(kind)
        if first == 0:
            log.info("the codes of %s examples were read, once for the whole stage", f"{size:,}")
        if ranks.world() > 1:
            table = shared(table, read, data, seed, model)
    return Extracted(table)


def shared(
    table: Tensor | None, read: Callable[[Tensor], Tensor], data: Data, seed: int, model: Generative[Any]
) -> Tensor:
    """The tables of all ranks together; a rank that had nothing to read looks at one example for its shape."""
    if table is None:
        found = read(data.fetch(torch.arange(1), StepNoise(seed, 1, slice(None), model.device)).x)
        kind = found.dtype if found.is_floating_point() else torch.int32
        table = torch.zeros(len(data), *found.shape[1:], dtype=kind)
    return ranks.total(table.to(ranks.meeting_place())).cpu()


def steady(data: Data, seed: int) -> bool:
    """Whether data serve the same x whatever the noise, as far as the first examples tell."""
    rows = torch.arange(min(PROBE, len(data)))
    one, other = (data.fetch(rows, StepNoise(mix(seed, k), len(rows), slice(None))).x for k in range(2))
    return torch.equal(one, other)
