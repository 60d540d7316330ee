"""The parts of `benchmarks/gpu.py`, and what they have in common: a budget of time, and results that are never lost."""

import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclass
class Bench:
    """One part at work: where, how large, until when, and what it found so far."""

    name: str
    device: torch.device
    small: bool
    """In miniature, for a CPU and a test."""
    out: Path
    until: float
    """When it is to end, on the clock of time.monotonic()."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def keep(self, **row: Any) -> None:
        """Adds a result, and writes everything down."""
        self.rows.append(row)
        write(self.out, self.name, {"rows": self.rows, "seconds": round(time.monotonic() - self.began, 1)})

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Something that may fail without harm to the rest: its failure is a result."""
        try:
            yield
        except Exception as e:  # whatever it is, it is written down
            lines = traceback.format_exc().splitlines()[-12:]
            self.keep(what=what, failed=f"{type(e).__name__}: {e}"[:2000], where=lines)

    def each(self, what: str, items: Iterable[T]) -> Iterator[T]:
        """The items as long as there is time; says which were left out."""
        rest = list(items)
        while rest:
            if self.left <= 0:
                self.keep(what=what, left_out=[str(item) for item in rest])
                return
            yield rest.pop(0)

    def seconds(self, run: Callable[[], Any], repeats: int = 3) -> float:
        """Median time of a call, after one to warm up."""
        run()
        return statistics.median(self.once(run) for _ in range(repeats))

    def once(self, run: Callable[[], Any]) -> float:
        wait(self.device)
        began = time.perf_counter()
        run()
        wait(self.device)
        return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """Until the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> float | None:
    """The most that tensors took since this was last asked, in MB."""
    if device.type != "cuda":
        return None
    most = torch.cuda.max_memory_allocated(device) / 1e6
    torch.cuda.reset_peak_memory_stats(device)
    return round(most, 1)


def read(out: Path) -> dict[str, Any]:
    """What is written down so far."""
    path = out / "gpu.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    return found


def write(out: Path, part: str, found: dict[str, Any]) -> None:
    """Puts a part's results in the place of what was there of it, at once or not at all."""
    everything = read(out)
    everything["parts"][part] = {**everything["parts"].get(part, {}), **found}
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / ".gpu.json"
    temporary.write_text(json.dumps(everything, indent=1) + "\n")
    os.replace(temporary, out / "gpu.json")
