"""A trained model measured at its task: its answers to held-out conditions, against the truth and named baselines."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.core import FAITHFUL, Decoding, Generative, Given, ItemNoise, Picture, Sampling, UsageError
from triptych.data import Crops
from triptych.inference import tiling
from triptych.metrics import Measurement
from triptych.tasks.task import Learns, Posed

BATCH = 50
"""Answers at a time."""
ITEMS = 1000
"""Held-out items, at most, if nothing else is asked."""


def compared(test: Posed, limit: int | None = None) -> int:
    """How many held-out items are answered, evenly spaced."""
    return min(len(test), ITEMS if limit is None else limit)


def against_truth(
    model: Generative[Any], test: Posed, *, limit: int | None = None, seed: int = 0, drawn: Tensor | None = None
) -> tuple[Measurement, ...]:
    """The task's own measures of one answer to each held-out condition (up to `limit`, evenly spaced), each with what
    the task's baselines get for the same conditions. Empty for a task whose answers are not compared one by one. Where
    a task gives the mean of what a decoder says (`means`), so is it measured. `drawn` are the answers to just these
    conditions, where they were drawn before.

    Raises UsageError for a model that does not take the task's conditions.
    """
    if getattr(model.config, "given", None) != test.given:
        raise UsageError(f"{model.name} does not take what {test.task.name} asks with, {test.given}")
    if not getattr(test.task, "compared", True):
        return ()
    means = getattr(test.task, "means", False) and isinstance(model, Decoding)
    n, how = compared(test, limit), Sampling(observation="mean") if means else FAITHFUL
    truths: list[Tensor] = []
    givens: list[Given] = []
    rivals = dict(test.task.baselines())
    if isinstance(test.task, Learns):
        rivals |= test.task.rivals(test.training_part())
    answers: dict[str, list[Tensor]] = {name: [] for name in ("", *rivals)}
    for rows in torch.split(torch.arange(n) * len(test) // n, BATCH):
        batch = test.fetch(rows, ItemNoise(seed, rows.tolist(), model.device))
        first = len(truths) * BATCH
        answers[""].append(
            model.sample(len(rows), batch.given, seed=seed, first=first, how=how).cpu()
            if drawn is None or means
            else drawn[first : first + len(rows)]
        )
        given = batch.given.to("cpu")
        for name, fill in rivals.items():
            answers[name].append(fill(given, test.x))
        truths.append(batch.x.cpu())
        givens.append(given)
    given, truth = joined(givens), torch.cat(truths)
    own, *others = (
        {m.name: m for m in test.task.measure(torch.cat(parts), truth, given)} for parts in answers.values()
    )
    names = list(answers)[1:]
    return tuple(
        replace(m, baselines={name: rival[m.name].value for name, rival in zip(names, others, strict=True)})
        for m in own.values()
    )


def whole_pictures(
    model: Generative[Any], test: Posed, *, limit: int | None = None, seed: int = 0
) -> tuple[Measurement, ...]:
    """As `against_truth`, of whole held-out pictures, each of its own size and answered in tiles, not of crops.

    Empty for data that are no crops of larger pictures, and for tasks whose conditions are of a crop's size.
    """
    data, task = test.data, test.task
    if not isinstance(data, Crops) or task.step is None:
        return ()
    found: dict[str, list[list[Measurement]]] = {name: [] for name in ("", *task.baselines())}
    n = len(data.pictures) if limit is None else min(limit, len(data.pictures))
    for k in range(n):
        x = data.x.from_index(torch.from_numpy(np.ascontiguousarray(data.whole(k))))[None]
        height, width = (side // task.step * task.step for side in x.shape[-2:])
        truth, given = task.pose({"x": x[..., :height, :width]}, ItemNoise(seed, [k]))
        assert isinstance(given, Picture)
        answer = torch.empty_like(truth)
        for top, left, part in tiling.pieces(model, given.grid, seed=seed):
            answer[0, :, top : top + part.shape[1], left : left + part.shape[2]] = part
        space = replace(data.x, height=truth.shape[-2], width=truth.shape[-1])
        found[""].append(task.measure(answer, truth, given))
        for name, fill in task.baselines().items():
            found[name].append(task.measure(fill(given, space), truth, given))
    own = [mean_of(list(each)) for each in zip(*found[""], strict=True)]
    rivals = {name: [mean_of(list(each)) for each in zip(*found[name], strict=True)] for name in task.baselines()}
    return tuple(
        replace(
            m,
            name=f"{m.name}, whole pictures",
            n=f"{n} whole pictures",
            baselines={name: values[i].value for name, values in rivals.items()},
        )
        for i, m in enumerate(own)
    )


def mean_of(each: list[Measurement]) -> Measurement:
    """One measurement of several pictures, from one of each."""
    return replace(each[0], value=sum(m.value for m in each) / len(each))


def joined(givens: list[Given]) -> Given:
    """Batches of conditions as one."""
    parts = [vars(one) for one in givens]
    return type(givens[0])(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
