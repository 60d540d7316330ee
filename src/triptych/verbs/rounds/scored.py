"""How likely held-out examples are at each checkpoint; the best one so far is kept."""

import logging
from contextlib import closing
from functools import partial
from typing import Any

from triptych.core import Data, Generative
from triptych.io import folder
from triptych.training import Round
from triptych.training.signals import Stop
from triptych.verbs.rounds.logged import Log
from triptych.verbs.rounds.moments import Moments
from triptych.verbs.rounds.saved import Checkpoints
from triptych.verbs.score import score

logger = logging.getLogger(__name__)

HELD = 256
"""Held-out examples that say which checkpoint is the best."""


def scored(
    moments: Moments, model: Generative[Any], held: Data, checkpoints: Checkpoints, log: Log, stop: Stop
) -> Moments:
    with closing(moments):
        for now in moments:
            if now.checkpoint:
                stop.spare(partial(compare, model, held, checkpoints, log, now.round))
            yield now


def compare(model: Generative[Any], held: Data, checkpoints: Checkpoints, log: Log, now: Round) -> None:
    """Keeps the checkpoint that was just saved if it is the best so far."""
    one = score(model, held, limit=HELD)
    log.note("held_out/nats", one.nats)
    most = "at most " if one.kind == "lower bound" else ""
    values = (now.step, most, one.nats, one.bits_per_dim)
    logger.info("step %d: held-out data take %s%.2f nats, %.3f bits/dim", *values)
    if one.nats < checkpoints.best:
        checkpoints.best = one.nats
        folder.keep(checkpoints.path, now.step, 1, "best")
