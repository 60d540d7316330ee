"""Using a trained model on files of one's own: what was posed in training is asked again, of one picture or many."""

import hashlib
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_type_hints

import torch
from PIL import Image

import triptych
from triptych import tasks
from triptych.core import Generative, UsageError, evaluating
from triptych.core.problems import suggest
from triptych.io import commit, folder
from triptych.media import pictures
from triptych.media.images import on_white
from triptych.media.reading import Reading
from triptych.media.text import Writing
from triptych.media.work import Work
from triptych.tasks.task import BROUGHT, Question, Reads, Task
from triptych.verbs.create import load
from triptych.verbs.opening import readings
from triptych.verbs.posing import saved_task
from triptych.verbs.shipped import located

log = logging.getLogger(__name__)

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


def flags_of(kind: type[Task]) -> dict[str, Parameter]:
    """The keywords that a task's `ask` takes, with their types."""
    types = get_type_hints(kind.ask)
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


@dataclass(frozen=True)
class Job:
    """One question to be answered into one file for each seed."""

    asked: dict[str, Any]
    outs: dict[int, Path]
    """By seed."""
    name: str
    """What to call it: the file that is asked about."""


def jobs(
    asked: dict[str, Any], out: Path, seeds: Sequence[int], gives: type[Work], brings: str, lines: bool = False
) -> list[Job]:
    """A job for what is brought, or for each file of a folder; what else is a folder is matched by the names in it.
    With `lines`, each line of a text is one that is brought, and "-" is standard input.

    Raises UsageError for an empty folder, a missing partner, or a name that cannot be written.
    """
    brought = asked[brings]
    if lines and not (isinstance(brought, Path) and brought.is_dir()):
        return spoken(asked, out, seeds, gives, brings)
    one = isinstance(brought, Path) and brought.is_dir() and brings in BROUGHT and BROUGHT[brings].whole(brought)
    if one or not (isinstance(brought, Path) and brought.is_dir()):
        gives.check_ending(out.suffix, str(out))
        return [Job(asked, {s: named(out, s, seeds) for s in seeds}, str(brought))]
    if out.suffix and not out.is_dir():
        raise UsageError(f"{out}: the {brings}s of a folder go into a folder; name one without an ending")
    suffixes, ending = BROUGHT[brings].suffixes if brings in BROUGHT else frozenset[str](), gives.endings[0]
    files = files_in(brought, suffixes)
    if not files:
        raise UsageError(f"{brought} holds no {brings}s ({', '.join(sorted(suffixes))})")
    partners = {name: by_stem(value) for name, value in asked.items() if isinstance(value, Path) and value.is_dir()}
    found, taken = [], dict[str, Path]()
    for file in files:
        if file.stem in taken:
            raise UsageError(f"{taken[file.stem]} and {file} would both be written as {file.stem}{ending}: rename one")
        taken[file.stem] = file
        own = dict(asked)
        for name, partner in partners.items():
            if file.stem not in partner:
                raise UsageError(f"{asked[name]} has no file that belongs to {file.name}: its name begins the same")
            own[name] = partner[file.stem]
        own[brings] = file
        found.append(Job(own, {s: named(out / f"{file.stem}{ending}", s, seeds) for s in seeds}, str(file)))
    return found


def spoken(asked: dict[str, Any], out: Path, seeds: Sequence[int], gives: type[Work], brings: str) -> list[Job]:
    """A job for each line of a text. Raises UsageError for none, and where several have the name of one file."""
    brought = asked[brings]
    text = sys.stdin.read() if brought == "-" else Writing.read(brought).text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 2:  # an empty one is the task's to refuse
        gives.check_ending(out.suffix, str(out))
        return [Job({**asked, brings: "".join(lines)}, {s: named(out, s, seeds) for s in seeds}, "".join(lines))]
    if out.suffix and not out.is_dir():
        raise UsageError(f"{out}: the pictures of {len(lines)} lines go into a folder; name one without an ending")
    ending, digits = gives.endings[0], len(str(len(lines)))
    found = []
    for k, line in enumerate(lines, 1):
        file = out / f"{k:0{digits}d}-{slug(line)}{ending}"
        found.append(Job({**asked, brings: line}, {s: named(file, s, seeds) for s in seeds}, line))
    return found


def slug(text: str, most: int = 40) -> str:
    """A text as a part of a file's name: "red-heart"."""
    return re.sub(r"[^\w]+", "-", text.lower())[:most].strip("-") or "text"


def files_in(path: Path, suffixes: frozenset[str]) -> list[Path]:
    """Those of a folder whose names end so, hidden ones left out."""
    return sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))


def by_stem(path: Path) -> dict[str, Path]:
    """The files of a folder of any kind that is brought, by their names without the ending."""
    return {p.stem: p for p in files_in(path, frozenset().union(*(kind.suffixes for kind in BROUGHT.values())))}


def named(out: Path, seed: int, seeds: Sequence[int]) -> Path:
    return out if len(seeds) == 1 else out.with_name(f"{out.stem}-{seed}{out.suffix}")


@dataclass(frozen=True, eq=False)
class Answered:
    """One thing that was asked about."""

    name: str
    refused: str | None = None
    """Why there is no answer."""
    before: Work | None = None
    after: tuple[Work, ...] = ()
    files: tuple[Path, ...] = ()


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
