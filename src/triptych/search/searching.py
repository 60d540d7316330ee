"""The search itself: a controller, a shared network that holds every generator, and cells found one after the other.

See `triptych.search.autogan` for the paper.
"""

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from statistics import pvariance
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Data,
    Fraction,
    Images,
    Loss,
    NonNegative,
    Player,
    Positive,
    StepNoise,
    UsageError,
    config,
    mix,
    planar,
)
from triptych.losses import adversarial
from triptych.models.gan.autogan import Cell, Discriminator, Generator, initialize
from triptych.nn.residual import spectral
from triptych.search.controller import Controller, Draft, every_cell
from triptych.search.found import Found, Kept, Trial, cells_from, cells_json, trial_from, trial_json
from triptych.search.rewards import Reward, reduced
from triptych.training import turn
from triptych.training.playing import rows
from triptych.training.restoring import restore

log = logging.getLogger(__name__)


@config
class Search:
    """How long and how wide to search. The defaults take about a quarter of an hour of one CPU core on MNIST, for the
    search and for the random one beside it; `PAPER` is what the authors did."""

    iterations: tuple[Count, ...] = (6, 8, 12)
    """For each cell, how often the shared network and then the controller are trained."""
    shared_steps: Count = 80
    """Rounds of the shared network an iteration."""
    controller_steps: Count = 12
    """Updates of the controller an iteration, each by the reward of one generator."""
    candidates: Count = 10
    """Generators drawn once a cell has been searched,"""
    beam: Count = 5
    """and how many of them are gone on from."""
    batch: Count = 16
    """Examples a turn of the shared network."""
    latent: Count = 64
    """Dimensions of z."""
    width: Count = 16
    """Channels of every cell."""
    critic_width: Count = 16
    """Channels of every block of the discriminator."""
    turns: Count = 2
    """Updates of the discriminator for each of the generator."""
    adam: Adam = Adam(lr=1e-3, betas=(0.0, 0.9))
    """For either player of the shared network."""
    images: Count = 500
    """Samples that a reward is measured on."""
    hidden: Count = 100
    """Units of the controller."""
    rate: Positive = 1e-3
    """The controller's learning rate. At five times as much it settled on one generator within twelve rewards."""
    entropy: NonNegative = 2e-2
    """Weight of the entropy of its choices, in nats, beside the reward."""
    baseline: Fraction = 0.9
    """Decay of the mean reward that a reward is compared with."""
    window: Count = 200
    """Rounds over which losses have to move."""
    still: NonNegative = 1e-3
    """A variance of either loss, over the window, below which the shared network starts afresh."""
    learn: bool = True
    """Whether the controller learns; false: random search."""
    seed: int = 0
    """Decides every random draw."""


PAPER = Search(
    iterations=(15, 20, 30),
    shared_steps=15 * 781,
    controller_steps=30,
    batch=64,
    latent=128,
    width=128,
    critic_width=64,
    turns=5,
    adam=Adam(lr=2e-4, betas=(0.0, 0.9)),
    images=5000,
    rate=3.5e-4,
    entropy=1e-3,
    window=500,
)
"""For CIFAR-10, with the Inception score as reward; 43 GPU hours in the paper. Not run by us."""


# what is trained on them


