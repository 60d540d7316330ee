"""Networks along time, of items that are not equally long."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class Convolutions(nn.Module):
    """Residual convolutions along time, each twice as far apart as the one before; what is not there stays zero."""

    def __init__(self, width: int, layers: int, kernel: int, dropout: float) -> None:
        super().__init__()
        apart = [2 ** (k % 3) for k in range(layers)]
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=d * (kernel // 2), dilation=d) for d in apart
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in apart)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Float[Tensor, "n width t"], there: Bool[Tensor, "n 1 t"]) -> Float[Tensor, "n width t"]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = h + self.drop(F.gelu(conv(channelwise(norm, h) * there)))
        return h * there


def channelwise(norm: nn.Module, h: Float[Tensor, "n width t"]) -> Float[Tensor, "n width t"]:
    """Normalizes over the channels of each place: not over time, of which some may only fill up."""
    n, width, t = h.shape
    found: Tensor = norm(h.transpose(1, 2).reshape(n * t, width))
    return found.view(n, t, width).transpose(1, 2)


def within(many: Int[Tensor, " n"], length: int) -> Bool[Tensor, "n length"]:
    """Which places are among each item's first `many`."""
    return torch.arange(length, device=many.device) < many[:, None]
