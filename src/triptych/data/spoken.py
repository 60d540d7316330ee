"""Recordings with what is said in them, as letters: what voices learn from, and what is wrong with some of them."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from triptych.core import Audio, Batch, Noise, Space, Text, Tokens, UsageError
from triptych.core.text import Letters
from triptych.data.files import sha256_of, shown

PER_SECOND = 62
"""Frames of a spectrogram, about: a text has fewer letters, with a blank beside each, than its sound has frames."""
ODD = 2.5
"""Times as many letters a second as usual, or as few, by which a text is suspected to be another's."""

Written = Callable[[str], str]
"""How a text is written in the letters that a model reads."""


@dataclass(frozen=True, eq=False)
class Spoken:
    """Recordings, each given its text. Satisfies `triptych.core.Data`."""

    data: Any
    rows: Tensor
    """Those that are served."""
    texts: tuple[str, ...]
    """What is said in them, as it is written."""
    letters: str
    length: int
    """Letters of the longest text."""
    written: Written
    notes: tuple[str, ...]
    """What a person should know of them."""

    @property
    def name(self) -> str:
        return str(self.data.name)

    @property
    def fingerprint(self) -> str:
        texts = hashlib.sha256("\n".join(self.texts).encode()).hexdigest()
        return sha256_of(self.data.fingerprint, self.letters, str(self.length), texts)

    @property
    def x(self) -> Audio:
        space: Audio = self.data.x
        return space

    @property
    def given(self) -> Tokens:
        return Tokens(len(self.letters) + 1, self.length, symbols=Letters(letters=self.letters))

    @property
    def columns(self) -> Mapping[str, Space]:
        return {"x": self.x, "text": self.given}

    @property
    def split(self) -> str:
        return str(self.data.split)

    @property
    def opened(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.data.opened
        return found

    @property
    def problems(self) -> list[Any]:
        return list(self.data.problems)

    def __len__(self) -> int:
        return len(self.rows)

    def samples(self, row: int) -> int:
        """How long a recording is."""
        return int(self.data.pack.sizes[int(self.data.locate(self.rows[row : row + 1])), 1])

    def gather(self, rows: Tensor, noise: Noise) -> Mapping[str, Tensor]:
        """x, the tokens of its text, and its length in samples."""
        batch = self.data.fetch(self.rows[rows], noise)
        space = self.given
        tokens = torch.cat([space.elements(self.texts[k], 1) for k in rows.tolist()])
        return {"x": batch.x, "text": tokens.to(noise.device), "lengths": batch.lengths}

    def fetch(self, rows: Tensor, noise: Noise) -> Batch[Any]:
        found = self.gather(rows, noise)
        return Batch(found["x"], Text(found["text"]), noise, lengths=found["lengths"])

    def held_out(self) -> "Spoken | None":
        held = self.data.held_out()
        return None if held is None else spoken_of(held, self.written, self.letters, self.length)

    def training_part(self) -> "Spoken":
        return spoken_of(self.data.training_part(), self.written, self.letters, self.length)


def spoken_of(data: Any, written: Written, letters: str = "", length: int = 0) -> Spoken:
    """Those recordings of a data set that can be learned from.

    `letters` and `length` are those of a model that is there already; else they are found in all texts, held-out ones
    included. Raises UsageError if the data are no recordings, have no texts, or none of them can be used.
    """
    captions = getattr(data, "captions", None)
    if data.x.kind != "audio":
        raise UsageError(f"text-to-speech is for recordings; these are {data.x}")
    if captions is None:
        raise UsageError(
            "no recording has a text: text-to-speech takes a metadata.csv of id|text as LJSpeech's, a table of "
            "file_name and text, or a text file beside each sound of the same name"
        )
    said = [written(caption) for caption in captions]
    if not letters:
        held = data.held_out()
        every = said + [written(c) for c in (held.captions or [] if held is not None else [])]
        letters, length = "".join(sorted(set("".join(every)))), max(map(len, every), default=0)
    sizes = data.pack.sizes[data.locate(torch.arange(len(data))).numpy(), 1]
    kept, left = list[int](), dict[str, list[str]]()
    for k, (text, size) in enumerate(zip(said, sizes.tolist(), strict=True)):
        reason = fault(text, size, data.x, letters, length)
        if reason:
            left.setdefault(reason, []).append(shown(text[:30]) or f"row {k}")
        else:
            kept.append(k)
    notes = [f"left out, {reason}: {len(some)} recordings, first {some[0]!r}" for reason, some in left.items()]
    if not kept:
        raise UsageError(f"no recording can be used: {'; '.join(notes)}")
    pace = {k: len(said[k]) / int(sizes[k]) for k in kept}
    usual = median(pace.values())
    odd = [k for k in kept if abs(math.log(pace[k] / usual)) > math.log(ODD)]
    if odd:
        notes.append(
            f"{len(odd)} recordings have {ODD:g} times as many letters a second as usual, or as few: do text and sound "
            f"belong together? first {shown(said[odd[0]][:30])!r}"
        )
    return Spoken(data, torch.tensor(kept), tuple(said[k] for k in kept), letters, length, written, tuple(notes))


def fault(text: str, size: int, x: Audio, letters: str, length: int) -> str:
    """Why a recording cannot be learned from; empty if it can."""
    seconds = x.length / x.rate
    if size >= x.length:
        return f"as long as {seconds:.1f} s or cut off there (x.length={2 * x.length} takes longer ones)"
    if not any(c.isalnum() for c in text):
        return "without a word in their text"
    if len(text) > length or set(text) - set(letters):
        return "with letters that the model does not know, or too many"
    if 2 * len(text) + 1 > size / x.rate * PER_SECOND:
        return "shorter than their text can be said in"
    return ""
