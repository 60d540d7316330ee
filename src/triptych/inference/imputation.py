"""Filling in what is missing of x, given what is known of it: draws from p(missing | known), exact where they can be.

  a prefix, in an autoregressive model's order   exact: it samples on
  any values, in an order-agnostic model         exact, in an ordering that begins with the known ones (Uria et al.,
                                                 2014; https://arxiv.org/abs/1310.1757)
  any values, in another autoregressive model    importance resampling: of completions that do not foresee later known
                                                 values, one is kept, as likely as it predicted those values
  any values, in a VAE                           importance resampling: latents from the encoder, the missing values at
                                                 mid level, weighted by p(known | z) p(z) / q(z | known) (Mattei and
                                                 Frellsen, 2018; https://arxiv.org/abs/1812.02633)

Resampling is exact in the limit of many draws; the effective number of them says how far away that is.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.distributions import Independent
from torch.nn import functional as F

from triptych.core import (
    UNKNOWN,
    Autoregressive,
    Generative,
    ItemNoise,
    Sampling,
    Space,
    UsageError,
    evaluating,
    inverse_cdf,
    mix,
)
from triptych.core.sampling import from_sequence, to_sequence
from triptych.inference.importance import LatentVariable


@runtime_checkable
class OrderAgnostic(Protocol):
    """A model of two levels that predicts every value from any others."""

    def predict(self, v: Float[Tensor, "n d"], known: Bool[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The log-odds of each value, in raster order, given those that are known (zeros and ones)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Imputed:
    """A completion of each example."""

    x: Shaped[Tensor, "n ..."]
    """The known values, and drawn ones."""
    exact: bool
    """Whether it is a draw from p(missing | known), or in the limit of many draws only."""
    how: str
    effective: Float[Tensor, " n"] | None
    """The effective number of draws that one was chosen from, 1 / sum of the squared weights; None if exact."""
    mean: Shaped[Tensor, "n ..."] | None = None
    """The known values, and the mean of p(missing | z) of the z that x was drawn with: what there is to look at without
    the noise that a decoder draws for each value by itself. None for a model without a decoder."""


def impute(
    model: Generative[Any],
    x: Shaped[Tensor, "n ..."],
    known: Bool[Tensor, "n ..."],
    given: Any = None,
    *,
    draws: int = 64,
    seed: int = 0,
    first: int = 0,
) -> Imputed:
    """Draws the values of x that are not known; what stands in their place does not matter.

    `draws` completions are weighed where there is no exact way. Example i's answer follows from the model, x[i],
    known[i], the seed and first + i.

    Raises UsageError for a model that can do neither, for known values outside of its space, or less than 1 draw.
    """
    space = model.config.x
    if draws < 1:
        raise UsageError(f"draws={draws}: imputation takes 1 or more")
    if known.dtype != torch.bool or known.shape != x.shape:
        raise UsageError(
            f"known is {known.dtype} {list(known.shape)}: it is a bool for each value of x, {list(x.shape)}"
        )
    model.check_given(len(x), given)
    nothing = space.from_index(torch.zeros_like(x, dtype=torch.long))
    level = space.index(torch.where(known, x, nothing.to(x.dtype))).masked_fill(~known, UNKNOWN)
    with evaluating(model), torch.no_grad():
        if isinstance(model, Autoregressive) and bool(is_prefix(model, known).all()):
            drawn = model.sample(len(x), given, seed=seed, first=first, how=Sampling(known=level))
            return Imputed(x=drawn, exact=True, how="the known values are a prefix", effective=None)
        if isinstance(model, OrderAgnostic):
            filled = space.from_index(one_by_one(model, space, level, ItemNoise(seed, items(x, first), x.device)))
            return Imputed(x=filled, exact=True, how="the known values come first in the ordering", effective=None)
        if not isinstance(model, Autoregressive | LatentVariable):
            raise UsageError(
                f"{model.name} cannot fill in what is missing: that takes a model of one value after the other "
                "(pixelcnn, gpt), or one whose encoder gives a distribution of latents (vae, miwae)"
            )
        rows, effective, means = list[Tensor](), list[Tensor](), list[Tensor]()
        for i in range(len(x)):
            part = slice(i, i + 1)
            some = None if given is None else given[part]
            number = first + i
            z = None
            if isinstance(model, Autoregressive):
                y, log_w = completions(model, level[part], some, draws, seed, number)
            else:
                y, log_w, z = decoded(model, x[part], known[part], some, draws, mix(seed, number))
            u = ItemNoise(mix(seed, 1), [number], x.device).uniform()
            chosen = inverse_cdf(log_w[None], u.to(log_w.dtype))
            rows.append(y[chosen])
            if z is not None and isinstance(model, LatentVariable):
                means.append(model.decode(z[chosen], some).mean[0])
            effective.append(1 / log_w.softmax(0).square().sum())
    how = f"importance resampling, 1 of {draws} draws"
    drawn = torch.cat(rows) if rows else x
    return Imputed(
        x=torch.where(known, x, drawn.to(x.dtype)),
        exact=False,
        how=how,
        effective=torch.stack(effective) if rows else x.new_empty(0),
        mean=torch.where(known, x, torch.cat(means).to(x.dtype)) if means else None,
    )


def items(x: Tensor, first: int) -> range:
    return range(first, first + len(x))


def is_prefix(model: Autoregressive[Any], known: Bool[Tensor, "n ..."]) -> Bool[Tensor, " n"]:
    """Whether no known value comes after an unknown one in the model's order."""
    ordered = known.flatten(1)[:, model.order().to(known.device)]
    return (ordered[:, 1:] <= ordered[:, :-1]).all(1)


