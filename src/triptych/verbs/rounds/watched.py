"""A GAN that collapses is noticed."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from triptych.errors import CollapseError
from triptych.training import Round
from triptych.training.signals import Stop
from triptych.verbs.rounds.logged import Log
from triptych.verbs.rounds.moments import Moments
from triptych.verbs.watch import Watch

OnCollapse: TypeAlias = Literal["warn", "stop", "rollback"]


def watched(moments: Moments, watch: Watch, log: Log, policy: OnCollapse, path: Path) -> Moments:
    """Observes every round. Unless a collapse is only to be told, looks at the samples before anything is saved.

    Raises CollapseError where they are such that the run is not to go on.
    """
    with closing(moments):
        for now in moments:
            watch.observe(now.round.stage, now.logs)
            if now.saved and not now.leaving and policy != "warn" and (sign := look(watch, log, now.round)):
                raise CollapseError(f"step {now.round.step}: {sign}. {path} holds the last checkpoint before it")
            yield now


def warned(moments: Moments, watch: Watch, log: Log, stop: Stop) -> Moments:
    """Where a collapse is only to be told: looks at the samples after they were saved."""
    with closing(moments):
        for now in moments:
            if now.checkpoint:
                stop.spare(partial(look, watch, log, now.round))
            yield now


def look(watch: Watch, log: Log, now: Round) -> str | None:
    """What is wrong with the samples, if anything."""
    signs, numbers = watch.look(now)
    for name, value in numbers.items():
        log.note(name, value)
    return signs[0].text if signs else None
