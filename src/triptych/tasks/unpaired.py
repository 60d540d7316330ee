"""Translation, unpaired: a picture of one kind into one of another, learned from pictures that do not belong together.

The data are pictures of two kinds, A and B: folders trainA/ and trainB/ (testA/ and testB/ are held out), train_A/ and
train_B/, A/ and B/; two classes of a source, a=sneaker b="ankle boot"; two columns, a=relief b=x; or in Python
`tt.unpaired("horses/", "zebras/")`. Rows of either are drawn on their own. Where they are columns of the same rows,
that is used to measure by, on held-out rows, and never in training.

    triptych train unpaired-translation --data horses2zebras/ --out runs/zebra direction=AtoB
    triptych apply runs/zebra --picture horse.png --out zebra.png

Files are read as those of training were: on white, brought to one size. With --as-is a picture is translated at its own
size, in tiles. A model of both ways
(`--model cyclegan-64`) also goes the other one: --direction BtoA.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import Data, Generative, Given, Images, ItemNoise, Noise, Picture, Space, TwoWay, UsageError, config
from triptych.core.classes import listed
from triptych.data import Unpaired, View
from triptych.data.columns import columns_of
from triptych.inference import tiling
from triptych.media.photo import Photo, read_photo
from triptych.metrics import Measurement, Trained, fidelity, own_nearest
from triptych.tasks.task import Posed, Question, of_pictures
from triptych.tasks.translation import copied, in_channels

Direction = Literal["AtoB", "BtoA"]
LOOKS, SECONDS = 1000, 20.0
"""Training pictures of either kind that a classifier learns to tell them apart by, and for how long."""


@dataclass(frozen=True, eq=False)
class Asked(Question):
    back: bool = False
    """Whether it is to be translated the other way than was trained."""


@config
class UnpairedTranslation:
    name: ClassVar[str] = "unpaired-translation"
    step: ClassVar[None] = None

    direction: Direction = "AtoB"
    """Whether A is translated into B, or B into A."""
    a: str = ""
    """The class, or the column, that is called A here; if nothing is said, the first of two."""
    b: str = ""
    """The class, or the column, that is called B here; if nothing is said, the other one, or x."""
    known: bool = False
    """Whether it is known which pictures belong together: the data say it."""

    @property
    def model(self) -> str:
        return "cut-64"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"size": x.height, "channels": x.channels}

    # The two kinds

    def arranged(self, data: Any) -> Data:
        if isinstance(data, Unpaired):
            return Unpaired(data.b, data.a) if self.direction == "BtoA" and not isinstance(data.b, View) else data
        a, b = self.kinds(data)
        return Unpaired(a, b) if self.direction == "AtoB" else Unpaired(b, a)

    def kinds(self, data: Any) -> tuple[View, View]:
        """Raises UsageError for data of one kind, or of more where nothing says which."""
        columns = columns_of(data)
        pictures = [name for name in columns if name not in ("label", "caption")]
        classes = list(getattr(data, "classes", None) or [])
        names = self.named([name for name in pictures if name != "x"], sorted(classes, key=str.casefold))
        if names[0].casefold() == names[1].casefold():
            raise UsageError(f"a={names[0]} and b={names[1]} are the same: nothing would be translated")
        views = []
        for name, said in zip(names, "ab", strict=True):
            known = [known for known in pictures if known.casefold() == name.casefold()]
            number = [k for k, known in enumerate(classes) if known.casefold() == name.casefold()]
            if not known and not number:
                there = f"there are {listed(tuple(classes) + tuple(pictures[1:]))}" if classes or pictures[1:] else ""
                raise UsageError(f"{said}={name}: there is no such class or column of pictures; {there}")
            views.append(View(data, "x", number[0]) if number else View(data, known[0]))
        if (views[0].label is None) != (views[1].label is None):
            raise UsageError(
                f"a={names[0]} and b={names[1]}: one is a class and the other a column; name two of a kind"
            )
        return views[0], views[1]

    def named(self, columns: list[str], classes: list[str]) -> tuple[str, str]:
        """What A and B are called."""
        if self.a and self.b:
            return self.a, self.b
        if columns and (self.a or len(columns) == 1):
            return self.a or columns[0], self.b or "x"
        if len(classes) == 2 or (len(classes) > 2 and {"a", "b"} <= {name.casefold() for name in classes}):
            first, second = classes[:2]
            return self.a or first, self.b or second
        if not columns and len(classes) < 2:
            only = f", {classes[0]}" if classes else ""
            raise UsageError(
                f"all pictures are of one kind{only}: put those of the other beside them, in folders trainA/ and "
                'trainB/, or open both with tt.unpaired("a/", "b/")'
            )
        which = columns or classes
        raise UsageError(f'which two of {listed(tuple(which))}? say a="{which[0]}" b="{(*which, "x")[1]}", or others')

    def settled(self, data: Any) -> Self:
        return replace(self, known=bool(data.known))

    def said(self, data: Any) -> list[str]:
        """That pairs are not used, where there are any."""
        if not self.known:
            return []
        which = f"{data.a.column} and {data.b.column} belong together, row by row"
        return [f"{which}: that is used to measure by, and not in training (translation learns from pairs)"]

    def files(self) -> Mapping[str, bytes]:
        return {}

    # Training

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x, given = (of_pictures(columns[name], name, self.name, drawn=False) for name in ("x", "A"))
        if x.shape != given.shape:
            what = f"one kind is {listed_shape(given)} and the other {listed_shape(x)}"
            raise UsageError(f"{what}: size= and channels= bring both to one")
        return x, given

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        return columns["x"], Picture(columns["A"])

    # Use

    def brought(self, columns: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, str]:
        return {"picture": "A" if asked.get("direction") in (None, self.direction) else "x"}

    def ask(self, model: Generative[Any], *, picture: Path, direction: Direction | None = None) -> Question:
        """picture: the picture to be translated, a file (or a PIL image, or an array).
        direction: AtoB or BtoA, of a model of both ways; else as it was trained.
        """
        back = direction is not None and direction != self.direction
        if back and not isinstance(model, TwoWay):
            raise UsageError(
                f"direction={direction}: {model.name} goes one way, and was trained {self.direction}; train it with "
                f"direction={direction}, or take cyclegan, which goes both"
            )
        photo = read_photo(picture).opaque()
        return Asked(photo, Picture(photo.tensor(model.config.given.channels)), back=back)

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture as large."""
        assert isinstance(question.given, Picture)
        if isinstance(question, Asked) and question.back:
            assert isinstance(model, TwoWay)
            model = model.reversed()
        return Photo.of(tiling.whole(model, question.given.grid, seed=seed, tile=tile))

    def before(self, question: Question) -> Photo:
        return question.photo

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        assert isinstance(given, Picture)
        return in_channels(given.grid, like.shape[1])

    # Measures

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR and SSIM, where the truth is known."""
        return fidelity(x, truth).measurements() if self.known else []

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"copy": copied}

    def further(self, model: Generative[Any], test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """How many answers a classifier takes for the second kind; how many are still the likest to the picture that
        they were made of; and there and back again."""
        sides, n = test.data, min(len(test.data.a), len(test.data.b), limit or LOOKS)
        a, b = (pictures(side, n) for side in (sides.a, sides.b))
        made = translated(model, a, seed)
        told = classifier(test.training_part().data)
        share = told.taken(made)
        found = [
            Measurement(
                name="taken for the second kind",
                value=share,
                unit="share",
                better="higher",
                protocol=f"answers that a classifier of the two kinds takes for the second (sha256 {told.sha256[:8]}, "
                f"{LOOKS} training pictures of each, {SECONDS:.0f} s of a core)",
                n=f"{n} held-out pictures",
                baselines={"copy": told.taken(a)},
                floor=told.taken(b),
            ),
            Measurement(
                name="likest to their own",
                value=own_nearest(made, a).item(),
                unit="share",
                better="higher",
                protocol="answers whose nearest of 100 held-out pictures of the first kind, by pixels, is the one that "
                "they were made of",
                n=f"{n} held-out pictures",
                baselines={"another of the second kind": own_nearest(b, a).item()},
            ),
        ]
        if isinstance(model, TwoWay):
            back = model.reversed().to(model.device)
            for start, first, second in ((a, model, back), (b, back, model)):
                again = translated(second, translated(first, start, seed), seed)
                psnr = fidelity(again, start).measurements()[0]
                way = "there and back" if start is a else "back and there"
                found.append(
                    replace(psnr, name=f"PSNR {way}", protocol=f"{psnr.protocol}; of pictures translated twice")
                )
        return found


def listed_shape(x: Images) -> str:
    return f"{x.height} x {x.width} of {x.channels} channel{'s' * (x.channels > 1)}"


def pictures(side: Data, n: int) -> Float[Tensor, "n c h w"]:
    """So many, evenly spaced."""
    rows = torch.arange(n) * len(side) // n
    return torch.cat([side.fetch(some, ItemNoise(0, some.tolist())).x for some in torch.split(rows, 100)])


def translated(model: Generative[Any], x: Float[Tensor, "n c h w"], seed: int) -> Float[Tensor, "n c h w"]:
    parts = torch.split(x, 50)
    return torch.cat([model.sample(len(x), Picture(x.to(model.device)), seed=seed).cpu() for x in parts])


class Told:
    """A classifier of two kinds of pictures."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        labels = torch.cat([torch.zeros(len(first)), torch.ones(len(second))]).long()
        self.net = Trained.classifier(torch.cat([first, second]), labels, 2, seconds=SECONDS)
        self.sha256 = self.net.sha256

    def taken(self, x: Float[Tensor, "n c h w"]) -> float:
        """The share that it takes for the second."""
        return (self.net.probabilities(x).argmax(1) == 1).double().mean().item()


def classifier(training: Unpaired) -> Told:
    a, b = training.a, training.b
    return Told(pictures(a, min(LOOKS, len(a))), pictures(b, min(LOOKS, len(b))))
