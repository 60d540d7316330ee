"""The forward and backward pass of a turn, recorded once and played again where there is a GPU.

A turn takes a network some hundred to some thousand kernels, of a few millionths of a second each where the network is
small, and a host longer than that to launch each of them. A CUDA graph is launched as a whole. It computes what the
kernels one by one compute, bit for bit: the first two are held against that, and losses that are not the same work in
every round are left as they are.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from triptych.core import Batch, Clock, Loss, Player, StepNoise
from triptych.nn import recorded
from triptych.training.buffers import Buffers, copies
from triptych.training.kernels import Kernels
from triptych.training.members import Members

log = logging.getLogger(__name__)

WARM = 2
"""Turns that run as they are, in which libraries set themselves up, and what a loss does in Python is watched."""
CHECKED = 2
"""Recorded turns that are played both ways."""
NEAR = 0.05
"""How far, relative to its norm, a gradient may be from another of kernels that are not repeatable, in bf16, too."""

Work = Callable[[Batch[Any], Clock], Loss]
"""Forward and backward pass: the loss; the gradient is in the weights then."""


class Watched(Clock):
    """A clock that knows whether it was looked at: a loss that goes by it is not the same work in every round."""

    asked = 0
    """How many numbers were asked for, which are written anew before a turn is played."""

    def number(self, f: Callable[[Clock], float]) -> float:
        object.__setattr__(self, "asked", self.asked + 1)
        return f(Clock(object.__getattribute__(self, "step"), object.__getattribute__(self, "progress")))

    def __getattribute__(self, name: str) -> Any:
        if name in ("step", "progress"):
            object.__setattr__(self, "read", True)
        return super().__getattribute__(name)

    @property
    def looked(self) -> bool:
        return "read" in vars(self)


class Told(Clock):
    """The clock of a recorded turn: its numbers lie in places on the device."""

    asked: list[Callable[[Clock], float]]
    """What was asked for, in this order."""
    places: Sequence[Tensor]

    def __init__(self, clock: Clock, places: Sequence[Tensor]) -> None:
        super().__init__(clock.step, clock.progress)
        object.__setattr__(self, "asked", [])
        object.__setattr__(self, "places", places)

    def number(self, f: Callable[[Clock], float]) -> Tensor:
        self.asked.append(f)
        if len(self.asked) > len(self.places):
            raise RuntimeError("the loss asks the clock for more numbers than it did")
        return self.places[len(self.asked) - 1]


class Recording:
    """Forward and backward passes of one player in a stage, on batches that are alike in everything but numbers."""

    def __init__(
        self,
        model: nn.Module,
        player: Player,
        members: Members,
        kernels: Kernels,
        memory: recorded.Memory | None,
    ) -> None:
        self.model, self.name, self.kernels, self.memory = model, player.name, kernels, memory
        self.owned, self.members = members.owned[player.name], members
        self.turns = self.checked = 0
        self.given_up = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch[Any], clock: Clock, buffers: Buffers, work: Work) -> Loss:
        """What `work` does. `buffers` are those that the turn found."""
        self.turns += 1
        if self.given_up or not alike(batch):
            return work(batch, clock)
        if self.turns <= WARM:
            return self.watched(batch, clock, work)
        if self.graph is None and not self.record(batch, clock, work):
            return work(batch, clock)
        if not self.fits(batch):
            return work(batch, clock)
        if self.checked == CHECKED:
            return self.play(batch, clock)
        return self.check(batch, clock, buffers, work)

    def give_up(self, why: str, level: int = logging.INFO) -> None:
        """The turns of this player run kernel by kernel from now on."""
        log.log(level, "the turns of %s are not recorded, and run kernel by kernel: %s", self.name, why)
        self.given_up, self.graph = True, None

    def watched(self, batch: Batch[Any], clock: Clock, work: Work) -> Loss:
        """Runs as it is, and gives up where the next turn would be other work."""
        watched, before = Watched(clock.step, clock.progress), state(self.model)
        loss = work(batch, watched)
        self.numbers = watched.asked
        if watched.looked:
            self.give_up("the loss goes by how far training is")
        elif self.turns == WARM and (changed := difference(before, state(self.model))):
            self.give_up(f"the loss leaves something in {changed}")
        return loss

    def record(self, batch: Batch[Any], clock: Clock, work: Work) -> bool:
        """Records a turn, which is not run by that, on inputs that stay where they are."""
        assert isinstance(batch.noise, StepNoise)
        noise = copy.copy(batch.noise)
        noise.generator = torch.Generator(noise.device)
        self.batch: Batch[Any] = replace(mapped(batch, torch.clone), noise=noise)
        self.generator = noise.generator

        self.told = torch.zeros(self.numbers, device=noise.device).unbind()

        def step() -> None:
            told = Told(clock, self.told)
            self.loss, self.asked = work(self.batch, told), told.asked

        self.graph = recorded.recorded(
            step,
            noise.device,
            generators=[self.generator],
            memory=self.memory,
            what=f"the turns of {self.name}",
        )
        if self.graph is None:
            self.given_up = True
        else:
            self.gradients = [w.grad for w in self.owned]
            self.places = self.addresses()
            if any(v.device != batch.x.device for v in self.loss.logs.values()):
                self.give_up("the loss logs what is not on the device")
        for w in self.owned:
            w.grad = None
        return self.graph is not None

    def addresses(self) -> list[int]:
        return [value.data_ptr() for value in self.members.buffers().values()]

    def fits(self, batch: Batch[Any]) -> bool:
        """Whether the batch is of the recorded one's shapes, and everything still where it was."""
        pairs = list(zip(tensors(self.batch), tensors(batch), strict=False))
        same = len(pairs) == len(list(tensors(batch))) and all(
            a.shape == b.shape and a.dtype == b.dtype and a.stride() == b.stride() for a, b in pairs
        )
        if same and self.addresses() != self.places:
            self.give_up("a buffer of the model is another tensor than it was")
            return False
        return same

    def play(self, batch: Batch[Any], clock: Clock) -> Loss:
        """The recorded work on this batch."""
        assert self.graph is not None and isinstance(batch.noise, StepNoise)
        for mine, theirs in zip(tensors(self.batch), tensors(batch), strict=True):
            mine.copy_(theirs)
        for place, f in zip(self.told, self.asked, strict=True):
            place.fill_(f(clock))
        self.generator.set_state(batch.noise.generator.get_state())
        self.graph.replay()
        for w, gradient in zip(self.owned, self.gradients, strict=True):
            w.grad = gradient
        value, *logs = copies([self.loss.value, *self.loss.logs.values()])  # the next turn takes their places
        return Loss(value, dict(zip(self.loss.logs, logs, strict=True)))

    def check(self, batch: Batch[Any], clock: Clock, buffers: Buffers, work: Work) -> Loss:
        """Plays what was recorded, and then the turn as it is, which counts; gives up if they differ."""
        device = batch.x.device
        before = random_state(device)
        mine = self.play(batch, clock)
        gradients, moved = copies(present(self.gradients)), copies(buffers.changeable())
        buffers.restore()
        for w in self.owned:
            w.grad = None
        random_state(device, before)
        loss = work(batch, clock)
        ours = [*gradients, *moved, mine.value.reshape(1)]
        theirs = [*present([w.grad for w in self.owned]), *buffers.changeable(), loss.value.reshape(1)]
        if not self.equal(ours, theirs):
            self.give_up("recorded, they are not what they are kernel by kernel", logging.WARNING)
        self.checked += 1
        return loss

    def equal(self, ours: list[Tensor], theirs: list[Tensor]) -> bool:
        """Whether all are the same bits; or about the same, of kernels that are not repeatable."""
        if [t.shape for t in ours] != [t.shape for t in theirs]:
            return False
        if self.kernels.exact:
            return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        apart = torch.nn.utils.get_total_norm([a.float() - b.float() for a, b in zip(ours, theirs, strict=True)])
        return bool(apart <= NEAR * torch.nn.utils.get_total_norm([b.float() for b in theirs]))


