"""Likelihoods: normalized if they are called exact, not too high if they are called bounds, and of the samples."""

import copy
import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from triptych.core import (
    FAITHFUL,
    UNKNOWN,
    Autoregressive,
    Batch,
    Data,
    Estimate,
    Exact,
    Generative,
    Given,
    HasLikelihood,
    ItemNoise,
    Likelihood,
    LowerBound,
    Sampling,
    Space,
    UsageError,
    levels_of,
)
from triptych.inference.importance import LatentVariable, importance_sampling
from triptych.nn.fixed_point import draw_by_iteration, draw_naively
from triptych.testing.samples import untouched
from triptych.testing.toys import every_element, first_examples, require

N = 6
REPEATS = 200
"""Draws of a bound, to know its expectation."""


def check_likelihood(model: Generative[Any], data: Data) -> None:
    """log_prob, where there is one, is what its type says, of what is in the space, one item at a time.

    Exact: sums to one over a space that can be enumerated, within 1e-5 in float32 and 1e-12 in float64.
    LowerBound: in expectation not above log p(x), as many-draw importance sampling knows it; sums to at most one.
    """
    if not isinstance(model, HasLikelihood):
        return
    scored: Any = copy.deepcopy(model).eval()
    x, given = (batch := first_examples(scored, data, N)).x, batch.given
    with torch.no_grad():
        with untouched(scored, f"scoring by {scored.name}"), torch.random.fork_rng(devices=[]):
            found = scored.log_prob(x, given)
        check_form(scored, found, N)
        check_refusals(scored, x, given)
        if isinstance(found, Exact):
            check_items(scored, x, given)
            check_exact(scored, given)
        elif isinstance(found, LowerBound):
            check_bound(scored, x, given)


def check_form(model: Generative[Any], found: Any, n: int) -> None:
    name, space = model.name, model.config.x
    kinds = isinstance(found, Exact | LowerBound | Estimate)
    require(kinds, f"{name}: log_prob returns {type(found).__name__}, which does not say what kind of number it is")
    require(tuple(found.nats.shape) == (n,), f"{name}: log_prob of {n} items has shape {list(found.nats.shape)}")
    require(bool(found.nats.isfinite().all()), f"{name}: log_prob is not finite for examples of its own space")
    require(found.dims == space.dims, f"{name}: log_prob counts {found.dims} dimensions; {space} has {space.dims}")
    measure = space.measure
    require(found.measure == measure, f"{name}: log_prob in {space} is a {measure}, not a {found.measure}")
    require(bool(found.how), f"{name}: log_prob does not say how the number came about")


def check_refusals(model: Any, x: Tensor, given: Any) -> None:
    """Raises AssertionError if something outside the space gets a likelihood."""
    wrong = {"of another shape": x[:, :1].repeat(1, x.shape[1] + 1, *[1] * (x.dim() - 2))}
    if model.config.x.scaled:
        wrong["between two levels"] = x + (0.4 / model.config.x.levels) * torch.where(x > 0, -1, 1)
        wrong["outside [-1, 1]"] = x * 3
    for what, value in wrong.items():
        try:
            model.log_prob(value, given)
        except UsageError:
            continue
        except Exception as e:
            raise AssertionError(f"{model.name}: an x {what} ends in {e!r}: log_prob must raise UsageError") from e
        raise AssertionError(f"{model.name}: an x {what} gets a likelihood: log_prob must raise UsageError")


def check_items(model: Any, x: Tensor, given: Given | None) -> None:
    together = model.log_prob(x, given).nats
    alone = torch.cat([model.log_prob(x[i : i + 1], given and given[i : i + 1]).nats for i in range(len(x))])
    same = torch.allclose(together, alone, rtol=1e-4, atol=1e-4)
    require(same, f"{model.name}: log p(x) of an item depends on the items beside it (in evaluation mode)")


def all_of(model: Generative[Any], given: Given | None) -> tuple[Tensor, Given | None] | None:
    """Every x, each with the first condition."""
    x = every_element(model.config.x)
    if x is None:
        return None
    x = x.to(model.device)
    return x, given and given.map(lambda t: t[:1].expand(len(x), *t.shape[1:]))


