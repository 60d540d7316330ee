"""Edges: a drawing of outlines, made into a picture.

In training the drawing is made of the picture: white where its brightness changes by more than `threshold` (the length
of the gradient as Sobel's filters have it, black to white within a pixel being 1), black elsewhere.

    triptych train edges --data fashion-mnist --out runs/edges
    triptych apply runs/edges --picture shoe.png --out drawn.png               # the edges of a picture
    triptych apply runs/edges --picture sketch.png --drawing --out shoe.png    # lines of a person's own

Files are brought to the size that those of training were; with --as-is a picture is drawn at its own, in tiles.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import (
    Data,
    Generative,
    Given,
    Images,
    ItemNoise,
    Noise,
    Picture,
    Positive,
    Space,
    config,
)
from triptych.data.columns import columns_of, gathered
from triptych.inference import tiling
from triptych.media.photo import LUMA, Photo, read_photo
from triptych.metrics import Measurement, fidelity
from triptych.metrics.trained import RECIPE, Trained
from triptych.tasks.task import Posed, Question, Training, of_pictures
from triptych.tasks.translation import copied, in_channels, mean_picture

READ, SECONDS = 10_000, 40.0
"""Training pictures that a classifier learns of, to see whether answers are of the right class; and for how long."""
ITEMS = 1000


@config
class Edges(Training):
    name: ClassVar[str] = "edges"
    step: ClassVar[None] = None

    threshold: Positive = 0.15
    """How much brightness has to change from pixel to pixel to be drawn, of black to white."""

    @property
    def model(self) -> str:
        return "pix2pix-32"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"size": x.height}

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x = of_pictures(columns["x"], "x", self.name)
        return x, Images(1, x.height, x.width, levels=2)

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        return columns["x"], Picture(edges(columns["x"], self.threshold))

    def brought(self, columns: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, str]:
        return {"picture": "x"}

    def ask(self, model: Generative[Any], *, picture: Path, drawing: bool = False) -> Question:
        """picture: a picture, whose edges are taken.
        drawing: it is a drawing already, dark lines on a light ground or light ones on a dark ground.
        """
        photo = read_photo(picture).opaque()
        x = photo.tensor(1)
        lines = (x * (-1 if x.mean() > 0 else 1) > 0).float() * 2 - 1 if drawing else edges(x, self.threshold)
        return Question(photo, Picture(lines))

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        assert isinstance(question.given, Picture)
        return Photo.of(tiling.whole(model, question.given.grid, seed=seed, tile=tile))

    def before(self, question: Question) -> Photo:
        """The drawing."""
        assert isinstance(question.given, Picture)
        return Photo.of(question.given.grid[0])

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        assert isinstance(given, Picture)
        return in_channels(given.grid, like.shape[1])

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR and SSIM of RGB."""
        return fidelity(x, truth).measurements()

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"copy": copied}

    def rivals(self, training: Data) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"mean picture": mean_picture(training)}

    def further(self, model: Generative[Any], test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """Of data with classes: whether a classifier takes answers for what the truth is."""
        training = test.training_part()
        labels = columns_of(training.data).get("label")
        if labels is None or labels.optional or labels.choices is None:
            return []
        x, _, y = examples(training, READ)
        reader = Trained.classifier(x, y, labels.choices, seconds=SECONDS)
        x, given, y = examples(test, min(ITEMS, limit or ITEMS))
        found = {
            "": torch.cat(
                [model.sample(len(g), g.to(model.device), seed=seed, first=k).cpu() for k, g in parts(given)]
            ),
            "truth": x,
            "copy": copied(given, test.x),
        }
        right = {name: (reader.probabilities(one).argmax(1) == y).double().mean().item() for name, one in found.items()}
        return [
            Measurement(
                name="class kept",
                value=right[""],
                unit="share",
                better="higher",
                protocol=f"share of answers that a classifier takes for the truth's class; {RECIPE}; trained on "
                f"{READ:,} pictures at most; floor: of the true pictures",
                n=f"{len(y):,} pictures",
                baselines={"copy": right["copy"]},
                floor=right["truth"],
            )
        ]


def parts(given: Picture, size: int = 100) -> list[tuple[int, Picture]]:
    return [(k, given[k : k + size]) for k in range(0, len(given), size)]


def examples(data: Posed, most: int) -> tuple[Tensor, Picture, Tensor]:
    """x, its condition and its class of rows that are evenly spaced."""
    n = min(most, len(data))
    rows = torch.arange(n) * len(data) // n
    noise = ItemNoise(0, rows.tolist())
    columns = gathered(data.data, rows, noise)
    x, given = data.task.pose(columns, noise)
    assert isinstance(given, Picture)
    return x, given, columns["label"]


def edges(x: Float[Tensor, "n c h w"], threshold: float) -> Float[Tensor, "n 1 h w"]:
    """1 where brightness changes by more than `threshold`, and -1 elsewhere."""
    weights = torch.tensor(LUMA, dtype=x.dtype, device=x.device)[:, None, None]
    light = (x * weights).sum(1, keepdim=True) if x.shape[1] == 3 else x
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=x.dtype, device=x.device) / 8
    kernels = torch.stack([across, across.T])[:, None]
    slope = F.conv2d(F.pad(light, (1, 1, 1, 1), mode="replicate"), kernels).square().sum(1, keepdim=True).sqrt()
    return (slope > threshold).to(x.dtype) * 2 - 1
