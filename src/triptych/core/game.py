"""Training as a game: players take turns, each lowering its own loss over its own weights.

A VAE or an autoregressive model is a game of one player; a GAN is a game of two.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.core.config import Fraction, NonNegative, Positive, config
from triptych.core.given import Batch

Schedule = Literal["constant", "linear", "cosine"]


@config
class Adam:
    """Adam (Kingma and Ba, 2015; https://arxiv.org/abs/1412.6980), with the learning rate as a function of progress."""

    lr: Positive = 1e-3
    """The highest learning rate."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the running mean and of the running square."""
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    """Decoupled (AdamW) when above zero."""
    schedule: Schedule = "constant"
    """How the rate falls over the stage, or does not."""
    floor: Fraction = 0.0
    """The share of the highest rate that a falling one ends at."""
    warmup: Fraction = 0.0
    """The share of the stage over which the rate climbs from zero."""
    final_betas: tuple[Fraction, Fraction] | None = None
    """Where `betas` go as the rate falls; None: nowhere."""

    def __call__(self, weights: Iterable[nn.Parameter]) -> Optimizer:
        kind = torch.optim.AdamW if self.weight_decay else torch.optim.Adam
        return kind(
            list(weights), lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )

    def rate(self, progress: float) -> float:
        """The learning rate when `progress` (0 to 1) of the stage is done."""
        return self.lr * share(self.schedule, self.warmup, progress, self.floor)

    def settings(self, progress: float) -> dict[str, Any]:
        """What torch's optimizer is set to when `progress` (0 to 1) of the stage is done."""
        (a, b), left = self.betas, share(self.schedule, 0.0, progress)
        last_a, last_b = self.final_betas or self.betas
        return {"lr": self.rate(progress), "betas": (last_a + (a - last_a) * left, last_b + (b - last_b) * left)}


@config
class RMSProp:
    """RMSProp (Tieleman and Hinton, 2012): steps along the gradient over its running root mean square, no momentum."""

    lr: Positive = 1e-3
    """The highest learning rate."""
    decay: Fraction = 0.99
    """Decay of the running square."""
    eps: Positive = 1e-8
    schedule: Schedule = "constant"
    """How the rate falls to zero over the stage, or does not."""
    warmup: Fraction = 0.0
    """The share of the stage over which the rate climbs from zero."""

    def __call__(self, weights: Iterable[nn.Parameter]) -> Optimizer:
        return torch.optim.RMSprop(list(weights), lr=self.lr, alpha=self.decay, eps=self.eps, foreach=True)

    def rate(self, progress: float) -> float:
        """The learning rate when `progress` (0 to 1) of the stage is done."""
        return self.lr * share(self.schedule, self.warmup, progress)

    def settings(self, progress: float) -> dict[str, Any]:
        """What torch's optimizer is set to when `progress` (0 to 1) of the stage is done."""
        return {"lr": self.rate(progress)}


def share(schedule: Schedule, warmup: float, progress: float, floor: float = 0.0) -> float:
    """The share of the highest learning rate that is due when `progress` (0 to 1) of the stage is done."""
    if progress < warmup:
        return progress / warmup
    if schedule == "constant":
        return 1.0
    rest = (progress - warmup) / max(1 - warmup, 1e-12)
    left = 1 - rest if schedule == "linear" else 0.5 + 0.5 * math.cos(math.pi * rest)
    return floor + (1 - floor) * left


@dataclass(frozen=True)
class Clock:
    """Where training stands: the round within the stage, and how much of the stage is done (0 to 1)."""

    step: int
    progress: float


@dataclass(frozen=True)
class Loss:
    """What a player minimizes (averaged over the batch), and named numbers to log beside it."""

    value: Tensor
    logs: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Player:
    """Who moves which weights, by which loss."""

    name: str
    owns: nn.Module
    loss: Callable[[Batch[Any], Clock], Loss]
    optimizer: Adam | RMSProp
    turns: int = 1
    """Updates in a row, each on a fresh batch (the critic's five in WGAN)."""
    every: int = 1
    """Rounds from one turn to the next (lazy regularization in StyleGAN2)."""
    clip: float | None = None
    """Largest gradient norm; a larger gradient is scaled down to it."""
    project: Callable[[], Mapping[str, Tensor] | None] | None = None
    """Run after each update, without gradients (weight clipping in WGAN, moving averages). What it returns is logged:
    numbers that are the whole batch's, and not the mean of its parts'."""
    together: str | None = None
    """What its loss makes of all the items at once, and so of each part's where a batch is worked on in parts."""
    judges: nn.Module | str | None = None
    """Where the images that it judges, real and generated alike, come in: the network, or a place on the way to it,
    whose first argument they are. A run that augments does it there. Or a sentence: why they cannot be augmented."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training with fixed players. Optimizers start afresh with each stage."""

    name: str
    players: Sequence[Player]
    steps: int | None = None
    """Rounds; None: `times` as many as the run asks for."""
    times: int = 1
    """How many times the run's rounds, where `steps` does not say."""
    batch: int | None = None
    """Examples a turn; None: as many as the run asks for."""
    maker: str | None = None
    """The player whose samples all judge: then all of them move on one batch a round, each once, and what the maker's
    weights make of it (`Batch.once`) is made once for all; or again, of the same noise, where a batch is in parts or on
    several ranks. None: each turn has a batch of its own."""
    begin: Callable[[], None] | None = None
    """Run when the stage begins or is resumed (growing a network)."""
    reads: Callable[[Tensor], Tensor] | None = None
    """What its losses ask of x by `Batch.coded`, and of x alone (the codes of a tokenizer), by weights that none of its
    players moves: it may then be computed once for each example of the data."""

    def rounds(self, steps: int) -> int:
        """How many rounds it has in a run of so many steps a stage."""
        return self.steps or self.times * steps


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A configuration that is known to work, how long to train it, and what came out when we did."""

    config: Any
    steps: int = 10_000
    batch: int = 128
    data: Mapping[str, Any] = field(default_factory=dict)
    """How to open the data where nothing else is asked: {"tokens": "characters", "length": 256}."""
    expect: str
    """Data, hardware, minutes and the number reached, as measured."""
