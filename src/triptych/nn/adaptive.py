"""A transformer that a condition steers at every layer, and which attends to blocks: its own, and those before it.

Peebles and Xie, 2023. Scalable Diffusion Models with Transformers, Section 3.2 (adaptive layer normalization).
https://arxiv.org/abs/2212.09748
Tian, Jiang, Yuan, Peng and Wang, 2024. Visual Autoregressive Modeling. https://arxiv.org/abs/2404.02905
"""

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

HOTTEST = log(100)
"""Attention scores are cosines times exp of this at most."""


class Remembered:
    """The keys and values of one layer, of the blocks so far."""

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Appends those of a block; returns all [n, heads, places, size]."""
        self.parts = [*self.parts, (keys, values)]
        self.parts = [(torch.cat([k for k, _ in self.parts], 2), torch.cat([v for _, v in self.parts], 2))]
        return self.parts[0]


class AdaptiveBlock(nn.Module):
    """Attention, then a network at each place. Each reads what was normalized, scaled and shifted, and is added times a
    gate; scale, shift and gate are linear in the condition.

    Queries and keys have length 1; how much their cosine counts is learned for each head.
    """

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        steer, wide, back = nn.Linear(width, 6 * width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.steer = nn.Sequential(nn.SiLU(), steer)
        self.take = nn.Linear(width, 3 * width, bias=False)
        self.give = nn.Linear(width, width)
        self.heat = nn.Parameter(torch.full((heads, 1, 1), log(4.0)))
        self.network = nn.Sequential(wide, nn.GELU(approximate="tanh"), back)
        self.drop = nn.Dropout(dropout)
        share = (2 * layers) ** -0.5
        nn.init.normal_(steer.weight, std=0.02)
        nn.init.zeros_(steer.bias)
        nn.init.ones_(steer.bias[4 * width :])  # the gates
        for layer, by in ((self.take, 1.0), (self.give, share), (wide, 1.0), (back, share)):
            nn.init.normal_(layer.weight, std=by * layer.weight.shape[1] ** -0.5)

    def forward(
        self,
        x: Float[Tensor, "n t width"],
        condition: Float[Tensor, "n width"],
        mask: Bool[Tensor, "t t"] | None,
        cache: Remembered | None = None,
    ) -> Float[Tensor, "n t width"]:
        scale1, shift1, scale2, shift2, gate1, gate2 = self.steer(condition)[:, None].chunk(6, -1)
        h = normal(x) * (1 + scale1) + shift1
        parts = self.take(h).unflatten(-1, (3, self.heads, self.size)).permute(2, 0, 3, 1, 4)
        queries, keys = F.normalize(parts[:2], dim=-1)  # n heads t size
        queries, values = queries * self.heat.clamp(max=HOTTEST).exp(), parts[2]
        if cache is not None:
            keys, values = cache.add(keys, values)
        heads = F.scaled_dot_product_attention(queries, keys, values, mask, scale=1.0)
        x = x + gate1 * self.drop(self.give(heads.transpose(1, 2).flatten(2)))
        out: Tensor = x + gate2 * self.drop(self.network(normal(x) * (1 + scale2) + shift2))
        return out


def normal(x: Float[Tensor, "n t width"]) -> Float[Tensor, "n t width"]:
    """Layer normalization without weights."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class AdaptiveTransformer(nn.Module):
    """Places in blocks of the given lengths: a place sees all of its own block and of those before it."""

    mask: Tensor

    def __init__(self, layers: int, width: int, heads: int, lengths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([AdaptiveBlock(width, heads, layers, dropout) for _ in range(layers)])
        steer = nn.Linear(width, 2 * width)
        self.steer = nn.Sequential(nn.SiLU(), steer)
        nn.init.normal_(steer.weight, std=0.02)
        nn.init.zeros_(steer.bias)
        block = torch.tensor([k for k, length in enumerate(lengths) for _ in range(length)])
        self.register_buffer("mask", block[:, None] >= block, persistent=False)

    def forward(
        self,
        h: Float[Tensor, "n t width"],
        condition: Float[Tensor, "n width"],
        caches: Sequence[Remembered] | None = None,
    ) -> Float[Tensor, "n t width"]:
        """All places at once; with caches (`Remembered`, one a layer), one block after the other."""
        mask = self.mask if caches is None else None
        for i, block in enumerate(self.blocks):
            h = block(h, condition, mask, caches[i] if caches is not None else None)
        scale, shift = self.steer(condition)[:, None].chunk(2, -1)
        out: Tensor = normal(h) * (1 + scale) + shift
        return out
