"""Sparse attention against dense at growing resolution: time and memory, side by side in one run.

    python benchmarks/attention.py --sides 16 32 64 96 128 --out results/attention

Three layers with the same channels, on one feature map of side x side, forward and backward: SAGAN's attention (one
head, dense); Your Local GAN's eight heads as its authors compute them (dense scores, most of them then hidden by a
mask); and the same eight heads with nothing computed that is hidden. The last two are checked to give the same numbers.
The layers take turns, and times are medians; peak memory is what a pass holds at most above what its process, one of
its own, held before.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from triptych.models.gan.ylg import LocalAttention, masks
from triptych.nn.attention import SelfAttention, pooled


class MaskedAttention(LocalAttention):
    """The same heads, by scores of all places with all cells."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__(channels, height, width)
        row, column = torch.arange(height)[:, None] // 2, torch.arange(width) // 2
        shown = masks(height // 2, width // 2)[:, :, (row * (width // 2) + column).flatten()]
        self.register_buffer("hidden", ~shown.repeat_interleave(2, 1).flatten(0, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.query(x), pooled(self.key(x)), pooled(self.value(x))
        query, key, value = (t.flatten(2).unflatten(1, (8, -1)) for t in parts)
        share = (query.mT @ key).masked_fill(self.hidden, -torch.inf).softmax(-1)
        taken = (share @ value.mT).mT.flatten(1, 2).view(len(x), -1, *x.shape[2:])
        return x + self.gamma * self.out(taken)


LAYERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "dense, one head (SAGAN)": lambda channels, height, width: SelfAttention(channels),
    "eight heads, masked": MaskedAttention,
    "eight heads, sparse (YLG)": LocalAttention,
}
MASKED = "eight heads, masked"


@dataclass(frozen=True)
class Row:
    side: int
    layer: str
    cpu_ms: float
    """Median processor time, forward and backward."""
    wall_ms: float
    runs: int
    peak_mib: float


def made(name: str, channels: int, side: int) -> nn.Module:
    torch.manual_seed(0)
    layer = LAYERS[name](channels, side, side)
    nn.init.constant_(layer.gamma, 0.5)
    return layer


def run(layer: nn.Module, x: Tensor) -> tuple[float, float]:
    """Seconds of processor time, and seconds that passed."""
    wall, cpu = time.perf_counter(), time.process_time()
    layer.zero_grad()
    layer(x).square().mean().backward()
    return time.process_time() - cpu, time.perf_counter() - wall


def hold(name: str, channels: int, side: int, queue: "multiprocessing.Queue[float]") -> None:
    """Puts the MiB that a pass needs at most above what the process holds with layer and input."""
    torch.set_num_threads(1)
    layer, x = made(name, channels, side), torch.randn(1, channels, side, side, requires_grad=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(layer, x)
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def peak(name: str, channels: int, side: int) -> float:
    """MiB, of a process that is forked: before autograd has threads here, which a fork would not have."""
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[float] = context.Queue()
    process = context.Process(target=hold, args=(name, channels, side, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


def measure(side: int, channels: int, repeats: int, peaks: dict[str, float]) -> list[Row]:
    """The layers whose peak memory is known. Raises ValueError if the two ways of eight heads differ."""
    layers = {name: made(name, channels, side) for name in peaks}
    x = torch.randn(1, channels, side, side, requires_grad=True)
    if MASKED in layers:
        with torch.no_grad():
            worst = (layers[MASKED](x) - layers["eight heads, sparse (YLG)"](x)).abs().max().item()
        if not worst < 1e-4:
            raise ValueError(f"side {side}: masked and sparse attention differ by {worst}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
    for turn in range(repeats + 1):
        for name, layer in layers.items():
            found = run(layer, x)
            if turn:  # the first is to warm up
                times[name].append(found)
    rows = []
    for name, found in times.items():
        cpu, wall = (statistics.median(t) * 1000 for t in zip(*found, strict=True))
        rows.append(Row(side, name, cpu, wall, len(found), peaks[name]))
    return rows


def table(rows: list[Row]) -> str:
    lines = [
        "| side | places | layer | CPU time, ms | against dense | peak memory, MiB | against dense |",
        "|---|---|---|---|---|---|---|",
    ]
    dense = {row.side: row for row in rows if row.layer.startswith("dense")}
    for row in rows:
        than = dense[row.side]
        lines.append(
            f"| {row.side} | {row.side**2:,} | {row.layer} | {row.cpu_ms:.1f} | {row.cpu_ms / than.cpu_ms:.2f} | "
            f"{row.peak_mib:.1f} | {row.peak_mib / max(than.peak_mib, 1e-9):.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 32, 64, 96, 128])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--masked-up-to", type=int, default=64, help="The largest side of masked scores: they are 8 N^2."
    )
    parser.add_argument("--out", type=Path, help="Writes OUT.json and OUT.md.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peaks = {
        side: {
            name: peak(name, arguments.channels, side)
            for name in LAYERS
            if name != MASKED or side <= arguments.masked_up_to
        }
        for side in arguments.sides
    }
    rows = [
        row for side in arguments.sides for row in measure(side, arguments.channels, arguments.repeats, peaks[side])
    ]
    protocol = {
        "channels": arguments.channels,
        "batch": 1,
        "pass": "forward and backward, float32, one thread",
        "repeats": arguments.repeats,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    Console().print(table(rows), soft_wrap=True)
    if arguments.out:
        about = ", ".join(f"{name}: {value}" for name, value in protocol.items())
        text = f"# Attention at growing resolution\n\n{about}. Medians; see benchmarks/attention.py.\n\n{table(rows)}"
        arguments.out.with_suffix(".md").write_text(text)
        found = {"protocol": protocol, "rows": [asdict(row) for row in rows]}
        arguments.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
