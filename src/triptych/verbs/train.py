"""Training into a run folder: the loop, with checkpoints, a log, pictures and a clean end on signals."""

import json
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

import triptych
from triptych import training
from triptych.core import (
    Adam,
    CollapseError,
    Data,
    Generative,
    HasLikelihood,
    NonFiniteError,
    RMSProp,
    TriptychError,
    UsageError,
)
from triptych.core.reading import expect
from triptych.data import check_fits, fitted
from triptych.errors import Interrupted
from triptych.io import commit, configs, folder, outputs
from triptych.io.lock import writing
from triptych.nn import ranks
from triptych.tasks.task import Posed, Says, to_json
from triptych.training import Round, Run
from triptych.training.signals import Stop, catching
from triptych.verbs.card import write_card
from triptych.verbs.decoration import (
    METRICS,
    SAMPLES,
    animate,
    check_mark,
    decorating,
    log_lines,
    mark_of,
    metrics,
    shots_of,
)
from triptych.verbs.opening import as_data
from triptych.verbs.pictured import Shots
from triptych.verbs.score import score
from triptych.verbs.show import first_line
from triptych.verbs.watch import Watch

logger = logging.getLogger(__name__)

HELD = 256
"""Held-out examples that say which checkpoint is the best."""
LINES = 400
"""Of metrics.jsonl, for a whole run; a checkpoint adds one."""
ROLLBACKS = 3
"""Times that a run is taken back before it is given up."""


def train(
    model: Generative[Any],
    data: Data | Any,
    run: Run | int,
    *,
    out: str | Path | None = None,
    resume: bool | None = None,
    save_seconds: float = 60,
    keep: int = 2,
    pictures: int = 8,
    held: Data | None = None,
    on_nan: Literal["stop", "skip", "rollback"] = "stop",
    on_collapse: Literal["warn", "stop", "rollback"] = "warn",
) -> Iterator[Round]:
    """Trains `model` on `data`, one round at a time; without `out`, that is all.

    `data` may also be an array or a tensor, or a pair of it and classes; `run` a number of steps,
    of batches of 128 or all there is.

    With `out`, the folder gets the model and what resuming needs (every `save_seconds` and at the end, the `keep` last
    also under checkpoints/), metrics.jsonl, and `pictures` pictures of the same samples as they improve. With `held`,
    examples that are not trained on, a model that has a likelihood is scored on `HELD` of them at each checkpoint, and
    the best so far is kept under checkpoints/ too. With `resume`, a run that was interrupted in any way goes on where
    its last checkpoint stands and ends with the same weights, bit for bit, as if nothing had happened; where there is
    no checkpoint yet, it begins. That is the default under torchrun, which restarts its ranks by the same command.
    SIGINT and SIGTERM end the run after the current step and a checkpoint; whatever looks at the model (pictures,
    scores) comes after a checkpoint and is left when a signal comes.

    A loss or gradient that is not finite stops the run, is skipped, or takes the run back to its last checkpoint, from
    where it goes on with other random numbers (`ROLLBACKS` times at most). So does a GAN that collapses: at each
    checkpoint its samples are looked at (see `Watch`), and nothing is saved of one that is to stop or go back.

    Raises UsageError if the data does not fit the model, `out` already holds a run, the run to be resumed is another
    one, several ranks are to go back, or another process writes into `out`; Interrupted after a signal; CollapseError;
    NonFiniteError and ResourceError as the loop and the disk do; TriptychError where another rank has ended.
    """
    data = as_data(data, model)
    run = Run(steps=run, batch=min(Run().batch, len(data))) if isinstance(run, int) else run
    check_fits(data, model.config, training=True)
    data = fitted(data, model.config, training=True)
    held = None if held is None else fitted(held, model.config)
    training.check_batches(model, data, run)
    if dist.is_initialized() and (on_collapse != "warn" or on_nan == "rollback"):
        raise UsageError("stopping at a collapse and going back to a checkpoint are for one process; leave them out")
    if out is None:
        yield from training.train(model, data, run, skip=on_nan == "skip")
        return
    path = Path(out)
    with writing(path) if leading() else nullcontext():
        yield from recorded(model, data, run, path, resume, save_seconds, keep, pictures, held, on_nan, on_collapse)


