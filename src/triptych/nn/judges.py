"""Discriminators of sound: at several rates, and period by period.

MelGAN: Generative Adversarial Networks for Conditional Waveform Synthesis. Kumar and others, 2019.
https://arxiv.org/abs/1910.06711, Section 2.2 (several rates)
HiFi-GAN. Kong, Kim and Bae, 2020. https://arxiv.org/abs/2010.05646, Section 2.3 (periods)
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from triptych.nn.mirrored import mirrored

SLOPE = 0.1
"""Negative slope of LeakyReLU."""
STRIDE, GROUP, MOST = 4, 4, 16
"""Of the layers that see sound at a lower and lower rate; channels that are convolved together there; how many times
the first layer's channels the last have, at most."""
Judged = tuple[Float[Tensor, "n ..."], list[Tensor]]
"""Scores, one for each stretch of sound, and the features of each layer on the way there."""


class RateJudge(nn.Module):
    """Scores of stretches of sound: convolutions of 41 samples in groups, each at a fourth of the rate."""

    def __init__(self, channels: int, width: int, layers: int) -> None:
        super().__init__()
        wide = [width * min(STRIDE**k, MOST) for k in range(layers + 1)]
        first = nn.Conv1d(channels, width, 15, padding=7)
        grouped = [
            nn.Conv1d(a, b, 41, STRIDE, 20, groups=max(1, min(a, b) // GROUP) if not (a % GROUP or b % GROUP) else 1)
            for a, b in pairwise(wide)
        ]
        last = nn.Conv1d(wide[-1], wide[-1], 5, padding=2)
        self.layers = nn.ModuleList(weight_norm(layer) for layer in (first, *grouped, last))
        self.score = weight_norm(nn.Conv1d(wide[-1], 1, 3, padding=1))

    def forward(self, x: Float[Tensor, "n c t"]) -> Judged:
        seen = list[Tensor]()
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            seen.append(x)
        return self.score(x).flatten(1), seen


class ManyRates(nn.Module):
    """A judge of sound as it is, one of its averages over two samples, and so on."""

    def __init__(self, rates: int, channels: int, width: int, layers: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(RateJudge(channels, width, layers) for _ in range(rates))

    def forward(self, x: Float[Tensor, "n c t"]) -> list[Judged]:
        found = list[Judged]()
        for k, judge in enumerate(self.each):
            x = F.avg_pool1d(x, 4, 2, 2, count_include_pad=False) if k else x
            found.append(judge(x))
        return found


class PeriodJudge(nn.Module):
    """Scores of sound written in rows of `period` samples: convolutions along the columns, each at a third of the rate.

    A column holds every so-manieth sample: what repeats with the period, or does not, is there side by side.
    """

    def __init__(self, period: int, channels: int, width: int, layers: int) -> None:
        super().__init__()
        self.period = period
        wide = [channels, *(width * min(STRIDE**k, MOST) for k in range(layers))]
        downward = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairwise(wide)]
        last = nn.Conv2d(wide[-1], wide[-1], (5, 1), 1, (2, 0))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in (*downward, last))
        self.score = weight_norm(nn.Conv2d(wide[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, x: Float[Tensor, "n c t"]) -> Judged:
        whole = mirrored(x, 0, -x.shape[2] % self.period)
        x = whole.view(*x.shape[:2], -1, self.period)  # n c rows period
        seen = list[Tensor]()
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            seen.append(x)
        return self.score(x).flatten(1), seen


class ManyPeriods(nn.Module):
    """A judge for each period; where none divides another, no two see the same columns."""

    def __init__(self, periods: Sequence[int], channels: int, width: int, layers: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(PeriodJudge(period, channels, width, layers) for period in periods)

    def forward(self, x: Float[Tensor, "n c t"]) -> list[Judged]:
        return [judge(x) for judge in self.each]
