"""Configurations: frozen dataclasses whose leaves are JSON values, checked when they are made."""

from collections.abc import Sequence
from dataclasses import field, fields, is_dataclass
from difflib import get_close_matches
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from triptych.errors import UsageError

T = TypeVar("T")

Count = Annotated[int, Field(ge=1, lt=2**31)]
"""A whole number, one or more; and not so large that sizes made of it could overflow."""
Doublings = Annotated[int, Field(ge=1, le=24)]
"""How often something doubles or halves, one or more times: no size that is worked on is doubled more often."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A number above zero."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number, zero or more."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""

RULES = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def config(cls: type[T]) -> type[T]:
    """Makes `cls` a frozen, keyword-only dataclass that refuses unknown fields, wrong types and values out of range.

    It does so by a UsageError that names each wrong field, what came and what would do.
    """
    return explained(dataclass(cls, frozen=True, kw_only=True, config=RULES))  # type: ignore[arg-type]


def explained(cls: type[T]) -> type[T]:
    """`cls`, whose constructor says in a UsageError what it does not take."""
    made: Any = cls
    make = made.__init__

    @wraps(make)
    def init(self: Any, *values: Any, **named: Any) -> None:
        try:
            make(self, *values, **named)
        except ValidationError as e:
            raise UsageError(f"{cls.__name__}: " + "; ".join(problems(e, cls))) from e

    made.__init__ = init
    return cls


def problems(e: ValidationError, kind: Any) -> list[str]:
    """One sentence a wrong field. Of a field that could be several things, the one that came closest."""
    out: dict[str, str] = {}
    for problem in e.errors():
        path = [called(p, kind) for p in problem["loc"]]
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
    """As it is written in Python; a space that came as JSON, too."""
    text = repr(value)
    if isinstance(value, dict) and isinstance(value.get("kind"), str):
        sizes = ", ".join(f"{name}={one!r}" for name, one in value.items() if name != "kind" and one is not None)
        text = f"{value['kind'].capitalize()}({sizes})"
    return text if len(text) <= 120 else f"{text[:100]}..."


def called(place: str | int, kind: Any) -> str:
    """The name of a field, which pydantic numbers where its value came by position."""
    names = field_names(kind)
    return names[place] if isinstance(place, int) and place < len(names) else str(place)


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
