"""The verbs. Each parses, calls the Python function of the same name and shows what it returned.

Verbs import what they need when they run: `triptych --help` and `triptych models` do not load torch.
"""

import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from triptych import __version__
from triptych.cli import applying, latents, looking, measuring, output, running, using
from triptych.errors import UsageError

app = typer.Typer(
    name="triptych",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def tell_version(asked: bool) -> None:
    if asked:
        output.say(f"triptych {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Say which version this is.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="Import your own models from a Python module: my_package, or its part."),
    ] = None,
) -> None:
    """Deep generative models under one vocabulary: train them, sample them, ask how likely a sample is.

    Completion of verbs, models and options in your shell: triptych --install-completion
    """
    if plugin:
        from triptych.models import plug_in

        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # where a person who names a module of their own stands
        for module in plugin:
            plug_in(module)


VERBS: dict[Callable[..., None], str] = {
    looking.models: "The catalogue of models, by what they take.",
    looking.show: "A model's fields, players, presets, size and source.",
    looking.data: "What a source holds, and the problems found in it.",
    running.train: "Train a model into a run folder, or go on with one.",
    running.sample: "Draw new samples from a trained model.",
    latents.walk: "Walk through latent space, or from picture to picture.",
    latents.invert: "Find the latent that a picture comes from.",
    measuring.score: "How likely data is under a model: nats and bits/dim.",
    using.classify: "Classify by Bayes' rule with a model of p(x | y).",
    using.anomaly: "Tell data of another kind by their likelihoods.",
    using.impute: "Fill in what is missing of an item.",
    using.compress: "Make data small without loss, by a model.",
    using.decompress: "Get back what compress made small, exactly.",
    using.export: "A model for programs without Triptych: ONNX.",
    measuring.evaluate: "Distances, coverage, copies and likelihood of a run.",
    measuring.compare: "Runs side by side, as a table and a page.",
    running.push: "Put a model onto the Hugging Face Hub.",
    running.gallery: "What the weights that come along draw, on a page.",
    running.demo: "Three families on real MNIST, from nothing to a report.",
    looking.cite: "The paper of a model, as BibTeX.",
    looking.doctor: "Versions, devices, precision, missing extras.",
}
"""In the order of --help, each with the line that it has there."""

for verb, line in VERBS.items():
    app.command(short_help=line)(verb)
app.command(
    short_help="Use a trained model on your own pictures.",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(applying.apply)


PLAIN = ("score", "evaluate", "compare", "compress", "classify", "anomaly")
"""Verbs of likelihoods, which are those of plain samples."""


def check_plain(words: Sequence[str]) -> None:
    """Raises UsageError where a likelihood of guided samples is asked for."""
    asked = next((word.partition("=")[0] for word in words if word.startswith(("--guidance", "--cfg-scale"))), None)
    if asked and words[0] in PLAIN:
        raise UsageError(
            f"{words[0]} takes no {asked}: guided samples are not drawn from p(x | given), whose likelihood a model "
            f"gives, and so is not theirs; {asked} is for sample and apply"
        )


WRITTEN = ("--out", "-o", "--sheet", "--pack", "--per-item", "--per-token")
"""Options that name what is written."""


def check_outputs(words: Sequence[str]) -> None:
    """Raises UsageError where two results would be written to one place, the second over the first, and for what other
    programs take for their standard output."""
    taken = dict[Path, str]()
    pairs = [*pairwise(words), *((word.partition("=")[0], word.partition("=")[2]) for word in words)]
    for option, name in pairs:
        if option in WRITTEN and name:
            if name == "-":
                raise UsageError(f"{option} -: results are files; name one")
            place = Path(name).absolute()
            if taken.setdefault(place, option) != option:
                raise UsageError(f"{taken[place]} and {option} both name {name}: each takes a place of its own")


def check_names(words: Sequence[str]) -> None:
    """Raises UsageError where the name of a file or folder is empty: Python would take it for the current folder."""
    verb = next((verb for verb in VERBS if words and verb.__name__ == words[0]), None)
    if verb is None:
        return
    found: Any = typer.main.get_command(app)
    options = {opt: p.name for p in found.commands[words[0]].params for opt in p.opts if opt.startswith("-")}
    takes = {name for name, kind in get_type_hints(verb).items() if Path in (kind, *get_args(kind))} | {"source"}
    named = {opt for opt, name in options.items() if name in takes}
    for before, word in pairwise(words):
        option, equals, value = word.partition("=")
        if equals and not value and option in named:
            raise UsageError(f"{option} is empty: it takes a name")
        if not word and (before in named or before not in options):
            raise UsageError(f"{before if before in named else 'a name'} is empty: it takes a name")
