"""Configurations: frozen dataclasses whose leaves are JSON values, checked when they are made."""

from dataclasses import field
from typing import Annotated, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

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
    """Makes `cls` a frozen, keyword-only dataclass that refuses unknown fields, wrong types and values out of range."""
    return dataclass(cls, frozen=True, kw_only=True, config=RULES)  # type: ignore[return-value]
