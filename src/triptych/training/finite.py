"""Whether what a turn computes is finite: looked at in the turn or, on a GPU, at the end of the round.

To look is to wait: the host for all that it has sent to a GPU, and the GPU then for the host. So there the turns of a
round are looked at together (`Late`). Until then an optimizer leaves its weights alone, by what the device knows, from
the first turn on that was not finite; and a round that had one is taken back to it (`Again`), and goes on with a look
in every turn. It ends with what such looks would have ended with, bit for bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.core import Loss, NonFiniteError, Player
from triptych.training.buffers import Buffers


class Ruined(NonFiniteError):
    """An update has made weights NaN or infinite: there is no going on from them."""

    turn: int | None = None
    """Of its round, where others were played since."""


class Again(Exception):
    """A turn of this round, by its number, is to be played again, as it was not finite: all is as it was before it."""

    def __init__(self, turn: int) -> None:
        super().__init__(turn)
        self.turn = turn


@dataclass
class Outstanding:
    """A turn that was not looked at yet."""

    number: int
    """Of the turns of its round, from 0."""
    player: str
    buffers: Buffers
    bad: Tensor
    """1 if it, or one before it, was not finite."""
    whole: Tensor | None = None
    """Whether its weights are finite after their update."""


class Late:
    """The turns of a round that were not looked at yet."""

    def __init__(self, model: nn.Module, meanwhile: Callable[[], None]) -> None:
        """`meanwhile` is what the host has to do before it waits."""
        self.model, self.meanwhile = model, meanwhile
        self.begin()

    def begin(self) -> None:
        """A round begins."""
        self.turns, self.number, self.at_once = list[Outstanding](), 0, False

    def step(
        self, player: Player, optimizer: Optimizer, owned: Sequence[Tensor], buffers: Buffers, finite: Tensor
    ) -> None:
        """An update of these weights, if all was finite so far. Looks first where an optimizer cannot go by that."""
        bad = finite.logical_not().float()
        if self.turns:
            bad = torch.maximum(bad, self.turns[-1].bad)
        turn = Outstanding(self.number, player.name, buffers, bad)
        self.turns.append(turn)
        self.number += 1
        if not getattr(optimizer, "_step_supports_amp_scaling", False):
            self.settle()
            optimizer.step()
            self.turns = [turn]
        else:
            optimizer.found_inf = bad  # type: ignore[attr-defined]
            try:
                optimizer.step()
            finally:
                del optimizer.found_inf  # type: ignore[attr-defined]
        turn.whole = size(owned).isfinite()

    def settle(self) -> None:
        """Looks. Raises Again, with its buffers put back, for the first turn that was not finite, and Ruined."""
        turns, self.turns = self.turns, []
        if not turns:
            return
        self.meanwhile()
        fine = torch.ones_like(turns[0].bad, dtype=torch.bool)
        seen = [v for t in turns for v in (t.bad == 0, fine if t.whole is None else t.whole)]
        found = torch.stack(seen).tolist()
        for turn, finite, whole in zip(turns, found[::2], found[1::2], strict=True):
            if not finite:
                turn.buffers.restore()
                self.at_once = True
                raise Again(turn.number)
            if not whole:
                check_whole(self.model, turn.player, turn.number)


def check_whole(model: nn.Module, player: str, turn: int | None = None) -> None:
    """Raises Ruined if a weight is not finite, after an update of the player in this turn."""
    if name := broken(model):
        error = Ruined(f"player {player}: its update has made the weight {name} NaN or infinite")
        error.turn = turn
        raise error


def size(tensors: Sequence[Tensor]) -> Tensor:
    """A number that is finite only if all of these are. It may be infinite without that, where they are huge: to know
    for sure takes twenty times as long."""
    if not tensors:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))


def culprit(model: nn.Module, player: Player, loss: Loss, norm: Tensor, buffers: Buffers) -> str | None:
    """What is not finite, and by its name: the first cause that can be told."""
    weight = broken(model)
    if weight is not None:
        return f"the weight {weight} was not finite before"
    if not loss.value.isfinite():
        parts = "".join(f", {k} {v.item():g}" for k, v in loss.logs.items() if not v.isfinite())
        return f"the loss is not finite ({loss.value.item():g}{parts})"
    owned = {id(w) for w in player.owns.parameters()}
    found = {k: w.grad for k, w in model.named_parameters() if id(w) in owned and w.grad is not None}
    for name, slope in found.items():
        if not slope.isfinite().all():
            return f"the gradient of {name} is not finite (the loss is: {loss.value.item():g})"
    if not norm.isfinite():
        name, peak = max(((k, g.abs().max().item()) for k, g in found.items()), key=lambda one: one[1])
        return f"the gradient is too large for its norm to be finite, of {name} up to {peak:.3g}"
    for name in buffers.broken():
        return f"the buffer {name} (a statistic of batches, say) is not finite, though the loss is"
    return None


def broken(model: nn.Module) -> str | None:
    """The first weight that is not finite."""
    return next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None)
