"""What a model is: fields, players, presets, size, source."""

import inspect
from pathlib import Path
from typing import Any

from triptych import models
from triptych.io import commit, configs, folder
from triptych.verbs.create import initialize
from triptych.verbs.opening import readings
from triptych.verbs.posing import saved_task
from triptych.verbs.shipped import located


def first_line(loss: Any) -> str:
    """What a loss is, in the first paragraph of its docstring."""
    return " ".join((inspect.getdoc(loss) or "").split("\n\n")[0].split())


def show(name: str) -> dict[str, Any]:
    """Everything `triptych show` prints, for a model (its default configuration) or a preset.

    Raises UsageError, with a suggestion, for an unknown or planned model.
    """
    entry, preset = models.find_preset(name)
    kind = entry.load()
    config = preset.config if preset else folder.config_class(kind)()
    model = initialize(kind, config, seed=0)
    about = {"name": entry.name, "family": entry.family, **vars(entry.paper)}
    about["parameters"] = sum(w.numel() for w in model.parameters() if w.requires_grad)
    about["source"] = inspect.getsourcefile(kind)
    about["fields"] = [
        {"field": field, "type": type_, "value": value, "doc": doc}
        for field, type_, value, doc in configs.describe(config)
    ]
    about["players"] = [
        {
            "stage": stage.name,
            "player": player.name,
            "parameters": sum(w.numel() for w in player.owns.parameters() if w.requires_grad),
            "every": f"{player.turns} every {player.every} rounds"
            if (player.turns, player.every) != (1, 1)
            else "1 a round",
            "loss": first_line(player.loss),
        }
        for stage in model.stages()
        for player in stage.players
    ]
    about["presets"] = [
        {"name": n, "steps": p.steps, "batch": p.batch, "expect": p.expect, "config": configs.to_json(p.config)}
        for n, p in entry.presets().items()
    ]
    return about


def show_task(name: str) -> dict[str, Any]:
    """What a task does, its settings with their meaning and defaults, its usual model, and the flags of `apply`."""
    from triptych import tasks
    from triptych.verbs.apply import flags_of

    kind = tasks.find(name)
    make: Any = kind
    task = make()
    flags = [
        {"flag": f"--{flag.replace('_', '-')}", "default": "needed" if p.default is p.empty else p.default}
        for flag, p in flags_of(kind).items()
    ]
    fields = [{"field": f, "type": t, "value": v, "doc": doc} for f, t, v, doc in configs.describe(task)]
    return {"name": name, "does": tasks.TASKS[name][1], "model": task.model, "fields": fields, "flags": flags}


def is_run(name: str) -> bool:
    """Whether there is a run, or a saved model, of this name."""
    if Path(name).exists() or name in presets():
        return bool(commit.committed(Path(name)))
    return bool(commit.committed(located(name)))


def presets() -> set[str]:
    """The names of all models' presets: some are those of weights, too, which `sample` and the like mean by them."""
    return {preset for entry in models.every().values() for preset in entry.presets()}


def show_run(run: str | Path) -> dict[str, Any]:
    """What a run's folder says of itself: its model, task and data, how each column was read, and its settings."""
    run = located(run)
    about, task = folder.about(run), saved_task(run)
    data, trained = about.get("data") or {}, about.get("run") or {}
    config = configs.from_json(folder.config_class(models.find_class(about["model"])), about["config"], str(run))
    return {
        "run": str(run),
        "model": about["model"],
        "task": task.name if task else None,
        "settings": configs.to_json(task) if task else {},
        "data": {name: data.get(name) for name in ("name", "n", "fingerprint", "opened") if name in data},
        "columns": {name: str(reading) for name, reading in readings(run).items()},
        "trained": {name: trained[name] for name in ("steps", "batch", "seed") if name in trained},
        "fields": [{"field": f, "type": t, "value": v, "doc": doc} for f, t, v, doc in configs.describe(config)],
    }
