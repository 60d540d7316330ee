"""Which GAN draws best, given the same time? Every GAN's preset for 28 x 28 pixels, on one source, for equal seconds.

`OMP_NUM_THREADS=1 python benchmarks/panel.py --data mnist --seconds 300 --runs runs/panel --out results/panel`

Each preset is timed in two short runs (CPU seconds of this process, with `--channels-last`) and then trained, with its
own batch, rates and seed 0, for as many steps as the time buys; schedules end with the steps. The presets were made on
MNIST. Samples are judged by Frechet distance to held-out images: of the features of a classifier of the source's own
classes (for MNIST the one that ships; for another source one that is trained here, first, on its training images and
kept with the runs), and of principal components. Writes .json after every run and .md from it; what the .json holds
already is not done again. A picture: `python tools/gallery.py` of the runs.
"""

import argparse
import hashlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor

from triptych import metrics
from triptych.core import Data, Label, Labels
from triptych.data import data
from triptych.io import folder
from triptych.metrics.digits import DigitNet, scaled
from triptych.metrics.images import eight_bit
from triptych.verbs import train as verb
from triptych.verbs.create import load
from triptych.verbs.evaluate import evaluate
from triptych.verbs.judge import Judge
from triptych.verbs.prepare import prepare
from triptych.verbs.sample import examples

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import train_mnist_classifier as recipe  # noqa: E402

SEARCH = ROOT / "results" / "autogan_search.json"


@dataclass(frozen=True)
class Entrant:
    preset: str
    changes: tuple[str, ...] = ()


def entrants() -> dict[str, Entrant]:
    """Those that are told nothing of classes first, then those that draw by class."""
    cells = json.dumps(json.loads(SEARCH.read_text())["controller"]["best"]["cells"])
    return {
        "R3GAN": Entrant("r3gan-mnist"),
        "WGAN-GP": Entrant("wgan-gp-mnist"),
        "DCGAN": Entrant("dcgan-mnist-demo"),
        "LSGAN": Entrant("lsgan-mnist"),
        "WGAN": Entrant("wgan-mnist"),
        "AutoGAN, the paper's cells": Entrant("autogan-mnist"),
        "AutoGAN, cells that our search found": Entrant("autogan-mnist", (f"cells={cells}",)),
        "InfoGAN": Entrant("infogan-mnist"),
        "InfoGAN, as in the paper": Entrant("infogan-mnist", ("spread=1", "deform=0", "ramp=[0,0]")),
        "LAPGAN": Entrant("lapgan-mnist"),
        "EBGAN": Entrant("ebgan-mnist"),
        "Progressive GAN": Entrant("progan-mnist"),
        "MSG-GAN": Entrant("msg-gan-mnist"),
        "GAN": Entrant("gan-mnist"),
        "BiGAN": Entrant("bigan-mnist"),
        "GAT": Entrant("gat-mnist"),
        "R3GAN, by class": Entrant("r3gan-mnist-class"),
        "GAT, by class": Entrant("gat-mnist-class"),
        "SAGAN": Entrant("sagan-mnist"),
        "BigGAN": Entrant("biggan-mnist"),
        "Your Local GAN": Entrant("ylg-mnist"),
        "CGAN": Entrant("cgan-mnist"),
        "ACGAN": Entrant("acgan-mnist"),
        "LAPGAN, by class": Entrant("lapgan-mnist-class"),
        "Stacked GAN": Entrant("stacked-gan-mnist"),
    }


@dataclass(frozen=True)
class Result:
    data: str
    name: str
    preset: str
    by_class: bool
    parameters: int
    steps: int
    batch: int
    cpu_s: float
    """Of training."""
    fd: dict[str, float]
    floor: dict[str, float]
    """The same distances of training images."""
    precision: float
    recall: float
    """By the classifier's features, where there is one."""
    right: float | None
    """Share of samples that the classifier takes for the class asked for."""


class Classifier:
    """An extractor for labeled images of 28 x 28: the network of the shipped digit classifier, trained on these by the
    same recipe."""

    dims = DigitNet.width
    resizer = "none"
    about = "trained by the recipe of the shipped digit classifier"

    def __init__(self, net: DigitNet, name: str) -> None:
        self.net, self.name = net.eval(), f"{name}-classifier"
        weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
        self.sha256 = hashlib.sha256(weights).hexdigest()

    @classmethod
    def of(cls, train: Data, kept: Path, *, epochs: int = 9) -> "Classifier":
        """As it was `kept`, or else trained, and kept."""
        name = train.name.partition(":")[0]
        if not kept.exists():
            net = recipe.train(scaled(train.stored), train.labels, epochs=epochs, seed=0)
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_file({key: value.contiguous() for key, value in net.state_dict().items()}, kept)
        net = DigitNet()
        net.load_state_dict(load_file(kept))
        return cls(net, name)

    def __call__(self, images: Tensor) -> Tensor:
        return self.over(images, self.net.features)

    def classify(self, images: Tensor) -> Tensor:
        """The likeliest class of each image."""
        return self.over(images, self.net).argmax(1)

    @staticmethod
    def over(images: Tensor, what: Any) -> Tensor:
        with torch.no_grad():
            return torch.cat([what(scaled(part)) for part in eight_bit(images).split(500)])


def seconds(entrant: Entrant, source: Data, steps: int, out: Path | None = None) -> float:
    """CPU seconds of training so many steps."""
    made, run = prepare(entrant.preset, source, list(entrant.changes), {"steps": steps, "channels_last": True}, None)
    began = time.process_time()
    for _ in verb.train(made, source, run, out=out):
        pass
    return time.process_time() - began


