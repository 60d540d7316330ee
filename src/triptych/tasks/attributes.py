"""Attributes: a face with a smile, with glasses, with long hair; what is not named stays as it is.

The data are faces with columns of two words each: of metadata.csv (smiling: yes or no; hair: short or long), or of a
CelebA attribute file. A model learns from all faces what each attribute looks like; nobody need be there with and
without.

    triptych train attributes --data anny-heads --out runs/face attributes=smiling,glasses,hair,sex
    triptych apply runs/face --picture face.png --set smiling=yes,glasses=no --out happy.png
    triptych apply runs/face --picture face.png --set hair=0.5 --out between.png
    triptych apply runs/face --picture face.png --strip --out each.png    # each attribute changed, one at a time

Attributes that are not named are those that the model's own discriminator reads off the picture. A picture of any size
is brought to that of the model, as by `aging`; no detector of faces is part of this.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import Generative, Given, Images, Noise, Picture, Space, UsageError, config
from triptych.core.classes import listed
from triptych.core.problems import suggest
from triptych.data.columns import columns_of
from triptych.media.photo import Photo, read_photo
from triptych.metrics import Measurement, Trained, fidelity
from triptych.tasks.aging import SECONDS, pictures_of, rows_of
from triptych.tasks.faces import beside, drawn, eyes_in, face
from triptych.tasks.task import Posed, Question, of_pictures
from triptych.tasks.translation import in_channels

ON, OFF = ("yes", "true", "on", "1"), ("no", "false", "off", "0", "-1")
"""Words for having an attribute, and for not having it."""
ITEMS = 200
"""Held-out faces that each attribute is changed of, at most."""


@runtime_checkable
class Reads(Protocol):
    """A model that also says what a picture is of."""

    def read(self, x: Tensor) -> Tensor: ...


@config
class Attributes:
    name: ClassVar[str] = "attributes"
    step: ClassVar[None] = None

    attributes: str = ""
    """Columns of two words each, with commas between; if nothing is said, all that there are."""
    words: tuple[tuple[str, str], ...] = ()
    """What not having and having each is called; if nothing is said, as the data say."""
    eyes: tuple[float, ...] = ()
    """Where eyes are on average (x, y, x, y in pixels); if nothing is said, as the data say."""

    @property
    def model(self) -> str:
        return "stargan-faces"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(word.strip() for word in self.attributes.split(",") if word.strip())

    @property
    def told(self) -> Mapping[str, Any]:
        return {"exclusive": False}

    def opens(self, x: Images) -> dict[str, Any]:
        return {"size": x.height, "channels": x.channels}

    # Training

    def settled(self, data: Any) -> Self:
        """With the names and the words of the data. Raises UsageError for columns that are no attributes."""
        columns = columns_of(data)
        two: dict[str, Any] = {name: space for name, space in columns.items() if space.classed and space.choices == 2}
        unknown = [name for name, space in columns.items() if space.optional and space.choices == 2]
        for name in self.names:
            if name in unknown:
                raise UsageError(
                    f"{name} is not known of every row: fill it in, or take those rows out of metadata.csv or the list"
                )
            if name not in two:
                there = f"there are {listed(tuple(two))}" if two else "there is no such column"
                raise UsageError(f"{name} is no column of two words{suggest(name, list(two))}; {there}")
        names = self.names or tuple(name for name in two if name != "label")
        if len(names) < 2:
            raise UsageError(
                "attributes are two columns or more of two words each: of metadata.csv (file_name,smiling,glasses), or "
                f"of CelebA's list_attr_celeba.txt; {'there is only ' + names[0] if names else 'there is none'}"
            )
        words = tuple((two[name].called[0], two[name].called[1]) for name in names)
        ordered = tuple((a, b) if a.lower() not in ON else (b, a) for a, b in words)
        if self.words and self.words != ordered:
            raise UsageError(f"the data call attributes {ordered}, and the model {self.words}: name them alike")
        return replace(self, attributes=",".join(names), words=ordered, eyes=self.eyes or eyes_in(data))

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x = of_pictures(columns["x"], "x", self.name)
        lacking = [name for name in self.names if name not in columns]
        if lacking:
            raise UsageError(f"there is no column {lacking[0]}, which the model was trained with")
        return x, replace(x, channels=x.channels + len(self.names))

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        x = columns["x"]
        return x, beside(x, torch.stack([columns[name] for name in self.names], 1).to(x.dtype))

    # Use

    def ask(
        self, model: Generative[Any], *, picture: Path, set: str = "", strip: bool = False, eyes: str = ""
    ) -> Question:
        """picture: a face, a file of any size (or a PIL image, or an array).
        set: attributes and what they should be, smiling=yes,glasses=no: a word of the data's, yes or no, or a number
        from 0 to 1.
        strip: as it is, then with each attribute changed to the other, side by side.
        eyes: where they are in the picture, x,y,x,y in pixels, to be turned and scaled by; else the middle is taken.
        """
        if bool(set) == strip:
            raise UsageError(
                f"editing takes one of set= and strip=True; as in --set {self.names[0]}={self.words[0][1]}, or --strip"
            )
        photo = read_photo(picture).opaque()
        x = face(photo, model.config.x, eyes, self.eyes)
        now = self.read(model, x)
        if strip:
            wanted = now.repeat(len(self.names) + 1, 1)
            for k in range(len(self.names)):
                wanted[k + 1, k] = 1 - now[0, k]
        else:
            wanted = now.clone()
            for name, amount in self.parsed(set).items():
                wanted[0, self.names.index(name)] = amount
        return Question(photo, beside(x.expand(len(wanted), -1, -1, -1), wanted))

    def read(self, model: Generative[Any], x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n attributes"]:
        """0 or 1 for each attribute, as the model reads it off pictures. Raises UsageError for one that cannot."""
        if not isinstance(model, Reads):
            raise UsageError(f"{model.name} does not say what attributes a picture has; stargan does")
        with torch.no_grad():
            return (model.read(x.to(model.device)).cpu() > 0.5).to(x.dtype)

    def parsed(self, text: str) -> dict[str, float]:
        """smiling=yes,glasses=0.5 -> how much of each. Raises UsageError."""
        found = dict[str, float]()
        for part in text.split(","):
            name, equals, word = (piece.strip() for piece in part.partition("="))
            if name not in self.names:
                raise UsageError(
                    f"the model knows no attribute {name!r}{suggest(name, list(self.names))}; it knows "
                    f"{listed(self.names)}"
                )
            off, on = self.words[self.names.index(name)]
            if not equals or word.lower() in (on.lower(), *ON):
                found[name] = 1.0
            elif word.lower() in (off.lower(), *OFF):
                found[name] = 0.0
            else:
                try:
                    found[name] = float(word)
                except ValueError:
                    found[name] = -1.0
                if not 0 <= found[name] <= 1:
                    raise UsageError(f"{name}={word}: it is {off} or {on}, yes or no, or a number from 0 to 1")
        return found

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
        """PSNR and SSIM of a face drawn with the attributes that it has."""
        return [
            replace(m, name=f"{m.name}, nothing changed", protocol=f"{m.protocol}; a face drawn with what it has")
            for m in fidelity(x, truth).measurements()
        ]

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {}

    def further(self, model: Generative[Any], test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """Of each attribute, how many answers with it changed are taken for changed by a classifier that was trained
        apart, and how many others that it reads stay as they were."""
        training, data = test.training_part().data, test.data
        x, seen = pictures_of(data), pictures_of(training)
        n = min(len(data), limit or ITEMS)
        rows = torch.arange(n) * len(data) // n
        truth = torch.stack([rows_of(data, name) for name in self.names], 1)
        readers = [Trained.classifier(seen, rows_of(training, name), 2, seconds=SECONDS / 2) for name in self.names]
        found, kept = list[Measurement](), list[Tensor]()
        before = torch.stack([reader.probabilities(x[rows]).argmax(1) for reader in readers], 1)
        for k, (name, reader) in enumerate(zip(self.names, readers, strict=True)):
            wanted = truth[rows].to(x.dtype)
            wanted[:, k] = 1 - wanted[:, k]
            made = torch.cat(
                [
                    model.sample(len(some), beside(x[rows[some]], wanted[some]).to(model.device), seed=seed).cpu()
                    for some in torch.split(torch.arange(n), 50)
                ]
            )
            after = torch.stack([one.probabilities(made).argmax(1) for one in readers], 1)
            kept.append(
                torch.cat([after[:, :k], after[:, k + 1 :]], 1) == torch.cat([before[:, :k], before[:, k + 1 :]], 1)
            )
            right = (before[:, k] == truth[rows, k]).double().mean().item()
            found.append(
                Measurement(
                    name=f"{name} changed",
                    value=(after[:, k] == wanted[:, k]).double().mean().item(),
                    unit="share",
                    better="higher",
                    protocol="answers that a classifier trained apart takes for what was asked "
                    f"(sha256 {reader.sha256[:8]}, {len(seen):,} training pictures)",
                    n=f"{n} held-out faces, each with {name} as it is not",
                    baselines={"copy": (before[:, k] == wanted[:, k]).double().mean().item()},
                    floor=right,
                )
            )
        return [
            *found,
            Measurement(
                name="others kept",
                value=torch.stack(kept).double().mean().item(),
                unit="share",
                better="higher",
                protocol="attributes that were not to change and are read as they were before, by the same classifiers",
                n=f"{n} held-out faces, {len(self.names)} times",
                baselines={"copy": 1.0},
            ),
        ]
