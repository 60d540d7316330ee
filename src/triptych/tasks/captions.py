"""What somebody writes, as the words that a model knows: which it does not know, and how they are read, is said."""

import difflib
import logging

import torch
from jaxtyping import Int
from torch import Tensor

from triptych.core import Space, UsageError
from triptych.core.classes import listed
from triptych.core.text import PAD, UNKNOWN, Words, words_of

log = logging.getLogger(__name__)

NEAR = 0.8
"""How alike a word and a known one are, at least, that it is taken for: "hearts" for "heart" (difflib's ratio)."""
SHOWN = 12


def heard(space: Space, text: str, name: str = "the text") -> Int[Tensor, " length"]:
    """The tokens of a caption, filled up. A word that is not known is taken for one that is written much like it, or
    else for any word (token `UNKNOWN`); either is said.

    Raises UsageError for an empty caption, one of more words than a model reads, and one of which it knows no word.
    """
    symbols = space.symbols
    if not isinstance(symbols, Words):
        return space.elements(text, 1)[0]
    words = words_of(text)
    if not words:
        raise UsageError(f"{name} is empty: say what the picture is to show, in words such as {some(symbols)}")
    length = space.shape[0]
    if len(words) > length:
        fits = " ".join(words[:length])
        raise UsageError(
            f"{shortened(text)!r} is {len(words)} words and marks long, and the model reads {length}: leave some out "
            f"({fits!r} fits)"
        )
    read = {word: taken_for(symbols, word) for word in words}
    if all(meant is None for meant in read.values()):
        raise UsageError(
            f"{shortened(text)!r}: the model knows none of these words{script(symbols, words)}; it was trained on "
            f"captions with words such as {some(symbols)}"
        )
    for word, meant in read.items():
        if meant != word:
            how = f"read as {meant!r}" if meant else "read as any word, as if it were not there"
            log.warning("the model does not know the word %r: it is %s", word, how)
    known = [read[word] for word in words]
    tokens = torch.full((length,), PAD, dtype=torch.int64)
    tokens[: len(words)] = torch.tensor([UNKNOWN if w is None else symbols.number[w] for w in known])
    return tokens


def taken_for(symbols: Words, word: str) -> str | None:
    """The known word that is meant; None if none is near."""
    if word in symbols.number:
        return word
    near = difflib.get_close_matches(word, symbols.words[2:], 1, NEAR)
    return near[0] if near else None


def script(symbols: Words, words: list[str]) -> str:
    """Says so where they are written in letters that no known word has."""
    letters = {letter for word in symbols.words[2:] for letter in word}
    strange = sorted({letter for word in words for letter in word if letter.isalpha()} - letters)
    if not strange or any(letter in letters for word in words for letter in word if letter.isalpha()):
        return ""
    return f" (nor any of the letters {listed(strange, 6)})"


def some(symbols: Words) -> str:
    """The commonest words."""
    return listed(symbols.words[2:], SHOWN)


def shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else f"{flat[:57]}..."
