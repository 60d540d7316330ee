"""The search for AutoGAN's generator: `python -m triptych.search.autogan --data mnist --out DIR`.

AutoGAN: Neural Architecture Search for Generative Adversarial Networks.
Gong, Chang, Jiang and Wang, 2019. https://arxiv.org/abs/1908.03835, Section 3

A controller, an LSTM, writes down a generator choice by choice. One network holds the weights of every generator that
it can write (parameter sharing), and is trained on those that it does; their rewards train the controller, by REINFORCE
with a baseline. Generators grow cell by cell (multi-level search): once a cell has been searched, the best few, with
the controller's states, are what a new controller goes on from at twice the resolution (progressive beam). The shared
network starts afresh when its losses hardly move any more (dynamic reset).

The result is a value of AutoGAN's `cells`. Beside it a random search is run, of equal budget: the same program with a
controller that never learns.
"""

import argparse
import json
import logging
import math
import platform
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
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
)
from triptych.data import data as open_data
from triptych.errors import Interrupted, TriptychError
from triptych.io import commit, configs, outputs, tensors
from triptych.io.lock import writing
from triptych.losses import adversarial
from triptych.models.gan.autogan import Cell, Discriminator, Generator, initialize
from triptych.nn.residual import spectral
from triptych.report.charts import Chart, Series, lines
from triptych.search.controller import Controller, Draft, State, every_cell
from triptych.search.rewards import Closeness, InceptionScore, Reward, reduced
from triptych.training import turn
from triptych.training.loop import restore, rows
from triptych.training.signals import Stop, catching

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


@dataclass(frozen=True)
class Kept:
    """A generator so far, and the controller's state at its end."""

    cells: tuple[Cell, ...]
    state: State


@dataclass(frozen=True)
class Trial:
    """A generator that was given a reward."""

    cells: tuple[Cell, ...]
    reward: float
    rounds: int
    """Of the shared network, until then."""


@dataclass(frozen=True)
class Found:
    """What came of a search."""

    best: Trial
    finalists: tuple[Trial, ...]
    """The candidates at its end, best first."""
    trials: tuple[Trial, ...]
    """Those that the controller learned from, in order."""
    resets: int


def searchable(data: Data, settings: Search) -> Images:
    """What the data is of. Raises UsageError unless it is images, large enough for so many cells."""
    cells = len(settings.iterations)
    if not isinstance(data.x, Images) or min(data.x.height, data.x.width) < 2 << cells:
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


def as_json(found: Found) -> dict[str, Any]:
    """All but the controller, as JSON values."""

    return {
        "best": trial_json(found.best),
        "finalists": [trial_json(t) for t in found.finalists],
        "trials": [trial_json(t) for t in found.trials],
        "resets": found.resets,
    }


def from_json(found: dict[str, Any]) -> Found:
    """The inverse of `as_json`."""
    finalists, trials = (tuple(trial_from(t) for t in found[name]) for name in ("finalists", "trials"))
    return Found(trial_from(found["best"]), finalists, trials, found["resets"])


def trial_json(trial: Trial) -> dict[str, Any]:
    return {**asdict(trial), "cells": cells_json(trial.cells)}


def trial_from(saved: dict[str, Any]) -> Trial:
    return Trial(cells_from(saved["cells"]), saved["reward"], saved["rounds"])


