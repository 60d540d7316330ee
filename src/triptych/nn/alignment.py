"""Alignments: which symbol each frame of a sound belongs to, in order and none left out; searched for, or attended to.

Kim, Kim, Kong and Yoon, 2020. Glow-TTS: A Generative Flow for Text-to-Speech via Monotonic Alignment Search.
https://arxiv.org/abs/2005.11129, Algorithm 1.

    Q[i, t] = score[i, t] + max(Q[i, t - 1], Q[i - 1, t - 1]),   and the way back from the last symbol and frame
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

NEVER = -1e9
"""The score of what cannot be: finite, so that a text of more symbols than frames gives some alignment, and no NaN."""


@torch.no_grad()
def search(
    score: Float[Tensor, "n symbols frames"], symbols: Int[Tensor, " n"], frames: Int[Tensor, " n"]
) -> Int[Tensor, "n frames"]:
    """The best way through each item's first `symbols` and `frames`: the symbol of each frame, which begins with 0,
    ends with the last, and goes on by one or stays. Frames after an item's last have its last symbol.
    """
    n, most, length = score.shape
    last, places = symbols - 1, torch.arange(most, device=score.device)
    scores = score.masked_fill((places >= symbols[:, None])[:, :, None], NEVER).permute(2, 0, 1).contiguous()
    best = scores[0].masked_fill(places > 0, NEVER)
    came = [torch.zeros_like(best, dtype=torch.bool)]
    for t in range(1, length):
        before = torch.cat((best.new_full((n, 1), NEVER), best[:, :-1]), 1)
        came.append(before > best)  # from the symbol before
        best = torch.maximum(best, before) + scores[t]
    moved = torch.stack(came).long()  # frames, n, symbols
    at, found = last, []
    for t in range(length - 1, -1, -1):
        found.append(at)
        step = moved[t].gather(1, at[:, None])[:, 0]
        at = torch.where(t < frames, (at - step).clamp_min(0), at)
    return torch.stack(found[::-1], 1)


def durations(path: Int[Tensor, "n frames"], frames: Int[Tensor, " n"], symbols: int) -> Float[Tensor, "n symbols"]:
    """How many frames each symbol has."""
    within = (torch.arange(path.shape[1], device=path.device) < frames[:, None]).float()
    return torch.zeros(len(path), symbols, device=path.device).scatter_add(1, path, within)


def spread(lengths: Float[Tensor, "n symbols"], frames: int) -> Int[Tensor, "n frames"]:
    """The symbol of each frame, of how many frames each has: the inverse of `durations`."""
    ends = lengths.cumsum(1)
    at = torch.arange(frames, device=lengths.device) + 0.5
    return (ends[:, None] <= at[:, None]).sum(2).clamp_max(lengths.shape[1] - 1)


def stepwise(
    stay: Float[Tensor, "n steps symbols"],
    symbols: Int[Tensor, " n"],
    before: Float[Tensor, "n earlier symbols"] | None = None,
) -> Float[Tensor, "n steps symbols"]:
    """Where one is after each step who begins at the first symbol (or goes on from `before`, earlier steps), and at
    every step stays there with the probability `stay`, or goes on to the next: the probability of each symbol. Nobody
    leaves an item's last one.

    He, Deng and He, 2019. Robust Sequence-to-Sequence Acoustic Modeling with Stepwise Monotonic Attention for Neural
    TTS. https://arxiv.org/abs/1906.00672, Equation 8.

        a[i, j] = a[i - 1, j] stay[i, j] + a[i - 1, j - 1] (1 - stay[i, j - 1])
    """
    places = torch.arange(stay.shape[2], device=stay.device)
    stay = torch.where((places >= symbols[:, None] - 1)[:, None], torch.ones_like(stay), stay)
    at = (places == 0).to(stay.dtype).expand(len(stay), -1) if before is None else before[:, -1]
    found = list[Tensor]()
    for now in stay.unbind(1):
        kept = at * now
        at = kept + F.pad(at - kept, (1, -1))
        found.append(at)
    return torch.stack(found, 1) if found else stay
