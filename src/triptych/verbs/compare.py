"""Runs side by side: one table in which no number stands without its kind, and one page to look at."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import triptych
from triptych import models, report
from triptych.core import Data, Decoding, Generative, HasLikelihood, Images, UsageError
from triptych.inference.importance import LatentVariable
from triptych.io import configs, outputs
from triptych.io import folder as folders_io
from triptych.report import Chart, Fact, Link, ModelSection, Page, Picture, Series, Strip
from triptych.training import Run
from triptych.verbs.create import load
from triptych.verbs.decoration import metrics, shots
from triptych.verbs.evaluate import SHOWN, Evaluation, evaluate, machine
from triptych.verbs.judge import POOL, Judge, served
from triptych.verbs.opening import own
from triptych.verbs.sample import MEANS, in_turn, picture
from triptych.verbs.walk import interpolate, reconstruct

PAD, SCALE = 2, 2


@dataclass(frozen=True)
class Comparison:
    """What was measured of each run."""

    folders: tuple[Path, ...]
    evaluations: tuple[Evaluation, ...]
    rows: report.Table

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: the folder and the measurements of each run."""
        return {
            "runs": [{"folder": str(f), **e.as_dict()} for f, e in zip(self.folders, self.evaluations, strict=True)]
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings and rows for a terminal: the measures down, the runs across. The best of its like has a star."""
        flat = report.flat(self.rows)
        lines = [[cell.text + (" *" if cell.best else "") for cell in row] for row in flat.rows]
        return ["", *(line[0] for line in lines)], [
            [heading, *(line[i] for line in lines)] for i, heading in enumerate(flat.headings) if i > 0
        ]

    def notes(self) -> list[str]:
        """The rules of the table, and the protocol of every number."""
        return list(report.flat(self.rows).footnotes)


def compare(
    folders: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    n: int = 2000,
    pool: int = POOL,
    draws: int = 64,
    limit: int | None = None,
    seed: int = 0,
    features: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    title: str = "Runs side by side",
    intro: str = "",
    command: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Measures every run on the held-out part of the data it was trained on; with `out`, writes a page (.html).

    Raises UsageError if a folder holds no run, the data it was trained on is no longer there, or `out` is no page.
    """
    if out:
        if Path(out).suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{out}: a report is one page; give it a name that ends in .html")
        outputs.check_file(Path(out), overwrite=overwrite)
    paths = tuple(Path(f) for f in folders)
    names = distinct(paths)
    judges: dict[str, Judge] = {}
    evaluations, sections, rows = [], [], []
    started = time.monotonic()
    for path, name in zip(paths, names, strict=True):
        model = load(path).to(device)
        train, test = own(path, model, "train"), own(path, model, "test")
        say(f"measuring {name} on {test.name}")
        judge = judges.setdefault(test.fingerprint, Judge(train, test, n=n, pool=pool, seed=seed, features=features))
        one = evaluate(model, train, test, n=n, draws=draws, limit=limit, seed=seed, judge=judge)
        evaluations.append(one)
        rows.append(one.row(name))
        if out:
            sections.append(section(path, name, model, test, one, judge))
    result = Comparison(paths, tuple(evaluations), report.Table(rows=rows))
    if out:
        facts = [
            Fact("evaluated", f"{n:,} samples of each model, seed {seed}, in {time.monotonic() - started:.0f} s"),
            Fact("hardware", machine(load(paths[0]).to(device))),
            Fact("versions", f"triptych {triptych.__version__}, torch {torch.__version__}"),
            Fact(
                "repeat", command or shlex.join(["triptych", "compare", *map(str, paths), "--out", str(out)]), code=True
            ),
        ]
        page = Page(title=title, intro=intro, facts=facts, models=sections, table=result.rows)
        report.write(page, out)
    return result


def distinct(paths: Sequence[Path]) -> list[str]:
    """What to call the runs: the model's name, and the folder's where two are of one model."""
    names = [folders_io.about(p)["model"] if p.is_dir() else missing(p) for p in paths]
    return [n if names.count(n) == 1 else f"{n} ({p.name})" for n, p in zip(names, paths, strict=True)]


def missing(path: Path) -> str:
    raise UsageError(f"there is no folder {path}")


def section(path: Path, name: str, model: Generative[Any], test: Data, one: Evaluation, judge: Judge) -> ModelSection:
    """A run's part of the page."""
    entry, about, x = models.find(model.name), folders_io.about(path), one.shown
    drawn = f"the first {min(SHOWN, len(x))} samples of seed {one.seed}, not chosen{in_turn(model)}"
    drawn += f"; {MEANS}" if isinstance(model, Decoding) else ""
    doc = (entry.module().__doc__ or "").strip().splitlines()[0]
    made, run = about.get("made_with", {}), configs.from_json(Run, about.get("run", {}), str(path / folders_io.CONFIG))
    log = metrics(path)
    facts = [
        Fact("trained on", f"{about['data']['name']}, {about['data']['n']:,} examples"),
        Fact("run", f"{run.steps:,} steps of {run.batch}, seed {run.seed}, {run.precision}"),
        Fact("time", f"{log[-1]['seconds']:.0f} s on {made.get('device')}, {made.get('threads')} threads")
        if log
        else Fact("time", "not logged"),
        Fact("parameters", f"{one.parameters:,}"),
    ]
    return ModelSection(
        name=name,
        sentence=doc,
        family={"gan": "GAN", "vae": "VAE"}.get(entry.family, entry.family),
        paper=Link(f"{entry.paper} ({entry.year})", entry.url),
        cover=Picture(image=picture(model.config.x, x[:16]), alt=f"16 samples of {name}", protocol=drawn),
        facts=facts,
        samples=Picture(
            image=picture(model.config.x, x[:SHOWN]),
            alt=f"{SHOWN} samples of {name}",
            caption="Means of p(x | z)" if isinstance(model, Decoding) else "Samples",
            protocol=drawn,
        ),
        curves=charts(log),
        progress=progress(path),
        neighbors=neighbors(x, judge) if isinstance(model.config.x, Images) else None,
        **latent_figures(model, test),
    )


def charts(log: list[dict[str, float]]) -> list[Chart]:
    """The losses on one chart, what they log on others: those that share a player and a unit together."""
    if len(log) < 2:
        return []
    names = [k for k in log[-1] if k not in ("step", "seconds")]
    losses = [k for k in names if "/" not in k]
    groups: dict[str, list[str]] = {"loss": losses}
    for key in names:
        if "/" in key:
            what = key.split("/", 1)[1]
            group = {"D(real)": "D(real) and D(fake)", "D(fake)": "D(real) and D(fake)"}.get(what, what)
            group = {"distortion": "nats", "rate": "nats"}.get(group, group).replace("_", " ")
            groups.setdefault(group, []).append(key)
    out = []
    for title, keys in groups.items():
        if title == "bits per dim" and "nats" in groups:
            continue  # the same curve in another unit
        series = [
            Series(
                k if title in ("loss", "gradient norm") else k.rpartition("/")[2],
                [line["step"] for line in log if k in line],
                [line[k] for line in log if k in line],
            )
            for k in keys
        ]
        out.append(Chart(title=title, series=series, log_y=title == "gradient norm"))
    return out


def progress(path: Path) -> Strip | None:
    """The same samples as training went on: corners of the pictures that the run left behind."""
    found = shots(path)
    if len(found) < 2:
        return None
    side = min(found[0][1].size) // 2
    return Strip(
        rows=[[image.crop((0, 0, side, side)) for _, image in found]],
        alt="samples while training went on",
        caption="The same noise, as training went on",
        column_labels=[f"step {s:,}" for s, _ in found],
        slider=True,
    )


def neighbors(x: torch.Tensor, judge: Judge, count: int = 10) -> Strip:
    """Samples above, the training images nearest to them in pixels below."""
    close = judge.train[judge.pixels.nearest(x[:count]).index]
    distance = (x[:count] - close).flatten(1).norm(dim=1) / 2
    return Strip(
        rows=[report.cells(x[:count]), report.cells(close)],
        alt="samples and their nearest training images",
        caption="Is it copied? Samples, and the training image nearest to each",
        protocol=f"Euclidean distance of pixels in [0, 1]; {len(judge.train):,} training images, also mirrored",
        row_labels=["sample", "nearest"],
        column_labels=[f"{d:.1f}" for d in distance.tolist()],
    )


def latent_figures(model: Generative[Any], test: Data) -> dict[str, Any]:
    """Interpolations for models with a latent, reconstructions for those with an encoder."""
    if not isinstance(model.config.x, Images) or getattr(model.config, "given", None) is not None:
        return {}
    out: dict[str, Any] = {}
    if isinstance(model, LatentVariable) or not isinstance(model, HasLikelihood):
        walks = interpolate(model, walks=4, steps=10, seed=0)
        out["interpolation"] = Strip(
            rows=[report.cells(walk) for walk in walks],
            alt="walks between random latents",
            caption="From one random latent to another",
            protocol="seed 0; Gaussian latents along great circles, uniform ones along straight lines",
        )
    if isinstance(model, LatentVariable):
        x = served(test, 10, 0)
        out["reconstructions"] = Strip(
            rows=[report.cells(x), report.cells(reconstruct(model, x))],
            alt="held-out images and their reconstructions",
            caption="Held-out images, encoded and decoded (means)",
            row_labels=["x", "decoded"],
        )
    return out
