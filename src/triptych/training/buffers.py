"""What a turn leaves in a model's buffers: statistics of batches, the vectors of spectral norms, codebooks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Buffers:
    """The buffers of a model as a turn found them.

    Each part of a batch begins with what the turn found in the buffers that are saved with the model, and in the end
    they have moved by the mean of what the parts moved them by. So batch statistics are the mean of the parts', and
    what depends on no data (a power iteration) is what it would have been for the whole batch. Buffers that are not
    saved are let be: they may gather from part to part.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, saved = model, model.state_dict(keep_vars=True)
        self.found = {name: value.clone() for name, value in model.named_buffers()}
        self.saved = [name for name in self.found if name in saved]
        self.floating = [name for name in self.saved if self.found[name].is_floating_point()]
        self.moved = [torch.zeros_like(self.found[name]) for name in self.floating]
        self.parts = 0

    def held(self, names: Sequence[str]) -> list[Tensor]:
        """Those of these names, as they are now."""
        now = dict(self.model.named_buffers())
        return [now[name] for name in names]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts back everything that was found."""
        for value, was in zip(self.held(list(self.found)), self.found.values(), strict=True):
            value.copy_(was)

    @torch.no_grad()
    def end_part(self) -> None:
        """Remembers how the part moved the saved ones."""
        for total, value, name in zip(self.moved, self.held(self.floating), self.floating, strict=True):
            total += value - self.found[name]
        self.parts += 1

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
