"""Whether categories that a model found by itself are the classes that people made."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from triptych import metrics
from triptych.core import Data, Generative, ItemNoise, evaluating


@runtime_checkable
class Clusters(Protocol):
    """A model that puts x into categories that nobody named (InfoGAN)."""

    def category(self, x: Tensor) -> Tensor:
        """The category of each x, int64 [n]."""


@dataclass(frozen=True)
class Purity:
    """How well a model's own categories match classes."""

    generated: float
    """Of its samples, against what a classifier takes them for."""
    n: int
    real: float
    """Of held-out images, against their labels."""
    n_real: int


def category_purity(
    model: Generative[Any], generated: Tensor, test: Data, reader: metrics.Reader, limit: int | None
) -> Purity:
    """Of samples of a model with categories (`Clusters`), and of labeled held-out data (its first `limit` items)."""
    assert isinstance(model, Clusters)
    rows = torch.arange(len(test) if limit is None else min(limit, len(test)))
    batches = [test.fetch(part, ItemNoise(0, part.tolist(), model.device)) for part in torch.split(rows, 1000)]
    with evaluating(model), torch.no_grad():
        code = torch.cat([model.category(part.to(model.device)).cpu() for part in torch.split(generated, 1000)])
        real = torch.cat([model.category(batch.x).cpu() for batch in batches])
    label = torch.cat([batch.given.y.cpu() for batch in batches])
    taken = reader.probabilities(generated).argmax(1)
    return Purity(metrics.purity(code, taken), len(code), metrics.purity(real, label), len(real))
