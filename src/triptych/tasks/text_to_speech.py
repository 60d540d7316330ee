"""Text to speech: words, spoken by the voice of the recordings that a model was trained on.

In training each recording belongs to its text: a folder as LJSpeech's or piper's, with metadata.csv, or sound files
with a text file or a row of a table each. The alphabet is that of the texts (in small letters); with phonemes="ru" (a
voice of espeak-ng, which has to be installed) texts are written as they sound. What a spectrogram is, with the mean and
the deviation of these very recordings, is measured before training and saved with the run.

    triptych train text-to-speech --data ljspeech-like-folder --out runs/voice
    triptych train text-to-speech --data ljspeech-like-folder --model tacotron-16k --out runs/voice
    triptych train text-to-speech --data numbers/ --model codec-numbers --out runs/numbers
    triptych apply runs/voice --text "Some words. And more." --out a.wav --length-scale 1.1
    cat letter.txt | triptych apply runs/voice --text - --out letter.wav

Sound is made of the voice's spectrograms by Griffin-Lim; or, with --vocoder, by a run of the task `vocoder`. `codec`
makes no spectrograms: it writes codes behind the letters, and takes --guidance and --best-of.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from triptych.core import (
    Audio,
    Batch,
    Generative,
    Given,
    ItemNoise,
    Noise,
    Positive,
    Sampling,
    Space,
    Text,
    UsageError,
    config,
)
from triptych.core.text import Letters
from triptych.data.spoken import Spoken, spoken_of
from triptych.media.audio import Clip
from triptych.media.pictures import cells, page
from triptych.media.text import Writing
from triptych.metrics import Measurement
from triptych.metrics.speech import distortion
from triptych.nn.mel import Mel, MelSpectrogram, pictured, usual
from triptych.tasks.listening import spoken_well
from triptych.tasks.phonemes import phonemes
from triptych.tasks.speaking import check_speaks, spoken
from triptych.tasks.task import Posed, Question
from triptych.tasks.vocoder import vocoder_of

log = logging.getLogger(__name__)

PAUSE = 0.25
"""Seconds between sentences."""
ENDS = re.compile(r"(?<=[.!?…。])\s+|\n+")
MEASURED = 100
"""Recordings that the mean and the deviation are measured on, at most."""
ALIGNED = (256, 128)
"""Pixels, wide and high, of a picture of an alignment."""


@dataclass(frozen=True, eq=False)
class Utterance(Question):
    """What is to be said, sentence by sentence, and how slowly."""

    sentences: tuple[Text, ...] = ()
    scale: float = 1.0
    vocoder: Any = None
    """The model that makes sound of spectrograms; None: Griffin-Lim."""


@config
class TextToSpeech:
    name: ClassVar[str] = "text-to-speech"
    step: ClassVar[None] = None

    phonemes: str = ""
    """A voice of espeak-ng ("en-us", "ru"): texts become phonemes. Empty: letters."""
    letters: str = ""
    """What texts are written in, found in the data."""
    length: int = 0
    """Letters of the longest text, found in the data."""
    mel: Mel | None = None
    """What a spectrogram is, its mean and deviation found in the data."""

    @property
    def model(self) -> str:
        return "mas-tts-16k"

    @property
    def told(self) -> Mapping[str, Any]:
        return {"mel": self.mel} if self.mel is not None else {}

    def opens(self, x: Any) -> dict[str, Any]:
        return {"sound": x}

    def arranged(self, data: Any) -> Spoken:
        """The recordings that have a text, as letters or phonemes. Raises UsageError if there are none."""
        return spoken_of(data, self.written, self.letters, self.length)

    def settled(self, data: Any) -> "TextToSpeech":
        """With the alphabet and the spectrograms of the data, if they are not known yet."""
        if self.mel is not None:
            return self
        return replace(self, letters=data.letters, length=data.length, mel=measured(data))

    def written(self, text: str) -> str:
        """A text as the model reads it: small letters or phonemes, one space between words."""
        plain = phonemes(text, self.phonemes) if self.phonemes else text.lower()
        return " ".join(plain.split())

    def said(self, data: Any) -> list[str]:
        mel = self.mel
        assert mel is not None
        kind = f"phonemes of {self.phonemes}" if self.phonemes else "letters"
        return [
            *data.notes,
            f"texts in {len(self.letters)} {kind}, {self.length} at most: {self.letters}",
            f"spectrograms: {mel.mels} bands, {mel.rate / mel.hop:.1f} frames a second; mean {mel.mean:.3f}, deviation "
            f"{mel.deviation:.3f}, of these recordings",
        ]

    def files(self) -> Mapping[str, bytes]:
        return {}

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x: Any = columns["x"]
        if x.kind != "audio":
            raise UsageError(f"{self.name} is for recordings; x holds {x}")
        return x, columns["text"]

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        return columns["x"], Text(columns["text"])

    def ask(
        self,
        model: Generative[Any],
        *,
        text: Path | str,
        length_scale: Positive = 1.0,
        vocoder: str = "",
        guidance: float = 1.0,
        best_of: int = 1,
        temperature: float = 1.0,
    ) -> Utterance:
        """text: what is to be said: a text, or a file with one; "-" reads standard input.
        length_scale: 1.2 speaks slower, 0.8 faster; not of codec.
        vocoder: the folder of a run of the task `vocoder`, which makes the sound in place of Griffin-Lim.
        guidance: of codec, how far it is to follow the text: 1 as it learned, 2 closer, of less variety.
        best_of: of codec, of so many tries the one whose codes the text makes most likelier.
        temperature: of codec, below 1 likelier sounds and less variety.
        """
        how = Sampling(guidance=guidance, best_of=best_of, temperature=temperature)
        check_speaks(model, length_scale, how)
        hears = vocoder_of(vocoder, model) if vocoder else None
        writing = Writing.read(sys.stdin.read() if text == "-" else text)
        written = [self.written(sentence) for sentence in ENDS.split(writing.text)]
        unknown = sorted(set("".join(written)) - set(self.letters))
        if unknown:
            log.warning("the model has not learned to say %s: left out", " ".join(unknown))
        plain = ["".join(c if c in self.letters else " " for c in sentence) for sentence in written]
        pieces = [piece for sentence in plain for piece in cut(" ".join(sentence.split()), self.length)]
        if not any(c.isalnum() for piece in pieces for c in piece):
            raise UsageError(f"there is nothing to say in {writing.name}: the model knows {self.letters!r}")
        space = model.config.given
        said = tuple(Text(space.elements(piece, 1).to(model.device)) for piece in pieces if piece)
        return Utterance(writing, None, sentences=said, scale=length_scale, vocoder=hears, how=how)

    def answer(self, model: Any, question: Question, *, seed: int, tile: int | None) -> Clip:
        """The sentences one after the other, with a pause between."""
        assert isinstance(question, Utterance)
        rate, parts = model.config.x.rate, list[np.ndarray]()
        for k, given in enumerate(question.sentences):
            if question.vocoder is None:
                sound = spoken(model, given, seed=seed, item=k, scale=question.scale, how=question.how)
            else:
                mel, frames = model.spectrogram(ItemNoise(seed, [k], model.device), given, question.scale)
                whole = question.vocoder.wave(pictured(model.config.mel, mel))[0, 0]
                sound = whole[: int(frames[0]) * model.config.mel.hop]
            parts += [np.zeros(round(PAUSE * rate), np.float32)] if k else []
            parts.append(sound.float().cpu().numpy())
        return Clip(np.concatenate(parts)[None], rate, question.brought.name)

    def before(self, question: Question) -> Writing:
        assert isinstance(question.brought, Writing)
        return question.brought

    def shown(self, given: Given, like: Tensor) -> list[Any]:
        """The texts."""
        assert isinstance(given, Text)
        symbols = Letters(letters=self.letters)
        return [page([symbols.decode(row.tolist())], width=32, height=8) for row in given.tokens]

    def looks(self, model: Any, batch: Batch[Any]) -> list[Image.Image]:
        """Which letter each moment of the recordings is: the first letter on top, time from left to right."""
        found = []
        for k in range(len(batch.x) if hasattr(model, "alignment") else 0):
            samples = batch.x.shape[2] if batch.lengths is None else int(batch.lengths[k])
            given = batch.given[slice(k, k + 1)]
            attention, _ = model.alignment(batch.x[k : k + 1, :, :samples], given)
            level = attention.float() / attention.float().amax(1, keepdim=True).clamp_min(1e-6)
            found += [picture.resize(ALIGNED, Image.Resampling.BILINEAR) for picture in cells(1 - 2 * level[:, None])]
        return found

    def measure(self, x: Float[Tensor, "n 1 t"], truth: Float[Tensor, "n 1 t"], given: Given) -> list[Measurement]:
        """Mel-cepstral distortion to the recording of the same text, and to that of another."""
        assert self.mel is not None
        own = distortion(x, truth, self.mel)
        front = MelSpectrogram(self.mel)
        phase = ItemNoise(0, range(len(truth))).uniform(self.mel.frames(truth.shape[2]), self.mel.fft // 2 + 1)
        copies = [front.invert(front(t), p.T[None]) for t, p in zip(truth, phase, strict=True)]
        copied = distortion(torch.stack(copies)[..., : truth.shape[2]], truth, self.mel)
        protocol = (
            f"13 mel-cepstral coefficients without the first, of {self.mel.mels} bands, "
            f"{self.mel.rate / self.mel.hop:.1f} frames a second, silence at either end cut off, time warped"
        )
        many = f"{len(truth)} held-out sentences"
        shared: dict[str, Any] = {"unit": "dB", "better": "lower", "n": many}
        found = [
            Measurement(
                name="MCD",
                value=own,
                floor=copied,
                protocol=f"{protocol}; floor: the recording itself, by way of its spectrogram and Griffin-Lim",
                **shared,
            )
        ]
        if len(x) > 1:
            value = distortion(x.roll(1, 0), truth, self.mel)
            found.append(
                Measurement(
                    name="MCD, shuffled text",
                    value=value,
                    protocol=f"{protocol}; what was said of another sentence",
                    **shared,
                )
            )
        return found

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {}

    def further(self, model: Any, test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """What a recognizer that is trained apart hears; how long speech takes; and how likely spectrograms are."""
        assert self.mel is not None
        unit = "phoneme" if self.phonemes else "letter"
        return spoken_well(model, test.data, self.mel, unit, limit=limit, seed=seed)


def cut(text: str, most: int) -> list[str]:
    """A text in pieces of so many letters at most, cut behind a comma or between words where that can be."""
    found = []
    while len(text) > most:
        at = max(text.rfind(", ", 0, most), 0) or max(text.rfind(" ", 0, most), 0) or most
        found.append(text[:at].strip())
        text = text[at:].strip(" ,")
    return [*found, text]


def measured(data: Spoken) -> Mel:
    """The usual spectrogram of recordings of this rate, with the mean and deviation of some of them."""
    x: Audio = data.x
    mel = usual(x.rate)
    front, total = MelSpectrogram(mel), np.zeros(3)
    for row in (torch.arange(min(MEASURED, len(data))) * len(data) // min(MEASURED, len(data))).tolist():
        batch = data.fetch(torch.tensor([row]), ItemNoise(0, [row]))
        values = front(batch.x[:, 0, : data.samples(row)]).double()
        total += [values.numel(), values.sum().item(), values.square().sum().item()]
    mean = total[1] / total[0]
    return replace(mel, mean=round(mean, 4), deviation=round(float((total[2] / total[0] - mean**2) ** 0.5), 4))
