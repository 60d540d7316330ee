"""What a task is: a way to make conditions of data in training, and of a user's own files in use.

A task says which columns of the data become x and its condition (`spaces`, `pose`), what a person hands over to have
it done (`ask`), how the model's x becomes what they take home (`answer`), and what a simple method would do
(`baselines`). `posed(data, task)` is a `Data` like any other: the loop, scores and the contract do not know of tasks.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from triptych.core import (
    FAITHFUL,
    Batch,
    Data,
    Fraction,
    Generative,
    Given,
    Images,
    Noise,
    Picture,
    Sampling,
    Space,
    UsageError,
    config,
    planar,
)
from triptych.data.columns import columns_of, gathered, readings_of
from triptych.data.files import sha256_of
from triptych.data.notebook import html_of_data
from triptych.io import configs
from triptych.media.audio import Clip
from triptych.media.photo import Photo
from triptych.media.reading import Reading
from triptych.media.text import Writing
from triptych.media.video import Film
from triptych.media.work import Work
from triptych.metrics import Measurement
from triptych.nn.symmetries import mirrored

BROUGHT: dict[str, type[Work]] = {"picture": Photo, "sound": Clip, "text": Writing, "video": Film}
"""What a task is asked with, by the name of the first keyword of its `ask`."""


@dataclass(frozen=True, eq=False)
class Question:
    """What a person asks of a trained model with files of their own."""

    brought: Work
    """What they brought: a picture, a sound, a text."""
    given: Given | None
    """The condition, a batch of one; None for a model of p(x), and where it is made of what was brought only as the
    answer is, a part at a time."""
    region: tuple[int, int, int, int] | None = None
    """Top, left, height and width of the part that the condition is about, where it is not the whole picture."""
    mask: Tensor | None = None
    """bool [height, width]: what is to be filled."""
    how: Sampling = FAITHFUL
    """Options of sampling that they asked for."""
    under: Photo | None = None
    """The picture that is to be completed, where something else is brought."""
    said: Mapping[str, str] = field(default_factory=dict)
    """What is written into the answer's file, where there is room for words: the caption."""

    @property
    def photo(self) -> Photo:
        """The picture that they brought: what comes back is as deep and as transparent as this."""
        assert isinstance(self.brought, Photo)
        return self.brought


@runtime_checkable
class Task(Protocol):
    """One page of `triptych.tasks`. Its fields are settings, kept in the run's config.json."""

    name: ClassVar[str]

    @property
    def step(self) -> int | None:
        """Whole pictures can be posed if their sides are multiples of this; None: only crops can."""

    @property
    def model(self) -> str:
        """The model or preset that is trained if none is named."""

    def opens(self, x: Any) -> dict[str, Any]:
        """How data are opened for a model of this x: {"crop": 128}."""

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        """Where x and its condition live, made of these columns. Raises UsageError if they do not do."""

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        """x and conditions of some rows."""

    ask: Callable[..., Question]
    """(model, *, picture, ...) -> the question; its keywords are the flags of `triptych apply`. The first is what is
    brought: its name says what files are taken (`BROUGHT`), and a folder of them may stand in its place."""

    answer: Callable[..., Work]
    """(model, question, *, seed, tile) -> what the model makes of it; the type that it declares to return (`Photo`,
    `Clip`, `Writing`) says what is written, and the endings of its files."""

    def before(self, question: Question) -> Work:
        """What was asked, to look at beside the answers."""

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"] | Sequence[Image.Image]:
        """Conditions as pictures, beside elements `like` these: of the same size, where x is pictures."""

    def measure(self, x: Tensor, truth: Tensor, given: Given) -> list[Measurement]:
        """How near a model's x, as people would take it home, is to the truth (see `metrics.fidelity`)."""

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        """What needs no training, by name: conditions -> x."""


# What some tasks have besides


@config
class Training:
    """How rows are posed in training, of any task that has these fields."""

    mismatched: Fraction = 0.0
    """The share of rows at which a picture that does not belong to the condition counts as generated, so that the
    discriminator learns to look at both (matching-aware negatives): of models that judge a picture beside its
    condition, which pix2pix, spade and pixel-dtgan do."""
    unconditioned: Fraction = 0.0
    """The share of rows whose condition is left blank (condition dropout)."""
    mirrored: bool = False
    """Whether every other row, at random, is seen in a mirror, with its condition where that is a picture: more
    examples of the same, where left could as well be right."""


@runtime_checkable
class Arranges(Protocol):
    def arranged(self, data: Any) -> Data:
        """The data as the task takes them, of what was opened. Raises UsageError for what it cannot be made of."""


@runtime_checkable
class Settles(Protocol):
    def settled(self, data: Any) -> "Task":
        """The task as it is for these data: with their classes, say. Raises UsageError for data that it is not for."""


@runtime_checkable
class Tells(Protocol):
    @property
    def told(self) -> Mapping[str, Any]:
        """Fields of models that have them: {"classes": 17}."""


@runtime_checkable
class Reads(Protocol):
    def brought(self, columns: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, str]:
        """The column that each file is an element of which is asked with, so that it is read as training read that:
        {"picture": "A"}. Files of other names come as they are."""


@runtime_checkable
class Says(Protocol):
    def said(self, data: Any) -> list[str]:
        """Lines about the data, for a person who is about to train on them."""

    def files(self) -> Mapping[str, bytes]:
        """What lies beside a model in the folder of a run, by name."""


