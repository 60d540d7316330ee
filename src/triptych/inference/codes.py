"""Levels as bits, at the price that a model's probabilities put on them, and back.

Autoregressive models are range coded, value after value: a value of probability p takes -log2 p bits, and about 1e-4
of a bit more, as the coder rounds. Coding goes through the model's own sampler (`Writing`, `Reading`): whoever decodes
has to run it, and whoever encodes must see the same probabilities, to the last bit, which another way to compute the
same factors would not give.

Latent variable models get bits back. Townsend, Bird and Barber, 2019. Practical Lossless Compression with Latent
Variables using Bits Back Coding. https://arxiv.org/abs/1901.04866. From a stack of bits, take z as one draws from
q(z | x): that gives back -log2 q(z | x) bits. Put x on it, given z, and then z: -log2 p(x | z) - log2 p(z). The price
of x is on average the evidence lower bound. The first z has to be taken from something: bits that were there before,
which decoding returns.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.nn import functional as F

from triptych.core import IntegrityError, Sampling, Space, UsageError, levels_of

Words = NDArray[np.uint32]
Rows = NDArray[np.float64]
"""Probabilities of each level, [values, levels]."""

DIGIT = 256
"""A dimension of z is one of DIGIT^2 buckets of equal mass under the prior, coded as two digits: the coder gives every
level 2^-24 at least, and with a digit at a time that is too little to ever draw a z that q would not."""


def library() -> Any:
    """The coders. Raises UsageError where they are not installed."""
    try:
        import constriction
    except ImportError:
        raise UsageError("compression needs the library constriction: pip install 'triptych[compress]'") from None
    return constriction


def family() -> Any:
    """Any probabilities, rounded to multiples of 2^-24, none of them to zero."""
    return library().stream.model.Categorical(perfect=False, lazy=True)


def uniform(size: int) -> Any:
    return library().stream.model.Uniform(size)


def take(coder: Any, model: Any, values: Rows | int) -> NDArray[np.int32]:
    """The next values. Raises IntegrityError if no encoder could have left these bits."""
    try:
        return coder.decode(model, values)
    except (AssertionError, ValueError) as e:
        raise IntegrityError("the bits do not decode with these probabilities") from e


def probabilities(logits: Float[Tensor, "*n k"]) -> Rows:
    """The probability of each level, in double precision; a single score is the log-odds of two levels."""
    if logits.shape[-1] == 1:
        logits = F.pad(logits, (1, 0))
    return logits.double().softmax(-1).flatten(0, -2).numpy()


class Message:
    """What an autoregressive sampler is given in place of random numbers: the levels themselves, or -1.

    A sampler hands each value the number that was drawn for it, in whatever order it goes. So that is where the message
    is, and the sampler does the same in both directions: it knows nothing of what is still to come.
    """

    device = torch.device("cpu")

    def __init__(self, values: Int[Tensor, "n *shape"]) -> None:
        self.values, self.n = values, len(values)

    def uniform(self, *shape: int) -> Tensor:
        assert shape == self.values.shape[1:], "a sampler spends one number a value"
        return self.values.float()

    def normal(self, *shape: int) -> Tensor:
        raise NotImplementedError("an autoregressive sampler spends uniform numbers only")


@dataclass(frozen=True, eq=False)
class Writing(Sampling):
    """In place of drawing a value: take it from the message, and write it down. A -1 stands for nothing, and costs
    nothing."""

    coder: Any = field(kw_only=True)
    """A range encoder."""

    def fill(
        self, known: Int[Tensor, "*n"], logits: Float[Tensor, "*n k"], u: Float[Tensor, "*n"]
    ) -> Int[Tensor, "*n"]:
        there = u >= 0
        self.coder.encode(u[there].int().numpy(), family(), probabilities(logits[there]))
        return u.long().clamp(min=0)


@dataclass(frozen=True, eq=False)
class Reading(Sampling):
    """In place of drawing a value: read it, but where the message says -1."""

    coder: Any = field(kw_only=True)
    """A range decoder."""

    def fill(
        self, known: Int[Tensor, "*n"], logits: Float[Tensor, "*n k"], u: Float[Tensor, "*n"]
    ) -> Int[Tensor, "*n"]:
        there = u >= 0
        read = take(self.coder, family(), probabilities(logits[there]))
        return torch.zeros_like(known).masked_scatter(there, torch.from_numpy(read).long())


def gaussian(p: Distribution, name: str) -> Normal:
    """The dimensions of a diagonal Gaussian. Raises UsageError for another distribution."""
    if isinstance(p, Independent) and isinstance(p.base_dist, Normal):
        return p.base_dist
    raise UsageError(f"{name} cannot compress: its latent is no diagonal Gaussian, the only one that is coded here")


class BitsBack:
    """A stack of bits that holds items of one latent variable model."""

    def __init__(self, model: Any, words: Words, seal: bool = False) -> None:
        """With `seal`, the words are any at all; without, they are what a stack was left as.

        Raises IntegrityError for words that no stack is left as.
        """
        self.model, self.space = model, model.config.x
        if not (seal or (len(words) and words[-1])):
            raise IntegrityError("the bits end in zeros, which no encoder leaves")
        self.coder = library().stream.stack.AnsCoder(words, seal=seal)
        self.lowest = int(self.coder.pos()[0])
        """Words at the bottom that were never touched."""
        grid = torch.arange(DIGIT**2 + 1, dtype=torch.float64) / DIGIT**2
        self.edges = torch.special.ndtri(grid)
        """Of the buckets, for a standard normal prior."""
        self.middles = torch.special.ndtri(grid[:-1] + 0.5 / DIGIT**2)

    @property
    def words(self) -> Words:
        return self.coder.get_compressed()

    def push(self, level: Int[Tensor, "n *shape"], given: Any, place: int) -> None:
        """Puts items on the stack; `place` says where in the chain."""
        p, q = self.of(self.model.prior(given)), self.of(self.model.encode(self.space.from_index(level), given))
        coarse = take(self.coder, family(), self.masses(p, q))
        bucket = coarse * DIGIT + take(self.coder, family(), self.masses(p, q, coarse))
        self.lowest = min(self.lowest, int(self.coder.pos()[0]))
        self.coder.encode_reverse(level.flatten().int().numpy(), family(), self.pixels(p, bucket, len(level), given))
        self.coder.encode_reverse(bucket ^ scramble(place, len(bucket)), uniform(DIGIT**2))

    def pop(self, n: int, given: Any, place: int) -> Int[Tensor, "n *shape"]:
        """Takes n items from the stack, and returns the bits that had chosen their z."""
        event, p = self.model.prior(given).event_shape, self.of(self.model.prior(given))
        bucket = take(self.coder, uniform(DIGIT**2), n * event.numel()) ^ scramble(place, n * event.numel())
        read = take(self.coder, family(), self.pixels(p, bucket, n, given))
        level = torch.from_numpy(read).long().view(n, *self.space.shape)
        q = self.of(self.model.encode(self.space.from_index(level), given))
        coarse, fine = np.divmod(bucket, DIGIT)
        self.coder.encode_reverse(fine, family(), self.masses(p, q, coarse))
        self.coder.encode_reverse(coarse, family(), self.masses(p, q))
        return level

    def of(self, p: Distribution) -> Normal:
        return gaussian(p, self.model.name)

    def masses(self, p: Normal, q: Normal, coarse: NDArray[np.int32] | None = None) -> Rows:
        """The mass, under q, of the values of each dimension's first digit; or of the second, given the first."""
        mean = ((q.mean.double() - p.mean.double()) / p.stddev.double()).flatten()[:, None]
        scale = (q.stddev.double() / p.stddev.double()).expand_as(q.mean).flatten()[:, None]
        if coarse is None:
            edges = self.edges[::DIGIT]
        else:
            edges = self.edges[torch.from_numpy(coarse)[:, None] * DIGIT + torch.arange(DIGIT + 1)]
        # where q has no mass at all, any digit is as good as another
        return torch.special.ndtr((edges - mean) / scale).diff(dim=-1).clamp(min=1e-15).numpy()

    def pixels(self, p: Normal, bucket: NDArray[np.int32], n: int, given: Any) -> Rows:
        """P(x | z) of each level of each value."""
        shape = (n, *self.model.prior(given).event_shape)
        middle = self.middles[torch.from_numpy(bucket).long()].view(shape).to(p.mean.dtype)
        return probabilities(level_scores(self.model.decode(p.mean + p.stddev * middle, given), self.space))


def supply(words: int) -> Words:
    """What a stack begins with: bits that mean nothing, and that both sides know."""
    return np.random.Generator(np.random.Philox(key=0)).integers(2**32, size=words, dtype=np.uint32)


def scramble(place: int, size: int) -> NDArray[np.int32]:
    """Random bits to change those of z by, before they go on the stack: the z of the next item is drawn by them.

    Without, it would be drawn by bits that are as uneven as the latents of data are against the prior.
    """
    generator = np.random.Generator(np.random.Philox(key=1 + place))
    return generator.integers(DIGIT**2, size=size, dtype=np.int32)


def level_scores(p: Distribution, space: Space) -> Float[Tensor, "n *shape k"]:
    """log P of every level of each value. Raises UsageError if the values are not independent under p."""
    if not (isinstance(p, Independent) and p.event_shape == space.shape and not p.base_dist.event_shape):
        raise UsageError(f"values of {space} that are not independent given the latent cannot be coded yet")
    levels = space.from_index(torch.arange(levels_of(space)))
    scores: Callable[[Tensor], Tensor] = p.base_dist.log_prob
    return scores(levels.view(-1, *[1] * (1 + len(space.shape)))).movedim(0, -1)
