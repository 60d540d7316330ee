"""Questions: answered in evaluation mode whatever mode the model is in, about any number of items, in any precision."""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from triptych.core import Batch, Data, Generative, HasLikelihood, Likelihood, UsageError
from triptych.core.asking import QUESTIONS
from triptych.testing.samples import untouched
from triptych.testing.toys import first_examples, require

N = 4


def check_questions(model: Generative[Any], data: Data) -> None:
    """What is asked of a model in training mode it answers as in evaluation mode, and nothing changes by asking.

    That is log_prob, and whatever else of `QUESTIONS` it defines that is about x alone. The likelihood of no items is
    that of no items.
    """
    model = copy.deepcopy(model)
    batch = first_examples(model, data, N)
    with torch.no_grad():
        for name, ask in questions(model, batch):
            right = numbers(model.eval(), ask)
            for i, module in enumerate(model.modules()):
                module.training = i % 3 != 1  # the model's own mode, and most of its modules', is training
            with (
                untouched(model, f"{model.name}: asking for {name} in training mode"),
                torch.random.fork_rng(devices=[]),
            ):
                found = numbers(model, ask)
            same = all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(right, found, strict=True))
            require(same, f"{model.name}: {name} answers otherwise in training mode than in evaluation mode")
    if isinstance(model, HasLikelihood):
        check_nothing(model, batch)


def questions(model: Generative[Any], batch: Batch[Any]) -> Iterator[tuple[str, Any]]:
    """Those that can be asked of x, or of x and its condition, by name."""
    for name in QUESTIONS:
        method = getattr(model, name, None)
        takes = inspect.signature(method).parameters if callable(method) else {}
        needs = [p.name for p in takes.values() if p.default is p.empty]
        if needs in (["x"], ["x", "given"]):
            parts = (batch.x, batch.given) if "given" in takes else (batch.x,)
            yield name, lambda method=method, parts=parts: method(*parts)


def numbers(model: Generative[Any], ask: Any) -> list[Tensor]:
    """An answer as tensors; of a distribution, its draws and their likelihood, too."""
    torch.manual_seed(0)
    found = ask()
    if isinstance(found, Likelihood):
        return [found.nats]
    found = list(found) if isinstance(found, tuple) else [found]
    draws = [p.sample() for p in found if isinstance(p, Distribution)]
    told = [p.log_prob(z) for p, z in zip((p for p in found if isinstance(p, Distribution)), draws, strict=True)]
    return [t.double() for t in (*found, *draws, *told) if isinstance(t, Tensor)]


def check_nothing(model: Any, batch: Batch[Any]) -> None:
    try:
        nats = model.log_prob(batch.x[:0], batch.given and batch.given[:0]).nats
    except RuntimeError as e:
        raise AssertionError(f"{model.name}: log_prob of an empty batch ends in {e!r}, not in an empty answer") from e
    require(
        tuple(nats.shape) == (0,), f"{model.name}: log_prob of an empty batch has shape {list(nats.shape)}, not [0]"
    )


def check_precisions(model: Generative[Any], data: Data) -> None:
    """With weights in float64 it samples and scores as with those in float32; with weights in half precision it says
    in a sentence (UsageError) that it does not, or does."""
    batch = first_examples(model, data, N)
    single, double = copy.deepcopy(model).eval(), copy.deepcopy(model).double().eval()
    answers = []
    for one in (single, double):
        try:
            answers.append(answer(one, batch))
        except RuntimeError as e:
            raise AssertionError(f"{model.name}: with weights in {one.precision} asking ends in {e!r}") from e
    (x, nats), (wide, precise) = answers
    require(
        wide.dtype in (torch.float64, torch.int64), f"{model.name}: with weights in float64 samples are {wide.dtype}"
    )
    require(wide.shape == x.shape, f"{model.name}: with weights in float64 samples have another shape")
    require(
        precise is None or nats is None or torch.allclose(precise, nats.double(), rtol=1e-3, atol=1e-3),
        f"{model.name}: log_prob with weights in float64 is another than in float32",
    )
    for half in (torch.float16, torch.bfloat16):
        try:
            answer(copy.deepcopy(model).to(half).eval(), batch)
        except UsageError:
            continue
        except RuntimeError as e:
            raise AssertionError(f"{model.name}: with weights in {half} asking ends in {e!r}: raise UsageError") from e


def answer(model: Generative[Any], batch: Batch[Any]) -> tuple[Tensor, Tensor | None]:
    """Samples, and the likelihood of an item (which is its expectation where it is a bound by draws)."""
    x = model.sample(N, batch.given, seed=1)
    if not isinstance(model, HasLikelihood):
        return x, None
    with torch.no_grad():
        found: Likelihood = model.log_prob(batch.x, batch.given)
    return x, found.nats if found.kind == "exact" else None
