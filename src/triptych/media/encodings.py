"""Bytes to text: which encoding a file is in, as its first bytes say it."""

import codecs
from collections.abc import Iterator

from triptych.media.work import BadFile

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark its own begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks."""


class BadText(BadFile):
    """Bytes that are no text we can read; the message says why and what would help."""


def encoding_of(start: bytes) -> tuple[str, int]:
    """The encoding of a text that starts like this, and the bytes of its mark. UTF-8 if it has no mark.

    Raises BadText for UTF-16 or UTF-32 without a mark: nothing else has a NUL in every other place.
    """
    for mark, encoding in MARKS:
        if start.startswith(mark):
            return encoding, len(mark)
    wide = {
        "UTF-32LE": start[1:4] == bytes(3),
        "UTF-32BE": start[:3] == bytes(3),
        "UTF-16LE": start[1:2] == b"\0",
        "UTF-16BE": start[:1] == b"\0",
    }
    if encoding := next((name for name, fits in wide.items() if fits and len(start) > 3), ""):
        raise BadText(f"{encoding} without a byte order mark, it seems; iconv -f {encoding} -t UTF-8 mends it")
    return "utf-8", 0


def explain(error: UnicodeDecodeError, before: int = 0) -> BadText:
    """What is wrong, and what may help; `before`: how many bytes of the file came before those that were decoded."""
    encoding, at = error.encoding.upper().replace("_", "-"), before + error.start
    wrong = f"byte {error.object[error.start]:#04x} at {at}"
    if encoding != "UTF-8":
        return BadText(f"not the {encoding} text that its byte order mark says it is ({wrong})")
    return BadText(f"not UTF-8 text: {wrong}; if it is Western text, iconv -f CP1252 -t UTF-8 may mend it")


def decode(data: bytes) -> str:
    """The text of a file. Raises BadText."""
    return "".join(decode_pieces(iter([data]))).removeprefix("\ufeff")  # a mark too many


def decode_pieces(pieces: Iterator[bytes]) -> Iterator[str]:
    """The text of a file that is read piece by piece, without its byte order mark. Raises BadText."""
    piece = next(pieces, b"")
    encoding, at = encoding_of(piece[:4])
    decoder, piece = codecs.getincrementaldecoder(encoding)(), piece[at:]
    while True:
        following = next(pieces, None)
        held = len(decoder.getstate()[0])  # of a character that was cut: decoded again, with what follows
        try:
            yield decoder.decode(piece, final=following is None)
        except UnicodeDecodeError as e:
            raise explain(e, at - held) from e
        if following is None:
            return
        at, piece = at + len(piece), following
