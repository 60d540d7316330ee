"""The Frechet distance between Gaussians fitted to two sets of features.

Heusel et al., 2017. https://arxiv.org/abs/1706.08500 (Equation 6). On the features of the TensorFlow Inception network
it is the FID; on any other extractor it is not, and Triptych calls it FD-<extractor>.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import UsageError
from triptych.metrics.blocks import check_features


def frechet_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """|mean_x - mean_y|^2 + Tr(S_x + S_y - 2 (S_x S_y)^(1/2)), with unbiased covariances S, in float64.

    In squared units of the features. Symmetric in x and y; fewer items than dimensions will do. The estimate is biased
    upwards, by about d(d+5)/(2n) when both are n draws of one isotropic unit Gaussian: compare only at equal n and m.

    Raises UsageError for fewer than 2 items, unequal dimensions or values that are not finite.
    """
    check_features(2, x=x, y=y)
    (mean_x, a), (mean_y, b) = centered(x.double()), centered(y.double())
    d = x.shape[1]
    shared = overlap(a.T @ a, b.T @ b) if min(len(a), len(b)) > d else torch.linalg.svdvals(thin(a) @ thin(b).T).sum()
    return ((mean_x - mean_y).square().sum() + a.square().sum() + b.square().sum() - 2 * shared).item()


def frechet_distance_of_gaussians(
    mean_x: Float[Tensor, " d"],
    cov_x: Float[Tensor, "d d"],
    mean_y: Float[Tensor, " d"],
    cov_y: Float[Tensor, "d d"],
) -> float:
    """The same from known moments; the covariances may be singular.

    Raises UsageError unless the shapes agree and the covariances are symmetric.
    """
    d = mean_x.numel()
    for name, value, shape in (
        ("mean_x", mean_x, (d,)),
        ("mean_y", mean_y, (d,)),
        ("cov_x", cov_x, (d, d)),
        ("cov_y", cov_y, (d, d)),
    ):
        if tuple(value.shape) != shape:
            raise UsageError(f"{name} has shape {list(value.shape)}; with mean_x of {d} it takes {list(shape)}")
        if value.dim() == 2 and (value - value.T).abs().max() > 1e-6 * value.abs().max():
            raise UsageError(f"{name} is not symmetric: not a covariance")
    shared = overlap(cov_x.double(), cov_y.double())
    traces = cov_x.double().trace() + cov_y.double().trace()
    return ((mean_x.double() - mean_y.double()).square().sum() + traces - 2 * shared).item()


def overlap(cov_x: Float[Tensor, "d d"], cov_y: Float[Tensor, "d d"]) -> Tensor:
    """Tr (S_x S_y)^(1/2), without the root of a nonsymmetric matrix.

    With S_x = L L^T (Cholesky) it is the sum of the roots of the eigenvalues of L^T S_y L. Where that is singular, a
    root would turn rounding of 1e-16 into 1e-8; then it is taken, at four times the cost, as the sum of the singular
    values of A^T B with S_x = A A^T and S_y = B B^T.
    """
    lower, failed = torch.linalg.cholesky_ex(cov_x)
    if not failed:
        values = torch.linalg.eigvalsh(lower.T @ cov_y @ lower)
        if values[0] > negligible(values):
            return values.sqrt().sum()
    return torch.linalg.svdvals(factor(cov_x).T @ factor(cov_y)).sum()


def centered(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "n d"]]:
    """The mean, and rows a with a^T a the unbiased covariance."""
    mean = x.mean(0)
    return mean, (x - mean).div_((len(x) - 1) ** 0.5)


def thin(a: Float[Tensor, "n d"]) -> Float[Tensor, "r d"]:
    """At most d rows with the same a^T a."""
    return a if len(a) <= a.shape[1] else factor(a.T @ a).T


def factor(cov: Float[Tensor, "d d"]) -> Float[Tensor, "d r"]:
    """A with A A^T = cov, without the directions in which nothing varies (constant pixels)."""
    values, vectors = torch.linalg.eigh(cov)
    kept = values > negligible(values)
    return vectors[:, kept] * values[kept].sqrt()


def negligible(values: Float[Tensor, " d"]) -> Tensor:
    """What rounding leaves of a zero among these eigenvalues, in ascending order."""
    return len(values) * torch.finfo(values.dtype).eps * values[-1]