def one_by_one(
    model: OrderAgnostic, space: Space, level: Int[Tensor, "n ..."], noise: ItemNoise
) -> Int[Tensor, "n ..."]:
    """Unknown values in raster order, each given all that are known by then."""
    v, u = to_sequence(space, level), to_sequence(space, noise.uniform(*space.shape))
    for i in range(v.shape[1]):
        if bool((v[:, i] == UNKNOWN).any()):
            known = v != UNKNOWN
            log_odds = model.predict(v.clamp(min=0).to(u.dtype), known)[:, i, None]
            v[:, i] = torch.where(known[:, i], v[:, i], inverse_cdf(log_odds, u[:, i]))
    return from_sequence(space, v)


def completions(
    model: Autoregressive[Any], level: Int[Tensor, "1 ..."], given: Any, draws: int, seed: int, number: int
) -> tuple[Shaped[Tensor, "draws ..."], Float[Tensor, " draws"]]:
    """Completions of one example, and log of the probability with which each foresaw the known values."""
    some = None if given is None else given.map(lambda t: t.expand(draws, *t.shape[1:]))
    y = model.sample(draws, some, seed=mix(seed), first=number * draws, how=Sampling(known=level))
    logits = model.logits(y, some)
    if logits.shape[-1] == 1:
        logits = F.pad(logits, (1, 0))
    factors = logits.log_softmax(-1).gather(-1, model.config.x.index(y)[..., None])[..., 0]
    return y, (factors * (level != UNKNOWN)).flatten(1).sum(1)


def decoded(
    model: LatentVariable[Any], x: Tensor, known: Bool[Tensor, "1 ..."], given: Any, draws: int, seed: int
) -> tuple[Shaped[Tensor, "draws ..."], Float[Tensor, " draws"], Float[Tensor, "draws 1 ..."]]:
    """x from latents that the encoder proposes for the known values of one example, the latents' log weights, and they.

    Raises UsageError if the decoder's values depend on each other: then p(known | z) is not at hand.
    """
    torch.manual_seed(seed)
    filled = torch.where(known, x, torch.zeros_like(x))
    q = model.encode(filled, given)
    z = q.sample((draws,))
    p = model.decode(z, given)
    if not isinstance(p, Independent) or p.base_dist.batch_shape[2:] != x.shape[1:]:
        raise UsageError("imputation takes a decoder whose values are independent given z")
    of_known = (p.base_dist.log_prob(x.nan_to_num()) * known).flatten(2).sum(2)
    log_w = of_known + model.prior(given).log_prob(z) - q.log_prob(z)
    return p.base_dist.sample()[:, 0], log_w[:, 0], z
