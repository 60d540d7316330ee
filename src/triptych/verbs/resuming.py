"""Going on with a run: what it says of itself, whether it is this one, and what has changed since."""

import logging
import math
import os
import re
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import triptych
from triptych.core import Adam, Data, Generative, MuonOf, RMSProp, UsageError
from triptych.core.reading import expect
from triptych.data.columns import readings_of
from triptych.data.sources import split_of
from triptych.io import commit, configs, folder, outputs
from triptych.nn import ranks
from triptych.tasks.task import Posed, to_json
from triptych.training import Run
from triptych.verbs.decoration import metrics

logger = logging.getLogger(__name__)


def resumes(resume: bool | None) -> bool:
    """Whether a run is to be gone on with: what was said, or else whether torchrun is at work, which may restart it."""
    return dist.is_torchelastic_launched() if resume is None else resume


def continues(path: Path, resume: bool | None) -> bool:
    """Whether there is a run in `path` to go on with, and it is to be."""
    return resumes(resume) and bool(commit.committed(path))


def usual_place(source: str, model: str) -> Path:
    """Where a run goes that nobody named a folder for: runs/photos-dcgan-small, or with a number behind it where that
    is taken."""
    named = Path(split_of(source)[0]).resolve().name if Path(source).exists() else split_of(source)[0]
    name = re.sub(r"[^\w.-]+", "-", f"{named}-{model}").strip("-.")
    places = (Path("runs") / f"{name}{f'-{k}' if k > 1 else ''}" for k in count(1))
    return next(place for place in places if not os.path.lexists(place))


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
    for change in changes(saved, model, run) if ranks.rank() == 0 else []:
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
            "reading": {name: configs.to_json(reading) for name, reading in readings_of(data).items()},
            "split": getattr(data, "split", None),
            "mutate": getattr(data, "mutate", 0.0),
        },
        "run": configs.to_json(run),
        "made_with": environment(),
        **({"task": to_json(data.task)} if isinstance(data, Posed) else {}),
    }


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


def follows(optimizer: Adam | RMSProp | MuonOf) -> bool:
    """Whether an optimizer's settings depend on how much of a stage is done."""
    return any(optimizer.settings(at / 8) != optimizer.settings(0.0) for at in range(1, 8))