def check_exact(model: Any, given: Given | None) -> None:
    if (everything := all_of(model, given)) is None:
        return
    x, condition = everything
    double, wide = copy.deepcopy(model).double(), x.double() if x.is_floating_point() else x
    for answers, tolerance in ((model.log_prob(x, condition), 1e-5), (double.log_prob(wide, condition), 1e-12)):
        total = answers.nats.exp().sum().item()
        require(
            abs(total - 1) <= tolerance,
            f"{model.name}: p(x) sums to {total:.15g} over all {len(x)} elements of {model.config.x} in "
            f"{answers.nats.dtype}, not to 1 within {tolerance:g}: it is no exact likelihood",
        )


def check_bound(model: Any, x: Tensor, given: Given | None) -> None:
    def often(t: Tensor) -> Tensor:
        return t.repeat(REPEATS, *[1] * (t.dim() - 1))

    bounds = model.log_prob(often(x), given and given.map(often)).nats.double().view(REPEATS, len(x))
    mean, error = bounds.mean(0), bounds.std(0) / math.sqrt(REPEATS)
    latent: object = model
    if isinstance(latent, LatentVariable):
        honest = importance_sampling(model, x, given, draws=2000)
        over = mean - honest.nats - 5 * (error + honest.stderr.clamp(max=1.0)) - 1e-3
        require(
            bool((over <= 0).all()),
            f"{model.name}: its lower bound is on average {over.max():.3g} nats above what importance sampling finds",
        )
    if (everything := all_of(model, given)) is None:
        return
    every, condition = everything
    # by Jensen's inequality, exp of a mean of bounds is on average not above p(x)
    several = torch.stack([model.log_prob(every, condition).nats.double() for _ in range(16)])
    total = several.mean(0).exp().sum().item()
    noise = several.std(0).div(4).mul(several.mean(0).exp()).norm().item()
    require(
        total <= 1 + 1e-4 + 5 * noise,
        f"{model.name}: exp of its lower bound sums to {total:.6g} over all {len(every)} elements of "
        f"{model.config.x}: above 1, so it is no lower bound",
    )


def check_causality(model: Generative[Any], data: Data) -> None:
    """An autoregressive network reads as one, in training mode and in evaluation mode.

    The scores of each value depend on values before it in the model's order only. And if forward(x) is a distribution
    over each value of x, whatever the model calls itself: no factor depends, by any chain, on the value it is about.
    """
    model, batch = copy.deepcopy(model).double(), first_examples(model, data, 2)
    x = batch.x.double() if batch.x.is_floating_point() else batch.x
    for mode in (False, True):
        model.train(mode)
        said = f"{model.name} is not causal in {'training' if mode else 'evaluation'} mode"
        edges = dependence(model, x, batch.given)
        if edges is None:
            return
        if isinstance(model, Autoregressive):
            order = model.order().to(edges.device)
            early = edges[order][:, order].triu().nonzero().tolist()
            where = ", ".join(
                f"{place(model.config.x, order[i])} sees {place(model.config.x, order[j])}" for i, j in early[:3]
            )
            require(not early, f"{said}: in its order of factors, {where}, which does not come before")
        reach = edges.clone()
        for k in range(len(reach)):  # Warshall's transitive closure
            reach |= reach[:, k : k + 1] & reach[k]
        cycle = reach.diagonal().nonzero().flatten().tolist()
        where = ", ".join(str(place(model.config.x, i)) for i in cycle[:3])
        require(
            not cycle,
            f"{said}: the factor of the value at {where} depends, perhaps through others, on that value itself",
        )


def dependence(model: Generative[Any], x: Tensor, given: Given | None) -> Tensor | None:
    """Which factor moves when which value does, [dims, dims], around each example of x; None without factors."""
    space: Space = model.config.x
    edges = torch.zeros(space.dims, space.dims, dtype=torch.bool, device=x.device)
    for i in range(len(x)):
        value, condition = x[i : i + 1], given and given[i : i + 1]
        base = factors(model, value, condition)
        if base is None:
            return None
        for j in range(space.dims):
            moved = value.flatten().clone()
            if not space.scaled and space.values is not None:
                moved[j] = (moved[j] + 1) % space.values
            else:
                moved[j] = -moved[j] if moved[j] else 1.0
            other = factors(model, moved.view_as(value), condition)
            assert other is not None
            edges[:, j] |= (other != base).any(1)
    return edges


