"""Stopping politely: a first SIGINT or SIGTERM asks for an end after the current step, a second one ends at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Which signal has asked for an end, if any."""

    signal: int | None = None


@contextmanager
def catching() -> Iterator[Stop]:
    """Catches SIGINT and SIGTERM for a while (in the main thread; elsewhere Python allows no handlers)."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def caught(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.signal = number

    before = {s: signal.signal(s, caught) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
