"""How near speech is to a recording of the same words: mel-cepstral distortion, time warped.

Kubichek, 1993. Mel-cepstral distance measure for objective speech quality assessment; the warping as in most of the
field's tables since (Battenberg and others, 2020. https://arxiv.org/abs/1910.10288, MCD-DTW).
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triptych.nn.mel import SOFTEST, Mel, MelSpectrogram

COEFFICIENTS = 13
HEARD = 1e-3
"""What is softer, at either end, is cut off."""


def heard(sound: Float[Tensor, " t"]) -> Float[Tensor, " k"]:
    """The sound from where it begins to where it ends; all of it if there is none."""
    loud = (sound.abs() > HEARD).nonzero().flatten()
    return sound[int(loud[0]) : int(loud[-1]) + 1] if len(loud) else sound


def cepstra(sound: Float[Tensor, " t"], mel: Mel) -> Float[Tensor, "frames k"]:
    """Mel-cepstral coefficients 1 to 13 of each frame: the cosine transform of log bands, without their sum."""
    front = MelSpectrogram(mel)
    bands = (front(heard(sound)[None])[0] * mel.deviation + mel.mean).clamp_min(math.log(SOFTEST))
    k, m = torch.arange(1, COEFFICIENTS + 1)[:, None], torch.arange(mel.mels)[None]
    return ((math.pi / mel.mels * k * (m + 0.5)).cos() * math.sqrt(2 / mel.mels) @ bands).T


def warped(a: Float[Tensor, "n k"], b: Float[Tensor, "m k"]) -> float:
    """The mean distance along the best way through both in time, in decibels: 10 / ln 10 sqrt(2 sum of squares)."""
    cost = torch.cdist(a.double(), b.double()).numpy() * (10 / math.log(10) * math.sqrt(2))
    n, m = cost.shape
    total, steps = np.full((n + 1, m + 1), np.inf), np.zeros((n + 1, m + 1), np.int64)
    total[0, 0] = 0
    for s in range(2, n + m + 1):  # along diagonals, on which nothing depends on one another
        i = np.arange(max(1, s - m), min(n, s - 1) + 1)
        j = s - i
        ways = np.stack([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        counts = np.stack([steps[i - 1, j - 1], steps[i - 1, j], steps[i, j - 1]])
        best = ways.argmin(0)
        at = np.arange(len(i))
        total[i, j], steps[i, j] = ways[best, at] + cost[i - 1, j - 1], counts[best, at] + 1
    return float(total[n, m] / steps[n, m])


def distortion(x: Float[Tensor, "n 1 t"], truth: Float[Tensor, "n 1 u"], mel: Mel) -> float:
    """Mean mel-cepstral distortion of speech to recordings of the same words, in dB."""
    pairs = zip(x[:, 0].cpu().float(), truth[:, 0].cpu().float(), strict=True)
    return float(np.mean([warped(cepstra(a, mel), cepstra(b, mel)) for a, b in pairs]))
