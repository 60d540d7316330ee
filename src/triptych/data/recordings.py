"""Sound files to levels.

One clip is one item: it is padded with silence at its end, or cut off there, to the length of the space. Where its
channels are not as many as are wanted, each is their mean. Rates are not converted: a clip of another rate is a bad
file, and so is one whose header promises more than there is.

WAV files of whole numbers (8, 16, 24 or 32 bits) are read by the standard library; everything else by `soundfile`, if
it is installed. Code s of b bits has the amplitude (2 s + 1) / (2^b - 1): its place among 2^b evenly spaced levels.
"""

import io
import wave
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from triptych.core import Audio, DataError
from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, shown
from triptych.data.folders import TOGETHER, Item, Kind, arrange, described
from triptych.data.sink import Content, Sink

SOUNDS = Kind(
    name="sound",
    formats=("WAV", "FLAC", "OGG", "AIFF", "MP3"),
    suffixes=frozenset((".wav", ".wave", ".flac", ".ogg", ".oga", ".aif", ".aiff", ".mp3")),
)
INSTALL = "pip install 'triptych[audio]'"


class BadClip(ValueError):
    """A file that is no recording we can use; the message says why."""


@dataclass(frozen=True)
class Clip:
    amplitude: np.ndarray
    """float32 [channels, samples] in [-1, 1]."""
    rate: int


def read_sounds(tree: Tree, sink: Sink) -> Content:
    """Puts every clip of `tree` into `sink`, split by split; splits, classes and captions are those of images.

    The space is the one that was asked for (`sound=`). If none was, it has the rate that most clips have, as many
    channels as the clip with most (1 or 2), the length of the longest, and 65,536 evenly spaced levels.

    Raises DataError if there is no clip to be had.
    """
    found = arrange(tree, SOUNDS)
    items, problems = found.items, list[Problem]()
    x = sink.options.sound or space_of(tree, items)
    kept, amplitudes = list[Item](), list[np.ndarray]()

    def flush() -> None:
        if amplitudes:
            level = x.nearest(x.compand(torch.from_numpy(np.stack(amplitudes)))).numpy()
            sink.append(level.astype(np.uint8 if x.levels <= 256 else np.int32), x.levels)
            amplitudes.clear()

    for item, clip in load_all(tree, items):
        try:
            if isinstance(clip, BadClip):
                raise clip
            amplitude, cut = fit(clip, x)
        except BadClip as e:
            problems.append(Problem(file=shown(item.file), reason=str(e)))
            continue
        if cut:
            problems.append(Problem(file=shown(item.file), reason=f"its last {cut:,} samples are cut off"))
        kept.append(item)
        amplitudes.append(amplitude)
        if len(amplitudes) == TOGETHER:
            flush()
    flush()
    return described(tree, SOUNDS, found, kept, problems, x)


def space_of(tree: Tree, items: list[Item]) -> Audio:
    """The space that these clips fill without being changed. Raises DataError if none can be read."""
    rates, longest, most, first = Counter[int](), dict[int, int](), 1, ""
    for item, clip in load_all(tree, items):
        if isinstance(clip, BadClip):
            first = first or f"{shown(item.file)}: {clip}"
            continue
        channels, length = clip.amplitude.shape
        rates[clip.rate] += 1
        longest[clip.rate] = max(length, longest.get(clip.rate, 0))
        most = max(most, min(channels, 2))
    if not rates:
        raise DataError(f"{tree.name}: none of {len(items)} sound files can be read; the first: {first}")
    rate = rates.most_common(1)[0][0]
    return Audio(most, longest[rate], rate=rate)


def load_all(tree: Tree, items: list[Item]) -> Iterator[tuple[Item, Clip | BadClip]]:
    """Each item with its clip, or with what is wrong with it."""
    for item in items:
        try:
            if tree.files[item.file] > LARGEST_FILE:
                raise BadClip(f"{tree.files[item.file]:,} bytes; at most {LARGEST_FILE:,} are read")
            yield item, decode(tree.read(item.file))
        except OSError as e:
            yield item, BadClip(reason_of(e))
        except BadClip as e:
            yield item, e


def fit(clip: Clip, x: Audio) -> tuple[np.ndarray, int]:
    """A clip's amplitudes, float32 [channels, length], and how many samples were cut off. Raises BadClip."""
    if clip.rate != x.rate:
        raise BadClip(f"{clip.rate:,} samples a second, where {x.rate:,} are wanted")
    amplitude = clip.amplitude
    if len(amplitude) != x.channels:
        amplitude = amplitude.mean(0, keepdims=True).repeat(x.channels, 0)
    length = amplitude.shape[1]
    return np.pad(amplitude[:, : x.length], ((0, 0), (0, max(0, x.length - length)))), max(0, length - x.length)


def decode(data: bytes) -> Clip:
    """A whole sound file. Raises BadClip."""
    if not data:
        raise BadClip("an empty file")
    clip = decode_wav(data) if data.startswith(b"RIFF") else None
    clip = clip or decode_other(data)
    if clip.amplitude.shape[1] == 0:
        raise BadClip("no samples in it")
    return clip


def decode_wav(data: bytes) -> Clip | None:
    """A WAV file of whole numbers; None for one of another encoding. Raises BadClip if it is damaged."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate, frames = file.getparams()[:4]
            stored = file.readframes(frames)
    except wave.Error as e:
        if str(e).startswith("unknown format"):
            return None
        raise BadClip(f"damaged ({e})") from e
    except EOFError as e:
        raise BadClip("damaged (it ends within its header)") from e
    if len(stored) < frames * channels * width:
        raise BadClip(
            f"cut short: its header says {frames:,} samples, and {len(stored) // (channels * width):,} are there"
        )
    if width == 1:
        code = np.frombuffer(stored, np.uint8).astype(np.int64) - 128
    else:  # the bytes of a number go to the top of 32 bits, so that its sign is in place
        wide = np.zeros((len(stored) // width, 4), np.uint8)
        wide[:, 4 - width :] = np.frombuffer(stored, np.uint8).reshape(-1, width)
        code = wide.view("<i4")[:, 0].astype(np.int64) >> 8 * (4 - width)
    amplitude = ((2 * code + 1) / (2.0 ** (8 * width) - 1)).astype(np.float32)
    return Clip(amplitude.reshape(-1, channels).T, rate)


def decode_other(data: bytes) -> Clip:
    """What `soundfile` reads. Raises BadClip, also if it is not installed."""
    try:
        import soundfile
    except ImportError as e:
        start = data[:4].decode("latin-1")
        raise BadClip(f"not a WAV file of whole numbers (it starts with {start!r}); for others: {INSTALL}") from e
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except Exception as e:  # soundfile's own errors, and those of its file objects
        raise BadClip(f"damaged, or not a sound file ({str(e).strip() or type(e).__name__})") from e
    if not np.isfinite(samples).all():
        raise BadClip("it holds NaN or infinity")
    return Clip(np.ascontiguousarray(samples.T.clip(-1, 1)), int(rate))