def recorded(
    model: Generative[Any],
    data: Data,
    run: Run,
    path: Path,
    resume: bool | None,
    save_seconds: float,
    keep: int,
    pictures: int,
    held: Data | None,
    on_nan: Literal["stop", "skip", "rollback"],
    on_collapse: Literal["warn", "stop", "rollback"],
) -> Iterator[Round]:
    """`train` into a folder that nobody else writes to."""
    state = reopen(model, data, run, path) if continues(path, resume) else None
    if state is None:
        check_begin(path)
        if leading():
            outputs.begin_run(path)
            if isinstance(data, Posed) and isinstance(data.task, Says):
                for name, content in data.task.files().items():
                    commit.write_atomic(path / name, content)
            if resumes(resume):
                logger.info("%s holds no checkpoint yet: the run starts from nothing", path)
    if state and leading():
        check_mark(path / METRICS, state.get("log"))
    log = Log(path / METRICS, state["position"]["step"] if state else 0)
    total = sum(stage.rounds(run.steps) for stage in model.stages())
    spent, started, saved_at = state["seconds"] if state else 0.0, time.monotonic(), time.monotonic()
    shots = Shots(model, held or data, path, pictures, total)
    now: Round | None = None
    began = state["position"]["step"] if state else 0
    unsaved = False
    best = best_of(path, state)
    watch = Watch(model, data) if leading() else None

    def seconds() -> float:
        return spent + time.monotonic() - started

    def look(now: Round) -> None:
        """Raises CollapseError where the samples are such that the run is not to go on."""
        if watch is None:
            return
        signs, numbers = watch.look(now)
        for name, value in numbers.items():
            log.note(name, value)
        if signs and on_collapse != "warn":
            raise CollapseError(f"step {now.step}: {signs[0].text}. {path} holds the last checkpoint before it")

    def save(now: Round) -> None:
        nonlocal unsaved, saved_at
        if leading():
            kept: dict[str, Any] = {"seconds": seconds(), "best": best if math.isfinite(best) else None}
            kept["log"] = mark_of(path / METRICS)
            folder.save(model, path, about=about(data, run), state={**now.state(), **kept})
            folder.keep(path, now.step, keep)
        unsaved, saved_at = False, time.monotonic()

    def compare(now: Round) -> None:
        """Keeps the checkpoint that was just saved if it is the best so far."""
        nonlocal best
        if held is None or not isinstance(model, HasLikelihood):
            return
        one = score(model, held, limit=HELD)
        nats = one.nats
        log.note("held_out/nats", nats)
        most = "at most " if one.kind == "lower bound" else ""
        values = (now.step, most, nats, one.bits_per_dim)
        logger.info("step %d: held-out data take %s%.2f nats, %.3f bits/dim", *values)
        if nats < best:
            best = nats
            folder.keep(path, now.step, 1, "best")

    def show(now: Round, checkpoint: bool) -> None:
        """All that looks at the model as it was saved."""
        shots.after(now.step, time.monotonic() - started, now.step - began)
        if checkpoint:
            if on_collapse == "warn":
                look(now)
            compare(now)
        if now.step == total:
            with decorating(path / SAMPLES / "progress.gif"):
                animate(path)

    def describe() -> None:
        log.flush(seconds())
        if leading():
            with decorating(path / "README.md"):
                shown = [f"{SAMPLES}/{file.name}" for file in shots_of(path)[-1:]]
                write_card(model, data, run, path, seconds(), environment(), "".join(shown))

    if state is None and leading():
        shots.first()
    with catching() as stop:
        try:
            for tries in range(ROLLBACKS + 1):
                try:
                    for now in training.train(model, data, run, resume=state, skip=on_nan == "skip"):
                        unsaved = True
                        logs = now.logs()
                        log.add(logs, now.step)
                        if watch is not None:
                            watch.observe(now.stage, logs)
                        checkpoint = now.step == total or time.monotonic() - saved_at > save_seconds
                        due = agreed(checkpoint or now.step in shots.when)
                        leaving = asked(stop)
                        if leaving or due:
                            if on_collapse != "warn" and not leaving:
                                look(now)
                            save(now)
                            if leading():
                                stop.spare(partial(show, now, checkpoint))
                            describe()
                            if leaving or asked(stop):
                                break
                        elif now.step % max(1, total // LINES) == 0:
                            log.flush(seconds())
                        yield now
                    break
                except (NonFiniteError, CollapseError) as e:
                    policy = on_nan if isinstance(e, NonFiniteError) else on_collapse
                    if policy != "rollback" or tries == ROLLBACKS or not commit.committed(path):
                        raise
                    state = folder.resume(model, path)
                    state["position"]["retry"] = (now.retry if now else 0) + 1
                    log, watch = Log(path / METRICS, state["position"]["step"]), Watch(model, data)
                    logger.warning("%s; going on from step %d, in another way", e, state["position"]["step"])
        except GeneratorExit:  # the caller's own `break`
            if now is not None and unsaved:
                save(now)
                describe()
            raise
        except RuntimeError as e:
            if not lost(e):
                raise
            raise TriptychError(
                f"another rank has ended, or cannot be reached ({cause(e)}); {path} holds the last "
                f"checkpoint, and the same command goes on from it"
            ) from e
        finally:
            log.flush(seconds())
        if stop.signal is not None:
            at = now.step if now else 0
            raise Interrupted(stop.signal, f"interrupted at step {at} of {total}; saved in {path}: --resume continues")


def resumes(resume: bool | None) -> bool:
    """Whether a run is to be gone on with: what was said, or else whether torchrun is at work, which may restart it."""
    return dist.is_torchelastic_launched() if resume is None else resume


def continues(path: Path, resume: bool | None) -> bool:
    """Whether there is a run in `path` to go on with, and it is to be."""
    return resumes(resume) and bool(commit.committed(path))


def best_of(path: Path, state: dict[str, Any] | None) -> float:
    """The best score up to a checkpoint. Scores are taken after it is saved, and so the last one is in the log only."""
    if state is None:
        return math.inf
    scores = [
        v["held_out/nats"] for v in metrics(path) if v["step"] <= state["position"]["step"] and "held_out/nats" in v
    ]
    return min([*scores, *([state["best"]] if state.get("best") is not None else [])], default=math.inf)


def check_begin(path: Path) -> None:
    """Raises UsageError unless a run may begin in this folder: nothing in it is anybody else's."""
    if commit.committed(path):
        held = folder.about(path).get("model")
        raise UsageError(f"{path} already holds a {held}; --resume continues its run, another --out starts afresh")
    outputs.check_run(path)


def reopen(model: Generative[Any], data: Data, run: Run, path: Path) -> dict[str, Any]:
    """The saved state of a run, its weights already in `model`. Raises UsageError if it is not this run's."""
    state = folder.resume(model, path)
    expect(state, STATE, str(path / folder.STATE))
    saved = folder.about(path)
    expect(saved, {"data": dict, "run": dict, "made_with?": dict}, str(path / folder.CONFIG))
    if saved["data"]["fingerprint"] != data.fingerprint:
        raise UsageError(
            f"{path} was trained on {saved['data']['name']}; {data.name} is not the same data, or it has changed since"
        )
    now, then = configs.to_json(run), configs.to_json(configs.from_json(Run, saved["run"], str(path / folder.CONFIG)))
    for name in now:
        if name != "steps" and now[name] != then.get(name):
            raise UsageError(
                f"{path} was trained with {name}={then.get(name)}, not {now[name]}; a run keeps its settings"
            )
    for change in changes(saved, model, run) if leading() else []:
        logger.warning("resuming, %s", change)
    return state


STATE = {
    "position": {"step": int, "stage": int, "stage_step": int, "drawn": int, "retry?": int},
    "optimizers": dict,
    "seconds": (int, float),
    "best?": (int, float, type(None)),
}
"""What state.json says of a run."""


def about(data: Data, run: Run) -> dict[str, Any]:
    """What config.json says about a run, beside the model and its configuration."""
    return {
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "n": len(data),
            "opened": getattr(data, "opened", None),
            "split": getattr(data, "split", None),
            "mutate": getattr(data, "mutate", 0.0),
        },
        "run": configs.to_json(run),
        "made_with": environment(),
        **({"task": to_json(data.task)} if isinstance(data, Posed) else {}),
    }


