"""Contrastive losses: what belongs together is told apart from what does not."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from triptych.core import full, precisely

Patches = Float[Tensor, "n patches d"]


def patch_nce(query: Patches, key: Patches, temperature: float) -> Float[Tensor, ""]:
    """-E log( exp(q_i . k_i / t) / sum_j exp(q_i . k_j / t) ), over the patches i and j of one picture.

    Contrastive Learning for Unpaired Image-to-Image Translation. Park, Efros, Zhang and Zhu, 2020.
    https://arxiv.org/abs/2007.15651, Equation 3, with negatives from the same picture only. Query and key are of unit
    length; no gradient goes to the key. The log of the number of patches where all are alike; log(1 + (s - 1)
    exp(-1 / t)) where q_i = k_i and the s patches are at right angles.
    """
    scores = precisely(torch.bmm, full(query), full(key).detach().transpose(1, 2)) / temperature
    n, s, _ = scores.shape
    which = torch.arange(s, device=scores.device).repeat(n)
    return cross_entropy(scores.flatten(0, 1), which)
