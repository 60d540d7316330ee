"""The audio front end: sound to a log mel spectrogram, and a spectrogram back to sound (Griffin-Lim).

What a spectrogram is (rate, window, hop, bands, and the mean and deviation that it is normalized by) is one object,
kept in the configuration of every model that uses it: two programs that differ in any of these understand noise.

Griffin and Lim, 1984. Signal estimation from modified short-time Fourier transform; with the momentum of Perraudin,
Balazs and Sondergaard, 2013. A fast Griffin-Lim algorithm.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import Count, NonNegative, Positive, UsageError, config, precisely

SOFTEST = 1e-5
"""What the logarithm is taken of, at least."""
LOUDEST = 400.0
"""What is white where a spectrogram is a picture: no band of a sound in [-1, 1] is louder, for windows of 1,024."""
MOMENTUM = 0.99


@config
class Mel:
    """What a log mel spectrogram is: log(max(bands of |STFT|, 1e-5)), less the mean, over the deviation."""

    rate: Count = 16000
    """Samples a second."""
    fft: Count = 1024
    """Samples of a window, of Hann's shape. An even number."""
    hop: Count = 256
    """Samples from one frame to the next."""
    mels: Count = 80
    """Bands, evenly spaced in mel = 2595 log10(1 + f / 700)."""
    low: NonNegative = 0.0
    """Hz, where the lowest band begins."""
    high: Positive | None = None
    """Hz, where the highest ends; None: half the rate."""
    mean: float = 0.0
    """Of log spectrograms of the training data: theirs, and not another's."""
    deviation: Positive = 1.0
    """Of the same."""

    def __post_init__(self) -> None:
        if self.fft % 2 or self.hop * 2 > self.fft:
            raise UsageError(
                f"fft={self.fft}, hop={self.hop}: a window is an even number, and at least two hops, so that no sample "
                f"falls between windows; fft={max(4 * self.hop, 16)} would do"
            )
        if not self.low < self.top <= self.rate / 2:
            raise UsageError(
                f"low={self.low:g}, high={self.top:g}: bands lie below half the rate, {self.rate / 2:g} Hz"
            )

    @property
    def top(self) -> float:
        """Where the highest band ends, in Hz."""
        return self.rate / 2 if self.high is None else self.high

    def frames(self, samples: int) -> int:
        """How many frames so many samples have."""
        return -(-samples // self.hop)


def usual(rate: int) -> Mel:
    """The spectrogram of speech of this rate that nothing else is said of: about 62 frames a second, each of four."""
    hop = 1 << round(math.log2(rate / 62.5))
    return Mel(rate=rate, fft=4 * hop, hop=hop, mels=80 if rate >= 12_000 else 40)


def differences(one: Mel, other: Mel) -> list[str]:
    """What keeps spectrograms of one from being read as those of another: "hop=256, not 200". How they are normalized
    does not: it can be undone."""
    fields = {name: (getattr(one, name), getattr(other, name)) for name in ("rate", "fft", "hop", "mels", "low", "top")}
    return [f"{'high' if name == 'top' else name}={a:g}, not {b:g}" for name, (a, b) in fields.items() if a != b]


def pictured(mel: Mel, spectrogram: Float[Tensor, "n mels frames"]) -> Float[Tensor, "n 1 mels frames"]:
    """A normalized spectrogram as a picture, from -1 (silence) to 1, whatever the mean and the deviation are."""
    level = (spectrogram * mel.deviation + mel.mean - math.log(SOFTEST)) / math.log(LOUDEST / SOFTEST)
    return (2 * level - 1).clamp(-1, 1)[:, None]


def unpictured(mel: Mel, picture: Float[Tensor, "n 1 mels frames"]) -> Float[Tensor, "n mels frames"]:
    """The inverse of `pictured`."""
    level = (picture[:, 0] + 1) / 2 * math.log(LOUDEST / SOFTEST) + math.log(SOFTEST)
    return (level - mel.mean) / mel.deviation


def bank(mel: Mel) -> np.ndarray:
    """float32 [mels, bins]: triangles over the bins of the spectrum, each of weight one."""

    def scale(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    edges = 700 * (10 ** (np.linspace(scale(mel.low), scale(mel.top), mel.mels + 2) / 2595) - 1)
    at = np.linspace(0, mel.rate / 2, mel.fft // 2 + 1)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((at - left) / (middle - left), (right - at) / (right - middle)).clip(0)
    # a narrow band between two bins still hears the nearer one
    empty = triangles.sum(1) == 0
    triangles[empty, np.abs(at - middle[empty]).argmin(1)] = 1
    found: np.ndarray = (triangles / triangles.sum(1, keepdims=True)).astype(np.float32)
    return found


class MelSpectrogram(nn.Module):
    """Sound to normalized log mel spectrograms, and back; without weights."""

    window: Tensor
    bank: Tensor
    back: Tensor

    def __init__(self, mel: Mel) -> None:
        super().__init__()
        self.mel, bands = mel, bank(mel)
        self.register_buffer("window", torch.hann_window(mel.fft), persistent=False)
        self.register_buffer("bank", torch.from_numpy(bands), persistent=False)
        self.register_buffer(
            "back", torch.from_numpy(np.linalg.pinv(bands.astype(np.float64)).astype(np.float32)), persistent=False
        )

    def spectrum(self, sound: Float[Tensor, "n t"]) -> Float[Tensor, "n bins frames"]:
        """The complex STFT, a frame for each hop that begins within the sound."""
        mel, t = self.mel, sound.shape[1]
        frames = mel.frames(t)
        sides = (mel.fft - mel.hop) // 2
        padded = F.pad(sound, (sides, (frames - 1) * mel.hop + mel.fft - sides - t))
        pieces = padded.unfold(1, mel.fft, mel.hop) * self.window
        return torch.fft.rfft(pieces).mT

    def forward(self, sound: Float[Tensor, "n t"]) -> Float[Tensor, "n mels frames"]:
        """Normalized log mel spectrograms of amplitudes in [-1, 1]."""
        bands = precisely(torch.matmul, self.bank, precisely(self.spectrum, sound).abs())
        return (bands.clamp_min(SOFTEST).log() - self.mel.mean) / self.mel.deviation

    def invert(
        self, spectrogram: Float[Tensor, "n mels frames"], phase: Float[Tensor, "n bins frames"], rounds: int = 32
    ) -> Float[Tensor, "n t"]:
        """Sound with about this spectrogram, of `frames` hops, by Griffin-Lim: `rounds` times, the sound of these
        magnitudes with the phases so far, and then the phases of that sound.

        phase: to begin with, in turns: uniform numbers.
        """
        bands = (spectrogram * self.mel.deviation + self.mel.mean).exp()
        size = torch.matmul(self.back, bands).clamp_min(SOFTEST)
        length = spectrogram.shape[2] * self.mel.hop
        if not spectrogram.shape[0]:  # Fourier transforms of nothing are refused
            return spectrogram.new_zeros(0, length)
        guess, before = torch.polar(size, 2 * math.pi * phase), torch.zeros_like(size)
        for _ in range(rounds):
            found = self.spectrum(self.overlapped(guess, length))
            ahead = found + MOMENTUM * (found - before)
            guess, before = size * ahead / ahead.abs().clamp_min(1e-8), found
        return self.overlapped(guess, length).clamp(-1, 1)

    def overlapped(self, spectrum: Float[Tensor, "n bins frames"], length: int) -> Float[Tensor, "n t"]:
        """The inverse of `spectrum`, in the sense of least squares."""
        mel = self.mel
        pieces = torch.fft.irfft(spectrum.mT, n=mel.fft) * self.window
        frames, sides = pieces.shape[1], (mel.fft - mel.hop) // 2
        total = (frames - 1) * mel.hop + mel.fft

        def add(parts: Float[Tensor, "k frames fft"]) -> Float[Tensor, "k total"]:
            return F.fold(parts.mT, (1, total), (1, mel.fft), stride=(1, mel.hop)).reshape(parts.shape[0], total)

        weight = add(self.window.square().expand(1, frames, mel.fft)).clamp_min(1e-3)
        return (add(pieces) / weight)[:, sides : sides + length]
