"""What a number called a likelihood may claim to be.

A generative model answers "how likely is x?" exactly (autoregressive models), from below (VAEs), by simulation
(importance sampling, annealed importance sampling), or not at all (GANs). The answer's type says which.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

BaseMeasure = Literal["mass", "density"]
Kind = Literal["exact", "lower bound", "estimate"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Likelihood:
    """Log-probabilities of a batch, with what they are measured against."""

    kind: ClassVar[Kind]

    nats: Float[Tensor, " batch"]
    """log p(x), or what stands for it, of each example."""
    dims: int
    """How many numbers one x has (padding not counted)."""
    measure: BaseMeasure
    """A probability "mass" of a discrete x, or a "density" of a continuous one. The two are never comparable."""
    how: str
    """The method and its settings, for tables: "chain rule", "ELBO, 1 draw", ..."""

    def __repr__(self) -> str:
        mean = self.nats.double().mean().item() if len(self.nats) else math.nan
        return f"<{self.kind} log p of {len(self.nats):,}: mean {mean:.4g} nats ({self.how})>"

    def bits_per_dim(self) -> Float[Tensor, " batch"]:
        """-log2 p(x) / dims of each example."""
        return -self.nats / (self.dims * math.log(2))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Exact(Likelihood):
    """log p(x), up to rounding."""

    kind = "exact"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LowerBound(Likelihood):
    """A number that, in expectation over the bound's own randomness, is not above log p(x)."""

    kind = "lower bound"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Estimate(Likelihood):
    """A simulated log p(x), with the simulation's standard error."""

    kind = "estimate"

    stderr: Float[Tensor, " batch"]
    """Standard error of `nats`, of each example, in nats."""
