"""A sampler's step, recorded once and played again where there is a GPU.

To draw one value takes a network some hundred small kernels, each of a few millionths of a second, and a host longer
than that to launch each of them. A CUDA graph is launched as a whole.
"""

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

WARM = 2
"""Calls that run as they are, in which libraries set themselves up."""


def records(device: torch.device) -> bool:
    """Whether steps on this device are recorded, and so are to do the same work on the same memory every time."""
    return device.type == "cuda"


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


def recorded(step: Callable[[], None], device: torch.device) -> torch.cuda.CUDAGraph | None:
    """The step as a graph, which was not run yet; None, with a warning, if it cannot be one: it is slower then."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    except RuntimeError as e:
        log.warning(
            "the sampler's step could not be recorded, and runs kernel by kernel: %s", str(e).partition("\n")[0]
        )
        return None
    return graph
