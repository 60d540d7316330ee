"""The loop, the turn and the run folder: what happens to a run that is killed, damaged, continued or shared out."""

import copy
import hashlib
import json
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from triptych import models
from triptych.core import (
    Adam,
    Batch,
    Clock,
    Data,
    Generative,
    Images,
    IntegrityError,
    Loss,
    NonFiniteError,
    Player,
    Points,
    ResourceError,
    Stage,
    StepNoise,
    UsageError,
    config,
    mix,
)
from triptych.errors import Interrupted
from triptych.io import commit, folder
from triptych.losses import adversarial
from triptych.nn import ranks
from triptych.testing import Examples
from triptych.testing.toys import copied, difference
from triptych.training import Run, playing, turn
from triptych.training import train as loop
from triptych.training.loop import lay_out
from triptych.training.playing import rows
from triptych.verbs.create import create, load
from triptych.verbs.decoration import metrics
from triptych.verbs.resuming import changes
from triptych.verbs.sample import sample
from triptych.verbs.score import score
from triptych.verbs.train import train

# Which examples make up a batch


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (12, 4), (7, 7), (5, 1)])
def test_every_epoch_is_a_new_permutation(n: int, batch: int) -> None:
    per = n // batch
    epochs = [torch.cat([rows(n, batch, 4, e * per + k) for k in range(per)]).tolist() for e in range(6)]
    for epoch in epochs:
        assert len(set(epoch)) == per * batch and set(epoch) <= set(range(n))
    assert len({tuple(e) for e in epochs}) > 1
    assert set().union(*epochs) == set(range(n))


def test_the_order_is_a_function_of_the_seed_and_the_count() -> None:
    assert rows(10, 3, 0, 0).tolist() == [6, 7, 5] and rows(10, 3, 0, 3).tolist() == [3, 4, 5]
    assert rows(10, 3, 1, 0).tolist() != rows(10, 3, 0, 0).tolist()


# Players


@config
class DuelConfig:
    x: Points = Points(2)
    adam: Adam = Adam(lr=1e-2)


class Duel(Generative[None]):
    """Two players over four numbers, for looking at the loop."""

    name = "duel"

    def __init__(self, config: DuelConfig, **settings: Any) -> None:
        super().__init__()
        self.config, self.settings, self.seen = config, settings, list[tuple[str, int, float, list[float]]]()
        self.a, self.b = nn.Linear(2, 1), nn.Linear(2, 1)
        self.begun = 0

    def draw(self, noise, given=None):
        return noise.normal(2)

    def loss(self, name: str, batch: Batch[None], clock: Clock) -> Loss:
        self.seen.append((name, clock.step, clock.progress, batch.x.flatten().tolist()))
        value = (self.a(batch.x) - self.b(batch.x) + batch.noise.normal(1)).pow(2).mean()
        return Loss(value, {"half": value / 2})

    def stages(self):
        def player(name: str, **more: Any) -> Player:
            loss = lambda batch, clock: self.loss(name, batch, clock)  # noqa: E731
            return Player(name=name, owns=getattr(self, name), loss=loss, optimizer=self.config.adam, **more)

        def begin() -> None:
            self.begun += 1

        first = [player("a", turns=3), player("b", every=2, **self.settings)]
        return [
            Stage(name="both", players=first, steps=4),
            Stage(name="b", players=[player("b")], batch=2, begin=begin),
        ]


def test_a_stage_has_its_own_rounds_or_those_of_the_run_so_many_times() -> None:
    assert Stage(name="a", players=[], steps=4, times=3).rounds(5) == 4
    assert [Stage(name="a", players=[], times=times).rounds(5) for times in (1, 3)] == [5, 15]


def test_turns_and_every_and_stages_are_kept() -> None:
    model = Duel(DuelConfig())
    rounds = list(loop(model, Examples(Points(2)), Run(steps=3, batch=4)))
    assert [name for name, *_ in model.seen] == [*"aaab", *"aaa", *"aaab", *"aaa", *"bbb"]
    assert [step for _, step, *_ in model.seen] == [0] * 4 + [1] * 3 + [2] * 4 + [3] * 3 + [0, 1, 2]
    assert [p for *_, p, _ in model.seen[-3:]] == [0, 1 / 3, 2 / 3]
    assert [len(x) for *_, x in model.seen] == [8] * 14 + [4] * 3
    assert len({tuple(x) for *_, x in model.seen}) == 17, "every turn has a fresh batch"
    assert [(r.step, r.stage, r.stage_step, r.stage_steps, r.drawn) for r in rounds] == [
        (1, 0, 1, 4, 4),
        (2, 0, 2, 4, 7),
        (3, 0, 3, 4, 11),
        (4, 0, 4, 4, 14),
        (5, 1, 1, 3, 15),
        (6, 1, 2, 3, 16),
        (7, 1, 3, 3, 17),
    ]
    assert [sorted(r.losses) for r in rounds] == [["a", "b"], ["a"]] * 2 + [["b"]] * 3
    assert model.begun == 1
    assert set(rounds[0].logs()) == {f"{p}{k}" for p in "ab" for k in ("", "/half", "/gradient_norm")}


