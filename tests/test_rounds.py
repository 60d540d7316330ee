"""What keeps a run company: each wrapper in its place, whoever leaves and however."""

import json
from pathlib import Path

import pytest

import triptych as tt
from triptych.core import NonFiniteError
from triptych.io import commit, folder
from triptych.testing import Examples
from triptych.training import Run
from triptych.verbs.rounds import persevering
from triptych.verbs.rounds.logged import Log
from triptych.verbs.rounds.moments import Stopwatch
from triptych.verbs.train import train


def begun(out: Path, steps: int = 6):
    model = tt.create("dcgan-tiny")
    return model, train(model, Examples(model.config.x), Run(steps=steps, batch=8), out=out, pictures=0)


def lines(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_who_leaves_the_loop_leaves_a_checkpoint_with_its_line_and_card(tmp_path: Path) -> None:
    _, rounds = begun(tmp_path / "run")
    for now in rounds:
        if now.step == 3:
            break
    rounds.close()
    assert folder.resume(tt.create("dcgan-tiny"), tmp_path / "run")["position"]["step"] == 3
    assert lines(tmp_path / "run")[-1] == 3 and (tmp_path / "run" / "README.md").exists()


def test_a_checkpoint_that_cannot_be_written_is_no_secret_to_who_leaves(tmp_path: Path, monkeypatch) -> None:
    _, rounds = begun(tmp_path / "run")
    next(rounds)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(commit, "write_synced", full)
    with pytest.raises((OSError, tt.ResourceError), match=r"space|full"):
        rounds.close()


def test_every_way_back_to_a_checkpoint_is_another_way_on(tmp_path: Path, monkeypatch) -> None:
    model, rounds = begun(tmp_path / "run", steps=1)
    list(rounds)
    seen = []

    def begin(state):
        seen.append(state["position"].get("retry", 0))
        raise NonFiniteError("at once")
        yield

    state = folder.resume(model, tmp_path / "run")
    with pytest.raises(NonFiniteError):
        list(persevering.persevering(begin, state, model, tmp_path / "run", "rollback", "warn"))
    assert seen == [0, 1, 2, 3]


def test_a_tracker_gets_every_line_of_the_log(tmp_path: Path) -> None:
    log, seen = Log(tmp_path / "metrics.jsonl", Stopwatch(0.0)), []
    log.sinks.append(seen.append)
    for step, loss in ((1, 2.0), (2, 4.0)):
        log.add({"generator": loss}, step)
    log.note("held_out/nats", 7.0)
    log.flush()
    log.flush()
    assert [(line["step"], line["generator"], line["held_out/nats"]) for line in seen] == [(2, 3.0, 7.0)]
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == seen[0]
