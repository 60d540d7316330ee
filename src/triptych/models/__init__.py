"""The catalogue: every model by name, with the facts that its own page states.

A page below this folder is a file with a model's class and its `PAPER`. Pages are read, not imported, until a model is
asked for, so that listing models does not load torch. Models from outside the package come in by `register`, by
`--plugin`, or by an installed package's entry point in the group "triptych.models"; what a run folder says never
causes an import.
"""

import ast
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from triptych.errors import UsageError
from triptych.models.paper import Kind, LikelihoodKind, Paper

if TYPE_CHECKING:
    from triptych.core.game import Preset
    from triptych.core.model import Generative

FAMILIES = ("gan", "vae", "autoregressive", "translation")
"""The folders of this package, in the order of the catalogue."""
GROUP = "triptych.models"
"""Of entry points: `my-model = "my_package.my_module"`, or `= "my_package.my_module:MyModel"`."""
PAGE = re.compile(r"^PAPER = (Paper\(.*?^\))", re.MULTILINE | re.DOTALL)
CLASS = re.compile(
    r'^class (\w+)\([^\n]*\):\n(?:    """(?:(?!""").)*"""\n)?\n*    name = "([^"]+)"', re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue and its paper."""

    name: str
    family: str
    """The folder that its page is in, or "plugin"."""
    paper: Paper
    where: str
    """The module of its page."""
    cls: str
    model: "type[Generative[Any]] | None" = field(default=None, compare=False, repr=False)
    """The class itself, of a model from outside the package."""

    def module(self) -> Any:
        """The model's file."""
        return import_module(self.where)

    def load(self) -> "type[Generative[Any]]":
        """The model's class."""
        if self.model is not None:
            return self.model
        found: type[Generative[Any]] = getattr(self.module(), self.cls)
        return found

    def presets(self) -> "Mapping[str, Preset]":
        found: Mapping[str, Preset] = getattr(self.module(), "PRESETS", {})
        return found

    def bibtex(self) -> str:
        """The paper as a BibTeX entry."""
        paper = self.paper
        key = f"{paper.authors.split(',')[0].split()[-1].lower()}{paper.year}{self.name.replace('-', '')}"
        lines = [f"  title = {{{paper.title}}}", f"  author = {{{paper.authors.replace(', ', ' and ')}}}"]
        lines.append(f"  year = {{{paper.year}}}")
        if "arxiv.org/abs/" in paper.url:
            lines += [f"  eprint = {{{paper.url.rpartition('/')[2]}}}", "  archivePrefix = {arXiv}"]
        lines.append(f"  url = {{{paper.url}}}")
        return "@misc{" + key + ",\n" + ",\n".join(lines) + "\n}"


@cache
def own() -> dict[str, Entry]:
    """The models of this package by name: family by family, the oldest paper first."""
    folder, found = Path(__file__).parent, list[Entry]()
    for family in FAMILIES:
        pages = [read_page(file, family) for file in sorted((folder / family).glob("*.py"))]
        found += sorted((page for page in pages if page is not None), key=lambda entry: entry.paper.year)
    return {entry.name: entry for entry in found}


def read_page(file: Path, family: str) -> Entry | None:
    """What a page says of itself; None where it is no model's."""
    text = file.read_text(encoding="utf-8")
    said, names = PAGE.search(text), CLASS.search(text)
    if said is None or names is None:
        return None
    call = ast.parse(said[1], mode="eval").body
    assert isinstance(call, ast.Call)
    facts = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    return Entry(names[2], family, Paper(**facts), f"triptych.models.{family}.{file.stem}", names[1])


FOREIGN: dict[str, Entry] = {}
"""Models from outside the package, by name."""


def register(model: "type[Generative[Any]]") -> "type[Generative[Any]]":
    """Makes a model from outside the package one of the catalogue; also a decorator of its class.

    Its module's `PAPER` and `PRESETS` are taken, where it has them. Raises UsageError for a name that is taken.
    """
    name = getattr(model, "name", None)
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9][a-z0-9-]*", name):
        raise UsageError(f"{model.__name__}.name is {name!r}: a model is called by small letters, digits and hyphens")
    known = FOREIGN.get(name)
    same = known is not None and (known.where, known.cls) == (model.__module__, model.__name__)
    if name in own() or (known is not None and not same):
        raise UsageError(f"there is a model {name!r} already; give {model.__name__} another name")
    said = getattr(sys.modules[model.__module__], "PAPER", None)
    paper = said if isinstance(said, Paper) else Paper(called=name, title="", authors="", year=0, url="")
    FOREIGN[name] = Entry(name, "plugin", paper, model.__module__, model.__name__, model)
    return model


