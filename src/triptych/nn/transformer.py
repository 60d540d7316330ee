"""Causal transformers in today's form: pre-normalization by RMSNorm, rotary positions, SwiGLU; and their cache.

Vaswani and others, 2017. Attention Is All You Need. https://arxiv.org/abs/1706.03762
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class KVCache:
    """The keys and values of the positions that one attention layer has seen: room for `length` of them.

    Positions are the second axis, so that what is there is one view, and a new position one copy.
    """

    def __init__(self, n: int, length: int, heads: int, size: int, like: Tensor) -> None:
        self.keys, self.values = like.new_empty(2, n, length, heads, size)
        self.seen = 0

    def add(
        self, keys: Float[Tensor, "n t heads size"], values: Float[Tensor, "n t heads size"]
    ) -> tuple[Float[Tensor, "n seen heads size"], Float[Tensor, "n seen heads size"]]:
        """Keeps those of the next t positions, and returns all so far."""
        start, self.seen = self.seen, self.seen + keys.shape[1]
        self.keys[:, start : self.seen] = keys
        self.values[:, start : self.seen] = values
        return self.keys[:, : self.seen], self.values[:, : self.seen]
