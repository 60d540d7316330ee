"""Ageing: a face, older or younger.

The data are faces with an age: a column `age` of metadata.csv, or files called as those of UTKFace
(age_gender_race_date.jpg). Nobody need be there twice: a model learns from faces of all ages what age looks like. Ages
become shares of a few ordered groups, spread over the ages that there are; an age between two groups has a share of
either, so that any age can be asked for, and a model learns of each what its neighbours have in common.

    triptych train aging --data anny-heads --out runs/age
    triptych apply runs/age --picture face.png --age 60 --out older.png
    triptych apply runs/age --picture face.png --strip --out ages.png          # at the age of every group

A picture of any size is brought to that of the model: cut to its middle or, with --eyes x,y,x,y, turned and scaled so
that the eyes lie where they did in training. No detector of faces is part of this. `--model stargan-faces` is the
other route: it changes a picture where age shows, where `caae` draws it anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import Count, Generative, Given, Images, ItemNoise, Noise, Picture, Space, UsageError, config
from triptych.data.columns import columns_of, gathered
from triptych.media.photo import Photo, read_photo
from triptych.metrics import Measurement, fidelity
from triptych.metrics.regression import Regressor
from triptych.metrics.trained import Trained
from triptych.tasks.faces import beside, drawn, eyes_in, face
from triptych.tasks.task import Posed, Question, of_pictures
from triptych.tasks.translation import in_channels

SECONDS = 40.0
"""Of a core, about, that each of the networks learns that answers are measured by."""
PEOPLE = ("person", "identity", "subject", "id")
"""Columns that say who somebody is."""
ITEMS = 320
"""Answers that are measured, at most."""


@config
class Aging:
    name: ClassVar[str] = "aging"
    step: ClassVar[None] = None

    column: str = "age"
    """The column that says how old somebody is, in years."""
    groups: Count = 8
    """How many ages stand for all: the youngest, the oldest, and between them as many pictures from one to the next."""
    ages: tuple[float, ...] = ()
    """These ages; if nothing is said, those of the data."""
    eyes: tuple[float, ...] = ()
    """Where eyes are on average (x, y, x, y in pixels); if nothing is said, as the data say."""

    @property
    def model(self) -> str:
        return "caae-64"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"size": x.height, "channels": x.channels}

    # Training

    def settled(self, data: Any) -> Self:
        """With the ages of the data. Raises UsageError for data that say none."""
        self.check(data)
        if self.ages:
            if list(self.ages) != sorted(set(self.ages)) or len(self.ages) < 2:
                raise UsageError(f"ages={list(self.ages)}: two or more, each above the one before")
            return self
        if self.groups < 2:
            raise UsageError(f"groups={self.groups}: ageing goes from one group to another, so two or more")
        values = ages_of(data, self.column).numpy()
        found = np.unique(np.quantile(values, np.linspace(0, 1, self.groups)).round(2))
        if len(found) < 2:
            raise UsageError(f"every {self.column} is {values[0]:g}: ageing is learned from faces of several ages")
        return replace(self, ages=tuple(found.tolist()), eyes=self.eyes or eyes_in(data))

    def check(self, data: Any) -> None:
        """Raises UsageError for a source without ages, with what it says of them."""
        columns = columns_of(data)
        if self.column not in columns:
            notes = [*getattr(getattr(getattr(data, "pack", None), "meta", None), "notes", ())]
            about = next((note for note in notes if f"{self.column} (" in note and "not used" in note), "")
            rows = f"; {about}: give each row its age, or take the row out" if about else ""
            others = [name for name, space in columns.items() if space.measure == "density" and name != "x"]
            hint = f"; say column={others[0]} if that is one" if others else ""
            raise UsageError(
                f"there is no column {self.column}{rows}{hint}: ages are a column of metadata.csv (file_name,age), or "
                "in the names of files as UTKFace has them (25_0_1_20170116.jpg)"
            )
        space = columns[self.column]
        if space.measure != "density" or space.shape != (1,):
            raise UsageError(f"{self.column} holds {space}: an age is a number of years")

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x = of_pictures(columns["x"], "x", self.name)
        return x, replace(x, channels=x.channels + len(self.ages))

    def shares(self, ages: Float[Tensor, " n"]) -> Float[Tensor, "n groups"]:
        """How much of each group an age is: all of one at its own age, and in proportion to two between."""
        known = torch.tensor(self.ages, dtype=ages.dtype, device=ages.device)
        ages = ages.clamp(known[0], known[-1])
        above = torch.searchsorted(known, ages.contiguous()).clamp(1, len(known) - 1)
        part = (ages - known[above - 1]) / (known[above] - known[above - 1])
        out = ages.new_zeros(len(ages), len(known))
        return out.scatter(1, above[:, None] - 1, 1 - part[:, None]).scatter(1, above[:, None], part[:, None])

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        x = columns["x"]
        return x, beside(x, self.shares(columns[self.column].flatten()))

    # Use

    def ask(
        self, model: Generative[Any], *, picture: Path, age: float | None = None, strip: bool = False, eyes: str = ""
    ) -> Question:
        """picture: a face, a file of any size (or a PIL image, or an array).
        age: how old it should be, in years: older or younger.
        strip: at the age of every group, side by side, the youngest first.
        eyes: where they are in the picture, x,y,x,y in pixels, to be turned and scaled by; else the middle is taken.
        """
        if (age is None) == (not strip):
            raise UsageError(
                "ageing takes one of age= (in years) and strip=True (every age); as in --age 60, or --strip"
            )
        if age is not None and not self.ages[0] <= age <= self.ages[-1]:
            raise UsageError(
                f"age={age:g}: the model was trained on ages from {self.ages[0]:g} to {self.ages[-1]:g}, and knows "
                "nothing of others"
            )
        photo = read_photo(picture).opaque()
        x = face(photo, model.config.x, eyes, self.eyes)
        ages = torch.tensor(self.ages if age is None else [age], dtype=x.dtype)
        return Question(photo, beside(x.expand(len(ages), -1, -1, -1), self.shares(ages)))

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture as large as those that the model was trained to draw; of a strip, as many side by side."""
        return drawn(model, question, seed)

    def before(self, question: Question) -> Photo:
        return question.photo

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        assert isinstance(given, Picture)
        return in_channels(given.grid[:, : like.shape[1]], like.shape[1])

    # Measures

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR and SSIM of a face drawn at its own age."""
        return [
            replace(m, name=f"{m.name}, own age", protocol=f"{m.protocol}; a face drawn at its own age")
            for m in fidelity(x, truth).measurements()
        ]

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {}

    def further(self, model: Generative[Any], test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """How old answers look to a network that learned ages apart; and, where the data say who is who, how like they
        are to the same person at that age, and to somebody else."""
        training, data = test.training_part().data, test.data
        reader = Regressor.trained(pictures_of(training), ages_of(training, self.column), seconds=SECONDS)
        n = min(len(data), limit or ITEMS)
        start = torch.arange(n) * len(data) // n
        ages, who = ages_of(data, self.column), people_of(data)
        x = pictures_of(data)
        target = partners(who, len(data), seed)[start]
        asked = ages[target]
        answers = torch.cat(
            [
                model.sample(len(rows), beside(x[start[rows]], self.shares(asked[rows])).to(model.device), seed=seed)
                for rows in torch.split(torch.arange(n), 50)
            ]
        ).cpu()
        about = f"by a network trained apart (sha256 {reader.sha256[:8]}; {reader.about})"
        read, before = reader(answers), reader(x[start])
        held = (reader(x) - ages).abs().mean().item()
        found = []
        for way, these in (("older", asked > ages[start]), ("younger", asked < ages[start])):
            if these.any():
                found.append(
                    Measurement(
                        name=f"age error, {way}",
                        value=(read - asked)[these].abs().mean().item(),
                        unit="years",
                        better="lower",
                        protocol=f"|age read - age asked for|, {about}",
                        n=f"{int(these.sum())} held-out faces made {way}",
                        baselines={"copy": (before - asked)[these].abs().mean().item()},
                        floor=held,
                    )
                )
        if who is not None:
            found += self.alike(training, answers, x, start, target, who)
        return found

    def alike(
        self, training: Any, answers: Tensor, x: Tensor, start: Tensor, target: Tensor, who: Tensor
    ) -> list[Measurement]:
        """Against the same person at that age, and against somebody else."""
        names = people_of(training)
        assert names is not None
        numbers = torch.unique(names, return_inverse=True)[1]
        net = Trained.classifier(pictures_of(training), numbers, seconds=SECONDS)
        mean = net(pictures_of(training)).mean(0)  # so that what all faces share does not count
        made, truth, first = (
            torch.nn.functional.normalize(net(some) - mean) for some in (answers, x[target], x[start])
        )
        other = strangers(who[start])
        same = (made * truth).sum(1).mean().item()
        psnr = fidelity(answers, x[target]).measurements()[0]
        copied = fidelity(x[start], x[target]).measurements()[0]
        n = f"{len(start)} held-out faces"
        return [
            Measurement(
                name="identity cosine",
                value=same,
                unit="",
                better="higher",
                protocol="cosine between features of an answer and of the true picture of that person at that age; "
                f"features of a classifier of the training people, less their mean (sha256 {net.sha256[:8]}; "
                f"{net.about})",
                n=n,
                baselines={
                    "copy": (first * truth).sum(1).mean().item(),
                    "another person's truth": (made * truth[other]).sum(1).mean().item(),
                },
            ),
            replace(
                psnr,
                name="PSNR, true pairs",
                protocol=f"{psnr.protocol}; an answer against that person at that age",
                n=n,
                baselines={"copy": copied.value},
            ),
        ]


def rows_of(data: Any, column: str) -> Tensor:
    """The values of a column, of all rows of a part."""
    rows = torch.arange(len(data))
    parts = [gathered(data, some, ItemNoise(0, some.tolist()))[column] for some in torch.split(rows, 200)]
    return torch.cat(parts)


def ages_of(data: Any, column: str) -> Float[Tensor, " n"]:
    return rows_of(data, column).flatten().float()


def pictures_of(data: Any) -> Float[Tensor, "n c h w"]:
    return rows_of(data, "x")


def people_of(data: Any) -> Tensor | None:
    """Who is on each picture, as numbers; None where the data do not say it."""
    name = next((name for name in PEOPLE if name in columns_of(data)), None)
    return None if name is None else rows_of(data, name).flatten()


def partners(who: Tensor | None, n: int, seed: int) -> Tensor:
    """For each row another one, whose age is asked for: of the same person, where it is known who is who."""
    noise = torch.Generator().manual_seed(seed)
    if who is None:
        return (torch.arange(n) + torch.randint(1, max(n, 2), (n,), generator=noise)) % n
    out = torch.arange(n)
    for person in torch.unique(who):
        rows = torch.nonzero(who == person).flatten()
        if len(rows) > 1:
            far = torch.randint(1, len(rows), (len(rows),), generator=noise)
            out[rows] = rows[(torch.arange(len(rows)) + far) % len(rows)]
    return out


def strangers(who: Tensor) -> Tensor:
    """For each row the next one that shows somebody else."""
    n = len(who)
    found = torch.arange(n)
    for step in range(1, n):
        same = who[found] == who
        found = torch.where(same, (torch.arange(n) + step) % n, found)
    return found
