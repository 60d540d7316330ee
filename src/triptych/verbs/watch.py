"""Looking at a GAN in training: a few samples at every checkpoint, beside the data, and what is to be said of them."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from triptych import metrics
from triptych.core import Data, Generative, HasLikelihood, ItemNoise
from triptych.data import Dataset
from triptych.training import Round
from triptych.training.health import Health, Sign

log = logging.getLogger(__name__)

N, NUMBERS = 256, 1 << 21
"""Samples, and examples beside them; fewer of large ones, so many numbers in all, or a look takes longer than what lies
between two of them."""
FEWEST = 8
KINDS = 0.5
"""Samples of fewer than this share of the digits or modes that there are tell of a collapse."""


class Watch:
    """Tells of a game of several players what goes wrong in it, once for each thing as long as it lasts.

    A model that has a likelihood is not watched, as its loss says how well it does; nor is one of several stages that
    has one player, who prepares for the game (the encoder of a stacked GAN) while nothing learns to generate yet, nor
    one player who learns from pairs, as a voice does of texts and recordings.
    """

    def __init__(self, model: Generative[Any], data: Data) -> None:
        self.model, self.data, self.health = model, data, Health()
        stages, scored = model.stages(), isinstance(model, HasLikelihood)
        given = getattr(model.config, "given", None)
        alone = len(stages) == 1 and (given is None or given.choices is not None)  # else it learns from pairs
        self.games = [not scored and (alone or len(stage.players) > 1) for stage in stages]
        self.told: set[str] = set()
        self.stage: int | None = None

    def observe(self, stage: int, logs: Mapping[str, float]) -> None:
        """Takes what a round of a stage logged."""
        if stage != self.stage:
            self.health, self.stage = Health(), stage
        if self.games[stage]:
            self.health.observe(logs)

    def look(self, now: Round) -> tuple[list[Sign], dict[str, float]]:
        """What is wrong, and the numbers: "health/diversity" and, where they can be told, the kinds that occur."""
        if not self.games[now.stage]:
            return [], {}
        n = min(N, max(FEWEST, NUMBERS // self.data.x.dims), len(self.data))
        rows = torch.arange(n) * (len(self.data) // n)
        batch = self.data.fetch(rows, ItemNoise(0, range(n), self.model.device))
        needs = getattr(self.model.config, "given", None)
        given: Any = None if needs is None or needs.optional else batch.given
        labels: Any = given if needs is not None and needs.classed else None
        x = self.model.sample(n, given, seed=0)
        progress = now.stage_step / now.stage_steps
        signs, numbers = self.health.signs(x, batch.x, progress, None if labels is None else labels.y)
        kinds = self.kinds(x)
        if kinds is not None:
            name, found, there = kinds
            numbers[name] = float(found)
            if found < KINDS * there and progress >= 0.5 and not self.health.early:
                text = f"{n} samples show {found} of the {there} {name} that the data have. Mode collapse"
                signs.append(Sign("kinds", text))
        for sign in signs:
            if sign.name not in self.told:
                log.warning("step %d: %s", now.step, sign.text)
        self.told = {sign.name for sign in signs}
        return signs, {f"health/{name}": value for name, value in numbers.items()}

    def kinds(self, x: torch.Tensor) -> tuple[str, int, int] | None:
        """The classes that a shipped classifier sees in samples of the data that it knows, or the modes of a known
        mixture: what they are called, how many occur, and how many there are."""
        truth = self.data.truth if isinstance(self.data, Dataset) else None
        if truth is not None:
            found = metrics.mode_coverage(x, truth.means, truth.sd)
            return "modes", found.found, found.modes
        if shipped := metrics.shipped(self.data):
            reader = shipped.reader()
            return shipped.kinds, metrics.read_classes(reader, x).present, reader.classes
        return None
