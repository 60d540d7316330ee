"""Which modes each GAN finds: the grid of 25 Gaussians and the ring of 8, every loss, over seeds, counted as in PacGAN.

`OMP_NUM_THREADS=1 python benchmarks/modes.py --seeds 5 --out results/modes`: trains every preset whose name has
"25-gaussians" in it, on both mixtures, as the preset says, draws 2,500 samples (seed 0) and counts. Writes modes.json
after every run, skipping the runs that it already holds, and modes.md from it.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from triptych import models
from triptych.core import Data
from triptych.data import data
from triptych.metrics import mode_coverage
from triptych.training import Run, train
from triptych.verbs.create import create
from triptych.verbs.sample import sample

MIXTURES = {"gaussians-25": 25, "ring-8": 8}
SAMPLES = 2500
PUBLISHED = (
    ("GAN", "gaussians-25", "17.3 of 25"),
    ("ALI", "gaussians-25", "24.1 of 25"),
    ("PacGAN4", "gaussians-25", "24.8 of 25"),
)
"""Means of ten runs: Lin et al., 2018 (https://arxiv.org/abs/1712.04086), Table 1; other networks than ours."""


@dataclass(frozen=True)
class Result:
    preset: str
    data: str
    seed: int
    steps: int
    batch: int
    parameters: int
    found: int
    high_quality: float
    reverse_kl: float
    cpu_s: float
    """Of training, all threads together."""


def presets() -> list[str]:
    """The presets for mixtures, of all models that are ready."""
    return [name for entry in models.own().values() for name in entry.presets() if "25-gaussians" in name]


def measure(preset: str, source: Data, seed: int, steps: int | None) -> Result:
    """Trains a preset on a mixture, and counts the modes of its samples."""
    _, recipe = models.find_preset(preset)
    if recipe is None:
        raise ValueError(f"{preset} is a model, not a preset")
    model = create(preset, seed=seed)
    run = Run(steps=steps or recipe.steps, batch=recipe.batch, seed=seed)
    began = time.process_time()
    for _ in train(model, source, run):
        pass
    seconds = time.process_time() - began
    truth: Any = source.truth  # type: ignore[attr-defined]
    coverage = mode_coverage(sample(model, SAMPLES, seed=0), truth.means, truth.sd)
    return Result(
        preset=preset,
        data=source.name.partition(":")[0],
        seed=seed,
        steps=run.steps,
        batch=run.batch,
        parameters=sum(w.numel() for w in model.parameters() if w.requires_grad),
        found=coverage.found,
        high_quality=coverage.high_quality,
        reverse_kl=coverage.reverse_kl,
        cpu_s=seconds,
    )


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, and the least and the greatest of several."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(results: Sequence[Result]) -> list[str]:
    """One line for each preset and mixture, then what was published."""
    header = ["preset", "data", "seeds", "modes found", "high quality", "reverse KL, nats", "steps x batch", "CPU-s"]
    lines = []
    for mixture, modes in MIXTURES.items():
        for preset in dict.fromkeys(r.preset for r in results):
            runs = [r for r in results if (r.preset, r.data) == (preset, mixture)]
            if runs:
                lines.append(
                    [
                        preset,
                        mixture,
                        str(len(runs)),
                        f"{spread([r.found for r in runs], 1)} of {modes}",
                        spread([r.high_quality for r in runs], 3),
                        spread([r.reverse_kl for r in runs], 3),
                        f"{runs[0].steps:,} x {runs[0].batch}",
                        f"{statistics.median(r.cpu_s for r in runs):.0f}",
                    ]
                )
    lines += [[f"{name}, as published", mixture, "10", found, "", "", "", ""] for name, mixture, found in PUBLISHED]
    return [f"| {' | '.join(cells)} |" for cells in (header, ["--"] * len(header), *lines)]


def protocol() -> dict[str, str]:
    return {
        "counting": f"{SAMPLES:,} samples, seed 0; a mode is found if a sample within 3 sd of its mean is nearest to "
        "it; high quality: the share within 3 sd of the nearest mean (an ideal sampler: .989); mean (least-greatest)",
        "published": "Lin et al., 2018 (arXiv 1712.04086), Table 1: their networks and training, not ours",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=presets())
    parser.add_argument("--data", nargs="+", default=list(MIXTURES), choices=MIXTURES)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    args = parser.parse_args()
    console, kept = Console(), args.out.with_suffix(".json")
    results = [Result(**row) for row in json.loads(kept.read_text())["runs"]] if kept.exists() else []
    done = {(r.preset, r.data, r.seed) for r in results}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.data:
        source = data(name)
        for preset in args.presets:
            for seed in range(args.seeds):
                if (preset, name, seed) in done:
                    continue
                results.append(measure(preset, source, seed, args.steps))
                console.print(results[-1], markup=False, soft_wrap=True)
                numbers = {"protocol": protocol(), "runs": [asdict(r) for r in results]}
                kept.write_text(json.dumps(numbers, indent=1) + "\n")
    text = ["# Modes of mixtures", "", *(f"- {k}: {v}" for k, v in protocol().items()), "", *table(results)]
    args.out.with_suffix(".md").write_text("\n".join(text) + "\n")
    console.print("\n".join(text), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
