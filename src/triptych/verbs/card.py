"""The model card of a run folder."""

import json
import logging
import shlex
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from triptych import models
from triptych.core import Data, Generative, Space
from triptych.data import Served
from triptych.io import configs, outputs
from triptych.io.commit import write_atomic
from triptych.options import declared
from triptych.report import Card, Fact, Link, model_card
from triptych.tasks.task import Posed
from triptych.training import Run
from triptych.verbs.inspect import columns

log = logging.getLogger(__name__)


def write_card(
    model: Generative[Any], data: Data, run: Run, path: Path, seconds: float, made_with: dict[str, Any], picture: str
) -> None:
    """README.md: what the folder holds, how it was trained, how to use it.

    A model that is not in the catalogue gets no card: there is no paper to name.
    """
    if model.name not in models.every() or not models.find(model.name).paper.title:
        return
    entry, x = models.find(model.name), model.config.x
    given = getattr(model.config, "given", None)
    names = given.told if given else None
    card = Card(
        name=entry.name,
        title=f"{entry.paper.called} on {data.name.partition(':')[0]}",
        sentence=(entry.module().__doc__ or "").strip().splitlines()[0],
        family=entry.family,
        dataset=data.name.partition(":")[0],
        samples=described(x),
        command=command(model, data, run, path),
        training=[
            *([Fact("classes", ", ".join(f"{k} {name}" for k, name in enumerate(names)))] if names else []),
            Fact("data", f"{data.name}, {len(data):,} examples, fingerprint {data.fingerprint[:12]}"),
            *columns_read(data),
            Fact("run", f"{run.steps:,} steps of {run.batch}, seed {run.seed}, {run.precision}"),
            Fact("time", f"{seconds:.0f} s on {made_with['device']}, {made_with['threads']} threads"),
            Fact("versions", f"triptych {made_with['triptych']}, torch {made_with['torch']}"),
        ],
        paper=Link(f"{entry.paper.title} ({entry.paper.year})", entry.paper.url),
        bibtex=entry.bibtex(),
        folder=str(path),
        given=example(given),
        picture=picture,
    )
    file = path / "README.md"
    if file.exists() and not outputs.ours(file):
        log.warning("%s is not a model card that a run wrote: it is left as it is", file)
    else:
        write_atomic(file, model_card(card).encode())


def columns_read(data: Data) -> list[Fact]:
    """What else was read than x, and on what of it x was conditioned."""
    source: Any = data.data if isinstance(data, Posed) else data
    if not isinstance(source, Served):
        return []
    found = {name: f"{name}: {its['space']}{its['reading']}" for name, its in columns(source).items() if name != "x"}
    facts = [Fact("columns beside x", "; ".join(found.values()))] if found else []
    return [*facts, Fact("condition", f"the column {source.condition}")] if source.condition else facts


def described(x: Space) -> str:
    """What `sample` returns."""
    shape = ", ".join(str(size) for size in x.shape)
    if x.values is not None and not x.scaled:
        text = "; `model.config.x.decode(row)` is the text of one" if x.symbols else ""
        return f"int64 [n, {shape}], tokens from 0 to {x.values - 1}{text}"
    return f"float32 [n, {shape}]" + (" in [-1, 1]" if x.scaled else "")


def example(given: Space | None) -> str:
    """Conditions, in Python."""
    if given is not None and given.classed:
        return f"tt.Label(torch.arange({given.choices}))"
    return f"tt.Vector(torch.zeros(8, {given.dims}))" if given is not None and given.measure == "density" else ""


def command(model: Generative[Any], data: Data, run: Run, path: Path) -> str:
    """The command line that repeats the run: every field that differs from the default is spelled out."""
    opened = getattr(data, "opened", None) or {"source": data.name}
    words = ["triptych", "train", model.name]
    if isinstance(data, Posed):
        opened = getattr(data.data, "opened", None) or opened
        words = ["triptych", "train", data.task.name, "--model", model.name, *assignments(data.task)]
    words += ["--data", beside(str(opened["source"])), "--out", str(path)]
    served = {"split": getattr(data, "split", None), "mutate": getattr(data, "mutate", None)}
    for name, (_, option) in declared().items():
        value = {**opened, **served}.get(name)
        usual = "train" if name == "split" else option.default
        if option.help and value not in (None, usual) and not isinstance(value, bool):
            text = "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    words += ["--steps", str(run.steps), "--batch", str(run.batch), "--seed", str(run.seed)]
    words += ["--precision", run.precision] if run.precision != "fp32" else []
    words += ["--channels-last"] if run.channels_last else []
    words += [] if run.repeatable else ["--not-repeatable"]
    words += [] if run.record else ["--no-record"]
    words += ["--compile"] if run.compile else []
    words += ["--accumulate", str(run.accumulate)] if run.accumulate != 1 else []
    words += ["--augment", ",".join(run.augment)] if run.augment else []
    words += assignments(model.config)
    return " ".join(shlex.quote(word) for word in words)


def assignments(config: Any) -> list[str]:
    """Every field that differs from the default, as `field=value`; x and the condition are the data's."""
    usual = {name: value for name, _, value, _ in configs.describe(type(config)())}
    found = [(name, value) for name, _, value, _ in configs.describe(config) if value != usual.get(name)]
    return [f"{name}={as_text(value)}" for name, value in found if not name.startswith(("x.", "given."))]


def as_text(value: Any) -> str:
    """A value as an assignment reads it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(TypeAdapter(type(value)).dump_python(value, mode="json"))


def beside(source: str) -> str:
    """A path as it is seen from here, if it lies below; else as it is."""
    here = Path.cwd()
    return str(Path(source).relative_to(here)) if Path(source).is_relative_to(here) else source