def test_a_turn_moves_its_player_only_and_projects() -> None:
    calls = []
    model = Duel(DuelConfig(), project=lambda: calls.append(torch.is_grad_enabled()))
    frozen = model.b.bias.requires_grad_(False)
    before = copied(model)
    player = model.stages()[0].players[1]
    optimizer = player.optimizer(player.owns.parameters())
    batch = Batch(torch.randn(4, 2), None, StepNoise(0, 4, slice(None)))
    loss = turn(model, player, optimizer, batch, Clock(0, 0.0))
    assert [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])] == ["b.weight"]
    assert not frozen.requires_grad and model.a.weight.requires_grad
    assert calls == [False] and not loss.value.requires_grad


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_a_gradient_is_clipped_to_its_norm(clip: float) -> None:
    model = Duel(DuelConfig(), clip=clip)
    player = model.stages()[0].players[1]
    batch = Batch(torch.randn(4, 2), None, StepNoise(0, 4, slice(None)))
    loss = turn(model, player, player.optimizer(player.owns.parameters()), batch, Clock(0, 0.0))
    norm = torch.cat([w.grad.flatten() for w in model.b.parameters()]).norm().item()
    whole = loss.logs["gradient_norm"].item()
    assert norm == pytest.approx(min(whole, clip), rel=1e-4)


def test_the_rate_follows_progress() -> None:
    model = Duel(DuelConfig(adam=Adam(lr=0.4, schedule="linear")))
    last = list(loop(model, Examples(Points(2)), Run(steps=4, batch=4)))[-1]
    assert last.optimizers["b"].param_groups[0]["lr"] == pytest.approx(0.1)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_nothing_moves_when_a_loss_is_not_finite(poison: float, data) -> None:
    model = small("vae-tiny")
    data.values[17] = poison
    before = copied(model)
    with pytest.raises(NonFiniteError, match=r"player vae: .* in round \d+, on a batch with items .*no weight"):
        for now in loop(model, data, Run(steps=50, batch=12)):
            assert math.isfinite(now.losses["vae"].value)
            before = copied(model)
    assert difference(before, copied(model)) is None


# Bit for bit


def small(name: str, **changes: Any) -> Generative[Any]:
    return create(name, seed=1, **changes)


def finish(model: Generative[Any], data: Data, run: Run, resume: Any = None) -> Any:
    *_, now = loop(model, data, run, resume=resume)
    return now


@pytest.mark.parametrize("changes", [{"channels_last": True}, {"precision": "bf16"}, {"accumulate": 2}], ids=str)
@pytest.mark.parametrize("name", ["dcgan-tiny", "pixelcnn-tiny"])
def test_an_option_resumes_bit_for_bit(name: str, changes, tmp_path) -> None:
    data, run = Examples(small(name).config.x), Run(steps=6, batch=8, **changes)
    whole, cut = small(name), small(name)
    finish(whole, data, run)
    for now in loop(cut, data, run):
        if now.step == 3:
            folder.save(cut, tmp_path, state=now.state())
            break
    other = create(name, seed=2)
    finish(other, data, run, folder.resume(other, tmp_path))
    assert difference(copied(whole), copied(other)) is None


@pytest.mark.parametrize("name", ["dcgan-tiny", "pixelcnn-tiny"])
def test_channels_last_is_the_same_up_to_rounding(name: str) -> None:
    """Of losses and gradients: Adam's first steps make much of little."""
    data = Examples(small(name).config.x)
    one, other = (finish(small(name), data, Run(steps=1, batch=8, channels_last=last)) for last in (False, True))
    assert other.logs() == pytest.approx(one.logs(), rel=1e-5)


@pytest.fixture
def graphs(monkeypatch) -> list[Any]:
    """The graphs of what is compiled, to torch's own kernels: code for them would take a minute to build."""
    found: list[Any] = []

    def build(graph: Any, examples: Any) -> Any:
        found.append(graph)
        return aot_eager(graph, examples)

    plain, aot_eager = torch.compile, torch._dynamo.lookup_backend("aot_eager")
    monkeypatch.setattr(torch, "compile", lambda call, **options: plain(call, backend=build, **options))
    return found


