"""What tokens stand for, when they stand for text: characters, or the bytes of UTF-8 and frequent pairs of them.

It is a part of the space that the tokens live in (`Tokens.symbols`), and so of a model's configuration: wherever the
model goes, the way from text to tokens and back goes along.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core.config import config
from triptych.errors import UsageError

Pair = tuple[int, int]

WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+")
"""Pairs are joined within these only: a word with the space before it, punctuation, what is left of white space."""


SPOKEN = re.compile(r"\w+|[^\w\s]")
"""A word of a sentence, or a mark of punctuation."""
LONGEST = 4096
"""Bytes of the longest token."""


@config
class Characters:
    """A token for each character of an alphabet."""

    alphabet: str
    """Token i stands for alphabet[i]. Each character once, in the order of their code points."""

    def __post_init__(self) -> None:
        if not self.alphabet or list(self.alphabet) != sorted(set(self.alphabet)):
            raise UsageError("alphabet: one character or more, each once, in the order of their code points")

    def __len__(self) -> int:
        return len(self.alphabet)

    @cached_property
    def codes(self) -> np.ndarray:
        return code_points(self.alphabet)

    def encode(self, text: str) -> Int[Tensor, " length"]:
        """Raises UsageError for a character that is not in the alphabet."""
        codes = code_points(text)
        token = self.codes.searchsorted(codes)
        wrong = np.flatnonzero(self.codes[token.clip(max=len(self) - 1)] != codes)
        if len(wrong):
            at = int(wrong[0])
            raise UsageError(
                f"there is no token for {text[at]!r} (U+{ord(text[at]):04X}), which is character {at + 1} of the text, "
                f"in {text[max(0, at - 12) : at + 13]!r}; the alphabet is {self.alphabet!r}. "
                f'Replace it, or take tokens="bytes", which any text can be written in'
            )
        return torch.from_numpy(token.astype(np.int64))

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.alphabet[int(t)] for t in tokens)

    @property
    def characters(self) -> Int[Tensor, " vocabulary"]:
        """How many characters begin in each token."""
        return torch.ones(len(self), dtype=torch.int64)


def code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@config
class BytePairs:
    """Tokens 0 to 255 are the bytes of UTF-8, and each later one is two earlier ones joined. Takes any text.

    Byte pair encoding: Sennrich, Haddow and Birch, 2016 (https://arxiv.org/abs/1508.07909); over bytes, and never
    across words, as in GPT-2 (Radford and others, 2019). Without merges, a token is a byte.
    """

    merges: tuple[Pair, ...] = ()
    """Token 256 + i stands for the tokens merges[i], joined. The most frequent first: so they are applied."""

    def __post_init__(self) -> None:
        for i, pair in enumerate(self.merges):
            if not all(0 <= t < 256 + i for t in pair):
                raise UsageError(f"merges[{i}]={pair}: token {256 + i} must join two of those before it")
        if len(set(self.merges)) < len(self.merges):
            raise UsageError("merges: no pair comes twice")
        sizes = [1] * 256
        for i, (a, b) in enumerate(self.merges):
            sizes.append(sizes[a] + sizes[b])
            if sizes[-1] > LONGEST:  # merges that double would make 2^n bytes of n pairs
                raise UsageError(f"merges[{i}] makes a token of {sizes[-1]:,} bytes; at most {LONGEST:,} are taken")

    def __len__(self) -> int:
        return 256 + len(self.merges)

    @cached_property
    def rank(self) -> dict[Pair, int]:
        return {pair: 256 + i for i, pair in enumerate(self.merges)}

    @cached_property
    def pieces(self) -> list[bytes]:
        """What each token stands for."""
        pieces = [bytes([b]) for b in range(256)]
        for a, b in self.merges:
            pieces.append(pieces[a] + pieces[b])
        return pieces

    def encode(self, text: str) -> Int[Tensor, " length"]:
        words = WORD.findall(text) if self.merges else [text]
        tokens = {word: self.join(word) for word in set(words)}
        return torch.tensor(list(chain.from_iterable(tokens[word] for word in words)), dtype=torch.int64)

    def join(self, word: str) -> list[int]:
        """The tokens of one word: its bytes, the pair of lowest rank joined again and again."""
        parts = list(word.encode("utf-8", "surrogateescape"))
        while self.merges and len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self.rank.get(pair, len(self)))
            if best not in self.rank:
                break
            parts = joined(parts, best, self.rank[best])
        return parts

    def decode(self, tokens: Iterable[int]) -> str:
        """Bytes that are no UTF-8 become U+FFFD: a model may stop in the middle of a character."""
        return b"".join(self.pieces[int(t)] for t in tokens).decode("utf-8", "replace")

    @property
    def characters(self) -> Int[Tensor, " vocabulary"]:
        """How many characters begin in each token: continuation bytes of UTF-8 are 10xxxxxx."""
        return torch.tensor([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.pieces])


def joined(parts: list[int], pair: Pair, token: int) -> list[int]:
    """`parts` with `token` in place of every `pair`, from left to right."""
    out, i = [], 0
    while i < len(parts):
        if parts[i] == pair[0] and i + 1 < len(parts) and parts[i + 1] == pair[1]:
            out.append(token)
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


@config
class Words:
    """A token for each of the words, and marks of punctuation, that sentences are made of: 0 fills up a sentence that
    is shorter than others, 1 stands for any word that there is no token for. Capitals do not matter."""

    words: tuple[str, ...]
    """In lower case; words[i] is token i. The first two are what 0 and 1 are shown as."""

    def __post_init__(self) -> None:
        if len(self.words) < 2 or len(set(self.words)) < len(self.words):
            raise UsageError("words: two for what fills up and what is unknown, and no word twice")

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def number(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str) -> Int[Tensor, " length"]:
        return torch.tensor([self.number.get(word, UNKNOWN) for word in words_of(text)], dtype=torch.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        """The words with a space between, without what fills up."""
        return " ".join(self.words[int(t)] for t in tokens if int(t) != PAD)

    def unknown(self, text: str) -> list[str]:
        """Those words of a text that there is no token for."""
        return [word for word in words_of(text) if word not in self.number]

    @property
    def characters(self) -> Int[Tensor, " vocabulary"]:
        """How many characters each word has."""
        return torch.tensor([0, *(len(word) for word in self.words[1:])])


@config
class Letters:
    """A token for each letter (or phoneme) that texts of several lengths are written in: 0 fills up what is shorter."""

    letters: str
    """Token i + 1 stands for letters[i]. Each once, in the order of their code points."""

    def __post_init__(self) -> None:
        if not self.letters or list(self.letters) != sorted(set(self.letters)):
            raise UsageError("letters: one or more, each once, in the order of their code points")

    def __len__(self) -> int:
        return len(self.letters) + 1

    @cached_property
    def number(self) -> dict[str, int]:
        return {letter: i + 1 for i, letter in enumerate(self.letters)}

    def encode(self, text: str) -> Int[Tensor, " length"]:
        """Raises UsageError for a letter that there is no token for."""
        if unknown := sorted(set(text) - set(self.number)):
            raise UsageError(f"there is no token for {unknown[0]!r} in {text[:40]!r}; the letters are {self.letters!r}")
        return torch.tensor([self.number[letter] for letter in text], dtype=torch.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text, without what fills up."""
        return "".join(self.letters[int(t) - 1] for t in tokens if int(t) != PAD)

    @property
    def characters(self) -> Int[Tensor, " vocabulary"]:
        """How many characters each token has."""
        return torch.tensor([0, *(1 for _ in self.letters)])


PAD, UNKNOWN = 0, 1
"""Tokens of `Words`; the first of `Letters` too."""


def words_of(text: str) -> list[str]:
    return SPOKEN.findall(text.lower())


Symbols = Characters | BytePairs | Words | Letters
"""How text becomes tokens. Their fields tell them apart in JSON."""
