"""How far a run is: a bar by tqdm in notebooks and elsewhere, where it is installed; else a line now and then."""

import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from importlib.util import find_spec
from typing import Any, Protocol


class Tick(Protocol):
    def __call__(self, step: int, text: str) -> None: ...


def lines(title: str, total: int, note: Callable[[str], None]) -> Tick:
    """About ten lines from start to end, each with the rate and the time that is left."""
    every, last, began = max(1, total // 10), -1, (0, time.monotonic())

    def tick(step: int, text: str) -> None:
        nonlocal last, began
        if last < 0:
            began = (step, time.monotonic())
        if step // every > last // every or (step == total and last != total):
            note(f"{title}: {step}/{total} {text}{pace(step - began[0], time.monotonic() - began[1], total - step)}")
        last = max(last, step)

    return tick


def pace(steps: int, seconds: float, left: int) -> str:
    """Steps a second, and how long those that are left will take."""
    if steps < 1 or seconds <= 0:
        return ""
    rate, rest = steps / seconds, left * seconds / steps
    minutes, whole = divmod(round(rest), 60)
    hours, minutes = divmod(minutes, 60)
    time_left = f"{hours} h {minutes} min" if hours else f"{minutes} min {whole} s" if minutes else f"{whole} s"
    return f"  {rate:.3g} steps/s" + (f", {time_left} left" if left else "")


def on_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def bar(total: int, title: str) -> Any:
    """A bar of tqdm; None if it is not installed. In a notebook without widgets it is one of text."""
    try:
        from tqdm import std
    except ImportError:
        return None
    if find_spec("ipywidgets") is None:  # a bar of widgets wants them, and says so on a line of its own
        return std.tqdm(total=total, desc=title, unit="step")
    from tqdm import auto

    return auto.tqdm(total=total, desc=title, unit="step")


def barred(rounds: Generator[Any], title: str, total: int) -> Iterator[Any]:
    """The rounds as they come, with a bar of how far they are and what they lose."""
    shown = bar(total, title)
    tick = lines(title, total, on_stderr) if shown is None else None
    every, last = max(1, total // 200), -1
    try:
        with closing(rounds):
            for now in rounds:
                if now.step // every > last // every or now.step == total:
                    text = "  ".join(f"{name} {loss.value.item():.4g}" for name, loss in now.losses.items())
                    if tick is not None:
                        tick(now.step, text)
                    else:
                        shown.set_postfix_str(text, refresh=False)
                        shown.update(now.step - shown.n)
                    last = now.step
                yield now
    finally:
        if shown is not None:
            shown.close()