def test_compiled_networks_are_the_same_up_to_rounding(graphs) -> None:
    data = Examples(small("vae-tiny").config.x)
    model = small("vae-tiny")
    one = finish(small("vae-tiny"), data, Run(steps=2, batch=8))
    other = finish(model, data, Run(steps=2, batch=8, compile=True))
    assert len(graphs) == 2  # encoder and decoder
    assert other.logs() == pytest.approx(one.logs(), rel=1e-5)
    model.sample(2, seed=0)
    assert len(graphs) == 2  # training alone is compiled
    assert {k for k, _ in model.named_parameters()} == {k for k, _ in small("vae-tiny").named_parameters()}


def test_losses_that_differentiate_a_gradient_cannot_be_compiled(graphs) -> None:
    data = Examples(small("wgan-gp-tiny").config.x)
    with pytest.raises(UsageError, match="compile=True: the loss of critic differentiates a gradient"):
        finish(small("wgan-gp-tiny"), data, Run(steps=2, batch=8, compile=True))
    with pytest.raises(UsageError, match="compile=True and augment"):
        finish(small("dcgan-tiny"), data, Run(steps=2, batch=8, compile=True, augment=("color",)))


def test_where_no_kernel_is_repeatable_the_turn_is_played_again_with_another(monkeypatch, caplog) -> None:
    """As on a GPU, whose kernels are asked to be repeatable first: once, and said."""
    plain, calls, data = playing.turn, [], Examples(small("dcgan-tiny").config.x)

    def turn(*args: Any, **options: Any) -> Loss:
        calls.append(args[1].name)
        found = plain(*args, **options)
        if len(calls) == 2:
            raise RuntimeError("scatter_cuda_ does not have a deterministic implementation, but you set ...")
        return found

    model, run = small("dcgan-tiny"), Run(steps=2, batch=8)
    monkeypatch.setattr(playing, "turn", turn)
    seen = [now.logs() for now in loop(model, data, run)]
    assert calls == ["discriminator", "generator", "generator", "discriminator", "generator"]
    assert caplog.messages == [
        "a resumed run will not equal this one bit for bit: scatter_cuda_ does not have a deterministic implementation"
    ]
    monkeypatch.setattr(playing, "turn", plain)
    assert (
        len(seen) == 2
        and seen[0]["discriminator"] == finish(small("dcgan-tiny"), data, replace(run, steps=1)).logs()["discriminator"]
    )


@pytest.mark.parametrize("entry", models.own().values(), ids=lambda entry: entry.name)
def test_every_model_can_be_laid_out_channels_last(entry: models.Entry) -> None:
    tiny = next(name for name in entry.presets() if name.startswith(f"{entry.name}-tiny"))
    model = small(tiny)
    before = [w.clone() for w in model.parameters()]
    lay_out(model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in model.parameters() if w.dim() == 4)


@pytest.mark.parametrize("name", ["vae-tiny", "pixelcnn-tiny"])
def test_a_batch_in_parts_is_the_same_up_to_rounding(name: str) -> None:
    data = Examples(small(name).config.x)
    one, other = (finish(small(name), data, Run(steps=1, batch=8, accumulate=parts)) for parts in (1, 4))
    assert other.logs() == pytest.approx(one.logs(), rel=1e-5)


def test_a_batch_is_split_into_equal_parts_or_not_at_all(data) -> None:
    with pytest.raises(UsageError, match="accumulate=3: a batch of 8 cannot be worked on in so many equal parts"):
        next(loop(small("vae-tiny"), data, Run(batch=8, accumulate=3)))


def test_another_seed_is_another_run() -> None:
    data, x = Examples(Images(1, 2, 2, levels=2)), [small("vae-tiny") for _ in range(2)]
    for seed, model in enumerate(x):
        finish(model, data, Run(steps=2, batch=8, seed=seed))
    assert difference(copied(x[0]), copied(x[1])) is not None


# The run folder


@pytest.fixture
def data() -> Examples:
    return Examples(Images(1, 2, 2, levels=2))


def sums(path: Path) -> dict[str, str]:
    """What must be equal, bit for bit, in two runs: weights and optimizer state."""
    return {n: hashlib.sha256((path / n).read_bytes()).hexdigest() for n in (folder.WEIGHTS, folder.STATE_TENSORS)}


def play(
    path: Path, data: Data, steps: int = 8, *, stop: int | None = None, resume: bool | None = False, **more: Any
) -> None:
    for now in train(small("vae-tiny"), data, Run(steps=steps, batch=8, **more), out=path, resume=resume, pictures=1):
        if now.step == stop:
            break