class SharedGAN(nn.Module):
    """Every generator at once, and the discriminator that they play against."""

    def __init__(self, x: Images, settings: Search) -> None:
        super().__init__()
        self.settings = s = settings
        choices = [every_cell(i) for i in range(len(s.iterations))]
        self.generator = Generator(x, s.latent, s.width, choices, shared=True).apply(initialize)
        self.discriminator = Discriminator(x, s.critic_width).apply(initialize).apply(spectral)
        self.cells: tuple[Cell, ...] = ()
        """Those that are played with now."""

    def judge(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        return self.discriminator(x, len(self.cells))

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        made = self.generator(batch.noise.normal(self.settings.latent), self.cells)
        return Loss(adversarial.hinge_discriminator(self.judge(batch.x), self.judge(made)))

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        made = self.generator(batch.noise.normal(2, self.settings.latent).flatten(0, 1), self.cells)
        return Loss(adversarial.hinge_generator(self.judge(made)))

    def players(self) -> list[Player]:
        adam, turns = self.settings.adam, self.settings.turns
        return [
            Player(
                name="discriminator", owns=self.discriminator, loss=self.discriminator_loss, optimizer=adam, turns=turns
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=adam),
        ]


# the search


def searchable(data: Data, settings: Search) -> Images:
    """What the data is of. Raises UsageError unless it is images, large enough for so many cells."""
    cells = len(settings.iterations)
    if not planar(data.x) or min(data.x.height, data.x.width) < 2 << cells:
        raise UsageError(
            f"iterations={list(settings.iterations)}: a generator of {cells} cells takes images whose sides have "
            f"{2 << cells} pixels or more; {data.name} serves {data.x}"
        )
    return data.x


class Searching:
    """The state of a search: everything that `search` moves."""

    def __init__(self, data: Data, settings: Search, reward: Reward) -> None:
        self.x = searchable(data, settings)
        self.data, self.settings, self.reward = data, settings, reward
        self.rounds = self.drawn = self.resets = 0
        self.coins = torch.Generator().manual_seed(mix(settings.seed, 1))
        self.lots = random.Random(mix(settings.seed, 2))
        self.z = StepNoise(mix(settings.seed, 3), settings.images, slice(None)).normal(settings.latent)
        self.start()
        zeros = torch.zeros(1, settings.hidden)
        self.beam = [Kept((), (zeros, zeros))]
        self.trials, self.finalists = list[Trial](), list[Trial]()
        self.begin_cell(0)

    def begin_cell(self, cell: int) -> None:
        """A new controller, for so many cells before its own; none once all have been searched."""
        self.cell, self.iteration, self.shared_done, self.updates_done = cell, 0, 0, 0
        self.baseline: float | None = None
        if cell < len(self.settings.iterations):
            self.controller = Controller(self.settings.hidden, cell)
            self.optimizer = torch.optim.Adam(self.controller.parameters(), self.settings.rate, betas=(0.0, 0.9))

    @property
    def done(self) -> bool:
        return self.cell == len(self.settings.iterations)

    def step(self) -> None:
        """A round of the shared network, or an update of the controller; and what is due after it."""
        s = self.settings
        if self.shared_done < s.shared_steps:
            self.round(self.controller)
            self.shared_done += 1
        else:
            self.update()
            self.updates_done += 1
        if self.updates_done < s.controller_steps:
            return
        self.shared_done, self.updates_done, self.iteration = 0, 0, self.iteration + 1
        where = f"cell {self.cell + 1}, iteration {self.iteration} of {s.iterations[self.cell]}"
        log.info("%s: mean reward %.3f", where, self.baseline)
        if self.iteration == s.iterations[self.cell]:
            found = self.selected(self.controller)
            self.finalists = [trial for trial, _ in found]
            self.beam = [kept for _, kept in found[: s.beam]]
            self.begin_cell(self.cell + 1)

    def update(self) -> None:
        """The controller learns from the reward of one generator (Section 3.2)."""
        s = self.settings
        cells, draft = self.write(self.controller)
        self.trials.append(trial := self.tried(cells))
        baseline = trial.reward if self.baseline is None else self.baseline
        loss = (baseline - trial.reward) * draft.log_prob - s.entropy * draft.entropy
        self.baseline = torch.lerp(torch.tensor(trial.reward), torch.tensor(baseline), s.baseline).item()
        if s.learn:
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def found(self) -> Found:
        """What came of it."""
        return Found(self.finalists[0], tuple(self.finalists), tuple(self.trials), self.resets)

    COUNTERS = ("rounds", "drawn", "resets", "cell", "iteration", "shared_done", "updates_done", "baseline")

    def state(self) -> dict[str, Any]:
        """Everything that `load` goes on from: JSON values and tensors."""
        return {
            "at": {name: getattr(self, name) for name in self.COUNTERS},
            "shared": self.shared.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "losses": {name: list(kept) for name, kept in self.losses.items()},
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "beam": [{"cells": cells_json(kept.cells), "state": list(kept.state)} for kept in self.beam],
            "trials": [trial_json(trial) for trial in self.trials],
            "finalists": [trial_json(trial) for trial in self.finalists],
            "coins": self.coins.get_state(),
            "lots": self.lots.getstate(),
            "random": torch.get_rng_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes to where another search of the same data and settings stood, torch's global generator too."""
        self.begin_cell(min(state["at"]["cell"], len(self.settings.iterations) - 1))
        for name in self.COUNTERS:
            setattr(self, name, state["at"][name])
        self.shared.load_state_dict(state["shared"])
        for name, optimizer in self.optimizers.items():
            restore(optimizer, state["optimizers"][name])
        for name, kept in self.losses.items():
            kept.extend(state["losses"][name])
        self.controller.load_state_dict(state["controller"])
        restore(self.optimizer, state["optimizer"])
        self.beam = [Kept(cells_from(kept["cells"]), tuple(kept["state"])) for kept in state["beam"]]
        self.trials = [trial_from(trial) for trial in state["trials"]]
        self.finalists = [trial_from(trial) for trial in state["finalists"]]
        self.coins.set_state(state["coins"])
        version, numbers, gauss = state["lots"]
        self.lots.setstate((version, tuple(numbers), gauss))
        torch.set_rng_state(state["random"])

    def start(self) -> None:
        """The shared network, new."""
        self.shared = SharedGAN(self.x, self.settings)
        self.players = self.shared.players()
        self.optimizers = {p.name: p.optimizer(p.owns.parameters()) for p in self.players}
        self.losses = {p.name: deque[float](maxlen=self.settings.window) for p in self.players}

    def write(self, controller: Controller) -> tuple[tuple[Cell, ...], Draft]:
        """A generator, by one more cell than one of the beam has."""
        kept = self.lots.choice(self.beam)
        draft = controller.write(kept.state, self.coins)
        return (*kept.cells, draft.cell), draft

    def round(self, controller: Controller) -> None:
        """Each player's turns, with a generator that the controller has written."""
        s = self.settings
        with torch.no_grad():
            self.shared.cells, _ = self.write(controller)
        for player in self.players:
            for _ in range(player.turns):
                chosen = rows(len(self.data), s.batch, s.seed, self.drawn)
                batch = self.data.fetch(chosen, StepNoise(mix(s.seed, self.drawn), s.batch, slice(None)))
                x = reduced(batch.x, len(s.iterations) - len(self.shared.cells))
                clock = Clock(self.rounds, 0.0)
                loss = turn(self.shared, player, self.optimizers[player.name], replace(batch, x=x, given=None), clock)
                self.drawn += 1
            self.losses[player.name].append(loss.value.item())
        self.rounds += 1
        if any(len(kept) == s.window and pvariance(kept) < s.still for kept in self.losses.values()):
            log.info("round %d: the shared network starts afresh", self.rounds)
            self.resets += 1
            self.start()

    def tried(self, cells: tuple[Cell, ...]) -> Trial:
        """Its reward now, on the same z as all others'."""
        with torch.no_grad():
            images = torch.cat([self.shared.generator(z, cells) for z in torch.split(self.z, 250)])
        return Trial(cells, self.reward(images), self.rounds)

    def selected(self, controller: Controller) -> list[tuple[Trial, Kept]]:
        """The candidates, best first, each once."""
        found = {}
        with torch.no_grad():
            for _ in range(self.settings.candidates):
                cells, draft = self.write(controller)
                found[cells] = self.tried(cells), Kept(cells, draft.state)
        return sorted(found.values(), key=lambda one: -one[0].reward)


def search(
    data: Data,
    settings: Search,
    reward: Reward,
    *,
    state: dict[str, Any] | None = None,
    after: Callable[[Searching], None] | None = None,
) -> Found:
    """Searches for a generator of len(settings.iterations) cells; `data` is what the shared network is trained on.

    Seeded; torch's global generator is left as it was. `after` is called after every step, and may keep the search's
    `state()`: from there another call goes on, bit for bit.

    Raises UsageError if the images are too small for so many cells.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(settings.seed))
        now = Searching(data, settings, reward)
        if state is not None:
            now.load(state)
        while not now.done:
            now.step()
            if after is not None:
                after(now)
    return now.found()


# what is kept of it
