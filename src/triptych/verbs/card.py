"""The model card of a run folder."""

import logging
import shlex
from pathlib import Path
from typing import Any

from triptych import models
from triptych.core import Data, Generative, Labels, Leveled, PartialLabels, Space, Tokens
from triptych.io import configs, outputs
from triptych.io.commit import write_atomic
from triptych.report import Card, Fact, Link, model_card
from triptych.training import Run

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
    names = given.names if isinstance(given, Labels | PartialLabels) else None
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
            Fact("run", f"{run.steps:,} steps of {run.batch}, seed {run.seed}, {run.precision}"),
            Fact("time", f"{seconds:.0f} s on {made_with['device']}, {made_with['threads']} threads"),
            Fact("versions", f"triptych {made_with['triptych']}, torch {made_with['torch']}"),
        ],
        paper=Link(f"{entry.paper.title} ({entry.paper.year})", entry.paper.url),
        bibtex=entry.bibtex(),
        folder=str(path),
        given=f"tt.Label(torch.arange({given.classes}))" if isinstance(given, Labels) else "",
        picture=picture,
    )
    file = path / "README.md"
    if file.exists() and not outputs.ours(file):
        log.warning("%s is not a model card that a run wrote: it is left as it is", file)
    else:
        write_atomic(file, model_card(card).encode())


def described(x: Space) -> str:
    """What `sample` returns."""
    shape = ", ".join(str(size) for size in x.shape)
    if isinstance(x, Tokens):
        text = "; `model.config.x.decode(row)` is the text of one" if x.symbols else ""
        return f"int64 [n, {shape}], tokens from 0 to {x.vocabulary - 1}{text}"
    return f"float32 [n, {shape}]" + (" in [-1, 1]" if isinstance(x, Leveled) else "")


def command(model: Generative[Any], data: Data, run: Run, path: Path) -> str:
    """The command line that repeats the run: every field that differs from the default is spelled out."""
    opened = getattr(data, "opened", None) or {"source": data.name}
    words = ["triptych", "train", model.name, "--data", str(opened["source"]), "--out", str(path)]
    for option in ("size", "channels", "binary", "noisy", "tokens", "length", "labels", "labels_seed", "condition"):
        if isinstance(opened.get(option), int | str) and not isinstance(opened.get(option), bool):
            words += [f"--{option.replace('_', '-')}", str(opened[option])]
    words += ["--steps", str(run.steps), "--batch", str(run.batch), "--seed", str(run.seed)]
    words += ["--precision", run.precision] if run.precision != "fp32" else []
    words += ["--channels-last"] if run.channels_last else []
    words += ["--accumulate", str(run.accumulate)] if run.accumulate != 1 else []
    words += ["--augment", ",".join(run.augment)] if run.augment else []
    default = type(model.config)()
    usual = {name: value for name, _, value, _ in configs.describe(default)}
    for name, _, value, _ in configs.describe(model.config):
        if not name.startswith(("x.", "given.")) and value != usual.get(name):
            words.append(f"{name}={json_text(value)}")
    return " ".join(shlex.quote(word) for word in words)


def json_text(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
