"""Training: each player moves its own weights, looking on changes nothing, and a run can be interrupted."""

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from triptych.core import Clock, Data, Generative, HasLikelihood, Player, StepNoise, learning
from triptych.io import folder, tensors
from triptych.testing.toys import copied, difference, first_examples, require
from triptych.training import Round, Run, train, turn

RUN = Run(steps=3, batch=8, seed=7)


def check_players(model: Generative[Any], data: Data) -> None:
    """In each player's turn its own weights move, some of them at least, and nobody else's.

    Between them the players own every trainable weight, and the loop's freezing leaves no mark.
    """
    model = copy.deepcopy(model).train()
    name, flags = model.name, [w.requires_grad for w in model.parameters()]
    owned: set[int] = set()
    for stage in model.stages():
        names = [p.name for p in stage.players]
        require(len(set(names)) == len(names) > 0, f"{name}: stage {stage.name} needs players of different names")
        if stage.begin:
            stage.begin()
        for player in stage.players:
            owned |= {id(w) for w in player.owns.parameters()}
            check_turn(model, player, data)
    lost = [k for k, w in model.named_parameters() if w.requires_grad and id(w) not in owned]
    require(not lost, f"{name}: no player owns {', '.join(lost[:3])}: a weight that is not trained must be frozen")
    same = flags == [w.requires_grad for w in model.parameters()]
    require(same, f"{name}: after the players' turns other weights are trainable than before")


def check_turn(model: Generative[Any], player: Player, data: Data) -> None:
    who = f"{model.name}: player {player.name}"
    require(player.turns >= 1 and player.every >= 1, f"{who}: turns and every must be 1 or more")
    mine = {id(w) for w in player.owns.parameters()}
    weights = {k: w for k, w in model.named_parameters() if w.requires_grad}
    require(mine <= {id(w) for w in model.parameters()}, f"{who} owns weights that are not the model's")
    before = {k: w.detach().clone() for k, w in weights.items()}
    # not a batch of the loop, but a turn as the loop takes it
    batch = data.fetch(torch.arange(RUN.batch), StepNoise(3, RUN.batch, slice(None), model.device))
    optimizer = player.optimizer(player.owns.parameters())
    loss = turn(model, player, optimizer, batch, Clock(1, 0.5))  # half way: where no schedule is at zero
    for key, value in {"its loss": loss.value, **loss.logs}.items():
        require(value.numel() == 1 and bool(value.isfinite()), f"{who}: {key} is not one finite number: {value}")
    moved = {k for k, w in weights.items() if not torch.equal(w, before[k])}
    wrong = sorted(k for k in moved if id(weights[k]) not in mine)
    require(not wrong, f"{who} moves {', '.join(wrong[:3])}, which it does not own")
    require(bool(moved), f"{who} moves none of its weights")


def check_bfloat16(model: Generative[Any], data: Data) -> None:
    """Each player's loss, and all that it logs, is in a run in bfloat16 about what it is in float32: within a tenth.

    What is not is a difference or a gradient of numbers that were rounded: see `core.precision`.
    """
    for stage in model.stages():
        for player in stage.players:
            plain, rounded = (losses(model, stage.name, player.name, data, low) for low in (False, True))
            for key, value in plain.items():
                other = rounded[key]
                require(
                    abs(value - other) <= 0.1 * abs(value) + 0.05,
                    f"{model.name}: player {player.name}: in bfloat16, {key} is {other:.4g} instead of {value:.4g}",
                )


def losses(model: Generative[Any], stage: str, player: str, data: Data, low: bool) -> Mapping[str, float]:
    """What a player's loss is, by a copy of the model, and what it logs."""
    model = copy.deepcopy(model).train()
    now = next(s for s in model.stages() if s.name == stage)
    if now.begin:
        now.begin()
    loss = next(p for p in now.players if p.name == player).loss
    size = min(48, len(data))
    batch = data.fetch(torch.arange(size), StepNoise(3, size, slice(None), model.device))
    if getattr(model.config, "given", None) is None:
        batch = replace(batch, given=None)
    torch.manual_seed(0)  # dropout
    with learning(model), torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=low):
        try:
            found = loss(batch, Clock(1, 0.5))
        except RuntimeError as e:
            raise AssertionError(f"{model.name}: player {player} cannot learn in bfloat16: {e!r}") from e
    return {"its loss": found.value.item(), **{k: v.item() for k, v in found.logs.items()}}


def check_training(model: Generative[Any], data: Data) -> None:
    """Training is a function of the seed; sampling and scoring between the rounds do not change it."""
    plain, again, watched = (copy.deepcopy(model) for _ in range(3))
    play(plain, data)
    torch.manual_seed(99)  # the global state must not matter
    play(again, data)
    changed = difference(copied(plain), copied(again))
    require(changed is None, f"{model.name}: two runs of one seed differ in {changed}: all randomness must be seeded")
    batch = first_examples(model, data, 3)
    for _ in train(watched, data, RUN):
        watched.sample(3, batch.given)
        if isinstance(watched, HasLikelihood):
            with torch.no_grad():
                watched.eval().log_prob(batch.x, batch.given)
            watched.train()
    changed = difference(copied(plain), copied(watched))
    require(changed is None, f"{model.name}: sampling and scoring between rounds change the training of {changed}")


def check_resume(model: Generative[Any], data: Data) -> None:
    """A run that is saved after any round, and continued by a new model, ends bit for bit as one that went through.

    Weights, buffers (moving averages) and the optimizers' states are compared.
    """
    whole, last = copy.deepcopy(model), None
    with tempfile.TemporaryDirectory() as temporary:
        paths = []
        for last in train(whole, data, RUN):
            paths.append(f"{temporary}/{last.step}")
            folder.save(whole, paths[-1], state=last.state())
        assert last is not None
        for path in paths[:-1]:
            other: Generative[Any] = type(model)(model.config).to(model.device)
            *_, end = train(other, data, RUN, resume=folder.resume(other, path))
            at = f"{model.name}: continued after round {path.rpartition('/')[2]} of {len(paths)}, the run ends with"
            changed = difference(copied(whole), copied(other))
            require(changed is None, f"{at} another {changed}: what training depends on must be in state_dict()")
            changed = difference(optimizer_state(last), optimizer_state(end))
            require(changed is None, f"{at} another state of the optimizer: {changed}")


def play(model: Generative[Any], data: Data) -> None:
    for _ in train(model, data, RUN):
        pass


def optimizer_state(now: Round) -> Mapping[str, Tensor]:
    return tensors.split(now.state())[1]
