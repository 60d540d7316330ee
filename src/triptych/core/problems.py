"""What is wrong with a configuration, in words: which field, what came, and what would do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

WANTED = {
    "greater_than_equal": "it takes at least {ge:g}",
    "greater_than": "it takes what is above {gt:g}",
    "less_than_equal": "it takes at most {le:g}",
    "less_than": "it takes what is below {lt:g}",
    "finite_number": "it takes a finite number",
    "literal_error": "it takes {expected}",
    "too_short": "it takes at least {min_length} of them",
    "too_long": "it takes at most {max_length} of them",
} | {
    f"{kind}_{ending}": f"it takes {what}"
    for kind, what in {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "a text",
        "tuple": "a list",
        "list": "a list",
    }.items()
    for ending in ("type", "parsing", "from_float")
}
"""What a field takes, by the type of the error; others are said as pydantic says them."""
OTHER_KIND = " belong"
"""How the message ends of a space that says that it is of another kind."""


@dataclass(frozen=True)
class Place:
    """Where something is wrong."""

    path: str
    """As it is assigned to: "x.height", "hidden[1]"."""
    kind: Any
    """The type of what the last field lies in."""
    last: str
    """The last field."""
    choices: tuple[tuple[str, str], ...]
    """Where a field could be several things, the path of it and which of them this is about."""


def problems(e: ValidationError, kind: Any) -> list[str]:
    """One sentence a wrong field. Of a field that could be several things, the one that came closest."""
    errors = [(place(error["loc"], kind), error) for error in e.errors()]
    out: dict[str, str] = {}
    for at, error in closest(errors):
        if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            text = f"there is no field {at.path}{suggest(at.last, field_names(at.kind))}"
        elif error["type"] in ("missing", "missing_argument"):
            text = f"{at.path} is missing"
        elif error["type"] == "value_error" and not at.path:
            text = str(error["ctx"]["error"]) if "ctx" in error else error["msg"]
        elif of_other_kind(error):
            text = f"{at.path}: {said(error)}"
        else:
            text = f"{at.path}={shortened(error['input'])}: {said(error)}"
        out.setdefault(at.path, text)
    return list(out.values())


def place(loc: Sequence[str | int], kind: Any) -> Place:
    """Where an error is: pydantic numbers values that came by position, and puts the name of a type where a field could
    be of several."""
    path, last, choices, inside = "", "", list[tuple[str, str]](), kind
    for step in loc:
        inside = kind = plain(kind)
        names, several = field_names(kind), members(kind)
        if isinstance(step, int) and step < len(names):
            step = names[step]
        if step in names:
            last, kind = str(step), next(f.type for f in fields(kind) if f.name == step)
            path += f".{last}" if path else last
        elif isinstance(step, str) and several:
            choices.append((path, step))
            kind = next((one for one in several if getattr(one, "__name__", "") == step), None)
        elif isinstance(step, int):
            path, kind = f"{path}[{step}]", element(kind)
        else:
            last, kind = step, None
            path += f".{last}" if path else last
    return Place(path, inside, last, tuple(choices))


def closest(errors: Iterable[tuple[Place, ErrorDetails]]) -> list[tuple[Place, ErrorDetails]]:
    """The errors of one choice for each field that has several: one that is not of another kind, with the fewest."""
    found = list(errors)
    for path in dict.fromkeys(path for at, _ in found for path, _ in at.choices):
        by_choice = dict[str, list[ErrorDetails]]()
        for at, error in found:
            for choice in (name for where, name in at.choices if where == path):
                by_choice.setdefault(choice, []).append(error)
        best = min(by_choice, key=lambda name: (any(map(of_other_kind, by_choice[name])), len(by_choice[name])))
        if all(any(map(of_other_kind, some)) for some in by_choice.values()):
            came, _, _ = said(by_choice[best][0]).partition(" where ")
            kinds = [said(some[0]).removesuffix(OTHER_KIND).split(" where ")[-1] for some in by_choice.values()]
            by_choice[best][0]["msg"] = f"{came} where {' or '.join(kinds)}{OTHER_KIND}"
        found = [(at, error) for at, error in found if all(w != path or name == best for w, name in at.choices)]
    return found


def of_other_kind(error: ErrorDetails) -> bool:
    return error["type"] == "value_error" and error["msg"].endswith(OTHER_KIND)


def said(error: ErrorDetails) -> str:
    """What would do."""
    if error["type"] in ("dataclass_type", "dataclass_exact_type"):
        return "it takes fields of its own, by name"
    words = WANTED.get(error["type"])
    return words.format(**error.get("ctx", {})) if words else error["msg"].removeprefix("Value error, ")


def shortened(value: Any) -> str:
    """As it is written in Python; a space that came as JSON, too."""
    text = repr(value)
    if isinstance(value, dict) and isinstance(value.get("kind"), str):
        sizes = ", ".join(f"{name}={one!r}" for name, one in value.items() if name != "kind" and one is not None)
        text = f"{value['kind'].capitalize()}({sizes})"
    return text if len(text) <= 120 else f"{text[:100]}..."


def plain(kind: Any) -> Any:
    """The type alone, of one that has limits or may be missing."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    kinds = members(kind)
    return plain(kinds[0]) if len(kinds) == 1 else kind


def members(kind: Any) -> tuple[Any, ...]:
    """The types that a value may be of, where they are several."""
    several = get_origin(kind) in (Union, UnionType)
    return tuple(one for one in get_args(kind) if one is not NoneType) if several else ()


def element(kind: Any) -> Any:
    """The type of what a list holds."""
    return next(iter(get_args(kind)), None)


def field_names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def suggest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean x?" or the list of what there is."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known)}" if known else ""
