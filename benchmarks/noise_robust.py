"""What GANs make of noisy images: how far their samples are from clean ones, with and without a model of the noise.

`OMP_NUM_THREADS=1 python benchmarks/noise_robust.py --data mnist fashion/ --runs runs/noise --out results/noise_robust`

On each source with Gaussian noise of each sigma, fixed to the images: a plain GAN, AmbientGAN, which is told sigma, and
NR-GAN, which is not, all of the same networks and length (the presets' `-mnist`), seed 0. Runs that are there already
are measured as they are, an interrupted one goes on. Frechet distances of samples to *clean* held-out images; beside
them those of clean and of noisy training images, and the noise that NR-GAN found. Writes .json after every run,
.md from it, and .png: for each source and sigma a row of noisy images, and one of each model's first samples.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console

from triptych import metrics
from triptych.core import Data, Generative, ItemNoise, evaluating
from triptych.data import data
from triptych.io import commit
from triptych.media import pictures
from triptych.models.gan.nr_gan import NRGAN
from triptych.verbs import decoration
from triptych.verbs import train as verb
from triptych.verbs.create import load
from triptych.verbs.evaluate import evaluate, machine
from triptych.verbs.judge import Judge, served
from triptych.verbs.prepare import prepare
from triptych.verbs.sample import sample

MODELS = {
    "GAN": ("ambient-gan-mnist", ["sigma=0"]),
    "AmbientGAN": ("ambient-gan-mnist", ["sigma={sigma:g}"]),
    "SI-NR-GAN-I": ("nr-gan-mnist", ["variant=SI-NR-GAN-I"]),
    "SI-NR-GAN-II": ("nr-gan-mnist", ["variant=SI-NR-GAN-II"]),
}
"""Presets and what is changed in them. A GAN is an AmbientGAN that measures nothing."""


@dataclass(frozen=True)
class Result:
    data: str
    sigma: float
    model: str
    """Or what stands in for one: "clean images" and "noisy images" are those trained on."""
    fd: dict[str, float]
    found: float | None = None
    """The noise's standard deviation, as NR-GAN generates it, in levels of 255."""
    steps: int | None = None
    batch: int | None = None
    seconds: float | None = None
    """Of training, by the run's own log."""
    machine: str | None = None


def finish(folder: Path, name: str, noisy: Data, sigma: float, steps: int | None) -> None:
    """Begins a run, or goes on with it if it is not at its end."""
    preset, changes = MODELS[name]
    there = commit.committed(folder)
    made, run = prepare(
        preset,
        noisy,
        [] if there else [change.format(sigma=sigma) for change in changes],
        {} if there else {"channels_last": True, **({"steps": steps} if steps else {})},
        folder if there else None,
    )
    for _ in verb.train(made, noisy, run, out=folder, resume=there):
        pass


def noise_found(model: Generative[Any], n: int) -> float | None:
    """The root mean square of the noise that an NR-GAN draws, in levels of 255."""
    if not isinstance(model, NRGAN):
        return None
    parts = [range(first, min(first + 250, n)) for first in range(0, n, 250)]
    with evaluating(model), torch.no_grad():
        levels = torch.cat([model.parts(ItemNoise(0, items)).level for items in parts])
    return levels.square().mean().sqrt().item()


def measure(folder: Path, name: str, clean: tuple[Data, Data], sigma: float, judge: Judge, n: int) -> Result:
    model, about = load(folder), json.loads((folder / "config.json").read_text())
    found = evaluate(model, *clean, n=n, judge=judge)
    log = decoration.metrics(folder)
    return Result(
        data=clean[0].name.partition(":")[0],
        sigma=sigma,
        model=name,
        fd={d.names["fd"]: d.generated.fd for d in found.distances},
        found=noise_found(model, n),
        steps=about["run"]["steps"],
        batch=about["run"]["batch"],
        seconds=log[-1]["seconds"] if log else None,
        machine=machine(model),
    )


def references(judge: Judge, clean: Data, noisy: Data, sigma: float, n: int) -> list[Result]:
    """What training images get in a generator's place: no model's samples can be expected below the clean ones, and a
    GAN that learned its data perfectly would get what the noisy ones do."""
    name = clean.name.partition(":")[0]
    found = []
    for called, source in (("clean images", clean), ("noisy images", noisy)):
        x = served(source, n, 0)
        scores = [metrics.distances(x, reference) for reference in judge.references]
        found.append(Result(name, sigma, called, {s.names["fd"]: s.generated.fd for s in scores}))
    return found


