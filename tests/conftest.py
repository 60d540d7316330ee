"""Every test runs on one thread, with what no test may leave behind."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from triptych import models
from triptych.caching import cache_folder

torch.set_num_threads(1)
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell starts what is in the background so, and children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own, for all workers: packs of their files do not fill that of whoever runs them.
    Sets that were downloaded before are at hand in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    kept, here = cache_folder(None), folder / "library"
    if kept is not None and (kept / "library").is_dir() and not here.exists():
        with suppress(FileExistsError):  # another worker was faster
            here.symlink_to(kept / "library", target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIPTYCH_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def no_models_left() -> Iterator[None]:
    """Models from outside the package that a module's tests made known."""
    before = dict(models.FOREIGN)
    yield
    models.FOREIGN.clear()
    models.FOREIGN.update(before)


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