def test_a_run_leaves_its_files(tmp_path, data) -> None:
    play(tmp_path / "run", data)
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {
        ".triptych",
        "README.md",
        "checkpoints",
        "config.json",
        "manifest.json",
        "metrics.jsonl",
        "model.safetensors",
        "samples",
        "state.json",
        "state.safetensors",
    }
    about = folder.about(tmp_path / "run")
    assert about["model"] == "vae" and about["data"]["name"] == "random examples" and about["run"]["steps"] == 8
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, 9)) and all("vae" in line for line in lines)
    assert load(tmp_path / "run").sample(2, seed=0).shape == (2, 1, 2, 2)


def test_a_break_is_resumed_and_the_log_has_no_line_twice(tmp_path, data) -> None:
    play(tmp_path / "whole", data)
    play(tmp_path / "cut", data, stop=3)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as f:  # as if killed after the checkpoint
        f.write('{"step": 4, "seconds": 1.0, "vae": 0.5}\n{"step": 5, "sec')
    play(tmp_path / "cut", data, resume=True)
    assert sums(tmp_path / "cut") == sums(tmp_path / "whole")
    assert [line["step"] for line in metrics(tmp_path / "cut")] == list(range(1, 9))


def test_a_finished_run_is_left_alone_and_can_be_prolonged(tmp_path, data) -> None:
    play(tmp_path, data)
    before = sums(tmp_path)
    play(tmp_path, data, resume=True)
    assert sums(tmp_path) == before
    play(tmp_path, data, steps=10, resume=True)
    assert sums(tmp_path) != before and metrics(tmp_path)[-1]["step"] == 10


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path, data) -> None:
    play(tmp_path, data)
    before = sums(tmp_path)
    with pytest.raises(UsageError, match="already holds a vae; --resume continues"):
        play(tmp_path, data)
    assert sums(tmp_path) == before


def test_a_file_is_no_folder(tmp_path, data) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="is a file; out= takes a folder"):
        play(tmp_path / "file", data)
    assert (tmp_path / "file").read_text() == "precious"


def test_only_the_same_run_is_resumed(tmp_path, data) -> None:
    play(tmp_path, data, stop=3)
    before = sums(tmp_path)
    run = Run(steps=8, batch=8)
    with pytest.raises(UsageError, match="was trained with seed=0, not 5"):
        play(tmp_path, data, resume=True, seed=5)
    with pytest.raises(UsageError, match="was trained with batch=8, not 4"):
        list(train(small("vae-tiny"), data, replace(run, batch=4), out=tmp_path, resume=True))
    with pytest.raises(UsageError, match="is not the same data, or it has changed since"):
        play(tmp_path, Examples(data.x, seed=1), resume=True)
    with pytest.raises(UsageError, match="holds a run of vae, not of gan"):
        list(train(small("gan-tiny", x=data.x), data, run, out=tmp_path, resume=True))
    with pytest.raises(UsageError, match=r"another configuration: latent=1 \(now 2\)"):
        list(train(small("vae-tiny", latent=2), data, run, out=tmp_path, resume=True))
    assert sums(tmp_path) == before


def test_a_scheduler_may_always_resume(tmp_path, data, caplog) -> None:
    """The same command begins a run, goes on with it, and leaves it alone when it is done."""
    play(tmp_path / "plain", data)
    for stop in (None, 3):
        path = tmp_path / str(stop)
        with caplog.at_level("INFO"):
            play(path, data, stop=stop, resume=True)
        assert f"{path} holds no checkpoint yet: the run starts from nothing" in caplog.messages
        caplog.clear()
        play(path, data, resume=True)
        assert sums(path) == sums(tmp_path / "plain") and not caplog.messages


def test_under_torchrun_a_run_is_gone_on_with_unless_told_otherwise(tmp_path, data, monkeypatch) -> None:
    play(tmp_path / "plain", data)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for _ in range(2):  # as an elastic restart does: the same command again
        play(tmp_path / "cut", data, stop=3, resume=None)
    play(tmp_path / "cut", data, resume=None)
    assert sums(tmp_path / "cut") == sums(tmp_path / "plain")
    with pytest.raises(UsageError, match="already holds a vae; --resume continues"):
        play(tmp_path / "cut", data, resume=False)


