"""Checkpoints: the model and all that resuming needs, committed at once."""

import math
from contextlib import closing
from pathlib import Path
from typing import Any

from triptych.core import Data, Generative
from triptych.io import folder
from triptych.training import Round, Run
from triptych.verbs.decoration import METRICS, mark_of
from triptych.verbs.resuming import about
from triptych.verbs.rounds.moments import Moments, Pace, Stopwatch, leading


class Checkpoints:
    """Those of a run: the newest one is the folder itself, `keep` of them also stand under checkpoints/."""

    def __init__(
        self,
        path: Path,
        model: Generative[Any],
        data: Data,
        run: Run,
        *,
        keep: int,
        pace: Pace,
        stopwatch: Stopwatch,
        best: float,
    ) -> None:
        self.path, self.model, self.data, self.run = path, model, data, run
        self.keep, self.pace, self.stopwatch = keep, pace, stopwatch
        self.best = best
        """The fewest held-out nats so far."""

    def save(self, now: Round) -> None:
        if leading():
            best = self.best if math.isfinite(self.best) else None
            kept = {"seconds": self.stopwatch.seconds, "best": best, "log": mark_of(self.path / METRICS)}
            folder.save(self.model, self.path, about=about(self.data, self.run), state={**now.state(), **kept})
            folder.keep(self.path, now.step, self.keep)
        self.pace.begin()


def saved(moments: Moments, checkpoints: Checkpoints) -> Moments:
    """Saves when it is due, and when the caller of `train` leaves its loop."""
    unsaved: Round | None = None
    try:
        with closing(moments):
            for now in moments:
                unsaved = now.round
                if now.saved:
                    checkpoints.save(now.round)
                    unsaved = None
                yield now
    except GeneratorExit:
        if unsaved is not None:
            checkpoints.save(unsaved)
        raise
