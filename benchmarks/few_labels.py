"""Bayes' rule beside a classifier, on few labels and on many: accuracy, -log p(y | x) and calibration of both.

    OMP_NUM_THREADS=1 python benchmarks/few_labels.py --preset cvae-mnist --draws 50 --out results/few_labels

Of the training images only so many are seen at all, with their classes, chosen at random and evenly over the classes.
A model of p(x | y) is trained on them from its preset, for at most --epochs passes over them and at most --steps steps,
and classifies the test images by Bayes' rule; so does a small convolutional network trained on the same examples
(`inference.discriminative`), for at most as many passes. Nothing is stopped or chosen by the test images. Writes
NAME.json after every run, and NAME.md from it.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from triptych import models
from triptych.core import UsageError
from triptych.data import data
from triptych.inference.discriminative import BATCH
from triptych.training import Run, train
from triptych.verbs.classify import classify
from triptych.verbs.create import create

LABELS = (100, 300, 1000, 10_000, 60_000)


def measure(a: argparse.Namespace, labels: int) -> dict[str, Any]:
    """Both classifiers, on so many labeled examples."""
    _, recipe = models.find_preset(a.preset)
    if recipe is None:
        raise UsageError(f"{a.preset} is a model, not a preset")
    source: Any = data(a.data)
    if labels < len(source):
        shuffled = torch.randperm(len(source), generator=torch.Generator().manual_seed(a.seed))
        y = source.labels[shuffled]
        each = labels // len(source.classes)
        source = source.subset(torch.cat([shuffled[y == k][:each] for k in range(len(source.classes))]))
    model = create(a.preset, seed=a.seed)
    batch, seen = min(recipe.batch, labels), a.epochs * labels
    steps = min(a.steps or recipe.steps, -(-seen // batch))
    rival_steps = min(a.rival_steps, -(-seen // BATCH))
    began = time.process_time()
    for _ in train(model, source, Run(steps=steps, batch=batch, seed=a.seed)):
        pass
    trained = time.process_time() - began
    test = data(a.data, split="test")
    found = classify(model, test, draws=a.draws, limit=a.limit, seed=a.seed, rival=source, rival_steps=rival_steps)
    return {
        "labels": labels,
        "steps": steps,
        "batch": batch,
        "training cpu_s": trained,
        "n": found.n,
        "how": found.how,
        "bayes": asdict(found.raw),
        "bayes, at a temperature": asdict(found.calibrated),
        "rival steps": rival_steps,
        "rival": asdict(found.rival.raw) if found.rival else None,
        "rival, at a temperature": asdict(found.rival.calibrated) if found.rival else None,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line for each number of labels; nats and calibration errors at a temperature."""
    header = ["labels", "Bayes' rule: right", "nats", "calibration error", "classifier: right", "nats", "error"]
    lines = []
    for row in rows:
        cells = [f"{row['labels']:,}"]
        for side in ("bayes", "rival"):
            fitted = row[f"{side}, at a temperature"]
            cells += [f"{row[side]['accuracy']:.2%}", f"{fitted['nll']:.3f}", f"{fitted['ece']:.3f}"]
        lines.append(cells)
    return [f"| {' | '.join(cells)} |" for cells in (header, ["--"] * len(header), *lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cvae-mnist", help="of a model of p(x | y)")
    parser.add_argument("--data", default="mnist-binary")
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--epochs", type=int, default=100, help="passes over the labeled examples, at most")
    parser.add_argument("--steps", type=int, help="at most, instead of the preset's")
    parser.add_argument("--rival-steps", type=int, default=2000)
    parser.add_argument("--draws", type=int, help="importance samples an item and class, for latent variables")
    parser.add_argument("--limit", type=int, default=1000, help="test images, evenly spaced")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    a = parser.parse_args()
    console, rows = Console(), []
    protocol = {
        "model": f"{a.preset}, at most {a.epochs} passes over the labeled examples",
        "data": f"{a.data}, test images evenly spaced, seed {a.seed}",
        "temperature": "each half of the test images is scored at the temperature fitted on the other half",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32",
    }
    a.out.parent.mkdir(parents=True, exist_ok=True)
    for labels in a.labels:
        rows.append(measure(a, labels))
        console.print(rows[-1], markup=False, soft_wrap=True)
        a.out.with_suffix(".json").write_text(json.dumps({"protocol": protocol, "rows": rows}, indent=1) + "\n")
    text = ["# Few labels", "", *(f"- {k}: {v}" for k, v in protocol.items()), "", *table(rows)]
    a.out.with_suffix(".md").write_text("\n".join(text) + "\n")
    console.print("\n".join(text), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
