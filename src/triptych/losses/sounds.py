"""How far one sound is from another, and what several judges make of it."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import full
from triptych.losses.features import matching
from triptych.nn.judges import Judged
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


def alike(real: Sequence[Judged], fake: Sequence[Judged]) -> Float[Tensor, ""]:
    """sum_k sum_i E |D_ki(x) - D_ki(G)|, over the features of all layers i of all judges k.

    HiFi-GAN. Kong, Kim and Bae, 2020. https://arxiv.org/abs/2010.05646, Equation 4 (feature matching)
    """
    gaps = [len(seen) * matching(seen, felt) for (_, seen), (_, felt) in zip(real, fake, strict=True)]
    return sum(gaps[1:], gaps[0])
