"""Batch normalization with a gain and a bias of the condition's choice.

A Learned Representation for Artistic Style. Dumoulin, Shlens and Kudlur, 2016. https://arxiv.org/abs/1610.07629
Modulating early visual processing by language. De Vries and others, 2017. https://arxiv.org/abs/1707.00683
"""

from jaxtyping import Float
from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """normalized(x) * (1 + gain(code)) + bias(code).

    `gain` and `bias` make [n, channels] of a code: embeddings of a class, or layers that read a vector.
    """

    def __init__(self, channels: int, gain: nn.Module, bias: nn.Module) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = gain, bias

    def forward(self, x: Float[Tensor, "n c h w"], code: Tensor) -> Float[Tensor, "n c h w"]:
        gain, bias = self.gain(code)[:, :, None, None], self.bias(code)[:, :, None, None]
        return self.norm(x) * (1 + gain) + bias
