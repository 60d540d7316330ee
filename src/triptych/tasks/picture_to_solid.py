"""Picture to solid: one picture of a thing, made into a solid.

The data are solids: meshes or voxels. Their pictures are taken here: each as it is seen from before, aside and above,
lit, on black; the model learns to go back. With `outline`, they are white where the thing is, and nothing else.

    triptych train picture-to-solid --data furniture --size 32 --out runs/things
    triptych apply runs/things --picture chair.png --out chair.obj

A picture of a person's own has to show one thing, seen from there, on a dark ground, all of it and in the middle; what
is transparent is black. What cannot be seen is guessed: another seed, another guess.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from triptych.core import (
    Count,
    Data,
    Decoding,
    Generative,
    Given,
    Images,
    ItemNoise,
    Noise,
    Picture,
    Sampling,
    Space,
    UsageError,
    config,
)
from triptych.media import pictures
from triptych.media.photo import Photo, read_photo
from triptych.media.reading import Reading
from triptych.media.solid import Solid
from triptych.media.voxels import views
from triptych.metrics import Measurement
from triptych.metrics.solids import iou
from triptych.tasks.task import Question

log = logging.getLogger(__name__)

LIGHT = -0.5
"""How light the edge of a picture may be on average, from -1 to 1, before it is said that its ground is not dark."""


@config
class PictureToSolid:
    name: ClassVar[str] = "picture-to-solid"
    step: ClassVar[None] = None
    means: ClassVar[bool] = True
    """Answers are measured as they are given: full where that is as likely as not."""

    side: Count = 32
    """Pixels of the pictures, to a side."""
    outline: bool = False
    """Whether pictures show outlines only: white is the thing."""

    @property
    def model(self) -> str:
        return "vae-3d-view"

    def opens(self, x: Any) -> dict[str, Any]:
        return {"size": x.depth}

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x: Any = columns["x"]
        if x.kind != "voxels" or x.channels != 1:
            raise UsageError(
                f"{self.name} is for solids; x holds {x} (meshes and grids of voxels are opened as solids)"
            )
        return x, Images(1, self.side, self.side, levels=2 if self.outline else 256)

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        x = columns["x"]
        return x, Picture(self.taken(x))

    def taken(self, x: Float[Tensor, "n 1 d h w"]) -> Float[Tensor, "n 1 side side"]:
        """Pictures of solids, on levels."""
        found = views(x[:, 0].cpu(), side=self.side)
        found = (found > -1).float() * 2 - 1 if self.outline else ((found + 1) * 127.5).round() / 127.5 - 1
        return found.to(x.device, x.dtype)

    def ask(self, model: Generative[Any], *, picture: Path) -> Question:
        """picture: one thing on a dark ground, seen from before, aside and above."""
        photo = read_photo(picture)
        dark = photo.pixels if photo.alpha is None else (photo.pixels * (photo.alpha[..., None] / photo.top)).round()
        grey = Photo((dark / photo.top * 255).round().astype(np.uint8)).tensor(1)
        eight = ((grey + 1) * 127.5).round().to(torch.uint8).numpy()
        grid = torch.from_numpy(Reading(size=(self.side, self.side), channels=1).fit(eight)).float() / 127.5 - 1
        edge = torch.cat([grid[0, 0, 0], grid[0, 0, -1], grid[0, 0, :, 0], grid[0, 0, :, -1]]).mean()
        if edge > LIGHT:
            log.warning("%s: its ground is light, and things are seen on black: cut it out, or invert it", photo.name)
        if self.outline:
            grid = (grid > LIGHT).float() * 2 - 1
        return Question(photo, Picture(grid))

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Solid:
        """What is in the picture, where a voxel is as likely full as not."""
        assert question.given is not None
        how = Sampling(observation="mean" if isinstance(model, Decoding) else "drawn")
        return Solid(model.sample(1, question.given.to(model.device), seed=seed, how=how)[0, 0].cpu())

    def before(self, question: Question) -> Photo:
        """What the model is shown."""
        assert isinstance(question.given, Picture)
        return Photo.of(question.given.grid[0])

    def shown(self, given: Given, like: Tensor) -> list[Image.Image]:
        assert isinstance(given, Picture)
        return list(pictures.cells(given.grid))

    def measure(self, x: Tensor, truth: Tensor, given: Given) -> list[Measurement]:
        return [
            Measurement(
                name="IoU",
                value=iou(x, truth).mean().item(),
                unit="share",
                better="higher",
                protocol="intersection over union of full voxels with the true solid, full above one half, mean",
                n=f"{len(x)} solids",
            )
        ]

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {}

    def rivals(self, training: Data) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        """The mean solid, and the training solid whose picture is most like the one that is given."""
        rows = torch.arange(len(training))
        parts = [training.fetch(some, ItemNoise(0, some.tolist())) for some in torch.split(rows, 100)]
        solids, known = torch.cat([b.x for b in parts]), torch.cat([b.given.grid.flatten(1) for b in parts])
        mean = solids.mean(0)

        def nearest(given: Given, x: Space) -> Tensor:
            assert isinstance(given, Picture)
            return solids[torch.cdist(given.grid.flatten(1), known).argmin(1)]

        return {"mean solid": lambda given, x: mean.expand(len(given), *mean.shape), "nearest picture": nearest}
