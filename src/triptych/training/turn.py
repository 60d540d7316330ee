"""One update of one player: everything that touches gradients, precision and ranks is here."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.core import Batch, Clock, Loss, NonFiniteError, PartialLabel, Player, learning
from triptych.nn import ranks
from triptych.training.buffers import Buffers
from triptych.training.finite import Late, check_whole, culprit, size
from triptych.training.members import Members
from triptych.training.normalizing import over_ranks
from triptych.training.overlapping import Underway
from triptych.training.recording import Recording


@contextmanager
def only(player: Player, model: nn.Module, members: Members | None = None) -> Iterator[None]:
    """Gradients reach the player's weights and no others; weights that were frozen before stay frozen."""
    idle = (members or Members(model, [player])).idle[player.name]
    frozen = [w for w in idle if w.requires_grad]
    try:
        for w in frozen:
            w.requires_grad_(False)
        yield
    finally:
        for w in frozen:
            w.requires_grad_(True)


class Once:
    """What a player's weights make of a batch, for all players that move on it: made at the first call.

    In the turns of the others it is given as numbers; in the maker's own, his gradient goes back through the making. In
    between, nobody changes his weights.
    """

    def __init__(self, maker: Player) -> None:
        self.weights = [w for w in maker.owns.parameters() if w.requires_grad]
        self.made: Tensor | None = None

    def __call__(self, make: Callable[[], Tensor]) -> Tensor:
        own = all(w.requires_grad for w in self.weights)
        if self.made is None:
            try:
                for w in self.weights:
                    w.requires_grad_(True)
                self.made = make()
            finally:
                for w in self.weights:
                    w.requires_grad_(own)
        return self.made if own else self.made.detach()


def turn(
    model: nn.Module,
    player: Player,
    optimizer: Optimizer,
    batch: Batch[Any] | Sequence[Batch[Any]],
    clock: Clock,
    *,
    autocast: torch.dtype | None = None,
    members: Members | None = None,
    recording: Recording | None = None,
    late: Late | None = None,
) -> Loss:
    """One update of `player` on `batch`: freeze the others, loss, gradient, clip, step, project.

    A batch in equal parts is worked on part by part: the gradient is the mean of theirs, and so are the loss, what it
    logs and how the model's buffers move (see `Buffers`). Under torch.distributed, `batch` is this rank's part, and all
    of that is the mean over ranks, too; batch normalization is over the ranks together. The returned loss carries no
    graph and has the gradient's norm in its logs. `members` are listed anew for a single turn.
    A `recording` plays the work on a batch that is in one part.

    Raises NonFiniteError, and leaves every weight and buffer as it was, if the loss, a gradient or a buffer becomes NaN
    or infinite; Ruined if a weight does, by an update from a gradient that is finite. With `late`, that is looked at
    when `late` is settled, which it is before a projection: what raises Again then is played again without it.
    """
    parts = [batch] if isinstance(batch, Batch) else batch
    if getattr(getattr(model, "config", None), "given", None) is None:
        parts = [replace(part, given=None) for part in parts]  # the data may have labels that the model does not take
    if len(parts) * ranks.world() > 1:
        parts = counted(parts)
    for group in optimizer.param_groups:
        group.update(player.optimizer.settings(clock.progress))
    optimizer.zero_grad(set_to_none=True)
    members = members or Members(model, [player])
    buffers, owned = Buffers(members), members.owned[player.name]
    try:
        loss, norm, finite = gradient(model, player, parts, clock, members, buffers, autocast, recording)
        if late is None and not finite and (wrong := culprit(model, player, loss, norm, buffers)):
            raise NonFiniteError(f"player {player.name}: {wrong}")
    except BaseException:
        buffers.restore()
        raise
    if player.clip is not None:
        torch.nn.utils.clip_grads_with_norm_(owned, player.clip, norm)
    if late is not None:
        late.step(player, optimizer, owned, buffers, finite)
    else:
        optimizer.step()
        if not size(owned).isfinite():
            check_whole(model, player.name)
    found = None
    if player.project:
        if late is not None:
            late.settle()
        with torch.no_grad():
            found = player.project()
    return Loss(loss.value, {**loss.logs, **(found or {}), "gradient_norm": norm})


