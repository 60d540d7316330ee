"""What is computed in float32 whatever the precision of a run.

bfloat16 keeps 8 bits of a number. A network's products bear that; a difference of two of its outputs, or a gradient
that a loss is about, may be nothing but what was rounded.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
HALVES = (torch.bfloat16, torch.float16)


def full(x: Tensor) -> Tensor:
    """x, in float32 if it is kept in less."""
    return x.float() if x.dtype in HALVES else x


def precisely(f: Callable[..., T], x: Tensor | list[Tensor], *others: Any) -> T:
    """f(x, *others) in float32 (float64, if weights and x are), inside of autocast, too."""
    first = x if isinstance(x, Tensor) else x[0]
    with torch.autocast(first.device.type, enabled=False):
        return f(
            full(x) if isinstance(x, Tensor) else [full(part) for part in x],
            *(full(other) if isinstance(other, Tensor) else other for other in others),
        )
