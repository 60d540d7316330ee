"""Using a trained model on files of one's own: what was posed in training is asked again, of one picture or many."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError

import triptych
from triptych import tasks
from triptych.core import Generative, UsageError, evaluating
from triptych.core.problems import suggest
from triptych.io import commit, folder
from triptych.media import pictures
from triptych.media.images import on_white
from triptych.media.photo import Photo
from triptych.media.reading import Reading
from triptych.media.work import Work
from triptych.tasks.task import Question, Reads, Task
from triptych.verbs.create import load
from triptych.verbs.jobs import Job
from triptych.verbs.opening import readings
from triptych.verbs.posing import saved_task
from triptych.verbs.shipped import located

SHOWN = 320
"""Pixels of the longer side of a picture on a sheet."""
MOST_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A trained model and what it is used for: call it with what `task.ask` takes.

    pipeline("super-resolution", "runs/sr")("small.png").save("large.png")
    """

    model: Generative[Any]
    task: Task
    run: str
    """The first digits of the sha256 of the model's weights."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """How training read the files of each column; those of the older runs do not say it."""

    def __repr__(self) -> str:
        return f"<{self.task.name} by {self.model!r}: takes {', '.join(self.flags)}>"

    def __call__(self, *brought: Any, seed: int = 0, tile: int | None = None, as_is: bool = False, **asked: Any) -> Any:
        """What the model makes of what is brought: of a picture, a file's name, a PIL image or an array; of a text, the
        words. Other keywords are the task's; for the rest see `apply`.

        The answer is a `Photo`, a `Clip` or a `Writing`, as the task has it.
        """
        if len(brought) > 1:
            raise UsageError(f"{self.task.name} takes one {self.brings}, and the rest by name: {', '.join(self.flags)}")
        asked = {**dict.fromkeys([self.brings][: len(brought)], *brought), **asked}
        return self.answer(self.ask(as_is=as_is, **asked), seed, tile)

    def ask(self, *, as_is: bool = False, **asked: Any) -> Question:
        takes = self.flags
        for name in asked:
            if name not in takes:
                raise UsageError(f"{self.task.name} takes no {name}{suggest(name, list(takes))}")
        for name, parameter in takes.items():
            if parameter.default is Parameter.empty and name not in asked:
                raise UsageError(f"{self.task.name} needs {name}=")
            if name in asked and get_origin(parameter.annotation) is Annotated:
                check_value(name, asked[name], parameter.annotation)
        return self.task.ask(self.model, **asked if as_is else self.as_read(asked))

    def as_read(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What is asked, with files read as those of training were."""
        if not self.readings or not isinstance(self.task, Reads):
            return asked
        columns = self.task.brought(self.readings, asked)
        readings = {name: self.readings[column] for name, column in columns.items() if column in self.readings}
        found = {name: one.brought(asked[name]) for name, one in readings.items() if asked.get(name) is not None}
        return {**asked, **found}

    def answer(self, question: Question, seed: int = 0, tile: int | None = None) -> Work:
        with evaluating(self.model), torch.no_grad():
            return self.task.answer(self.model, question, seed=seed, tile=tile)

    @property
    def flags(self) -> dict[str, Parameter]:
        """What `ask` takes, by name."""
        return flags_of(type(self.task))

    @property
    def brings(self) -> str:
        """The first of them: what is brought."""
        return next(iter(self.flags))

    @property
    def gives(self) -> type[Work]:
        """What an answer is."""
        found: type[Work] = get_type_hints(type(self.task).answer)["return"]
        return found

    def about(self, seed: int) -> dict[str, str]:
        """What is written into a file that has room for it."""
        said = {"task": self.task.name, "model": self.model.name, "run": self.run, "seed": str(seed)}
        return said | {"software": f"triptych {triptych.__version__}"}


def check_value(name: str, value: Any, kind: Any) -> None:
    """Raises UsageError for a value that a flag does not take: `Positive` and the like."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as e:
        raise UsageError(f"{name}={value}: {e.errors()[0]['msg']}") from None


def flags_of(kind: type[Task]) -> dict[str, Parameter]:
    """The keywords that a task's `ask` takes, with their types."""
    types = get_type_hints(kind.ask, include_extras=True)
    found = {name: p for name, p in signature(kind.ask).parameters.items() if p.kind is Parameter.KEYWORD_ONLY}
    return {name: p.replace(annotation=types[name]) for name, p in found.items()}


