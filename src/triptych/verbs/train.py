"""Training into a run folder: the loop, in the company of checkpoints, a log, pictures and a clean end on signals."""

import logging
import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from triptych import training
from triptych.core import Data, Generative, HasLikelihood, TriptychError, UsageError
from triptych.data import check_fits, fitted
from triptych.errors import Interrupted
from triptych.io import commit, outputs
from triptych.io.configs import to_json
from triptych.io.lock import writing
from triptych.nn import ranks
from triptych.tasks.task import Posed, Says
from triptych.training import Round, Run
from triptych.training.signals import Stop, catching
from triptych.verbs.decoration import METRICS, check_mark
from triptych.verbs.opening import as_data
from triptych.verbs.pictured import Shots
from triptych.verbs.progress import barred
from triptych.verbs.resuming import best_of, check_begin, continues, reopen, resumes
from triptych.verbs.rounds.described import described
from triptych.verbs.rounds.logged import Log, logged
from triptych.verbs.rounds.moments import Moments, Pace, Stopwatch, asked, leading, timed
from triptych.verbs.rounds.persevering import OnNan, persevering
from triptych.verbs.rounds.pictured import pictured
from triptych.verbs.rounds.saved import Checkpoints, saved
from triptych.verbs.rounds.scored import scored
from triptych.verbs.rounds.watched import OnCollapse, warned, watched
from triptych.verbs.tracking import names_of, opened
from triptych.verbs.watch import Watch

logger = logging.getLogger(__name__)


def check_mismatched(model: Generative[Any], data: Data) -> None:
    """Raises UsageError where a task marks misfits that the model would not look at."""
    share = getattr(getattr(data, "task", None), "mismatched", 0)
    if share and not model.judges_pairs:
        raise UsageError(
            f"mismatched={share:g}: no discriminator of {model.name} is shown a picture beside its condition, so that "
            "it would change nothing (those of pix2pix, spade and pixel-dtgan are); leave it out"
        )


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
    on_nan: OnNan = "stop",
    on_collapse: OnCollapse = "warn",
    progress: bool = False,
    track: str | Sequence[str] = (),
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
    `track` names trackers that get the log and the pictures too: "tensorboard", "wandb", "trackio" (see `tracking`).
    With `progress`, a bar (of tqdm, where it is installed) or lines now and then say how far it is.
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
    check_mismatched(model, data)
    training.check_batches(model, data, run)
    if dist.is_initialized() and (on_collapse != "warn" or on_nan == "rollback"):
        raise UsageError("stopping at a collapse and going back to a checkpoint are for one process; leave them out")
    path, trackers = None if out is None else Path(out), names_of(track)
    if path is None and trackers:
        raise UsageError(f"track={trackers[0]}: a run that is tracked has a folder; say out=")
    with writing(path) if path is not None and leading() else nullcontext():
        rounds = (
            training.train(model, data, run, skip=on_nan == "skip")
            if path is None
            else recorded(
                model, data, run, path, resume, save_seconds, keep, pictures, held, on_nan, on_collapse, trackers
            )
        )
        total = sum(stage.rounds(run.steps) for stage in model.stages())
        yield from barred(rounds, model.name, total) if progress and leading() else rounds


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
    on_nan: OnNan,
    on_collapse: OnCollapse,
    track: Sequence[str] = (),
) -> Generator[Round]:
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
    began = state["position"]["step"] if state else 0
    total = sum(stage.rounds(run.steps) for stage in model.stages())
    stopwatch, pace = Stopwatch(state["seconds"] if state else 0.0), Pace(save_seconds, total)
    shots, log = Shots(model, held or data, path, pictures, total), Log(path / METRICS, stopwatch)
    about = {"model": model.name, **to_json(model.config), "data": data.name, "run": to_json(run)}
    shots.trackers = opened(track, path, about, began) if leading() else []
    log.sinks += shots.trackers
    best = best_of(path, state)
    checkpoints = Checkpoints(path, model, data, run, keep=keep, pace=pace, stopwatch=stopwatch, best=best)

    def begin(state: Any, stop: Stop) -> Moments:
        """The loop, from a state on, and its company."""
        log.begin(state["position"]["step"] if state else 0)
        rounds = training.train(model, data, run, resume=state, skip=on_nan == "skip")
        moments = logged(timed(rounds, pace, shots, stop), log, total)
        if not leading():
            return described(saved(moments, checkpoints), log, checkpoints)
        watch = Watch(model, data)
        moments = watched(moments, watch, log, on_collapse, path)
        moments = saved(moments, checkpoints)
        moments = pictured(moments, shots, stopwatch, stop, path, began)
        if on_collapse == "warn":
            moments = warned(moments, watch, log, stop)
        if held is not None and isinstance(model, HasLikelihood):
            moments = scored(moments, model, held, checkpoints, log, stop)
        return described(moments, log, checkpoints)

    if state is None and leading():
        shots.first()
    step = 0
    with catching() as stop:
        moments = persevering(lambda state: begin(state, stop), state, model, path, on_nan, on_collapse)
        try:
            with closing(moments):
                for now in moments:
                    step = now.round.step
                    if now.leaving or (now.saved and asked(stop)):
                        break
                    yield now.round
        except RuntimeError as e:
            if not lost(e):
                raise
            raise TriptychError(
                f"another rank has ended, or cannot be reached ({cause(e)}); {path} holds the last "
                f"checkpoint, and the same command goes on from it"
            ) from e
        finally:
            log.flush()
            for tracker in shots.trackers:
                tracker.close()
        if stop.signal is not None:
            raise Interrupted(
                stop.signal, f"interrupted at step {step} of {total}; saved in {path}: --resume continues"
            )


def lost(e: RuntimeError) -> bool:
    """Whether it says that another rank does not answer."""
    return ranks.world() > 1 and (isinstance(e, dist.DistError) or "gloo" in str(e))


def cause(e: Exception) -> str:
    """What the libraries below say, without their line numbers and advice."""
    return re.sub(r"^\[\S+:\d+\] ", "", str(e).partition("\n")[0]).partition(". ")[0]


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


@contextmanager
def sharing() -> Iterator[bool]:
    """Shares the work inside with the other ranks that torchrun has started, if any; gives whether this is the first,
    which says and writes what came of it."""
    setup_ranks()
    yield ranks.rank() == 0
    leave_ranks()


def leave_ranks() -> None:
    """Leaves the process group, if there is one, where all went well; elsewhere it ends with the process."""
    if dist.is_initialized():
        dist.destroy_process_group()
