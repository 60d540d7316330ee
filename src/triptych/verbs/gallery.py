"""A page of what the weights that come with the package draw, fill in and turn into pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from triptych import models
from triptych.core import Generative
from triptych.media import medium_of, pictures
from triptych.media.images import on_white
from triptych.report import Fact, Link, ModelSection, Page, Plate, html
from triptych.verbs.apply import pipeline
from triptych.verbs.create import load
from triptych.verbs.posing import saved_task
from triptych.verbs.sample import examples, to_look_at
from triptych.verbs.shipped import Shipped, shipped

N, COLUMNS = 32, 8
SIDE = 256
"""Pixels to which an example and its answer are brought, side by side."""
INTRO = """Small models that come with the package, each trained in minutes on one CPU core. All of this was drawn just
now, on the machine that you are sitting at.

Nothing is chosen: these are the first samples of seed {seed}."""


@dataclass(frozen=True)
class Shot:
    """What one of the models made."""

    of: Shipped
    model: Generative[Any]
    picture: Image.Image
    alt: str


def gallery(
    out: str | Path, *, seed: int = 0, n: int = N, say: Callable[[str], None] = lambda text: None
) -> tuple[Path, list[Shot]]:
    """Draws n samples of each model that comes with the package, uses those of a task on their example, and writes
    `out`/index.html and a PNG of each.

    The page and what is on it. Raises as the writing of files does.
    """
    path, found = Path(out), []
    path.mkdir(parents=True, exist_ok=True)
    for one in shipped().values():
        say(f"{one.name}: {one.does}")
        shot = shoot(one, n, seed)
        pictures.save_png(shot.picture, path / f"{one.name}.png", {"seed": str(seed), "weights": one.name})
        found.append(shot)
    page = Page(
        title="Gallery",
        intro=INTRO.format(seed=seed),
        models=[section(shot, seed) for shot in found],
        notes=["Samples of a small model are no proof of what its paper's would be."],
    )
    return html.write(page, path / "index.html"), found


def shoot(one: Shipped, n: int, seed: int) -> Shot:
    """Samples of a model; of one that was trained for a task, its example and the answer."""
    model = load(one.folder)
    if saved_task(one.folder) is not None:
        pairs = asked(one, seed)
        sides = [[fitting(picture, SIDE if len(pairs) == 1 else SIDE // 2) for picture in pair] for pair in pairs]
        return Shot(one, model, pictures.rows(sides), f"on the left what was given, on the right {one.does}")
    x = model.sample(n, examples(model, n), seed=seed, how=to_look_at(model))
    space = model.config.x
    texts = medium_of(space).text(space, x[:4])
    if texts is not None:
        return Shot(one, model, pictures.page(texts), one.does)
    if space.planar:
        return Shot(one, model, pictures.grid(x.numpy(), columns=COLUMNS, scale=2), f"{n} samples: {one.does}")
    return Shot(one, model, medium_of(space).sheet(space, x), f"{n} samples: {one.does}")


def asked(one: Shipped, seed: int) -> list[tuple[Image.Image, Image.Image]]:
    """A task's example, as the task shows it, and its answer; of a text, line by line."""
    pipe, example = pipeline(None, one.folder), one.folder / one.example
    brought: list[Any] = one.lines or [example]
    more: dict[str, Any] = {**({"beside": one.folder / one.beside} if one.beside else {}), **one.how}
    found = []
    for each in brought:
        question = pipe.ask(**{pipe.brings: each}, **more)
        found.append((pipe.task.before(question).image(), pipe.answer(question, seed).image()))
    return found


def fitting(picture: Image.Image, height: int) -> Image.Image:
    """Brought to a height: small pictures by whole squares for each pixel."""
    size = (round(picture.width * height / picture.height), height)
    how = Image.Resampling.NEAREST if picture.height < height else Image.Resampling.LANCZOS
    return on_white(picture).resize(size, how)


def section(shot: Shot, seed: int) -> ModelSection:
    one, entry = shot.of, models.find(shot.model.name)
    plate = Plate(image=shot.picture, alt=shot.alt, caption=one.does, protocol=f"the first samples of seed {seed}")
    return ModelSection(
        name=one.name,
        sentence=f"{one.does[0].upper()}{one.does[1:]}.",
        family=entry.family,
        paper=Link(f"{entry.paper.called} ({entry.paper.year})", entry.paper.url),
        facts=[
            Fact("weights", f"{sum(p.numel() for p in shot.model.parameters()):,}, as {shot.model.name}"),
            Fact("trained", f"{one.minutes:g} minutes of one CPU core on {one.data}"),
            *([Fact("measured", one.measured)] if one.measured else []),
            Fact("licence of the data and the weights", one.licence),
            Fact("credit", one.credit),
            Fact("use", use(one), code=True),
            Fact("made by", "\n".join(one.commands), code=True),
        ],
        samples=plate,
    )


def use(one: Shipped) -> str:
    """A command that uses it."""
    task = saved_task(one.folder)
    if task is None:
        return f"triptych sample {one.name} -n 64 --out samples.png"
    return f"triptych apply {one.name} {one.asking} --out {task.name}.png"