def test_what_costs_the_same_bits_is_said(tmp_path, data, caplog) -> None:
    def said(steps: int, name: str, data: Data, **more: Any) -> list[str]:
        caplog.clear()
        run = Run(steps=steps, batch=8)
        for _ in train(small(name, **more), data, run, out=tmp_path / name, resume=True, pictures=1):
            break
        return [m for m in caplog.messages if m.startswith("resuming")]

    plain = {"adam": Adam()}
    assert said(8, "vae-tiny", data, **plain) == [] and said(8, "vae-tiny", data, **plain) == []
    (line,) = said(9, "vae-tiny", data, **plain)
    assert "steps was 8, now 9" in line and "if anything does" in line and "not bit for bit" not in line
    model = small("gpt-tiny", adam=Adam(schedule="linear"))
    text = Examples(model.config.x)
    assert said(8, "gpt-tiny", text, adam=Adam(schedule="linear")) == []
    (line,) = said(9, "gpt-tiny", text, adam=Adam(schedule="linear"))
    assert "not bit for bit: steps was 8, now 9: the learning rate goes by the new number from here on" in line
    about, run = folder.about(tmp_path / "gpt-tiny"), Run(steps=9, batch=8)
    about["made_with"]["ranks"] = 2
    assert changes(about, model, run) == ["but not bit for bit: ranks was 2, now 1"]
    del about["made_with"]["ranks"]  # as in runs of before it was recorded
    assert changes(about, model, run) == []


class Interrupting(Examples):
    """Held-out examples during whose scoring a signal comes."""

    def __init__(self, *args: Any, path: Path) -> None:
        super().__init__(*args)
        self.path, self.found = path, list[int]()

    def fetch(self, rows: Any, noise: Any) -> Batch[Any]:
        self.found.append(json.loads((self.path / folder.STATE).read_text())["position"]["step"])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        raise AssertionError("scoring goes on after a signal")


def test_a_signal_does_not_wait_for_scores(tmp_path, data) -> None:
    """The step is saved before anything is scored, and what is being scored is left."""
    held = Interrupting(data.x, path=tmp_path / "cut")
    done = []
    with pytest.raises(Interrupted, match="interrupted at step 1 of 8; saved") as e:
        for now in train(
            small("vae-tiny"), data, Run(steps=8, batch=8), out=tmp_path / "cut", held=held, save_seconds=0, pictures=1
        ):
            done.append(now.step)
    assert e.value.exit_code == 143 and held.found == [1] and done == []
    play(tmp_path / "cut", data, resume=True)
    play(tmp_path / "plain", data)
    assert sums(tmp_path / "cut") == sums(tmp_path / "plain")


def test_nothing_is_scored_once_a_signal_has_come(tmp_path, data) -> None:
    held = Interrupting(data.x, path=tmp_path)
    with pytest.raises(Interrupted, match="interrupted at step 4 of 8; saved"):
        for now in train(small("vae-tiny"), data, Run(steps=8, batch=8), out=tmp_path, held=held, pictures=1):
            if now.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
    assert held.found == []
    assert json.loads((tmp_path / folder.STATE).read_text())["position"]["step"] == 4


def test_the_best_score_is_remembered_although_it_comes_after_the_checkpoint(tmp_path, data) -> None:
    """Killed right after a checkpoint that was the best: a worse one later does not take its place."""

    def best() -> list[str]:
        return [p.name for p in (tmp_path / "checkpoints").glob("best-*")]

    options: dict[str, Any] = {"out": tmp_path, "held": Examples(data.x, seed=3), "save_seconds": 0, "pictures": 1}
    for now in train(small("vae-tiny"), data, Run(steps=8, batch=8), **options):
        if now.step == 2:
            break
    first = best()
    with (tmp_path / "metrics.jsonl").open("a") as f:  # a score that no later one will reach
        f.write(json.dumps({"step": 2, "seconds": 1.0, "held_out/nats": -1e9}) + "\n")
    list(train(small("vae-tiny"), data, Run(steps=8, batch=8), **options, resume=True))
    assert best() == first


def test_data_that_do_not_fit_are_refused_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"the model is built for Images\(.*serves Images\("):
        play(tmp_path / "run", Examples(Images(3, 2, 2)))
    with pytest.raises(UsageError, match="a batch of 8 needs at least 8 examples"):
        play(tmp_path / "few", Examples(Images(1, 2, 2, levels=2), n=5))
    assert not (tmp_path / "run").exists() and not (tmp_path / "few").exists()


def test_the_last_checkpoint_survives_a_loss_that_is_not_finite(tmp_path, data) -> None:
    play(tmp_path, data, stop=3)
    before = sums(tmp_path)
    data.values.fill_(math.nan)
    with pytest.raises(NonFiniteError, match="player vae"):
        play(tmp_path, data, resume=True)
    assert sums(tmp_path) == before
    assert load(tmp_path)


