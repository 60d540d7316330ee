"""Phase shuffle: what keeps a discriminator of sound from looking at where in a period the generator's artefacts lie.

Donahue, McAuley and Puckette, 2019. Adversarial Audio Synthesis. https://arxiv.org/abs/1802.04208, Section 3.3.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.mirrored import mirrored


class PhaseShuffle(nn.Module):
    """In training, each item's features are moved by -most to most places, and mirrored into the gap; draws come from
    torch's generator, as those of dropout do."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Float[Tensor, "n channels t"]) -> Float[Tensor, "n channels t"]:
        if not (self.training and self.most):
            return x
        n, channels, t = x.shape
        padded = mirrored(x, self.most, self.most)
        start = torch.randint(2 * self.most + 1, (n, 1, 1), device=x.device)
        at = start + torch.arange(t, device=x.device)
        return padded.gather(2, at.expand(n, channels, t))
