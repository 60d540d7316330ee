"""Networks of sound that work frame by frame, between a Fourier transform and its inverse: no layer ever has as many
places as there are samples, which is what makes them fast.

Vocos: Closing the gap between time-domain and Fourier-based neural vocoders. Siuzdak, 2023.
https://arxiv.org/abs/2306.00814
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import full, precisely
from triptych.nn.mel import SOFTEST, Mel, MelSpectrogram

LOUDEST = 100.0
"""Of a magnitude that the network gives, at most (Section 3.3)."""


class Block(nn.Module):
    """ConvNeXt: each channel along seven frames, then a network at each frame; scaled, and added to what goes in.

    Liu and others, 2022. A ConvNet for the 2020s. https://arxiv.org/abs/2201.03545
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.network = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )
        self.scale = nn.Parameter(torch.full((width,), 1 / layers))

    def forward(self, h: Float[Tensor, "n width frames"]) -> Float[Tensor, "n width frames"]:
        return h + (self.scale * self.network(self.along(h).mT)).mT


class Backbone(nn.Module):
    """Numbers of each frame -> others of each frame; normalized over channels before the blocks and behind them."""

    def __init__(self, inputs: int, outputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.take, self.norm1 = nn.Conv1d(inputs, width, 7, padding=3), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, layers) for _ in range(layers)))
        self.norm2, self.give = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, h: Float[Tensor, "n inputs frames"]) -> Float[Tensor, "n outputs frames"]:
        h = self.blocks(self.norm1(self.take(h).mT).mT)
        out: Tensor = self.give(self.norm2(h.mT)).mT
        return out


class Spectra(nn.Module):
    """Sound -> what a network reads of each frame; what a network says of each frame -> sound."""

    def __init__(self, rate: int, fft: int, hop: int) -> None:
        super().__init__()
        self.front = MelSpectrogram(Mel(rate=rate, fft=fft, hop=hop, mels=1))
        self.reads, self.says = 3 * (fft // 2 + 1), 2 * (fft // 2 + 1)
        """Numbers a frame and channel: the logarithm of each magnitude, and a complex number of its root and its phase;
        the logarithm of each magnitude, and a phase."""

    def read(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n c*reads frames"]:
        spectrum = precisely(self.front.spectrum, x.flatten(0, 1))
        size = spectrum.abs().clamp_min(SOFTEST)
        parts = torch.view_as_real(spectrum / size.sqrt()).unbind(-1)
        return torch.cat((size.log() / -math.log(SOFTEST), *parts), 1).view(x.shape[0], -1, spectrum.shape[2])

    def sound(self, said: Float[Tensor, "n c*says frames"], channels: int) -> Float[Tensor, "n c t"]:
        if not said.shape[0]:  # Fourier transforms of nothing are refused
            return said.new_zeros(0, channels, said.shape[2] * self.front.mel.hop)
        size, phase = full(said).reshape(said.shape[0] * channels, 2, -1, said.shape[2]).unbind(1)
        spectrum = torch.polar(size.clamp_max(math.log(LOUDEST)).exp(), phase)
        sound = self.front.overlapped(spectrum, said.shape[2] * self.front.mel.hop)
        return sound.view(said.shape[0], channels, -1)