def test_a_rate_that_is_much_too_high_ends_the_run(tmp_path, data) -> None:
    model = small("vae-tiny", adam=Adam(lr=1e38))
    with pytest.raises(NonFiniteError):
        list(train(model, data, Run(steps=20, batch=8), out=tmp_path, save_seconds=0))
    for path in (tmp_path, *(tmp_path / "checkpoints").glob("step-*")):
        if commit.committed(path):
            assert all(v.isfinite().all() for v in copied(load(path)).values())


def test_a_full_disk_costs_no_checkpoint(tmp_path, data, monkeypatch) -> None:
    play(tmp_path, data, stop=3)
    before = sums(tmp_path)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ResourceError, match="disk is full"):
        patch.setattr(commit, "write_synced", full)
        play(tmp_path, data, resume=True)
    assert sums(tmp_path) == before
    play(tmp_path, data, resume=True)


def test_a_damaged_checkpoint_is_not_continued(tmp_path, data) -> None:
    play(tmp_path, data, stop=3)
    path = tmp_path / folder.STATE_TENSORS
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"state\.safetensors"):
        play(tmp_path, data, resume=True)


def test_checkpoints_are_runs_of_their_own(tmp_path, data) -> None:
    play(tmp_path / "whole", data)
    for now in train(small("vae-tiny"), data, Run(steps=8, batch=8), out=tmp_path / "cut", save_seconds=0, keep=3):
        if now.step == 5:
            break
    kept = sorted((tmp_path / "cut" / "checkpoints").iterdir())
    assert [p.name for p in kept] == ["step-00000003", "step-00000004", "step-00000005"]
    play(kept[0], data, resume=True)
    assert sums(kept[0]) == sums(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_a_checkpoint(tmp_path, data, number: int) -> None:
    play(tmp_path / "whole", data)
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"interrupted at step 3 of 8; saved in .*: --resume continues") as caught:
        for now in train(small("vae-tiny"), data, Run(steps=8, batch=8), out=tmp_path / "cut"):
            if now.step == 2:
                os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == handler
    play(tmp_path / "cut", data, resume=True)
    assert sums(tmp_path / "cut") == sums(tmp_path / "whole")


# Real processes

CASES = {
    "dcgan": ["dcgan", "--data", "mnist", "width=4", "latent=4"],
    "vae": ["vae", "--data", "mnist-binary", "hidden=[16]", "latent=2"],
    "pixelcnn": ["pixelcnn", "--data", "mnist-binary", "width=4", "blocks=1", "head=4"],
}
STEPS = 24


def command(arguments: list[str]) -> None:
    """The command line, in a process of its own."""
    from triptych.cli import main

    torch.set_num_threads(1)
    sys.argv = ["triptych", *arguments]
    main()


