"""The truncation trick: latents near their mean give better samples, and fewer kinds of them.

Large Scale GAN Training for High Fidelity Natural Image Synthesis. Brock, Donahue and Simonyan, 2019.
https://arxiv.org/abs/1809.11096, Section 3.1 and Appendix E
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.special import ndtr, ndtri


def truncated(z: Float[Tensor, "*n"], threshold: float) -> Float[Tensor, "*n"]:
    """Standard normal numbers as if those further than `threshold` from 0 had been drawn again until none was.

    Each number goes to the one of the same rank in the truncated distribution: no more of them are drawn, those of a
    seed move continuously with the threshold, and an infinite one changes nothing.
    """
    if math.isinf(threshold):
        return z
    end = ndtr(torch.tensor(-threshold, dtype=torch.float64, device=z.device))
    return ndtri(torch.lerp(end, 1 - end, ndtr(z.double()))).to(z.dtype).clamp(-threshold, threshold)


@contextmanager
def standing_statistics(net: nn.Module, inputs: Iterable[tuple[Any, ...]]) -> Iterator[None]:
    """For a while, batch normalization in `net` goes by means and variances averaged over these calls of it.

    Those of training are of latents that are not truncated, and an average's are of other weights. Everything is as it
    was afterwards.
    """
    layers = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    kept = [(m, m.momentum, m.training, dict(m.named_buffers(recurse=False))) for m in layers]
    try:
        for m, _, _, buffers in kept:
            for name, value in buffers.items():
                setattr(m, name, torch.zeros_like(value))  # a fresh one: a graph may need the old
            m.momentum, m.training = None, True  # the plain mean over calls
        with torch.no_grad():
            for one in inputs:
                net(*one)
        for m in layers:
            m.training = False
        yield
    finally:
        for m, momentum, training, buffers in kept:
            m.momentum, m.training = momentum, training
            for name, value in buffers.items():
                setattr(m, name, value)
