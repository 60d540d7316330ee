"""The likelihood of a latent-variable model by importance sampling, its own encoder proposing the latents.

p(x) is the mean, over z drawn from q(z | x), of the weights w = p(x, z) / q(z | x). The logarithm of the mean of many
weights estimates log p(x): Burda et al. (2015, Section 5; https://arxiv.org/abs/1509.00519).
"""

from math import log
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from triptych.core import Estimate, Generative, UsageError, evaluating, mix
from triptych.core.model import GC


@runtime_checkable
class LatentVariable(Protocol[GC]):
    """A model of x through a latent z, with a network that proposes z for an x."""

    def prior(self, given: GC) -> Distribution:
        """p(z | given)"""

    def encode(self, x: Tensor, given: GC) -> Distribution:
        """q(z | x, given)"""

    def decode(self, z: Tensor, given: GC) -> Distribution:
        """p(x | z, given); z may have an axis of draws before the batch."""


def importance_sampling(
    model: Generative[Any],
    x: Float[Tensor, "n ..."],
    given: Any = None,
    *,
    draws: int = 5000,
    chunk: int = 2**22,
    seed: int = 0,
) -> Estimate:
    """log p(x | given) of each example, from `draws` latents each, in evaluation mode and without gradients.

    On average not above log p(x), and nearer to it than the bound that training raises. The standard error is the
    delta method's, sd(w) / mean(w) / sqrt(draws). Where it is not well below 1, the encoder misses what matters, and
    neither number is to be trusted.

    `chunk` bounds the numbers decoded at once (memory). Equal x, seed and chunk give equal answers; torch's global
    generator is left as it was.

    Raises UsageError if the model has no encoder, if x is not in its space, or for fewer than 2 draws.
    """
    if not isinstance(model, LatentVariable):
        raise UsageError(f"importance sampling needs a latent variable with an encoder; {model.name} has none")
    if draws < 2 or chunk < 1:
        raise UsageError(f"importance sampling takes draws >= 2 and chunk >= 1, got {draws} and {chunk}")
    model.check_given(len(x), given)
    space = model.config.x
    space.index(x)

    rows = max(1, chunk // space.dims)  # latents decoded at once: all those of some examples, or some of one's
    examples = max(1, rows // draws)
    sums = []
    with evaluating(model), torch.no_grad():
        for first in range(0, len(x), examples):
            torch.manual_seed(mix(seed, first))
            part = slice(first, first + examples)
            sums.append(log_sums(model, x[part], None if given is None else given[part], draws, rows))
    s1, s2 = torch.cat(sums, 1) if sums else torch.empty(2, 0, dtype=torch.float64)
    # var(w) / mean(w)^2 = (draws S2 / S1^2 - 1) draws / (draws - 1)
    relative = (draws * (s2 - 2 * s1).exp() - 1).clamp(min=0) / (draws - 1)
    return Estimate(
        nats=s1 - log(draws),
        stderr=relative.sqrt(),
        dims=space.dims,
        measure=space.measure,
        how=f"importance sampling, {draws} draws from q(z|x)",
    )


def log_sums(model: LatentVariable[Any], x: Tensor, given: Any, draws: int, rows: int) -> Float[Tensor, "2 n"]:
    """log S1 and log S2: of the sum of the weights and of the sum of their squares, in float64."""
    q, p = model.encode(x, given), model.prior(given)
    sums = torch.full((2, len(x)), -torch.inf, dtype=torch.float64, device=x.device)
    at_once = min(draws, max(1, rows // len(x)))
    for first in range(0, draws, at_once):
        z = q.sample((min(at_once, draws - first),))
        log_w = (model.decode(z, given).log_prob(x) + p.log_prob(z) - q.log_prob(z)).double()
        sums = torch.logaddexp(sums, torch.stack([log_w.logsumexp(0), (2 * log_w).logsumexp(0)]))
    return sums
