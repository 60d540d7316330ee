"""Stopping politely: a first SIGINT or SIGTERM asks for an end after the current step, a second one ends at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Left(BaseException):
    """Leaves what could be spared, as a signal has come."""


class Stop:
    """Which signal has asked for an end, if any."""

    signal: int | None = None
    sparing = False

    def spare(self, work: Callable[[], object]) -> None:
        """Does what nobody should wait for: nothing of it once a signal has come, and no more of it when one comes.

        What it works on may be left in the middle of something.
        """
        try:
            try:
                self.sparing = True
                if self.signal is None:
                    work()
            finally:
                self.sparing = False
        except Left:
            pass


@contextmanager
def catching() -> Iterator[Stop]:
    """Catches SIGINT, SIGTERM and a terminal's end for a while (in the main thread; elsewhere Python allows none)."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def caught(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.signal = number
        if stop.sparing:
            stop.sparing = False
            raise Left

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as it is under nohup
        numbers.append(signal.SIGHUP)
    before = {s: signal.signal(s, caught) for s in numbers}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
