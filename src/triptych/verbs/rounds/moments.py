"""A round, and what is due after it."""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from triptych.nn import ranks
from triptych.training import Round
from triptych.training.signals import Stop
from triptych.verbs.pictured import Shots


@dataclass(frozen=True)
class Moment:
    round: Round
    logs: dict[str, float]
    """The round's losses, and what they log."""
    checkpoint: bool
    """It is the last one, or long enough after the last checkpoint."""
    saved: bool
    """What resuming needs is saved: for a checkpoint, for a picture, or because the run is to end."""
    leaving: bool
    """A signal asked for the end."""


Moments: TypeAlias = Generator[Moment, None, None]


class Stopwatch:
    """The seconds of a run, those before it was interrupted included."""

    def __init__(self, spent: float) -> None:
        self.spent, self.started = spent, time.monotonic()

    @property
    def here(self) -> float:
        """In this process."""
        return time.monotonic() - self.started

    @property
    def seconds(self) -> float:
        return self.spent + self.here


class Pace:
    """When a checkpoint is due: after so many seconds without one, and at the end."""

    def __init__(self, seconds: float, total: int) -> None:
        self.seconds, self.total, self.since = seconds, total, time.monotonic()

    def due(self, now: Round) -> bool:
        return now.step == self.total or time.monotonic() - self.since > self.seconds

    def begin(self) -> None:
        """One has just been saved."""
        self.since = time.monotonic()


def timed(rounds: Generator[Round, None, None], pace: Pace, shots: Shots, stop: Stop) -> Moments:
    """Says of each round what is due after it; all ranks agree on that."""
    with closing(rounds):
        for now in rounds:
            logs, checkpoint = now.logs(), pace.due(now)
            due = agreed(checkpoint or now.step in shots.when)
            leaving = asked(stop)
            yield Moment(now, logs, checkpoint, due or leaving, leaving)


def leading() -> bool:
    """Whether this process writes files: there is one writer a run."""
    return ranks.rank() == 0


def asked(stop: Stop) -> bool:
    """Whether any rank was asked to stop: all must leave after the same round."""
    stop.signal = int(ranks.largest(stop.signal or 0)) or None
    return stop.signal is not None


def agreed(value: bool) -> bool:
    """Whether it is so for any rank: their clocks differ."""
    return ranks.largest(value) > 0
