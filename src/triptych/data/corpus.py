"""Text as a source: files of UTF-8, one after another, as one long row of tokens.

What is held out is the end: the last tenth of all characters, unless files or folders are called train, test or
validation. An alphabet is that of the whole source; pairs of bytes are learned from the training part alone.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal

from triptych.core import BytePairs, Characters, DataError, Symbols, UsageError
from triptych.core.text import WORD, Pair, joined
from triptych.data.files import MANY_BYTES, Problem, Tree, reason_of, shown
from triptych.data.sink import Content, Sink
from triptych.data.splits import SPLITS

TokenKind = Literal["characters", "bytes"]
MOST_TOKENS = 65536
CHUNK = 1 << 20
"""Tokens that are written at a time."""


def is_corpus(tree: Tree) -> bool:
    """Whether a folder or an archive is meant as text: a .txt file, and nothing but documents beside it."""
    endings = {PurePosixPath(name).suffix.lower() for name in tree.files}
    return ".txt" in endings and endings <= {".txt", ".md", ""}


def check_tokens(tokens: TokenKind | int | Symbols | None) -> None:
    """Raises UsageError for what is no way to make tokens."""
    if isinstance(tokens, Symbols) or tokens in (None, "characters", "bytes"):
        return
    if type(tokens) is not int or not 256 < tokens <= MOST_TOKENS:
        raise UsageError(
            f'tokens={tokens!r}: it is "characters", "bytes", or the size of a vocabulary of byte pairs '
            f"(257 to {MOST_TOKENS})"
        )


def read_corpus(tree: Tree, sink: Sink) -> Content:
    """Raises DataError if no file holds text."""
    texts, problems = dict[str, list[str]](), list(tree.problems)
    files = [name for name in tree.files if name.lower().endswith(".txt")]
    if (total := sum(tree.files[name] for name in files)) > MANY_BYTES:
        raise DataError(f"{tree.name} holds {total:,} bytes of text; we take {MANY_BYTES:,}: train on a part of it")
    for name in files:
        text = read_text(tree, name)
        if isinstance(text, Problem):
            problems.append(text)
        else:
            texts.setdefault(split_of(name), []).append(text)
    whole = {split: "\n".join(parts) for split, parts in texts.items()}
    if not any(whole.values()):
        first = f"; the first: {problems[0]}" if problems else ""
        raise DataError(f"{tree.name} holds no text: {len(files)} files, {len(problems)} of them cannot be read{first}")
    if "" in whole and len(whole) > 1:
        raise DataError(f"{tree.name} has text for {', '.join(s for s in whole if s)} beside text for no split")
    if "" in whole:
        text = whole[""]
        end = len(text) - len(text) // 10
        whole = {"train": text[:end], "test": text[end:]}
    return tokenize(dict(sorted(whole.items(), key=lambda item: item[0] != "train")), tree.name, sink, problems)


def tokenize(texts: dict[str, str], name: str, sink: Sink, problems: list[Problem]) -> Content:
    """Appends the tokens of each split's text. Raises UsageError for a character that asked-for symbols do not have."""
    asked = sink.options.tokens or "characters"
    symbols = asked if isinstance(asked, Symbols) else fit(texts, asked)
    counts = {}
    for split, text in texts.items():
        try:
            tokens = symbols.encode(text).numpy()
        except UsageError as e:
            raise DataError(f"{name}, {split} part: {e}") from e
        for start in range(0, len(tokens), CHUNK):
            sink.append_tokens(tokens[start : start + CHUNK], symbols)
        counts[split] = len(tokens)
    return Content(splits=counts, problems=problems)


def read_text(tree: Tree, name: str) -> str | Problem:
    """A file's text, its line ends as "\\n"; or what is wrong with it."""
    try:
        text = tree.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        reason = f"not UTF-8 text: byte {e.object[e.start]:#04x} at {e.start}; iconv -f LATIN1 -t UTF-8 may mend it"
        return Problem(file=shown(name), reason=reason)
    except OSError as e:
        return Problem(file=shown(name), reason=reason_of(e))
    return text.replace("\r\n", "\n") or Problem(file=shown(name), reason="empty")


def split_of(name: str) -> str:
    """The split that a file's folder or its own name says: "train/a.txt", "test.txt", "wiki.valid.txt"."""
    path = PurePosixPath(name.lower())
    words = [*path.parts[:-1], *re.split(r"[._-]", path.stem)]
    return next((SPLITS[w] for w in words if w in SPLITS), "")


def fit(texts: dict[str, str], kind: TokenKind | int) -> Symbols:
    """Symbols for a corpus: its characters, bytes, or a vocabulary of byte pairs."""
    if kind == "characters":
        return Characters(alphabet="".join(sorted(set().union(*texts.values()))))
    return BytePairs() if kind == "bytes" else fit_pairs(next(iter(texts.values())), kind - 256)


def fit_pairs(text: str, most: int) -> BytePairs:
    """Joins the most frequent pair of tokens (of equals, the one of lower numbers), again and again.

    Stops after `most` merges, or when no pair comes twice. Only words that hold the pair are looked at again.
    """
    counts = Counter(WORD.findall(text))
    words, times = [list(w.encode()) for w in counts], list(counts.values())
    pairs, where = Counter[Pair](), defaultdict[Pair, set[int]](set)

    def tell(i: int, sign: int, mark: Callable[[set[int], int], None]) -> None:
        for pair in pairwise(words[i]):
            pairs[pair] += sign * times[i]
            mark(where[pair], i)

    for i in range(len(words)):
        tell(i, 1, set.add)
    merges: list[Pair] = []
    while len(merges) < most and pairs:
        best, count = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        if count < 2:
            break
        for i in list(where[best]):
            tell(i, -1, set.discard)
            words[i] = joined(words[i], best, 256 + len(merges))
            tell(i, 1, set.add)
        del pairs[best]
        merges.append(best)
    return BytePairs(merges=tuple(merges))
