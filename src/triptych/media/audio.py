"""Sound files to amplitudes and to levels, and back; and sheets of spectrograms to look at.

WAV files of plain numbers are read by `media.wav`; everything else by `soundfile`, if it is installed. A clip of
another rate than its space's is resampled (`media.resample`), and it is said; so is what nobody can hear, and what was
cut off where it was loudest.
"""

import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Audio, UsageError
from triptych.core.reading import read_file
from triptych.media import pictures
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.resample import resamplable, resampled
from triptych.media.wav import PIECE, BadClip, amplitudes, bounded, decode_wav, encode_wav
from triptych.media.work import Work

SUFFIXES = frozenset((".wav", ".wave", ".flac", ".ogg", ".oga", ".aif", ".aiff", ".mp3"))
MOST_SAMPLES = 1 << 28
"""Of a compressed file: what it unpacks to is held in memory."""
INSTALL = "pip install 'triptych[audio]'"

SILENT, FULL, CLIPPED = 1e-3, 0.999, 2e-3
"""The peak of a clip that nobody hears; and the share of samples at full scale from which on a clip counts as cut off
there."""
PAUSE = 0.15
"""Seconds of silence between clips in one file."""
BINS, COLUMNS, TRACE = 64, 128, 24
"""Frequencies (pixels high), moments (pixels wide), and the height of the waveform below them."""
LARGE = 16
"""Clips up to which each is drawn at twice the size."""
LEFT, RIGHT, BELOW, TICK, AXIS = 40, 12, 18, 4, 70
"""Pixels around a clip for its axes, the length of a tick, and the grey of both."""
DECIBELS = 60
"""How far below the loudest a spectrogram goes."""


