"""Byte pairs learned by the library `tokenizers`, where it is installed: the same vocabulary, sooner.

The library joins pairs of characters. So a byte is written as one, and words, which pairs are never joined across, are
told apart as ours are, with a mark between. Of pairs that come equally often, both take the one of lower numbers.
(Texts are made tokens of by ours in either case: it joins each word once, and is faster at that.)
"""

import importlib.util
import json
import logging
from collections.abc import Iterable

from triptych.core import BytePairs
from triptych.core.text import LONGEST, WORD

log = logging.getLogger(__name__)

WRITE = {byte: 0x100 + byte for byte in range(256)}
"""The character that stands for each byte: in their order, and none of them the mark."""
MARK = "|"
LARGE = 4096
"""Tokens from which on it is worth a word that the library is missing."""


def installed() -> bool:
    return importlib.util.find_spec("tokenizers") is not None


def tell(vocabulary: int) -> None:
    """Says what would be faster, where it is worth it."""
    if vocabulary >= LARGE and not installed():
        log.warning(
            "%s byte pairs are learned by Python alone; with pip install 'triptych[tokenizers]' it is many times as "
            "fast, and they are the same",
            f"{vocabulary:,}",
        )


def written(text: str) -> str:
    """A text as the library is given it: each byte a character, a mark between words."""
    words = WORD.findall(text)
    return MARK.join(word.encode("utf-8", "surrogateescape").decode("latin-1").translate(WRITE) for word in words)


def fit(pieces: Iterable[str], most: int) -> BytePairs:
    """What `data.corpus.fit_pairs` makes of these pieces of a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(MARK, "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=256 + most,
        min_frequency=2,
        initial_alphabet=[chr(code) for code in WRITE.values()],
        max_token_length=LONGEST,
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(written, pieces), trainer)
    number, merges = tokenizer.get_vocab(), json.loads(tokenizer.to_str())["model"]["merges"]
    return BytePairs(merges=tuple((number[a], number[b]) for a, b in merges))
