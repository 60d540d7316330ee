"""The training loop, as an iterator: what happens between rounds is the caller's own code."""

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from triptych.core import Clock, Data, Generative, Loss, NonFiniteError, UsageError, mix
from triptych.nn import ranks
from triptych.nn.equalized import MinibatchDeviation
from triptych.training.augmenting import judges_of
from triptych.training.compiling import Compiled
from triptych.training.finite import Again, Ruined
from triptych.training.kernels import Unrepeatable
from triptych.training.playing import Playing
from triptych.training.restoring import restore
from triptych.training.run import Run

log = logging.getLogger(__name__)

SKIPS = 20
"""Turns without a finite loss, one after the other, that are too many to skip."""

State = dict[str, Any]
"""Where training stands: {"position": whole numbers, "optimizers": state dicts by player}. JSON leaves and tensors."""


@dataclass(frozen=True)
class Round:
    """What one round of the game did, and where training now stands."""

    step: int
    """Rounds done since training began, over all stages."""
    stage: int
    stage_name: str
    stage_step: int
    """Rounds done in this stage, of `stage_steps`."""
    stage_steps: int
    drawn: int
    """Batches drawn since training began."""
    losses: dict[str, Loss]
    """The last loss of each player that moved in this round."""
    optimizers: dict[str, Optimizer]
    retry: int = 0
    """Times that the run was taken back to a checkpoint, to go on with other random numbers."""

    def logs(self) -> dict[str, float]:
        """The losses and what they log, as plain numbers: {"generator": 0.7, "discriminator/real": 2.1, ...}."""
        found = {}
        for name, loss in self.losses.items():
            found[name] = loss.value
            found |= {f"{name}/{k}": v for k, v in loss.logs.items()}
        if not found:
            return {}
        exact = torch.float64 if torch.float64 in {v.dtype for v in found.values()} else torch.float32
        device = next(iter(found.values())).device
        # read at once, as a GPU has to be waited for
        values = torch.stack([v.detach().to(device, exact).reshape(()) for v in found.values()]).tolist()
        return dict(zip(found, values, strict=True))

    def __repr__(self) -> str:
        said = ", ".join(f"{name} {loss.value.item():.4g}" for name, loss in self.losses.items())
        return f"<round {self.step}: {said}>"

    def state(self) -> State:
        """What `train(..., resume=...)` continues from, together with the model's own weights."""
        position = {k: getattr(self, k) for k in ("step", "stage", "stage_step", "drawn", "retry")}
        return {"position": position, "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()}}


def check_batches(model: Generative[Any], data: Data, run: Run) -> None:
    """Raises UsageError unless every stage's batch can be filled from the data and split evenly over the ranks, and
    augmented, if it is to be."""
    world = ranks.world()
    if run.augment:
        judges_of(model)
        if run.compile:
            raise UsageError(
                "compile=True and augment: what is augmented changes the network at every turn; leave one of them out"
            )
    for size in {stage.batch or run.batch for stage in model.stages()}:
        if size > len(data):
            raise UsageError(
                f"a batch of {size} needs at least {size} examples; {data.name} has {len(data)}: lower the batch size"
            )
        if size % world:
            raise UsageError(
                f"a batch of {size} cannot be split evenly over {world} ranks; choose a multiple of {world}"
            )
        if size // world % run.accumulate:
            raise UsageError(
                f"accumulate={run.accumulate}: a batch of {size // world} cannot be worked on in so many equal parts"
            )


def train(
    model: Generative[Any], data: Data, run: Run, *, resume: State | None = None, skip: bool = False
) -> Generator[Round, None, None]:
    """Plays the model's stages on its own device, one round at a time.

    Every random draw follows from `run.seed` and the number of batches drawn, so that a run continued from a saved
    `Round.state()` (and the weights that were current then) equals one that was never interrupted, bit for bit. torch's
    global generator is reseeded every turn.

    With `skip`, a turn whose loss or gradient is not finite is left out, unless the next ones are no better.

    Under torch.distributed every rank calls this with the same arguments and works on its part of each batch. All begin
    with the weights of the first. What a batch is normalized by, compared with or counted in is the batch of all ranks
    together; masks of dropout and augmentations are each rank's own.

    Raises NonFiniteError when a loss or a gradient is NaN or infinite; UsageError when the data has fewer examples
    than a batch, a batch cannot be split evenly over the ranks, or there is no discriminator to augment images for.
    """
    check_batches(model, data, run)
    model.train()
    same_start(model)
    for line in peculiarities(model, run):
        if ranks.rank() == 0:
            log.warning("%s", line)
    if run.channels_last:
        lay_out(model)
    compiled = Compiled(model) if run.compile else None
    at = resume["position"] if resume else {"step": 0, "stage": 0, "stage_step": 0, "drawn": 0}
    step, drawn, retry, patience = at["step"], at["drawn"], at.get("retry", 0), Patience(skip)
    seed = mix(run.seed, retry) if retry else run.seed
    for s, stage in enumerate(model.stages()):
        if s < at["stage"]:
            continue
        if stage.begin:
            stage.begin()
        playing = Playing(model, data, run, stage, seed, compiled)
        first, steps = 0, stage.rounds(run.steps)
        if resume and s == at["stage"]:
            first = at["stage_step"]
            for name, optimizer in playing.optimizers.items():
                restore(optimizer, resume["optimizers"].get(name))
        for k in range(first, steps):
            clock = Clock(k, k / steps)
            losses, drawn = play(playing, clock, drawn, patience)
            step += 1
            yield Round(step, s, stage.name, k + 1, steps, drawn, losses, playing.optimizers, retry)


class Patience:
    """With turns that are not finite: whether they are left out, and how many were, one after the other."""

    def __init__(self, skip: bool) -> None:
        self.skip, self.skipped = skip, 0

    def bear(self, e: NonFiniteError) -> None:
        """Raises the error where it is not to be borne."""
        self.skipped += 1
        if not self.skip or self.skipped == SKIPS or isinstance(e, Ruined):
            raise e from None
        log.warning("left out: %s", e)


def play(playing: Playing, clock: Clock, drawn: int, patience: Patience) -> tuple[dict[str, Loss], int]:
    """A round: the last loss of each player, and how many batches are drawn after it."""
    players = playing.players(clock)
    done: list[Loss | None] = []  # of each turn; None: left out
    shared, again = None, False
    playing.begin()
    while len(done) < len(players) or playing.outstanding:
        try:
            if len(done) == len(players):
                playing.settle()
            else:
                number = drawn if playing.shares else drawn + len(done)
                batch = shared or playing.draw(number)
                try:
                    moved = playing.move(players[len(done)], clock, batch)
                except Unrepeatable:
                    batch = playing.draw(number)  # its noise is used up
                    moved = playing.move(players[len(done)], clock, batch)
                done.append(moved)
                shared = batch if playing.maker else None
        except NonFiniteError as e:
            turn = len(done) if not isinstance(e, Ruined) or e.turn is None else e.turn
            patience.bear(playing.placed(e, clock, drawn if playing.shares else drawn + turn))
            done.append(None)
            shared = None  # buffers were put back, which what was made needs
        except Again as e:
            del done[e.turn :]
            again = True
        else:
            if not playing.outstanding:
                patience.skipped = 0
    if again and None not in done:
        playing.late = None  # all is finite, but for squares of it: do not ask again
    losses = {player.name: loss for player, loss in zip(players, done, strict=True) if loss is not None}
    return losses, drawn + (1 if playing.shares else len(players))


def same_start(model: nn.Module) -> None:
    """Every rank takes the weights and buffers of the first: each may have drawn its own."""
    if ranks.world() > 1:
        for value in model.state_dict().values():
            dist.broadcast(value, 0)


def peculiarities(model: Generative[Any], run: Run) -> list[str]:
    """What a run in parts, or on several ranks, does otherwise than one of whole batches does in one process."""
    modules, out = list(model.modules()), []
    if run.accumulate > 1:
        kinds = {"batch normalization": _BatchNorm, "the minibatch deviation": MinibatchDeviation}
        ties = [name for name, kind in kinds.items() if any(isinstance(m, kind) for m in modules)]
        players = [(stage, player) for stage in model.stages() for player in stage.players]
        ties += [f"{player.together} ({player.name})" for _, player in players if player.together]
        sizes = {(stage.batch or run.batch) // ranks.world() // run.accumulate for stage, _ in players}
        size = " or ".join(map(str, sorted(sizes)))
        if ties:
            each = f"accumulate={run.accumulate}: of each part of {size} examples, not of the whole batch"
            out.append(f"{each}: {', '.join(dict.fromkeys(ties))}. All else is as for the whole batch")
    if ranks.world() > 1:
        masks = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in modules)
        own = ["dropout's masks"] * masks + ["augmentations"] * bool(run.augment)
        if own:
            out.append(
                f"{ranks.world()} ranks: {' and '.join(own)} are drawn by each rank itself: training is as good as in "
                f"one process, but not the same"
            )
    return out


def lay_out(model: Generative[Any]) -> None:
    """Weights of convolutions with their channels last, in two dimensions or three (which `Module.to` refuses)."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])
