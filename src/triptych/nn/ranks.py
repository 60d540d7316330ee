"""What several processes that share a batch have to tell each other: sums over ranks, and the whole batch.

All of it does nothing where there is one process. `total` and `whole` are differentiable, as often as one likes.
"""

import time
import uuid
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store

PATIENCE = 300.0
"""Seconds that ranks wait for each other when they start."""


def world() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this process is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


class Sum(torch.autograd.Function):
    """The sum over ranks; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed: Tensor = Sum.apply(gradients[0])  # type: ignore[no-untyped-call]
        return summed


def total(x: Shaped[Tensor, "*n"]) -> Shaped[Tensor, "*n"]:
    """The sum of x over all ranks."""
    if world() == 1:
        return x
    summed: Tensor = Sum.apply(x)  # type: ignore[no-untyped-call]
    return summed


def whole(x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
    """The x of all ranks, one after the other: of items, those of the whole batch in their order.

    What is computed of it goes for the batch, as in one process, where the mean over ranks is taken of gradients.
    """
    if world() == 1:
        return x
    parts = [torch.zeros_like(x) for _ in range(world())]
    parts[rank()] = x
    return total(torch.cat(parts))


def averaged(x: Shaped[Tensor, "*n"]) -> Shaped[Tensor, "*n"]:
    """The mean of x over all ranks. A rank's sum divided by the mean of their counts is, in the mean over ranks, the
    quotient of the whole batch."""
    return total(x) / world() if world() > 1 else x


def before(x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "n ..."]:
    """For each item the one before it in the batch of all ranks, and for the first the last."""
    first = rank() * len(x)
    return whole(x).roll(1, 0)[first : first + len(x)]


def together(x: Shaped[Tensor, "*n"]) -> Shaped[Tensor, "*n"]:
    """What the ranks have filled in of x, each another part and the rest zero; on the CPU, bit for bit."""
    if world() == 1:
        return x.cpu()
    words = x.to(meeting_place()).contiguous().view(torch.uint8)  # numbers may be negative zeros, and bits are not
    dist.all_reduce(words)
    return words.view(x.dtype).cpu()


def meeting_place() -> torch.device:
    """A device whose tensors the ranks can reduce: the CPU, unless the group has a backend for others only.

    A group made by `init_process_group("nccl")` takes tensors on a GPU and nothing else.
    """
    kinds = [pair.partition(":")[0] for pair in dist.get_backend_config().split(",")]
    return torch.device("cpu" if "cpu" in kinds else kinds[0])


def largest(value: float) -> float:
    """The largest of the ranks' values."""
    if world() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float32, device=meeting_place())
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.item()


def meet(store: Store, rank: int, world: int, patience: float = PATIENCE) -> Store:
    """A part of the store for these `world` processes only, once each knows that all are here.

    torchrun keeps one store for all its restarts, and what killed ranks have written in it stays: of two new ranks, the
    faster would take the address of a process that is no more. So each comes with a new name, the first writes down
    those that it finds, and nobody leaves before all have found themselves in the same list.

    Raises TimeoutError.
    """
    me, until = uuid.uuid4().hex, time.monotonic() + patience
    doors = [f"here/{at}" for at in range(world)]
    store.set(doors[rank], me)
    while True:
        if rank == 0 and store.check(doors):
            store.set("list", " ".join(store.get(door).decode() for door in doors))
        names = store.get("list").decode() if store.check(["list"]) else ""
        if me in names.split():
            store.set(f"{names}/{rank}", "")
            if store.check([f"{names}/{at}" for at in range(world)]):
                return PrefixStore(names, store)
        if time.monotonic() > until:
            raise TimeoutError(f"rank {rank} of {world} waited {patience:.0f} s for the others")
        time.sleep(0.05)
