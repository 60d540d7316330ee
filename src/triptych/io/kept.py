"""What was learned once, and is kept for the next time: tensors in a file of the cache."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from torch import Tensor

from triptych.core import IntegrityError
from triptych.errors import TriptychError
from triptych.io import commit, tensors

log = logging.getLogger(__name__)


class Keepable(Protocol):
    def tensors(self) -> dict[str, Tensor]:
        """All there is to keep of it."""


K = TypeVar("K", bound=Keepable)


def restored(file: Path | None, restore: Callable[[Mapping[str, Tensor]], K]) -> K | None:
    """What the file has; None if there is none, or if it is damaged or cannot be read, which is said."""
    if file is None or not file.is_file():
        return None
    try:
        return restore(tensors.unpack(file.read_bytes(), str(file)))
    except (IntegrityError, OSError) as e:
        log.warning("%s: %s; training again", file, e)
        return None


def keep(file: Path | None, learned: Keepable, what: str) -> None:
    """Writes it; where that cannot be, says so."""
    if file is None:
        log.warning("%s are not kept: there is no home folder; TRIPTYCH_CACHE names a place", what)
        return
    try:
        commit.write_atomic(file, tensors.pack(learned.tensors()))
    except TriptychError as e:
        log.warning("%s are not kept, and will be trained again: %s", what, e)
