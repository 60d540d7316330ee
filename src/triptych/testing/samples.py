"""Sampling: in the space, seeded, item by item, and without a trace."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.core import (
    Data,
    Generative,
    HasLikelihood,
    ItemNoise,
    Picture,
    UsageError,
    evaluating,
)
from triptych.testing.toys import copied, difference, first_examples, require

N = 5


def check_samples(model: Generative[Any], data: Data) -> None:
    """Samples are in the space; sample i is a function of the model, the seed and i; sampling changes nothing.

    With a likelihood, samples of images and the like are on the space's levels; without one, within [-1, 1]. A model
    that is given pictures may be a function of them.
    """
    model, space, name = copy.deepcopy(model), model.config.x, model.name
    given = first_examples(model, data, N).given

    def draw(seed: int, first: int = 0, n: int = N) -> Tensor:
        return model.sample(n, None if given is None else given[first : first + n], seed=seed, first=first)

    for i, module in enumerate(model.modules()):
        module.training = i % 2 == 0  # a pattern that neither train() nor eval() would leave behind
    with untouched(model, f"sampling from {name}"):
        x = draw(1)
    require(tuple(x.shape) == (N, *space.shape), f"{name}: {N} samples have shape {list(x.shape)}; x is in {space}")
    discrete = space.values is not None and not space.scaled
    wanted = torch.int64 if discrete else torch.float32
    require(x.dtype == wanted, f"{name}: samples are {x.dtype}, not {wanted}")
    require(bool(x.isfinite().all()), f"{name}: samples hold NaN or infinity")
    require(not x.requires_grad, f"{name}: samples carry a graph")
    exact = isinstance(model, HasLikelihood)
    try:
        _ = space.index(x) if exact else space.check(x, "a sample")
    except UsageError as e:
        raise AssertionError(f"{name}: samples are not in {space}: {e}") from e

    with elsewhere():
        again = draw(1)
    require(torch.equal(x, again), f"{name}: the same seed gave other samples: all randomness must come from `noise`")
    if isinstance(given, Picture) and is_function(model, given):
        other = model.sample(N, given.map(lambda grid: grid.flip(0)), seed=1)
        require(not torch.equal(x, other), f"{name}: neither another seed nor another picture gives other samples")
    else:
        require(not torch.equal(x, draw(2)), f"{name}: another seed gave the same samples")
        alike = torch.equal(x[0], x[1]) and torch.equal(draw(3)[0], draw(3)[1])
        require(not alike, f"{name}: all samples are the same")

    parts = {
        "one at a time": torch.cat([draw(1, i, 1) for i in range(N)]),
        "in two parts": torch.cat([draw(1, 0, 2), draw(1, 2, N - 2)]),
    }
    for how, other in parts.items():
        same = torch.equal(x, other) if exact or discrete else torch.allclose(x, other, rtol=0, atol=1e-5)
        require(same, f"{name}: samples drawn {how} differ: sample i must not depend on the batch it is drawn in")

    model.train()
    require(torch.equal(x, draw(1)), f"{name}: samples depend on whether the model was in training mode")
    require(tuple(draw(1, n=0).shape) == (0, *space.shape), f"{name}: no samples (n = 0) are not an empty batch")


class Watched(ItemNoise):
    """Noise that knows whether any of it was drawn."""

    spent = False

    def stack(self, draws: list[np.ndarray], shape: tuple[int, ...]) -> Tensor:
        self.spent = True
        return super().stack(draws, shape)


def is_function(model: Generative[Any], given: Any) -> bool:
    """Whether samples are a function of the condition: drawing them takes no noise."""
    noise = Watched(0, range(len(given)), model.device)
    with evaluating(model), torch.no_grad():
        model.draw(noise, given)
    return not noise.spent


@contextmanager
def untouched(model: Generative[Any], what: str) -> Iterator[None]:
    """Checks that a model's weights, modes and flags, and every global random state, are as before."""
    before, weights = state(model), copied(model)
    yield
    name = difference(weights, copied(model))
    require(name is None, f"{what} changes {name}: training would not be the same with and without it")
    for part, value in state(model).items():
        require(value == before[part], f"{what} changes {part}: training would not be the same with and without it")


def state(model: Generative[Any]) -> dict[str, Any]:
    return {
        "the training mode of a module": [m.training for m in model.modules()],
        "which weights are trainable": [w.requires_grad for w in model.parameters()],
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": str(np.random.get_state()),
        "Python's random state": random.getstate(),
    }


@contextmanager
def elsewhere() -> Iterator[None]:
    """Another global random state for a while."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987654321)
        yield