def table(results: Sequence[Result]) -> list[str]:
    """A block for each source and noise, one line a model."""
    lines = []
    for source, sigma in dict.fromkeys((r.data, r.sigma) for r in results):
        rows = [r for r in results if (r.data, r.sigma) == (source, sigma)]
        distances = list(rows[0].fd)
        lines += ["", f"## {source}, Gaussian noise of sigma = {sigma:g}/255", ""]
        header = ["trained on noisy images", *distances, "noise found, of 255", "steps x batch", "seconds"]
        lines += [f"| {' | '.join(header)} |", f"|{'--|' * len(header)}"]
        for r in rows:
            numbers = [f"{r.fd[d]:.2f}" for d in distances]
            length = f"{r.steps:,} x {r.batch}" if r.steps else ""
            taken = f"{r.seconds:.0f}" if r.seconds else ""
            cells = [r.model, *numbers, f"{r.found:.1f}" if r.found is not None else "", length, taken]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def rows(called: str, noisy: Data, sigma: float, runs: Path, models: Sequence[str], n: int = 16) -> list[Image.Image]:
    """The first noisy images, and each model's first samples, side by side."""
    drawn = [sample(load(runs / f"{called}-{sigma:g}-{name}"), n, seed=0) for name in models]
    return [pictures.grid(x, columns=n, pad=2, scale=2) for x in (served(noisy, n, 0), *drawn)]


def sheet(strips: Sequence[Image.Image]) -> Image.Image:
    """One below the other."""
    out = Image.new("L", (strips[0].width, sum(strip.height for strip in strips)))
    for k, strip in enumerate(strips):
        out.paste(strip, (0, sum(above.height for above in strips[:k])))
    return out


def protocol(n: int) -> dict[str, str]:
    return {
        "noise": "Gaussian, drawn once for every image by its number, clipped to the range, rounded to 256 levels",
        "models": "one network, loss, penalty and length for all: the presets ambient-gan-mnist (GAN: sigma=0) and "
        "nr-gan-mnist, seed 0, one run each",
        "distance": f"Frechet distance of {n:,} samples (seed 0) to {n:,} clean held-out images, evenly spaced; "
        "lower is better. 'clean images' and 'noisy images': as many of those trained on, in the samples' place",
        "noise found": f"root mean square of the noise of {n:,} draws of the noise generator, before clipping",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32; "
        "seconds are wall time, by the run's own log",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["mnist"], help="sources of grey images of 28 x 28")
    parser.add_argument("--sigmas", nargs="+", type=float, default=[25.0, 50.0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--steps", type=int, help="instead of the presets'")
    parser.add_argument("-n", type=int, default=2000, help="samples, and held-out images")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are, or go")
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    args = parser.parse_args()
    console, kept = Console(), args.out.with_suffix(".json")
    results = [Result(**row) for row in json.loads(kept.read_text())["results"]] if kept.exists() else []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    strips: list[Image.Image] = []
    for source in args.data:
        clean = data(source), data(source, split="test")
        called = clean[0].name.partition(":")[0]
        judge = Judge(*clean, n=args.n)
        for sigma in args.sigmas:
            noisy = data(source, noisy=f"gaussian-{sigma:g}")
            done = {r.model for r in results if (r.data, r.sigma) == (called, sigma)}
            results += [] if "clean images" in done else references(judge, clean[0], noisy, sigma, args.n)
            for name in args.models:
                if name in done:
                    continue
                folder = args.runs / f"{called}-{sigma:g}-{name}"
                finish(folder, name, noisy, sigma, args.steps)
                results.append(measure(folder, name, clean, sigma, judge, args.n))
                console.print(results[-1], markup=False, soft_wrap=True)
                numbers = {"protocol": protocol(args.n), "results": [asdict(r) for r in results]}
                kept.write_text(json.dumps(numbers, indent=1) + "\n")
            strips += rows(called, noisy, sigma, args.runs, args.models)
    text = ["# Clean images from noisy ones", "", *(f"- {k}: {v}" for k, v in protocol(args.n).items())]
    text += table(results)
    args.out.with_suffix(".md").write_text("\n".join(text) + "\n")
    sheet(strips).save(args.out.with_suffix(".png"), optimize=True)
    console.print("\n".join(text), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
