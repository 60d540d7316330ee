"""What is computed in float32 whatever the precision of a run.

bfloat16 keeps 8 bits of a number. A network's products bear that; a difference of two of its outputs, or a gradient
that a loss is about, may be nothing but what was rounded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

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


@contextmanager
def products(how: Literal["fp32", "tf32"], device: torch.device) -> Iterator[None]:
    """For a while, how a GPU computes products of matrices and convolutions of float32: as that, or in TF32, which
    keeps 11 bits of a factor. Left to itself, torch takes the one for products and the other for convolutions.
    """
    if device.type != "cuda":
        yield
        return
    backends: Any = torch.backends
    try:
        before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    except RuntimeError:  # somebody has set them by torch's newer names, which the older ones cannot always express
        newer = [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]
        set_before = [(switch, switch.fp32_precision) for switch in newer]
        for switch in newer:
            switch.fp32_precision = "tf32" if how == "tf32" else "ieee"
        try:
            yield
        finally:
            for switch, value in set_before:
                switch.fp32_precision = value
        return
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = how == "tf32"
    try:
        yield
    finally:
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before
