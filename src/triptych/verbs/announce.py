"""What is said of a run on the command line: before it begins, and as it goes on."""

from dataclasses import replace
from typing import Any

from triptych.core import Data, Generative
from triptych.nn import ranks
from triptych.training import Round, Run
from triptych.verbs.cost import SHORT, check_alone, cost, lower, within
from triptych.verbs.show import first_line


def announce(model: Generative[Any], run: Run) -> list[str]:
    """What is said before a run begins: its stages, and what the numbers are that it logs."""
    stages = model.stages()
    lines = []
    if len(stages) > 1:
        each = ", ".join(f"{stage.name} ({stage.rounds(run.steps):,})" for stage in stages)
        lines.append(f"{model.name} is trained in {len(stages)} stages, each of its own steps: {each}")
    losses = {player.name: first_line(player.loss) for stage in stages for player in stage.players}
    return lines + [f"loss of {name}: {what}" for name, what in losses.items() if what]


def costing(model: Generative[Any], data: Data, run: Run, minutes: float | None) -> tuple[Run, list[str]]:
    """The run, with the steps that fit into so many minutes, and a line that says what it costs.

    Short runs are not measured, and those of several ranks neither. Raises UsageError as `within` does.
    """
    if minutes is not None:
        check_alone()
    elif ranks.world() > 1 or sum(stage.rounds(run.steps) for stage in model.stages()) < SHORT:
        return run, []
    found = cost(model, data, run)
    if minutes is not None:
        run = within(found, model, run, minutes)
        found = replace(found, rounds={stage.name: stage.rounds(run.steps) for stage in model.stages()})
    less = f"; less: {lower(model, data, run)}" if found.total > 20 * 60 else ""
    return run, [f"{model.name}: {found}{less}"]


def told(now: Round) -> str:
    """A round's losses, and what was logged of them that has a unit, in a line."""
    parts = []
    for name, loss in now.losses.items():
        parts.append(f"{name} {loss.value.item():.4g}")
        parts += [f"{loss.logs[key].item():.4g} {unit}" for key, unit in UNITS.items() if key in loss.logs]
    return "  ".join(parts)


UNITS = {
    "nats": "nats",
    "bits_per_dim": "bits/dim",
    "bits_per_token": "bits/token",
    "distortion": "nats of distortion",
    "rate": "nats of rate",
}
"""What losses log that has a unit."""
