"""How a GPU computes in training: in which precision, and whether it gives the same bits every time."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from triptych.core import products

log = logging.getLogger(__name__)


class Unrepeatable(Exception):
    """There is no repeatable kernel for something: the turn is to be played again, with the one that there is."""


class Kernels:
    """The kernels that a run asks for, for one turn after the other. A CPU has but one kind, which is repeatable.

    Some that are not repeatable by themselves have a slower way to be so (the gradient of attention), which torch takes
    only where it is to fail if there is none. So this is asked for first; the first failure is said, and from then on
    what has no repeatable kernel goes without. Kernels that need not be repeatable are chosen by trying them out at the
    first turns.
    """

    def __init__(self, device: torch.device, precision: Literal["fp32", "tf32", "bf16"], repeatable: bool) -> None:
        self.device, self.repeatable, self.strict = device, repeatable, True
        self.precision: Literal["fp32", "tf32"] = "tf32" if precision == "tf32" else "fp32"

    @property
    def exact(self) -> bool:
        """Whether the same turn gives the same bits."""
        return self.device.type != "cuda" or (self.repeatable and self.strict)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises Unrepeatable, once."""
        try:
            with self.chosen() if self.device.type == "cuda" else products(self.precision, self.device):
                yield
        except RuntimeError as e:
            if not (self.repeatable and self.strict and "deterministic" in str(e)):
                raise
            self.strict = False
            log.warning("a resumed run will not equal this one bit for bit: %s", str(e).partition(",")[0])
            raise Unrepeatable from None

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Of a GPU."""
        cudnn: Any = torch.backends.cudnn
        memory: Any = torch.utils.deterministic
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        fills, tries = memory.fill_uninitialized_memory, cudnn.benchmark
        if self.repeatable:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it when it is first used
        torch.use_deterministic_algorithms(self.repeatable, warn_only=not self.strict)
        memory.fill_uninitialized_memory = False
        cudnn.benchmark = not self.repeatable
        try:
            with products(self.precision, self.device):
                yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            memory.fill_uninitialized_memory, cudnn.benchmark = fills, tries
