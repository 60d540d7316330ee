"""The command line: thin over the verbs. Exit codes are those of `triptych.errors`.

Nothing slow is imported before `main` listens to signals: Ctrl-C has an answer from the first moment on.
"""

import atexit
import errno
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from triptych.cli.streams import FULL, ReaderLeft, finish, settle, silence
from triptych.cli.words import in_words
from triptych.errors import Interrupted, TriptychError, printable

AGAIN = 1.0
"""Seconds after which a signal is raised again where a library swallowed it (an exception in a callback of C is)."""


def main() -> None:
    """Runs the command line; a person's mistake ends in one line and an exit code, never in a traceback."""
    settle()
    RAISED.clear()
    try:  # around what listens as well: a signal may come as soon as it does
        with obeying(), telling():
            sys.exit(finish(answer(), tell))
    except Interrupted as e:
        tell(str(e))
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        tell("interrupted")
        sys.exit(130)


def answer() -> int:
    """Runs a verb; its exit code."""
    import typer

    from triptych.cli.app import app, check_names, check_outputs, check_plain

    mistake: Any = typer.BadParameter.__mro__[1]  # click's UsageError: of click itself, or of the click inside typer
    try:
        check_names(sys.argv[1:])
        check_plain(sys.argv[1:])
        check_outputs(sys.argv[1:])
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as e:
        return int(e.exit_code)
    except mistake as e:
        said = io.StringIO()
        e.show(said)
        for line in said.getvalue().splitlines():
            tell(line)
        return 2
    except typer.Abort as e:
        raise KeyboardInterrupt from e
    except TriptychError as e:
        if RAISED:
            raise RAISED[0] from e
        tell(f"error: {in_words(str(e))}")
        return e.exit_code
    except (BrokenPipeError, ReaderLeft):
        silence()
        return 0
    except Exception as e:
        if RAISED:  # a library has made an error of its own of it
            raise RAISED[0] from e
        if os.environ.get("TRIPTYCH_DEBUG"):
            raise
        return surprised(e)


def surprised(e: Exception) -> int:
    """Tells of an error that nobody foresaw; its exit code."""
    first = (str(e).splitlines() or [""])[0].strip() or type(e).__name__
    number = e.errno if isinstance(e, OSError) else None
    if isinstance(e, OSError) and e.filename is None and number in FULL:  # stdout: what we save is explained elsewhere
        silence()
        tell(f"error: the result could not be written: {e.strerror}")
        return 5
    if isinstance(e, MemoryError) or number == errno.ENOMEM or "out of memory" in str(e) or "allocate memory" in str(e):
        tell(f"error: memory ran out ({first}); lower --batch, the number or size of items, or the model's width")
        return 5
    if number in FULL:
        tell(f"error: the disk is full ({first}); what was saved before is intact")
        return 5
    if isinstance(e, OSError) and e.filename is not None:
        tell(f"error: {os.fsdecode(e.filename)}: {e.strerror or first}")
        return 1
    tell(f"error: {type(e).__name__}: {e}; this looks like a bug: TRIPTYCH_DEBUG=1 shows where it happened")
    return 1


def tell(text: str) -> None:
    """One line on stderr, whatever is in it; needs nothing that may not have been imported yet."""
    with suppress(OSError, ValueError):  # nobody reads it
        sys.stderr.write(printable(" ".join(text.splitlines())) + "\n")
        sys.stderr.flush()


class Told(logging.Handler):
    """What the package logs, a line each, and each but once: data that are opened twice are complained of twice."""

    def __init__(self) -> None:
        super().__init__()
        self.said = set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.said:
            self.said.add(text)
            tell(in_words(text))


@contextmanager
def telling() -> Iterator[None]:
    """Log messages go to stderr, and Pillow's about large pictures nowhere: such pictures are refused by us."""
    handler, logger = Told(), logging.getLogger("triptych")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


SAYS = {"SIGINT": "interrupted", "SIGTERM": "terminated; nothing half-written is left", "SIGHUP": "hung up"}


@contextmanager
def obeying() -> Iterator[None]:
    """A first signal unwinds as `Interrupted`, so that temporary files are taken away; a second one ends the process.

    Signals that were ignored when the process began (under nohup, say) stay so.
    """
    known = [getattr(signal, name) for name in SAYS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, obey)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)  # while Python takes itself down
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


RAISED: list[Interrupted] = []
"""What the command line was told to end by, if it was: whatever fails afterwards, that is why."""


def obey(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    RAISED.append(Interrupted(number, SAYS[signal.Signals(number).name]))
    insist(RAISED[-1])


def insist(e: Interrupted) -> None:
    """Raises `e`, and raises it again for as long as nothing unwinds by it: some library has swallowed it then."""

    def again(number: int, frame: FrameType | None) -> None:
        if unwinding(e):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            insist(e)

    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    raise e


def unwinding(e: BaseException) -> bool:
    """Whether `finally` blocks and the like are at work on `e`."""
    at = sys.exception()
    while at is not None and at is not e:
        at = at.__context__
    return at is e
