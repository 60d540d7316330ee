"""Sound at another rate: band-limited interpolation by a windowed sinc.

Smith, 2002. Digital Audio Resampling. https://ccrma.stanford.edu/~jos/resample/
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ZEROS, ROLLOFF = 24, 0.96
"""Zero crossings of the sinc to either side, and the share of the lower rate's band that is kept whole."""
MOST = 1 << 20
"""Numbers of all filters, about, at most."""
PIECE = 1 << 20
"""Samples at a time."""


def ratio(rate: int, to: int) -> tuple[int, int]:
    """How many samples stand for how many old ones."""
    common = math.gcd(rate, to)
    return to // common, rate // common


def resamplable(rate: int, to: int) -> bool:
    """Whether the filters between two rates are few enough: those between any that are in use are."""
    return math.prod(ratio(rate, to)) <= MOST


@lru_cache(maxsize=8)
def kernels(up: int, down: int) -> tuple[Tensor, int]:
    """float32 [up, 1, 2 * reach + down], a filter for each of the samples that stand for `down` old ones; and reach."""
    band = min(up, down) * ROLLOFF
    reach = math.ceil(ZEROS * down / band)
    places = torch.arange(-reach, reach + down, dtype=torch.float64) / down
    t = (places - torch.arange(up, dtype=torch.float64)[:, None] / up) * band
    window = (t.clamp(-ZEROS, ZEROS) * (math.pi / ZEROS / 2)).cos().square()
    return (torch.sinc(t) * window * (band / down)).float()[:, None], reach


def resampled(amplitude: np.ndarray, rate: int, to: int) -> np.ndarray:
    """float32 [channels, samples] at `to` samples a second, of the same at `rate`, within [-1, 1]."""
    if rate == to:
        return amplitude
    up, down = ratio(rate, to)
    filters, reach = kernels(up, down)
    length = -(-amplitude.shape[1] * up // down)
    sound = F.pad(torch.from_numpy(np.ascontiguousarray(amplitude)), (reach, reach + down))
    blocks, step, parts = -(-length // up), max(1, PIECE // down), []
    for first in range(0, blocks, step):
        last = min(first + step, blocks)
        piece = sound[:, first * down : (last - 1) * down + filters.shape[2]]
        parts.append(F.conv1d(piece[:, None], filters, stride=down).transpose(1, 2).flatten(1))
    found: np.ndarray = torch.cat(parts, 1)[:, :length].clamp(-1, 1).numpy()
    return found
