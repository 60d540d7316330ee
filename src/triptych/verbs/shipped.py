"""Trained models that come with the package, by name: small ones, to look at and to try things with."""

import json
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "weights"
RECIPES = FOLDER / "recipes.json"
"""Name -> what it does, the commands that made it, its data and their licence; `make weights` follows it."""


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A model that comes with the package."""

    name: str
    does: str
    """What comes of it: "emoji in color, 32 x 32"."""
    commands: tuple[str, ...]
    """What brings its data and trains it into the folder RUN."""
    data: str
    licence: str
    """Of the data, and so of the weights."""
    credit: str
    minutes: float
    """Of one CPU core, to train it."""
    measured: str = ""
    """Numbers of these very weights, with their protocol."""
    example: str = ""
    """A file beside the weights to use it on, for a model of a task."""
    beside: str = ""
    """Another, where the task shows the model one beside it."""
    how: dict[str, Any] = field(default_factory=dict)
    """What the task is asked besides."""

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def lines(self) -> list[str]:
        """Of an example that is a text: what the model is asked, one after the other."""
        return (self.folder / self.example).read_text("utf-8").splitlines() if self.example.endswith(".txt") else []

    @property
    def asking(self) -> str:
        """The options of `apply` for such a thing as the example."""
        given = f'--text "{self.lines[0]}"' if self.lines else "--picture picture.png"
        return " ".join([given, *(f"--{name} {value}" for name, value in self.how.items())])


@cache
def shipped() -> dict[str, Shipped]:
    """All of them by name."""
    said = json.loads(RECIPES.read_text(encoding="utf-8"))
    return {
        name: Shipped(name=name, **{**about, "commands": tuple(about["commands"])})
        for name, about in said.items()
        if (FOLDER / name).is_dir()
    }


def located(run: str | Path) -> Path:
    """The folder of a run; of weights that come with the package, if that is their name and there is no such folder."""
    path = Path(run)
    known = shipped() if not path.exists() and str(run) == path.name else {}
    return known[path.name].folder if path.name in known else path


def meant(name: str) -> str:
    """The names of what comes with the package, for a message: the nearest, or all."""
    known = shipped()
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}, which comes with the package?" if near else f"there are {', '.join(known)}"
