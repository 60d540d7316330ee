"""Pictures of a run's samples as it goes on, and what they may cost: a tenth of its time, or a few seconds."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from triptych.core import Autoregressive, Batch, Data, Generative, Given, ItemNoise, Sampling, Space, Text, evaluating
from triptych.media import medium_of, pictures
from triptych.tasks.task import Looks, Posed
from triptych.verbs.decoration import SAMPLES, decorating
from triptych.verbs.sample import evenly, examples, picture, to_look_at
from triptych.verbs.tracking import Careful

log = logging.getLogger(__name__)

N = 64
"""Samples in a picture."""
SHARE = 0.1
"""Of a run's time, for all of its pictures."""
FREE = 10.0
"""Seconds that they may take whatever the run takes."""
GLANCE = 1.0
"""Seconds of sampling after which it is foreseen how long it will take."""


class TooSlow(Exception):
    """Sampling would take longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True, eq=False)
class Timed(Sampling):
    """Samples as ever, but gives up, by TooSlow, once it is clear that all `values` will take longer than `limit`."""

    limit: float = math.inf
    values: int = 1
    seen: list[float] = field(default_factory=list)
    """When the first value was picked, and how many have been."""

    def pick(self, logits: Float[Tensor, "*n k"], u: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        if not self.seen:
            self.seen.extend((time.monotonic(), 0.0))
        self.seen[1] += u.numel()
        spent = time.monotonic() - self.seen[0]
        if spent > GLANCE and (foreseen := spent * self.values / self.seen[1]) > self.limit:
            raise TooSlow(foreseen)
        return super().pick(logits, u)


class Shots:
    """Pictures of the same samples as ever, `wanted` of them and one before the first step: more early, where more
    changes. Fewer, the last ones, where they would take more than their share of the run."""

    def __init__(self, model: Generative[Any], data: Data, path: Path, wanted: int, total: int) -> None:
        self.model, self.data, self.path, self.total = model, data, path, total
        self.when = sorted({round(total * (i / wanted) ** 2) for i in range(1, wanted + 1)})
        self.wanted, self.cost, self.spent = wanted, 0.0, 0.0
        self.trackers: Sequence[Careful] = ()

    def first(self) -> None:
        """Before the first step."""
        if self.wanted:
            self.take(0, FREE)

    def after(self, step: int, seconds: float, steps: int) -> None:
        """After a step: a picture, if it is time for one. `seconds` were spent on the last `steps` steps, pictures
        included."""
        if step not in self.when:
            return
        run = (seconds - self.spent) * self.total / max(steps, 1)
        left = max(FREE, SHARE * run) - self.spent
        later = [at for at in self.when if at >= step]
        affordable = len(later) if self.cost * len(later) <= left else max(0, int(left / self.cost))
        if affordable < len(later):
            self.keep(later[len(later) - affordable :])
        if step in self.when:
            self.take(step, max(left, 0.0))

    def keep(self, steps: list[int]) -> None:
        """Goes on with the pictures after these steps only, and says so."""
        many = "none" if not steps else f"{len(steps)}, and none of before the first step" * (len(steps) == self.wanted)
        many = many or f"only {len(steps)} more"
        log.warning("a picture of %d samples takes %.0f s: there will be %s (pictures=0: none)", N, self.cost, many)
        self.when = steps

    def take(self, step: int, limit: float) -> None:
        """A picture of the samples as they are now; of a model with a decoder, its means."""
        file, how, started = self.path / SAMPLES / f"step-{step:08d}.png", to_look_at(self.model), time.monotonic()
        if isinstance(self.model, Autoregressive):
            how = Timed(limit=limit, values=N * self.model.config.x.dims)
        with decorating(file):
            try:
                image, x = shown(self.model, self.data, how)
            except TooSlow as e:
                self.cost = e.seconds
                self.keep([at for at in self.when if at > step] if not step else [])
            else:
                text = {"model": self.model.name, "step": str(step), "seed": "0", "observation": how.observation}
                pictures.save_png(image, file, text)
                for tracker in self.trackers:
                    tracker.shot(self.model.config.x, image, x, step)
                self.cost = time.monotonic() - started
        self.spent += time.monotonic() - started


def shown(model: Generative[Any], data: Data, how: Sampling) -> tuple[Image.Image, Tensor]:
    """The same samples as ever, as they are now, and a picture of them; of a task, what was asked, the answers and the
    truth."""
    if isinstance(data, Posed):
        return triptychs(model, data, 8)
    x = model.sample(N, examples(model, N, data), seed=0, how=how)
    return picture(model.config.x, x), x


def triptychs(model: Generative[Any], data: Posed, n: int) -> tuple[Image.Image, Tensor]:
    """What was asked, the model's answers, and the truth, of items evenly spaced over the data; one below the other."""
    rows = evenly(len(data), n)
    batch = data.fetch(rows, ItemNoise(0, rows.tolist(), model.device))
    x = model.sample(n, batch.given, seed=0, how=to_look_at(model))
    asked = written(data.given, batch.given, x) or data.task.shown(batch.given, x)
    if isinstance(asked, Tensor):
        return pictures.strip([asked, x, batch.x], scale=2 if x.shape[-1] <= 64 else 1), x
    made, truth = (medium_of(data.x).cells(data.x, rows) for rows in (x, batch.x))
    columns = [asked, made, truth]
    if isinstance(data.task, Looks) and (looks := inside(model, data.task, batch)):
        columns.append(looks)
    return pictures.rows(list(zip(*columns, strict=True))), x


def inside(model: Generative[Any], task: Looks, batch: Batch[Any]) -> Sequence[Image.Image]:
    with evaluating(model), torch.no_grad():
        return task.looks(model, batch)


def written(space: Space | None, given: Given, x: Tensor) -> list[Image.Image]:
    """Conditions that are words, as words; nothing of others."""
    if space is None or not isinstance(given, Text) or space.symbols is None:
        return []
    words = [space.symbols.decode(row) for row in given.tokens.tolist()]
    return [pictures.page([text], width=32, height=3) for text in words]
