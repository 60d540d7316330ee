"""Optimizers as settings, with the learning rate as a function of how much of training is done."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from triptych.core.config import Fraction, NonNegative, Positive, config

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
