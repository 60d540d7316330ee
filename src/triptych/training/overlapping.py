"""Gradients on their way to the other ranks while the rest of the backward pass still runs.

Weights of the last layers have their gradients first. They are sent in buckets, as torch's DistributedDataParallel does
(Li and others, 2020, Section 3.2.3; https://arxiv.org/abs/2006.15704); here without a wrapper around the model, of
which several players may own parts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from triptych.nn import ranks

BUCKET = 25 * 2**20
"""Bytes of gradients that are worth a message of their own."""


def buckets(weights: Sequence[Tensor]) -> list[list[Tensor]]:
    """Weights of one type, in order, in lists of BUCKET bytes at least; those at the end may be fewer."""
    found: list[list[Tensor]] = []
    room = 0
    for weight in weights:
        if room <= 0 or found[-1][0].dtype != weight.dtype:
            found.append([])
            room = BUCKET
        found[-1].append(weight)
        room -= weight.numel() * weight.element_size()
    return found


class Underway:
    """The sums over ranks of one player's gradients, each bucket sent as soon as it is whole, and in the same order on
    every rank. What is not sent by the end of the backward pass is left to who asks: the last bucket always is."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.buckets = buckets([w for w in reversed(weights) if w.requires_grad])[:-1] if ranks.world() > 1 else []
        self.missing = [len(bucket) for bucket in self.buckets]
        self.sent: list[tuple[Tensor, dist.Work | None]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the backward pass that completes the gradients."""
        hooks = [
            weight.register_post_accumulate_grad_hook(partial(self.came, k))  # type: ignore[no-untyped-call]
            for k, bucket in enumerate(self.buckets)
            for weight in bucket
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def came(self, k: int, weight: Tensor) -> None:
        """The gradient of a weight of bucket k is there."""
        self.missing[k] -= 1
        while len(self.sent) < len(self.buckets) and not self.missing[len(self.sent)]:
            flat = torch.cat([w.grad.flatten() for w in self.buckets[len(self.sent)] if w.grad is not None])
            self.sent.append((flat, dist.all_reduce(flat, async_op=True)))

    def left(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The gradients, of those weights that have any, that nobody has sent."""
        sent = {id(w) for bucket in self.buckets[: len(self.sent)] for w in bucket}
        return [w.grad for w in weights if w.grad is not None and id(w) not in sent]

    def arrive(self) -> None:
        """Waits for what was sent, and puts the mean over ranks where the gradients were."""
        for bucket, (flat, work) in zip(self.buckets, self.sent, strict=False):
            if work is not None:
                work.wait()
            own = [w.grad for w in bucket if w.grad is not None]
            means = torch.split(flat / ranks.world(), [g.numel() for g in own])
            for gradient, value in zip(own, means, strict=True):
                gradient.copy_(value.view_as(gradient))
