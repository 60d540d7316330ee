"""How a GPU computes in training: in which precision, and whether it gives the same bits every time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from triptych.core import products


@contextmanager
def kernels(device: torch.device, precision: Literal["fp32", "tf32", "bf16"], repeatable: bool) -> Iterator[None]:
    """For a turn, the kernels that a run asks for. A CPU has but one kind, which is repeatable.

    Where torch has no repeatable kernel, it warns and takes the one that there is. Kernels that need not be repeatable
    are chosen by trying them out at the first turns.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills, tries = memory.fill_uninitialized_memory, cudnn.benchmark
    if repeatable:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it when it is first used
    torch.use_deterministic_algorithms(repeatable, warn_only=True)
    memory.fill_uninitialized_memory = False
    cudnn.benchmark = not repeatable
    try:
        with products("tf32" if precision == "tf32" else "fp32", device):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory, cudnn.benchmark = fills, tries
