"""Self-attention over a feature map: every position attends to all.

Self-Attention Generative Adversarial Networks. Zhang, Goodfellow, Metaxas and Odena, 2019.
https://arxiv.org/abs/1805.08318
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d


class SelfAttention(nn.Module):
    """x + gamma * self-attention over all positions (Equations 1 to 3). gamma begins at 0: the layer is the identity.

    Queries and keys have an eighth of the channels, values a half. Keys and values are max-pooled, 2 x 2: for a quarter
    of the memory.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        small, half = max(channels // 8, 1), max(channels // 2, 1)
        self.query, self.key = nn.Conv2d(channels, small, 1), nn.Conv2d(channels, small, 1)
        self.value, self.out = nn.Conv2d(channels, half, 1), nn.Conv2d(half, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def weights(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n places pooled"]:
        """Attention weights: softmax over the max-pooled keys, for the query of each position (Equation 1)."""
        query, key = self.query(x).flatten(2), pooled(self.key(x)).flatten(2)
        return (query.mT @ key).softmax(-1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        taken = pooled(self.value(x)).flatten(2) @ self.weights(x).mT
        return x + self.gamma * self.out(taken.view(*taken.shape[:2], *x.shape[2:]))


def pooled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Max-pooling, 2 x 2; at the end of an odd side, the window is cut off by the border."""
    return max_pool2d(x, 2, ceil_mode=True)
