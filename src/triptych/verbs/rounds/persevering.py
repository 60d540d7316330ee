"""A run that goes back to its last checkpoint and on from there, in another way."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from triptych.core import Generative, NonFiniteError
from triptych.errors import CollapseError
from triptych.io import commit, folder
from triptych.verbs.rounds.moments import Moments
from triptych.verbs.rounds.watched import OnCollapse

logger = logging.getLogger(__name__)

ROLLBACKS = 3
"""Times that a run is taken back before it is given up."""

OnNan: TypeAlias = Literal["stop", "skip", "rollback"]


def persevering(
    begin: Callable[[Any], Moments],
    state: Any,
    model: Generative[Any],
    path: Path,
    on_nan: OnNan,
    on_collapse: OnCollapse,
) -> Moments:
    """The moments of a run that begins from `state`, and again from its last checkpoint where it is to go back."""
    retry = state["position"].get("retry", 0) if state else 0
    for tries in range(ROLLBACKS + 1):
        try:
            yield from begin(state)
            return
        except (NonFiniteError, CollapseError) as e:
            policy = on_nan if isinstance(e, NonFiniteError) else on_collapse
            if policy != "rollback" or tries == ROLLBACKS or not commit.committed(path):
                raise
            retry += 1
            state = folder.resume(model, path)
            state["position"]["retry"] = retry
            logger.warning("%s; going on from step %d, in another way", e, state["position"]["step"])
