"""A run's part of the page that compares runs: samples, curves, neighbors, walks; of a task, questions and answers."""

from pathlib import Path
from typing import Any

import torch

from triptych import models, report
from triptych.core import Data, Decoding, Generative, HasLikelihood, ItemNoise, Space
from triptych.core.reading import parse_json
from triptych.inference.importance import LatentVariable
from triptych.io import commit, configs
from triptych.io import folder as folders_io
from triptych.media import medium_of
from triptych.report import Chart, Fact, Link, ModelSection, Plate, Series, Strip
from triptych.tasks.task import Posed
from triptych.training import Run
from triptych.verbs.decoration import METRICS, check_mark, metrics, shots
from triptych.verbs.evaluate import SHOWN, Evaluation
from triptych.verbs.judge import Judge, served
from triptych.verbs.pictured import triptychs
from triptych.verbs.sample import MEANS, evenly, in_turn, noisy, picture
from triptych.verbs.walk import Codes, interpolate, reconstruct

ASKED = 12
"""Questions of a task that are shown with their answers."""
THUMB = 60
"""Pixels of a small picture that is no image of the data."""
HEARD = 8
"""Clips that can be heard on the page."""


def section(path: Path, name: str, model: Generative[Any], test: Data, one: Evaluation, judge: Judge) -> ModelSection:
    """A run's part of the page."""
    entry, about, x = models.find(model.name), folders_io.about(path), one.shown
    drawn = f"the first {min(SHOWN, len(x))} samples of seed {one.seed}, not chosen{in_turn(model)}"
    drawn += f"; {MEANS}" if noisy(model) else ""
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
        samples=answers(model, test, name)
        if isinstance(test, Posed)
        else Plate(
            image=picture(model.config.x, x[:SHOWN]),
            alt=f"{SHOWN} samples of {name}",
            caption="Means of p(x | z)" if noisy(model) else "Samples",
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


def answers(model: Generative[Any], test: Posed, name: str) -> Plate:
    """Of a task: what is asked, beside what comes back."""
    return Plate(
        image=triptychs(model, test, ASKED)[0],
        alt=f"{ASKED} answers of {name}",
        caption="From above: what was asked, the answers, and the truth",
        protocol=f"{ASKED} held-out examples, evenly spaced, not chosen",
        pixelated=medium_of(model.config.x).pixelated,
    )


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
