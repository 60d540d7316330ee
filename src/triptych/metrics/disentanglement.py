"""Does each latent stand for one factor that the data were made from? For controlled data, whose factors are known.

Scores from 0 to 1. Both ask, for each factor, how far the latent that tells most of it is ahead of the next one.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from triptych.core import UsageError

BINS = 20
"""Of equal width between a latent's least and greatest value (Locatello et al., 2018; https://arxiv.org/abs/1811.12359)."""


def mutual_information_gap(
    z: Float[Tensor, "n latents"], factors: Int[Tensor, "n factors"], bins: int = BINS
) -> Float[Tensor, " factors"]:
    """MIG of each factor: the gap in mutual information, as a share of the factor's entropy; float64. Mean: the score.

    Latents (encoders' means) are put into bins, factors are whole numbers. Chen, Li, Grosse and Duvenaud, 2018.
    Isolating Sources of Disentanglement in Variational Autoencoders (Equation 6). https://arxiv.org/abs/1802.04942

    Raises UsageError for less than two latents, and for a factor that is the same everywhere.
    """
    check(z, factors)
    if factors.is_floating_point():
        raise UsageError(f"factors hold {factors.dtype} values: mutual information takes whole numbers (classes)")
    low, high = z.amin(0), z.amax(0)
    cells = ((z - low) / (high - low).clamp(min=torch.finfo(z.dtype).tiny) * bins).long().clamp(0, bins - 1)
    gaps = []
    for factor in factors.T:
        _, k = factor.unique(return_inverse=True)
        classes = int(k.max()) + 1
        told = []
        for cell in cells.T:
            joint = torch.bincount(cell * classes + k, minlength=bins * classes).double().view(bins, classes) / len(k)
            told.append(entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.flatten()))
        first, second = torch.stack(told).topk(2).values
        gaps.append((first - second) / entropy(k.bincount().double() / len(k)))
    return torch.stack(gaps)


def separated_attribute_predictability(
    z: Float[Tensor, "n latents"], factors: Shaped[Tensor, "n factors"]
) -> Float[Tensor, " factors"]:
    """SAP of each factor: the gap in R^2 of a line through one latent; float64. Mean: the score.

    For factors in an order, such as sizes and places. Kumar, Sattigeri and Balakrishnan, 2017. Variational Inference of
    Disentangled Latent Concepts from Unlabeled Observations (Section 3). https://arxiv.org/abs/1711.00848

    Raises UsageError for less than two latents, and for a factor that is the same everywhere.
    """
    check(z, factors)
    a, b = (t.double() - t.double().mean(0) for t in (z, factors))
    # a latent that is the same everywhere tells nothing
    share = (a.T @ b).square() / (a.square().sum(0)[:, None] * b.square().sum(0)).clamp(min=1e-300)
    best = share.topk(2, dim=0).values
    return best[0] - best[1]


def entropy(p: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """In nats."""
    return -torch.xlogy(p, p).sum()


def check(z: Tensor, factors: Tensor) -> None:
    if z.dim() != 2 or factors.dim() != 2 or len(z) != len(factors):
        raise UsageError(
            f"z has shape {list(z.shape)} and factors {list(factors.shape)}: they are [n, latents] and [n, factors]"
        )
    if z.shape[1] < 2 or len(z) < 2:
        raise UsageError(f"z has shape {list(z.shape)}: a gap is between two latents, over two examples or more")
    if bool((factors == factors[:1]).all(0).any()):
        raise UsageError("a factor is the same in all examples: there is nothing to tell of it")
    if not bool(z.isfinite().all()):
        raise UsageError("z holds values that are not finite")
