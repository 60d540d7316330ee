"""Options that verbs share, and what they open by them."""

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from triptych.errors import UsageError

if TYPE_CHECKING:
    from triptych.data import Served


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
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder or a saved model.")]
OwnSource = Annotated[
    str | None,
    typer.Option("--data", metavar="SOURCE", help="Default: the data that the run was trained on."),
]
Source = Annotated[
    str,
    typer.Option("--data", metavar="SOURCE", help="mnist, mnist-binary, ...; a folder, .txt, .npy, .npz, idx, zip."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides every random draw.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes the fastest there is.")]
Split = Annotated[str | None, typer.Option(help="Which part of the data: train, test or all.")]
Binary = Annotated[
    Literal["dynamic", "fixed", "threshold"] | None,
    typer.Option(help="Make grey pixels 0 or 1: drawn anew each time, drawn once, or cut at one half."),
]


def as_sides(text: str) -> Any:
    """32 or 32x48: height and width."""
    sides = [int(part) for part in text.lower().split("x") if part.isdecimal()]
    if len(sides) != text.lower().count("x") + 1 or len(sides) > 2 or min(sides) < 1:
        raise typer.BadParameter(f"{text!r} is no size: it is 32, or height and width as in 32x48")
    return sides[0] if len(sides) == 1 else tuple(sides)


Size = Annotated[
    Any,
    typer.Option(
        parser=as_sides,
        metavar="PIXELS",
        help="Scale and crop images: a side, or height and width as 32x48.",
    ),
]
Channels = Annotated[int | None, typer.Option(min=1, help="1: grey; 3: color. Default: what the files are.")]
TokenOption = Annotated[
    str | None,
    typer.Option("--tokens", help="Text as characters, bytes, or a vocabulary of so many byte pairs: 1024."),
]
Length = Annotated[int | None, typer.Option(min=1, help="Tokens of text at a time; default: the preset's, or 256.")]
Noisy = Annotated[
    str | None,
    typer.Option(
        "--noisy",
        metavar="KIND-AMOUNT",
        help="Images with noise, the same at every look: gaussian-25 (of 255), uniform-50, multiplicative-25, "
        "poisson-30.",
    ),
]
LabelCount = Annotated[
    int | None,
    typer.Option(
        "--labels", min=1, help="Only so many training examples keep their class; default: the preset's, all."
    ),
]
Crop = Annotated[
    int | None,
    typer.Option("--crop", min=1, help="Pictures keep their sizes, and squares of so many pixels are cut out."),
]
ColumnX = Annotated[
    str | None,
    typer.Option("--x", metavar="NAME", help="Of several pictures a row, the column that is x: --x A of A/ and B/."),
]
Halves = Annotated[
    str | None,
    typer.Option(metavar="A|B", help="Each picture is two, side by side: what the left and right are called."),
]
IndexColumns = Annotated[
    str | None,
    typer.Option(
        "--index", metavar="NAMES", help="Columns that are label maps: palette or grey pictures of class numbers."
    ),
]
LabelsSeed = Annotated[int, typer.Option("--labels-seed", min=0, help="Which examples keep their class.")]
Condition = Annotated[
    Literal["label", "caption"] | None,
    typer.Option(help="Of a source that has both; default: what the model takes."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a source with any bad file, in place of skipping it.")]
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
PerItem = Annotated[Path | None, typer.Option("--per-item", metavar="FILE", help="Write a line for each item (.csv).")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only so many items, evenly spaced.")]


def given(context: typer.Context, *but: str) -> list[str]:
    """The options that were typed, but for some."""
    typed = [p for p in context.command.params if p.name not in but]
    return [p.opts[-1] for p in typed if p.name and str(context.get_parameter_source(p.name)).endswith("COMMANDLINE")]


def open_data(source: str, *, tokens: Any = None, **more: Any) -> "Served":
    """The data; what was wrong in it is logged, and so said on stderr. `more` are other options of `data`."""
    from triptych.data import data

    said: Any = int(tokens) if isinstance(tokens, str) and tokens.isdecimal() else tokens
    return data(source, tokens=said, **more)


def open_for(
    model: Any,
    run: Path,
    source: str | None,
    split: str | None,
    binary: Literal["dynamic", "fixed", "threshold"] | None = None,
    size: Any = None,
    channels: int | None = None,
    strict: bool = False,
    **more: Any,
) -> "Served":
    """Data for a trained model: what is not said here, the model and its run say."""
    from triptych.verbs.opening import open_for as opened

    asked = {"binary": binary, "size": size, "channels": channels}
    return opened(model, run, source, asked, split=split, strict=strict, **more)


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
