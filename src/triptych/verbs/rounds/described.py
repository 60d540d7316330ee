"""What a person reads of a checkpoint: its line in the log, and the model card."""

from contextlib import closing

from triptych.verbs.card import write_card
from triptych.verbs.decoration import SAMPLES, decorating, shots_of
from triptych.verbs.resuming import environment
from triptych.verbs.rounds.logged import Log
from triptych.verbs.rounds.moments import Moments, leading
from triptych.verbs.rounds.saved import Checkpoints


def described(moments: Moments, log: Log, checkpoints: Checkpoints) -> Moments:
    told = True
    try:
        with closing(moments):
            for now in moments:
                told = now.saved
                if told:
                    describe(log, checkpoints)
                yield now
    except GeneratorExit:  # what is inside has saved by now
        if not told:
            describe(log, checkpoints)
        raise


def describe(log: Log, checkpoints: Checkpoints) -> None:
    log.flush()
    if leading():
        path, seconds = checkpoints.path, checkpoints.stopwatch.seconds
        with decorating(path / "README.md"):
            shown = [f"{SAMPLES}/{file.name}" for file in shots_of(path)[-1:]]
            card = (checkpoints.model, checkpoints.data, checkpoints.run, path, seconds, environment())
            write_card(*card, "".join(shown))
