"""How fast models sample: the incremental sampler against the naive loop, side by side in one run.

    python benchmarks/sampling.py --models pixelcnn --n 16 64 --out results/sampling
    python benchmarks/sampling.py --models imagegpt gpt lstm --n 1 16 --naive-steps 5
    python benchmarks/sampling.py --models gated-pixelcnn gpt --n 1 16 --naive-steps 5 --native --threads 1

With --native there are rows of the samplers in C++, too. All get the same uniform numbers, and every row says whether
the samples were equal, element for element, under logits of standard deviation >= 1; or, where they were not, whether
each value is what the whole network picks given those before it, but for numbers within 1e-5 of a boundary. The naive
loop runs once and in full, unless --naive-steps limits it: then its time is extrapolated from that many passes, the
table says so, and the first two samples are compared with those that fixed-point iteration finds. PixelCNN++ counts the
passes of its network alone, without the levels of the mixtures.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from triptych import native
from triptych.core import Images, Tokens, evaluating, inverse_cdf
from triptych.core.sampling import levels_of
from triptych.models.autoregressive.diagonal_bilstm import DiagonalBiLSTM, DiagonalBiLSTMConfig
from triptych.models.autoregressive.eonade import EoNADE, EoNADEConfig
from triptych.models.autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.models.autoregressive.image_gpt import ImageGPT, ImageGPTConfig
from triptych.models.autoregressive.lstm import LSTM, LSTMConfig
from triptych.models.autoregressive.made import MADE, MADEConfig
from triptych.models.autoregressive.nade import NADE, NADEConfig
from triptych.models.autoregressive.pixelcnn import PixelCNN, PixelCNNConfig
from triptych.models.autoregressive.pixelcnn_pp import PixelCNNPP, PixelCNNPPConfig
from triptych.models.autoregressive.pixelsnail import PixelSNAIL, PixelSNAILConfig
from triptych.models.autoregressive.row_lstm import RowLSTM, RowLSTMConfig
from triptych.native import building
from triptych.nn.fixed_point import draw_by_iteration, draw_naively

MODELS: dict[str, Callable[[], Any]] = {
    "pixelcnn": lambda: PixelCNN(PixelCNNConfig(width=32, blocks=15, head=32)),
    "pixelcnn-wide": lambda: PixelCNN(PixelCNNConfig(width=128, blocks=15, head=64)),
    "pixelcnn-grey": lambda: PixelCNN(PixelCNNConfig(x=Images(1, 28, 28), width=32, blocks=15, head=32)),
    "pixelcnn-rgb": lambda: PixelCNN(PixelCNNConfig(x=Images(3, 16, 16), width=36, blocks=5, head=36)),
    "gated-pixelcnn": lambda: GatedPixelCNN(GatedPixelCNNConfig(width=64, layers=6)),
    "gated-pixelcnn-deep": lambda: GatedPixelCNN(GatedPixelCNNConfig(width=64, layers=12)),
    "pixelcnn-pp": lambda: PixelCNNPP(PixelCNNPPConfig(x=Images(1, 28, 28), width=40, blocks=1)),
    "pixelrnn-row": lambda: RowLSTM(RowLSTMConfig(hidden=16, layers=7, head=32)),
    "pixelrnn-diagonal": lambda: DiagonalBiLSTM(DiagonalBiLSTMConfig(hidden=16, layers=7, head=32)),
    "nade": lambda: NADE(NADEConfig()),
    "eonade": lambda: EoNADE(EoNADEConfig()),
    "made": lambda: MADE(MADEConfig(hidden=(1000, 1000), direct=True)),
    "pixelsnail": lambda: PixelSNAIL(PixelSNAILConfig()),
    "imagegpt": lambda: ImageGPT(ImageGPTConfig()),
    "imagegpt-wide": lambda: ImageGPT(ImageGPTConfig(width=128, layers=6, heads=4)),
    "gpt": lambda: GPT(GPTConfig(x=Tokens(65, 255), width=384, layers=6, heads=6)),
    "lstm": lambda: LSTM(LSTMConfig(x=Tokens(65, 255), width=512)),
}
"""What is measured. A model here has `logits(x)`, and an output layer `out`, weights V and b of the output, or a
transformer whose last norm scales."""


PYTHON = {"pixelrnn-row", "pixelrnn-diagonal", "eonade"}
"""Those that have no sampler in C++."""


@dataclass(frozen=True)
class Uniforms:
    """Numbers decided beforehand, in place of noise."""

    numbers: Tensor

    @property
    def n(self) -> int:
        return len(self.numbers)

    @property
    def device(self) -> torch.device:
        return self.numbers.device

    def uniform(self, *shape: int) -> Tensor:
        return self.numbers.view(self.n, *shape)

    def normal(self, *shape: int) -> Tensor:
        raise NotImplementedError("an incremental sampler spends uniform numbers only")


@dataclass(frozen=True)
class Row:
    model: str
    sampler: str
    """ "Python" or "C++"."""
    parameters: int
    images: int
    space: str
    incremental_s: float
    """Median."""
    incremental_runs_s: list[float]
    naive_s: float
    naive: str
    """ "in full", or how much of it ran."""
    speedup: float
    incremental_cpu_s: float
    naive_cpu_s: float
    speedup_cpu: float
    """By processor time, which other work on the machine disturbs less."""
    equal: str
    """ "yes", "but for k of n" values within rounding of a boundary, or "NO"."""
    logit_std: float


def clock(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that passed, and seconds of processor time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


@torch.no_grad()
def sharpen(model: Any, std: float) -> None:
    """Scales the output layer, so that samples are far from noise and the logits have this standard deviation."""
    x, network = model.eval().config.x, model.active if isinstance(model, PixelCNNPP) else model
    if hasattr(network, "V"):
        last = [network.V, network.b]
    else:
        last = list((getattr(network, "out", None) or network.transformer.norm).parameters())
    drawn = x.from_index(torch.randint(levels_of(x), (64, *x.shape)))
    for _ in range(3):
        scale = std / model.logits(drawn).std()
        for weight in last:
            weight.mul_(scale)
        drawn = model.sample(64, seed=1)


def measure(name: str, n: int, repeats: int, naive_steps: int | None, samplers: Sequence[str]) -> list[Row]:
    """A row for each of the samplers, "Python" and "C++", beside one naive loop."""
    torch.manual_seed(0)
    model = MODELS[name]()
    sharpen(model, 2.0)
    x = model.config.x
    u = torch.rand(n, *x.shape)
    runs, drawn = dict[str, list[tuple[float, float]]](), dict[str, Tensor]()
    with evaluating(model), torch.no_grad():
        for sampler in samplers:
            with playing(sampler):
                drawn[sampler] = model.draw(Uniforms(u))  # warm
        for _ in range(repeats):
            for sampler in samplers:
                with playing(sampler):
                    runs.setdefault(sampler, []).append(clock(lambda: model.draw(Uniforms(u))))
        samples = drawn[samplers[0]]
        if naive_steps is None or naive_steps >= x.dims:
            whole: list[Tensor] = []
            naive, how = clock(lambda: whole.append(draw_naively(model, Uniforms(u)))), "in full"
            expected = whole[0]
        else:
            network = model.active if isinstance(model, PixelCNNPP) else model.logits
            network(samples, None)  # warm
            passes = [clock(lambda: network(samples, None)) for _ in range(naive_steps)]
            naive = tuple(sum(times) / naive_steps * x.dims for times in zip(*passes, strict=True))
            how = f"{naive_steps} of {x.dims} passes"
            expected = draw_by_iteration(model, Uniforms(u[:2]))
        std = model.logits(samples).std().item()
    rows = []
    for sampler in samplers:
        wall, cpu = (statistics.median(times) for times in zip(*runs[sampler], strict=True))
        same = torch.equal(drawn[sampler][: len(expected)], expected) and torch.equal(drawn[sampler], samples)
        equal = "yes" if same else near(model, drawn[sampler], u)
        rows.append(
            Row(
                model=name,
                sampler=sampler,
                parameters=sum(w.numel() for w in model.parameters()),
                images=n,
                space=f"{'x'.join(map(str, x.shape))}, {levels_of(x)} levels",
                incremental_s=wall,
                incremental_runs_s=[run[0] for run in runs[sampler]],
                naive_s=naive[0],
                naive=how,
                speedup=naive[0] / wall,
                incremental_cpu_s=cpu,
                naive_cpu_s=naive[1],
                speedup_cpu=naive[1] / cpu,
                equal=equal,
                logit_std=std,
            )
        )
    return rows


@torch.no_grad()
def near(model: Any, samples: Tensor, u: Tensor) -> str:
    """How many values the whole network would have picked otherwise, if it picks all of the others given these."""
    x, logits = model.config.x, model.eval().logits(samples)
    logits = torch.nn.functional.pad(logits, (1, 0)) if logits.shape[-1] == 1 else logits
    below = logits.double().softmax(-1).cumsum(-1)
    close = (below - u[..., None]).abs().amin(-1) < 1e-5
    other = inverse_cdf(logits, u) != (x.index(samples) if isinstance(x, Images) else samples)
    return f"but for {int(other.sum())} of {other.numel()}" if not (other & ~close).any() else "NO"


@contextmanager
def playing(sampler: str) -> Iterator[None]:
    """With the samplers in C++, or without."""
    before = os.environ["TRIPTYCH_NATIVE"]
    os.environ["TRIPTYCH_NATIVE"] = str(int(sampler == "C++"))
    try:
        yield
    finally:
        os.environ["TRIPTYCH_NATIVE"] = before


def protocol(repeats: int) -> dict[str, str | int]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f} at the start, this included",
        "torch": torch.__version__,
        "precision": "float32",
        "incremental": f"median of {repeats} runs after one to warm up",
        "naive": "one pass of the whole network for each value, same process, same uniform numbers",
    }


def cells(row: Row) -> list[str]:
    """A line of the table."""
    least, most = min(row.incremental_runs_s), max(row.incremental_runs_s)
    return [
        row.model,
        row.sampler,
        f"{row.parameters:,}",
        row.space,
        str(row.images),
        f"{row.incremental_s:.3f} s ({least:.3f}-{most:.3f})",
        f"{row.naive_s:.1f} s ({row.naive})",
        f"{row.speedup:.0f}x",
        f"{row.incremental_cpu_s:.3f}, {row.naive_cpu_s:.1f}: {row.speedup_cpu:.0f}x",
        row.equal,
        f"{row.logit_std:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["pixelcnn"], choices=MODELS, metavar="MODEL", help=str([*MODELS])
    )
    parser.add_argument("--n", nargs="+", type=int, default=[16, 64], help="samples at a time")
    parser.add_argument("--repeats", type=int, default=5, help="runs of the incremental sampler")
    parser.add_argument("--naive-steps", type=int, help="passes of the naive loop to run; all of them by default")
    parser.add_argument("--native", action="store_true", help="measure samplers in C++, too, of models that have one")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.md")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["TRIPTYCH_NATIVE"] = "1"  # at once
    if args.native and not native.plays(torch.ones(1)):
        raise SystemExit(f"samplers in C++: {building.state()}")

    header = [
        "model",
        "sampler",
        "parameters",
        "x",
        "n",
        "incremental",
        "naive",
        "speedup",
        "CPU-seconds",
        "equal",
        "std of logits",
    ]
    console, rows, lines = Console(), [], []
    for name in args.models:
        for n in args.n:
            samplers = ["Python", "C++"] if args.native and name not in PYTHON else ["Python"]
            for row in measure(name, n, args.repeats, args.naive_steps, samplers):
                rows.append(row)
                lines.append(cells(row))
                console.print(", ".join(lines[-1]), markup=False, soft_wrap=True)
    about = protocol(args.repeats)
    text = ["# Sampling", "", *(f"- {k}: {v}" for k, v in about.items()), ""]
    text += [f"| {' | '.join(line)} |" for line in (header, ["--"] * len(header), *lines)]
    console.print("\n".join(text), markup=False, soft_wrap=True)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text("\n".join(text) + "\n")
        numbers = {"protocol": about, "rows": [asdict(row) for row in rows]}
        args.out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")
    if any(row.equal == "NO" for row in rows):
        raise SystemExit("the samplers disagree")


if __name__ == "__main__":
    main()
