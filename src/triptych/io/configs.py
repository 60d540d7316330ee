"""Configurations to and from JSON, changed by `key=value`, and errors that name the field and what would do."""

import json
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from triptych.core import UsageError
from triptych.core.problems import field_names, problems, suggest

T = TypeVar("T")

MOST_PROBLEMS = 5
"""Wrong fields that are told of at once."""


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    out: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return out


def from_json(kind: type[T], value: Any, where: str | None = "") -> T:
    """Builds a `kind` from JSON values; UsageError names each field that is wrong, what came and what would do, after
    `where` that is: by default the name of the kind, and with None nowhere in particular."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as e:
        found = problems(e, kind)
        more = [f"and {len(found) - MOST_PROBLEMS} more"] if len(found) > MOST_PROBLEMS else []
        place = "" if where is None else f"{where or kind.__name__.removesuffix('Config')}: "
        raise UsageError(place + "; ".join(found[:MOST_PROBLEMS] + more)) from None


def override(config: T, assignments: Sequence[str], **fields: Any) -> T:
    """Replaces whole fields by `fields`, then applies `adam.lr=1e-4` and the like, in order; all is checked at the end.

    Values of assignments are JSON, or else text; where a text stands they are text (a=7). Raises UsageError for what is
    not an assignment, an unknown field or a value that the field does not take.
    """
    tree = to_json(config) | {name: to_json(value) for name, value in fields.items()}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise UsageError(f"{assignment!r} is not of the form field=value")
        node, kind, value = tree, config, literal(text)
        *parents, last = path.split(".")
        for depth, name in enumerate([*parents, last]):
            names = field_names(kind)
            if not isinstance(node, dict):
                before = ".".join(parents[:depth])
                raise UsageError(f"{path}: there is no field {name}: {before} is {node}, which has none")
            if name not in names:
                raise UsageError(f"{path}: there is no field {name}{suggest(name, names)}")
            if depth < len(parents):
                node, kind = node[name], fields[name] if not depth and name in fields else getattr(kind, name)
        plain = isinstance(node.get(last), str) and not isinstance(value, str)
        node[last] = text if plain else value
    return from_json(type(config), tree, None if assignments else "")


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
