"""How likely is it? The likelihood of a data set under a model, with its kind and its protocol."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from triptych.core import Data, Generative, HasLikelihood, ItemNoise, Likelihood, UsageError, evaluating, mix
from triptych.core.likelihood import Kind, Measure
from triptych.inference.importance import LatentVariable, importance_sampling
from triptych.io import commit


@dataclass(frozen=True)
class Score:
    """The mean log-likelihood of n items, and everything one needs to know to quote it."""

    model: str
    kind: Kind
    how: str
    measure: Measure
    data: str
    n: int
    dims: int
    nats: float
    """Mean negative log-likelihood, in nats an item."""
    stderr: float
    """Standard error of the mean over items."""
    bits_per_dim: float
    seed: int
    per_item: list[float]
    """Negative log-likelihood of each item, in nats, in the data's order."""

    def summary(self) -> dict[str, Any]:
        """All but the items, ready for JSON."""
        return {k: v for k, v in vars(self).items() if k != "per_item"}


def score(
    model: Generative[Any],
    data: Data,
    *,
    draws: int | None = None,
    limit: int | None = None,
    batch: int = 100,
    seed: int = 0,
) -> Score:
    """Scores the items of `data` (with `limit`, that many, evenly spaced: sets are seldom in random order).

    With `draws`, a latent variable model is scored by importance sampling (an Estimate) in place of its bound. Random
    preprocessing and random bounds follow from `seed`, item by item and batch by batch.

    Raises UsageError for a model that has no likelihood, or data that is not in the model's space.
    """
    if not isinstance(model, HasLikelihood):
        raise UsageError(
            f"{model.name} has no likelihood: a GAN gives samples, not probabilities; "
            "evaluate compares its samples with data instead"
        )
    if draws is not None and not isinstance(model, LatentVariable):
        raise UsageError(f"{model.name} has no latent variable to draw; score it without draws (its value is exact)")
    n = len(data) if limit is None else min(limit, len(data))
    if n == 0:
        raise UsageError(f"{data.name} holds no items to score")
    parts: list[Likelihood] = []
    with evaluating(model), torch.no_grad():
        chosen = torch.arange(n) * len(data) // n
        for first in range(0, n, batch):
            rows = chosen[first : first + batch]
            b = data.fetch(rows, ItemNoise(seed, rows.tolist(), model.device))
            given = b.given if getattr(model.config, "given", None) is not None else None
            torch.manual_seed(mix(seed, first))
            if draws is None:
                parts.append(model.log_prob(b.x, given))
            else:
                parts.append(importance_sampling(model, b.x, given, draws=draws, seed=mix(seed, first)))
    nll = -torch.cat([p.nats.double().cpu() for p in parts])
    one, mean = parts[0], nll.mean().item()
    return Score(
        model=model.name,
        kind=one.kind,
        how=one.how,
        measure=one.measure,
        data=data.name,
        n=n,
        dims=one.dims,
        nats=mean,
        stderr=nll.std().item() / math.sqrt(n) if n > 1 else math.nan,
        bits_per_dim=mean / (one.dims * math.log(2)),
        seed=seed,
        per_item=nll.tolist(),
    )


def write_items(score: Score, path: Path) -> None:
    """A line an item: its number, nats and bits/dim (.csv)."""
    scale = 1 / (score.dims * math.log(2))
    lines = [f"{i},{nats:.6f},{nats * scale:.6f}\n" for i, nats in enumerate(score.per_item)]
    commit.write_atomic(path, f"item,nats,bits_per_dim\n{''.join(lines)}".encode())
