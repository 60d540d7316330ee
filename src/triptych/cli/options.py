"""Options that verbs share, and what they open by them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from triptych.errors import UsageError

if TYPE_CHECKING:
    from triptych.core import Audio, Symbols
    from triptych.data import Served

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A model or preset; `triptych models` lists them.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder or a saved model.")]
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
Size = Annotated[int | None, typer.Option(min=1, help="Resize (shorter side) and crop images to this many pixels.")]
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
LabelsSeed = Annotated[int, typer.Option("--labels-seed", min=0, help="Which examples keep their class.")]
Condition = Annotated[
    Literal["label", "caption"] | None,
    typer.Option(help="Of a source that has both; default: what the model takes."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a source with any bad file, in place of skipping it.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only so many items, evenly spaced.")]


def open_data(
    source: str,
    split: str | None,
    binary: Literal["dynamic", "fixed", "threshold"] | None,
    size: int | None,
    channels: int | None,
    strict: bool,
    *,
    tokens: "str | int | Symbols | None" = None,
    length: int | None = None,
    stride: int | None = None,
    sound: "Audio | None" = None,
    noisy: str | None = None,
    mutate: float = 0.0,
    labels: int | None = None,
    labels_seed: int = 0,
    crop: int | None = None,
    condition: Literal["label", "caption"] | None = None,
) -> "Served":
    """The data; what was wrong in it is logged, and so said on stderr.

    Recordings are brought to `sound`, if that is a space of sound.
    """
    from triptych.data import data

    return data(
        source,
        split=split,
        binary=binary,
        size=size,
        channels=channels,
        tokens=int(tokens) if isinstance(tokens, str) and tokens.isdecimal() else tokens,  # type: ignore[arg-type]
        length=length,
        stride=stride,
        sound=sound,
        noisy=noisy,
        mutate=mutate,
        labels=labels,
        labels_seed=labels_seed,
        crop=crop,
        condition=condition,
        strict=strict,
    )


def given(context: typer.Context, *but: str) -> list[str]:
    """The options that were typed, but for some."""
    typed = [p for p in context.command.params if p.name not in but]
    return [p.opts[-1] for p in typed if p.name and str(context.get_parameter_source(p.name)).endswith("COMMANDLINE")]


def as_read_by(model: Any) -> dict[str, Any]:
    """How to open text or recordings for a trained model: its own tokens and length, or its own kind of sound."""
    from triptych.core import Audio

    x = model.config.x
    if isinstance(x, Audio):
        return {"sound": x}
    return {"tokens": x.symbols, "length": x.length} if getattr(x, "symbols", None) is not None else {}


def pick_device(name: str) -> Any:
    """A torch device. Raises UsageError for one that this machine lacks."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise UsageError(f"--device {name}: not available here ({str(e).splitlines()[0]})") from e
    return device
