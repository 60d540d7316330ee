"""The spaces that random variables live in: x, and what x is conditioned on.

A space knows its shape, its number of dimensions, which values are valid, and how stored integers become tensors
and come back. Media of a fixed number of levels (images, voxels, video, audio) are tensors in [-1, 1]: level k of
`levels` is the value 2 k / (levels - 1) - 1, so that a binary pixel is -1 or 1 whatever the number of levels beside it.
"""

from dataclasses import field, replace
from math import log1p
from typing import Annotated, Any, ClassVar, Literal, TypeGuard

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from triptych.core.classes import Labels, PartialLabels
from triptych.core.config import Count
from triptych.core.given import Given, Picture, Text, Vector
from triptych.core.space import Leveled, Space, check_range, space
from triptych.core.text import PAD, Letters, Symbols, Words
from triptych.errors import UsageError

LevelCount = Annotated[int, Field(ge=2, le=65536)]
MU = 255
"""mu of mu-law companding, for 256 levels."""


@space
class Images(Leveled):
    """Images of any number of channels and any height and width: [batch, channels, height, width]."""

    kind: ClassVar[str] = "images"
    planar: ClassVar[bool] = True
    given: ClassVar[type[Given]] = Picture
    channels: Count
    height: Count
    width: Count
    levels: LevelCount = field(default=256, kw_only=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)


@space
class Voxels(Leveled):
    """Solids on a grid: [batch, channels, depth, height, width]."""

    kind: ClassVar[str] = "voxels"
    given: ClassVar[type[Given]] = Picture
    channels: Count
    depth: Count
    height: Count
    width: Count
    levels: LevelCount = field(default=2, kw_only=True)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.channels, self.depth, self.height, self.width)


@space
class Video(Leveled):
    """Moving images: [batch, frames, channels, height, width]."""

    kind: ClassVar[str] = "video"
    given: ClassVar[type[Given]] = Picture
    channel_axis: ClassVar[int] = 1
    frames: Count
    channels: Count
    height: Count
    width: Count
    levels: LevelCount = field(default=256, kw_only=True)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.frames, self.channels, self.height, self.width)


@space
class Audio(Leveled):
    """Sound: [batch, channels, length]; `rate` is in samples a second.

    The levels are evenly spaced in amplitude, or with companding="mu-law" in its companded form, f(a) = sign(a)
    log(1 + mu |a|) / log(1 + mu) with mu = 255 (ITU-T G.711): x is then f of the sound, and a likelihood is that of
    the companded levels, which lie closest where sound is softest.
    """

    kind: ClassVar[str] = "audio"
    given: ClassVar[type[Given]] = Picture
    ragged: ClassVar[bool] = True
    channels: Count
    length: Count
    rate: Count = field(default=16000, kw_only=True)
    levels: LevelCount = field(default=65536, kw_only=True)
    companding: Literal["mu-law"] | None = field(default=None, kw_only=True)

    @property
    def shape(self) -> tuple[int, int]:
        return (self.channels, self.length)

    def compand(self, amplitude: Tensor) -> Tensor:
        """Amplitudes in [-1, 1] as values of x, not rounded to levels (`nearest` does that)."""
        if self.companding is None:
            return amplitude
        return amplitude.sign() * (MU * amplitude.abs()).log1p() / log1p(MU)

    def expand(self, x: Tensor) -> Tensor:
        """The amplitudes that x stands for: the inverse of `compand`."""
        return x if self.companding is None else x.sign() * torch.expm1(x.abs() * log1p(MU)) / MU


@space
class Tokens(Space):
    """Sequences of symbols: int64 [batch, length] in [0, vocabulary)."""

    kind: ClassVar[str] = "tokens"
    given: ClassVar[type[Given]] = Text
    vocabulary: Count
    length: Count
    symbols: Symbols | None = field(default=None, kw_only=True, repr=False)
    """What the tokens stand for, if they stand for text."""

    def __post_init__(self) -> None:
        if self.symbols is not None and len(self.symbols) != self.vocabulary:
            raise UsageError(f"vocabulary={self.vocabulary}, but there are {len(self.symbols)} symbols")

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def dims(self) -> int:  # type: ignore[override]
        return self.length

    @property
    def values(self) -> int:
        return self.vocabulary

    def encode(self, text: str) -> Tensor:
        """Text of any length as tokens, int64 [m]. Raises UsageError for a character that has none."""
        return self.written().encode(text)

    def decode(self, tokens: Tensor) -> str:
        """The text that tokens [m] stand for."""
        return self.written().decode(tokens.tolist())

    @property
    def padded(self) -> bool:
        """Whether what is shorter than an element is filled up: sentences of words are."""
        return isinstance(self.symbols, Words | Letters)  # the kinds of symbols that have a token for nothing

    def serves(self, needs: Space) -> bool:
        """Also where the model does not say what its tokens stand for."""
        return self == needs or (  # of its own kind it knows the fields; no other space has these
            isinstance(needs, Tokens) and needs.symbols is None and replace(self, symbols=None) == needs
        )

    def lengths(self, tokens: Tensor) -> Tensor:
        """How many tokens of each row are there before what fills it up, int64 [n]."""
        return (tokens != PAD).sum(-1) if self.padded else tokens.new_full(tokens.shape[:-1], self.length)

    def written(self) -> Symbols:
        """`symbols`. Raises UsageError if these are not tokens of text."""
        if self.symbols is None:
            raise UsageError(f"{self} does not say what its tokens stand for: it has no symbols")
        return self.symbols

    def elements(self, said: Any, n: int) -> Tensor:
        """Texts as tokens, or tokens as they are."""
        texts = [said] if isinstance(said, str) else said
        if not (isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts)):
            return super().elements(said, n)
        rows = [self.encode(text) for text in texts]
        if self.padded:
            rows = [F.pad(row[: self.length], (0, max(0, self.length - len(row))), value=PAD) for row in rows]
        for text, row in zip(texts, rows, strict=True):
            if len(row) != self.length:
                raise UsageError(f"{text!r} is {len(row)} tokens; {self} takes {self.length}")
        return super().elements(rows[0] if isinstance(said, str) else torch.stack(rows), n)

    def check(self, x: Tensor, what: str = "x") -> None:
        super().check(x, what)
        check_range(x, self.vocabulary, what, self)


@space
class Points(Space):
    """Points in a Euclidean space: float32 [batch, dims], unscaled. Likelihoods here are densities."""

    kind: ClassVar[str] = "points"
    given: ClassVar[type[Given]] = Vector
    measure: ClassVar[Literal["mass", "density"]] = "density"
    dims: Count

    @property
    def shape(self) -> tuple[int]:
        return (self.dims,)


AnySpace = Images | Voxels | Video | Audio | Tokens | Points | PartialLabels | Labels
"""Every space, for reading one back from JSON: by its tag, or by its fields where an earlier version wrote it."""


def planar(space: Space | None) -> TypeGuard[Images]:
    """Whether it is a space of pictures, for code that then asks for their height and width."""
    return space is not None and space.planar
