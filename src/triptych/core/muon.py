"""Muon: for a matrix of a hidden layer, the step is its momentum with all singular values made about one.

Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, 2024. Muon: An optimizer for hidden layers in neural networks.
https://kellerjordan.github.io/posts/muon/

    M_t = mu M_{t-1} + (1 - mu) G_t
    W_t = W_{t-1} - lr sqrt(max(1, rows / columns)) NewtonSchulz(mu M_t + (1 - mu) G_t)

What goes in and comes out (embeddings, the last layer) and whatever is no matrix is moved by Adam.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.core.config import Count, Fraction, NonNegative, Positive, config
from triptych.core.optimizers import Adam, Schedule, share

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of a X + b (X X^T) X + c (X X^T)^2 X that the authors found: singular values of X go to where the
polynomial throws them, somewhere between .7 and 1.2, fast from near zero."""


@config
class Muon:
    """Muon for matrices, and Adam for all else; both rates as a function of progress. `of` says which matrices."""

    lr: Positive = 0.02
    """The highest learning rate of matrices: the size of a step's singular values."""
    momentum: Fraction = 0.95
    iterations: Count = 5
    """Of Newton and Schulz."""
    weight_decay: NonNegative = 0.0
    """Of matrices, decoupled."""
    adam: Adam = Adam(lr=4e-3, betas=(0.8, 0.95))
    """For all other weights; its rate rises and falls by its own schedule."""
    schedule: Schedule = "linear"
    """How the rate of matrices falls over the stage, or does not."""
    floor: Fraction = 0.0
    """The share of the highest rate that a falling one ends at."""
    warmup: Fraction = 0.0
    """The share of the stage over which the rate climbs from zero."""

    def of(self, hidden: nn.Module) -> "MuonOf":
        """The optimizer of a player whose hidden layers are these."""
        return MuonOf(self, hidden)

    def rate(self, progress: float) -> float:
        """The learning rate of matrices when `progress` (0 to 1) of the stage is done."""
        return self.lr * share(self.schedule, self.warmup, progress, self.floor)


@dataclass(frozen=True)
class MuonOf:
    """Muon that knows which layers are hidden: what a `Player` takes."""

    muon: Muon
    hidden: nn.Module

    def __call__(self, weights: Iterable[nn.Parameter]) -> Optimizer:
        inner = {id(w) for w in self.hidden.parameters() if w.dim() == 2}
        weights, muon = list(weights), self.muon
        groups = [
            {"params": [w for w in weights if id(w) in inner], "matrices": True},
            {"params": [w for w in weights if id(w) not in inner], "matrices": False},
        ]
        return Orthogonalized(groups, iterations=muon.iterations, weight_decay=muon.weight_decay, **self.settings(0.0))

    def settings(self, progress: float) -> dict[str, Any]:
        """What the optimizer is set to when `progress` (0 to 1) of the stage is done."""
        muon = self.muon
        return {
            "lr": muon.rate(progress),
            "momentum": muon.momentum,
            **{f"adam_{name}": value for name, value in muon.adam.settings(progress).items()},
            "adam_eps": muon.adam.eps,
            "adam_decay": muon.adam.weight_decay,
        }


class Orthogonalized(Optimizer):
    """The optimizer itself. A group says by `matrices` how it is moved, and keeps `momentum` of each matrix, or what
    Adam keeps of other weights."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "lr": 0.02,
        "momentum": 0.95,
        "iterations": 5,
        "weight_decay": 0.0,
        "adam_lr": 1e-3,
        "adam_betas": (0.9, 0.999),
        "adam_eps": 1e-8,
        "adam_decay": 0.0,
        "matrices": False,
    }

    def __init__(self, groups: Iterable[Any], **settings: Any) -> None:
        super().__init__(groups, {**self.DEFAULTS, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves every weight that has a gradient. `closure` is not called."""
        for group in self.param_groups:
            moved = [w for w in group["params"] if w.grad is not None]
            (self.move_matrices if group["matrices"] else self.move_others)(moved, group)

    def move_matrices(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        alike = defaultdict[tuple[int, ...], list[Tensor]](list)
        for w in weights:
            alike[tuple(w.shape)].append(w)
        for (rows, columns), some in alike.items():
            directions = []
            for w in some:
                assert w.grad is not None
                held = self.state[w].setdefault("momentum", torch.zeros_like(w))
                held.lerp_(w.grad, 1 - group["momentum"])
                directions.append(w.grad.lerp(held, group["momentum"]))  # Nesterov's
            steps = orthogonalized(torch.stack(directions), group["iterations"])
            size = group["lr"] * max(1.0, rows / columns) ** 0.5
            for w, step in zip(some, steps, strict=True):
                if group["weight_decay"]:
                    w.mul_(1 - group["lr"] * group["weight_decay"])
                w.sub_(step, alpha=size)

    def move_others(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        (a, b), lr = group["adam_betas"], group["adam_lr"]
        for w in weights:
            assert w.grad is not None
            state = self.state[w]
            if not state:
                state.update(step=torch.zeros(()), mean=torch.zeros_like(w), square=torch.zeros_like(w))
            state["step"] += 1
            t = int(state["step"])
            state["mean"].lerp_(w.grad, 1 - a)
            state["square"].mul_(b).addcmul_(w.grad, w.grad, value=1 - b)
            if group["adam_decay"]:
                w.mul_(1 - lr * group["adam_decay"])
            scale = (state["square"] / (1 - b**t)).sqrt_().add_(group["adam_eps"])
            w.addcdiv_(state["mean"], scale, value=-lr / (1 - a**t))


def orthogonalized(x: Float[Tensor, "n rows columns"], iterations: int) -> Float[Tensor, "n rows columns"]:
    """About U V^T of each matrix U S V^T: its nearest orthogonal one, but for singular values between .7 and 1.2."""
    a, b, c = QUINTIC
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)  # so that no singular value is above one
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
