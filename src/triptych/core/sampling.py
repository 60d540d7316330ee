"""Options of sampling: how an autoregressive model picks the next value from its factor, and what it is told instead
of picking; how far a latent may lie from its mean; whether a decoder's noise is drawn.

Every value spends one uniform number, by inverting its cumulative distribution. So the same numbers give the same
samples whether the network is run naively, incrementally, or by fixed-point iteration (`nn.fixed_point`).
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from triptych.core.noise import Noise
from triptych.core.space import Space
from triptych.errors import UsageError

UNKNOWN = -1
SAME = 1e-6
"""Relative difference below which two probabilities are one: what logits in float32 leave of them."""


def inverse_cdf(logits: Float[Tensor, "*n k"], u: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """The level that each uniform number stands for: as `category` says of k logits, which are those of k levels; a
    single one is the log-odds of level 1 against level 0. int64.
    """
    if logits.shape[-1] == 1:
        return (torch.sigmoid(-logits[..., 0]) <= u).long()
    return category(logits, u)


def category(logits: Float[Tensor, "*n k"], u: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Which of k each uniform number stands for: how many cumulative probabilities (softmax) are <= u. int64.

    One of probability 0 is never picked: where rounding leaves the sum of all below u, the last of the others is. Of
    one there is nothing to choose.
    """
    below = logits.softmax(-1).cumsum(-1)
    return ((below <= u[..., None]) & (below < below[..., -1:])).sum(-1)


