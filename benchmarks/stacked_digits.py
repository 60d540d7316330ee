"""How many of the 1,000 numbers of stacked digits a generator writes, counted as in PacGAN, beside what was published.

`python benchmarks/stacked_digits.py RUN ... --out results/stacked_digits` counts for folders that `triptych train`
left; `--presets r3gan-stacked-digits --seeds 3` trains presets first, as they say. Draws 26,000 samples (seed 0) of
each and has every channel read by the shipped classifier of digits. Writes stacked_digits.json after every run,
skipping those that it already holds, and stacked_digits.md from it.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import triptych
from triptych import models
from triptych.core import Data, Generative
from triptych.data import data
from triptych.io import folder
from triptych.metrics import stacked_digit_modes
from triptych.training import Run, train
from triptych.verbs.create import create
from triptych.verbs.sample import sample

SAMPLES = 26_000
PUBLISHED = (
    ("DCGAN", "99", "3.40"),
    ("ALI", "16", "5.40"),
    ("Unrolled GAN", "48.7", "4.32"),
    ("VEEGAN", "150", "2.95"),
    ("PacDCGAN4", "1000", "0.07"),
)
"""Lin et al., 2018 (https://arxiv.org/abs/1712.04086), Section 4.2: other networks, training and classifiers than ours;
the first four are Srivastava et al.'s, 2017 (https://arxiv.org/abs/1705.07761), Table 2."""


@dataclass(frozen=True)
class Result:
    name: str
    """The preset, or the folder of a run."""
    model: str
    seed: int
    steps: int
    batch: int
    parameters: int
    """Of the generator's side and its judge's together, without the averages."""
    n: int
    found: int
    reverse_kl: float
    classifier: str
    """sha256 of its weights."""
    cpu_s: float | None
    """Of training, all threads together; None where that was elsewhere."""


def count(name: str, model: Generative[Any], run: Run, n: int, cpu_s: float | None) -> Result:
    modes = stacked_digit_modes(sample(model, n, seed=0))
    return Result(
        name=name,
        model=model.name,
        seed=run.seed,
        steps=run.steps,
        batch=run.batch,
        parameters=sum(w.numel() for w in model.parameters() if w.requires_grad),
        n=modes.n,
        found=modes.found,
        reverse_kl=modes.reverse_kl,
        classifier=modes.sha256,
        cpu_s=cpu_s,
    )


def finished(path: Path, n: int) -> Result:
    """Counts for a run's folder."""
    run = folder.about(path)["run"]
    return count(path.name, triptych.load(path), Run(**run), n, None)


def trained(preset: str, source: Data, seed: int, steps: int | None, n: int) -> Result:
    """Trains a preset, and counts."""
    _, recipe = models.find_preset(preset)
    if recipe is None:
        raise ValueError(f"{preset} is a model, not a preset")
    model, run = create(preset, seed=seed), Run(steps=steps or recipe.steps, batch=recipe.batch, seed=seed)
    began = time.process_time()
    for _ in train(model, source, run):
        pass
    return count(preset, model, run, n, time.process_time() - began)


def table(results: Sequence[Result]) -> list[str]:
    """One line for each run, then what was published."""
    header = ["model", "seed", "modes found", "reverse KL, nats", "steps x batch", "parameters", "CPU-s of training"]
    lines = [
        [
            r.name,
            str(r.seed),
            f"{r.found} of 1,000",
            f"{r.reverse_kl:.3f}",
            f"{r.steps:,} x {r.batch}",
            f"{r.parameters:,}",
            "" if r.cpu_s is None else f"{r.cpu_s:.0f}",
        ]
        for r in results
    ]
    lines += [[f"{name}, as published", "", f"{found} of 1,000", kl, "", "", ""] for name, found, kl in PUBLISHED]
    return [f"| {' | '.join(cells)} |" for cells in (header, ["--"] * len(header), *lines)]


def protocol(n: int) -> dict[str, str]:
    return {
        "counting": f"{n:,} samples, seed 0; each channel is read by the shipped classifier; a mode is found if a "
        f"sample is taken for it; {n:,} even samples would have a reverse KL of about {999 / (2 * n):.3f} nats",
        "published": "Lin et al., 2018 (arXiv 1712.04086): their networks, training and classifiers, not ours",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs")
    parser.add_argument("--presets", nargs="*", default=[], help="to train")
    parser.add_argument("--seeds", type=int, default=1, help="how many, of each preset")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    args = parser.parse_args()
    console, kept = Console(), args.out.with_suffix(".json")
    results = [Result(**row) for row in json.loads(kept.read_text())["runs"]] if kept.exists() else []
    done = {(r.name, r.seed) for r in results}
    args.out.parent.mkdir(parents=True, exist_ok=True)

    def keep(result: Result) -> None:
        results.append(result)
        console.print(result, markup=False, soft_wrap=True)
        kept.write_text(
            json.dumps({"protocol": protocol(args.samples), "runs": [asdict(r) for r in results]}, indent=1) + "\n"
        )

    for path in args.runs:
        if (path.name, folder.about(path)["run"]["seed"]) not in done:
            keep(finished(path, args.samples))
    source = data("stacked-digits") if args.presets else None
    for preset in args.presets:
        for seed in range(args.seeds):
            if source is not None and (preset, seed) not in done:
                keep(trained(preset, source, seed, args.steps, args.samples))
    text = ["# Modes of stacked digits", "", *(f"- {k}: {v}" for k, v in protocol(args.samples).items()), ""]
    args.out.with_suffix(".md").write_text("\n".join(text + table(results)) + "\n")
    console.print("\n".join(table(results)), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
