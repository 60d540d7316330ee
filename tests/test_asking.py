"""A model is asked in evaluation mode, whatever mode it is in; what it is trained by is left as it is written."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Exact,
    Generative,
    Loss,
    Noise,
    Player,
    Points,
    Stage,
    StepNoise,
    UsageError,
    config,
    learning,
)
from triptych.testing.toys import copied, difference
from triptych.training import turn


@config
class MovedConfig:
    x: Points = Points(3)


class Moved(Generative[None]):
    """N(mean, I) of x behind a dropout and a batch normalization: its answers tell the mode that it is in."""

    name = "moved"

    def __init__(self, config: MovedConfig = MovedConfig()) -> None:  # noqa: B008
        super().__init__()
        self.config = config
        self.net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))

    def log_prob(self, x: Tensor, given: None = None, *, shift: float = 0.0) -> Exact:
        if shift > 9:
            raise UsageError("too far")
        nats = -(self.encode(x) + shift).square().sum(1) / 2
        return Exact(nats=nats, dims=3, measure="density", how="by hand")

    def encode(self, x: Tensor) -> Tensor:
        return self.net(x)

    def draw(self, noise: Noise, given: None = None) -> Tensor:
        return self.encode(noise.normal(3))

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        return Loss(-self.log_prob(batch.x).nats.mean(), {"mean": self.encode(batch.x).mean()})

    def nameless(self, batch, clock):  # type: ignore[no-untyped-def]
        """A loss whose type says nothing."""
        return self.loss.__wrapped__(self, batch, clock)

    def stages(self) -> Sequence[Stage]:
        return [Stage(name="one", players=[Player(name="p", owns=self, loss=self.nameless, optimizer=Adam())])]


@pytest.fixture
def model() -> Moved:
    model = Moved().train()
    model.net(torch.randn(50, 3))  # statistics that are not those of the next batch
    model.net[0].eval()  # a pattern that neither train() nor eval() would leave behind
    return model


def batch(n: int = 8) -> Batch[None]:
    return Batch(torch.randn(n, 3, generator=torch.Generator().manual_seed(1)), None, StepNoise(0, n, slice(None)))


def modes(model: nn.Module) -> list[bool]:
    return [m.training for m in model.modules()]


def test_an_answer_is_the_same_in_every_mode_and_changes_nothing(model: Moved) -> None:
    x, before, mode = batch().x, copied(model), modes(model)
    first, again, alone = model.log_prob(x).nats, model.log_prob(x).nats, model.log_prob(x[:1]).nats
    code = model.encode(x)
    assert torch.equal(first, again) and torch.allclose(first[:1], alone, atol=1e-6)
    assert difference(before, copied(model)) is None and modes(model) == mode
    model.eval()
    assert torch.equal(model.log_prob(x).nats, first) and torch.equal(model.encode(x), code)


def test_modes_come_back_when_an_answer_fails(model: Moved) -> None:
    mode = modes(model)
    with pytest.raises(UsageError, match="too far"):
        model.log_prob(batch().x, shift=10.0)
    assert modes(model) == mode


def test_gradients_pass_through_an_answer(model: Moved) -> None:
    model.log_prob(batch().x).nats.sum().backward()
    assert all(w.grad is not None and w.grad.any() for w in model.parameters())


def test_an_answer_by_draws_is_by_other_draws_each_time() -> None:
    """Evaluation mode, but not one random state for all."""
    from triptych import create

    vae = create("vae-tiny").train()
    x = vae.config.x.from_index(torch.zeros(3, *vae.config.x.shape, dtype=torch.long))
    assert not torch.equal(vae.log_prob(x).nats, vae.log_prob(x).nats)


def test_a_loss_has_the_mode_of_training(model: Moved) -> None:
    """By a method that says it is a loss, by a turn of any player, and by whoever says so himself."""
    part, clock = batch(), Clock(0, 0.0)
    asked = -model.log_prob(part.x).nats.mean()
    for compute in (model.loss, lambda *args: within(model, *args)):
        before = copied(model)
        assert not torch.allclose(compute(part, clock).value, asked, atol=1e-3)
        assert difference(before, copied(model)) == "net.1.running_mean"
    player, before = model.stages()[0].players[0], copied(model)
    found = turn(model, player, player.optimizer(model.parameters()), part, clock)
    assert not torch.allclose(found.value, asked, atol=1e-3)
    assert not torch.equal(model.net[1].running_mean, before["net.1.running_mean"])
    assert torch.equal(model.log_prob(part.x).nats, model.log_prob(part.x).nats), "and after it, all is as it was"


def within(model: Moved, part: Batch[None], clock: Clock) -> Loss:
    with learning(model):
        return model.nameless(part, clock)


def test_what_is_drawn_in_training_has_the_mode_of_training(model: Moved) -> None:
    noise = StepNoise(0, 8, slice(None))
    assert not torch.equal(model.draw(noise), model.draw(noise))
    assert torch.equal(model.sample(8, seed=0), model.sample(8, seed=0))


def test_another_models_loss_does_not_unseal_this_one(model: Moved) -> None:
    with learning(Moved()):
        assert torch.equal(model.encode(batch().x), model.encode(batch().x))


def test_x_is_taken_in_the_precision_of_the_weights(model: Moved) -> None:
    x = batch().x
    single, double = model.log_prob(x).nats, model.double().log_prob(x).nats
    assert double.dtype == torch.float64 and torch.allclose(single.double(), double, atol=1e-5)
    assert model.sample(2, seed=0).dtype == torch.float64
    for ask in (lambda m: m.log_prob(x), lambda m: m.encode(x), lambda m: m.sample(2, seed=0)):
        with pytest.raises(UsageError, match=r"moved: its weights are in bfloat16.* call model\.float\(\) first"):
            ask(model.bfloat16())


def test_no_items_have_an_empty_likelihood_of_the_same_kind() -> None:
    from triptych import create

    for name in ("vae-tiny", "iwae-tiny", "pixelsnail-tiny", "vq-vae-tiny"):
        model = create(name)
        found = model.log_prob(torch.empty(0, *model.config.x.shape))
        assert found.nats.shape == (0,) and found.dims == model.config.x.dims
        with pytest.raises(UsageError, match="shape"):
            model.log_prob(torch.empty(0, 7))
