"""Verbs that look: the catalogue, a model, a data set, the machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from triptych.cli import output
from triptych.cli.getting import get
from triptych.cli.options import ALL, Json, ModelName, complete_model, data_options, given
from triptych.errors import UsageError


def models(
    takes: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Only those that take images, text, sound, video, solids or points."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--for", metavar="SOURCE", help="Those that fit these data, and what they need.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="With --for: the side that pictures are brought to.")] = None,
    as_json: Json = False,
) -> None:
    """The catalogue: what each model takes, its year, paper, conditions and the kind of its likelihood."""
    from triptych.models import every, takers

    if source is not None:
        return fitting(source, size, as_json)

    kept = tuple(every().values()) if takes is None else takers(takes)
    if as_json:
        output.dump([{"name": e.name, "family": e.family, **vars(e.paper), "where": e.where} for e in kept])
        return
    columns = ["name", "takes", "family", "year", "model", "conditions", "likelihood", "paper"]
    rows = [
        [
            *(e.name, ", ".join(e.paper.takes), e.family, str(e.paper.year), e.paper.called),
            *(e.paper.conditions, e.paper.likelihood, e.paper.url),
        ]
        for e in kept
    ]
    output.table("Models", columns, rows)


def fitting(source: str, size: int | None, as_json: bool) -> None:
    """The models that fit a source: their preset for it, what it needs, what came out of such data."""
    from triptych.core import Images
    from triptych.models import every
    from triptych.verbs.choosing import Fit, fits
    from triptych.verbs.opening import open_to_train

    asked = {"size": size} if size else {}
    found = open_to_train(Images(3, size or 64, size or 64), False, "to see what fits", source=source, **asked)
    those = {name: fits(entry, found) for name, entry in every().items()}
    good = {name: fit for name, fit in those.items() if isinstance(fit, Fit)}
    bad = {name: why for name, why in those.items() if isinstance(why, str)}
    if as_json:
        output.dump({"data": found.name, "fit": [{"model": n, **vars(f)} for n, f in good.items()], "do not": bad})
        return
    rows = [
        [f.preset, f"{f.parameters:,}", f"{f.steps:,} of {f.batch}" if f.steps else "", f.given, f.measured]
        for f in sorted(good.values(), key=lambda fit: (not fit.measured, fit.parameters))
    ]
    columns = ["preset", "parameters", "steps of batch", "given", "what came out of such data"]
    output.table(f"For {found.name}, {found.x}", columns, rows)
    for name, why in bad.items():
        output.say(f"{name} does not fit: {why}")


def show(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model, a preset, a task, or the folder of a run.", autocompletion=complete_model
        ),
    ],
    as_json: Json = False,
) -> None:
    """A model's fields with their meaning and defaults, its players, presets, size and source; a task's likewise; of a
    run, its task, its data and how they were read."""
    from triptych.models import every
    from triptych.tasks import TASKS
    from triptych.verbs.show import is_run, show_run, show_task
    from triptych.verbs.show import show as describe

    if model not in TASKS and model not in every() and is_run(model):
        return say_run(show_run(model), as_json)

    if model in TASKS:
        task = show_task(model)
        if as_json:
            output.dump(task)
            return
        output.say(f"{model}: {task['does']}; trains {task['model']} if no --model is named")
        settings = [[f["field"], str(f["value"]), f["doc"]] for f in task["fields"]]
        output.table("Settings", ["setting", "value", "meaning"], settings)
        flags = [[f["flag"], str(f["default"])] for f in task["flags"]]
        output.table("Flags of triptych apply", ["flag", "default"], flags)
        return
    about = describe(model)
    if as_json:
        output.dump(about)
        return
    kind = f"{about['family']}; takes {', '.join(about['takes'])}; likelihood: {about['likelihood']}"
    output.say(f"{about['called']} ({about['year']}), {kind}")
    output.say(f"{about['authors']}. {about['title']}. {about['url']}")
    output.say(f"{about['parameters']:,} parameters as configured below; source: {about['source']}")
    output.table(
        "Fields", ["field", "value", "meaning"], [[f["field"], str(f["value"]), f["doc"]] for f in about["fields"]]
    )
    players = [[p["stage"], p["player"], f"{p['parameters']:,}", p["every"], p["loss"]] for p in about["players"]]
    output.table("Players", ["stage", "player", "parameters", "turns", "loss"], players)
    presets = [[p["name"], str(p["steps"]), str(p["batch"]), p["expect"]] for p in about["presets"]]
    steps = "steps" if len({p["stage"] for p in about["players"]}) < 2 else "steps of each stage"
    output.table("Presets", ["preset", steps, "batch", "what to expect"], presets)


def say_run(about: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.dump(about)
        return
    settings = ", ".join(f"{name}={value}" for name, value in about["settings"].items())
    what = f"{about['model']} for {about['task']} ({settings})" if about["task"] else about["model"]
    output.say(f"{about['run']}: {what}")
    if about["data"]:
        said = ", ".join(f"{name}={value}" for name, value in about["trained"].items())
        output.say(f"trained on {about['data']['name']}, {about['data']['n']:,} examples: {said}")
    for name, read in about["columns"].items():
        output.say(f"column {name}: {read}")
    fields = [[f["field"], str(f["value"]), f["doc"]] for f in about["fields"]]
    output.table("Fields", ["field", "value", "meaning"], fields)


@data_options(*(name for name in ALL if name != "mutate"))
def data(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A set by name, a folder, an array file or a zip; or `get`, to bring a set here.",
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="After `get`: which set; else they are listed.")
    ] = None,
    pack: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the packed form to this folder.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw some items, a row each, with all their columns.")
    ] = None,
    align: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Write faces into this folder, turned and scaled by columns that say where eyes are (else their "
            "middle), --size to a side.",
        ),
    ] = None,
    *,
    opening: Any,
    as_json: Json = False,
) -> None:
    """What a source holds: items, columns, conditions, and the problems found in it."""
    if source == "get":
        return get(name, given(context, "source", "name", "as_json"), as_json)
    if name is not None:
        raise UsageError(f"one source at a time: {source!r}, or {name!r}?")
    if align is not None:
        return say_aligned(source, align, opening, as_json)
    from triptych.core import Images
    from triptych.data import data as open_data
    from triptych.verbs.inspect import inspect
    from triptych.verbs.opening import open_to_train

    if pack is None:  # what is only looked at may be brought to a size that nobody asked for
        found = open_to_train(Images(3, 64, 64), False, "to be looked at", source=source, **opening)
    else:
        found = open_data(source, **opening)
    about = inspect(found, pack, sheet)
    if as_json:
        output.dump(about)
        return
    for what, value in about.items():
        if what not in ("columns", "problems"):
            output.say(f"{what}: {value}")
    for column, its in about["columns"].items():
        output.say(f"column {column}: {its['count']:,} in {its['space']}{its['reading']}")
    output.say(f"problems: {len(about['problems'])}")
    for problem in about["problems"]:
        output.say(f"  {problem['file']}: {problem['reason']}")


def say_aligned(source: str, out: Path, opening: Any, as_json: bool) -> None:
    from triptych.verbs.aligning import align

    done = align(source, out, **opening)
    if as_json:
        output.dump(done.as_dict())
        return
    how = "by their eyes" if done.by_eyes else "cut to their middle: no column says where eyes are (lefteye_x, ...)"
    output.say(f"{done.pictures:,} faces {how}: {done.out}")


def cite(model: ModelName) -> None:
    """The paper of a model, as BibTeX."""
    from triptych.models import find_preset

    output.say(find_preset(model)[0].bibtex())


def doctor(as_json: Json = False) -> None:
    """Versions, devices, precision, and which extras are missing (with the pip line for each)."""
    from triptych.verbs.doctor import doctor as look

    about = look()
    if as_json:
        output.dump(about)
        return
    output.table("This machine", ["what", "found"], [[k, str(v)] for k, v in about["machine"].items()])
    extras = [[e["extra"], "there" if e["found"] else f"missing: {e['install']}", e["why"]] for e in about["extras"]]
    output.table("Extras", ["extra", "state", "for"], extras)
