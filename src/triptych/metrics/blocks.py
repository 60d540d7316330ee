"""Shared by the metrics: checked features, and pairs of them in blocks that fit in memory."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import UsageError

PAIRS = 2**22
"""Pairs held at a time: 32 MiB of float64."""


def check_features(least: int, **sets: Tensor) -> None:
    """Raises UsageError unless every named set is a finite matrix of at least `least` rows, all of one width."""
    widths = {}
    for name, f in sets.items():
        if f.dim() != 2:
            raise UsageError(f"{name} has shape {list(f.shape)}; features are a matrix, [items, dimensions]")
        if len(f) < least:
            raise UsageError(f"{name} has {len(f)} items; this metric takes at least {least}")
        if not f.sum().isfinite() and not f.isfinite().all():  # a sum is finite only if all is, and soon there
            bad = (~f.isfinite().all(1)).nonzero().flatten()
            raise UsageError(f"{name} has NaN or infinite values in {len(bad)} items, the first at row {bad[0].item()}")
        widths[name] = f.shape[1]
    if len(set(widths.values())) > 1:
        raise UsageError(f"the sets have different dimensions: {widths}; take both from one extractor")


def row_blocks(n: int, columns: int) -> Iterator[slice]:
    """Slices of n rows such that rows times columns stays near `PAIRS`."""
    rows = max(1, PAIRS // max(columns, 1))
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def distance_blocks(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Iterator[tuple[slice, Float[Tensor, "b m"]]]:
    """Rows of x, and their squared distances to all of y, as |x_i|^2 + |y_j|^2 - 2 x_i.y_j: never n x m x d numbers."""
    squares = y.square().sum(1)
    for rows in row_blocks(len(x), len(y)):
        products = torch.addmm(squares, x[rows], y.T, alpha=-2)
        yield rows, products.add_(x[rows].square().sum(1, keepdim=True)).clamp_(min=0)


def evenly(total: int, n: int) -> Tensor:
    """n of the numbers 0 to total - 1, evenly spaced."""
    return torch.arange(n) * total // n
