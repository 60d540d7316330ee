"""How far one sound is from another, through windows of many lengths."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import full
from triptych.nn.mel import Mel, MelSpectrogram

Sounds = Float[Tensor, "n c t"]


class ManyMels(nn.Module):
    """The mean over windows of E |log mel(x) - log mel(y)|, in nats: short windows hear when, long ones how high.

    Windows of so many samples, a fourth of one from each to the next, and 5 bands for each 32 samples.

    High-Fidelity Audio Compression with Improved RVQGAN. Kumar and others, 2023. Section 3.5
    https://arxiv.org/abs/2306.06546
    """

    def __init__(self, rate: int, windows: Sequence[int]) -> None:
        super().__init__()
        self.fronts = nn.ModuleList(
            MelSpectrogram(Mel(rate=rate, fft=w, hop=w // 4, mels=max(2, 5 * w // 32))) for w in windows
        )

    def forward(self, x: Sounds, y: Sounds) -> Float[Tensor, ""]:
        a, b = full(x).flatten(0, 1), full(y).flatten(0, 1)
        gaps = [(front(a) - front(b)).abs().mean() for front in self.fronts]
        return sum(gaps, a.new_zeros(())) / len(gaps)