def alike(batch: Batch[Any]) -> bool:
    """Whether a batch holds nothing but tensors and a step's noise."""
    return batch.made is None and isinstance(batch.noise, StepNoise)


def mapped(batch: Batch[Any], f: Callable[[Tensor], Tensor]) -> Batch[Any]:
    """The batch with each of its tensors changed."""
    changed: dict[str, Any] = {k: f(v) for k, v in vars(batch).items() if isinstance(v, Tensor)}
    return replace(batch, given=batch.given and batch.given.map(f), **changed)


def tensors(batch: Batch[Any]) -> Iterator[Tensor]:
    """All tensors of a batch, in an order."""
    yield from (v for v in vars(batch).values() if isinstance(v, Tensor))
    yield from (v for v in vars(batch.given).values() if isinstance(v, Tensor)) if batch.given is not None else ()


def present(gradients: list[Tensor | None]) -> list[Tensor]:
    return [g for g in gradients if g is not None]


def random_state(device: torch.device, state: Tensor | None = None) -> Tensor:
    """The state of a device's own generator, after it was set to one, if there is any."""
    random: Any = torch if device.type == "cpu" else torch.get_device_module(device)
    place = () if device.type == "cpu" else (device,)
    if state is not None:
        random.set_rng_state(state, *place)
    found: Tensor = random.get_rng_state(*place)
    return found


def state(model: nn.Module) -> dict[str, tuple[int, int]]:
    """What hangs on each module, but for weights: which object it is, and how much of it there is."""
    found = {}
    for name, module in model.named_modules():
        for key, value in [*vars(module).items(), *module._buffers.items()]:
            if key not in ("_parameters", "_buffers", "_modules"):
                sized = isinstance(value, list | dict | set)
                found[f"{name}.{key}" if name else key] = id(value), len(value) if sized else 0
    return found


def difference(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> str | None:
    """The first that is not what it was."""
    return next((name for name in [*after, *before] if before.get(name) != after.get(name)), None)