@dataclass(frozen=True, eq=False)
class Sampling:
    """Options of sampling; but for the last four, they are for autoregressive models and those of codes.

    By default, samples follow the model.

    Raises UsageError for a temperature, a limit or a truncation that makes no sense.
    """

    temperature: float = 1.0
    """Divides the logits: below 1 likely values become likelier; 0 always takes the likeliest."""
    top_k: int | None = None
    """Only the k likeliest levels may come (and those as likely as the last of them)."""
    top_p: float | None = None
    """Only the likeliest levels that together reach this probability may come (nucleus sampling, Holtzman 2020)."""
    known: Int[Tensor, "n *shape"] | None = None
    """The level (or token) of each value, -1 where it is to be drawn. n may be 1: the same for every sample.

    A value that comes before all the unknown ones in the model's order (a prefix) is conditioned on exactly. One that
    comes later is not foreseen by those before it: the result is a plausible completion, not a draw from p(x | known).
    """

    guidance: float = 1.0
    """How far to follow the condition, in models that were also trained without (`Coding`): u + guidance (c - u) of the
    scores c given it and u without. 1 is plain, and what the model learned; 0 ignores the condition."""
    best_of: int = 1
    """So many are drawn for each sample of a model of codes (`Coding`), and the one is kept that, read again by the
    encoder, has the code that fits the condition best (`Coding.fits`): truer to it, of less variety."""
    truncation: float | None = None
    """Latent numbers that lie further than this from 0 are drawn again, in models that allow for it (`Truncatable`)."""
    observation: Literal["drawn", "mean"] = "drawn"
    """Of a model that decodes a latent (`Decoding`): x drawn from p(x | z), or the mean of p(x | z), which shows what z
    says without the noise that is drawn for each value by itself. The latent is the same."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature={self.temperature}: it must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k={self.top_k}: it must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p={self.top_p}: it must be above 0 and at most 1")
        if not 0 <= self.guidance < float("inf"):
            raise UsageError(f"guidance={self.guidance}: it must be 0 or more; 1 is plain sampling")
        if self.best_of < 1:
            raise UsageError(f"best_of={self.best_of}: it must be 1 or more; 1 keeps the only one drawn")
        if self.truncation is not None and not self.truncation > 0:
            raise UsageError(f"truncation={self.truncation}: it must be above 0; inf keeps all")
        if self.observation not in ("drawn", "mean"):
            raise UsageError(f"observation={self.observation!r}: it is drawn or mean")

    @property
    def faithful(self) -> bool:
        """Whether values are drawn as likely as the model says."""
        return self.temperature == 1 and self.top_k is None and (self.top_p is None or self.top_p == 1)

    @property
    def picks(self) -> bool:
        """Whether values are to be picked in a way that only an autoregressive model has."""
        return not self.faithful or self.known is not None

    def pick(self, logits: Float[Tensor, "*n k"], u: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """A level each, from its factor's scores (see `inverse_cdf`) and a uniform number."""
        if self.faithful:
            return inverse_cdf(logits, u)
        if logits.shape[-1] == 1:
            logits = F.pad(logits, (1, 0))
        return inverse_cdf(self.steer(logits), u)

    def steer(self, logits: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
        """The scores with the temperature applied, and -inf for the levels that may not come."""
        if self.temperature == 0:
            return torch.full_like(logits, -torch.inf).scatter_(-1, logits.argmax(-1, keepdim=True), 0.0)
        # from the highest, so that nothing overflows; a temperature that a float cannot hold is as good as 0
        top = logits.amax(-1, keepdim=True)
        logits = (logits - top).masked_fill(logits == top, 0)  # infinity minus itself is 0 here
        logits = logits / max(self.temperature, torch.finfo(logits.dtype).tiny)
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, -1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p is not None and self.top_p < 1:
            ranked, place = logits.double().softmax(-1).sort(-1, descending=True)
            before = F.pad(ranked.cumsum(-1)[..., :-1], (1, 0))
            late = before >= self.top_p * (1 - SAME)  # those before it reached top_p already
            logits = logits.masked_fill(torch.zeros_like(late).scatter_(-1, place, late), -torch.inf)
        return logits

    def guide(self, told: Float[Tensor, "*n k"], untold: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
        """Scores that follow the condition as far as `guidance` says, of those given it and those without."""
        return untold + self.guidance * (told - untold)

    def fill(
        self, known: Int[Tensor, "*n"], logits: Float[Tensor, "*n k"], u: Float[Tensor, "*n"]
    ) -> Int[Tensor, "*n"]:
        """What is known, and where it is -1, what is picked."""
        picked = self.pick(logits, u)
        return picked if self.known is None else torch.where(known == UNKNOWN, picked, known)

    def start(self, space: Space, noise: Noise) -> Int[Tensor, "n *shape"]:
        """The levels of n samples before anything is drawn: `known`, checked, or -1 everywhere.

        Raises UsageError if the shape or a level of `known` is not of the space.
        """
        n, known = noise.n, self.known
        if known is None:
            return torch.full((n, *space.shape), UNKNOWN, device=noise.device)
        if known.is_floating_point() or known.is_complex():
            raise UsageError(f"known holds {known.dtype} values: it takes levels (int64), and -1 where unknown")
        if tuple(known.shape[1:]) != space.shape:
            raise UsageError(
                f"known has shape {list(known.shape)}; {space} takes [n, {', '.join(map(str, space.shape))}]"
            )
        if len(known) not in (1, n):
            raise UsageError(f"known has {len(known)} rows for {n} samples: one each, or one for all")
        values = levels_of(space)
        if known.numel() and not (known.min() >= UNKNOWN and known.max() < values):
            raise UsageError(
                f"known has values from {known.min().item()} to {known.max().item()}; {space} has levels 0 to "
                f"{values - 1}, and -1 stands for unknown"
            )
        return known.to(noise.device, torch.long).expand(n, *space.shape).clone()

    def __getitem__(self, rows: slice) -> Self:
        """The options for some of the samples."""
        return self if self.known is None or len(self.known) == 1 else replace(self, known=self.known[rows])


FAITHFUL = Sampling()
"""Samples follow the model."""


def levels_of(space: Space) -> int:
    """How many values a number of this discrete space may take.

    Raises UsageError for a space of real numbers.
    """
    if space.values is None:
        raise UsageError(f"{space} has no levels")
    return space.values


def prefix(space: Space, start: Int[Tensor, "n m"]) -> Int[Tensor, "n *shape"]:
    """`known` for a sequence or an image of which the first m values (in raster order, colors last) are given.

    Raises UsageError if m is more than the space holds.
    """
    if start.shape[1] > space.dims:
        raise UsageError(f"a prefix of {start.shape[1]} values is longer than {space}, which holds {space.dims}")
    known = start.new_full((len(start), space.dims), UNKNOWN)
    known[:, : start.shape[1]] = start
    return from_sequence(space, known)


def raster(space: Space) -> Int[Tensor, " dims"]:
    """Where each value lies in x.flatten(), in raster order: place by place, the channels of a place one by one."""
    return from_sequence(space, torch.arange(space.dims)[None]).flatten().argsort()


def from_sequence(space: Space, values: Int[Tensor, "n dims"]) -> Int[Tensor, "n *shape"]:
    """Values in raster order, put where they belong in x."""
    if len(space.shape) < 2:
        return values.view(-1, *space.shape)
    axis = space.channel_axis
    channels, sizes = space.shape[axis], space.shape[:axis] + space.shape[axis + 1 :]
    return values.view(-1, *sizes, channels).movedim(-1, axis + 1)


def to_sequence(space: Space, x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The numbers of x in raster order: the inverse of `from_sequence`, for any type and batch."""
    if len(space.shape) < 2:
        return x
    axis = x.dim() - len(space.shape) + space.channel_axis
    return x.movedim(axis, -1).flatten(-len(space.shape))
