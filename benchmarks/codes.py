"""Models of codes beside models of pixels, given the same time: distance, likelihood, passes and seconds an image.

`OMP_NUM_THREADS=1 python benchmarks/codes.py --data mnist --seconds 90 --runs runs/codes --out runs/codes/mnist`

Each preset is timed in two short runs (CPU seconds of this process) and then trained on the binary pixels of one
source, drawn anew each time, for as many steps as the time buys: of each stage, where there are two. Its schedules end
with the steps. Samples are judged by Frechet distance to held-out images, likelihoods are of held-out images: exact
ones in one column, bounds in another, as the two are not comparable. A pass is one evaluation of the network that draws
(of an image or of its codes), which the next one waits for. Writes .json after every run and .md from it; what the
.json holds already is not done again.
"""

import argparse
import json
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from triptych.core import Data, ItemNoise, UsageError
from triptych.data import data
from triptych.io import folder
from triptych.nn.incremental import Wavefront
from triptych.verbs.create import load
from triptych.verbs.evaluate import evaluate
from triptych.verbs.judge import Judge

sys.path.insert(0, str(Path(__file__).parent))
from panel import Entrant, affordable, seconds

ENTRANTS = {
    "LlamaGen": Entrant("llamagen-mnist"),
    "MaskGIT": Entrant("maskgit-mnist"),
    "VAR": Entrant("var-mnist"),
    "GIVT": Entrant("givt-mnist"),
    "FSQ-VAE": Entrant("fsq-vae-mnist"),
    "VQ-VAE": Entrant("vq-vae-mnist"),
    "PixelCNN": Entrant("pixelcnn-mnist-demo"),
    "ImageGPT": Entrant("imagegpt-mnist"),
}
SHOWN = {"MaskGIT": {"4 passes": {"passes": 4}}}
"""Other ways to draw with the same weights."""


@dataclass(frozen=True)
class Result:
    data: str
    name: str
    preset: str
    parameters: int
    steps: int
    batch: int
    cpu_s: float
    """Of training, all stages together."""
    fd: dict[str, float]
    floor: dict[str, float]
    """The same distances of training images."""
    kind: str
    """Of the likelihood."""
    nats: float
    stderr: float
    passes: int
    each_s: float
    """CPU seconds to draw an image, of 16 at once."""
    used: dict[str, float]
    """The share of the codes that held-out images use, scale by scale where there are several."""


