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
from triptych.core import Data, Decoding, Generative, HasLikelihood, ItemNoise, Space, UsageError
from triptych.core.reading import parse_json
from triptych.inference.importance import LatentVariable
from triptych.io import commit, configs, outputs
from triptych.io import folder as folders_io
from triptych.media import medium_of
from triptych.report import Chart, Fact, Link, ModelSection, Page, Plate, Series, Strip
from triptych.training import Run
from triptych.verbs.create import load
from triptych.verbs.decoration import METRICS, check_mark, metrics, shots
from triptych.verbs.evaluate import SHOWN, Evaluation, evaluate, machine
from triptych.verbs.judge import POOL, Judge, served
from triptych.verbs.opening import own
from triptych.verbs.sample import MEANS, evenly, in_turn, picture
from triptych.verbs.walk import Codes, interpolate, reconstruct

PAD, SCALE = 2, 2
THUMB = 60
"""Pixels of a small picture that is no image of the data."""


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
            Fact("repeat", command or repeated(paths, out, n, limit, seed, features), code=True),
        ]
        page = Page(title=title, intro=intro, facts=facts, models=sections, table=result.rows, notes=explained(result))
        report.write(page, out)
    return result


def repeated(
    paths: Sequence[Path], out: str | Path, n: int, limit: int | None, seed: int, features: Sequence[str] | None
) -> str:
    """The command line that writes the page again."""
    words = ["triptych", "compare", *map(str, paths), "--out", str(out), "-n", str(n), "--seed", str(seed)]
    words += [] if limit is None else ["--limit", str(limit)]
    return shlex.join(words + ([] if features is None else ["--features", ",".join(features)]))


MEANINGS = {
    "FD": "FD: distance of two Gaussians fitted to features of samples and of held-out data (Fréchet); 0 is best.",
    "KD": "KD: distance of samples and held-out data by a kernel on features; 0 is best, and it may be negative.",
    "precision": "Precision: the share of samples that lie among real examples. Recall: the share of real examples "
    "that lie among samples. Density and coverage: the same, counted so that outliers weigh less.",
    "memorized": "Memorized: the share of samples that lie much nearer to one training example than to its neighbors.",
    "confidence": "Confidence: how sure a classifier of real digits is of samples; 1 is surest.",
    "digits": "Digits: how often each digit comes; all should come alike.",
    "modes": "Modes: how many of the clusters of a known mixture samples reach. High quality: the share near one.",
}
"""What the columns mean, by how their names begin."""


def explained(result: Comparison) -> list[str]:
    """What the labels on the page mean, those that are on it."""
    names = {value.name for row in result.rows.rows for value in row.values}
    found = [words for start, words in MEANINGS.items() if any(name.startswith(start) for name in names)]
    return [
        "−log p(x): how many nats (1 nat is 1.44 bits) it takes to say an example, given the model; bits/dim are bits "
        "for each number of it. Less is better.",
        "Floor: what real examples get against other real examples; nothing can be told below it.",
        *found,
    ]


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
    log = checked_metrics(path)
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
        paper=Link(f"{entry.paper.title} ({entry.paper.year})", entry.paper.url),
        cover=Plate(image=picture(model.config.x, x[:16]), alt=f"16 samples of {name}", protocol=drawn),
        facts=facts,
        samples=Plate(
            image=picture(model.config.x, x[:SHOWN]),
            alt=f"{SHOWN} samples of {name}",
            caption="Means of p(x | z)" if isinstance(model, Decoding) else "Samples",
            protocol=drawn,
            pixelated=medium_of(model.config.x).pixelated,
            wav=heard(model.config.x, x),
        ),
        real=Plate(
            image=picture(model.config.x, served(test, SHOWN, 0)),
            alt="held-out examples",
            caption=f"Real, for comparison: {test.name}",
            protocol="evenly spaced over the held-out data, not chosen",
            pixelated=medium_of(model.config.x).pixelated,
            wav=heard(model.config.x, served(test, HEARD, 0)),
        ),
        curves=charts(log),
        progress=progress(path, model.config.x.planar),
        neighbors=neighbors(x, judge) if model.config.x.planar else None,
        **latent_figures(model, test),
    )


HEARD = 8
"""Clips that can be heard on the page."""


def heard(space: Space, x: torch.Tensor) -> bytes:
    """The first clips of sound, one after the other, as a WAV file; of anything else, nothing."""
    return its.together(space, x[:HEARD], ".wav") if ".wav" in (its := medium_of(space)).endings else b""


def checked_metrics(path: Path) -> list[dict[str, float]]:
    """The log of a run, with a warning if it is not what the run's checkpoint says of it."""
    if folders_io.STATE in commit.committed(path):
        state = parse_json(commit.read(path, [folders_io.STATE])[folders_io.STATE], str(path / folders_io.STATE))
        check_mark(path / METRICS, state.get("log") if isinstance(state, dict) else None)
    return metrics(path)


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
                label(k, title),
                [line["step"] for line in log if k in line],
                [line[k] for line in log if k in line],
            )
            for k in keys
        ]
        out.append(Chart(title=title, series=series, log_y=title == "gradient norm"))
    return out


def label(key: str, title: str) -> str:
    """What to call a series under a title: what it is, or whose where the title says what it is."""
    whose, _, what = key.rpartition("/")
    name = key if title in ("loss", "gradient norm") else whose if what == title and whose else what
    return name.replace("held_out", "held out")


def progress(path: Path, images: bool = True) -> Strip | None:
    """The same samples as training went on: corners of the pictures that the run left behind, or, where they are no
    grids of images (a scatter of points, say), the whole of them, small."""
    found = shots(path)
    if len(found) < 2:
        return None
    side = min(found[0][1].size) // 2
    frames = [image.crop((0, 0, side, side)) if images else image.resize((2 * THUMB, 2 * THUMB)) for _, image in found]
    return Strip(
        rows=[frames],
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
    if not model.config.x.planar:
        return {}
    out: dict[str, Any] = {}
    given = getattr(model.config, "given", None)
    if given is None and (isinstance(model, LatentVariable) or not isinstance(model, HasLikelihood)):
        walks = interpolate(model, walks=4, steps=10, seed=0)
        out["interpolation"] = Strip(
            rows=[report.cells(walk) for walk in walks],
            alt="walks between random latents",
            caption="From one random latent to another",
            protocol="seed 0; Gaussian latents along great circles, uniform ones along straight lines",
        )
    if isinstance(model, Decoding | LatentVariable) and isinstance(model, Codes):
        batch = test.fetch(evenly(len(test), 10), ItemNoise(0, range(10)))
        back = reconstruct(model, batch.x, batch.given if given is not None else None)
        out["reconstructions"] = Strip(
            rows=[report.cells(batch.x), report.cells(back)],
            alt="held-out images and their reconstructions",
            caption="Held-out images, encoded and decoded (means)",
            row_labels=["x", "decoded"],
        )
    return out
