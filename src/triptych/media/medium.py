"""A medium: how files become elements of a space and come back, and how a batch of them is shown.

What is stored of an element, and so what `read` returns, are numbers from 0 to `space.values` - 1 in the order of
`space.shape` (`space.from_index` makes x of a batch of them), or real numbers as they are.
"""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from triptych.core import Space, UsageError
from triptych.io import configs
from triptych.media import pictures
from triptych.media.work import BadFile, Work

S = TypeVar("S", bound=Space)


def quiet(note: str) -> None:
    """Tells nobody."""


class Medium(Generic[S]):
    """One for each kind of space."""

    name: ClassVar[str]
    """What one file of it is called: "image"."""
    formats: ClassVar[tuple[str, ...]]
    suffixes: ClassVar[frozenset[str]]
    """How the names of its files end."""
    beside: ClassVar[frozenset[str]] = frozenset()
    """How the names of files end that belong to them, and are not read."""
    ending: ClassVar[str]
    """Of the file that `write` makes of one element."""
    endings: ClassVar[tuple[str, ...]] = (".png", ".npz")
    """What several elements are written to, one file of them all."""
    pixelated: ClassVar[bool] = False
    """Whether pictures of it are pixels, which are shown as squares and not smoothed."""
    work: ClassVar[type[Work] | None] = None
    """What a person brings or takes home of it."""

    def survey(self, files: Iterable[bytes]) -> S:
        """The space that these files fill without being changed. Raises BadFile if none of them can be read."""
        raise NotImplementedError

    def read(self, space: S, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """A file as it is stored: THE preprocessing, of a million files that are packed and of the one that a person
        brings. `say` is told what was left out of it. Raises BadFile."""
        raise NotImplementedError

    def asked(self, space: S, **options: Any) -> S:
        """The space with what a person wants to be different in it: size=, channels=, frames=, where they are not None.
        Raises UsageError for what it does not have."""
        if wrong := [name for name, value in options.items() if value is not None]:
            raise UsageError(f"{' and '.join(f'{name}=' for name in wrong)}: not for {space}")
        return space

    def write(self, space: S, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        """One element, a batch of one, as a file; `about` goes along where there is room for words."""
        raise NotImplementedError

    def sheet(self, space: S, x: Tensor) -> Image.Image:
        """A batch as one picture."""
        raise NotImplementedError

    def cells(self, space: S, x: Tensor) -> list[Image.Image]:
        """A picture each."""
        return [self.sheet(space, one[None]) for one in x]

    def text(self, space: S, x: Tensor) -> list[str] | None:
        """A batch in words, where that says it all."""
        return None

    def opens(self, space: S) -> dict[str, Any]:
        """Options of `data` that bring a source to this space."""
        return {}

    def how_to_fit(self, has: S, wants: S) -> str | None:
        """What would bring data that serve `has` to a model of `wants`; None if nothing does."""
        return None

    def together(self, space: S, x: Tensor, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """A batch as one file."""
        if ending == ".npz":
            return npz(space, x=stored(space, x))
        return pictures.png(self.sheet(space, x), about)

    def check_ending(self, space: S, ending: str, what: str) -> None:
        """Raises UsageError for what several elements are not written to."""
        if ending not in self.endings:
            raise UsageError(
                f"{what}: {self.name}s are written as {', '.join(self.endings)}, or into a folder (a name without an "
                f"ending); this is of {space}"
            )


def stored(space: Space, x: Tensor) -> Tensor:
    """x as it is stored, in the smallest of uint8 and int32 that holds it; real numbers and tokens as they are."""
    index = space.nearest(x)
    if index is x or space.values is None:
        return x
    return index.to(torch.uint8 if space.values <= 256 else torch.int32)


def npz(space: Space, **arrays: Tensor) -> bytes:
    """A file of arrays, and the space that x is in: so that it can be opened as data, whatever its levels."""
    buffer, kept = io.BytesIO(), {name: array.numpy() for name, array in arrays.items()}
    kept["space"] = np.array(json.dumps(configs.to_json(space)))
    np.savez_compressed(buffer, **kept)  # type: ignore[arg-type]
    return buffer.getvalue()


def surveyed(failed: list[str], found: bool) -> None:
    """Raises BadFile with the first of what went wrong, unless something was found."""
    if not found:
        raise BadFile(failed[0] if failed else "there is no file")
