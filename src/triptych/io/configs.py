"""Configurations to and from JSON, changed by `key=value`, and errors that name the field and what would do."""

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from triptych.core import UsageError

T = TypeVar("T")

MOST_PROBLEMS = 5
"""Wrong fields that are told of at once."""


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    out: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return out


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """Builds a `kind` from JSON values; UsageError names each field that is wrong, what came and what would do."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as e:
        found = problems(e, kind)
        more = [f"and {len(found) - MOST_PROBLEMS} more"] if len(found) > MOST_PROBLEMS else []
        raise UsageError(f"{where or kind.__name__}: " + "; ".join(found[:MOST_PROBLEMS] + more)) from None


def problems(e: ValidationError, kind: Any) -> list[str]:
    """One sentence a wrong field. Of a field that could be several things, the one that came closest."""
    out: dict[str, str] = {}
    for problem in e.errors():
        path = [str(p) for p in problem["loc"]]
        if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            names = field_names(at(kind, path[:-1]))
            text = f"there is no field {'.'.join(path)}{suggest(path[-1], names)}"
        elif problem["type"] in ("missing", "missing_argument"):
            text = f"{'.'.join(path)} is missing"
        elif problem["type"] == "value_error" and not path:
            text = str(problem["ctx"]["error"]) if "ctx" in problem else problem["msg"]
        else:
            text = f"{'.'.join(path)}={shortened(problem['input'])}: {problem['msg'].removeprefix('Value error, ')}"
        out.setdefault(".".join(path), text)
    return list(out.values())


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}..."


def at(kind: Any, path: Sequence[str]) -> Any:
    """The type of a nested field, as far as the path can be followed."""
    for name in path:
        found = [f.type for f in fields(kind) if f.name == name] if is_dataclass(kind) else []
        kind = found[0] if found else None
    return kind


def field_names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def suggest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean x?" or the list of what there is."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known)}" if known else ""


def override(config: T, assignments: Sequence[str], **fields: Any) -> T:
    """Replaces whole fields by `fields`, then applies `adam.lr=1e-4` and the like, in order; all is checked at the end.

    Values of assignments are JSON, or else text. Raises UsageError for what is not an assignment, an unknown field or
    a value that the field does not take.
    """
    tree = to_json(config) | {name: to_json(value) for name, value in fields.items()}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise UsageError(f"{assignment!r} is not of the form field=value")
        node, kind, value = tree, config, literal(text)
        *parents, last = path.split(".")
        for name in [*parents, last]:
            names = field_names(kind)
            if name not in names:
                raise UsageError(f"{path}: there is no field {name}{suggest(name, names)}")
            if name is not last:
                node, kind = node[name], getattr(kind, name)
        node[last] = value
    return from_json(type(config), tree, " ".join(assignments))


def literal(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def describe(config: Any, prefix: str = "") -> list[tuple[str, str, Any, str]]:
    """Every leaf field as (path, type, value, documentation), nested configurations spelled out."""
    out: list[tuple[str, str, Any, str]] = []
    for name, info in type(config).__pydantic_fields__.items():
        value = getattr(config, name)
        if is_dataclass(value):
            out += describe(value, f"{prefix}{name}.")
        else:
            hint = info.annotation
            kind = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
            out.append((prefix + name, kind, value, (info.description or "").strip()))
    return out