def pipeline(name: str | None, run: str | Path, device: torch.device | str = "cpu") -> Pipeline:
    """The model of a run, ready for a task; without a name, for the one that it was trained for.

    Raises UsageError if it was trained for another, or for none and nothing is said.
    """
    path = located(run)
    model, trained = load(path).to(device), saved_task(path)
    if name is None and trained is None:
        raise UsageError(f"{path} was not trained for a task; say for which it is to be used: {', '.join(tasks.TASKS)}")
    if trained is not None and name not in (None, trained.name):
        raise UsageError(f"{path} was trained for {trained.name}, not for {name}")
    make: Any = None if trained is not None else tasks.find(str(name))
    weights = commit.read(path, [folder.WEIGHTS])[folder.WEIGHTS]
    return Pipeline(model, trained or make(), hashlib.sha256(weights).hexdigest()[:12], readings(path))


def apply(
    run: str | Path,
    *,
    task: str | None = None,
    seed: int = 0,
    tile: int | None = None,
    as_is: bool = False,
    device: torch.device | str = "cpu",
    **asked: Any,
) -> Any:
    """What a run's model makes of a file: `apply("runs/sr", picture="small.png").save("large.png")`.

    task    what for, where the run does not say: "inpainting" with an autoregressive model.
    seed    decides what is drawn at random.
    tile    pixels of the picture that are worked on at a time, to a side; memory grows with it, and with it only.
    as_is   a picture is taken at its own size and as a whole, even if those of training were brought to one size, or
            were halves of their files.
    asked   what the task takes: picture, and of inpainting mask, invert_mask, hide. Pictures are names of files, PIL
            images or arrays.

    Returns what the task makes: a `Photo`, a `Clip`, a `Writing`. Raises UsageError for a file that is no picture, or
    is not what the task takes, naming it.
    """
    return pipeline(task, run, device)(seed=seed, tile=tile, as_is=as_is, **asked)


@dataclass(frozen=True, eq=False)
class Answered:
    """One thing that was asked about."""

    name: str
    refused: str | None = None
    """Why there is no answer."""
    before: Work | None = None
    after: tuple[Work, ...] = ()
    files: tuple[Path, ...] = ()


def same(one: Answered) -> bool:
    """Whether pictures of several seeds are all alike."""
    photos = [work for work in one.after if isinstance(work, Photo)]
    return len(photos) > 1 and all(np.array_equal(photos[0].pixels, other.pixels) for other in photos[1:])


def answers(pipe: Pipeline, todo: Sequence[Job], *, tile: int | None = None, as_is: bool = False) -> Iterator[Answered]:
    """Works a list of jobs off, one file at a time; what cannot be answered is named, and the others go on."""
    for job in todo:
        try:
            question = pipe.ask(as_is=as_is, **job.asked)
        except UsageError as e:
            yield Answered(job.name, refused=str(e))
            continue
        made = []
        for seed, out in job.outs.items():
            work = pipe.answer(question, seed, tile)
            work.save(out, pipe.about(seed) | dict(question.said))
            made.append(work)
        yield Answered(job.name, None, pipe.task.before(question), tuple(made), tuple(job.outs.values()))


def sheet(found: Sequence[Answered], truths: dict[str, Path] | None = None) -> Image.Image:
    """A row a question: what was asked, the answers, and the truth where there is one."""
    rows = []
    for one in [a for a in found if a.after][:MOST_SHOWN]:
        assert one.before is not None
        cells = [one.before, *one.after]
        truth = (truths or {}).get(Path(one.name).stem)
        cells += [type(one.after[0]).read(truth)] if truth is not None else []
        images = [cell.image() for cell in cells]
        width, height = images[1].size  # of the first answer
        scale = min(1.0, SHOWN / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        same = isinstance(one.before, type(one.after[0]))  # else what was asked keeps its own shape
        images[1:] = [on_white(image).resize(size, resampling(image, size)) for image in images[1:]]
        images[0] = on_white(images[0]).resize(size, resampling(images[0], size)) if same else images[0]
        rows.append(images)
    if not rows:
        raise UsageError("nothing was answered: there is nothing to show on a sheet")
    return pictures.rows(rows)


def resampling(cell: Image.Image, size: tuple[int, int]) -> Image.Resampling:
    """Pixels stay squares where they are enlarged."""
    return Image.Resampling.NEAREST if cell.width < size[0] else Image.Resampling.LANCZOS
