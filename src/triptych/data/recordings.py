"""Sound files to levels.

One clip is one item: it is cut off at its end where it is longer than the space, and served with silence after it where
it is shorter. Where its channels are not as many as are wanted, each is their mean. Rates are not converted: a clip of
another rate is a bad file, and so is one whose header promises more than there is.

WAV files of whole numbers (8, 16, 24 or 32 bits) or of floating point are read here; everything else by `soundfile`, if
it is installed. Code s of b bits has the amplitude (2 s + 1) / (2^b - 1): its place among 2^b evenly spaced levels,
whatever kind of file it comes from.
"""

import io
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from triptych.core import Audio, DataError
from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, shown
from triptych.data.folders import Item, Kind, arrange, described
from triptych.data.sink import Content, Sink

SOUNDS = Kind(
    name="sound",
    formats=("WAV", "FLAC", "OGG", "AIFF", "MP3"),
    suffixes=frozenset((".wav", ".wave", ".flac", ".ogg", ".oga", ".aif", ".aiff", ".mp3")),
)
PIECE = 1 << 20
"""Samples that are converted at a time."""
UNEVEN = 8
"""So many times the median is a length that is worth a word."""
MOST_SAMPLES = 1 << 28
"""Of a compressed file: what it unpacks to is held in memory."""
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
    kept = list[Item]()
    for item, clip in load_all(tree, items):
        try:
            if isinstance(clip, BadClip):
                raise clip
            cut = put(clip, x, sink)
        except BadClip as e:
            problems.append(Problem(file=shown(item.file), reason=str(e)))
            continue
        if cut:
            problems.append(Problem(file=shown(item.file), reason=f"its last {cut:,} samples are cut off"))
        kept.append(item)
    lengths = sorted(length for _, length in sink.sizes)
    if lengths and lengths[-1] > UNEVEN * lengths[len(lengths) // 2] and sink.options.sound is None:
        found.notes.append(
            f"the longest of {len(lengths)} clips has {lengths[-1]:,} samples, half of them at most "
            f"{lengths[len(lengths) // 2]:,}; all are served as long as the longest, unless a model takes less (sound=)"
        )
    return described(tree, SOUNDS, found, kept, problems, x)


def put(clip: Clip, x: Audio, sink: Sink) -> int:
    """Appends a clip, brought to `x`; returns how many samples were cut off. Raises BadClip."""
    amplitude, cut = fit(clip, x)
    sink.append_sound((levels(part, x) for part in pieces(amplitude)), x)
    return cut


def levels(amplitude: np.ndarray, x: Audio) -> np.ndarray:
    """float32 [channels, k] -> uint8 or uint16 [k, channels]: frame by frame, as clips are stored."""
    level = x.nearest(x.compand(torch.from_numpy(amplitude))).numpy().T
    return level.astype(np.uint8 if x.levels <= 256 else np.uint16)


def pieces(amplitude: np.ndarray) -> Iterator[np.ndarray]:
    """A few samples at a time: one long recording is not to fill the memory."""
    for start in range(0, amplitude.shape[1], PIECE):
        yield np.ascontiguousarray(amplitude[:, start : start + PIECE])


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
    """A clip's amplitudes, float32 [channels, at most x.length], and how many samples were cut off. Raises BadClip."""
    if clip.rate != x.rate:
        raise BadClip(f"{clip.rate:,} samples a second, where {x.rate:,} are wanted")
    cut = max(0, clip.amplitude.shape[1] - x.length)
    amplitude = clip.amplitude[:, : x.length]
    if len(amplitude) != x.channels:
        amplitude = amplitude.mean(0, keepdims=True).repeat(x.channels, 0)
    return amplitude, cut


def decode(data: bytes) -> Clip:
    """A whole sound file. Raises BadClip."""
    if not data:
        raise BadClip("an empty file")
    clip = decode_wav(data) if data[:4] in (b"RIFF", b"RF64") else None
    clip = clip or decode_other(data)
    if clip.amplitude.shape[1] == 0:
        raise BadClip("no samples in it")
    return clip


def amplitudes(code: np.ndarray, bits: int) -> np.ndarray:
    """float32 of codes of so many bits, a few at a time."""
    amplitude = np.empty(code.shape, np.float32)
    for start in range(0, len(code), PIECE):
        part = code[start : start + PIECE].astype(np.int64)
        amplitude[start : start + PIECE] = (2 * part + 1) / (2.0**bits - 1)
    return amplitude


@dataclass(frozen=True)
class Header:
    """What a WAV file says of its samples."""

    encoding: int
    """PCM or FLOAT, or another, which is not read here."""
    channels: int
    rate: int
    width: int
    """Bytes of one sample of one channel."""


PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
STREAMED = 0x7FFFF000
"""A length from here on is that of a writer who did not know it: to the end of the file."""


def decode_wav(data: bytes) -> Clip | None:
    """A WAV file of whole numbers or floating point; None for one of another encoding. Raises BadClip."""
    header: Header | None = None
    at, long = 12, 0
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = data[at + 8 : at + 8 + min(size, 40)]
        if kind == b"ds64" and len(body) >= 16:
            long = struct.unpack_from("<Q", body, 8)[0]  # of the data, where it is too long for its own chunk
        elif kind == b"fmt ":
            header = header_of(body)
        elif kind == b"data":
            if header is None:
                raise BadClip("damaged (its samples come before the header that describes them)")
            if header.encoding not in (PCM, FLOAT):
                return None
            size = long if size == 0xFFFFFFFF and long else size
            return samples(header, memoryview(data)[at + 8 :], None if size >= STREAMED and size != long else size)
        at += 8 + size + size % 2
    raise BadClip("damaged (it ends within its header)")


def header_of(body: bytes) -> Header:
    """Raises BadClip for what makes no sense."""
    if len(body) < 16:
        raise BadClip("damaged (its header is too short)")
    encoding, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", body)
    if encoding == EXTENSIBLE and len(body) >= 26:
        encoding = struct.unpack_from("<H", body, 24)[0]
    if encoding not in (PCM, FLOAT):
        return Header(encoding, channels, rate, 0)
    if not channels or not rate:
        raise BadClip(f"its header says {channels} channels and {rate} samples a second")
    width = block // channels if block and block % channels == 0 else -(-bits // 8)
    if width not in ((4, 8) if encoding == FLOAT else (1, 2, 3, 4)) or not 8 * width - 8 < bits <= 8 * width:
        raise BadClip(f"its header says {bits} bits in {width} bytes a sample; whole numbers of 8 to 32 bits are read")
    return Header(encoding, channels, rate, width)


def samples(header: Header, stored: memoryview, size: int | None) -> Clip:
    """The clip that these bytes are; `size` of them, or all there are. Raises BadClip if there are fewer."""
    frame = header.channels * header.width
    if size is not None and len(stored) < size // frame * frame:
        raise BadClip(f"cut short: its header says {size // frame:,} samples, and {len(stored) // frame:,} are there")
    stored = stored[: (len(stored) if size is None else size) // frame * frame]
    if header.encoding == FLOAT:
        amplitude = bounded(np.frombuffer(stored, f"<f{header.width}"))
    elif header.width == 1:
        amplitude = amplitudes(np.frombuffer(stored, np.uint8).astype(np.int16) - 128, 8)
    elif header.width == 3:  # to the top of 32 bits, so that the sign is in place
        wide = np.zeros((len(stored) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(stored, np.uint8).reshape(-1, 3)
        amplitude = amplitudes(wide.view("<i4")[:, 0] >> 8, 24)
    else:
        amplitude = amplitudes(np.frombuffer(stored, f"<i{header.width}"), 8 * header.width)
    return Clip(amplitude.reshape(-1, header.channels).T, header.rate)


def bounded(values: np.ndarray) -> np.ndarray:
    """Floating-point samples as amplitudes. Raises BadClip."""
    if not np.isfinite(values).all():
        raise BadClip("it holds NaN or infinity")
    return values.clip(-1, 1).astype(np.float32)


WHOLE = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
"""Bits of the encodings of whole numbers, as `soundfile` calls them."""


def decode_other(data: bytes) -> Clip:
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
        return Clip(amplitudes(stored >> (32 - bits), bits).T, rate)
    return Clip(bounded(stored).T, rate)
