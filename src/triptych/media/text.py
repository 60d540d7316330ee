"""Text: files of UTF-8 (or what a byte order mark says) as tokens, and texts that somebody brings or takes home."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from triptych.core import Characters, Tokens, UsageError
from triptych.core.reading import read_file
from triptych.media import pictures
from triptych.media.encodings import decode_pieces
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.work import BadFile, Work

SHOWN = 6
"""Texts on a sheet."""


@dataclass(frozen=True, eq=False)
class Writing(Work):
    """A text: words that a model is asked with, or what it wrote."""

    endings: ClassVar[tuple[str, ...]] = (".txt",)
    suffixes: ClassVar[frozenset[str]] = frozenset((".txt", ".md"))
    text: str
    name: str = "the text"

    @classmethod
    def read(cls, source: "Path | str") -> "Writing":
        """The text of a file, if a path is given; a string is the text itself. Raises UsageError."""
        if isinstance(source, str):
            return cls(source)
        try:
            return cls(text_of(read_file(source)), str(source))
        except BadFile as e:
            raise UsageError(f"{source}: {e}") from e
        except OSError as e:
            raise UsageError(f"{source} cannot be read: {e.strerror or e}") from e

    def encode(self, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        self.check_ending(ending, f"a text as {ending or 'a name without an ending'}")
        return lines([self.text])

    def image(self) -> Image.Image:
        return pictures.page([self.text], width=48, height=12)


class TextMedium(Medium[Tokens]):
    """Each file holds one text. A corpus is one long text, of which windows are served (see `data.corpus`)."""

    name: ClassVar[str] = "text"
    formats: ClassVar[tuple[str, ...]] = ("TXT",)
    suffixes: ClassVar[frozenset[str]] = frozenset((".txt",))
    ending: ClassVar[str] = ".txt"
    endings: ClassVar[tuple[str, ...]] = (".txt", ".png", ".npz")
    work: ClassVar[type[Work]] = Writing

    def survey(self, files: Iterable[bytes]) -> Tokens:
        """Its characters are tokens; as long as the longest."""
        alphabet, longest, failed = set[str](), 0, list[str]()
        for data in files:
            try:
                text = text_of(data).removesuffix("\n")
            except BadFile as e:
                failed.append(str(e))
                continue
            alphabet.update(text)
            longest = max(longest, len(text))
        surveyed(failed, longest > 0)
        return Tokens(len(alphabet), longest, symbols=Characters(alphabet="".join(sorted(alphabet))))

    def read(self, space: Tokens, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """int64 [length]: the first tokens of a text, whose last line end is the file's. Raises BadFile for one of
        fewer."""
        tokens = tokens_of(space, text_of(data).removesuffix("\n"))
        if len(tokens) < space.length:
            raise BadFile(f"{len(tokens)} tokens, where {space.length} are wanted")
        return tokens[: space.length]

    def write(self, space: Tokens, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        return f"{self.text(space, x)[0]}\n".encode()

    def sheet(self, space: Tokens, x: Tensor) -> Image.Image:
        """A page of the first few texts."""
        return pictures.page(self.text(space, x[:SHOWN]))

    def text(self, space: Tokens, x: Tensor) -> list[str]:
        """The text of each sequence of tokens, or their numbers if they stand for none."""
        if space.symbols is None:
            return [" ".join(map(str, row)) for row in x.tolist()]
        return [space.decode(row) for row in x.cpu()]

    def opens(self, space: Tokens) -> dict[str, object]:
        return {"tokens": space.symbols, "length": space.length} if space.symbols is not None else {}

    def how_to_fit(self, has: Tokens, wants: Tokens) -> str | None:
        if has.symbols != wants.symbols and has.symbols is not None and wants.symbols is not None:
            return "their tokens stand for other text: open the data with tokens= the model's own, config.x.symbols"
        if has.length != wants.length and (has.vocabulary, has.symbols) == (wants.vocabulary, wants.symbols):
            return f"open the data with length={wants.length}"
        return None

    def together(self, space: Tokens, x: Tensor, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        if ending == ".txt":
            return lines(self.text(space, x))
        return super().together(space, x, ending, about)


def text_of(data: bytes) -> str:
    """The text of a file, its line ends as "\\n". Raises BadFile."""
    return "".join(text_pieces(iter([data]))).removeprefix("\ufeff")  # a mark too many


def text_pieces(pieces: Iterator[bytes]) -> Iterator[str]:
    """The same of a file that is read piece by piece, as a corpus is."""
    held = ""
    for piece in decode_pieces(pieces):
        text = held + piece
        held = "\r" if text.endswith("\r") else ""  # its "\n" may come with the next piece
        yield text[: len(text) - len(held)].replace("\r\n", "\n")
    yield held


def tokens_of(space: Tokens, text: str) -> np.ndarray:
    """int64 [m]. Raises BadFile for a character that there is no token for."""
    try:
        return space.encode(text).numpy()
    except UsageError as e:
        raise BadFile(str(e)) from e


def lines(texts: list[str]) -> bytes:
    """One text, or several with a numbered line before each, ended by a line end."""
    numbered = texts if len(texts) == 1 else [f"--- {i} ---\n{text}" for i, text in enumerate(texts)]
    return ("\n".join(numbered) + "\n").encode("utf-8", "replace")
