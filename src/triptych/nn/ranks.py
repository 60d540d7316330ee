"""What several processes that share a batch have to tell each other: sums over ranks, and the whole batch.

All of it does nothing where there is one process. `total` and `whole` are differentiable, as often as one likes.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


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
