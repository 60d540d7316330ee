"""Bounds on log p(x) from importance weights w = p(x, z) / q(z | x), the latents z being drawn from q.

Burda, Grosse and Salakhutdinov, 2015. Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
Tucker, Lawson, Gu and Maddison, 2018. Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives.
https://arxiv.org/abs/1810.04152
"""

from collections.abc import Callable
from math import log

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal


def importance_weighted(log_w: Float[Tensor, "draws n"]) -> Float[Tensor, " n"]:
    """L_k = log (1/k) sum_i w_i (Burda et al., Equation 8), k = 1 being the ELBO.

    Its gradient is sum_i w~_i grad log w_i with the normalized weights w~ (Equation 14): that of the logarithm of a sum
    of exponentials. Nothing has to be held constant for it, and the value is the bound.
    """
    return log_w.logsumexp(0) - log(len(log_w))


def importance_weighted_in_parts(
    weigh: Callable[[int], Float[Tensor, "k n"]], draws: int, size: int
) -> Float[Tensor, " n"]:
    """L_k of more draws than fit into memory: `weigh(k)` draws k latents of each example and returns their log w.

    `size` is how many numbers are decoded for one draw; at most 2^24 (64 MB) are decoded at once.
    """
    at_once = max(1, 2**24 // max(1, size))
    sums = [weigh(min(at_once, draws - first)).logsumexp(0) for first in range(0, draws, at_once)]
    return torch.stack(sums).logsumexp(0) - log(draws)


def held(q: Distribution) -> Distribution:
    """A diagonal Gaussian whose parameters no gradient reaches: log q(z) then tells how z moves, and not how q does."""
    return Independent(Normal(q.mean.detach(), q.stddev.detach(), validate_args=False), 1, validate_args=False)


def reparameterize_doubly(z: Float[Tensor, "draws n latent"], log_w: Float[Tensor, "draws n"]) -> None:
    """Makes sum_i w~_i^2 (d log w_i / dz_i) (dz_i / dphi) of the gradient of `importance_weighted(log_w)` by q's phi.

    Tucker et al., Equation 8. Its signal does not drown in noise as the draws become more. `log_w` must have been
    computed with `held(q)`, from a z that is reparameterized by q. Every other gradient stays as it was.
    """
    weight = log_w.detach().softmax(0)[..., None]  # the other w~_i is already in the gradient that reaches z
    if z.requires_grad:
        z.register_hook(lambda slope: slope * weight)  # type: ignore[no-untyped-call]
