"""Which token surprised the model: the likelihood of each, of models whose factors are tokens."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from triptych.core import Autoregressive, Data, Generative, ItemNoise, UsageError, evaluating
from triptych.data import fitted
from triptych.io import commit
from triptych.verbs.opening import as_data
from triptych.verbs.score import csv_bytes, fresh_tokens


@dataclass(frozen=True)
class Surprise:
    """One token of a text, and how unlikely it was."""

    item: int
    """Which window of the text."""
    place: int
    """Where in the window."""
    token: int
    text: str
    """What it stands for."""
    nats: float
    """-log p(token | those before it in the window)"""


def per_token(
    model: Generative[Any], data: Data | Any, *, limit: int | None = None, batch: int = 100
) -> Iterator[Surprise]:
    """The tokens that `score` adds up, in its order: of a text that was opened with a stride, the last of each window.

    Raises UsageError for a model of anything but tokens, or without factors to tell apart.
    """
    data = as_data(data, model)
    if not isinstance(model, Autoregressive) or model.config.x.kind != "tokens":
        raise UsageError(f"{model.name} does not give text token by token: take an autoregressive model of text")
    if getattr(model.config, "given", None) is not None:
        raise UsageError(f"{model.name} is of texts given something else; --per-token is for p(text)")
    data = fitted(data, model.config)
    n, symbols = len(data) if limit is None else min(limit, len(data)), data.x.symbols
    fresh = fresh_tokens(model, data)
    chosen = torch.arange(n) * len(data) // max(n, 1)
    for first in range(0, n, batch):
        rows = chosen[first : first + batch]
        with evaluating(model), torch.no_grad():
            x = data.fetch(rows, ItemNoise(0, rows.tolist(), model.device)).x
            nats = F.cross_entropy(model.logits(x, None).transpose(1, 2), x, reduction="none")
        for row, tokens, values in zip(rows.tolist(), x.tolist(), nats.tolist(), strict=True):
            for place in range(len(tokens) - fresh, len(tokens)):
                text = symbols.decode([tokens[place]]) if symbols is not None else ""
                yield Surprise(row, place, tokens[place], text, values[place])


def write_tokens(surprises: Iterable[Surprise], path: Path) -> None:
    """A line a token: its item, place, number, text, nats and bits (.csv)."""
    numbers = (
        (f"{one.item}", f"{one.place}", f"{one.token}", one.text, f"{one.nats:.6f}", f"{one.nats / math.log(2):.6f}")
        for one in surprises
    )
    commit.write_atomic(path, csv_bytes(["item", "place", "token", "text", "nats", "bits"], numbers))
