"""A trained model measured at its task: its answers to held-out conditions, against the truth and named baselines."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from triptych.core import Generative, Given, ItemNoise, UsageError
from triptych.metrics import Measurement
from triptych.tasks.task import Posed

BATCH = 50
"""Answers at a time."""
ITEMS = 1000
"""Held-out items, at most, if nothing else is asked."""


def against_truth(
    model: Generative[Any], test: Posed, *, limit: int | None = None, seed: int = 0
) -> tuple[Measurement, ...]:
    """The task's own measures of one answer to each held-out condition (up to `limit`, evenly spaced), each with what
    the task's baselines get for the same conditions.

    Raises UsageError for a model that does not take the task's conditions.
    """
    if getattr(model.config, "given", None) != test.given:
        raise UsageError(f"{model.name} does not take what {test.task.name} asks with, {test.given}")
    n = min(len(test), ITEMS if limit is None else limit)
    truths: list[Tensor] = []
    givens: list[Given] = []
    answers: dict[str, list[Tensor]] = {name: [] for name in ("", *test.task.baselines())}
    for rows in torch.split(torch.arange(n) * len(test) // n, BATCH):
        batch = test.fetch(rows, ItemNoise(seed, rows.tolist(), model.device))
        first = len(truths) * BATCH
        answers[""].append(model.sample(len(rows), batch.given, seed=seed, first=first).cpu())
        given = batch.given.to("cpu")
        for name, fill in test.task.baselines().items():
            answers[name].append(fill(given, test.x))
        truths.append(batch.x.cpu())
        givens.append(given)
    given, truth = joined(givens), torch.cat(truths)
    own, *rivals = (
        {m.name: m for m in test.task.measure(torch.cat(parts), truth, given)} for parts in answers.values()
    )
    names = list(answers)[1:]
    return tuple(
        replace(m, baselines={name: rival[m.name].value for name, rival in zip(names, rivals, strict=True)})
        for m in own.values()
    )


def joined(givens: list[Given]) -> Given:
    """Batches of conditions as one."""
    parts = [vars(one) for one in givens]
    return type(givens[0])(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
