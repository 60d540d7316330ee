"""From what a person typed to a task: `train super-resolution times=2` names a task, its settings and no model."""

from dataclasses import dataclass, fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from triptych import models, tasks
from triptych.core import UsageError
from triptych.io import commit, configs, folder
from triptych.tasks.task import Task
from triptych.verbs.shipped import shipped


@dataclass(frozen=True)
class Chosen:
    """What is to be trained."""

    model: str
    """A model's name or a preset's."""
    assignments: list[str]
    """`field=value` of the model."""
    task: Task | None = None


def choose(name: str, by: str | None, assignments: list[str], resume: Path | None) -> Chosen:
    """`name` is a task, a model or a preset; `by` is the model that a task is trained with, if not its own.

    Of the assignments, those whose field a task has are the task's, and the others the model's. A resumed run keeps its
    task. Raises UsageError for what is unknown, or if `by` comes without a task.
    """
    if name not in tasks.TASKS:
        if by is not None:
            raise UsageError(f"--model {by} goes with a task ({', '.join(tasks.TASKS)}); {name} is a model itself")
        return Chosen(name, assignments)
    kind = tasks.find(name)
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    ours = [a for a in assignments if a.partition("=")[0] in names]
    task: Task = saved_task(resume) if resume is not None else None  # type: ignore[assignment]
    make: Any = kind
    task = configs.override(task or make(), ours)
    if by is None and resume is not None and commit.committed(resume):
        by = str(folder.about(resume).get("model"))
    return Chosen(by or task.model, [a for a in assignments if a not in ours], task)


def saved_task(run: Path) -> Task | None:
    """The task that a run was trained for, if any. Raises UsageError for one that this version does not know."""
    if not commit.committed(run):
        return None
    about = folder.about(run)
    return tasks.from_json(about["task"]) if "task" in about else None


def opening(chosen: Chosen) -> dict[str, Any]:
    """How data are opened for it: crops as large as the model's x."""
    if chosen.task is None:
        return {}
    return chosen.task.opens(usual(chosen.model).x)


def usual(name: str) -> Any:
    """The configuration of a preset, or of a model if nothing is said."""
    entry, preset = models.find_preset(name)
    return preset.config if preset else folder.config_class(entry.load())()


def use(run: Path) -> str:
    """How a run of a task is used, as it is typed; empty for a run of none."""
    task, own = saved_task(run), next((one for one in shipped().values() if one.folder == run), None)
    if task is None:
        return ""
    first = next(name for name, one in signature(task.ask).parameters.items() if one.kind is Parameter.KEYWORD_ONLY)
    asked = own.asking if own else f"--{first} {'WORDS' if first == 'text' else 'FILE'}"
    return f"triptych apply {own.name if own else run} {asked} --out FILE"
