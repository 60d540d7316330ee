"""Annealed importance sampling: the likelihood of any model that decodes a continuous latent, by simulation.

From p(z) a chain is led to p(z | x) through p_t(z), proportional to p(z) p(x | z)^b_t, the temperatures b rising from 0
to 1, by a Hamiltonian Monte Carlo transition at each. The product of p(x | z_{t-1})^(b_t - b_{t-1}) along the way is a
weight w with E[w] = p(x); so log of a mean of weights is on average not above log p(x).

Annealed Importance Sampling. Neal, 1998. https://arxiv.org/abs/physics/9803008
On the Quantitative Analysis of Decoder-Based Generative Models.
Wu, Burda, Salakhutdinov and Grosse, 2017. https://arxiv.org/abs/1611.04273

All of this holds if the transitions at b leave p_t as it is, and so only if their step size does not depend on where
the chain has been. Adapting it along the way, as many codes do, gives estimates that are too high. Here it is tuned on
chains of its own, for each example and temperature, and frozen before the chains that count are begun.

How good is the estimate? For data that the model itself made, one exact sample of the posterior is known: the z that x
was made from. A chain from there back to the prior bounds log p(x) from above: Sandwiching the Marginal Likelihood with
Bidirectional Monte Carlo. Grosse, Ghahramani and Adams, 2015. https://arxiv.org/abs/1511.02543
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import interpolate

from triptych.core import (
    Autoregressive,
    Estimate,
    Generative,
    Given,
    ItemNoise,
    UsageError,
    evaluating,
    mix,
)
from triptych.core.likelihood import BaseMeasure
from triptych.core.model import GC
from triptych.inference.generators import Observation, Observed

ACCEPTED = 0.8
"""The share of moves that a step size is tuned to (Betancourt, Byrne and Girolami, 2014;
https://arxiv.org/abs/1411.6669). With the .65 of many dimensions, chains of few stand still too often."""
GAIN = 0.5
"""By how much log step moves for each unit of acceptance that is too many, in the pilot runs."""
PILOT = 200
"""Temperatures of a pilot run, at most: the steps between are interpolated."""
WARMUP = 50
"""Moves at the first temperature before a pilot run leaves it."""
STEEPNESS = 4.0
"""Temperatures lie on a sigmoid from minus this to this (Wu et al., Appendix): densest at both ends."""
JITTER = 0.2
"""Each move's step is the tuned one, give or take this share: moves of one length may circle without mixing."""
CHUNK = 2**22
"""Numbers decoded at once."""


@runtime_checkable
class Decoder(Protocol[GC]):
    """A model of x through a latent z."""

    def prior(self, given: GC) -> Distribution:
        """p(z | given)"""

    def decode(self, z: Tensor, given: GC) -> Distribution:
        """p(x | z, given); z may have an axis of chains before the batch."""


@dataclass(frozen=True)
class Annealing:
    """The settings of a run. More temperatures tighten the bound, more chains the error; time grows with both.

    Raises UsageError for numbers that make no run.
    """

    temperatures: int = 1000
    """Steps from the prior to the posterior. 1: importance sampling, the prior proposing."""
    chains: int = 16
    """Independent chains for each example, two or more."""
    leapfrog: int = 10
    """Steps of a Hamiltonian move."""

    def __post_init__(self) -> None:
        for name, least in (("temperatures", 1), ("chains", 2), ("leapfrog", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)}: annealing takes {least} or more")

    def betas(self) -> Float[Tensor, " temperatures+1"]:
        """The temperatures, from 0 to 1, in float64."""
        s = torch.linspace(-STEEPNESS, STEEPNESS, self.temperatures + 1, dtype=torch.float64).sigmoid()
        return (s - s[0]) / (s[-1] - s[0])

    def __str__(self) -> str:
        return (
            f"AIS, {self.temperatures} temperatures, {self.chains} chains, {self.leapfrog} leapfrog steps "
            "tuned beforehand"
        )


USUAL = Annealing()
"""The settings where nobody says others."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Sandwich:
    """log p(x) of simulated examples, from both sides."""

    x: Shaped[Tensor, "n ..."]
    lower: Estimate
    """Forward: on average not above log p(x)."""
    upper: Float[Tensor, " n"]
    """Backward, from the z that x was made from: on average not below log p(x). In nats."""

    @property
    def gap(self) -> float:
        """The mean of upper - lower, in nats: on average, what annealing may lack of log p(x) on such data."""
        return (self.upper - self.lower.nats).mean().item()

    @property
    def stderr(self) -> float:
        """Of the gap, over examples."""
        return (self.upper - self.lower.nats).std().item() / sqrt(len(self.upper))


def ais(
    model: Generative[Any],
    x: Shaped[Tensor, "n ..."],
    given: Any = None,
    *,
    noise: Observation | None = None,
    how: Annealing = USUAL,
    seed: int = 0,
    first: int = 0,
) -> Estimate:
    """log p(x | given) of each example, in evaluation mode.

    `noise` is the observation model of a generator that has none, a GAN's: the standard deviation of Gaussian noise
    around what it generates, or "bernoulli" for two levels. The estimate says which; it holds for that noise only.

    The standard error is the delta method's over chains. It does not see a mode that no chain has found: `bdmc` does.
    Example i's answer follows from the model, x[i], the seed and first + i, up to rounding, whatever is beside it.

    Raises UsageError if the model has no continuous latent to anneal, if `noise` is missing or does not apply, or if x
    is not in the model's space.
    """
    model.check_given(len(x), given)
    decoder, measure, said = decoder_of(model, noise)
    space = model.config.x
    _ = space.index(x) if measure == "mass" else space.check(x)
    with evaluating(model), torch.no_grad():
        check_continuous(model, decoder, given)
        at_once = max(1, CHUNK // (how.chains * space.dims))
        parts = []
        for start in range(0, len(x), at_once):
            part = slice(start, start + at_once)
            some = None if given is None else given[part]
            posterior = Posterior(decoder, x[part], some)
            steps = tune(posterior, how, seed, first + start)
            parts.append(forward(posterior, steps, how, seed, first + start))
    nats, stderr = log_mean(torch.cat(parts, 1).cpu() if parts else torch.empty(how.chains, 0, dtype=torch.float64))
    return Estimate(nats=nats, stderr=stderr, dims=space.dims, measure=measure, how=str(how) + said)


def bdmc(
    model: Generative[Any],
    n: int,
    given: Any = None,
    *,
    noise: Observation | None = None,
    how: Annealing = USUAL,
    seed: int = 0,
) -> Sandwich:
    """The model makes n examples; their log p(x) is bounded from both sides by chains with the same settings.

    The gap tells how far `ais` with these settings may be off, on data such as the model's own. On real data, which may
    be harder, it is no bound. Raises UsageError as `ais` does, and for less than 2 examples.
    """
    if n < 2:
        raise UsageError(f"n={n}: a gap takes 2 simulated examples or more")
    model.check_given(n, given)
    decoder, measure, said = decoder_of(model, noise)
    dims = model.config.x.dims
    with evaluating(model), torch.no_grad():
        check_continuous(model, decoder, given)
        z, x = simulate(decoder, n, given, seed)
        at_once = max(1, CHUNK // (how.chains * dims))
        up, down = [], []
        for start in range(0, n, at_once):
            part = slice(start, start + at_once)
            posterior = Posterior(decoder, x[part], None if given is None else given[part])
            steps = tune(posterior, how, seed, start)
            up.append(forward(posterior, steps, how, seed, start))
            down.append(backward(posterior, z[part], steps, how, seed, start))
    nats, stderr = log_mean(torch.cat(up, 1).cpu())
    upper = -log_mean(torch.cat(down, 1).cpu())[0]
    lower = Estimate(nats=nats, stderr=stderr, dims=dims, measure=measure, how=str(how) + said)
    return Sandwich(x=x, lower=lower, upper=upper)


def decoder_of(model: Generative[Any], noise: Observation | None) -> tuple[Decoder[Any], BaseMeasure, str]:
    """What is annealed, what its numbers measure, and what is to be said of it. Raises UsageError if there is none."""
    if isinstance(model, Autoregressive):
        raise UsageError(f"{model.name} has no latent variable to anneal; its own log_prob is exact")
    if noise is not None:
        observed = Observed(model, noise)
        return observed, observed.measure, f", {observed.said}"
    if isinstance(model, Decoder):
        return model, model.config.x.measure, ""
    raise UsageError(
        f"{model.name} gives samples, not probabilities: for a likelihood, state what noise lies between a sample and "
        'x, noise=0.1 (Gaussian, on the scale of x) or noise="bernoulli" (two levels)'
    )


def check_continuous(model: Generative[Any], decoder: Decoder[Any], given: Given | None) -> None:
    if not decoder.prior(given).has_rsample:
        raise UsageError(
            f"{model.name} has a discrete latent, along which there is no gradient to follow; "
            "score it by importance sampling (draws)"
        )


class Place(NamedTuple):
    """Where the chains are, with all that a move asks of it: z [chains, n, *latent], and logs [chains, n]."""

    z: Tensor
    log_prior: Tensor
    log_likelihood: Tensor
    prior_slope: Tensor
    likelihood_slope: Tensor

    def energy(self, beta: float) -> Tensor:
        """-log p(z) - beta log p(x | z)"""
        return -self.log_prior - beta * self.log_likelihood

    def slope(self, beta: float) -> Tensor:
        return self.prior_slope + beta * self.likelihood_slope


@dataclass(frozen=True, eq=False)
class Posterior:
    """p(z | x, given), of n examples, up to a constant."""

    decoder: Decoder[Any]
    x: Tensor
    given: Given | None

    def at(self, z: Float[Tensor, "chains n *latent"]) -> Place:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_prior = self.decoder.prior(self.given).log_prob(z)
            log_likelihood = self.decoder.decode(z, self.given).log_prob(self.x)
            (a,) = torch.autograd.grad(log_prior.sum(), z)
            (b,) = torch.autograd.grad(log_likelihood.sum(), z)
        return Place(z.detach(), log_prior.detach(), log_likelihood.detach(), a, b)

    def starts(self, chains: int, seed: int, first: int) -> Float[Tensor, "chains n *latent"]:
        """z from the prior, each example's from a seed of its own."""
        return torch.stack(
            [from_prior(self.decoder, chains, self.given, i, mix(seed, first + i)) for i in range(len(self.x))], 1
        ).to(self.x.device)


def from_prior(decoder: Decoder[Any], n: int, given: Given | None, i: int, seed: int) -> Float[Tensor, "n *latent"]:
    """n latents for condition i."""
    torch.manual_seed(seed)
    prior = decoder.prior(None if given is None else given[i : i + 1])
    return prior.sample((n,)).reshape(n, *prior.event_shape)


def simulate(decoder: Decoder[Any], n: int, given: Given | None, seed: int) -> tuple[Tensor, Tensor]:
    """z and x of n examples that the model makes, each from a seed of its own."""
    zs, xs = [], []
    for i in range(n):
        z = from_prior(decoder, 1, given, i, mix(seed, i, 3))
        zs.append(z)
        xs.append(decoder.decode(z, None if given is None else given[i : i + 1]).sample())
    return torch.cat(zs), torch.cat(xs)


def over_latent(t: Tensor) -> Float[Tensor, "chains n"]:
    """The sum over all axes of the latent."""
    return t.flatten(2).sum(2)


def move(
    posterior: Posterior, place: Place, beta: float, step: Float[Tensor, " n"], noise: ItemNoise, leapfrog: int
) -> tuple[Place, Float[Tensor, "chains n"]]:
    """A Hamiltonian Monte Carlo transition (Neal, 2011, Section 5.3.2): the new place, and how likely it was taken.

    It leaves p(z) p(x | z)^beta as it is, and is its own reverse, for any step that does not depend on the place.
    """
    chains, shape = len(place.z), place.z.shape[2:]
    momentum = noise.normal(chains, *shape).movedim(0, 1).to(place.z.dtype)
    u, wobble = noise.uniform(2, chains).to(place.z.dtype).permute(1, 2, 0)
    size = step.to(place.z.dtype) * (1 + JITTER * (2 * wobble - 1))
    size = size.view(*size.shape, *[1] * len(shape))
    before = place.energy(beta) + over_latent(momentum.square()) / 2
    new = place
    for _ in range(leapfrog):
        momentum = momentum + size / 2 * new.slope(beta)
        new = posterior.at(new.z + size * momentum)
        momentum = momentum + size / 2 * new.slope(beta)
    after = new.energy(beta) + over_latent(momentum.square()) / 2
    chance = (before - after).exp().clamp(max=1).nan_to_num(0)  # a move that has left all bounds is not taken
    taken = u < chance
    kept = [torch.where(taken.view(*taken.shape, *[1] * (a.dim() - 2)), a, b) for a, b in zip(new, place, strict=True)]
    return Place(*kept), chance


def tune(posterior: Posterior, how: Annealing, seed: int, first: int) -> Float[Tensor, "temperatures n"]:
    """Step sizes for each temperature after the 0th and each example, found on chains that are thrown away.

    A pilot run anneals more coarsely, and after each move makes its step longer or shorter as more or less than
    `ACCEPTED` of the example's chains would have moved.
    """
    n = len(posterior.x)
    noise = ItemNoise(mix(seed, 0), range(first, first + n), posterior.x.device)
    place = posterior.at(posterior.starts(how.chains, mix(seed, 0), first))
    coarse = Annealing(min(how.temperatures, PILOT), how.chains, how.leapfrog)
    log_step, found = place.log_prior.new_full((n,), log(0.5), dtype=torch.float64), []
    for t, beta in enumerate(coarse.betas()[1:].tolist()):
        for _ in range(WARMUP if t == 0 else 1):
            place, chance = move(posterior, place, beta, log_step.exp(), noise, how.leapfrog)
            log_step = log_step + GAIN * (chance.double().mean(0) - ACCEPTED)
        found.append(log_step)
    known = torch.stack(found, 1)[None]  # [1, n, coarse temperatures]
    return interpolate(known, how.temperatures, mode="linear", align_corners=True)[0].T.exp()


def forward(
    posterior: Posterior, steps: Float[Tensor, "temperatures n"], how: Annealing, seed: int, first: int
) -> Float[Tensor, "chains n"]:
    """log w of chains from the prior, in float64: E[w] = p(x)."""
    n, device = len(posterior.x), posterior.x.device
    noise = ItemNoise(mix(seed, 1), range(first, first + n), device)
    place = posterior.at(posterior.starts(how.chains, mix(seed, 1), first))
    betas, log_w = how.betas().tolist(), torch.zeros(how.chains, n, dtype=torch.float64, device=device)
    for t in range(1, len(betas)):
        log_w += (betas[t] - betas[t - 1]) * place.log_likelihood
        if t + 1 < len(betas):  # no weight depends on a move at the last temperature
            place, _ = move(posterior, place, betas[t], steps[t - 1], noise, how.leapfrog)
    return log_w


def backward(
    posterior: Posterior,
    z: Float[Tensor, "n *latent"],
    steps: Float[Tensor, "temperatures n"],
    how: Annealing,
    seed: int,
    first: int,
) -> Float[Tensor, "chains n"]:
    """log v of chains from z ~ p(z | x) to the prior, in float64: E[v] = 1 / p(x). The moves of `forward`, reversed."""
    n, device = len(posterior.x), posterior.x.device
    noise = ItemNoise(mix(seed, 2), range(first, first + n), device)
    place = posterior.at(z.expand(how.chains, *z.shape))
    betas, log_v = how.betas().tolist(), torch.zeros(how.chains, n, dtype=torch.float64, device=device)
    for t in reversed(range(1, len(betas))):
        log_v -= (betas[t] - betas[t - 1]) * place.log_likelihood
        if t > 1:
            place, _ = move(posterior, place, betas[t - 1], steps[t - 2], noise, how.leapfrog)
    return log_v


def log_mean(log_w: Float[Tensor, "chains n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """log of the mean of the weights, and its standard error by the delta method, sd(w) / mean(w) / sqrt(chains)."""
    nats = log_w.logsumexp(0) - log(len(log_w))
    relative = ((log_w - nats).exp() - 1).square().sum(0) / (len(log_w) - 1)
    return nats, (relative / len(log_w)).sqrt()
