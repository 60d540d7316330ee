"""The command line: thin over the verbs. Exit codes are those of `triptych.errors`."""

import os
import signal
import sys
from types import FrameType
from typing import Any

import typer

from triptych.cli.app import app
from triptych.cli.output import note
from triptych.errors import Interrupted, TriptychError

Mistake: Any = typer.BadParameter.__mro__[1]
"""click's UsageError: of click itself or, in later versions of typer, of the click inside it."""


def terminated(number: int, frame: FrameType | None) -> None:
    """Unwinds, so that temporary files are taken away; a second signal ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number, "terminated; nothing half-written is left")


def main() -> None:
    """Runs the command line; a person's mistake ends in one line and an exit code, never in a traceback."""
    signal.signal(signal.SIGTERM, terminated)
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as e:
        sys.exit(e.exit_code)
    except Mistake as e:
        e.show()
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        note("interrupted")
        sys.exit(130)
    except TriptychError as e:
        note(f"error: {e}")
        sys.exit(e.exit_code)
    except BrokenPipeError:  # the reader of a pipe has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as e:
        if os.environ.get("TRIPTYCH_DEBUG"):
            raise
        if isinstance(e, MemoryError) or "out of memory" in str(e) or "can't allocate memory" in str(e):
            note(f"error: memory ran out ({str(e).splitlines()[0]}); lower --batch, or the model's width")
            sys.exit(5)
        note(f"error: {type(e).__name__}: {e}\nthis looks like a bug; TRIPTYCH_DEBUG=1 shows where it happened")
        sys.exit(1)
