"""How likely is it? The likelihood of a data set under a model, with its kind and its protocol."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.core import (
    Autoregressive,
    Data,
    Exact,
    Generative,
    HasLikelihood,
    ItemNoise,
    Likelihood,
    UsageError,
    evaluating,
    mix,
)
from triptych.core.likelihood import BaseMeasure, Kind
from triptych.data import fitted
from triptych.data.notebook import html_of
from triptych.inference.ais import Annealing, Sandwich, ais, bdmc
from triptych.inference.generators import Observation
from triptych.inference.importance import LatentVariable, importance_sampling
from triptych.io import commit, outputs
from triptych.nn import ranks
from triptych.verbs.opening import as_data

SIMULATED = 10
"""Examples that a model makes itself, to measure what annealing misses."""


@dataclass(frozen=True)
class Gap:
    """How far annealing with these settings may be below log p(x), in nats, on n examples that the model made."""

    nats: float
    """Mean distance of an upper from a lower bound (bidirectional Monte Carlo)."""
    stderr: float
    n: int

    @classmethod
    def of(cls, sandwich: Sandwich) -> "Gap":
        return cls(sandwich.gap, sandwich.stderr, len(sandwich.x))


@dataclass(frozen=True)
class Score:
    """The mean log-likelihood of n items, and everything one needs to know to quote it."""

    model: str
    kind: Kind
    how: str
    measure: BaseMeasure
    data: str
    n: int
    dims: int
    nats: float
    """Mean negative log-likelihood, in nats an item."""
    stderr: float
    """Standard error of the mean over items."""
    bits_per_dim: float
    bits_per_char: float | None
    """Of text: a character, however many tokens that is. Of byte pairs it is a little too high, as the text could be
    written in other tokens too."""
    seed: int
    per_item: list[float]
    """Negative log-likelihood of each item, in nats, in the data's order."""
    gap: Gap | None = None
    """What annealing may miss, if that is how it was scored."""

    def __repr__(self) -> str:
        said = f"{self.nats:.4g} nats, {self.bits_per_dim:.4g} bits/dim; {self.kind} ({self.how}), n = {self.n:,}"
        return f"<score of {self.model} on {self.data}: {said}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html_of(f"{self.model} on {self.data}", {k: v for k, v in self.summary().items() if v is not None})

    def summary(self) -> dict[str, Any]:
        """All but the items, ready for JSON."""
        return {k: v for k, v in asdict(self).items() if k != "per_item"}


