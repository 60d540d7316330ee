"""Options that verbs share; those of data are derived from their one declaration (`triptych.options`)."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from triptych.errors import UsageError
from triptych.options import declared


def complete_model(incomplete: str) -> list[str]:
    """The models whose names begin so, for the shell."""
    from triptych.models import own

    return [name for name in own() if name.startswith(incomplete)]


ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model or preset; `triptych models` lists them.", autocompletion=complete_model
    ),
]


def shipped_or(folder: Path) -> Path:
    """A folder; that of weights that come with the package, where one has their name."""
    from triptych.verbs.shipped import located

    return located(folder)


def complete_weights(incomplete: str) -> list[str]:
    """The weights that come with the package whose names begin so, for the shell."""
    from triptych.verbs.shipped import shipped

    return [name for name in shipped() if name.startswith(incomplete)]


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A run folder, a saved model, or the name of weights that come with the package: pixelcnn-mnist.",
        callback=shipped_or,
        autocompletion=complete_weights,
    ),
]
OwnSource = Annotated[
    str | None,
    typer.Option("--data", metavar="SOURCE", help="Default: the data that the run was trained on."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides every random draw.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes the fastest there is.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there under this name, whoever made it.")]
Protocol = Annotated[bool, typer.Option("--protocol", help="Say how each number was measured.")]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="What distances are taken on, with commas between: pixels, pca-64, random-conv; classifier and "
        "self-supervised (trained on the training split, 2 minutes of a core, then kept); efficientnet-lite0 (for "
        "photographs; a package). Default: by the data.",
    ),
]
PerToken = Annotated[
    Path | None, typer.Option("--per-token", metavar="FILE", help="Of text: write a line for each token (.csv).")
]
PerItem = Annotated[Path | None, typer.Option("--per-item", metavar="FILE", help="Write a line for each item (.csv).")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only so many items, evenly spaced.")]


def as_sides(text: str) -> Any:
    """32 or 32x48: height and width."""
    sides = [int(part) for part in text.lower().split("x") if part.isdecimal()]
    if len(sides) != text.lower().count("x") + 1 or len(sides) > 2 or min(sides) < 1:
        raise typer.BadParameter(f"{text!r} is no size: it is 32, or height and width as in 32x48")
    return sides[0] if len(sides) == 1 else tuple(sides)


def as_tokens(text: str) -> Any:
    """The name of a kind of tokens, or how many there are to be."""
    return int(text) if text.isdecimal() else text


PARSERS: dict[str, Callable[[str], Any]] = {"size": as_sides, "tokens": as_tokens}


def as_parameter(name: str, default: Any = None) -> Parameter:
    """An option of data, as `triptych.options` declares it, for the command line."""
    kind, option = declared()[name]
    parser = PARSERS.get(name)
    if parser is None and get_origin(kind) in (Union, UnionType):  # of several types, a flag is none that is typed
        kind = Union[tuple(one for one in get_args(kind) if one is not bool)]  # noqa: UP007
    typed = typer.Option(
        f"--{name.replace('_', '-')}",
        help=option.help,
        metavar=option.metavar,
        parser=parser,
        min=option.least,
        max=option.most,
    )
    default = option.default if default is None else default
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[Any if parser else kind, typed]
    )


def data_options(*names: str, **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb these options of data in place of its parameter `opening`, which is then a dict of those that were
    asked for: what `triptych.data` takes as keywords. `defaults` are the verb's own."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        parameters = list[Parameter]()
        for one in signature(verb).parameters.values():
            found = [as_parameter(n, defaults.get(n)) for n in names] if one.name == "opening" else [one]
            parameters += [p.replace(kind=Parameter.KEYWORD_ONLY) for p in found]

        @wraps(verb)
        def run(**values: Any) -> None:
            said = {name: values.pop(name) for name in names}
            usual = {name: declared()[name][1].default for name in names}
            verb(**values, opening={n: value for n, value in said.items() if value not in (None, usual[n])})

        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return run

    return decorate


ALL = tuple(name for name, (_, option) in declared().items() if option.help and name != "stride")
"""Options of data that decide what is stored and what is served; a stride is for scores."""
USING = ("split", "binary", "size", "channels", "x", "halves", "index", "frames", "strict")
"""Options of data for a model that is there: it knows the others."""


def given(context: typer.Context, *but: str) -> list[str]:
    """The options that were typed, but for some."""
    typed = [p for p in context.command.params if p.name not in but]
    return [p.opts[-1] for p in typed if p.name and str(context.get_parameter_source(p.name)).endswith("COMMANDLINE")]


def pick_device(name: str) -> Any:
    """A torch device. Raises UsageError for one that this machine lacks."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        near = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}.get(kind.lower())
        near = near or next(iter(get_close_matches(kind.lower(), ("cpu", "cuda", "mps", "auto"), 1)), None)
        hint = f"did you mean {near}?" if near else "it is cpu, cuda, cuda:1, mps or auto"
        raise UsageError(f"--device {name}: there is no such kind of device; {hint}")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        here = ", ".join(devices())
        raise UsageError(f"--device {name}: not available here ({str(e).splitlines()[0]}); there is {here}") from e
    return device


def devices() -> list[str]:
    """What this machine can compute on."""
    import torch

    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
