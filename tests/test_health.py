"""What is said of a GAN that fails, and what a run does about it."""

import logging
import math
from typing import Any

import pytest
import torch
from torch import nn

from triptych.core import Adam, Batch, CollapseError, Generative, Loss, NonFiniteError, Player, Points, Stage, config
from triptych.io import folder
from triptych.testing import Examples
from triptych.testing.toys import copied, difference
from triptych.training import Run
from triptych.training import train as loop
from triptych.training.health import WINDOW, Health, diversity
from triptych.verbs.decoration import metrics
from triptych.verbs.rounds.persevering import ROLLBACKS
from triptych.verbs.train import train


def watched(rounds: int = WINDOW, **logs: float) -> Health:
    health = Health()
    for _ in range(rounds):
        health.observe({name.replace("__", "/"): value for name, value in logs.items()})
    return health


def names(health: Health, spread: float = 1.0, progress: float = 0.9) -> list[str]:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    return [sign.name for sign in health.signs(spread * x, x, progress)[0]]


def test_diversity_is_the_root_mean_square_difference_over_pairs() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    assert diversity(x) == pytest.approx((2 / math.sqrt(2) + 2 / math.sqrt(2) + 2) / 3)
    assert diversity(x.new_ones(5, 1, 2, 2)) == 0


def test_diversity_within_classes_is_that_over_pairs_of_the_same() -> None:
    x, y = torch.tensor([[0.0, 0.0], [9.0, 9.0], [0.0, 2.0], [9.0, 9.0]]), torch.tensor([0, 1, 0, 1])
    assert diversity(x, y) == pytest.approx((2 / math.sqrt(2) + 0) / 2)
    assert diversity(x[:2], y[:2]) == diversity(x[:2]) == 9, "no two of a class"


def test_one_picture_a_class_is_a_collapse() -> None:
    y = torch.arange(64) % 4
    data = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))[y] + 0.3 * torch.randn(64, 3)
    alike = data[:4][y]
    assert not Health().signs(alike, data, 0.9)[0], "they differ as much as the data do, if classes are not looked at"
    signs, numbers = watched(g=0.0).signs(alike, data, 0.9, y)
    assert [sign.name for sign in signs] == ["collapse"] and numbers["diversity"] == 0
    assert "samples of a class differ by 0%" in signs[0].text
    assert not Health().signs(data.flip(0), data, 0.9, y)[0]


def test_a_healthy_game_is_not_disturbed() -> None:
    assert names(watched(**{"d__D(real)": 0.8, "d__D(fake)": 0.2, "g__gradient_norm": 1.0})) == []


@pytest.mark.parametrize(("real", "fake", "won"), [(0.999, 0.001, True), (0.999, 0.1, False), (0.9, 0.001, False)])
def test_a_discriminator_wins_if_it_is_right_about_both_for_long(real: float, fake: float, won: bool) -> None:
    logs = {"d__D(real)": real, "d__D(fake)": fake}
    assert names(watched(**logs)) == (["won"] if won else [])
    assert names(watched(WINDOW - 1, **logs)) == []


def test_a_gradient_explodes_in_proportion_to_what_is_usual() -> None:
    health = watched(**{"g__gradient_norm": 2.0})
    for _ in range(10):
        health.observe({"g/gradient_norm": 150.0})
    assert names(health) == []
    for _ in range(10):
        health.observe({"g/gradient_norm": 1000.0})
    assert names(health) == ["burst-g"]


def test_samples_that_are_all_alike_are_a_collapse_but_not_at_first() -> None:
    assert names(watched(g=0.0), spread=0.1) == ["collapse"]
    assert names(watched(g=0.0), spread=0.3) == []
    assert names(watched(g=0.0), spread=0.1, progress=0.1) == []
    assert names(watched(7, g=0.0), spread=0.1, progress=0.5) == [], "a run of 14 steps has hardly begun"
    once = Health()
    assert names(once, spread=0.8, progress=0.05) == []
    assert names(once, spread=0.1, progress=0.1) == ["collapse"], "it differed before"


@config
class FadingConfig:
    x: Points = Points(2)
    adam: Adam = Adam(lr=0.5)


class Fading(Generative[None]):
    """A generator that shrinks to a point where `fades` says so, and whose loss may be made not finite."""

    name = "fading"

    def __init__(self, config: FadingConfig) -> None:
        super().__init__()
        self.config, self.scale, self.fades = config, nn.Parameter(torch.ones(())), lambda noise: True
        self.poison = lambda noise: False

    def draw(self, noise: Any, given: None = None) -> torch.Tensor:
        return self.scale * noise.normal(2)

    def loss(self, batch: Batch[None], clock: Any) -> Loss:
        if self.poison(batch.noise):
            return Loss(self.scale * math.nan)
        return Loss(self.scale.square() if self.fades(batch.noise) else (self.scale - 1).square())

    def stages(self) -> list[Stage]:
        return [Stage(name="train", players=[Player(name="g", owns=self, loss=self.loss, optimizer=self.config.adam)])]


