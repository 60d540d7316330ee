"""One update of one player: everything that touches gradients, precision and ranks is here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.core import Batch, Clock, Loss, NonFiniteError, Player


@contextmanager
def only(player: Player, model: nn.Module) -> Iterator[None]:
    """Gradients reach the player's weights and no others; weights that were frozen before stay frozen."""
    owned = {id(w) for w in player.owns.parameters()}
    idle = [w for w in model.parameters() if w.requires_grad and id(w) not in owned]
    try:
        for w in idle:
            w.requires_grad_(False)
        yield
    finally:
        for w in idle:
            w.requires_grad_(True)


def turn(
    model: nn.Module,
    player: Player,
    optimizer: Optimizer,
    batch: Batch[Any] | Sequence[Batch[Any]],
    clock: Clock,
    *,
    autocast: torch.dtype | None = None,
) -> Loss:
    """One update of `player` on `batch`: freeze the others, loss, gradient, clip, step, project.

    A batch in equal parts is worked on part by part: the gradient is the mean of theirs, and so are the loss and what
    it logs. Under torch.distributed, `batch` is this rank's part and the gradient is the mean over ranks. The returned
    loss carries no graph and has the gradient's norm in its logs.

    Raises NonFiniteError before any weight moves if the loss or a gradient is NaN or infinite.
    """
    parts = [batch] if isinstance(batch, Batch) else batch
    if getattr(getattr(model, "config", None), "given", None) is None:
        parts = [replace(part, given=None) for part in parts]  # the data may have labels that the model does not take
    for group in optimizer.param_groups:
        group.update(player.optimizer.settings(clock.progress))
    optimizer.zero_grad(set_to_none=True)
    losses = []
    with only(player, model):
        for part in parts:
            with torch.autocast(part.x.device.type, dtype=autocast, enabled=autocast is not None):
                loss = player.loss(part, clock)
            (loss.value / len(parts)).backward()  # type: ignore[no-untyped-call]
            losses.append(Loss(loss.value.detach(), {k: v.detach() for k, v in loss.logs.items()}))
    loss = losses[0] if len(losses) == 1 else mean(losses)
    named = [(k, w.grad) for k, w in player.owns.named_parameters() if w.grad is not None]
    gradients = [g for _, g in named]
    if dist.is_initialized() and dist.get_world_size() > 1:
        average(gradients)
    norm = torch.nn.utils.get_total_norm(gradients)
    if not (loss.value.isfinite() and norm.isfinite()):
        bad = [k for k, g in named if not g.isfinite().all()]
        where = f"the gradient of {bad[0]}" if bad else "the loss"
        raise NonFiniteError(f"player {player.name}: {where} is not finite (loss {loss.value.item():g})")
    if player.clip is not None:
        torch.nn.utils.clip_grads_with_norm_(player.owns.parameters(), player.clip, norm)
    optimizer.step()
    if player.project:
        with torch.no_grad():
            player.project()
    return Loss(loss.value, loss.logs | {"gradient_norm": norm})


def mean(losses: Sequence[Loss]) -> Loss:
    """The mean of losses that log the same things, and of those."""
    logs = {k: torch.stack([loss.logs[k] for loss in losses]).mean(0) for k in losses[0].logs}
    return Loss(torch.stack([loss.value for loss in losses]).mean(), logs)


def average(gradients: list[Tensor]) -> None:
    """Replaces each gradient by its mean over ranks, in one all-reduce."""
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    sizes = [g.numel() for g in gradients]
    for g, part in zip(gradients, torch.split(flat, sizes), strict=True):
        g.copy_(part.view_as(g))