@pytest.fixture(scope="module")
def processes() -> Any:
    """Where processes come from: forks of one that has torch loaded, so that tests need not wait for it each time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "triptych.cli.app", "triptych.verbs.train", "triptych.verbs.prepare"])
    return context


OFTEN = ("--save-seconds", "0")
"""A checkpoint after every step: most of the time is spent writing, so that most kills hit a commit."""


def started(processes: Any, case: str, path: Path, *more: str) -> Any:
    settings = ["--out", str(path), "--steps", str(STEPS), "--batch", "4", "--device", "cpu"]
    process = processes.Process(target=command, args=(["train", *CASES[case], *settings, *more],))
    process.start()
    return process


def ended(process: Any) -> int:
    process.join(300)
    code = process.exitcode
    process.close()
    return int(code)


def waited(process: Any, path: Path) -> None:
    """Until the first checkpoint is there."""
    until = time.monotonic() + 300
    while not (path / commit.MANIFEST).exists():
        assert process.is_alive() and time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_killed_again_and_again_ends_the_same(case: str, tmp_path, processes) -> None:
    assert ended(started(processes, case, tmp_path / "whole")) == 0
    kills, path, more = 0, tmp_path / "cut", list(OFTEN)
    moments = random.Random(case)
    for _ in range(2):
        process = started(processes, case, path, *more)
        waited(process, path)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        if (code := ended(process)) == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        load(path)  # whatever the moment was, there is a model
        more = [*OFTEN, "--resume"]
    assert kills > 0
    assert ended(started(processes, case, path, "--resume")) == 0
    assert sums(path) == sums(tmp_path / "whole")
    assert metrics(path)[-1]["step"] == STEPS
    steps = [line["step"] for line in metrics(path)]
    assert steps == sorted(set(steps))
    assert not list(path.glob(".draft-*")) and not (path / commit.NEXT).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_that_is_asked_to_stop_says_so(number: int, code: int, tmp_path, processes) -> None:
    process = started(processes, "vae", tmp_path, *OFTEN)
    waited(process, tmp_path)
    os.kill(process.pid, number)
    assert ended(process) == code
    assert 0 < json.loads((tmp_path / folder.STATE).read_text())["position"]["step"] < STEPS
    assert ended(started(processes, "vae", tmp_path, "--resume")) == 0


# Ranks

TINY = {"vae-tiny": 60, "pixelcnn-tiny": 60}
"""Models, and steps after which two ranks have learned what one process does."""
TIED = dict.fromkeys(("dcgan-tiny", "sagan-tiny", "sgan-tiny", "ebgan-tiny", "progan-tiny", "vq-vae-tiny"), 3)
"""Those whose items are tied together: by batch statistics, minibatch deviation, features, labels, a codebook."""


def play_all(path: Path) -> None:
    for name, steps in {**TINY, **TIED}.items():
        model = create(name, seed=1 + int(os.environ.get("RANK", 0)))  # rank 0's weights are what counts
        data = Examples(model.config.x, getattr(model.config, "given", None))
        for _ in train(model, data, Run(steps=steps, batch=8), out=path / name, pictures=2):
            pass


def share() -> None:
    """Ranks share what is drawn and scored, and have the same as one alone."""
    model = create("pixelcnn-tiny", seed=1)
    data = Examples(model.config.x, None)
    drawn, scored = sample(model, 3, seed=2), score(model, data, limit=9, batch=2)
    few = score(model, data, limit=1)
    own, (ranks.world, ranks.rank) = (ranks.world, ranks.rank), (lambda: 1, lambda: 0)
    assert torch.equal(drawn, sample(model, 3, seed=2))
    assert scored.per_item == score(model, data, limit=9, batch=2).per_item
    assert few == score(model, data, limit=1)
    ranks.world, ranks.rank = own


SHARED = """
import sys, pathlib, torch
import torch.distributed as dist
from triptych.training import overlapping
torch.set_num_threads(1)
overlapping.BUCKET = 200  # a tensor or two of these models
reduce, early = dist.all_reduce, []
def counted(x, *args, **options):
    early.append(options.get("async_op", False))
    return reduce(x, *args, **options)
dist.all_reduce = counted
from triptych.verbs.train import setup_ranks
from test_training import play_all
setup_ranks()
play_all(pathlib.Path(sys.argv[1]))
from test_training import share
share()
assert sum(early) > 100, "gradients are sent while others are computed"
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_ranks_learn_what_one_does(tmp_path) -> None:
    play_all(tmp_path / "1")
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    places = [str(Path(models.__file__).parents[2]), str(Path(__file__).parent)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path / "2")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    for name, steps in {**TINY, **TIED}.items():
        one, two = (tmp_path / str(ranks) / name for ranks in (1, 2))
        a, b = copied(load(one)), copied(load(two))
        worst, where = max(((a[k] - b[k]).abs().max().item(), k) for k in a)
        # a bias that batch normalization takes out again has no gradient but rounding, of which Adam makes steps
        assert worst <= (1e-6 if name in TINY else 2e-3), f"{name}: {where}"
        for line, other in zip(metrics(one), metrics(two), strict=True):
            figures = {k: v for k, v in line.items() if k not in ("seconds", "health/diversity")}
            assert {k: other[k] for k in figures} == pytest.approx(figures, rel=1e-3, abs=1e-4), name
        there, here = ({p.relative_to(run) for p in run.rglob("*")} for run in (one, two))
        # a slow machine takes no pictures while it trains
        assert {p for p in there if p.parts[0] != "samples"} == {p for p in here if p.parts[0] != "samples"}
        total = load(one).stages()
        assert [line["step"] for line in metrics(two)] == list(range(1, len(total) * steps + 1)), "one rank writes"


def test_a_batch_is_split_evenly_or_not_at_all(monkeypatch, data) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with pytest.raises(UsageError, match="a batch of 8 cannot be split evenly over 3 ranks"):
        next(loop(small("vae-tiny"), data, Run(batch=8)))


def test_a_run_goes_on_from_a_state_that_was_never_saved() -> None:
    data, run = Examples(Images(1, 8, 8), n=16), Run(steps=3, batch=8)
    whole, states, weights = small("dcgan-tiny"), [], []
    for now in loop(whole, data, run):
        states.append(copy.deepcopy(now.state()))
        weights.append(copied(whole))
    other = small("dcgan-tiny")
    other.load_state_dict(weights[0])
    for _ in loop(other, data, run, resume=states[0]):
        pass
    assert difference(weights[-1], copied(other)) is None


# Samples that the players of a round share


