"""What a run will cost, measured before its first step: weights, memory, seconds a step, time to the end."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from triptych import training
from triptych.core import Data, Generative, UsageError
from triptych.data import check_fits, fitted
from triptych.nn import ranks
from triptych.nn.recorded import records
from triptych.training import Run
from triptych.verbs.create import initialize

SECONDS = 10.0
"""To measure a stage for, about."""
WARM, MOST = 2, 8
"""Rounds of a stage that are not timed, and how many it has."""
FAR = 4
"""How many times as many rounds a stage may have itself, for those after it to be measured, too."""
RECORDED = 6
"""More of either where turns are recorded and held against themselves first."""
SHORT = 50
"""Runs of fewer rounds are begun without being measured."""


@dataclass(frozen=True)
class Cost:
    """Of one run on this machine, as it is now."""

    parameters: int
    seconds: Mapping[str, float]
    """A round of each stage."""
    rounds: Mapping[str, int]
    """Rounds of each stage."""
    bytes: int
    """The largest memory of the process (of a GPU, what was allocated) while the first rounds were measured; 0 where
    the system does not tell."""
    device: str

    @property
    def total(self) -> float:
        """Seconds to the end; pictures and checkpoints come on top."""
        return sum(self.rounds[name] * self.seconds[name] for name in self.rounds)

    def __str__(self) -> str:
        each = ", ".join(
            (f"{name} " if len(self.seconds) > 1 else "") + f"{seconds:.3g} s" for name, seconds in self.seconds.items()
        )
        held = f"{self.bytes / 2**30:.2f} GB of memory; " if self.bytes else ""
        return (
            f"{self.parameters:,} parameters; {held}{each} a step on {self.device}, measured; "
            f"{sum(self.rounds.values()):,} steps: about {spoken(self.total)}"
        )


def spoken(seconds: float) -> str:
    """A duration for people: 40 s, 5 min, 2 h 10 min, 3 days."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours / 24:.0f} days"


def cost(model: Generative[Any], data: Data, run: Run) -> Cost:
    """Plays a few rounds with a twin of `model`, which is left as it is.

    Raises what training raises: UsageError where the data do not fit, NonFiniteError for a loss that is not finite.
    """
    check_fits(data, model.config, training=True)
    training.check_batches(model, data, run)
    twin = initialize(type(model), model.config, run.seed).to(model.device)
    if twin.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rounds = {stage.name: stage.rounds(run.steps) for stage in model.stages()}
    measured, name = dict[str, float](), ""
    more = RECORDED if run.record and records(twin.device) else 0
    warm, most = WARM + more, MOST + more
    started = began = time.monotonic()
    for now in training.train(twin, fitted(data, model.config, training=True), replace(run, steps=most)):
        now.logs()  # waits for a GPU
        if now.stage_step <= warm:
            began = time.monotonic()
        elif now.stage_step <= most:
            name = now.stage_name
            measured[name] = (time.monotonic() - began) / (now.stage_step - warm)
        late = now.stage_step > warm and time.monotonic() - started > SECONDS * len(rounds)
        if late or (now.stage_step >= most and now.stage_steps > FAR * most):
            break
    for stage in rounds:  # those that were not come to are taken to be as the last
        measured.setdefault(stage, measured.get(name, 0.0))
    return Cost(sum(p.numel() for p in model.parameters()), measured, rounds, memory(twin.device), twin.device.type)


def memory(device: torch.device) -> int:
    """Bytes: the most that this process has held, of a GPU's memory what tensors took; 0 where nothing tells."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def within(found: Cost, model: Generative[Any], run: Run, minutes: float) -> Run:
    """The run with as many steps as take so many minutes. The number is the run's from then on: it is saved with it,
    and a resumed run keeps it, so that it ends as one that was never interrupted.

    Raises UsageError where not even a step of each stage fits, or where the stages' lengths are not the run's to say.
    """
    free = {stage.name: stage.times for stage in model.stages() if not stage.steps}
    if not free:
        raise UsageError(f"minutes={minutes:g}: {model.name} says itself how long its stages are; say nothing of it")
    fixed = sum(found.seconds[name] * n for name, n in found.rounds.items() if name not in free)
    steps = int((60 * minutes - fixed) / max(sum(times * found.seconds[name] for name, times in free.items()), 1e-9))
    if steps < 1:
        raise UsageError(
            f"minutes={minutes:g}: a step takes {max(found.seconds.values()):.3g} s here; more minutes, or batch= or "
            "the model's width smaller"
        )
    return replace(run, steps=steps)


def check_alone() -> None:
    """Raises UsageError under torchrun: each rank would measure something else."""
    if ranks.world() > 1:
        raise UsageError("minutes= is for one process; with several say steps=")


def lower(model: Generative[Any], data: Data, run: Run) -> str:
    """What makes it cheaper."""
    config = model.config
    wide = next((name for name in ("width", "hidden", "features") if hasattr(config, name)), None)
    x, parts = config.x, [f"batch={max(1, run.batch // 2)}"]
    if isinstance(wide, str) and isinstance(getattr(config, wide), int):
        parts.append(f"{wide}={max(1, getattr(config, wide) // 2)}")
    if x.planar and min(x.shape[1:]) >= 32:
        parts.append(f"size={x.shape[1] // 2}")
    return "minutes=10, or " + ", ".join(parts)
