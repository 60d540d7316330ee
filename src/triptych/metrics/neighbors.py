"""What nearest neighbors tell: fidelity, variety, and whether training examples were copied."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import UsageError
from triptych.metrics.blocks import check_features, distance_blocks, row_blocks

CLOSE = 1e-6
"""A squared distance below this share of the items' squared lengths has lost so many digits to their difference that it
is measured anew."""
OTHERS = 5
"""The neighbors (second to sixth) that say what a usual distance is, in `nearest`."""


@dataclass(frozen=True)
class PRDC:
    """Shares in [0, 1], except density, which is 1 in expectation where both sets follow one law, and may exceed it."""

    precision: float
    """Share of generated items inside the ball of some real item."""
    recall: float
    """Share of real items inside the ball of some generated item."""
    density: float
    """Mean number of real balls that a generated item lies in, over k."""
    coverage: float
    """Share of real items whose ball holds a generated item."""


def prdc(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], *, k: int = 5) -> PRDC:
    """Precision and recall (Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991, Equation 1) and density and
    coverage (Naeem et al., 2020, https://arxiv.org/abs/2002.09797, Equations 3 and 4), in float64.

    An item's ball is open and reaches to its k-th nearest neighbor in its own set (itself not counted), as in the
    `prdc` package. For two sets of one law coverage is 1 - prod_{i=1..k} (n - i) / (n + m - i) in expectation.

    Raises UsageError for k items or fewer, unequal dimensions or values that are not finite.
    """
    if k < 1:
        raise UsageError(f"k={k}: at least 1 neighbor")
    check_features(k + 1, real=real, generated=generated)
    real, generated = real.double(), generated.double()
    n, m = len(real), len(generated)
    real_radius, generated_radius = radius(real, k), radius(generated, k)
    balls = torch.zeros(m, dtype=torch.int64, device=real.device)
    recalled = covered = 0
    for rows, distance in measured_blocks(real, generated):
        balls += (distance < real_radius[rows, None]).sum(0)
        recalled += int((distance < generated_radius).any(1).sum())
        covered += int((distance.amin(1) < real_radius[rows]).sum())
    return PRDC((balls > 0).double().mean().item(), recalled / n, balls.sum().item() / (k * m), covered / n)


def radius(x: Float[Tensor, "n d"], k: int) -> Float[Tensor, " n"]:
    """The squared distance of each item to its k-th nearest other item."""
    result = x.new_empty(len(x))
    for rows, distance in measured_blocks(x, x):
        result[rows] = distance.kthvalue(k + 1, dim=1).values
    return result


def measured_blocks(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Iterator[tuple[slice, Float[Tensor, "b m"]]]:
    """`distance_blocks`, with the closest pairs measured by their differences: of twins, the distance is 0 exactly, and
    rounding does not give their balls a radius."""
    lengths = y.square().sum(1)
    for rows, distance in distance_blocks(x, y):
        total = x[rows].square().sum(1, keepdim=True) + lengths
        close = (distance < CLOSE * total).nonzero()
        for part in row_blocks(len(close), x.shape[1]):
            i, j = close[part].unbind(1)
            distance[i, j] = (x[rows][i] - y[j]).square().sum(1)
        yield rows, distance


def own_nearest(x: Float[Tensor, "n ..."], candidates: Float[Tensor, "n ..."], among: int = 100) -> Float[Tensor, ""]:
    """The share of x whose nearest candidate, in squared distance, is their own, of `among` beside each other (fewer,
    where there are no more)."""
    flat = [t.flatten(1).double() for t in (x, candidates)]
    right = [
        torch.cdist(a, b).argmin(1) == torch.arange(len(a))
        for a, b in zip(*(torch.split(t, among) for t in flat), strict=True)
    ]
    return torch.cat(right).double().mean()


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest training item of each query."""

    index: Int[Tensor, " n"]
    """Its row in the training set."""
    ratio: Float[Tensor, " n"]
    """Distance to the nearest over the mean distance to the second to sixth: 0 for an exact copy, a little below 1
    where nothing was memorized; 1 where all six are at distance 0."""


def nearest(query: Float[Tensor, "n d"], train: Float[Tensor, "m d"]) -> Nearest:
    """Finds neighbors by float32 products, then measures them anew by float64 differences: copies score 0 exactly.

    Raises UsageError for fewer than 6 training items, unequal dimensions or values that are not finite.
    """
    check_features(1, query=query, train=train)
    check_features(OTHERS + 1, train=train[: OTHERS + 1])
    center = train.mean(0)  # distances stay, and the products lose fewer digits
    blocks = distance_blocks((query - center).float(), (train - center).float())
    candidates = torch.cat([distance.topk(OTHERS + 1, largest=False).indices for _, distance in blocks])
    index, ratio = [], []
    for rows in row_blocks(len(query), (OTHERS + 1) * query.shape[1]):
        gaps = (train[candidates[rows]].double() - query[rows, None].double()).square().sum(2).sqrt()
        gaps, order = gaps.sort(1)
        usual = gaps[:, 1:].mean(1)
        index.append(candidates[rows].gather(1, order[:, :1]).flatten())
        ratio.append(torch.where(usual > 0, gaps[:, 0] / usual, 1.0))
    return Nearest(torch.cat(index), torch.cat(ratio))
