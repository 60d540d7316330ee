"""Filling in what is missing of x, given what is known of it: draws from p(missing | known), exact where they can be.

  a prefix, in an autoregressive model's order   exact: it samples on
  any values, in an order-agnostic model         exact, in an ordering that begins with the known ones (Uria et al.,
                                                 2014; https://arxiv.org/abs/1310.1757)
  any values, in another autoregressive model    importance resampling: of completions that do not foresee later known
                                                 values, one is kept, as likely as it predicted those values
  any values, in a VAE                           importance resampling: latents from the encoder, the missing values at
                                                 mid level, weighted by p(known | z) p(z) / q(z | known) (Mattei and
                                                 Frellsen, 2018; https://arxiv.org/abs/1812.02633)
  any places, in a model of codes in any order   importance resampling: the codes of what is known stay, the others are
                                                 drawn given them, weighted by p(known | codes) (Chang and others, 2022;
                                                 https://arxiv.org/abs/2202.04200)

Resampling is exact in the limit of many draws; the effective number of them says how far away that is.
"""

from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.nn import functional as F

from triptych.core import (
    UNKNOWN,
    Autoregressive,
    Generative,
    ItemNoise,
    Noise,
    Sampling,
    Space,
    UsageError,
    category,
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


@runtime_checkable
class Recoding(Protocol):
    """A model of images, or solids, by codes that it draws given others: any, or those before (`InOrder`)."""

    def known_codes(self, x: Float[Tensor, "n c *sides"], known: Bool[Tensor, "n *sides"]) -> Int[Tensor, "n places"]:
        """The codes of images of which only some pixels are known: -1 for those that are to be drawn."""

    def draw_codes(self, noise: Noise, given: Any, how: Sampling) -> Int[Tensor, "n places"]:
        """Codes of which some are known."""

    def decode(self, code: Int[Tensor, "*n places"], given: Any) -> Distribution:
        """p(x | code)"""


@runtime_checkable
class InOrder(Protocol):
    """One that draws its codes one after the other, and does not foresee those that are known and come later."""

    def foresaw(self, code: Int[Tensor, "n places"], known: Int[Tensor, "n places"], given: Any) -> Float[Tensor, " n"]:
        """The log probability of the codes that are known (not -1), each given all of those before it."""


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
        recoding = isinstance(model, Recoding) and len(space.shape) > 2
        if not (recoding or isinstance(model, Autoregressive | LatentVariable)):
            raise UsageError(
                f"{model.name} cannot fill in what is missing: that takes a model of one value after the other "
                "(pixelcnn, gpt), one whose encoder gives a distribution of latents (vae, miwae), or one of codes in "
                "any order (maskgit)"
            )
        rows, effective, means = list[Tensor](), list[Tensor](), list[Tensor]()
        for i in range(len(x)):
            part = slice(i, i + 1)
            some = None if given is None else given[part]
            number = first + i
            z = None
            if isinstance(model, Autoregressive):
                y, log_w = completions(model, level[part], some, draws, seed, number)
            elif recoding:
                y, log_w, z = recoded(model, x[part], known[part], some, draws, seed, number)
            else:
                y, log_w, z = decoded(
                    cast(LatentVariable[Any], model), x[part], known[part], some, draws, mix(seed, number)
                )
            u = ItemNoise(mix(seed, 1), [number], x.device).uniform()
            chosen = category(log_w[None], u.to(log_w.dtype))
            rows.append(y[chosen])
            if z is not None:
                means.append(cast(LatentVariable[Any], model).decode(z[chosen], some).mean[0])
            effective.append(1 / log_w.softmax(0).square().sum())
    stay = "the codes of what is known stay; " if recoding else ""
    how = f"{stay}importance resampling, 1 of {draws} draws"
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


def recoded(
    model: Any, x: Tensor, known: Bool[Tensor, "1 c *sides"], given: Any, draws: int, seed: int, number: int
) -> tuple[Float[Tensor, "draws c *sides"], Float[Tensor, " draws"], Int[Tensor, "draws 1 places"]]:
    """x from codes of which those of known places stay, for one image, the log probability of its known values given
    each of them (and of its known codes, where these were not foreseen), and the codes."""
    there = known.all(1)
    code = model.known_codes(spread(torch.where(known, x, torch.zeros_like(x)), there), there)
    noise = ItemNoise(mix(seed), range(number * draws, (number + 1) * draws), x.device, model.precision)
    some = None if given is None else given.map(lambda t: t.expand(draws, *t.shape[1:]))
    z = model.draw_codes(noise, some, Sampling(known=code))[:, None]
    p = model.decode(z[:, 0], some).base_dist
    log_w = (p.log_prob(torch.where(known, x, torch.zeros_like(x))) * known).flatten(1).sum(1)
    if isinstance(model, InOrder):
        log_w = log_w + model.foresaw(z[:, 0], code.expand(draws, -1), some)
    return p.icdf(noise.uniform(*p.uniforms)), log_w, z


def spread(x: Float[Tensor, "1 c *sides"], known: Bool[Tensor, "1 *sides"]) -> Float[Tensor, "1 c *sides"]:
    """x with what is not known filled from the known pixels nearest to it, ring by ring."""

    def mean(x: Tensor) -> Tensor:
        wide = F.pad(x, [1] * 2 * (x.dim() - 2))
        return F.avg_pool2d(wide, 3, 1) if x.dim() == 4 else F.avg_pool3d(wide, 3, 1)

    there = known[:, None].to(x.dtype)
    while bool((there == 0).any()) and bool((there > 0).any()):
        near = mean(there)
        ring = (there == 0) & (near > 0)
        x = torch.where(ring, mean(x * there) / near.clamp(min=1e-9), x)
        there = there + ring.to(x.dtype)
    return x
