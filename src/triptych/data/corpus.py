"""Text as a source: files of UTF-8, one after another, as one long row of tokens.

What is held out is the end: the last tenth of all characters, unless files or folders are called train, test or
validation (see `splits`). An alphabet is that of the whole source; pairs of bytes are learned from the training part
alone. UTF-16 and UTF-32 are read where a byte order mark says so. Of .jsonl files, each line is an object whose field
`text` (or `content`) is a text, and a line end stands between two of them.

Text is never in memory as a whole: it is read piece by piece, once to look at it and once more to write its tokens.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import PurePosixPath

from triptych.core import BytePairs, Characters, DataError, Symbols, UsageError
from triptych.core.text import LONGEST, WORD, Pair, joined
from triptych.data import fast_pairs
from triptych.data.files import Problem, Tree, reason_of, shown
from triptych.data.metadata import is_table
from triptych.data.sink import Content, Sink
from triptych.data.splits import ambiguous, level
from triptych.media.encodings import BadText, encoding_of
from triptych.media.text import text_pieces
from triptych.options import TokenKind

MOST_TOKENS = 65536
MOST_BYTES = 1 << 36
"""Of text: it is never in memory, but has to lie on a disk as tokens."""
ENDINGS = (".txt", ".jsonl")
FIELDS = ("text", "content")
"""Of an object in a .jsonl file, the first that it has: its text."""
BETWEEN = re.compile(r"(?<=\S)(?=\s\S)|(?<=\w)(?=[^\w\s])|(?<=[^\w\s])(?=\w)")
"""Where one `WORD` ends and the next begins, whatever lies around."""
NEAR, LONGEST_WORD = 1 << 12, 1 << 24
"""Such a place is looked for among so many characters at the end of a piece; a word of more than so many is cut."""


def is_corpus(tree: Tree) -> bool:
    """Whether a folder or an archive is meant as text: a .txt or .jsonl file, and nothing but documents beside it."""
    endings = {PurePosixPath(name).suffix.lower() for name in tree.files}
    return any(map(is_text, tree.files)) and endings <= {*ENDINGS, ".md", ""}


def is_text(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not is_table(name)


def check_tokens(tokens: TokenKind | int | Symbols | None) -> None:
    """Raises UsageError for what is no way to make tokens."""
    if isinstance(tokens, Symbols) or tokens in (None, "characters", "bytes"):
        return
    if type(tokens) is not int or not 256 < tokens <= MOST_TOKENS:
        raise UsageError(
            f'tokens={tokens!r}: it is "characters", "bytes", or the size of a vocabulary of byte pairs '
            f"(257 to {MOST_TOKENS})"
        )


Pieces = Callable[[], Iterator[str]]
"""A text that can be read again and again, a piece at a time."""


@dataclass(frozen=True)
class TextFile:
    """One file, as it was found when it was looked at."""

    name: str
    split: str
    length: int
    """Characters."""
    alphabet: frozenset[str]
    encoding: str


def read_corpus(tree: Tree, sink: Sink) -> Content:
    """Raises DataError if no file holds text."""
    files, problems, notes = list[TextFile](), list(tree.problems), list[str]()
    names = [name for name in tree.files if is_text(name)]
    if (total := sum(tree.files[name] for name in names)) > MOST_BYTES:
        raise DataError(f"{tree.name} holds {total:,} bytes of text; we take {MOST_BYTES:,}: train on a part of it")
    splits = splits_of(names)
    for name in names:
        found = look(tree, name, splits.get(name, ""), problems)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            files.append(found)
    if not files:
        first = f"; the first: {problems[0]}" if problems else ""
        raise DataError(f"{tree.name} holds no text: {len(names)} files, {len(problems)} of them cannot be read{first}")
    if wide := [file for file in files if file.encoding != "utf-8"]:
        notes.append(
            f"read as {wide[0].encoding.upper()}, as a byte order mark says: {shown(wide[0].name)}{more(wide)}"
        )
    said = sorted({file.split for file in files})
    if "" in said and len(said) > 1:
        raise DataError(f"{tree.name} has text for {', '.join(s for s in said if s)} beside text for no split")
    if said == [""] and (words := ambiguous(part for name in names for part in named(name))) and len(files) > 1:
        quoted = ", ".join(f'"{shown(word)}"' for word in words)
        notes.append(f"{quoted}: taken for a title, as no other split lies beside; the last tenth of all is held out")
    by_split = {split: [file for file in files if file.split == split] for split in said}
    texts: dict[str, Pieces] = {split: partial(joined_files, tree, of) for split, of in by_split.items()}
    if "" in texts:
        whole, length = texts[""], sum(file.length for file in files) + len(files) - 1
        end = length - length // 10
        texts = {"train": partial(cut, whole, 0, end), "test": partial(cut, whole, end, length)}
    texts = dict(sorted(texts.items(), key=lambda item: item[0] != "train"))
    alphabet = frozenset("\n" if len(files) > 1 else "").union(*(file.alphabet for file in files))
    return tokenize(texts, alphabet, tree.name, sink, problems, notes)


def tokenize(
    texts: Mapping[str, Pieces],
    alphabet: Collection[str],
    name: str,
    sink: Sink,
    problems: list[Problem],
    notes: list[str],
) -> Content:
    """Appends the tokens of each split's text. Raises DataError for a character that asked-for symbols do not have."""
    asked = sink.options.tokens or "characters"
    symbols = asked if isinstance(asked, Symbols) else fit(texts, alphabet, asked)
    counts = dict.fromkeys(texts, 0)
    for split, text in texts.items():
        read = 0
        for piece in whole_words(text()) if isinstance(symbols, BytePairs) else text():
            try:
                tokens = symbols.encode(piece).numpy()
            except UsageError as e:
                after = f" after its first {read:,} characters" if read else ""
                raise DataError(f"{name}, {split} part{after}: {e}") from e
            if len(tokens):
                sink.append_tokens(tokens, symbols)
            counts[split] += len(tokens)
            read += len(piece)
    return Content(splits=counts, problems=problems, notes=notes)


