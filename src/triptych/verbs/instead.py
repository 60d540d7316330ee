"""What to train in place of a model that is told something else than the data have."""

from types import NoneType
from typing import Any

from triptych import models, tasks
from triptych.core import Data, Space, UsageError
from triptych.data.fits import taken
from triptych.data.telling import beside, told, unlike
from triptych.io import folder
from triptych.tasks.task import Posed

IN_PAPERS = {"classes": "label", "captions": "text", "numbers": "numbers", "pictures": "picture", "videos": "video"}
"""What the catalogue calls what models are told."""
NAMED = 3
"""Models, or tasks, that a sentence names."""


def check_told(name: str, entry: models.Entry, usual: Any, given: Space | None, data: Data) -> None:
    """Raises UsageError, in one sentence with what would help, unless `given`, which data serve, is of a kind that the
    model (or, of a configuration that is `usual`, the preset) of this name has to be told."""
    wants = wanted(entry, usual)
    if not wants:
        return
    if given is not None and told([given])[0] in wants:
        if usual is not None and given.kind == "tokens" and not (isinstance(data, Posed) or given.serves(usual.given)):
            raise UsageError(
                f"{name} is made for captions in {usual.given}; {data.name} has captions in {given}: {entry.name} is "
                f"made as the data are; or a task fits one to the other: triptych train {posing(entry)[0][0]} "
                f"--model {name}"
            )
        return
    if isinstance(data, Posed):
        tells = told([data.given]) if data.given is not None else []
        asks = f"{name} is told {' or '.join(wants)}, and {data.task.name} tells {' or '.join(tells) or 'nothing'}"
        raise UsageError(f"{asks}: {others(entry, tells)}")
    if not set(wants) & {"classes", "captions", "numbers"} or "images" not in entry.paper.takes:
        own = [task for task, usual in posing(entry) if usual]
        names = alternatives(own or [task for task, _ in posing(entry)])
        raise UsageError(
            f"{name} is told {' or '.join(wants)}, which a task makes of data: triptych train TASK --model {name} "
            f"--data ..., where TASK is {names}"
        )
    lacking = [kind for kind in dict.fromkeys(beside(data).values()) if kind not in wants]
    there = [kind for kind in beside(data).values() if kind in wants]
    raise UsageError(unlike(name, wants, data, others(entry, lacking) if lacking or not there else ""))


def wanted(entry: models.Entry, usual: Any) -> list[str]:
    """What a model, or a preset of it, has to be told, in words; nothing if it can do without."""
    kinds = taken(folder.config_class(entry.load())) if usual is None else (type(getattr(usual, "given", None)),)
    return [] if {None, NoneType} & set(kinds) else told(kinds)


def others(entry: models.Entry, kinds: list[str]) -> str:
    """Models for the same kind of data that can be told what there is: "df-gan or r3gan can be told captions"."""
    for kind in [*kinds, "nothing"]:
        word = "none" if kind == "nothing" else IN_PAPERS.get(kind)
        there = [one for one in models.every().values() if set(one.paper.takes) & set(entry.paper.takes)]
        fit = [one for one in there if word and word in one.paper.conditions and one.name != entry.name]
        if fit:
            names = [one.name for one in sorted(fit, key=lambda one: one.family != entry.family)]
            return f"{alternatives(names)} can {'do without' if kind == 'nothing' else f'be told {kind}'}"
    return "triptych models lists what each model is told"


def posing(entry: models.Entry) -> list[tuple[str, bool]]:
    """The tasks that pose data for such a model, and whether it is their usual one."""
    found = list[tuple[str, bool]]()
    for name in tasks.TASKS:
        usual, _ = models.find_preset(tasks.find(name)().model)
        if usual.name == entry.name or usual.paper.conditions == entry.paper.conditions:
            found.append((name, usual.name == entry.name))
    return found or [(name, False) for name in tasks.TASKS]


def alternatives(names: list[str]) -> str:
    *first, last = names[:NAMED]
    return " or ".join(part for part in (", ".join(first), last) if part)
