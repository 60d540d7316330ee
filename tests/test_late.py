"""Turns that are looked at when a round is over, as on a GPU: the same bits, whatever was not finite in them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from triptych import models
from triptych.core import Adam, Batch, Clock, Loss, NonFiniteError, mix
from triptych.testing import Examples
from triptych.testing.toys import difference
from triptych.training import Run, finite, playing
from triptych.training import train as loop
from triptych.verbs.create import create

MODELS = ["dcgan-tiny", "wgan-tiny", "wgan-gp-tiny", "bigan-tiny", "vq-vae-tiny", "nanochat-tiny", "biggan-tiny"]
"""Averages, batch statistics, several turns of a critic, RMSProp, codebooks, Muon."""
TINY = [next(p for p in entry.presets() if p.startswith(f"{entry.name}-tiny")) for entry in models.own().values()]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The host waits for this device, too: how many turns it looked at, at each look."""
    found, settle = list[int](), finite.Late.settle

    def counted(late: finite.Late) -> None:
        if late.turns:
            found.append(len(late.turns))
        settle(late)

    monkeypatch.setattr(playing, "waits", lambda device: True)
    monkeypatch.setattr(finite.Late, "settle", counted)
    return found


def trained(
    name: str, poisoned: set[int] = frozenset(), steps: int = 3, skip: bool = True, **settings: Any
) -> tuple[nn.Module, list[dict[str, float]], dict[str, Any]]:
    """A model, what its rounds logged, and where its training stands; some batches, by number, have infinite losses."""
    model = create(name, seed=1, **settings)
    seeds = {mix(0, number) for number in poisoned}
    plain = type(model).stages

    def stages() -> Any:
        def poison(player: Any) -> Any:
            def loss(batch: Batch[Any], clock: Clock) -> Loss:
                found = player.loss(batch, clock)
                bad = batch.noise.generator.initial_seed() in seeds
                return Loss(found.value * (torch.inf if bad else 1), found.logs)

            return replace(player, loss=loss)

        return [replace(stage, players=[poison(p) for p in stage.players]) for stage in plain(model)]

    model.stages = stages  # type: ignore[method-assign]
    data = Examples(model.config.x, getattr(model.config, "given", None), n=64)
    logs, state = [], {}
    for now in loop(model, data, Run(steps=steps, batch=8), skip=skip):
        logs.append(now.logs())
        state = now.state()
    return model, logs, state


def tensors(state: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """All that a checkpoint holds."""
    found = {k: v.detach().clone() for k, v in model.state_dict().items()}
    for player, optimizer in state["optimizers"].items():
        for place, values in optimizer["state"].items():
            found |= {f"{player} {place} {k}": v for k, v in values.items() if isinstance(v, Tensor)}
    return found


@pytest.mark.parametrize("name", TINY)
def test_a_round_that_is_finite_is_the_same(name: str, looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    one, logs, state = trained(name, steps=2)
    assert looks or any(stage.maker for stage in one.stages())
    monkeypatch.undo()
    other, at_once, stands = trained(name, steps=2)
    assert logs == at_once and state["position"] == stands["position"]
    assert difference(tensors(state, one), tensors(stands, other)) is None


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bad", [{1}, {0, 1}, {2, 3, 5}])
def test_what_is_not_finite_leaves_what_a_look_in_every_turn_would(
    name: str,
    bad: set[int],
    looks: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, logs, state = trained(name, bad)
    said = list(caplog.messages)
    assert said and looks
    caplog.clear()
    monkeypatch.undo()
    other, at_once, stands = trained(name, bad)
    assert said == caplog.messages and logs == at_once
    assert state["position"] == stands["position"]
    assert difference(tensors(state, one), tensors(stands, other)) is None


@pytest.mark.parametrize("name", ["dcgan-tiny", "wgan-gp-tiny", "vq-vae-tiny"])
def test_it_is_said_which_turn_it_was(name: str, looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NonFiniteError) as late:
        trained(name, {1}, skip=False)
    monkeypatch.undo()
    with pytest.raises(NonFiniteError) as at_once:
        trained(name, {1}, skip=False)
    assert str(late.value) == str(at_once.value) and "the loss is not finite (inf" in str(late.value)


def test_an_update_that_ruins_a_weight_is_found(looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NonFiniteError, match=r"player vae: its update has made the weight \S+ NaN or infinite") as late:
        trained("vae-tiny", steps=50, adam=Adam(lr=3e38))
    monkeypatch.undo()
    with pytest.raises(NonFiniteError) as at_once:
        trained("vae-tiny", steps=50, adam=Adam(lr=3e38))
    assert str(late.value) == str(at_once.value)


def test_the_host_looks_once_a_round(looks: list[int]) -> None:
    """Before the average of the generator moves, which is the last thing that a round does."""
    trained("dcgan-tiny", steps=4)
    assert looks == [2] * 4


def test_the_next_batch_is_fetched_before_the_host_waits(looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    order, fetch, settle = list[Any](), playing.Playing.fetch, finite.Late.settle

    def fetched(self: Any, drawn: int) -> Any:
        order.append(drawn)
        return fetch(self, drawn)

    class Waiting(finite.Late):
        def settle(self) -> None:
            waits = bool(self.turns)
            settle(self)
            order.extend(["waited"] * waits)

    monkeypatch.setattr(playing.Playing, "fetch", fetched)
    monkeypatch.setattr(playing, "Late", Waiting)
    trained("vae-tiny", steps=3)
    assert order == [0, 1, "waited", 2, "waited", 3, "waited"]


def test_squares_that_overflow_are_asked_about_once(looks: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """All is finite, and the norm is not: nothing is left out, and from then on every turn is looked at."""
    model = create("dcgan-tiny", seed=1)
    model.register_buffer("huge", torch.full((3,), 1e30))
    for _ in loop(model, Examples(model.config.x), Run(steps=3, batch=8)):
        pass
    assert looks == [2] and not caplog.messages
