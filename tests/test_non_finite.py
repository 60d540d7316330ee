"""A turn that comes to NaN or infinity: nothing is changed by it, and what is not finite is called by its name."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from triptych import models
from triptych.core import Adam, Batch, Clock, Generative, Loss, NonFiniteError, Player, Points, Stage, StepNoise, config
from triptych.testing import Examples
from triptych.testing.toys import difference
from triptych.training import Run, turn
from triptych.training import train as loop
from triptych.verbs.create import create


def held(model: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers, those that are not saved too."""
    return {k: v.detach().clone() for k, v in (*model.named_parameters(), *model.named_buffers())}


@pytest.mark.parametrize("name", [p for e in models.own().values() for p in e.presets() if p.endswith("-tiny")])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_turn_that_is_left_out_leaves_no_trace(name: str, parts: int) -> None:
    """In batch statistics, spectral norms, codebooks, averages or weights; on the last part as on the first."""
    model = create(name, seed=1).train()
    data = Examples(model.config.x, getattr(model.config, "given", None))
    slices = [slice(i * 8 // parts, (i + 1) * 8 // parts) for i in range(parts)]
    batches = [data.fetch(torch.arange(8)[s], StepNoise(3, 8, s)) for s in slices]
    for stage in model.stages():
        if stage.begin:
            stage.begin()
        for player in stage.players:
            optimizer = player.optimizer(player.owns.parameters())
            turn(model, player, optimizer, batches, Clock(1, 0.5))  # so that there is something to lose
            before, calls = held(model), list[int]()

            def poisoned(batch: Batch[Any], clock: Clock, player: Player = player, calls: list[int] = calls) -> Loss:
                loss = player.loss(batch, clock)
                calls.append(1)
                return Loss(loss.value * (torch.inf if len(calls) == parts else 1), loss.logs)

            with pytest.raises(NonFiniteError):
                turn(model, replace(player, loss=poisoned), optimizer, batches, Clock(1, 0.5))
            assert difference(before, held(model)) is None
            turn(model, player, optimizer, batches, Clock(1, 0.5))
            assert all(v.isfinite().all() for k, v in model.state_dict().items() if v.is_floating_point())


def test_skipping_a_batch_leaves_what_came_before(caplog: pytest.LogCaptureFixture) -> None:
    """One item of 1e38 in a batch: the batch statistics overflow, and used to stay infinite for good."""
    model = create("bigan-tiny", seed=1, x=Points(2))
    data = Examples(Points(2), n=64)
    data.values[7] = 1e38
    for _ in loop(model, data, Run(steps=8, batch=8), skip=True):
        assert all(v.isfinite().all() for v in held(model).values())
    assert caplog.records and all("no weight or buffer was changed" in r.message for r in caplog.records)


@config
class ProbeConfig:
    x: Points = Points(2)


class Probe(Generative[None]):
    """A line, and batch statistics beside it that its loss does not depend on."""

    name = "probe"

    def __init__(self) -> None:
        super().__init__()
        self.config = ProbeConfig()
        self.line, self.norm = nn.Linear(2, 1), nn.BatchNorm1d(2, affine=False)
        self.how = ""

    def draw(self, noise: Any, given: None = None) -> Tensor:
        return noise.normal(2)

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        self.norm(batch.x * (1e25 if self.how == "buffer" else 1.0))
        y = self.line(batch.x).square().mean()
        if self.how == "loss":
            return Loss(y * torch.inf, {"real": y, "fake": y * torch.nan})
        if self.how == "norm":
            return Loss(y * 1e28)
        if self.how == "gradient":
            y = y + (self.line.bias - self.line.bias.detach()).sqrt().sum()
        return Loss(y)

    def stages(self) -> list[Stage]:
        return [Stage(name="all", players=[Player(name="line", owns=self.line, loss=self.loss, optimizer=Adam())])]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("loss", r"player line: the loss is not finite \(inf, fake nan\)"),
        ("gradient", r"player line: the gradient of line.bias is not finite \(the loss is: [\d.]+\)"),
        ("norm", r"player line: the gradient is too large for its norm to be finite, of line.\w+ up to [\d.]+e\+2\d"),
        ("buffer", r"player line: the buffer norm.running_var \(.*\) is not finite, though the loss is"),
        ("weight", r"player line: the weight line.weight was not finite before in round 1"),
    ],
)
def test_what_is_not_finite_is_named(how: str, said: str) -> None:
    model = Probe().train()
    model.how = how
    if how == "weight":
        nn.init.constant_(model.line.weight, torch.nan)
    before = held(model)
    with pytest.raises(NonFiniteError, match=said):
        next(iter(loop(model, Examples(Points(2)), Run(steps=1, batch=8))))
    assert difference(before, held(model)) is None


@pytest.mark.parametrize("skip", [False, True])
def test_an_update_that_ruins_a_weight_ends_the_run(skip: bool, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing to skip then; and it is not said that nothing was changed."""
    model = create("vae-tiny", seed=1, adam=Adam(lr=3e38))
    with pytest.raises(NonFiniteError, match=r"player vae: its update has made the weight \S+ NaN or infinite") as e:
        for _ in loop(model, Examples(model.config.x), Run(steps=50, batch=8), skip=skip):
            assert all(v.isfinite().all() for v in held(model).values())
    assert "no weight" not in str(e.value)


def test_an_error_in_a_loss_leaves_no_trace() -> None:
    model = Probe().train()
    (player,) = model.stages()[0].players
    before = held(model)

    def failing(batch: Batch[None], clock: Clock) -> Loss:
        model.loss(batch, clock)
        raise RuntimeError("a bug")

    batch = Batch(torch.randn(4, 2), None, StepNoise(0, 4, slice(None)))
    with pytest.raises(RuntimeError, match="a bug"):
        turn(model, replace(player, loss=failing), player.optimizer(model.line.parameters()), batch, Clock(0, 0.0))
    assert difference(before, held(model)) is None
