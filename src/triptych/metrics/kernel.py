"""The kernel distance: the squared maximum mean discrepancy of two sets of features under a cubic kernel.

Binkowski et al., 2018. https://arxiv.org/abs/1801.01401 (Section 4: the kernel is (x.y / d + 1)^3). On the features of
the Inception network it is known as KID.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import UsageError
from triptych.metrics.blocks import check_features, row_blocks


class KernelDistance(NamedTuple):
    """An unbiased estimate of the squared discrepancy; it may be negative, and is never clipped."""

    value: float
    stderr: float
    """Delete-one jackknife over the items of both sets. By Efron and Stein's inequality its square is not too small in
    expectation; where both sets follow one law it is about sqrt(2) times too large."""


def kernel_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> KernelDistance:
    """The U-statistic over all pairs, in float64: no subsets, nothing random. Memory does not grow with n times m.

    Raises UsageError for fewer than 3 items, unequal dimensions or values that are not finite.
    """
    check_features(3, x=x, y=y)
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    xx, yy = within(x), within(y)
    xy, yx = across(x, y)
    u_x, u_y, u_xy = xx.sum() / (n * (n - 1)), yy.sum() / (m * (m - 1)), xy.sum() / (n * m)
    value = u_x + u_y - 2 * u_xy
    variance = torch.zeros((), dtype=x.dtype)
    for k, own, cross, other in ((n, xx, xy, m), (m, yy, yx, n)):
        # the estimate without item i, up to what all i share: two rows leave the square of own pairs, one the cross
        left_out = (own.sum() - 2 * own) / ((k - 1) * (k - 2)) - 2 * (cross.sum() - cross) / ((k - 1) * other)
        variance = variance + (k - 1) * left_out.var(correction=0)
    return KernelDistance(value.item(), variance.sqrt().item())


def kernel_distance_of_subsets(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Mean and standard deviation over random subsets: the protocol that most published KIDs follow.

    Only for comparison with those. The deviation is that of one subset of `size` items: not a standard error of the
    mean, since subsets overlap. Subsets are drawn as torch-fidelity draws them (NumPy's legacy generator).

    Raises UsageError if a set has fewer than `size` items, and as `kernel_distance`.
    """
    if size < 2 or subsets < 1:
        raise UsageError(f"size={size} and subsets={subsets}: at least 2 items and 1 subset")
    check_features(size, x=x, y=y)
    x, y = x.double(), y.double()
    draws = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        a = x[torch.from_numpy(draws.choice(len(x), size, replace=False))]
        b = y[torch.from_numpy(draws.choice(len(y), size, replace=False))]
        cross, _ = across(a, b)
        values.append((within(a).sum() + within(b).sum()) / (size * (size - 1)) - 2 * cross.sum() / size**2)
    all_values = torch.stack(values)
    return all_values.mean().item(), all_values.std(correction=0).item()


def cubic(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """(x.y / d + 1)^3 of all pairs."""
    k = torch.addmm(x.new_ones(()), x, y.T, alpha=1 / x.shape[1])
    return k.square().mul_(k)


def within(x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """For each item, the sum of the kernel over all other items of its own set."""
    sums = -cubic_of_self(x)
    for rows in row_blocks(len(x), len(x)):
        k = cubic(x[rows], x[rows.start :])  # the kernel is symmetric: blocks below the diagonal are read off above it
        sums[rows] += k.sum(1)
        sums[rows.stop :] += k[:, rows.stop - rows.start :].sum(0)
    return sums


def across(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """For each item, the sum of the kernel over the other set."""
    by_x, by_y = x.new_zeros(len(x)), y.new_zeros(len(y))
    for rows in row_blocks(len(x), len(y)):
        k = cubic(x[rows], y)
        by_x[rows] = k.sum(1)
        by_y += k.sum(0)
    return by_x, by_y


def cubic_of_self(x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
