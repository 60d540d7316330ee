"""Configurations: frozen dataclasses whose leaves are JSON values, checked when they are made."""

from dataclasses import field
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from triptych.core.problems import problems
from triptych.errors import UsageError

T = TypeVar("T")

Count = Annotated[int, Field(ge=1, lt=2**31)]
"""A whole number, one or more; and not so large that sizes made of it could overflow."""
Several = Annotated[int, Field(ge=2, lt=2**31)]
"""A whole number, two or more: how many there are that one is chosen of."""
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