def test_a_shared_round_is_one_batch_and_one_pass_of_the_generator() -> None:
    """As PyTorch's example does it: the discriminator on the samples as numbers, the generator through the same."""
    data, run = Examples(Images(1, 8, 8)), Run(steps=4, batch=8, seed=3)
    model, plain = (small("dcgan-tiny-shared") for _ in range(2))
    passes, fetched = [], []
    model.generator.register_forward_hook(lambda *_: passes.append(1))
    fetch = data.fetch
    data.fetch = lambda rows, noise: fetched.append(rows) or fetch(rows, noise)  # type: ignore[method-assign]
    assert [now.drawn for now in loop(model, data, run)] == [1, 2, 3, 4]
    assert len(passes) == len(fetched) == 4
    plain.train()
    adams = [p.optimizer(p.owns.parameters()) for p in plain.stages()[0].players]
    for k, chosen in enumerate(fetched):
        batch = fetch(chosen, StepNoise(mix(run.seed, k), 8, slice(None)))
        fake = plain.generator(2 * batch.noise.uniform(4) - 1)
        for adam, judged in zip(adams, (fake.detach(), fake), strict=True):
            adam.zero_grad()
            score = plain.discriminator(judged)
            if judged is fake:
                loss = adversarial.non_saturating(score)
                fresh = [w for w in plain.discriminator.parameters() if w.requires_grad]
                slopes = torch.autograd.grad(loss, list(plain.generator.parameters()))
                assert fresh
                for w, slope in zip(plain.generator.parameters(), slopes, strict=True):
                    w.grad = slope
            else:
                adversarial.discriminator(plain.discriminator(batch.x), score).backward()
            adam.step()
    for name, value in plain.generator.state_dict().items():
        assert torch.allclose(value.float(), model.generator.state_dict()[name].float(), atol=1e-5), name
    for w, other in zip(plain.discriminator.parameters(), model.discriminator.parameters(), strict=True):
        assert torch.allclose(w, other, atol=1e-5)


def test_a_shared_round_in_parts_is_of_the_same_batches() -> None:
    """Each player makes of it again what one would have made once."""
    weights, orders = [], []
    for parts in (1, 2):
        data, fetched = Examples(Images(1, 8, 8)), list[int]()
        fetch = data.fetch
        data.fetch = lambda rows, noise, fetch=fetch, to=fetched: to.extend(rows.tolist()) or fetch(rows, noise)  # type: ignore[method-assign]
        model = small("dcgan-tiny-shared")
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
                module.train = lambda mode=True, module=module: module  # of the items one by one
        assert [now.drawn for now in loop(model, data, Run(steps=3, batch=8, seed=3, accumulate=parts))] == [1, 2, 3]
        weights.append(copied(model))
        orders.append(fetched)
    once, again = (torch.tensor(order).view(3, -1) for order in orders)
    assert torch.equal(again, once.repeat(1, 2))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"accumulate": 2}, {"augment": ("color",)}], ids=str)
def test_a_shared_round_resumes_bit_for_bit(changes, tmp_path) -> None:
    data, run = Examples(Images(1, 8, 8)), Run(steps=6, batch=8, **changes)
    whole, cut = (small("dcgan-tiny-shared") for _ in range(2))
    finish(whole, data, run)
    for now in loop(cut, data, run):
        if now.step == 3:
            folder.save(cut, tmp_path / "half", state=now.state())
            break
    other = small("dcgan-tiny-shared")
    finish(other, data, run, resume=folder.resume(other, tmp_path / "half"))
    assert difference(copied(whole), copied(other)) is None


def test_a_shared_round_leaves_no_weight_frozen_and_bears_a_turn_left_out(caplog) -> None:
    model, data = small("dcgan-tiny-shared"), Examples(Images(1, 8, 8))
    flags = [w.requires_grad for w in model.parameters()]
    judged: list[int] = []

    def spoil(module: nn.Module, inputs: Any, score: torch.Tensor) -> torch.Tensor:
        judged.append(1)
        return score * math.nan if len(judged) <= 2 else score

    hook = model.discriminator.register_forward_hook(spoil)  # in the first turn
    rounds = loop(model, data, Run(steps=3, batch=8), skip=True)
    assert set(next(rounds).losses) == {"generator"} and "left out" in caplog.text
    assert flags == [w.requires_grad for w in model.parameters()]
    assert set(next(rounds).losses) == {"discriminator", "generator"}
    hook.remove()
    model.generator[0].weight.data.fill_(math.nan)
    with pytest.raises(NonFiniteError):
        list(loop(model, data, Run(steps=3, batch=8)))
    assert flags == [w.requires_grad for w in model.parameters()]
