"""Work that is the same every time, recorded once and played again where there is a GPU: a sampler's step, say.

To draw one value takes a network some hundred small kernels, each of a few millionths of a second, and a host longer
than that to launch each of them. A CUDA graph is launched as a whole.
"""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

log = logging.getLogger(__name__)

WARM = 2
"""Calls that run as they are, in which libraries set themselves up."""


def records(device: torch.device) -> bool:
    """Whether steps on this device are recorded, and so are to do the same work on the same memory every time."""
    return device.type == "cuda"


class Memory:
    """What graphs share, none of which is played while another one is."""

    def __init__(self) -> None:
        self.handle = torch.cuda.graph_pool_handle()

    def leave(self) -> None:
        """To a step that could not be recorded: torch takes its recording to go on, and refuses the next one there."""
        self.handle = torch.cuda.graph_pool_handle()


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python from collecting what is left of another graph meanwhile: to destroy one ends a recording."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Repeated:
    """Each call does what calling `step` would.

    `step` is a function without arguments, results and synchronization, that works on tensors which stay where they
    are: what differs from call to call lies in them, and every call is the same work. In Python it runs a few times
    only, on a device that records.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self.step, self.device, self.calls = step, device, 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self.calls == WARM and records(self.device):
            self.graph = recorded(self.step, self.device)
        self.calls += 1
        if self.graph is None:
            self.step()
        else:
            self.graph.replay()


def recorded(
    step: Callable[[], None],
    device: torch.device,
    *,
    generators: Sequence[torch.Generator] = (),
    memory: Memory | None = None,
    what: str = "the sampler's steps",
) -> torch.cuda.CUDAGraph | None:
    """The step as a graph, which was not run yet; None, with a warning, if it cannot be one: it is slower then.

    `generators` are those that it draws from, beside the device's own: their state when it is played decides.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        for generator in generators:
            graph.register_generator_state(generator)
        options: Any = {"pool": memory and memory.handle, "capture_error_mode": "thread_local"}
        with uncollected(), torch.cuda.device(device), torch.cuda.graph(graph, **options):
            step()
    except RuntimeError as e:
        if memory is not None:
            memory.leave()
        log.warning("%s could not be recorded, and run kernel by kernel: %s", what, str(e).partition("\n")[0])
        return None
    return graph
