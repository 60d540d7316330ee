"""Captions as tokens: a vocabulary of words, built from the captions themselves and saved with them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from triptych.core import Count, Tokens, config
from triptych.core.text import PAD, Words, words_of

MOST_WORDS = 8192
LONGEST = 64


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
            words = words_of(caption)
            counts.update(words)
            longest = max(longest, len(words))
        known = sorted(counts, key=lambda w: (-counts[w], w))[: MOST_WORDS - 2]
        return cls(words=("<pad>", "<unknown>", *known), length=min(longest, LONGEST))

    @cached_property
    def space(self) -> Tokens:
        """Where captions live: it says what its tokens stand for, wherever a model takes it."""
        return Tokens(len(self.words), self.length, symbols=Words(words=self.words))

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """int64 [n, length]."""
        tokens = np.full((len(captions), self.length), PAD, np.int64)
        for row, caption in zip(tokens, captions, strict=True):
            numbers = self.space.encode(caption)[: self.length]
            row[: len(numbers)] = numbers.numpy()
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The words of one sentence, with a space between."""
        return self.space.written().decode(tokens)
