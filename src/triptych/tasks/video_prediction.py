"""Video prediction: a video, gone on with.

The data are clips: moving pictures (GIF, WebP, APNG), films (MP4, WebM, AVI; by PyAV), folders of frames. So many
frames of each are given and the others foreseen, by the protocol of moving-mnist ten and ten.

    triptych train video-prediction --data moving-mnist --out runs/video
    triptych apply runs/video --video clip.gif --ahead 20 --out later.gif

The last frames of a video of any length are taken, brought to the model's size; of a shorter one the first frame is
repeated. More frames than the model was trained to foresee are foreseen from those that it foresaw before.

simvp and conv-lstm show the mean of what may come; videogpt draws one thing that may, another for each seed, and is
measured by several: the mean of them, and the best.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from triptych.core import (
    FAITHFUL,
    Coding,
    Count,
    Decoding,
    Generative,
    Given,
    ItemNoise,
    Noise,
    Picture,
    Sampling,
    Space,
    UsageError,
    Video,
    config,
)
from triptych.media import medium_of
from triptych.media.reading import Reading
from triptych.media.video import Film
from triptych.metrics import Measurement, fidelity
from triptych.tasks.task import Posed, Question

log = logging.getLogger(__name__)

LOOKED = 1000
"""Frames that PSNR and SSIM are taken of, at most."""
FUTURES, CLIPS = 8, 100
"""Answers to one condition, and held-out clips that so many are drawn of, at most."""


@runtime_checkable
class Foresees(Protocol):
    """A model that takes any number of frames and gives any number."""

    def foresee(self, frames: Tensor, ahead: int) -> Tensor:
        """[n, past, c, h, w] -> [n, ahead, c, h, w]"""


@config
class VideoPrediction:
    name: ClassVar[str] = "video-prediction"
    step: ClassVar[None] = None
    means: ClassVar[bool] = True
    """Answers are measured as they are given: without the noise that a decoder has for each pixel by itself."""

    past: Count = 10
    """Frames that are given."""
    ahead: Count = 10
    """Frames that are foreseen in training."""

    @property
    def model(self) -> str:
        return "simvp-64"

    def opens(self, x: Any) -> dict[str, Any]:
        """In colour, if the videos are: a model that nobody has trained yet is of the channels that they have."""
        colour = {"channels": x.channels} if x.channels > 1 else {}
        return {"frames": self.past + self.ahead, "size": x.height, **colour}

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x: Any = columns["x"]
        if x.kind != "video":
            raise UsageError(f"{self.name} is for videos; x holds {x} (frames=20 opens moving pictures as videos)")
        if x.frames != self.past + self.ahead:
            raise UsageError(
                f"clips of {x.frames} frames, where past={self.past} and ahead={self.ahead} make "
                f"{self.past + self.ahead}: say others, or open the data with frames={self.past + self.ahead}"
            )
        return replace(x, frames=self.ahead), replace(x, frames=self.past)

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        x = columns["x"]
        return x[:, self.past :], Picture(x[:, : self.past])

    def ask(
        self,
        model: Generative[Any],
        *,
        video: Path,
        ahead: int | None = None,
        guidance: float = 1.0,
        temperature: float = 1.0,
    ) -> Question:
        """video: a film, a moving picture, or a folder (or zip, or array) of frames.
        ahead: so many frames; as many as were foreseen in training, if nothing is said.
        guidance: how far a model of codes is to follow the frames before: 1 as it learned, 3 closer.
        temperature: below 1, of models of codes, likelier frames and less variety.
        """
        if ahead is not None and ahead < 1:
            raise UsageError(f"ahead={ahead}: it is a number of frames, 1 or more")
        how = Sampling(guidance=guidance, temperature=temperature, observation=looked_at(model).observation)
        if not isinstance(model, Coding) and (guidance, temperature) != (1, 1):
            what = f"temperature={temperature:g}" if guidance == 1 else f"guidance={guidance:g}"
            raise UsageError(f"{model.name} foresees one thing only, and draws nothing: leave out {what}")
        film, given = Film.read(video), model.config.given
        fit = Reading(size=(given.height, given.width), channels=given.channels).fit
        frames = film.frames if isinstance(model, Foresees) else film.frames[-given.frames :]
        if len(frames) < given.frames:
            log.warning(
                "%s has %d frames, where %d are wanted: the first is repeated", film.name, len(frames), given.frames
            )
            frames = np.concatenate([frames[:1].repeat(given.frames - len(frames), 0), frames])
        grid = given.from_index(torch.from_numpy(fit(frames)).long())[None]
        return Asked(replace(film, frames=frames), Picture(grid), how=how, ahead=ahead or self.ahead)

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Film:
        """The frames that follow, as large as those that the model was trained on."""
        assert isinstance(question, Asked) and isinstance(question.given, Picture)
        x = foreseen(model, question.given.grid.to(model.device), question.ahead, seed, question.how)
        frames = ((x[0].cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        return Film(frames)

    def before(self, question: Question) -> Film:
        assert isinstance(question.brought, Film)
        return question.brought

    def shown(self, given: Given, like: Tensor) -> list[Image.Image]:
        """The frames that are given, in a row."""
        assert isinstance(given, Picture)
        space = Video(*given.grid.shape[1:])
        return medium_of(space).cells(space, given.grid)

    def measure(self, x: Tensor, truth: Tensor, given: Given) -> list[Measurement]:
        """Squared and absolute distance summed over a frame, as the field's tables have them; PSNR and SSIM."""
        off = (x.clamp(-1, 1).double() - truth.double()) / 2
        frames = x.shape[0] * x.shape[1]
        of = f"{len(x):,} clips, {x.shape[1]} frames ahead of {given_frames(given)}"
        common: dict[str, Any] = {"better": "lower", "n": of}
        summed = "summed over the pixels of a frame, black 0 and white 1, mean over frames and clips"
        found = [
            Measurement(
                name="MSE", value=off.square().sum().item() / frames, protocol=f"squared distance {summed}", **common
            ),
            Measurement(name="MAE", value=off.abs().sum().item() / frames, protocol=f"distance {summed}", **common),
        ]
        rows = torch.arange(min(frames, LOOKED)) * frames // min(frames, LOOKED)
        some, true = (one.flatten(0, 1)[rows] for one in (x, truth))
        return found + [
            replace(m, n=f"{len(rows):,} frames, each by itself: the mean of their values")
            for m in fidelity(some, true).measurements()
        ]

    def further(self, model: Generative[Any], test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """Of a model that draws what may come: the mean of several answers, and the best of them."""
        if not isinstance(model, Decoding):
            return []
        n = min(len(test), limit or CLIPS, CLIPS)
        off = dict.fromkeys(("one answer", f"mean of {FUTURES}", f"best of {FUTURES}"), 0.0)
        copied, frames = 0.0, n * test.x.shape[0]
        for row in (torch.arange(n) * len(test) // n).tolist():
            batch = test.fetch(torch.tensor([row]), ItemNoise(seed, [row], model.device))
            many = batch.given.map(lambda t: t.expand(FUTURES, *t.shape[1:]))
            x = model.sample(FUTURES, many, seed=seed, first=row * FUTURES, how=looked_at(model)).clamp(-1, 1)
            each = (x - batch.x).double().square().flatten(1).sum(1) / 4
            of_mean = (x.double().mean(0) - batch.x[0]).square().sum() / 4
            for name, one in zip(off, (each[0], of_mean, each.min()), strict=True):
                off[name] += one.item() / frames
            copied += (last(batch.given, test.x) - batch.x).double().square().sum().item() / 4 / frames
        return [
            Measurement(
                name=f"MSE, {name}",
                value=value,
                better="lower",
                protocol="squared distance summed over the pixels of a frame, black 0 and white 1, mean over frames "
                f"and clips; of {name}, each the mean of p(x | z)",
                n=f"{n} clips",
                baselines={"copy last": copied},
            )
            for name, value in off.items()
        ]

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"copy last": last, "mean frame": mean, "black": black}


@dataclass(frozen=True, eq=False)
class Asked(Question):
    ahead: int = 0
    """So many frames."""


def given_frames(given: Given) -> int:
    assert isinstance(given, Picture)
    return given.grid.shape[1]


def looked_at(model: Generative[Any]) -> Sampling:
    """Without the noise that a decoder has for each pixel by itself."""
    return Sampling(observation="mean") if isinstance(model, Decoding) else FAITHFUL


def foreseen(
    model: Generative[Any], frames: Float[Tensor, "1 past c h w"], ahead: int, seed: int, how: Sampling = FAITHFUL
) -> Float[Tensor, "1 ahead c h w"]:
    """So many frames: by a model of any number at once, else a few at a time from those before, what is drawn anew
    each time."""
    if isinstance(model, Foresees):
        return model.foresee(frames, ahead)
    past, parts = frames.shape[1], 0
    while frames.shape[1] < past + ahead:
        given = Picture(frames[:, -model.config.given.frames :])
        frames, parts = torch.cat([frames, model.sample(1, given, seed=seed, first=parts, how=how)], 1), parts + 1
    return frames[:, past : past + ahead]


def last(given: Given, x: Space) -> Tensor:
    """The last frame, again and again."""
    assert isinstance(given, Picture)
    return given.grid[:, -1:].expand(-1, *x.shape)


def mean(given: Given, x: Space) -> Tensor:
    """The mean of those that are given."""
    assert isinstance(given, Picture)
    return given.grid.mean(1, keepdim=True).expand(-1, *x.shape)


def black(given: Given, x: Space) -> Tensor:
    assert isinstance(given, Picture)
    return given.grid.new_full((len(given), *x.shape), -1.0)
