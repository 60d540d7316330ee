"""What people see: tables and progress bars on a terminal, plain lines when piped, JSON when asked.

All of it passes `printable`: names, captions and the like come from files, and could steer a terminal. Of processes
that torchrun started, the first speaks for all; errors are anybody's.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from triptych.cli.streams import reading
from triptych.errors import UNSAFE, printable
from triptych.verbs.progress import Tick, lines

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def silent() -> bool:
    """Whether another process speaks."""
    return "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0"


@reading()
def say(text: str = "") -> None:
    """A line of the result."""
    if silent():
        return
    out.print(Text(printable(text)), soft_wrap=True)


def note(text: str) -> None:
    """A line beside the result (on stderr, so that results can be piped). Nobody has to read it."""
    if silent():
        return
    try:
        err.print(Text(printable(text)), soft_wrap=True)
    except OSError:
        return


@reading()
def dump(value: Any) -> None:
    """The result as JSON, for programs. What is not a number (NaN) becomes null."""
    if silent():
        return
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(clean(value), indent=2, ensure_ascii=plain)
    sys.stdout.write(UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n")


def clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value


@reading()
def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; tab-separated lines where nobody is looking."""
    if silent():
        return
    if not out.is_terminal:
        for row in [columns, *rows]:
            sys.stdout.write("\t".join(printable(" ".join(cell.split())) for cell in row) + "\n")
        return
    shown = Table(title=printable(title), title_justify="left", header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    out.print(shown)


def looked_at() -> bool:
    """Whether a person sees the result as it comes, rather than a file or a program."""
    return out.is_terminal


def comparison(title: str, result: Any, protocol: bool) -> None:
    """A table of runs; the protocol of its numbers below it where it is asked for, or where nobody is looking."""
    columns, rows = result.table()
    table(title, columns, rows)
    if protocol or not looked_at():
        for line in result.notes():
            say(line)
    else:
        say("* best of its like. ≤: an upper bound. floor: what real images get against other real images.")
        say("--protocol says how each number was measured.")


class Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g}/s" if task.speed else "", style="dim")


@contextmanager
def progress() -> Iterator[Callable[[str, int], Tick]]:
    """Bars with rate and time left, one for each call of what is yielded; without a terminal, a line now and then."""
    if silent() or not err.is_terminal:
        yield lambda title, total: lines(title, total, note)
        return
    done = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
    )
    left = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[text]}", markup=False))
    with Progress(*done, *left, console=err) as bars:

        def add(title: str, total: int) -> Tick:
            task = bars.add_task(printable(title), total=total, text="")
            return lambda step, text: bars.update(task, completed=step, text=printable(text))

        yield add