@dataclass(frozen=True, eq=False)
class Clip(Work):
    """A recording that somebody brings, or takes home."""

    endings: ClassVar[tuple[str, ...]] = (".wav",)
    suffixes: ClassVar[frozenset[str]] = SUFFIXES
    amplitude: np.ndarray
    """float32 [channels, samples] in [-1, 1]."""
    rate: int
    name: str = "the sound"

    @classmethod
    def read(cls, source: "Path | str | bytes") -> "Clip":
        """From a file or its bytes. Raises UsageError naming the file and what is wrong with it."""
        name = "the sound" if isinstance(source, bytes) else str(source)
        try:
            found = decode(source if isinstance(source, bytes) else read_file(Path(source)))
        except BadClip as e:
            raise UsageError(f"{name}: {e}") from e
        except OSError as e:
            raise UsageError(f"{name} cannot be read: {e.strerror or e}") from e
        return cls(found.amplitude, found.rate, name)

    def encode(self, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """A WAV file of 16 bits."""
        self.check_ending(ending, f"sound as {ending or 'a name without an ending'}")
        return encode_wav(self.amplitude, self.rate)

    def image(self) -> Image.Image:
        """Its spectrogram above its waveform."""
        return sheet(Audio(*self.amplitude.shape, rate=self.rate), torch.from_numpy(self.amplitude)[None])


class AudioMedium(Medium[Audio]):
    """Each file is a clip: resampled where its rate is another, cut off at its end where it is longer than the space,
    and as long as it is where it is shorter. Where its channels are not as many as are wanted, each is their mean."""

    name: ClassVar[str] = "sound"
    formats: ClassVar[tuple[str, ...]] = ("WAV", "FLAC", "OGG", "AIFF", "MP3")
    suffixes: ClassVar[frozenset[str]] = SUFFIXES
    ending: ClassVar[str] = ".wav"
    endings: ClassVar[tuple[str, ...]] = (".wav", ".png", ".npz")
    pixelated: ClassVar[bool] = True
    work: ClassVar[type[Work]] = Clip

    def survey(self, files: Iterable[bytes]) -> Audio:
        """The rate that most clips have, as many channels as the clip with most (1 or 2), the length of the longest at
        that rate, and 65,536 evenly spaced levels."""
        rates, longest, most, failed = Counter[int](), dict[int, int](), 1, list[str]()
        for data in files:
            try:
                clip = decode(data)
            except BadClip as e:
                failed.append(str(e))
                continue
            channels, length = clip.amplitude.shape
            rates[clip.rate] += 1
            longest[clip.rate] = max(length, longest.get(clip.rate, 0))
            most = max(most, min(channels, 2))
        surveyed(failed, bool(rates))
        rate = rates.most_common(1)[0][0]
        return Audio(most, max(-(-length * rate // other) for other, length in longest.items()), rate=rate)

    def read(self, space: Audio, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """uint8 or uint16 [channels, at most length]."""
        clip = decode(data)
        for fault in faults(clip):
            say(fault)
        sound = at_rate(clip, space.rate, say)
        if (cut := sound.amplitude.shape[1] - space.length) > 0:
            say(f"its last {cut:,} samples are cut off")
        return levels(fit(sound, space), space)

    def write(self, space: Audio, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        return wav(space, x)

    def sheet(self, space: Audio, x: Tensor) -> Image.Image:
        return sheet(space, x)

    def how_to_fit(self, has: Audio, wants: Audio) -> str | None:
        return f"open the data with sound={wants}"

    def opens(self, space: Audio) -> dict[str, Any]:
        return {"sound": space}

    def together(self, space: Audio, x: Tensor, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        return wav(space, x) if ending == ".wav" else super().together(space, x, ending, about)


def decode(data: bytes) -> Clip:
    """A whole sound file. Raises BadClip."""
    if not data:
        raise BadClip("an empty file")
    found = decode_wav(data) if data[:4] in (b"RIFF", b"RF64") else None
    clip = Clip(*(found or decode_other(data)))
    if clip.amplitude.shape[1] == 0:
        raise BadClip("no samples in it")
    return clip


WHOLE = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
"""Bits of the encodings of whole numbers, as `soundfile` calls them."""


def decode_other(data: bytes) -> tuple[np.ndarray, int]:
    """What `soundfile` reads. Raises BadClip, also if it is not installed."""
    try:
        import soundfile
    except ImportError as e:
        start = data[:4].decode("latin-1")
        raise BadClip(f"not a WAV file of plain numbers (it starts with {start!r}); for others: {INSTALL}") from e
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            bits, rate, size = WHOLE.get(file.subtype), int(file.samplerate), file.frames * file.channels
            if size > MOST_SAMPLES:
                raise BadClip(f"{size:,} samples; at most {MOST_SAMPLES:,} are read")
            stored = file.read(dtype="int32" if bits else "float32", always_2d=True)
    except BadClip:
        raise
    except Exception as e:  # soundfile's own errors, and those of its file objects
        raise BadClip(f"damaged, or not a sound file ({str(e).strip() or type(e).__name__})") from e
    if bits:  # whole numbers come at the top of 32 bits
        return amplitudes(stored >> (32 - bits), bits).T, rate
    return bounded(stored).T, rate


def faults(clip: Clip) -> list[str]:
    """What is wrong with a recording that can be used all the same, and what to do about it."""
    size = np.abs(clip.amplitude)
    peak = float(size.max())
    if peak < SILENT:
        return ["silent: nothing in it is louder than -60 dB; leave it out, or record it again"]
    if float((size >= FULL).mean()) > CLIPPED:
        return ["clipped: its loudest parts are cut off at full scale; record it at a lower level"]
    return []


def at_rate(clip: Clip, rate: int, say: Callable[[str], object] = quiet) -> Clip:
    """The clip at another rate, which is said. Raises BadClip."""
    if clip.rate == rate:
        return clip
    if not resamplable(clip.rate, rate):
        raise BadClip(f"{clip.rate:,} samples a second, where {rate:,} are wanted: too odd a ratio to resample by")
    say(f"resampled from {clip.rate:,} to {rate:,} samples a second")
    return replace(clip, amplitude=resampled(clip.amplitude, clip.rate, rate), rate=rate)


def fit(clip: Clip, x: Audio) -> np.ndarray:
    """A clip's amplitudes at the rate of x, float32 [channels, at most x.length]. Raises BadClip."""
    clip = at_rate(clip, x.rate)
    amplitude = clip.amplitude[:, : x.length]
    return amplitude if len(amplitude) == x.channels else amplitude.mean(0, keepdims=True).repeat(x.channels, 0)


def levels(amplitude: np.ndarray, x: Audio) -> np.ndarray:
    """float32 [channels, k] -> uint8 or uint16 [channels, k], a few samples at a time."""
    out = np.empty(amplitude.shape, np.uint8 if x.levels <= 256 else np.uint16)
    for start in range(0, amplitude.shape[1], PIECE):
        part = np.ascontiguousarray(amplitude[:, start : start + PIECE])
        out[:, start : start + PIECE] = x.nearest(x.compand(torch.from_numpy(part))).numpy()
    return out


def wav(space: Audio, x: Float[Tensor, "n channels length"]) -> bytes:
    """Clips one after the other, as a WAV file of 16 bits. A clip of 65,536 levels, as they are read, is kept exactly.

    Raises UsageError if x is not in the space.
    """
    space.check(x)
    amplitude = F.pad(space.expand(x.detach().cpu().double()), (0, round(PAUSE * space.rate) if len(x) > 1 else 0))
    return encode_wav(amplitude.transpose(0, 1).flatten(1).numpy(), space.rate)


def sheet(space: Audio, x: Float[Tensor, "n channels length"], columns: int | None = None) -> Image.Image:
    """Each clip as a spectrogram (dark is loud) above its waveform, with axes of time and frequency.

    Channels are averaged. Raises UsageError if there is no clip, or x is not in the space.
    """
    space.check(x)
    if len(x) == 0:
        raise UsageError("sheet: there is no sound to show")
    sound = space.expand(x.detach().cpu().float()).mean(1)
    ink = torch.cat((spectrograms(sound), torch.zeros(len(x), 1, COLUMNS), traces(sound)), 1)
    scale, wide = 2 if len(x) <= LARGE else 1, columns or math.ceil(math.sqrt(len(x)))
    clips = [framed(space, clip, scale) for clip in pictures.cells(1 - 2 * ink[:, None])]
    rows = pictures.rows([clips[at : at + wide] for at in range(0, len(clips), wide)], pad=8)
    return pictures.captioned(rows, "spectrogram; below, the waveform")


def framed(space: Audio, clip: Image.Image, scale: int) -> Image.Image:
    """A spectrogram above its waveform, each pixel of it `scale` wide, with axes of frequency and of time."""
    width, high, bottom = scale * COLUMNS, scale * BINS, scale * clip.height
    frame = Image.new("L", (LEFT + width + RIGHT, bottom + BELOW), 255)
    frame.paste(clip.resize((width, bottom), Image.Resampling.NEAREST), (LEFT, 0))
    pen, font = ImageDraw.Draw(frame), ImageFont.load_default(10)
    pen.line([(LEFT - 1, 0), (LEFT - 1, bottom), (LEFT + width, bottom)], AXIS)
    for share, text in ticks(space.rate / 2, "Hz", 3 + scale):
        y = min(round(high * (1 - share)), high - 1)
        pen.line([(LEFT - TICK, y), (LEFT - 1, y)], AXIS)
        pen.text((LEFT - TICK - 2, max(y, 5)), text, AXIS, font, anchor="rm")
    for share, text in ticks(space.length / space.rate, "s", 3 * scale):
        x = LEFT + min(round(width * share), width - 1)
        pen.line([(x, bottom), (x, bottom + TICK)], AXIS)
        pen.text((x, bottom + TICK + 2), text, AXIS, font, anchor="mt")
    return frame


def ticks(end: float, unit: str, most: int) -> list[tuple[float, str]]:
    """Round values from 0 to `end`: what share of it each is, and its label; the first says the unit.

    The unit gets a prefix where that makes for shorter labels: 0.05 s is 50 ms, 4000 Hz are 4 kHz.
    """
    prefix, factor = ("k", 1e3) if end >= 1e3 else ("m", 1e-3) if end < 0.1 else ("", 1.0)
    step = pictures.nice(end / factor / most)
    marks = [step * k for k in range(math.floor(end / factor / step + 1e-9) + 1)]
    return [(mark * factor / end, f"{mark:g}" if k else f"{mark:g} {prefix}{unit}") for k, mark in enumerate(marks)]


def spectrograms(sound: Float[Tensor, "n length"]) -> Float[Tensor, "n bins columns"]:
    """The logarithm of the energy, from 0 (60 decibels below the loudest of all clips) to 1; high frequencies first."""
    at = (torch.arange(COLUMNS) + 0.5) * sound.shape[1] / COLUMNS  # a window in the middle of each column
    frames = F.pad(sound, (BINS, BINS)).unfold(1, 2 * BINS, 1)[:, at.long()] * torch.hann_window(2 * BINS)
    level = 20 * torch.fft.rfft(frames).abs()[..., 1:].clamp_min(1e-9).log10()
    return ((level - level.max()) / DECIBELS + 1).clamp(0, 1).mT.flip(1)


def traces(sound: Float[Tensor, "n length"]) -> Float[Tensor, "n height columns"]:
    """From the lowest to the highest amplitude of each moment, in ink."""
    low, high = -F.adaptive_max_pool1d(-sound, COLUMNS), F.adaptive_max_pool1d(sound, COLUMNS)
    height = torch.from_numpy(np.linspace(1, -1, TRACE, dtype=np.float32))[:, None]
    half = 1 / (TRACE - 1)
    return ((height <= high[:, None] + half) & (height >= low[:, None] - half)).float()
