"""Captions as tokens: a vocabulary of words, built from the captions themselves and saved with them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from triptych.core import Count, Tokens, config

PAD, UNKNOWN = 0, 1
MOST_WORDS = 8192
LONGEST = 64

WORD = re.compile(r"\w+|[^\w\s]")


@config
class Tokenizer:
    """Words and punctuation marks to numbers: 0 fills up, 1 stands for any word that is not in `words`."""

    words: tuple[str, ...]
    """In lower case; `words[i]` is token i."""
    length: Count
    """Every sentence is padded, or cut, to so many tokens."""

    @classmethod
    def fit(cls, captions: Iterable[str]) -> "Tokenizer":
        """The most frequent words first (at most 8190); as long as the longest caption (at most 64 tokens)."""
        counts, longest = Counter[str](), 1
        for caption in captions:
            words = split(caption)
            counts.update(words)
            longest = max(longest, len(words))
        known = sorted(counts, key=lambda w: (-counts[w], w))[: MOST_WORDS - 2]
        return cls(words=("<pad>", "<unknown>", *known), length=min(longest, LONGEST))

    @property
    def space(self) -> Tokens:
        return Tokens(len(self.words), self.length)

    @cached_property
    def number(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """int64 [n, length]."""
        tokens = np.full((len(captions), self.length), PAD, np.int64)
        for row, caption in zip(tokens, captions, strict=True):
            numbers = [self.number.get(word, UNKNOWN) for word in split(caption)[: self.length]]
            row[: len(numbers)] = numbers
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The words of one sentence, with a space between."""
        return " ".join(self.words[int(t)] for t in tokens if int(t) != PAD)


def split(caption: str) -> list[str]:
    return WORD.findall(caption.lower())
