"""How fast WaveNet samples: its queues against passes over its whole receptive field, side by side in one run.

    python benchmarks/wavenet.py --n 1 16 --native --out results/wavenet

Without caches, a sample takes one pass over the samples that it depends on (2,048 of them here, not all that there
are: the fairest naive loop). Passes are timed at some places of a clip that the queues drew, and given the same uniform
number each has to pick the same sample.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.core import FAITHFUL, Audio, ItemNoise, evaluating
from triptych.models.autoregressive.wavenet import WaveNet, WaveNetConfig
from triptych.native import building, plays

Times = tuple[float, float]


def clock(run: Callable[[], Any]) -> tuple[Times, Any]:
    """Seconds that passed, seconds of processor time, and what `run` returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return (time.perf_counter() - wall, time.process_time() - cpu), result


def make(width: int, length: int) -> WaveNet:
    """A random model whose logits have a standard deviation of 2."""
    torch.manual_seed(0)
    x = Audio(1, length, rate=16000, levels=256, companding="mu-law")
    model = WaveNet(WaveNetConfig(x=x, width=width, skip=width)).eval()
    some = x.from_index(torch.randint(256, (1, 1, length)))
    with torch.no_grad():
        scale = 2 / model.logits(some).std()
        model.out.weight.mul_(scale)
        model.out.bias.mul_(scale)
    return model


def measure(model: WaveNet, n: int, repeats: int, passes: int, native: bool) -> dict[str, Any]:
    os.environ["TRIPTYCH_NATIVE"] = str(int(native))
    x, field = model.config.x, model.config.field
    u = ItemNoise(0, range(n)).uniform(*x.shape)
    with evaluating(model), torch.no_grad():
        model.sample(n, seed=0)  # warm
        runs = [clock(lambda: model.sample(n, seed=0)) for _ in range(repeats)]
        drawn = runs[0][1]
        places = torch.linspace(field, x.length - 1, passes).long().tolist()

        def window(t: int) -> Tensor:
            return FAITHFUL.pick(model.logits(drawn[..., t - field : t + 1])[..., -1, :], u[..., t])

        window(field)  # warm
        naive = [clock(lambda t=t: window(t)) for t in places]
    picked = torch.stack([level for _, level in naive], -1)
    cached, whole = (
        [statistics.median(times) for times in zip(*(t for t, _ in r), strict=True)] for r in (runs, naive)
    )
    return {
        "n": n,
        "sampler": "C++" if native else "Python",
        "samples": x.length,
        "queues, us a step": cached[0] / x.length * 1e6,
        "samples a second": n * x.length / cached[0],
        "times as fast as played": x.length / x.rate / cached[0],
        "pass, ms": whole[0] * 1e3,
        "passes": passes,
        "speedup": whole[0] / (cached[0] / x.length),
        "speedup, CPU time": whole[1] / (cached[1] / x.length),
        "equal": torch.equal(picked, x.index(drawn)[..., places]),
        "std of logits": model.logits(drawn).std().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", nargs="+", type=int, default=[1, 16], help="clips at a time")
    parser.add_argument("--width", type=int, default=64, help="feature maps of the 20 layers")
    parser.add_argument("--length", type=int, default=4096, help="samples a clip; more than 2,048")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--passes", type=int, default=20, help="passes over the whole field")
    parser.add_argument("--native", action="store_true", help="rows of the sampler in C++, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.md")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    model = make(args.width, args.length)
    os.environ["TRIPTYCH_NATIVE"] = "1"  # at once
    if args.native and not plays(torch.ones(1)):
        raise SystemExit(f"samplers in C++: {building.state()}")
    kinds = [False, True] if args.native else [False]
    rows = [measure(model, n, args.repeats, args.passes, native) for n in args.n for native in kinds]
    about = {
        "model": f"WaveNet, 20 layers of {args.width}, {sum(w.numel() for w in model.parameters()):,} parameters",
        "field": model.config.field,
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": args.threads,
        "load": f"{os.getloadavg()[0]:.1f} at the end, this included",
        "torch": torch.__version__,
        "times": f"medians: {args.repeats} clips after one to warm up, {args.passes} passes after one",
    }
    lines = ["# Sampling from WaveNet", "", *(f"- {k}: {v}" for k, v in about.items()), ""]
    lines += [f"| {' | '.join(rows[0])} |", f"| {' | '.join('--' for _ in rows[0])} |"]
    lines += [f"| {' | '.join(f'{v:.4g}' if isinstance(v, float) else str(v) for v in r.values())} |" for r in rows]
    text = "\n".join(lines) + "\n"
    os.write(1, text.encode())
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text(text)
        args.out.with_suffix(".json").write_text(json.dumps({"protocol": about, "rows": rows}, indent=1) + "\n")
    if not all(row["equal"] for row in rows):
        raise SystemExit("the samplers disagree")


if __name__ == "__main__":
    main()
