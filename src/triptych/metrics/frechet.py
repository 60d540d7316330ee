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
    return between(*fitted(x.double()), *fitted(y.double()))


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
        if value.dim() == 2 and not torch.allclose(value, value.T):
            raise UsageError(f"{name} is not symmetric: not a covariance")
    return between(mean_x.double(), factor(cov_x.double()), mean_y.double(), factor(cov_y.double()))


def between(mean_x: Tensor, a: Tensor, mean_y: Tensor, b: Tensor) -> float:
    """The distance from means and factors, S_x = a a^T and S_y = b b^T.

    Tr (S_x S_y)^(1/2) is the sum of the singular values of a^T b: no root of a nonsymmetric matrix is ever taken. They
    are the roots of the eigenvalues of a symmetric matrix, which are found four times faster; but where that matrix is
    singular the root would turn rounding of 1e-16 into 1e-8.
    """
    product = a.T @ b
    if min(product.shape) == len(a):
        values = torch.linalg.eigvalsh(product @ product.T).clamp(min=0).sqrt()
    else:
        values = torch.linalg.svdvals(product)
    return ((mean_x - mean_y).square().sum() + a.square().sum() + b.square().sum() - 2 * values.sum()).item()


def fitted(x: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
    """Mean, and a factor of the covariance, [d, min(n, d)] or narrower."""
    n, d = x.shape
    mean = x.mean(0)
    centered = (x - mean).div_((n - 1) ** 0.5)
    return mean, centered.T if n <= d else factor(centered.T @ centered)


def factor(cov: Float[Tensor, "d d"]) -> Float[Tensor, "d r"]:
    """A matrix a with a a^T = cov: Cholesky's, or for a singular covariance (constant pixels) its own eigenvectors."""
    lower, failed = torch.linalg.cholesky_ex(cov)
    if not failed:
        return lower
    values, vectors = torch.linalg.eigh(cov)
    kept = values > len(cov) * torch.finfo(cov.dtype).eps * values[-1]
    return vectors[:, kept] * values[kept].sqrt()
