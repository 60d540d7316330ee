"""Errors that are a person's to mend. Each carries the exit code that the command line ends with."""

from typing import ClassVar


class TriptychError(Exception):
    """Something a person can act on; the message says what happened and what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(TriptychError, ValueError):
    """What was asked for cannot be done: an unknown name, a wrong field, data that the model does not fit."""

    exit_code = 2


class DataError(UsageError):
    """A data source cannot be used as it is."""


class NonFiniteError(TriptychError, ArithmeticError):
    """Training produced NaN or infinity. Nothing non-finite was saved."""

    exit_code = 3


class CollapseError(TriptychError):
    """A GAN stopped learning, and the run was to end if it did. What was saved is from before."""


class IntegrityError(TriptychError):
    """A file is not what its manifest says, or would not be safe to open."""

    exit_code = 4


class ResourceError(TriptychError, OSError):
    """Disk or memory ran out."""

    exit_code = 5


class Interrupted(TriptychError):
    """A signal ended the run after a checkpoint; the exit code is 128 and the signal's number."""

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal  # type: ignore[misc]
