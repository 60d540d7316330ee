"""Every test runs on one thread, with what no test may leave behind."""

import io
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest
import torch

torch.set_num_threads(1)
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell starts what is in the background so, and children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cli() -> Callable[..., Done]:
    """Runs the command line in this process. A traceback fails the test."""

    def run(*arguments: object) -> Done:
        from triptych.cli import main

        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", ["triptych", *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                main()
        assert "Traceback" not in err.getvalue() and "looks like a bug" not in err.getvalue(), err.getvalue()
        return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())

    return run