def announce(model: Generative[Any], run: Run) -> list[str]:
    """What is said before a run begins: its stages, and what the numbers are that it logs."""
    stages = model.stages()
    lines = []
    if len(stages) > 1:
        each = ", ".join(f"{stage.name} ({stage.rounds(run.steps):,})" for stage in stages)
        lines.append(f"{model.name} is trained in {len(stages)} stages, each of its own steps: {each}")
    losses = {player.name: first_line(player.loss) for stage in stages for player in stage.players}
    return lines + [f"loss of {name}: {what}" for name, what in losses.items() if what]


def told(now: Round) -> str:
    """A round's losses, and what was logged of them that has a unit, in a line."""
    parts = []
    for name, loss in now.losses.items():
        parts.append(f"{name} {loss.value.item():.4g}")
        parts += [f"{loss.logs[key].item():.4g} {unit}" for key, unit in UNITS.items() if key in loss.logs]
    return "  ".join(parts)


UNITS = {
    "nats": "nats",
    "bits_per_dim": "bits/dim",
    "bits_per_token": "bits/token",
    "distortion": "nats of distortion",
    "rate": "nats of rate",
}
"""What losses log that has a unit."""


def environment() -> dict[str, Any]:
    """What a run's bits depend on besides its settings."""
    return {
        "triptych": triptych.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "ranks": ranks.world(),
    }


