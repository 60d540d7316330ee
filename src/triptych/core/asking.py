"""How a model is asked: in evaluation mode, whatever mode it is in, and told apart from what its training computes.

A loss may need log p(x), a latent or a reconstruction as training has it, with dropout and statistics of the batch.
Whoever asks the same from outside wants the model's answer, twice the same, and the model left as it was. So what a
model's losses and its `draw` ask is `learned`, as it is written; everything else is `asked`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from inspect import isfunction
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from triptych.core.game import Loss
from triptych.core.given import Given
from triptych.core.likelihood import Likelihood
from triptych.core.precision import products

P = ParamSpec("P")
R = TypeVar("R")

LIKELIHOODS = ("bound", "log_prob", "log_prob_known")
QUESTIONS = (
    *LIKELIHOODS,
    "anomaly",
    "category",
    "classify",
    "decode",
    "encode",
    "energy",
    "expect",
    "features",
    "impute",
    "log_weights",
    "prior",
    "reconstruct",
)
"""Methods that tell something about x or its latents."""

LEARNING: ContextVar[nn.Module | None] = ContextVar("LEARNING", default=None)
"""The model that computes a loss, or draws."""


def guard(cls: type) -> None:
    """Makes the methods that a class of models defines `asked` or `learned`, as their names and types say, but for
    those that say so themselves."""
    for name, method in list(vars(cls).items()):
        if not isfunction(method) or hasattr(method, "said"):
            continue
        if name in QUESTIONS:
            setattr(cls, name, asked(method))
        elif name == "draw" or method.__annotations__.get("return") in (Loss, "Loss"):
            setattr(cls, name, learned(method))


@contextmanager
def learning(model: nn.Module) -> Iterator[None]:
    """While a loss is computed, or x drawn: what is asked for it is answered in the mode that the model is in."""
    token = LEARNING.set(model)
    try:
        yield
    finally:
        LEARNING.reset(token)


def learned(method: Callable[P, R]) -> Callable[P, R]:
    """A loss, or `draw`, or another method of which losses are made (see `learning`)."""

    @wraps(method)
    def compute(*args: P.args, **kwargs: P.kwargs) -> R:
        model: Any = args[0]
        with learning(model):
            return method(*args, **kwargs)

    return said(compute)


def asked(method: Callable[P, R]) -> Callable[P, R]:
    """A question, answered in evaluation mode: no dropout, and no statistics of the batch, taken or kept.

    Numbers are taken in the precision of the weights, and the likelihood of no items is that of no items. Raises
    UsageError if the weights are kept in half precision.
    """
    question: Any = method

    @wraps(method)
    def answer(*args: P.args, **kwargs: P.kwargs) -> R:
        model: Any = args[0]
        if LEARNING.get() is model:
            return method(*args, **kwargs)
        dtype = model.precision
        parts = [in_precision(a, dtype) for a in args[1:]]
        quiet = still(model) if any(m.training for m in model.modules()) else nullcontext()
        with quiet, products("fp32", model.device):
            if method.__name__ in LIKELIHOODS and parts and isinstance(parts[0], Tensor) and not len(parts[0]):
                return of_none(question, model, parts, kwargs)
            return question(model, *parts, **kwargs)

    return said(answer)


def in_precision(part: Any, dtype: torch.dtype) -> Any:
    """Tensors of real numbers, and those of a condition, as `dtype`."""
    if isinstance(part, Given):
        return part.map(lambda t: in_precision(t, dtype))
    return part.to(dtype) if isinstance(part, Tensor) and part.is_floating_point() else part


def said(method: Callable[P, R]) -> Callable[P, R]:
    """Marks a method that is `asked` or `learned`."""
    vars(method)["said"] = True
    return method


def of_none(question: Any, model: Any, parts: list[Any], options: dict[str, Any]) -> Any:
    """The likelihood of an empty batch, from that of one item: torch's distributions have no sum over nothing."""
    space = model.config.x
    space.check(parts[0])

    def one(part: Any) -> Any:
        if isinstance(part, Given):
            return part.map(one)
        if not isinstance(part, Tensor) or len(part):
            return part
        lowest = -1 if space.scaled and part.is_floating_point() else 0
        return part.new_full((1, *part.shape[1:]), lowest)

    found = question(model, *map(one, parts), **{k: one(v) for k, v in options.items()})
    if not isinstance(found, Likelihood):
        return found  # not what this method is to return, and not for us to say so
    nothing: Any = {k: v[:0] for k, v in vars(found).items() if isinstance(v, Tensor)}
    return replace(found, **nothing)


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every submodule gets back the mode it had."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode
