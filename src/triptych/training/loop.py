"""The training loop, as an iterator: what happens between rounds is the caller's own code."""

import logging
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from triptych.core import (
    Batch,
    Clock,
    Count,
    Data,
    Generative,
    Loss,
    NonFiniteError,
    Player,
    Stage,
    StepNoise,
    UsageError,
    config,
    mix,
    trusting,
)
from triptych.nn import ranks
from triptych.nn.augment import Augmentation
from triptych.nn.equalized import MinibatchDeviation
from triptych.training.augmenting import augmenting, judges_of
from triptych.training.compiling import Compiled
from triptych.training.extracting import Extracted, extracted
from triptych.training.kernels import Kernels, Unrepeatable
from triptych.training.members import Members
from triptych.training.restoring import restore
from triptych.training.turn import Once, Ruined, turn

log = logging.getLogger(__name__)

LOOK = 100
"""Rounds from one to the next in which values of the data are looked at: whether they are in the model's space."""
SKIPS = 20
"""Turns without a finite loss, one after the other, that are too many to skip."""

State = dict[str, Any]
"""Where training stands: {"position": whole numbers, "optimizers": state dicts by player}. JSON leaves and tensors."""


@config
class Run:
    """How long and on how much at a time; what a model's page recommends is in its presets."""

    steps: Count = 10_000
    """Rounds of the game, for stages that do not say."""
    batch: Count = 128
    """Examples a turn, over all ranks together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides every random draw of the run."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """bf16: autocast to bfloat16 (weights and optimizer stay float32). tf32: fp32, but for products on a GPU, of whose
    factors 11 bits are kept."""
    channels_last: bool = False
    """Channels innermost in images and convolution weights: faster convolutions, equal up to rounding."""
    accumulate: Count = 1
    """Parts that each batch is worked on in, one after the other, for a share of the memory. Losses, gradients,
    codebooks and logs are the whole batch's; what is normalized over a batch is normalized over each part."""
    repeatable: bool = True
    """Only kernels that give the same bits every time, so that a resumed run equals one that was never interrupted. On
    a GPU others may be faster; a CPU has no others."""
    compile: bool = False
    """Compiles the networks (torch.compile), which takes from seconds to minutes when training begins or goes on, so
    that the steps after it need fewer operations of a GPU, equal up to rounding. Not for losses that differentiate a
    gradient."""
    augment: tuple[Augmentation, ...] = ()
    """What is done to every image, real or generated, that a GAN's discriminator is trained on (DiffAugment); for data
    of a few thousand images or fewer."""


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


