"""How a source of data is opened: every option, declared once.

Each key of `Opening` is a keyword of `triptych.data` (which says at length what it does), and with an `Option` that has
a line of help, an option of the command line too. What a run remembers of how its data were opened, and what its card
repeats, follow from here as well. Nothing slow is imported, so that `triptych train --help` need not wait for torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, TypeVar, get_type_hints

from triptych.errors import UsageError

if TYPE_CHECKING:
    from triptych.core import Audio, Symbols
else:
    Audio = Symbols = Any

F = TypeVar("F", bound=Callable[..., Any])
Binarization = Literal["dynamic", "fixed", "threshold"]
TokenKind = Literal["characters", "bytes"]
Size = int | tuple[int, int]


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name and type."""

    help: str = ""
    """Its line in --help; without one, it is for Python only."""
    metavar: str | None = None
    """What stands for its value in --help, if not its type."""
    default: Any = None
    least: float | None = None
    most: float | None = None
    kept: tuple[type, ...] = ()
    """The JSON types that a run folder may say it by. Nothing else of a run folder ever decides what is opened."""


class Packing(TypedDict, total=False):
    """Options that decide what is stored of a source."""

    size: Annotated[
        Size | None,
        Option("Scale and crop images: a side, or height and width as 32x48.", "PIXELS", kept=(int, list)),
    ]
    channels: Annotated[int | None, Option("1: grey; 3: color. Default: what the files are.", least=1, kept=(int,))]
    tokens: Annotated[
        TokenKind | int | Symbols | None,
        Option("Text as characters, bytes, or a vocabulary of so many byte pairs: 1024.", "KIND", kept=(str, int)),
    ]
    sound: Annotated[Audio | None, Option(kept=(dict,))]
    noisy: Annotated[
        str | None,
        Option(
            "Images with noise, the same at every look: gaussian-25 (of 255), uniform-50, multiplicative-25, "
            "poisson-30.",
            "KIND-AMOUNT",
            kept=(str,),
        ),
    ]
    x: Annotated[
        str | None, Option("Of several pictures a row, the column that is x: --x A of A/ and B/.", "NAME", kept=(str,))
    ]
    halves: Annotated[
        str | None,
        Option("Each picture is two, side by side: what the left and right are called.", "A|B", kept=(str,)),
    ]
    index: Annotated[
        str | None,
        Option("Columns that are label maps: palette or grey pictures of class numbers.", "NAMES", kept=(str,)),
    ]
    frames: Annotated[
        int | None, Option("So many frames of each video: of GIFs, folders of frames, films.", least=1, kept=(int,))
    ]
    pair: Annotated[Mapping[str, Any] | None, Option(kept=(dict,))]
    strict: Annotated[bool, Option("Refuse a source with any bad file, in place of skipping it.", default=False)]


class Opening(Packing, total=False):
    """All options: also those that decide what is served of what is stored."""

    split: Annotated[str | None, Option("Which part of the data: train, test or all.")]
    binary: Annotated[
        Binarization | bool | None,
        Option("Make grey pixels 0 or 1: drawn anew each time, drawn once, or cut at one half.", kept=(str,)),
    ]
    length: Annotated[
        int | None, Option("Tokens of text at a time; default: the preset's, or 256.", least=1, kept=(int,))
    ]
    stride: Annotated[
        int | None,
        Option("Text: tokens from window to window; only so many of each, with context, count.", least=1),
    ]
    mutate: Annotated[
        float, Option("Replace this share of pixels at random: for a background model.", default=0.0, least=0, most=1)
    ]
    labels: Annotated[
        int | None,
        Option("Only so many training examples keep their class; default: the preset's, all.", least=1, kept=(int,)),
    ]
    labels_seed: Annotated[int, Option("Which examples keep their class.", default=0, least=0, kept=(int,))]
    condition: Annotated[
        str | None,
        Option(
            "The column to condition on: label, caption, one of values, or none; default: by the model.",
            "NAME",
            kept=(str,),
        ),
    ]
    crop: Annotated[
        int | None,
        Option("Pictures keep their sizes, and squares of so many pixels are cut out.", least=1, kept=(int,)),
    ]
    cache: Annotated[str | Path | None, Option()]


def declared(kind: Any = Opening) -> dict[str, tuple[Any, Option]]:
    """Each option with its type and what else is known of it; those of `Packing` last."""
    hints = get_type_hints(kind, include_extras=True)
    names = sorted(hints, key=lambda name: name in Packing.__annotations__)
    return {name: (hints[name].__origin__, hints[name].__metadata__[0]) for name in names}


def settled(options: Any, kind: Any = Opening) -> Any:
    """Every option of `kind`: as it was said, or its default. Raises UsageError for a name that there is not."""
    known = declared(kind)
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"data are not opened by an option {name}; {hint}")
    return {**{name: option.default for name, (_, option) in known.items()}, **options}


def with_signature(kind: Any, *places: str) -> Callable[[F], F]:
    """Shows every option of `kind` by its name where the signature of a function is asked for, as help() does."""
    shown = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in places]
    for name, (hint, option) in declared(kind).items():
        shown.append(Parameter(name, Parameter.KEYWORD_ONLY, default=option.default, annotation=hint))

    def decorate(function: F) -> F:
        function.__signature__ = Signature(shown)  # type: ignore[attr-defined]
        return function

    return decorate