def changes(saved: dict[str, Any], model: Generative[Any], run: Run) -> list[str]:
    """What is different now from when a run's config.json was saved, and whether it costs the same bits."""
    then, now = saved.get("made_with", {}), environment()
    compared = [k for k in ("torch", "threads", "device", "ranks") if k in then]  # older runs do not say all
    out = [f"but not bit for bit: {k} was {then[k]}, now {now[k]}" for k in compared if then[k] != now[k]]
    steps = saved["run"].get("steps")
    if steps != run.steps:
        paced = any(follows(p.optimizer) for stage in model.stages() if stage.steps is None for p in stage.players)
        lost, what = (
            ("but not bit for bit: ", "the learning rate")
            if paced
            else ("", "what depends on the share of training that is done, if anything does,")
        )
        out.append(f"{lost}steps was {steps}, now {run.steps}: {what} goes by the new number from here on")
    return out


def follows(optimizer: Adam | RMSProp) -> bool:
    """Whether an optimizer's settings depend on how much of a stage is done."""
    return any(optimizer.settings(at / 8) != optimizer.settings(0.0) for at in range(1, 8))


def leading() -> bool:
    """Whether this process writes files: there is one writer a run."""
    return not dist.is_initialized() or dist.get_rank() == 0


def asked(stop: Stop) -> bool:
    """Whether any rank was asked to stop: all must leave after the same round."""
    stop.signal = int(ranks.largest(stop.signal or 0)) or None
    return stop.signal is not None


def agreed(value: bool) -> bool:
    """Whether it is so for any rank: their clocks differ."""
    return ranks.largest(value) > 0


def lost(e: RuntimeError) -> bool:
    """Whether it says that another rank does not answer."""
    return ranks.world() > 1 and (isinstance(e, dist.DistError) or "gloo" in str(e))


def cause(e: Exception) -> str:
    """What the libraries below say, without their line numbers and advice."""
    return re.sub(r"^\[\S+:\d+\] ", "", str(e).partition("\n")[0]).partition(". ")[0]


class Log:
    """metrics.jsonl: a line of means every few rounds. A resumed run drops the lines after its checkpoint."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step, self.sums, self.counts = path, step, dict[str, float](), dict[str, int]()
        if path.exists() and leading():
            kept = [line for line, values in log_lines(path) if values["step"] <= step]
            with decorating(path):
                commit.write_atomic(path, "".join(f"{line}\n" for line in kept).encode())

    def add(self, logs: Mapping[str, float], step: int) -> None:
        """What a round logged, for the mean over the rounds since the last line."""
        self.step = step
        for name, value in logs.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def note(self, name: str, value: float) -> None:
        """A number that is measured now and then, for the next line."""
        self.sums[name], self.counts[name] = value, 1

    def flush(self, seconds: float) -> None:
        if not self.sums or not leading():
            return
        line = {"step": self.step, "seconds": round(seconds, 3)} | {k: v / self.counts[k] for k, v in self.sums.items()}
        self.sums, self.counts = {}, {}
        with decorating(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as f:
                f.write(json.dumps(line) + "\n")


def setup_ranks() -> None:
    """Joins the process group when started by torchrun; does nothing otherwise.

    Raises TriptychError where the other ranks cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        store, rank, world = next(rendezvous("env://"))
        met = ranks.meet(store, rank, world)
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", store=met, rank=rank, world_size=world)
    except (RuntimeError, ValueError, TimeoutError) as e:
        raise TriptychError(
            f"the ranks of this run did not meet ({cause(e)}); the same command starts them again, "
            "and goes on from the last checkpoint if there is one"
        ) from e


def leave_ranks() -> None:
    """Leaves the process group, if there is one, where all went well; elsewhere it ends with the process."""
    if dist.is_initialized():
        dist.destroy_process_group()
