"""Training as a game: players take turns, each lowering its own loss over its own weights.

A VAE or an autoregressive model is a game of one player; a GAN is a game of two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from triptych.core.given import Batch
from triptych.core.muon import MuonOf
from triptych.core.optimizers import Adam, RMSProp


@dataclass(frozen=True)
class Clock:
    """Where training stands: the round within the stage, and how much of the stage is done (0 to 1)."""

    step: int
    progress: float

    def number(self, f: "Callable[[Clock], float]") -> float | Tensor:
        """What f says of this clock, for a loss to compute with: a weight that rises over training, say. A loss that
        asks in this way is the same work in every round, and may be recorded (see `training.recording`).

        Example:
            penalty = clock.number(lambda now: 1 - now.progress) * gradients.square().mean()
        """
        return f(self)


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
    optimizer: Adam | RMSProp | MuonOf
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
    fits: Callable[[Any], Mapping[str, Any]] | None = None
    """Of a preset for data of any size: x and the condition are the data's, and these the settings that follow from x
    (`unchanged`: none do). None: x is the configuration's."""
    expect: str
    """Data, hardware, minutes and the number reached, as measured."""


def unchanged(x: Any) -> Mapping[str, Any]:
    """`Preset.fits` where no other setting follows from x."""
    return {}


def sized(preset: Preset, *, fits: Callable[[Any], Mapping[str, Any]] = unchanged, steps: int | None = None) -> Preset:
    """A preset made for one size, for data of any: x and the condition are the data's, and `fits` says what follows."""
    x = preset.config.x
    expect = f"x and the condition are the data's. Measured, if at all, with {x}: {preset.expect}"
    return replace(preset, fits=fits, steps=steps or preset.steps, expect=expect)
