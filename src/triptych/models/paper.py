"""What a model's page says of itself: the paper it is from, and what can be asked of it."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["images", "text", "sound", "points", "solids", "video"]
LikelihoodKind = Literal["exact", "lower bound", "none"]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """`PAPER = Paper(...)` of a model's file: literals only, for the catalogue reads it without importing the file."""

    called: str
    """What people call the model."""
    title: str
    authors: str
    """Given names first, a comma between authors."""
    year: int
    url: str
    conditions: str = "none"
    """What x can be conditioned on: "none" for p(x), "label", "none or label", "picture", ..."""
    likelihood: LikelihoodKind = "none"
    takes: tuple[Kind, ...] = ("images",)
    """The kinds of data that it models."""