def score(
    model: Generative[Any],
    data: Data | Any,
    *,
    draws: int | None = None,
    anneal: Annealing | None = None,
    noise: Observation | None = None,
    limit: int | None = None,
    batch: int = 100,
    seed: int = 0,
) -> Score:
    """Scores the items of `data` (with `limit`, that many, evenly spaced: sets are seldom in random order).

    Text is scored window by window. If the data was opened with a stride, only the last `stride` tokens of each window
    count, given all before them in it.

    With `draws`, a latent variable model is scored by importance sampling (an Estimate) in place of its bound; with
    `anneal`, by annealed importance sampling, whose gap is then measured on examples of the model's own. A GAN can only
    be annealed, with the `noise` that is to lie between its samples and x. Random preprocessing and random bounds
    follow from `seed`, item by item and batch by batch. Several ranks share the batches, and each has the whole score.

    Raises UsageError for a model that has no likelihood, or data that is not in the model's space.
    """
    data = as_data(data, model)
    if anneal is None and not isinstance(model, HasLikelihood):
        raise UsageError(
            f"{model.name} has no likelihood: a GAN gives samples, not probabilities; "
            "evaluate compares its samples with data instead; an estimate under a stated observation noise takes "
            "annealing (ais) and that noise"
        )
    if anneal is not None and draws is not None:
        raise UsageError(f"draws={draws} and annealing are two ways to estimate; ask for one")
    if anneal is None and noise is not None:
        raise UsageError(f"noise={noise} is the observation noise of a generator that is annealed; ask for that (ais)")
    if draws is not None and not isinstance(model, LatentVariable):
        raise UsageError(f"{model.name} has no latent variable to draw; score it without draws")
    data = fitted(data, model.config)
    n = len(data) if limit is None else min(limit, len(data))
    if n == 0:
        raise UsageError(f"{data.name} holds no items to score")
    fresh, scored = fresh_tokens(model, data), cast(Any, model)
    nll, read = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.int64)
    parts: dict[int, Likelihood] = {}
    with evaluating(model), torch.no_grad():
        chosen = torch.arange(n) * len(data) // n
        for first in shares(n, batch):
            rows = chosen[first : first + batch]
            b = data.fetch(rows, ItemNoise(seed, rows.tolist(), model.device))
            given = b.given if getattr(model.config, "given", None) is not None else None
            torch.manual_seed(mix(seed, first))
            if data.x.symbols is not None:
                read[first] = data.x.symbols.characters[b.x[:, -fresh:].cpu()].sum()
            if anneal is not None:
                parts[first] = ais(model, b.x, given, noise=noise, how=anneal, seed=seed, first=first)
            elif fresh < model.config.x.dims:
                parts[first] = of_the_last(fresh, model, b.x, given)
            elif draws is None:
                parts[first] = scored.log_prob(b.x, given)
            else:
                parts[first] = importance_sampling(model, b.x, given, draws=draws, seed=mix(seed, first))
    for first, part in parts.items():
        nll[first : first + len(part.nats)] = -part.nats.double().cpu()
    if n <= ranks.rank() * batch:  # what this rank has is the first one's
        nll, read = torch.zeros_like(nll), torch.zeros_like(read)
    nll, characters = ranks.together(nll), int(ranks.together(read).sum())
    one, mean, gap = next(iter(parts.values())), nll.mean().item(), None
    if anneal is not None:
        some = None if given is None else given.map(lambda t: t[torch.arange(SIMULATED) % len(t)])
        gap = Gap.of(bdmc(model, SIMULATED, some, noise=noise, how=anneal, seed=seed))
    return Score(
        model=model.name,
        kind=one.kind,
        how=one.how + context(data),
        measure=one.measure,
        data=data.name,
        n=n,
        dims=one.dims,
        nats=mean,
        stderr=nll.std().item() / math.sqrt(n) if n > 1 else math.nan,
        bits_per_dim=mean / (one.dims * math.log(2)),
        bits_per_char=nll.sum().item() / (characters * math.log(2)) if characters else None,
        seed=seed,
        per_item=nll.tolist(),
        gap=gap,
    )


def shares(n: int, batch: int) -> range:
    """Where this rank's batches of n items begin; the first one's for a rank that has none."""
    return range(ranks.rank() * batch, n, ranks.world() * batch) or range(1)


def fresh_tokens(model: Generative[Any], data: Data) -> int:
    """How many values of each item are scored: all, but in overlapping windows of text, where they are new."""
    windows = getattr(data, "windows", None)
    fresh: int = windows.fresh if windows else model.config.x.dims
    if fresh < model.config.x.dims and not isinstance(model, Autoregressive):
        raise UsageError(f"{model.name} has no factors to choose from: open {data.name} without a stride")
    return fresh


def context(data: Data) -> str:
    """What a token of a text is given: a part of the protocol, as more context makes any text likelier."""
    if (windows := getattr(data, "windows", None)) is None:
        return ""
    least, most = windows.length - windows.fresh, windows.length - 1
    return f", windows of {windows.length} tokens, stride {windows.step}: each token given {least} to {most} before it"


def of_the_last(fresh: int, model: Any, x: Tensor, given: Any) -> Exact:
    """log p of the last tokens of each sequence, given all those before them, by an autoregressive model."""
    model.config.x.check(x)
    logits = model.logits(x, given)[:, -fresh:]
    nats = -F.cross_entropy(logits.transpose(1, 2), x[:, -fresh:], reduction="none").sum(1)
    return Exact(nats=nats, dims=fresh, measure="mass", how="chain rule")


def check_items(path: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError, before anything is scored, unless items can be written to this file."""
    if path.suffix.lower() != ".csv":
        raise UsageError(f"{path}: a line an item is written as .csv")
    outputs.check_file(path, overwrite=overwrite)


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A table as a .csv file, quoted where it must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().encode()


def write_items(score: Score, path: Path) -> None:
    """A line an item: its number, nats and bits/dim (.csv)."""
    scale = 1 / (score.dims * math.log(2))
    lines = [f"{i},{nats:.6f},{nats * scale:.6f}\n" for i, nats in enumerate(score.per_item)]
    commit.write_atomic(path, f"item,nats,bits_per_dim\n{''.join(lines)}".encode())
