"""Translation, paired: a picture into the picture that belongs to it.

The data are pairs: folders A/ and B/ with files of the same names (train_A and train_B, input and target, ...), files
with the two side by side (halves="A|B"), or columns of a table. `direction` says which way; where there are several
columns, `a` and `b` name the two.

    triptych train translation --data facades/ --out runs/facades direction=BtoA
    triptych apply runs/facades --picture plan.png --out house.png

Files are read as those of training were: on white, by halves, brought to one size. With --as-is a picture is translated
at its own size, in tiles.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import Data, Generative, Given, Images, ItemNoise, Noise, Picture, Space, UsageError, config
from triptych.inference import tiling
from triptych.media.photo import Photo, read_photo
from triptych.metrics import Measurement, fidelity
from triptych.tasks.task import Question, Training, of_pictures

MEAN_OF = 2000
"""Training pictures, at most, that the mean picture is the mean of."""


@config
class Translation(Training):
    name: ClassVar[str] = "translation"
    paired: ClassVar[bool] = True
    step: ClassVar[None] = None

    direction: Literal["AtoB", "BtoA"] = "AtoB"
    """Whether A is translated into B, or B into A."""
    a: str = ""
    """The column that is called A here; if nothing is said, the only one beside x."""
    b: str = "x"
    """The column that is called B here."""

    @property
    def model(self) -> str:
        return "pix2pix-64"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"size": x.height}

    def ends(self, columns: Iterable[str]) -> tuple[str, str]:
        """The column that is translated, and the one that it is translated into. Raises UsageError."""
        found = [name for name in columns if name not in ("label", "caption")]
        others = [name for name in found if name != self.b]
        if not others:
            raise UsageError(
                "translation learns from pairs, and there is no picture beside x: put A and B into folders train_A and "
                'train_B, files of one pair with the same name, or side by side into one file (halves="A|B"); for '
                "pictures that do not belong together there is unpaired-translation"
            )
        if not self.a and len(others) > 1:
            raise UsageError(f"which of {', '.join(others)} is translated into {self.b}? say a={others[0]}, or another")
        a = self.a or others[0]
        for name, said in ((a, "a"), (self.b, "b")):
            if name not in found:
                raise UsageError(f"{said}={name}: there is no such column of pictures; there are {', '.join(found)}")
        if a == self.b:
            raise UsageError(f"a={a} and b={self.b} are one column: nothing would be translated")
        return (a, self.b) if self.direction == "AtoB" else (self.b, a)

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        source, target = self.ends(columns)
        given, x = (of_pictures(columns[name], name, self.name) for name in (source, target))
        if (given.height, given.width) != (x.height, x.width):
            raise UsageError(
                f"{source} has pictures of {given.height} x {given.width} (height x width) and {target} of {x.height} "
                f"x {x.width}, and a pair is of one size: size={min(given.height, x.height)} brings both to one"
            )
        return x, given

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        source, target = self.ends(columns)
        return columns[target], Picture(columns[source])

    def brought(self, columns: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, str]:
        return {"picture": self.ends(columns)[0]} if len(columns) > 1 else {}

    def ask(self, model: Generative[Any], *, picture: Path) -> Question:
        """picture: the picture to be translated, a file (or a PIL image, or an array)."""
        photo = read_photo(picture).opaque()
        return Question(photo, Picture(photo.tensor(model.config.given.channels)))

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture as large, of as many channels as those that the model was trained to draw."""
        assert isinstance(question.given, Picture)
        return Photo.of(tiling.whole(model, question.given.grid, seed=seed, tile=tile))

    def before(self, question: Question) -> Photo:
        return question.photo

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        assert isinstance(given, Picture)
        return in_channels(given.grid, like.shape[1])

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR and SSIM of RGB."""
        return fidelity(x, truth).measurements()

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"copy": copied}

    def rivals(self, training: Data) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        """The mean of the pictures that were trained on."""
        return {"mean picture": mean_picture(training)}


def copied(given: Given, x: Space) -> Tensor:
    """The picture as it came."""
    assert isinstance(given, Picture)
    return in_channels(given.grid, x.shape[x.channel_axis])


def in_channels(x: Float[Tensor, "n c h w"], channels: int) -> Float[Tensor, "n d h w"]:
    """Grey three times over, or the mean of colours; x itself where it has so many."""
    if x.shape[1] == channels:
        return x
    return x.expand(-1, channels, -1, -1) if x.shape[1] == 1 else x.mean(1, keepdim=True).expand(-1, channels, -1, -1)


def mean_picture(training: Data) -> Callable[[Given, Space], Tensor]:
    n = min(len(training), MEAN_OF)
    rows = torch.arange(n) * len(training) // n
    parts = [training.fetch(some, ItemNoise(0, some.tolist())).x for some in torch.split(rows, 100)]
    mean = torch.cat(parts).mean(0)
    return lambda given, x: mean.expand(len(given), *mean.shape)
