"""How far apart two batches of pictures are by what a network sees in them."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from triptych.core import full

Features = Sequence[Float[Tensor, "n c ..."]]


def matching(real: Features, fake: Features) -> Float[Tensor, ""]:
    """1/T sum_i E |D_i(x) - D_i(G(c))|, over the features D_i of each of T layers of a discriminator.

    High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs. Wang et al., 2018.
    https://arxiv.org/abs/1711.11585, Equation 4, but for the mean over the layers, where it has the sum.
    """
    gaps = [(full(a) - full(b)).abs().mean() for a, b in zip(real, fake, strict=True)]
    return sum(gaps, full(real[0]).new_zeros(())) / len(real)


def alike(real: Sequence[Features], fake: Sequence[Features]) -> Float[Tensor, ""]:
    """sum_k sum_i E |D_ki(x) - D_ki(G)|, over the features of all layers i of all judges k.

    HiFi-GAN. Kong, Kim and Bae, 2020. https://arxiv.org/abs/2010.05646, Equation 4 (feature matching)
    """
    gaps = [len(a) * matching(a, b) for a, b in zip(real, fake, strict=True)]
    return sum(gaps[1:], gaps[0])