def counted(parts: Sequence[Batch[Any]]) -> list[Batch[Any]]:
    """Parts that know of each other, over all ranks: which item is before each, and how many labels of a part are
    known. See `Batch.before` and `Batch.labeled`."""
    moved = list[Tensor]()

    def before(k: int) -> Tensor:
        if not moved:  # most losses do not ask
            moved.extend(ranks.before(torch.cat([part.x for part in parts])).chunk(len(parts)))
        return moved[k]

    parts = [replace(part, before=partial(before, k)) for k, part in enumerate(parts)]
    if not all(isinstance(part.given, PartialLabel) for part in parts):
        return parts
    labeled = torch.stack([(part.given.y >= 0).sum() for part in parts]).float().mean()
    labeled = ranks.averaged(labeled)
    return [replace(part, labeled=labeled) for part in parts]


def gradient(
    model: nn.Module,
    player: Player,
    parts: Sequence[Batch[Any]],
    clock: Clock,
    members: Members,
    buffers: Buffers,
    autocast: torch.dtype | None,
    recording: Recording | None = None,
) -> tuple[Loss, Tensor, Tensor]:
    """Works on the parts: the loss, the norm of its gradient, which is in the player's weights then, and whether both,
    and the buffers, are finite (or it may be; see `size`)."""
    losses, owned = [], members.owned[player.name]
    underway = Underway(owned)

    def work(part: Batch[Any], clock: Clock, last: bool = True) -> Loss:
        with only(player, model, members), over_ranks(), learning(model):
            with torch.autocast(part.x.device.type, dtype=autocast, enabled=autocast is not None):
                loss = player.loss(part, clock)
            with underway.watching() if last else nullcontext():
                (loss.value / len(parts)).backward()  # type: ignore[no-untyped-call]
        return Loss(loss.value.detach(), {k: v.detach() for k, v in loss.logs.items()})

    if recording is not None and len(parts) * ranks.world() == 1:
        losses.append(recording(parts[0], clock, buffers, work))
    else:
        for i, part in enumerate(parts):
            if i:
                buffers.begin_part()
            losses.append(work(part, clock, i == len(parts) - 1))
            if len(parts) * ranks.world() > 1:
                buffers.end_part()
    loss = losses[0] if len(losses) == 1 else mean(losses)
    gradients = [w.grad for w in owned if w.grad is not None]
    if len(parts) * ranks.world() > 1:
        moved = [total / len(parts) for total in buffers.moved]
        loss = average(loss, underway.left(owned), moved)
        underway.arrive()
        buffers.settle(moved)
    norm = size(gradients)
    seen = [loss.value, norm, *([size(moving)] if (moving := buffers.changeable()) else [])]
    seen = [v.to(torch.float32).reshape(()) for v in seen]
    return loss, norm, torch.stack(seen).isfinite().all()


def mean(losses: Sequence[Loss]) -> Loss:
    """The mean of losses that log the same things, and of those."""
    logs = {k: torch.stack([loss.logs[k] for loss in losses]).mean(0) for k in losses[0].logs}
    return Loss(torch.stack([loss.value for loss in losses]).mean(), logs)


def average(loss: Loss, gradients: Sequence[Tensor], moved: Sequence[Tensor]) -> Loss:
    """The mean loss over ranks, in one all-reduce; replaces each gradient and each move by its own."""
    if ranks.world() == 1:
        return loss
    tensors = [*gradients, *moved]
    figures = torch.stack([loss.value, *loss.logs.values()]).to(torch.float32)
    flat = torch.cat([figures, *(t.flatten() for t in tensors)])
    flat = ranks.total(flat) / ranks.world()
    figures, *found = torch.split(flat, [len(figures), *(t.numel() for t in tensors)])
    for t, value in zip(tensors, found, strict=True):
        t.copy_(value.view_as(t))
    return Loss(figures[0], dict(zip(loss.logs, figures[1:], strict=True)))
