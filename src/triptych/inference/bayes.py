"""Classification by Bayes' rule: p(y | x) is proportional to p(x | y) p(y), for any model of x given its class.

Nothing is trained for it, and it is as good as the model is: the class is worth a few bits of the thousands that an
image costs, and what a model gets wrong of the others is not told from it. So such a classifier is usually far too sure
of itself. Dividing log p(x | y) by a temperature, fitted on labelled examples, mends that and leaves the decisions as
they are (Guo, Pleiss, Sun and Weinberger, 2017. On Calibration of Modern Neural Networks.
https://arxiv.org/abs/1706.04599).
"""

from dataclasses import dataclass
from math import log
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Generative, HasLikelihood, Label, UsageError, evaluating, mix
from triptych.core.likelihood import Kind
from triptych.inference.importance import LatentVariable, importance_sampling

BINS = 15
"""Of confidence, for the calibration error."""
HOTTEST = 1e6
"""The temperature is looked for between its inverse and this."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassLikelihoods:
    """log p(x | y) of each example under each class, all found in the same way."""

    nats: Float[Tensor, "n classes"]
    kind: Kind
    how: str

    def posterior(
        self, prior: Float[Tensor, " classes"] | None = None, temperature: float = 1.0
    ) -> Float[Tensor, "n classes"]:
        """log p(y | x), in float64: from log p(x | y) / temperature and log p(y), uniform if nothing is said.

        Of bounds it is no bound: they may lie at different depths. Raises UsageError unless `prior` holds a
        probability for each class.
        """
        return log_posterior(self.nats, prior, temperature)


@dataclass(frozen=True)
class Classified:
    """How good probabilities of classes are, on n examples."""

    accuracy: float
    nll: float
    """Mean -log p(y | x) of the right class, in nats."""
    ece: float
    """Expected calibration error: how far confidence is from accuracy, on average over BINS bins of confidence."""


def class_likelihoods(
    model: Generative[Any], x: Float[Tensor, "n ..."], *, draws: int | None = None, seed: int = 0
) -> ClassLikelihoods:
    """log p(x | y) for each class y, in evaluation mode.

    With `draws`, a model with latent variables is importance sampled, with as many draws for all classes; a model's own
    bound is as it comes. Random draws are the same for all classes, so that less of their difference is chance.

    Raises UsageError for a model that is not conditioned on classes, that has no likelihood, or that has no latent to
    draw.
    """
    space = getattr(model.config, "given", None)
    if space is None or not space.classed:
        raise UsageError(
            f"{model.name} {f'is conditioned on {space}' if space else 'models p(x)'}: Bayes' rule takes a model of "
            "x given its class, trained with given set to the classes"
        )
    scored: Any = model
    if not isinstance(scored, HasLikelihood):
        raise UsageError(f"{model.name} has no likelihood p(x | y) to apply Bayes' rule to")
    if draws is not None and not isinstance(model, LatentVariable):
        raise UsageError(f"{model.name} has no latent variable to draw; leave out draws={draws}")
    found = []
    with evaluating(model), torch.no_grad():
        for y in range(space.classes):
            given = Label(torch.full((len(x),), y, device=model.device))
            torch.manual_seed(mix(seed))
            if draws is None:
                found.append(scored.log_prob(x, given))
            else:
                found.append(importance_sampling(model, x, given, draws=draws, seed=seed))
    nats = torch.stack([one.nats.double() for one in found], 1)
    return ClassLikelihoods(nats=nats, kind=found[0].kind, how=found[0].how + ", the same for each class")


def log_posterior(
    nats: Float[Tensor, "n classes"], prior: Float[Tensor, " classes"] | None = None, temperature: float = 1.0
) -> Float[Tensor, "n classes"]:
    """log p(y | x), see `ClassLikelihoods.posterior`."""
    classes = nats.shape[1]
    if not temperature > 0:
        raise UsageError(f"temperature={temperature}: it must be above 0")
    if prior is None:
        prior = torch.full((classes,), 1 / classes, dtype=torch.float64)
    total = prior.double().sum().item()
    if prior.shape != (classes,) or not (prior >= 0).all() or not abs(total - 1) < 1e-6:
        raise UsageError(f"prior={prior.tolist()}: it takes {classes} probabilities that sum to 1")
    return (nats.double() / temperature + prior.to(nats.device).double().log()).log_softmax(1)


def classified(log_p: Float[Tensor, "n classes"], y: Int[Tensor, " n"]) -> Classified:
    """The accuracy, cost and calibration of log p(y | x), y being the truth."""
    confidence, guess = log_p.exp().max(1)
    right = (guess == y).double()
    bins = (confidence * BINS).ceil().clamp(1, BINS).long() - 1
    off = torch.zeros(BINS, dtype=torch.float64, device=y.device).index_add(0, bins, right - confidence.double())
    nll = -log_p.gather(1, y[:, None]).mean().item()
    return Classified(accuracy=right.mean().item(), nll=nll, ece=off.abs().sum().item() / len(y))


def fit_temperature(
    nats: Float[Tensor, "n classes"], y: Int[Tensor, " n"], prior: Float[Tensor, " classes"] | None = None
) -> float:
    """The temperature that makes the right classes likeliest.

    The cost is convex in a = 1 / temperature, its slope the mean of E[log p(x | y)] - log p(x | y of the truth); the
    root is bisected in log a. Where there is none (every guess is right, say), it is the end of the range.
    """
    truth = nats.double().gather(1, y[:, None])[:, 0]
    low, high = -log(HOTTEST), log(HOTTEST)
    for _ in range(60):
        middle = (low + high) / 2
        p = log_posterior(nats, prior, temperature=float(torch.tensor(-middle).exp())).exp()
        slope = ((p * nats.double()).sum(1) - truth).mean().item()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(torch.tensor(-(low + high) / 2).exp())


def calibrated(
    nats: Float[Tensor, "n classes"], y: Int[Tensor, " n"], prior: Float[Tensor, " classes"] | None = None
) -> Float[Tensor, "n classes"]:
    """log p(y | x) of each example at the temperature that was fitted on the other half (the even- or odd-numbered).

    So no example has a say in its own temperature. Raises UsageError for less than 2 examples.
    """
    if len(y) < 2:
        raise UsageError(f"n={len(y)}: a temperature for each half takes 2 examples or more")
    out = torch.empty_like(nats, dtype=torch.float64)
    for half in (0, 1):
        other = 1 - half
        temperature = fit_temperature(nats[other::2], y[other::2], prior)
        out[half::2] = log_posterior(nats[half::2], prior, temperature)
    return out
