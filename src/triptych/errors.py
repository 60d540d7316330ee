"""Errors that are a person's to mend. Each carries the exit code that the command line ends with."""

import re
from typing import ClassVar

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""What a terminal may take for a command or show in another order: controls (but tab and line feed), halves of
surrogate pairs, marks of direction, tags."""


def printable(text: str) -> str:
    """`text` for a terminal, whatever file it came from: what might steer the terminal becomes an escape (\\x1b)."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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


class Interrupted(BaseException):
    """A signal ended the run after a checkpoint; the exit code is 128 and the signal's number.

    No `Exception`: a signal comes at any line, also where damaged files or odd libraries are met with `except
    Exception`, and is to be taken for neither.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal
