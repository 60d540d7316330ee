"""What a model is to programs that do not have Triptych: tensors in, tensors out.

Samples are a function of random numbers and, of some models, of a condition (`Generative.draw`); of a model with a
decoder its means are. An encoder is a function of x. What is drawn value after value: see `stepping`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from triptych.core import (
    AnySize,
    Decoding,
    Generative,
    ItemNoise,
    Sampling,
    UsageError,
    evaluating,
)
from triptych.inference.importance import LatentVariable

LEAST = 2
"""The least sides of a condition of any size, in multiples of what they must be multiples of."""
TRACED = 3
"""Items that the program is written from: more than one, so that no size is taken for granted."""
MEAN = Sampling(observation="mean")


@dataclass(frozen=True)
class Input:
    """A tensor that the program takes."""

    name: str
    kind: Literal["normal", "uniform", "given", "x", "value", "place", "memory", "codes"]
    shape: tuple[int | str, ...]
    """Without the batch, but of a place, which is one for all; a name where any size will do."""
    what: str


@dataclass(frozen=True)
class Part:
    """One program: of samples, of one step of them, of the decoder or of the encoder."""

    name: str
    program: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    example: Callable[[int, int], tuple[Tensor, ...]]
    """n items with a seed."""
    steps: int = 0
    """How often a single step is taken, from place 0 on; 0: it is no step."""
    before: int = 0
    """Of them, those that read the condition and give no scores that mean anything."""
    multiple: int = 0
    """Of what the sides of the condition may be any multiple; 0: they are as they are."""


class Listening:
    """Random numbers as `ItemNoise` has them, which remembers what was asked for."""

    def __init__(self, noise: ItemNoise) -> None:
        self.noise, self.n, self.device, self.dtype = noise, noise.n, noise.device, noise.dtype
        self.heard: list[tuple[Literal["normal", "uniform"], Tensor]] = []

    def normal(self, *shape: int) -> Tensor:
        self.heard.append(("normal", self.noise.normal(*shape)))
        return self.heard[-1][1]

    def uniform(self, *shape: int) -> Tensor:
        self.heard.append(("uniform", self.noise.uniform(*shape)))
        return self.heard[-1][1]


class Given:
    """Random numbers that were drawn elsewhere, in the order in which they are asked for."""

    def __init__(self, drawn: Sequence[Tensor], n: int, device: torch.device) -> None:
        self.drawn, self.n, self.device, self.dtype = iter(drawn), n, device, torch.float32

    def normal(self, *shape: int) -> Tensor:
        return next(self.drawn)

    uniform = normal


class Drawn(nn.Module):
    """Samples as a function of random numbers and, last, of the condition."""

    def __init__(self, model: Generative[Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, *values: Tensor) -> Tensor:
        needs = getattr(self.model.config, "given", None)
        drawn, given = (values, None) if needs is None else (values[:-1], needs.condition(values[-1]))
        return draw(self.model, Given(drawn, values[0].shape[0], values[0].device), given)


class Encoded(nn.Module):
    """q(z | x): its mean and standard deviation."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        c = self.model.config.given.condition(given[0]) if given else None
        q = self.model.encode(x, c)
        return q.mean, q.stddev


def draw(model: Any, noise: Any, given: Any) -> Tensor:
    """As `sample` does, without what `sample` checks; of a model with a decoder, the means."""
    found: Tensor = model.draw(noise, given, MEAN) if isinstance(model, Decoding) else model.draw(noise, given)
    return found


def sampled(model: Generative[Any]) -> list[Part]:
    """Samples as one program, and the encoder if there is one. Raises UsageError if there is none."""
    needs = getattr(model.config, "given", None)
    any_size = isinstance(model, AnySize)
    listening = Listening(ItemNoise(0, range(TRACED), model.device))
    with evaluating(model), torch.no_grad():
        draw(model, listening, None if needs is None else needs.condition(condition(needs, TRACED, 0)))
    inputs = [
        Input(f"{kind}_{i}", kind, tuple(t.shape[1:]), "random numbers: " + DISTRIBUTED[kind])
        for i, (kind, t) in enumerate(listening.heard)
    ]
    conditioned = []
    if needs is not None:
        sizes: tuple[int | str, ...] = (needs.shape[0], "height", "width") if any_size else needs.shape
        conditioned = [Input("given", "given", sizes, f"the condition: {needs}")]
    if not inputs and not conditioned:
        raise UsageError(f"{model.name} draws samples of nothing: there is no program to export")

    multiple = model.multiple if isinstance(model, AnySize) else 0

    def example(n: int, seed: int) -> tuple[Tensor, ...]:
        noise = ItemNoise(seed, range(n))
        drawn = [noise.normal(*i.shape) if i.kind == "normal" else noise.uniform(*i.shape) for i in inputs]  # type: ignore[arg-type]
        return (*drawn, condition(sized(needs, multiple, n), n, seed)) if needs is not None else tuple(drawn)

    found = [Part("model", Drawn(model).eval(), (*inputs, *conditioned), ("x",), example, multiple=multiple)]
    if isinstance(model, LatentVariable) and model.config.x.values is not None and centered(model):
        x = Input("x", "x", model.config.x.shape, f"what is encoded: {model.config.x}")

        def examples(n: int, seed: int) -> tuple[Tensor, ...]:
            return (condition(model.config.x, n, seed), *([condition(needs, n, seed)] if needs is not None else []))

        found.append(Part("encoder", Encoded(model).eval(), (x, *conditioned), ("mean", "deviation"), examples))
    return found


def centered(model: Any) -> bool:
    """Whether q(z | x) has a mean and a deviation: those of several layers, each given the others, do not say them."""
    x, needs = model.config.x, getattr(model.config, "given", None)
    given = None if needs is None else needs.condition(condition(needs, 1, 0))
    with evaluating(model), torch.no_grad():
        q = model.encode(condition(x, 1, 0), given)
    try:
        return isinstance(q.mean, Tensor) and isinstance(q.stddev, Tensor)
    except NotImplementedError:
        return False


def sized(space: Any, multiple: int, n: int) -> Any:
    """The space of a condition of any size, in sizes that differ with n and are large enough that no side within the
    network is a single pixel, which would be taken for one that is always so; others as they are."""
    if not multiple:
        return space
    height, width = (max(side, LEAST * 2 * multiple) for side in (space.height, space.width))
    return replace(space, height=height, width=width + multiple * (n % 2))


DISTRIBUTED = {"normal": "standard normal", "uniform": "uniform on [0, 1)"}


def condition(space: Any, n: int, seed: int) -> Tensor:
    """n elements of a space, at random."""
    generator = torch.Generator().manual_seed(seed)
    if space.choices:
        return torch.randint(space.choices, (n,), generator=generator)
    if space.values is None:
        return torch.randn(n, *space.shape, generator=generator)
    return space.from_index(torch.randint(space.values, (n, *space.shape), generator=generator))
