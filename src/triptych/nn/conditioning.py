"""A condition as one vector, whatever its kind: so a network that takes classes takes sentences, numbers and pictures.

    self.condition = embed(config.given, 128)
    e = self.condition(batch.given)  # [n, 128]

The encoder is a part of the network that has it, and trained with it: of sentences from the words alone. (A transformer
that reads a condition word by word does so by `nn.prefix`.)
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import Given, Images, Label, Labels, Picture, Points, Text, Tokens, UsageError, Vector, planar
from triptych.core.text import PAD

Describable = Labels | Tokens | Points | Images
"""Spaces of conditions that there is an encoder for."""


class ClassEncoder(nn.Embedding):
    """A vector for each class."""

    def forward(self, given: Given) -> Float[Tensor, "n width"]:  # type: ignore[override]
        assert isinstance(given, Label)
        return super().forward(given.y)


class SentenceEncoder(nn.Module):
    """A sentence: of each word, what it and its neighbours say, and of that the mean and the most over the words that
    there are. What fills up a sentence is no word (where its space says that sentences are filled up); of no words at
    all, the vector is that of nothing said."""

    def __init__(self, space: Tokens, width: int) -> None:
        super().__init__()
        self.padded = space.padded
        self.word = nn.Embedding(space.vocabulary, width)
        self.near = nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Linear(2 * width, width)

    def there(self, tokens: Tensor) -> Bool[Tensor, "n length"]:
        return tokens != PAD if self.padded else torch.ones_like(tokens, dtype=torch.bool)

    def forward(self, given: Given) -> Float[Tensor, "n width"]:
        assert isinstance(given, Text)
        there = self.there(given.tokens)[:, None]  # n 1 length
        words = self.word(given.tokens).mT * there  # n width length
        h = (words + F.leaky_relu(self.near(words), 0.2)) * there
        mean = h.sum(2) / there.sum(2).clamp(min=1)
        most = h.masked_fill(~there, -torch.inf).amax(2).masked_fill(~there.any(2), 0.0)
        out: Tensor = self.out(torch.cat((mean, most), 1))
        return out


class NumberEncoder(nn.Module):
    """Some numbers, through one hidden layer."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dims, width), nn.LeakyReLU(0.2), nn.Linear(width, width))

    def forward(self, given: Given) -> Float[Tensor, "n width"]:
        assert isinstance(given, Vector)
        out: Tensor = self.layers(given.values)
        return out


class PictureEncoder(nn.Module):
    """A picture, halved until its shorter side has less than 8 pixels; the mean over places."""

    def __init__(self, space: Images, width: int) -> None:
        super().__init__()
        times = max(1, min(space.height, space.width).bit_length() - 3)
        layers: list[nn.Module] = []
        for k in range(times):
            layers += [nn.Conv2d(width if k else space.channels, width, 3, 2, 1), nn.LeakyReLU(0.2)]
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(width, width)

    def forward(self, given: Given) -> Float[Tensor, "n width"]:
        assert isinstance(given, Picture)
        out: Tensor = self.out(self.layers(given.grid).mean((2, 3)))
        return out


def embed(space: Describable, width: int, deviation: float = 1.0) -> nn.Module:
    """The encoder of conditions in a space: a batch of them -> [n, width].

    deviation: at first, of each number of the vectors that classes have.

    Raises UsageError for a space that has none: sound, solids.
    """
    if space.kind == "tokens":
        return SentenceEncoder(space, width)  # type: ignore[arg-type]
    if space.choices and not space.optional:
        encoder = ClassEncoder(space.choices, width)
        nn.init.normal_(encoder.weight, 0, deviation)
        return encoder
    if planar(space):
        return PictureEncoder(space, width)
    if space.measure == "density":
        return NumberEncoder(space.dims, width)
    raise UsageError(f"{space} cannot be a condition that is made one vector of")


def told_apart(given: Given, other: Given) -> Bool[Tensor, " n"]:
    """For which items two batches of conditions of one kind differ."""
    pairs = zip(vars(given).values(), vars(other).values(), strict=True)
    return torch.stack([(a != b).flatten(1).any(1) if a.dim() > 1 else a != b for a, b in pairs]).any(0)