def plug_in(module: str) -> list[str]:
    """Imports a module and registers the models defined in it; their names. Raises UsageError if that cannot be."""
    name, _, cls = module.partition(":")
    try:
        found = import_module(name)
    except (ImportError, ValueError) as e:
        raise UsageError(f"the plugin {name} cannot be imported: {e}") from e
    from triptych.core.model import Generative

    classes = [getattr(found, cls, None)] if cls else [c for c in vars(found).values() if isinstance(c, type)]
    models = [c for c in classes if isinstance(c, type) and issubclass(c, Generative) and hasattr(c, "name")]
    ours = [model for model in models if cls or model.__module__.partition(".")[0] == name.partition(".")[0]]
    if not ours:
        raise UsageError(f"the plugin {module} holds no model: a class that derives from Generative and has a name")
    return [register(model).name for model in ours]


@cache
def installed() -> list[str]:
    """The models of installed packages that name themselves in the entry points, registered."""
    return [name for point in entry_points(group=GROUP) for name in plug_in(point.value)]


def every() -> dict[str, Entry]:
    """All models by name."""
    installed()
    return {**own(), **FOREIGN}


def takers(kind: str) -> tuple[Entry, ...]:
    """The models that take a kind of data. Raises UsageError for a kind that there is not."""
    if kind not in get_args(Kind):
        near = get_close_matches(kind, get_args(Kind), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"takes={kind!r}: models take {', '.join(get_args(Kind))}{hint}")
    return tuple(entry for entry in every().values() if kind in entry.paper.takes)


def instead(name: str, kind: Kind) -> str:
    """Models that take a kind of data, the most like the one of this name first: "imagegpt, pixelcnn or made"."""
    entry = find(name)
    found = sorted(takers(kind), key=lambda one: (name not in one.name, one.family != entry.family))
    names = [one.name for one in found[:3]]
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def find(name: str) -> Entry:
    """The catalogue's entry of this name. Raises UsageError, with a suggestion, if there is none."""
    known = every()
    if name in known:
        return known[name]
    near = get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise UsageError(f"there is no model {name!r}; {hint}")


def find_class(name: str) -> "type[Generative[Any]]":
    """The class of the model of this name."""
    return find(name).load()


def find_preset(name: str) -> "tuple[Entry, Preset | None]":
    """A model's name, or a preset's (`dcgan-mnist`) -> the model's entry, and the preset if it was one.

    Raises UsageError, with a suggestion, if it is neither.
    """
    known = every()
    if name in known:
        return known[name], None
    for entry in sorted(known.values(), key=lambda e: -len(e.name)):
        if name.startswith(entry.name + "-"):
            presets = entry.presets()
            if name in presets:
                return entry, presets[name]
            raise UsageError(f"{entry.name} has no preset {name!r}; it has {', '.join(presets)}")
    return find(name), None


class Catalogue(ModuleType):
    """This module, called: `tt.models()` lists the names of the models, `tt.models("text")` those that take text."""

    @property
    def TABLE(self) -> tuple[Entry, ...]:
        """The models of this package."""
        return tuple(own().values())

    def __call__(self, takes: str | None = None) -> list[str]:
        return list(every()) if takes is None else [entry.name for entry in takers(takes)]


sys.modules[__name__].__class__ = Catalogue

__all__ = ["FAMILIES", "Entry", "Kind", "LikelihoodKind", "Paper", "every", "find", "find_class", "find_preset"]
__all__ += ["installed", "instead", "own", "plug_in", "register", "takers"]