def cells_from(saved: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    return tuple(configs.from_json(Cell, cell, "a cell") for cell in saved)


def cells_json(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What AutoGAN's configuration takes as `cells`."""
    return [configs.to_json(cell) for cell in cells]


def curve(searches: dict[str, Found], reward: str) -> str:
    """Rewards in the order in which they were given, as an SVG picture."""
    series = [
        Series(name, range(1, len(found.trials) + 1), [t.reward for t in found.trials])
        for name, found in searches.items()
    ]
    depths = [len(t.cells) for t in next(iter(searches.values())).trials]
    grown = [str(i + 1) for i in range(1, len(depths)) if depths[i] > depths[i - 1]]
    caption = f"A cell more, and twice the resolution, from number {' and '.join(grown)} on." if grown else ""
    return lines(Chart(title="Rewards", series=series, x_label="generators tried", y_label=reward, caption=caption))


def folder(text: str) -> Path:
    """A folder's name from the command line."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a folder")
    return Path(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m triptych.search.autogan",
        description="Searches for AutoGAN's generator, and beside it at random. OUT/cells.json is what was found: "
        'triptych train autogan-mnist --data mnist --out DIR "cells=$(cat OUT/cells.json)"',
    )
    parser.add_argument("--data", required=True, metavar="SOURCE", help="images; those of its training part are used")
    parser.add_argument(
        "--out", required=True, type=folder, metavar="DIR", help="for search.json, cells.json, curve.svg, checkpoint/"
    )
    parser.add_argument("--reward", choices=("closeness", "inception-score"), default="closeness")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with the search in DIR, if there is one, bit for bit (the default)",
    )
    parser.add_argument("--save-seconds", type=float, default=60, metavar="S", help="time between checkpoints")
    parser.add_argument("settings", nargs="*", metavar="FIELD=VALUE", help="fields of Search: width=32 seed=1")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with catching() as stop:
        try:
            source, settings = open_data(args.data), configs.override(Search(), args.settings)
            searchable(source, settings)
            reward = Closeness(source) if args.reward == "closeness" else InceptionScore()
            options = {"resume": args.resume, "save_seconds": args.save_seconds, "stop": stop}
            with writing(args.out):
                run(source, settings, reward, args.out, **options)
        except TriptychError as e:
            parser.exit(e.exit_code, f"error: {e}\n")
        except Interrupted as e:
            parser.exit(e.exit_code, f"{e}\n")


WRITTEN = ("search.json", "cells.json", "cells-random.json", "curve.svg")
CHECKPOINT = "checkpoint"
STATE, TENSORS = "state.json", "state.safetensors"


def run(
    source: Data,
    settings: Search,
    reward: Closeness | InceptionScore,
    out: Path,
    *,
    resume: bool = False,
    save_seconds: float = 60,
    stop: Stop | None = None,
) -> None:
    """The search and the random one, each written to the folder once it is done, and both as far as they are to
    checkpoint/ every `save_seconds` and when `stop` is asked for.

    Raises UsageError if the folder holds a search that is not to be gone on with, or another one; Interrupted after a
    checkpoint.
    """
    protocol = {
        "data": source.name,
        "fingerprint": source.fingerprint,
        "reward": f"{reward.name}, {settings.images} samples of the same z, at the resolution of the last cell",
        "settings": configs.to_json(settings),
    }
    saved = reopen(out, protocol) if resume else None
    if saved is None:
        if (out / CHECKPOINT).exists():
            raise UsageError(f"{out} already holds a search; --resume goes on with it, another --out starts afresh")
        outputs.check_files(out, WRITTEN)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    about: dict[str, Any] = saved["done"] if saved else {}
    last = -math.inf  # the first step is kept at once: the folder is a search's from then on

    for name, learn in (("controller", True), ("random", False)):
        if name in about:
            continue
        ours = saved is not None and saved["name"] == name
        spent, began = saved["seconds"] if saved and ours else 0.0, time.monotonic()
        log.info("%s search%s", name, ", gone on with" if ours else "")

        def keep(now: Searching | None, name: str = name, spent: float = spent, began: float = began) -> None:
            nonlocal last
            seconds = spent + time.monotonic() - began
            state = {"protocol": protocol, "machine": machine, "name": name, "done": about, "seconds": seconds}
            plain, tensors_ = tensors.pack_tree({**state, "search": now.state() if now else None})
            commit.commit(out / CHECKPOINT, {STATE: plain, TENSORS: tensors_})
            last = time.monotonic()

        def after(now: Searching, keep: Callable[[Searching], None] = keep) -> None:
            asked = stop.signal if stop is not None else None
            if asked is not None or time.monotonic() - last > save_seconds:
                keep(now)
            if asked is not None:
                raise Interrupted(asked, f"interrupted after {now.rounds} rounds; saved in {out}: --resume goes on")

        state = saved["search"] if saved and ours else None
        found = search(source, replace(settings, learn=learn), reward, state=state, after=after)
        about[name] = {**as_json(found), "seconds": spent + time.monotonic() - began}
        write(out, name, found, {"protocol": {**protocol, "machine": machine}, **about}, reward.name)
        keep(None)


def write(out: Path, name: str, found: Found, written: dict[str, Any], reward: str) -> None:
    """What came of a search, and of those before it."""
    searches = {name: from_json(written[name]) for name in written if name != "protocol"}
    file = "cells.json" if name == "controller" else "cells-random.json"
    commit.write_atomic(out / "search.json", (json.dumps(written, indent=1) + "\n").encode())
    commit.write_atomic(out / file, (json.dumps(cells_json(found.best.cells)) + "\n").encode())
    commit.write_atomic(out / "curve.svg", curve(searches, reward).encode())
    log.info("%s: reward %.3f, %s", name, found.best.reward, cells_json(found.best.cells))


def reopen(out: Path, protocol: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint of a search; None if there is none yet. Raises UsageError if it is of another search."""
    path = out / CHECKPOINT
    if not commit.committed(path):
        return None
    files = commit.read(path, [STATE, TENSORS])
    saved: dict[str, Any] = tensors.unpack_tree(files[STATE], files[TENSORS], str(path / TENSORS))
    then = saved.get("protocol", {})
    changed = [k for k in protocol if then.get(k) != protocol[k]]
    if changed:
        k = changed[0]
        raise UsageError(f"{out} holds a search with {k} {then.get(k)}, not {protocol[k]}; name another --out")
    return saved


if __name__ == "__main__":
    main()
