"""Signals that go on, mirrored, beyond their ends."""

import torch
from jaxtyping import Float
from torch import Tensor


def mirrored(x: Float[Tensor, "*n t"], left: int, right: int) -> Float[Tensor, "*n s"]:
    """As torch's padding by reflection, whose gradient is not the same bits every time on a GPU.

    x is longer than `left` and `right`; the outermost values are not repeated.
    """
    t = x.shape[-1]
    before, after = x[..., 1 : left + 1].flip(-1), x[..., t - 1 - right : t - 1].flip(-1)
    return torch.cat([before, x, after], -1)