def affordable(entrant: Entrant, source: Data, budget: float, probes: tuple[int, int]) -> int:
    """How many steps `budget` seconds buy, by two short runs; not over a thousand times as many as they took."""
    seconds(entrant, source, 1)  # what is slow only once
    few, many = probes
    short, long = (seconds(entrant, source, steps) for steps in probes)
    each = (long - short) / (many - few)
    return max(few, min(1000 * many, int((budget - short) / max(each, 1e-6)) + few))


def measure(name: str, entrant: Entrant, run: Path, cpu_s: float, judge: Judge, source: tuple[Data, Data]) -> Result:
    model, about = load(run), folder.about(run)["run"]
    found = evaluate(model, *source, n=len(judge.test), judge=judge)
    given, by, right = examples(model, len(found.images)), found.distances[0], None
    if isinstance(given, Label):
        look = judge.references[0].extractor
        taken = (
            look.classify(found.images) if isinstance(look, Classifier) else metrics.classify(found.images).argmax(1)
        )
        right = (taken == given.y).double().mean().item()
    return Result(
        data=source[0].name.partition(":")[0],
        name=name,
        preset=entrant.preset,
        by_class=given is not None,
        parameters=found.parameters,
        steps=about["steps"],
        batch=about["batch"],
        cpu_s=cpu_s,
        fd={d.names["fd"]: d.generated.fd for d in found.distances},
        floor={d.names["fd"]: d.floor.fd for d in found.distances},
        precision=by.generated.precision,
        recall=by.generated.recall,
        right=right,
    )


def judges(source: tuple[Data, Data], runs: Path, n: int) -> Judge:
    """Sees the held-out images through a classifier of their classes, too, if they have any."""
    if metrics.shipped(source[1]) or not isinstance(source[1].given, Labels):
        return Judge(*source, n=n)
    judge = Judge(*source, n=n, features=("pca-64", "pixels"))
    kept = runs / f"{source[0].name.partition(':')[0]}-classifier.safetensors"
    look = Classifier.of(source[0], kept)
    judge.references.insert(0, metrics.Reference(look, test=judge.test, train=judge.train, data=source[1].name))
    return judge


def accuracy(judge: Judge, test: Data) -> float | None:
    """Of the classifier that was trained here, on held-out images."""
    look = judge.references[0].extractor
    if not isinstance(look, Classifier):
        return None
    return (look.classify(test.stored) == test.labels).double().mean().item()


def table(results: Sequence[Result]) -> list[str]:
    """A block for each source, those without classes first, the best first."""
    lines = []
    for source in dict.fromkeys(r.data for r in results):
        rows = sorted((r for r in results if r.data == source), key=lambda r: (r.by_class, next(iter(r.fd.values()))))
        distances = [f"{name} (floor {rows[0].floor[name]:.2f})" for name in rows[0].fd]
        header = [source, *distances, "precision / recall", "right class", "weights", "steps x batch", "CPU s"]
        lines += ["", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        for r in rows:
            right = "" if r.right is None else f"{100 * r.right:.1f} %"
            cells = [r.name, *(f"{fd:.2f}" for fd in r.fd.values()), f"{r.precision:.3f} / {r.recall:.3f}", right]
            cells += [f"{r.parameters:,}", f"{r.steps:,} x {r.batch}", f"{r.cpu_s:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def protocol(budget: float, n: int) -> dict[str, str]:
    return {
        "budget": f"{budget:g} CPU seconds of training each, by two short runs of the same preset; 'CPU s' is what it "
        "took",
        "models": "the presets as they are, made on MNIST, not fitted to the source in any other way; channels last, "
        "seed 0, one run each",
        "distance": f"Frechet distance of {n:,} samples (seed 0) to {n:,} held-out images, evenly spaced; floor: as "
        "many training images in the samples' place. Precision and recall by the features of the first column",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32",
    }


def main() -> None:
    known = entrants()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="a source of grey images of 28 x 28")
    parser.add_argument("--seconds", type=float, default=300, help="CPU seconds for each")
    parser.add_argument("--models", nargs="+", default=list(known), choices=known)
    parser.add_argument("--probes", nargs=2, type=int, default=(8, 40), help="steps of the two short runs")
    parser.add_argument("-n", type=int, default=2000, help="samples, and held-out images")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    args = parser.parse_args()
    console, kept = Console(), args.out.with_suffix(".json")
    before = json.loads(kept.read_text()) if kept.exists() else {"classifiers": {}, "results": []}
    results, right = [Result(**row) for row in before["results"]], before["classifiers"]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    source = data(args.data), data(args.data, split="test")
    called = source[0].name.partition(":")[0]
    judge = judges(source, args.runs, args.n)
    if (share := accuracy(judge, source[1])) is not None:
        right[called] = share
    about = protocol(args.seconds, args.n)
    for name in args.models:
        if (called, name) in {(r.data, r.name) for r in results}:
            continue
        entrant, run = known[name], args.runs / f"{called}-{name.lower().replace(',', '').replace(' ', '-')}"
        shutil.rmtree(run, ignore_errors=True)  # of an interrupted one, the time is not known
        steps = affordable(entrant, source[0], args.seconds, tuple(args.probes))
        taken = seconds(entrant, source[0], steps, run)
        results.append(measure(name, entrant, run, taken, judge, source))
        console.print(results[-1], markup=False, soft_wrap=True)
        numbers = {"protocol": about, "classifiers": right, "results": [asdict(r) for r in results]}
        kept.write_text(json.dumps(numbers, indent=1) + "\n")
    text = ["# The panel, given the same time", "", *(f"- {k}: {v}" for k, v in about.items())]
    text += [
        f"- the classifier trained on {name}: {100 * share:.2f} % of the test images right"
        for name, share in right.items()
    ]
    text += table(results)
    args.out.with_suffix(".md").write_text("\n".join(text) + "\n")
    console.print("\n".join(text), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
