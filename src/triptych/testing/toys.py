"""Random examples of any space: enough to train a tiny model for a few rounds."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from triptych.core import (
    Batch,
    Generative,
    ItemNoise,
    Noise,
    Space,
)
from triptych.core import Data as DataProtocol

ENUMERABLE = 4096
"""Elements a space may have to be enumerated."""


class Examples:
    """`n` random examples of `x`, with random conditions in `given` if that is not None. Satisfies `Data`.

    Images and the like are random levels; points are standard normal. A condition has nothing to do with its x.
    """

    def __init__(self, x: Space, given: Space | None = None, n: int = 48, seed: int = 0) -> None:
        self.x, self.given, self.name, self.fingerprint = x, given, "random examples", f"{x} {given} {n} {seed}"
        generator = torch.Generator().manual_seed(seed)
        self.values = random_elements(x, n, generator)
        self.conditions = None if given is None else given.condition(random_elements(given, n, generator))

    def __len__(self) -> int:
        return len(self.values)

    def fetch(self, rows: Tensor, noise: Noise) -> Batch[Any]:
        """The examples numbered `rows`, on the noise's device."""
        given = None if self.conditions is None else self.conditions[rows].to(noise.device)
        return Batch(self.values[rows].to(noise.device), given, noise)


def random_elements(space: Space, n: int, generator: torch.Generator) -> Tensor:
    shape = (n, *space.shape)
    if space.values is None:
        return torch.randn(shape, generator=generator)
    return space.from_index(torch.randint(-1 if space.optional else 0, space.values, shape, generator=generator))


def every_element(space: Space) -> Tensor | None:
    """All elements of a discrete space, if there are no more than `ENUMERABLE`."""
    values = space.values
    if values is None or values**space.dims > ENUMERABLE:
        return None
    index = torch.tensor(list(product(range(values), repeat=space.dims))).view(-1, *space.shape)
    return space.from_index(index)


def first_examples(model: Generative[Any], data: DataProtocol, n: int) -> Batch[Any]:
    """The first `n` examples, with their conditions if the model takes any."""
    batch = data.fetch(torch.arange(n), ItemNoise(0, range(n), model.device))
    return batch if getattr(model.config, "given", None) is not None else Batch(batch.x, None, batch.noise)


def require(kept: bool, broken: str) -> None:
    """Raises AssertionError with the sentence `broken` unless a promise was kept (also under python -O)."""
    if not kept:
        raise AssertionError(broken)


def difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that is not the same, bit for bit, in both, whatever devices they are on."""
    for name in {**a, **b}:
        if name not in a or name not in b or not torch.equal(bits(a[name]).cpu(), bits(b[name]).cpu()):
            return name
    return None


def bits(t: Tensor) -> Tensor:
    """The numbers as they are stored, so that NaN equals itself."""
    return t.detach().contiguous().view(-1).view(torch.uint8) if t.numel() else t


def copied(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and buffers, as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
