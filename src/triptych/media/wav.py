"""WAV files of whole numbers (8, 16, 24 or 32 bits) or of floating point, read and written.

Code s of b bits has the amplitude (2 s + 1) / (2^b - 1): its place among 2^b evenly spaced levels.
"""

import io
import struct
import wave
from dataclasses import dataclass

import numpy as np

from triptych.media.work import BadFile

PIECE = 1 << 20
"""Samples that are converted at a time."""

Sound = tuple[np.ndarray, int]
"""Amplitudes, float32 [channels, samples] in [-1, 1], and how many samples a second has."""


class BadClip(BadFile):
    """A file that is no recording we can use; the message says why."""


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


def decode_wav(data: bytes) -> Sound | None:
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


def samples(header: Header, stored: memoryview, size: int | None) -> Sound:
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
    return amplitude.reshape(-1, header.channels).T, header.rate


def bounded(values: np.ndarray) -> np.ndarray:
    """Floating-point samples as amplitudes. Raises BadClip."""
    if not np.isfinite(values).all():
        raise BadClip("it holds NaN or infinity")
    return values.clip(-1, 1).astype(np.float32)


def encode_wav(amplitude: np.ndarray, rate: int) -> bytes:
    """Amplitudes, [channels, samples] in [-1, 1], as a file of 16 bits: those of codes of 16 bits are kept exactly."""
    code = np.rint((amplitude.astype(np.float64) * 65535 - 1) / 2).clip(-32768, 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(len(code))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(code.T).tobytes())
    return out.getvalue()
