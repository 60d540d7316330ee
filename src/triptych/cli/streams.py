"""The streams that we write to may be odd: of another encoding, full, or read by nobody. Imports nothing slow."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Why a disk does not take more."""


def settle() -> None:
    """Makes the streams take any text: what an encoding has no letter for is written as an escape (\\u732b).

    A stream that was closed before we began is one that nobody reads.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def finish(code: int, tell: Callable[[str], None]) -> int:
    """Writes out what is still held back. The exit code: `code`, or that of a result that could not be written."""
    try:
        sys.stdout.flush()
    except OSError as e:
        silence()
        if isinstance(e, BrokenPipeError):  # the reader of a pipe has what it wanted
            return code
        tell(f"error: the result could not be written: {e.strerror or e}")
        return code or (5 if e.errno in FULL else 1)
    return code


class ReaderLeft(Exception):
    """Whoever read what we write has what was wanted. No OSError: the parser of the command line has its own idea of
    those."""


@contextmanager
def reading() -> Iterator[None]:
    """Raises ReaderLeft where a pipe that is written to within has no reader any more."""
    try:
        yield
    except BrokenPipeError as e:
        raise ReaderLeft from e


def silence() -> None:
    """Leads what is still to be written to nowhere."""
    with suppress(OSError, ValueError):  # it may be no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
