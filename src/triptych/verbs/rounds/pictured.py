"""Pictures of the same samples as they improve, and at the end all of them as an animation."""

from contextlib import closing
from functools import partial
from pathlib import Path

from triptych.training.signals import Stop
from triptych.verbs.decoration import SAMPLES, animate, decorating
from triptych.verbs.pictured import Shots
from triptych.verbs.rounds.moments import Moments, Stopwatch


def pictured(moments: Moments, shots: Shots, stopwatch: Stopwatch, stop: Stop, path: Path, began: int) -> Moments:
    """`began` is the step from which this process goes on."""
    with closing(moments):
        for now in moments:
            if now.saved:
                step = now.round.step
                stop.spare(partial(shots.after, step, stopwatch.here, step - began))
                if step == shots.total:
                    stop.spare(partial(animated, path))
            yield now


def animated(path: Path) -> None:
    with decorating(path / SAMPLES / "progress.gif"):
        animate(path)