def more(files: Sequence[TextFile]) -> str:
    return f" and {len(files) - 1} more" if len(files) > 1 else ""


def look(tree: Tree, name: str, split: str, problems: list[Problem]) -> TextFile | Problem:
    """What a file holds, or what is wrong with it; lines of it that are no text are added to the problems."""
    alphabet, length = set[str](), 0
    try:
        for piece in text_of(tree, name, problems):
            alphabet.update(piece)
            length += len(piece)
        encoding = encoding_of(next(tree.pieces(name), b"")[:4])[0]
    except BadText as e:
        return Problem(file=shown(name), reason=str(e))
    except OSError as e:
        return Problem(file=shown(name), reason=reason_of(e))
    if not length:
        return Problem(file=shown(name), reason="empty")
    return TextFile(name, split, length, frozenset(alphabet), encoding)


def text_of(tree: Tree, name: str, problems: list[Problem] | None = None) -> Iterator[str]:
    """A file's text, its line ends as "\\n". Raises BadText and OSError."""
    pieces = text_pieces(tree.pieces(name))
    return texts_in(pieces, name, [] if problems is None else problems) if name.lower().endswith(".jsonl") else pieces


def texts_in(pieces: Iterator[str], name: str, problems: list[Problem]) -> Iterator[str]:
    """The texts of a .jsonl file, each after the first with a line end before it."""
    begun = False
    for number, line in enumerate(lines_of(pieces), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            text = next((said[field] for field in FIELDS if field in said), None) if isinstance(said, dict) else None
            reason = "" if isinstance(text, str) else f"no JSON object with a text in its field {' or '.join(FIELDS)}"
        except (ValueError, RecursionError) as e:
            text, reason = "", f"not JSON ({e})"
        if reason or not isinstance(text, str):
            problems.append(Problem(file=f"{shown(name)}:{number}", reason=reason))
            continue
        yield "\n" + text if begun else text
        begun = True


def lines_of(pieces: Iterator[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces."""
    held = ""
    for piece in pieces:
        *whole, held = (held + piece).split("\n")
        yield from whole
    yield held


def joined_files(tree: Tree, files: list[TextFile]) -> Iterator[str]:
    """The texts of some files, a line end between. Raises DataError if one is no longer what it was."""
    for i, file in enumerate(files):
        if i:
            yield "\n"
        try:
            yield from text_of(tree, file.name)
        except (BadText, OSError) as e:
            raise DataError(f"{tree.name}: {shown(file.name)} changed while it was read ({e})") from e


def cut(whole: Pieces, start: int, stop: int) -> Iterator[str]:
    """The characters from `start` to `stop`."""
    at = 0
    for piece in whole():
        yield piece[max(0, start - at) : max(0, stop - at)]
        at += len(piece)
        if at >= stop:
            return


def whole_words(pieces: Iterator[str]) -> Iterator[str]:
    """The same text in pieces that end where a word does, so that the pairs in them are those of the whole."""
    held = ""
    for piece in pieces:
        held += piece
        ends = [match.start() for match in BETWEEN.finditer(held, max(0, len(held) - NEAR))]
        end = ends[-1] if ends else len(held) if len(held) > LONGEST_WORD else 0
        if end:
            yield held[:end]
            held = held[end:]
    yield held


def named(name: str) -> tuple[str, ...]:
    """What may say a split: the folders of a file, and its own name."""
    return (*PurePosixPath(name).parts[:-1], PurePosixPath(name).stem)


def splits_of(names: list[str]) -> dict[str, str]:
    """The split of each file that a folder or its own name puts in one: "train/a.txt", "test.txt", "wiki.valid.txt"."""
    places = {name: named(name) for name in names}
    found = level(list(places.values()))
    if found is None:
        return {}
    depth, splits = found
    return {
        name: splits[place[depth]].split
        for name, place in places.items()
        if len(place) > depth and place[depth] in splits
    }


def fit(texts: Mapping[str, Pieces], alphabet: Collection[str], kind: TokenKind | int) -> Symbols:
    """Symbols for a corpus: its characters, bytes, or a vocabulary of byte pairs."""
    if kind == "characters":
        return Characters(alphabet="".join(sorted(alphabet)))
    if kind == "bytes":
        return BytePairs()
    fast_pairs.tell(kind)
    learn = fast_pairs.fit if fast_pairs.installed() else fit_pairs
    return learn(whole_words(next(iter(texts.values()))()), kind - 256)


def fit_pairs(pieces: Iterable[str], most: int) -> BytePairs:
    """Joins the most frequent pair of tokens (of equals, the one of lower numbers), again and again.

    Stops after `most` merges, or when no pair comes twice. Only words that hold the pair are looked at again.
    """
    counts = Counter(word for piece in pieces for word in WORD.findall(piece))
    words, times = [list(w.encode()) for w in counts], list(counts.values())
    pairs, where = Counter[Pair](), defaultdict[Pair, set[int]](set)

    def tell(i: int, sign: int, mark: Callable[[set[int], int], None]) -> None:
        for pair in pairwise(words[i]):
            pairs[pair] += sign * times[i]
            mark(where[pair], i)

    for i in range(len(words)):
        tell(i, 1, set.add)
    merges, sizes = list[Pair](), [1] * 256
    while len(merges) < most and pairs:
        best, count = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        if count < 2:
            break
        if sizes[best[0]] + sizes[best[1]] > LONGEST:
            del pairs[best]
            continue
        sizes.append(sizes[best[0]] + sizes[best[1]])
        for i in list(where[best]):
            tell(i, -1, set.discard)
            words[i] = joined(words[i], best, 256 + len(merges))
            tell(i, 1, set.add)
        del pairs[best]
        merges.append(best)
    return BytePairs(merges=tuple(merges))
