"""The log: a line of means every few rounds, in metrics.jsonl and wherever else lines go."""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from triptych.io import commit
from triptych.verbs.decoration import decorating, log_lines
from triptych.verbs.rounds.moments import Moments, Stopwatch, leading

LINES = 400
"""Of a whole run; a checkpoint adds one."""

Sink: TypeAlias = Callable[[Mapping[str, float]], None]
"""Where a line goes: {"step": 10, "seconds": 1.5, "generator": 0.7, ...}. Trackers (see `verbs.tracking`) are more of
these, beside `Jsonl` in `Log.sinks`."""


class Jsonl:
    """metrics.jsonl: a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: Mapping[str, float]) -> None:
        with decorating(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as f:
                f.write(json.dumps(line) + "\n")

    def drop(self, step: int) -> None:
        """Drops the lines after a step: the run goes on from there."""
        if self.path.exists():
            kept = [line for line, values in log_lines(self.path) if values["step"] <= step]
            with decorating(self.path):
                commit.write_atomic(self.path, "".join(f"{line}\n" for line in kept).encode())


class Log:
    """Takes what rounds log and what is measured now and then, and writes a line of means when it is flushed."""

    def __init__(self, path: Path, stopwatch: Stopwatch) -> None:
        self.file, self.stopwatch = Jsonl(path), stopwatch
        self.sinks: list[Sink] = [self.file]
        self.step, self.sums, self.counts = 0, dict[str, float](), dict[str, int]()

    def begin(self, step: int) -> None:
        """The run begins, or goes on from this step."""
        self.step, self.sums, self.counts = step, {}, {}
        if leading():
            self.file.drop(step)

    def add(self, logs: Mapping[str, float], step: int) -> None:
        """What a round logged, for the mean over the rounds since the last line."""
        self.step = step
        for name, value in logs.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def note(self, name: str, value: float) -> None:
        """A number that is measured now and then, for the next line."""
        self.sums[name], self.counts[name] = value, 1

    def flush(self) -> None:
        """Writes a line, if there is anything to say."""
        if not self.sums or not leading():
            return
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        for sink in self.sinks:
            sink({"step": self.step, "seconds": round(self.stopwatch.seconds, 3), **means})


def logged(moments: Moments, log: Log, total: int) -> Moments:
    """Logs every round; what is saved gets its line later, with what is measured of it (see `described`)."""
    with closing(moments):
        for now in moments:
            log.add(now.logs, now.round.step)
            if not now.saved and now.round.step % max(1, total // LINES) == 0:
                log.flush()
            yield now
