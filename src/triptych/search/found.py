"""What a search has found, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from triptych.io import configs
from triptych.models.gan.autogan import Cell
from triptych.search.controller import State


@dataclass(frozen=True)
class Kept:
    """A generator so far, and the controller's state at its end."""

    cells: tuple[Cell, ...]
    state: State


@dataclass(frozen=True)
class Trial:
    """A generator that was given a reward."""

    cells: tuple[Cell, ...]
    reward: float
    rounds: int
    """Of the shared network, until then."""


@dataclass(frozen=True)
class Found:
    """What came of a search."""

    best: Trial
    finalists: tuple[Trial, ...]
    """The candidates at its end, best first."""
    trials: tuple[Trial, ...]
    """Those that the controller learned from, in order."""
    resets: int


def as_json(found: Found) -> dict[str, Any]:
    """All but the controller, as JSON values."""

    return {
        "best": trial_json(found.best),
        "finalists": [trial_json(t) for t in found.finalists],
        "trials": [trial_json(t) for t in found.trials],
        "resets": found.resets,
    }


def from_json(found: dict[str, Any]) -> Found:
    """The inverse of `as_json`."""
    finalists, trials = (tuple(trial_from(t) for t in found[name]) for name in ("finalists", "trials"))
    return Found(trial_from(found["best"]), finalists, trials, found["resets"])


def trial_json(trial: Trial) -> dict[str, Any]:
    return {**asdict(trial), "cells": cells_json(trial.cells)}


def trial_from(saved: dict[str, Any]) -> Trial:
    return Trial(cells_from(saved["cells"]), saved["reward"], saved["rounds"])


def cells_from(saved: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    return tuple(configs.from_json(Cell, cell, "a cell") for cell in saved)


def cells_json(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What AutoGAN's configuration takes as `cells`."""
    return [configs.to_json(cell) for cell in cells]
