"""What a model is: fields, players, presets, size, source."""

import inspect
from typing import Any

from triptych import models
from triptych.io import configs, folder
from triptych.verbs.create import initialize


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
