"""Trackers: they get figures, pictures and sounds, and never cost a run."""

import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import UsageError
from triptych.testing import Examples
from triptych.training import Run
from triptych.verbs import tracking


class Kept:
    """A tracker that keeps everything."""

    made: list["Kept"] = []

    def __init__(self, run: Path, about: Mapping[str, Any], began: int) -> None:
        self.about, self.began, self.closed = about, began, False
        self.lines: list[tuple[int, Mapping[str, float]]] = []
        self.pictures: list[int] = []
        self.heard: list[tuple[Sequence[np.ndarray], int]] = []
        Kept.made.append(self)

    def line(self, values: Mapping[str, float], step: int) -> None:
        self.lines.append((step, values))

    def picture(self, image: Image.Image, step: int) -> None:
        self.pictures.append(step)

    def sounds(self, waves: Sequence[np.ndarray], rate: int, step: int) -> None:
        self.heard.append((waves, rate))

    def close(self) -> None:
        self.closed = True


class Failing(Kept):
    def line(self, values: Mapping[str, float], step: int) -> None:
        raise RuntimeError("no route to host")


@pytest.fixture
def kept(monkeypatch) -> list[Kept]:
    monkeypatch.setitem(tracking.TRACKERS, "tensorboard", Kept)
    monkeypatch.setitem(tracking.TRACKERS, "wandb", Failing)
    monkeypatch.setattr(Kept, "made", [])
    return Kept.made


def trained(out: Path, track: str, steps: int = 4, name: str = "dcgan-tiny", **more: Any) -> None:
    model = tt.create(name)
    run = Run(steps=steps, batch=8)
    for _ in tt.train(model, Examples(model.config.x), run, out=out, pictures=2, track=track, **more):
        pass


def test_a_tracker_gets_what_the_log_and_the_folder_get(tmp_path, kept) -> None:
    trained(tmp_path / "run", "tensorboard")
    (one,) = kept
    logged = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(one.lines) == len(logged) and one.lines[-1][0] == 4 and "generator" in one.lines[-1][1]
    assert one.pictures == [0, *sorted({1, 4})] and one.closed and one.about["model"] == "dcgan"


def test_a_failing_tracker_never_costs_a_run(tmp_path, kept, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        trained(tmp_path / "run", "wandb,tensorboard")
    said = [r.getMessage() for r in caplog.records if "no route to host" in r.getMessage()]
    assert said == ["wandb is left out from here on: no route to host"]
    assert kept[1].lines and (tmp_path / "run" / "model.safetensors").exists()


def test_a_run_that_goes_on_tells_its_tracker_from_where(tmp_path, kept) -> None:
    model = tt.create("dcgan-tiny")
    rounds = tt.train(model, Examples(model.config.x), Run(steps=4, batch=8), out=tmp_path / "run", pictures=0)
    next(rounds)
    next(rounds)
    rounds.close()
    trained(tmp_path / "run", "tensorboard", resume=True)
    assert kept[0].began == 2 and kept[0].lines[-1][0] == 4


def test_sounds_are_heard(kept) -> None:
    space = tt.Audio(2, 16, rate=8000)
    careful = tracking.Careful("kept", Kept(Path(), {}, 0))
    x = space.from_index(torch.randint(0, space.levels, (6, *space.shape)))
    careful.shot(space, Image.new("L", (4, 4)), x, 3)
    ((waves, rate),) = kept[0].heard
    assert len(waves) == tracking.SOUNDS and rate == 8000 and waves[0].shape == (16,) and abs(waves[0]).max() <= 1


@pytest.mark.parametrize(
    ("track", "words"),
    [("tensorbord", "did you mean tensorboard"), ("mlflow", "there are tensorboard, wandb, trackio")],
)
def test_another_name_is_explained(tmp_path, track: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        trained(tmp_path / "run", track)
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_folder_is_not_tracked(kept) -> None:
    model = tt.create("dcgan-tiny")
    with pytest.raises(UsageError, match="say out="):
        next(tt.train(model, Examples(model.config.x), Run(steps=1, batch=8), track="tensorboard"))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_missing_package_is_one_line_before_the_first_step(tmp_path, name: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"{name} is not installed: pip install 'triptych\[{name}\]'"):
        trained(tmp_path / "run", name)


def test_event_files_hold_figures_and_pictures(tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained(tmp_path / "run", "tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
        assert events.Scalars("generator")[-1].step == 4
        assert [shot.step for shot in events.Images("samples")][-1] == 4


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_others_take_a_run(tmp_path, name: str, monkeypatch, caplog) -> None:
    pytest.importorskip(name, reason=f"the extra {name} is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("ignore")
        trained(tmp_path / "run", name)
    assert not [r for r in caplog.records if "left out" in r.getMessage()]
