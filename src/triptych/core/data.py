"""What training, scoring and evaluation ask of a data set."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from triptych.core.given import Batch
from triptych.core.noise import Noise
from triptych.core.space import Space


@runtime_checkable
class Data(Protocol):
    """Examples by number. What `fetch` returns is a function of the rows and of the noise, and of nothing else."""

    @property
    def name(self) -> str:
        """What to call it in tables and protocols: "mnist-binary:test"."""

    @property
    def fingerprint(self) -> str:
        """A sha256 of the content and of the way it is served: tells whether a resumed run sees the same data."""

    @property
    def x(self) -> Space:
        """Where the examples live."""

    @property
    def given(self) -> Space | None:
        """Where their conditions live, if they have any."""

    def __len__(self) -> int: ...

    def fetch(self, rows: Tensor, noise: Noise) -> Batch[Any]:
        """The examples numbered `rows` (int64 [n], on the CPU), on the noise's device.

        `noise` serves random preprocessing (binarization, flips) and goes along in the batch.
        """


def sent(t: Tensor, device: torch.device) -> Tensor:
    """t, of the CPU, on a device. To a GPU it goes from memory that stays in its place, and nobody waits for it."""
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and t.numel() else t.to(device)
