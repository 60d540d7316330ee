"""Where randomness comes from: every draw is a function of a seed and of an item's place, never of the batch size."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


def mix(*parts: int) -> int:
    """One 63-bit seed from several whole numbers; the same on every machine and in every version.

    A hash of all of them in order, so that (0), (0, 0) and (0, 0, 0) give unrelated seeds.
    """
    digest = blake2b(repr(tuple(map(int, parts))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Noise(Protocol):
    """Independent draws for `n` items. Successive calls give fresh numbers."""

    @property
    def n(self) -> int: ...
    @property
    def device(self) -> torch.device: ...

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32 [n, *shape]."""

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), float32 [n, *shape]."""


class ItemNoise:
    """One stream an item (Philox, keyed by the seed and the item's number): what sampling and scoring use.

    Item i gets the same numbers whichever items are drawn beside it, on every device, and in float64, too.
    """

    def __init__(
        self,
        seed: int,
        items: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.n, self.device, self.dtype = len(items), torch.device(device), dtype
        key = mix(seed)
        self.streams = [np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, int(i)])) for i in items]

    def normal(self, *shape: int) -> Tensor:
        return self.stack([s.standard_normal(shape, dtype=np.float32) for s in self.streams], shape)

    def uniform(self, *shape: int) -> Tensor:
        return self.stack([s.random(shape, dtype=np.float32) for s in self.streams], shape)

    def stack(self, draws: list[np.ndarray], shape: tuple[int, ...]) -> Tensor:
        if not draws:
            return torch.empty(0, *shape, device=self.device, dtype=self.dtype)
        return torch.from_numpy(np.stack(draws)).to(self.device, self.dtype)


class StepNoise:
    """One stream a training step: fast, and the same for any number of ranks.

    Every rank draws for the whole batch and keeps its own part, so that splitting a batch changes no item's noise.
    """

    def __init__(self, seed: int, total: int, part: slice, device: torch.device | str = "cpu") -> None:
        self.total, self.part, self.device = total, part, torch.device(device)
        self.n = len(range(total)[part])
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.total, *shape, generator=self.generator, device=self.device)[self.part]

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.total, *shape, generator=self.generator, device=self.device)[self.part]
