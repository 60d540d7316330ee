"""One stage being played: its optimizers, the batches that it draws, and the turns of its players."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from triptych.core import Batch, Clock, Data, Generative, Loss, NonFiniteError, Player, Stage, StepNoise, mix, trusting
from triptych.nn import ranks, recorded
from triptych.training.augmenting import augmenting
from triptych.training.compiling import Compiled
from triptych.training.extracting import extracted
from triptych.training.finite import Late, Ruined
from triptych.training.kernels import Kernels
from triptych.training.members import Members
from triptych.training.recording import Recording
from triptych.training.run import Run
from triptych.training.turn import Once, turn

LOOK = 100
"""Rounds from one to the next in which values of the data are looked at: whether they are in the model's space."""


@lru_cache(maxsize=2)
def order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def rows(n: int, batch: int, seed: int, drawn: int) -> Tensor:
    """Which of n examples make up a batch: a function of the seed and of how many batches came before.

    Every epoch is a new permutation; what does not fill a batch at its end is left for another epoch.
    """
    epoch, at = divmod(drawn, n // batch)
    return order(n, mix(seed, epoch))[at * batch : (at + 1) * batch]


@dataclass(frozen=True)
class Drawn:
    """A batch of a run: this rank's part of it, in the parts that it is worked on in."""

    seed: int
    """Of what a turn on it draws by itself."""
    parts: list[Batch[Any]]


class Playing:
    """A stage of a run. What it draws follows from the seed and the number of the batch."""

    def __init__(
        self,
        model: Generative[Any],
        data: Data,
        run: Run,
        stage: Stage,
        seed: int,
        compiled: Compiled | None = None,
    ) -> None:
        self.model, self.data, self.run, self.stage, self.seed = model, data, run, stage, seed
        self.size = stage.batch or run.batch
        self.optimizers: dict[str, Optimizer] = {p.name: p.optimizer(p.owns.parameters()) for p in stage.players}
        self.members = Members(model, stage.players)
        self.kernels = Kernels(model.device, run.precision, run.repeatable)
        self.compiled = compiled
        self.codes = extracted(model, data, stage.reads, stage.rounds(run.steps) * self.size / len(data), seed)
        whole = run.accumulate * ranks.world() == 1
        self.maker = next((p for p in stage.players if p.name == stage.maker), None) if whole else None
        self.fetched: tuple[int, Drawn] | None = None
        self.following = 0
        self.late = None if self.maker or not waits(model.device) else Late(model, self.fetch_ahead)
        self.recordings: dict[str, Recording] = {}
        if run.record and whole and not (compiled or self.maker) and recorded.records(model.device):
            memory = recorded.Memory() if model.device.type == "cuda" else None
            for player in stage.players:
                self.recordings[player.name] = Recording(model, player, self.members, self.kernels, memory)

    @property
    def shares(self) -> bool:
        """Whether all players of a round move on one batch. With a `maker`, on what is made of it once; else, in parts
        or on several ranks, on what is made of it again, of the same noise."""
        return self.stage.maker is not None

    def players(self, clock: Clock) -> list[Player]:
        """Whose turns make a round, in their order."""
        return [p for p in self.stage.players if clock.step % p.every == 0 for _ in range(p.turns)]

    @property
    def outstanding(self) -> bool:
        """Whether there are turns that were not looked at."""
        return self.late is not None and bool(self.late.turns)

    def begin(self) -> None:
        """Begins a round."""
        if self.late is not None:
            self.late.begin()

    def settle(self) -> None:
        """Looks at the turns that were not looked at: see `Late`."""
        if self.late is not None:
            self.late.settle()

    def draw(self, drawn: int) -> Drawn:
        """Batch number `drawn`, which may have been fetched before."""
        number, batch = self.fetched or (None, None)
        self.following = drawn + 1
        if batch is None or number != drawn:
            return self.fetch(drawn)
        self.fetched = None
        return batch

    def fetch_ahead(self) -> None:
        """Fetches the batch after the last one: before the host waits for a GPU, which is then not kept waiting."""
        if self.fetched is not None and self.fetched[0] == self.following:
            return
        try:
            self.fetched = self.following, self.fetch(self.following)
        except Exception:  # it fails again when its time has come, if it does
            self.fetched = None

    def rows(self, drawn: int) -> Tensor:
        """Which examples batch number `drawn` has, of all ranks."""
        return rows(len(self.data), self.size, self.seed, drawn)

    def fetch(self, drawn: int) -> Drawn:
        rank, world, size, seed, run = ranks.rank(), ranks.world(), self.size, self.seed, self.run
        batch_rows, each = self.rows(drawn), size // world // run.accumulate
        parts = []
        for first in range(rank * size // world, (rank + 1) * size // world, each):
            part = slice(first, first + each)
            batch = self.data.fetch(batch_rows[part], StepNoise(mix(seed, drawn), size, part, self.model.device))
            batch = self.codes.beside(batch, batch_rows[part])
            if run.channels_last and batch.x.dim() == 4:
                batch = replace(batch, x=channels_last(batch.x))
            if self.maker:
                batch = replace(batch, made=Once(self.maker))
            parts.append(batch)
        return Drawn(mix(seed, drawn, 1 + rank), parts)

    def move(self, player: Player, clock: Clock, batch: Drawn) -> Loss:
        """A turn of the player on a batch. Raises Unrepeatable as `Kernels.turn` does, and what `turn` raises."""
        reseed(batch.seed, self.model.device)  # dropout, augmentation; all else draws from the batch
        autocast = torch.bfloat16 if self.run.precision == "bf16" else None
        look = trusting() if clock.step % LOOK else nullcontext()
        recording = self.recordings.get(player.name) if clock.step % LOOK else None  # to look is to wait
        late = self.late if self.late is not None and not self.late.at_once else None
        compiled = self.compiled.playing(player.name) if self.compiled else nullcontext()
        options: Any = {"autocast": autocast, "members": self.members, "recording": recording, "late": late}
        with compiled, look, augmenting(self.model, self.run.augment), self.kernels.turn():
            return turn(self.model, player, self.optimizers[player.name], batch.parts, clock, **options)

    def placed(self, e: NonFiniteError, clock: Clock, number: int) -> NonFiniteError:
        """The error of a turn, with its round and the items of its batch."""
        first = ranks.rank() * self.size // ranks.world()
        items = ", ".join(map(str, self.rows(number)[first : first + 8].tolist()))
        left = "" if isinstance(e, Ruined) else "no weight or buffer was changed by it. "
        return type(e)(
            f"{e} in round {clock.step + 1}, on a batch with items {items}, ...; "
            f"{left}Lower the learning rate, or look at the data"
        )


def waits(device: torch.device) -> bool:
    """Whether to look at what the device has computed is to wait for it."""
    return device.type == "cuda"


def reseed(seed: int, device: torch.device) -> None:
    """As torch.manual_seed, but of the generators that a turn draws from: to visit all takes longer than to fetch."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def channels_last(x: Tensor) -> Tensor:
    """x with the channels innermost, said by its strides even where it has one channel.

    `contiguous(memory_format=...)` leaves such an x as it is, and then every layer of the network falls back too.
    """
    _, c, h, w = x.shape
    return torch.empty_strided(x.shape, (h * w * c, 1, w * c, c), dtype=x.dtype, device=x.device).copy_(x)