@lru_cache(maxsize=2)
def order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def rows(n: int, batch: int, seed: int, drawn: int) -> Tensor:
    """Which of n examples make up a batch: a function of the seed and of how many batches came before.

    Every epoch is a new permutation; what does not fill a batch at its end is left for another epoch.
    """
    epoch, at = divmod(drawn, n // batch)
    return order(n, mix(seed, epoch))[at * batch : (at + 1) * batch]


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
    step, drawn, retry, skipped = at["step"], at["drawn"], at.get("retry", 0), 0
    seed = mix(run.seed, retry) if retry else run.seed
    for s, stage in enumerate(model.stages()):
        if s < at["stage"]:
            continue
        if stage.begin:
            stage.begin()
        members, how = Members(model, stage.players), Kernels(model.device, run.precision, run.repeatable)
        optimizers = {p.name: p.optimizer(p.owns.parameters()) for p in stage.players}
        first, steps = 0, stage.rounds(run.steps)
        if resume and s == at["stage"]:
            first = at["stage_step"]
            for name, optimizer in optimizers.items():
                restore(optimizer, resume["optimizers"].get(name))
        alone = run.accumulate * ranks.world() == 1
        codes = extracted(model, data, stage.reads, steps * (stage.batch or run.batch) / len(data), seed)
        for k in range(first, steps):
            losses, clock, shared = {}, Clock(k, k / steps), None
            for player in stage.players:
                if k % player.every:
                    continue
                for _ in range(player.turns):
                    batch = shared or draw(model, data, run, seed, stage, drawn, codes)
                    if stage.maker and alone:
                        shared = batch
                    try:
                        with compiled.playing(player.name) if compiled else nullcontext():
                            try:
                                moved = play(model, run, player, optimizers[player.name], clock, batch, members, how)
                            except Unrepeatable:
                                batch = draw(model, data, run, seed, stage, drawn, codes)  # its noise is used up
                                shared = batch if shared else None
                                moved = play(model, run, player, optimizers[player.name], clock, batch, members, how)
                    except NonFiniteError as e:
                        skipped += 1
                        if not skip or skipped == SKIPS or isinstance(e, Ruined):
                            raise
                        shared = None  # buffers were put back, which what was made needs
                        log.warning("left out: %s", e)
                    else:
                        losses[player.name], skipped = moved, 0
                    drawn += not stage.maker
            drawn += bool(stage.maker)
            step += 1
            yield Round(step, s, stage.name, k + 1, steps, drawn, losses, optimizers, retry)


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


@dataclass(frozen=True)
class Drawn:
    """A batch of a run: this rank's part of it, in the parts that it is worked on in."""

    rows: Tensor
    """Which examples, of this rank."""
    seed: int
    """Of what a turn on it draws by itself."""
    parts: list[Batch[Any]]


def draw(model: Generative[Any], data: Data, run: Run, seed: int, stage: Stage, drawn: int, codes: Extracted) -> Drawn:
    """Draws batch number `drawn`."""
    rank, world, size = ranks.rank(), ranks.world(), stage.batch or run.batch
    batch_rows, each = rows(len(data), size, seed, drawn), size // world // run.accumulate
    maker = next((p for p in stage.players if p.name == stage.maker), None)
    parts = []
    for first in range(rank * size // world, (rank + 1) * size // world, each):
        part = slice(first, first + each)
        batch = data.fetch(batch_rows[part], StepNoise(mix(seed, drawn), size, part, model.device))
        batch = codes.beside(batch, batch_rows[part])
        if run.channels_last and batch.x.dim() == 4:
            batch = replace(batch, x=channels_last(batch.x))
        if maker and run.accumulate * world == 1:
            batch = replace(batch, made=Once(maker))
        parts.append(batch)
    return Drawn(batch_rows[rank * size // world :], mix(seed, drawn, 1 + rank), parts)


def play(
    model: Generative[Any],
    run: Run,
    player: Player,
    optimizer: Optimizer,
    clock: Clock,
    batch: Drawn,
    members: Members,
    how: Kernels,
) -> Loss:
    """A turn of the player on a batch. Raises Unrepeatable as `Kernels.turn` does."""
    reseed(batch.seed, model.device)  # dropout, augmentation; all else draws from the batch
    autocast = torch.bfloat16 if run.precision == "bf16" else None
    try:
        look = trusting() if clock.step % LOOK else nullcontext()
        with look, augmenting(model, run.augment), how.turn():
            return turn(model, player, optimizer, batch.parts, clock, autocast=autocast, members=members)
    except NonFiniteError as e:
        items = ", ".join(map(str, batch.rows[:8].tolist()))
        left = "" if isinstance(e, Ruined) else "no weight or buffer was changed by it. "
        raise type(e)(
            f"{e} in round {clock.step + 1}, on a batch with items {items}, ...; "
            f"{left}Lower the learning rate, or look at the data"
        ) from None


def reseed(seed: int, device: torch.device) -> None:
    """As torch.manual_seed, but of the generators that a turn draws from: to visit all takes longer than to fetch."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def lay_out(model: Generative[Any]) -> None:
    """Weights of convolutions with their channels last, in two dimensions or three (which `Module.to` refuses)."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])


def channels_last(x: Tensor) -> Tensor:
    """x with the channels innermost, said by its strides even where it has one channel.

    `contiguous(memory_format=...)` leaves such an x as it is, and then every layer of the network falls back too.
    """
    _, c, h, w = x.shape
    return torch.empty_strided(x.shape, (h * w * c, 1, w * c, c), dtype=x.dtype, device=x.device).copy_(x)