def run(model: Fading, path: Any = None, steps: int = 40, **how: Any) -> None:
    for _ in train(model, Examples(Points(2)), Run(steps=steps, batch=8), out=path, save_seconds=0, pictures=1, **how):
        pass


def test_a_collapse_is_said_once_and_measured(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "triptych"):
        run(Fading(FadingConfig(adam=Adam(lr=0.02))), tmp_path, steps=60)
    said = [r.message for r in caplog.records]
    assert len(said) == 1 and "outputs hardly vary with z" in said[0]
    shares = [line["health/diversity"] for line in metrics(tmp_path) if "health/diversity" in line]
    assert len(shares) == 60 and shares[0] > 0.9 and min(shares) < 0.25


class Preparing(Fading):
    """Its game is preceded by a stage in which something else learns: samples are all alike until then."""

    def __init__(self, config: FadingConfig) -> None:
        super().__init__(config)
        self.encoder = nn.Parameter(torch.ones(()))
        nn.init.constant_(self.scale, 0.01)

    def stages(self) -> list[Stage]:
        adam, own = self.config.adam, nn.ParameterList([self.encoder])
        alone = Player(name="e", owns=own, loss=lambda batch, clock: Loss(self.encoder.square()), optimizer=adam)
        return [
            Stage(name="encoder", players=[alone]),
            Stage(name="game", players=[alone, *super().stages()[0].players]),
        ]


def test_what_only_prepares_for_a_game_is_not_taken_for_a_collapse(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "triptych"):
        run(Preparing(FadingConfig()), tmp_path, steps=20)
    steps = [int(r.message.split()[1].strip(":")) for r in caplog.records]
    assert steps and min(steps) > 20, "in the game, it is one"


def test_watching_changes_no_weight(tmp_path) -> None:
    model, bare = Fading(FadingConfig()), Fading(FadingConfig())
    run(model, tmp_path)
    run(bare)
    assert difference(copied(model), copied(bare)) is None


def test_a_run_can_stop_at_a_collapse_and_keeps_what_was_before(tmp_path) -> None:
    model = Fading(FadingConfig())
    with pytest.raises(CollapseError, match=r"step \d+: outputs hardly vary with z.*last checkpoint before it"):
        run(model, tmp_path, on_collapse="stop")
    fresh = Fading(FadingConfig())
    folder.resume(fresh, tmp_path)
    assert fresh.scale > 0.25 > model.scale


def test_a_run_that_goes_back_goes_on_in_another_way(tmp_path, caplog) -> None:
    model = Fading(FadingConfig())
    own: set[int] = set()
    whole = Fading(FadingConfig())
    whole.fades = lambda noise: own.add(noise.generator.initial_seed()) is None
    for _ in loop(whole, Examples(Points(2)), Run(steps=40, batch=8)):
        pass
    model.fades = lambda noise: (
        noise.generator.initial_seed() in own
    )  # the numbers of the run's own seed, and no others
    with caplog.at_level(logging.WARNING, "triptych"):
        run(model, tmp_path, on_collapse="rollback")
    assert any("going on from step" in r.message for r in caplog.records)
    assert model.scale > 0.5
    steps = [line["step"] for line in metrics(tmp_path) if "g" in line]
    assert steps == sorted(set(steps)) and steps[-1] == 40, "the lines of the way that was left are gone"


def test_a_run_that_always_collapses_is_given_up(tmp_path, caplog, monkeypatch) -> None:
    monkeypatch.setattr("triptych.training.health.WINDOW", 10)  # it goes back to where it never differed
    with caplog.at_level(logging.WARNING, "triptych"), pytest.raises(CollapseError):
        run(Fading(FadingConfig()), tmp_path, on_collapse="rollback")
    assert sum("going on from step" in r.message for r in caplog.records) == ROLLBACKS


def test_a_step_that_is_not_finite_can_be_left_out(tmp_path, caplog) -> None:
    model = Fading(FadingConfig(adam=Adam(lr=1e-3)))
    model.poison = lambda noise: noise.generator.initial_seed() % 5 == 0
    with pytest.raises(NonFiniteError):
        run(model, tmp_path / "stops")
    with caplog.at_level(logging.WARNING, "triptych"):
        run(model, tmp_path / "skips", on_nan="skip")
    left = [r.message for r in caplog.records if "left out" in r.message]
    assert 1 <= len(left) < 20 and "not finite" in left[0]
    assert metrics(tmp_path / "skips")[-1]["step"] == 40
    model.poison = lambda noise: True
    with pytest.raises(NonFiniteError):
        run(model, tmp_path / "always", on_nan="skip")


def test_a_run_can_go_back_from_a_loss_that_is_not_finite(tmp_path) -> None:
    model = Fading(FadingConfig(adam=Adam(lr=1e-3)))
    bad: list[int] = []

    def tenth(noise: Any) -> bool:
        if len(bad) < 1 and model.scale < 0.995:
            bad.append(noise.generator.initial_seed())
        return noise.generator.initial_seed() in bad

    model.poison = tenth
    run(model, tmp_path, on_nan="rollback")
    assert bad and metrics(tmp_path)[-1]["step"] == 40
