"""Sides of a comparison that take turns in one process, and what is checked of them."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from triptych.core import Batch, Generative, StepNoise
from triptych.data import Dataset
from triptych.training import Run, train

LOSS_GAP = 0.02
"""By how much (relative) the last losses of sides with the same batches may differ."""


@dataclass(frozen=True)
class Side:
    name: str
    run: Callable[[int], float | None]
    """Takes that many steps; returns their mean loss, if there is one."""
    parameters: int | None = None
    batches: str | None = None
    """Sides with the same name here see the same batches and must arrive at the same loss."""


@dataclass(frozen=True)
class Row:
    group: str
    side: str
    ratio_wall: float
    ratio_cpu: float
    wall_s: float
    """Median, of one step."""
    cpu_s: float
    """Median, of one step, all threads together."""
    gflop: float
    """Of one step."""
    parameters: int | None
    first_loss: float | None
    last_loss: float | None
    """Mean over the last block."""
    wall_runs_s: list[float]
    cpu_runs_s: list[float]
    passed: bool | None
    """Whether the loss fell, and to where it should; None where there is nothing to check."""


def compare(group: str, sides: Sequence[Side], steps: int, repeats: int) -> list[Row]:
    """Times the sides in turn. Raises ValueError if they are not of one size or a loss is not finite."""
    if len({s.parameters for s in sides}) > 1:
        raise ValueError(f"{group}: the sides differ in size: {[(s.name, s.parameters) for s in sides]}")
    wall, cpu, losses = ({s.name: list[Any]() for s in sides} for _ in range(3))
    gflop = {}
    for side in sides:  # one block to warm up, counted
        with FlopCounterMode(display=False) as counter:
            losses[side.name].append(side.run(steps))
        gflop[side.name] = counter.get_total_flops() / steps / 1e9
    for _ in range(repeats):
        for side in sides:
            wall_began, cpu_began = time.perf_counter(), time.process_time()
            loss = side.run(steps)
            wall[side.name].append((time.perf_counter() - wall_began) / steps)
            cpu[side.name].append((time.process_time() - cpu_began) / steps)
            losses[side.name].append(loss)
            if loss is not None and not math.isfinite(loss):
                raise ValueError(f"{group}: the loss of {side.name} is {loss}")

    def ratio(times: dict[str, list[float]], name: str) -> float:
        return statistics.median(a / b for a, b in zip(times[sides[0].name], times[name], strict=True))

    def passed(side: Side) -> bool | None:
        if side.batches is None:
            return None
        first, last = losses[side.name][0], losses[side.name][-1]
        others = [losses[s.name][-1] for s in sides if s.batches == side.batches]
        return last < first and abs(last / others[0] - 1) <= LOSS_GAP

    return [
        Row(
            group=group,
            side=side.name,
            ratio_wall=ratio(wall, side.name),
            ratio_cpu=ratio(cpu, side.name),
            wall_s=statistics.median(wall[side.name]),
            cpu_s=statistics.median(cpu[side.name]),
            gflop=gflop[side.name],
            parameters=side.parameters,
            first_loss=losses[side.name][0],
            last_loss=losses[side.name][-1],
            wall_runs_s=wall[side.name],
            cpu_runs_s=cpu[side.name],
            passed=passed(side),
        )
        for side in sides
    ]


def size(*modules: nn.Module) -> int:
    return sum(w.numel() for m in modules for w in m.parameters())


def check_same(what: str, ours: Tensor, theirs: Tensor) -> None:
    """Raises ValueError unless two losses are equal up to rounding."""
    if not torch.allclose(ours, theirs, rtol=1e-4):
        raise ValueError(f"{what}: our loss is {ours.item():.6g}, theirs {theirs.item():.6g} on the same numbers")


def triptych(
    name: str,
    model: Generative[Any],
    images: Dataset,
    batch: int,
    *,
    weights: Sequence[nn.Module] | None = None,
    likelihood: bool = False,
    channels_last: bool = False,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Side:
    """Rounds of the training loop: for a GAN, a step of each player. The loss is the first player's."""
    rounds = train(model, images, Run(steps=10**6, batch=batch, precision=precision, channels_last=channels_last))
    first = model.stages()[0].players[0].name
    return Side(
        name,
        lambda steps: statistics.fmean(next(rounds).losses[first].value.item() for _ in range(steps)),
        size(*(weights or [model])),
        "triptych" if likelihood else None,
    )


def fetched(images: Dataset, batch: int) -> Iterator[Batch[Any]]:
    """Batches without end; each epoch is a new permutation."""
    k = 0
    while True:
        for rows in torch.randperm(len(images)).split(batch):
            if len(rows) == batch:
                k += 1
                yield images.fetch(rows, StepNoise(k, batch, slice(None)))


def table(rows: Sequence[Row]) -> str:
    lines, group = [], None
    for row in rows:
        if row.group != group:
            group = row.group
            size = f", {row.parameters:,} parameters" if row.parameters else ""
            lines += ["", f"{group}{size}", "  wall   CPU  wall/step   CPU/step  GFLOP"]
        loss = f"  loss {row.first_loss:.4g} to {row.last_loss:.4g}" if row.last_loss is not None else ""
        verdict = "" if row.passed is not False else "  FAILED: see LOSS_GAP"
        lines.append(
            f"{row.ratio_wall:5.2f}x {row.ratio_cpu:4.2f}x {row.wall_s * 1e3:7.2f} ms {row.cpu_s * 1e3:7.2f} ms "
            f"{row.gflop:6.2f}  {row.side}{loss}{verdict}"
        )
    return "\n".join(lines)