@runtime_checkable
class Learns(Protocol):
    def rivals(self, training: Data) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        """Baselines that are made of the training part, by name: conditions -> x."""


@runtime_checkable
class Furthers(Protocol):
    def further(self, model: Generative[Any], test: "Posed", *, limit: int | None, seed: int) -> list[Measurement]:
        """Measures that take more than one answer to each condition, or that learn something first."""


@runtime_checkable
class Looks(Protocol):
    def looks(self, model: Generative[Any], batch: Batch[Any]) -> Sequence[Image.Image]:
        """A further picture of each item, beside what was asked, the answer and the truth; none of some models."""


@runtime_checkable
class Alters(Protocol):
    def altered(self, batch: Batch[Any]) -> Batch[Any]:
        """Rows as they are trained on; those that are held out are not altered. What is drawn comes of their noise."""


@dataclass(frozen=True, eq=False)
class Posed:
    """Data as a task poses them. Satisfies `triptych.core.Data`."""

    data: Any
    task: Task

    @property
    def spaces(self) -> tuple[Space, Space | None]:
        return self.task.spaces(columns_of(self.data))

    @property
    def name(self) -> str:
        return str(self.data.name)

    @property
    def fingerprint(self) -> str:
        return sha256_of(self.data.fingerprint, json.dumps(to_json(self.task), sort_keys=True))

    @property
    def x(self) -> Space:
        return self.spaces[0]

    @property
    def given(self) -> Space | None:
        return self.spaces[1]

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"<data {self.name} for {self.task.name}: {len(self):,} of {self.x}, given {self.given}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html_of_data(self, None)

    def fetch(self, rows: Tensor, noise: Noise) -> Batch[Any]:
        """Rows with their conditions; what a task draws at random comes from the same noise, after the data's own."""
        batch = self.plain(rows, noise)
        if getattr(self.data, "split", "train") not in ("train", "all"):
            return batch
        batch = trained_on(batch, self.task) if isinstance(self.task, Training) else batch
        return self.task.altered(batch) if isinstance(self.task, Alters) else batch

    def plain(self, rows: Tensor, noise: Noise) -> Batch[Any]:
        """As `fetch`, without what is done in training alone."""
        columns = gathered(self.data, rows, noise)
        x, given = self.task.pose(columns, noise)
        return Batch[Any](x, given, noise, lengths=columns.get("lengths"))

    def held_out(self) -> "Posed | None":
        held = self.data.held_out()
        return None if held is None else Posed(held, self.task)

    def training_part(self) -> "Posed":
        return Posed(self.data.training_part(), self.task)

    @property
    def opened(self) -> Mapping[str, Any] | None:
        """How to open the data again."""
        found: Mapping[str, Any] | None = getattr(self.data, "opened", None)
        return found

    @property
    def readings(self) -> Mapping[str, Reading]:
        """How the files of each column were read."""
        return readings_of(self.data)

    @property
    def problems(self) -> list[Any]:
        return list(getattr(self.data, "problems", []))

    labels = classes = captions = tokenizer = truth = None


def of_pictures(space: Space | None, column: str, task: str, drawn: bool = True) -> Images:
    """The space of a column that a task takes pictures from; `drawn`: grey or in colour, and no label maps.

    Raises UsageError for all else.
    """
    if not planar(space):
        raise UsageError(f"{task} is for pictures; {column} holds {space}")
    if drawn and (space.channels not in (1, 3) or (space.channels == 3 and space.levels == 2)):
        maps = ' (map-to-photo is for label maps; index="" reads them as pictures)' if space.levels == 2 else ""
        raise UsageError(f"{task} is for pictures, grey or in colour; {column} holds {space}{maps}")
    return space


def trained_on(batch: Batch[Any], how: Training) -> Batch[Any]:
    """The batch with some rows in a mirror, some conditions blank, and some rows marked as `Batch.fakes` takes them."""
    given, wrong, noise, x = batch.given, None, batch.noise, batch.x
    if how.mirrored:
        x, *grid = mirrored(noise, x, *([given.grid] if isinstance(given, Picture) else []))
        given = Picture(*grid) if grid else given
    if how.unconditioned:
        blank = noise.uniform() < how.unconditioned
        given = given.map(lambda t: torch.where(blank.view(-1, *[1] * (t.dim() - 1)), torch.zeros_like(t), t))
    if how.mismatched:
        wrong = noise.uniform() < how.mismatched
    return replace(batch, x=x, given=given, wrong=wrong)


def posed(data: Data, task: Task) -> Posed:
    """Data with the conditions of a task. Raises UsageError, naming the data, if the task does not take them."""
    if getattr(task, "paired", False) and not getattr(data, "paired", True):
        raise UsageError(
            f"{data.name}: {task.name} learns from pairs, and these pictures do not belong together; name those "
            "that do alike and open them as pairs, or take unpaired-translation"
        )
    try:
        data = task.arranged(data) if isinstance(task, Arranges) else data
        settled = task.settled(data) if isinstance(task, Settles) else task
        made = Posed(data, settled)
        _ = made.spaces
    except UsageError as e:
        raise UsageError(f"{data.name}: {e}") from e
    return made


def to_json(task: Task) -> dict[str, Any]:
    return {"name": task.name, **configs.to_json(task)}