def factors(model: Generative[Any], x: Tensor, given: Given | None) -> Tensor | None:
    """The parameters of each factor of one x, [values, parameters], if the model has factors."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # dropout
        if isinstance(model, Autoregressive):
            return model.logits(x, given).flatten(1, -2)[0]
        if type(model).forward is torch.nn.Module.forward or not isinstance(model, HasLikelihood):
            return None
        if given is not None or not isinstance(model.log_prob(x, None), Exact):
            return None
        torch.manual_seed(0)
        p = model(x)
    if not isinstance(p, Distribution) or p.batch_shape != x.shape:
        return None
    parameters = [getattr(p, name) for name in p.arg_constraints if name in ("logits", "loc", "scale", "concentration")]
    return torch.cat([t.reshape(x.numel(), -1) for t in parameters], 1) if parameters else None


def place(space: Space, i: int | Tensor) -> tuple[int, ...]:
    return tuple(int(k) for k in torch.unravel_index(torch.as_tensor(i), space.shape))


def check_sampler(model: Generative[Any], data: Data) -> None:
    """Samples follow the exact likelihood, by a chi-squared test at 6 standard deviations, where x can be enumerated.

    An autoregressive model also samples as the naive loop and the fixed-point iteration do from the same uniform
    numbers, value for value, with any options.
    """
    drawn: Any = copy.deepcopy(model).eval()
    if isinstance(drawn, Autoregressive):
        check_loops(drawn, first_examples(drawn, data, 8))
    if not isinstance(model, HasLikelihood):
        return
    given = first_examples(drawn, data, 1).given
    everything = all_of(drawn, given)
    if everything is not None:
        x, condition = everything
        with torch.no_grad():
            likelihood: Likelihood = drawn.log_prob(x, condition)
        if isinstance(likelihood, Exact):
            check_frequencies(drawn, x, likelihood.nats.double().exp(), given)


def check_loops(model: Autoregressive[Any], batch: Batch[Any]) -> None:
    space, n = model.config.x, len(batch.x)
    every_other = torch.arange(space.dims, device=batch.x.device).view(space.shape) % 2 == 1
    known = space.index(batch.x).masked_fill(every_other, UNKNOWN)
    for how in (FAITHFUL, Sampling(temperature=0.7, top_k=2), Sampling(top_p=0.8), Sampling(known=known)):
        drawn = model.sample(n, batch.given, seed=5, how=how)
        for naive in (draw_naively, draw_by_iteration):
            other = naive(model, ItemNoise(5, range(n), model.device), batch.given, how)
            said = "" if how is FAITHFUL else f" with {how}"
            same = torch.equal(drawn, other)
            require(same, f"{model.name}: draw and {naive.__name__} differ for the same uniform numbers{said}")
    kept = torch.equal(space.index(drawn)[known != UNKNOWN], known[known != UNKNOWN])
    require(kept, f"{model.name}: draw does not keep the values that are known")


def check_frequencies(model: Generative[Any], x: Tensor, p: Tensor, given: Given | None, n: int = 4000) -> None:
    """Pearson's statistic over the elements that are expected 5 times or more, the others pooled."""
    drawn = model.sample(n, given and given.map(lambda t: t[:1].expand(n, *t.shape[1:])), seed=11)
    space = model.config.x
    index = space.index(drawn).flatten(1)
    base = levels_of(space)
    number = (index * base ** torch.arange(space.dims - 1, -1, -1, device=index.device)).sum(1)
    seen, expected = torch.bincount(number, minlength=len(x)).double(), n * p
    often = expected >= 5
    cells = torch.cat([torch.stack((seen, expected), 1)[often], torch.stack((seen, expected), 1)[~often].sum(0)[None]])
    cells = cells[cells[:, 1] > 0]
    statistic, freedom = ((cells[:, 0] - cells[:, 1]) ** 2 / cells[:, 1]).sum().item(), max(1, len(cells) - 1)
    require(
        statistic <= freedom + 6 * math.sqrt(2 * freedom) + 20,
        f"{model.name}: {n} samples do not follow log_prob: chi-squared is {statistic:.0f}, with {freedom} degrees of "
        f"freedom",
    )
