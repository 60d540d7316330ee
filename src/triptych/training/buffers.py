"""What a turn leaves in a model's buffers: statistics of batches, the vectors of spectral norms, codebooks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from triptych.training.members import Members


class Buffers:
    """The buffers of a model as a turn found them.

    Each part of a batch begins with what the turn found in the buffers that are saved with the model, and in the end
    they have moved by the mean of what the parts moved them by. So batch statistics are the mean of the parts', and
    what depends on no data (a power iteration) is what it would have been for the whole batch. Buffers that are not
    saved are let be: they may gather from part to part.
    """

    def __init__(self, members: Members) -> None:
        self.members, self.saved, now = members, members.saved, members.buffers()
        self.found = dict(zip(now, copies(list(now.values())), strict=True))
        self.floating = [name for name in self.saved if self.found[name].is_floating_point()]
        self.moved: list[Tensor] = []
        """By how much each of the floating ones was moved, over all parts so far."""

    def held(self, names: Sequence[str]) -> list[Tensor]:
        """Those of these names, as they are now."""
        now = self.members.buffers()
        return [now[name] for name in names]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts back everything that was found."""
        for value, was in zip(self.held(list(self.found)), self.found.values(), strict=True):
            value.copy_(was)

    @torch.no_grad()
    def end_part(self) -> None:
        """Remembers how the part moved the saved ones."""
        moves = [v - self.found[name] for name, v in zip(self.floating, self.held(self.floating), strict=True)]
        self.moved = [a + b for a, b in zip(self.moved, moves, strict=True)] if self.moved else moves

    @torch.no_grad()
    def begin_part(self) -> None:
        """Puts back the saved ones."""
        for value, name in zip(self.held(self.saved), self.saved, strict=True):
            value.copy_(self.found[name])

    @torch.no_grad()
    def settle(self, moved: Sequence[Tensor]) -> None:
        """Moves the saved ones by so much from what was found."""
        for value, name, by in zip(self.held(self.floating), self.floating, moved, strict=True):
            torch.add(self.found[name], by, out=value)

    def changeable(self) -> list[Tensor]:
        """The saved ones of real numbers, as they are now."""
        return self.held(self.floating)

    def broken(self) -> list[str]:
        """Those that this turn has made NaN or infinite."""
        values = zip(self.floating, self.held(self.floating), strict=True)
        return [name for name, v in values if not v.isfinite().all() and self.found[name].isfinite().all()]


@torch.no_grad()
def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """A copy of each, by as few operations as there are types: a GPU is sent one after the other."""
    out = [torch.empty_like(t) for t in tensors]
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for k, t in enumerate(tensors):
        kinds.setdefault((t.dtype, t.device), []).append(k)
    for places in kinds.values():
        torch._foreach_copy_([out[k] for k in places], [tensors[k] for k in places])
    return out
