"""Sound to hear and to look at: WAV files of 16 bits, and sheets of spectrograms."""

import io
import wave

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Audio, UsageError
from triptych.report import pictures

PAUSE = 0.15
"""Seconds of silence between clips in one file."""
BINS, COLUMNS, TRACE = 64, 128, 24
"""Frequencies (pixels high), moments (pixels wide), and the height of the waveform below them."""
DECIBELS = 60
"""How far below the loudest a spectrogram goes."""


def wav(space: Audio, x: Float[Tensor, "n channels length"]) -> bytes:
    """Clips one after the other, as a WAV file of 16 bits. A clip of 65,536 levels, as they are read, is kept exactly.

    Raises UsageError if x is not in the space.
    """
    space.check(x)
    amplitude = F.pad(space.expand(x.detach().cpu().double()), (0, round(PAUSE * space.rate) if len(x) > 1 else 0))
    code = ((amplitude * 65535 - 1) / 2).round().clamp(-32768, 32767).to(torch.int16)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(space.channels)
        file.setsampwidth(2)
        file.setframerate(space.rate)
        file.writeframes(code.transpose(1, 2).numpy().astype("<i2").tobytes())
    return out.getvalue()


def sheet(space: Audio, x: Float[Tensor, "n channels length"], columns: int | None = None) -> Image.Image:
    """Each clip as a spectrogram (time to the right, 0 to rate / 2 upward, dark is loud) above its waveform.

    Channels are averaged. Raises UsageError if there is no clip, or x is not in the space.
    """
    space.check(x)
    if len(x) == 0:
        raise UsageError("sheet: there is no sound to show")
    sound = space.expand(x.detach().cpu().float()).mean(1)
    ink = torch.cat((spectrograms(sound), torch.zeros(len(x), 1, COLUMNS), traces(sound)), 1)
    sheet = pictures.grid(1 - 2 * ink[:, None], columns, pad=4)
    seconds, top = space.length / space.rate, space.rate / 2000
    axes = f"each: {seconds:.3g} s across, 0 to {top:g} kHz up; waveform below"
    return pictures.captioned(sheet, axes)


def spectrograms(sound: Float[Tensor, "n length"]) -> Float[Tensor, "n bins columns"]:
    """The logarithm of the energy, from 0 (60 decibels below the loudest of all clips) to 1; high frequencies first."""
    window = torch.hann_window(2 * BINS)
    hop = max(1, sound.shape[1] // COLUMNS)
    padded = F.pad(sound, (BINS, BINS + COLUMNS * hop))
    frames = padded.unfold(1, 2 * BINS, hop)[:, :COLUMNS] * window
    level = 20 * torch.fft.rfft(frames).abs()[..., 1:].clamp_min(1e-9).log10()
    return ((level - level.max()) / DECIBELS + 1).clamp(0, 1).mT.flip(1)


def traces(sound: Float[Tensor, "n length"]) -> Float[Tensor, "n height columns"]:
    """From the lowest to the highest amplitude of each moment, in ink."""
    low, high = -F.adaptive_max_pool1d(-sound, COLUMNS), F.adaptive_max_pool1d(sound, COLUMNS)
    height = torch.from_numpy(np.linspace(1, -1, TRACE, dtype=np.float32))[:, None]
    half = 1 / (TRACE - 1)
    return ((height <= high[:, None] + half) & (height >= low[:, None] - half)).float()