def passes(model: Any) -> int:
    """How often the network that draws is evaluated, one time after the other, for an image or for many at once."""
    if model.name == "pixelcnn":
        reach = max(model.first.reach, model.config.kernel // 2)
        return len(Wavefront(model.config.x.height, model.config.x.width, reach))
    if model.name == "maskgit":
        return min(int(model.config.passes), int(model.codes.length))
    if model.name == "var":
        return len(model.quantizer.grids)
    if model.name == "givt":
        return int(model.places)
    if hasattr(model, "codes"):
        return int(model.codes.length)
    if hasattr(model, "code_prior"):
        return int(model.code_prior.where.shape[0])
    return int(model.config.x.dims)


def used(model: Any, x: torch.Tensor) -> dict[str, float]:
    """The share of its codes that a model uses for these images."""
    if not hasattr(model, "encode") or model.name == "givt":
        return {}
    with torch.no_grad():
        code = torch.cat([model.encode(part) for part in x.split(250)]).flatten(1)
    if hasattr(model, "quantizer"):
        parts = model.quantizer.parts(code)
        names = [f"{rows} x {columns}" for rows, columns in model.quantizer.grids]
        many = model.codes.vocabulary
    else:
        parts, names = [code], ["all"]
        many = model.config.codes if model.name == "vq-vae" else model.tokenizer.fsq.codes
    return {name: len(part.unique()) / many for name, part in zip(names, parts, strict=True)}


def measure(
    name: str, entrant: Entrant, model: Any, about: Any, cpu_s: float, judge: Judge, source: tuple[Data, Data]
) -> Result:
    train, test = source
    called = test.name.partition(":")[0]
    found = evaluate(model, train, test, n=len(judge.test), judge=judge, limit=1000)
    model.sample(16, seed=1)
    began = time.process_time()
    model.sample(16, seed=2)
    each = (time.process_time() - began) / 16
    likelihood = found.scores[0]
    rows = torch.arange(min(2000, len(test)))
    return Result(
        data=called,
        name=name,
        preset=entrant.preset,
        parameters=found.parameters,
        steps=about["steps"],
        batch=about["batch"],
        cpu_s=cpu_s,
        fd={d.names["fd"]: d.generated.fd for d in found.distances},
        floor={d.names["fd"]: d.floor.fd for d in found.distances},
        kind=likelihood.kind,
        nats=likelihood.nats,
        stderr=likelihood.stderr,
        passes=passes(model),
        each_s=each,
        used=used(model, test.fetch(rows, ItemNoise(0, rows.tolist())).x),
    )


def table(results: Sequence[Result]) -> list[str]:
    """A block for each source, the fewest passes first."""
    lines = []
    for source in dict.fromkeys(r.data for r in results):
        rows = sorted((r for r in results if r.data == source), key=lambda r: (r.passes, r.name))
        distances = [f"{name} (floor {rows[0].floor[name]:.2f})" for name in rows[0].fd]
        header = [source, "passes", "CPU ms an image", *distances, "nats, exact", "nats, at most", "codes used"]
        header += ["weights", "steps x batch", "CPU s"]
        lines += ["", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        for r in rows:
            nats = f"{r.nats:.2f} +- {r.stderr:.2f}"
            cells = [r.name, f"{r.passes}", f"{1000 * r.each_s:.1f}", *(f"{fd:.2f}" for fd in r.fd.values())]
            cells += [nats, ""] if r.kind == "exact" else ["", nats]
            cells += [", ".join(f"{k}: {100 * v:.0f} %" for k, v in r.used.items())]
            cells += [f"{r.parameters:,}", f"{r.steps:,} x {r.batch}", f"{r.cpu_s:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def protocol(budget: float, n: int) -> dict[str, str]:
    return {
        "budget": f"{budget:g} CPU seconds of training each, all stages and pictures on the way included, by two short "
        "runs of the same preset; 'CPU s' is what it took",
        "models": "the presets as they are; channels last, seed 0, one run each; pixels of two levels, drawn anew each "
        "time with the grey value as probability",
        "distance": f"Frechet distance of {n:,} samples (seed 0, drawn with the decoder's noise) to {n:,} held-out "
        "images, evenly spaced; floor: as many training images in the samples' place",
        "nats": "mean negative log-likelihood of 1,000 held-out images, evenly spaced, +- its standard error; exact "
        "ones and bounds are not to be ranked against each other",
        "codes used": "of those that the first 2,000 held-out images could use",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32; "
        "shared with other work",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="a source of grey images of 28 x 28")
    parser.add_argument("--seconds", type=float, default=120, help="CPU seconds for each")
    parser.add_argument("--models", nargs="+", default=list(ENTRANTS), choices=list(ENTRANTS))
    parser.add_argument("--probes", nargs=2, type=int, default=(4, 20), help="steps of the two short runs")
    parser.add_argument("-n", type=int, default=500, help="samples, and held-out images")
    parser.add_argument("--features", nargs="+", help="what distances are taken on; default: as suits the data")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    args = parser.parse_args()
    console, kept = Console(), args.out.with_suffix(".json")
    before = json.loads(kept.read_text()) if kept.exists() else {"results": []}
    results = [Result(**row) for row in before["results"]]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    train, test = (data(args.data, split=split, binary="dynamic") for split in ("train", "test"))
    judge = Judge(train, test, n=args.n, seconds=40, features=args.features)
    about = protocol(args.seconds, args.n)
    for name in args.models:
        if (test.name.partition(":")[0], name) in {(r.data, r.name) for r in results}:
            continue
        entrant, run = ENTRANTS[name], args.runs / f"{test.name.partition(':')[0]}-{name.lower()}"
        shutil.rmtree(run, ignore_errors=True)  # of an interrupted one, the time is not known
        taken = seconds(entrant, train, affordable(entrant, train, args.seconds, tuple(args.probes)), run)
        model, made = load(run), folder.about(run)["run"]
        results.append(measure(name, entrant, model, made, taken, judge, (train, test)))
        for said, fields in SHOWN.get(name, {}).items():
            try:
                again = type(model)(replace(model.config, **fields))
            except UsageError:
                continue
            again.load_state_dict(model.state_dict())
            results.append(measure(f"{name}, {said}", entrant, again.eval(), made, taken, judge, (train, test)))
        console.print(results[-1], markup=False, soft_wrap=True)
        kept.write_text(json.dumps({"protocol": about, "results": [asdict(r) for r in results]}, indent=1) + "\n")
    text = ["# Codes and pixels, given the same time", "", *(f"- {k}: {v}" for k, v in about.items()), *table(results)]
    args.out.with_suffix(".md").write_text("\n".join(text) + "\n")
    console.print("\n".join(text), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
