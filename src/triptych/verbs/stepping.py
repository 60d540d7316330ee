"""What is drawn value after value, to programs that do not have Triptych: one step, and what it remembers.

An autoregressive model is such a step. So is the prior of a model whose codes are drawn one after the other, which has
its decoder and its encoder beside it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from triptych.core import Autoregressive, Generative, Label, Stepwise, UsageError, evaluating
from triptych.nn.code_prior import CodePrior
from triptych.nn.code_transformer import CodeTransformer
from triptych.verbs.programs import Input, Part, condition, sampled


def parts(model: Generative[Any]) -> list[Part]:
    """The programs of a model. Raises UsageError if it is none."""
    if isinstance(model, Autoregressive):
        if not isinstance(model, Stepwise):
            raise UsageError(
                f"{model.name} draws value after value, each given those before it: that is a loop and no single "
                "program; what is exported are generators, decoders, encoders, translators, and single steps of gpt, "
                "nanochat, imagegpt, lstm and pixelcnn, and of the codes of vq-vae, fsq-vae, vqgan, llamagen and codec"
            )
        return [step_of(model)]
    prior = prior_of(model)
    return sampled(model) if prior is None else parts_of_codes(model, prior)


class Stepped(nn.Module):
    """One step of an autoregressive model: its scores, and what is remembered."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, value: Tensor, place: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        needs = getattr(self.model.config, "given", None)
        memory, given = (rest, None) if needs is None else (rest[:-1], needs.condition(rest[-1]))
        scores, memory = self.model.step(value, place, memory, given)
        return (scores, *memory)


class CodeStep(nn.Module):
    """One step of the prior of codes: the scores of a code, and what is remembered."""

    def __init__(self, prior: CodePrior | CodeTransformer) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, value: Tensor, place: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        keys, values, *given = rest
        if isinstance(self.prior, CodeTransformer):
            n = value.shape[0]
            ids = given[0].view(n, self.prior.prefix.length) if given else self.prior.prefix.none(n)
            scores, memory = self.prior.step(value, place, (keys, values), ids)
        else:
            scores, memory = self.prior.step(value, place, (keys, values), Label(given[0]) if given else None)
        return (scores, *memory)


class Decoded(nn.Module):
    """What codes stand for: means."""

    def __init__(self, model: Any, grid: Sequence[int]) -> None:
        super().__init__()
        self.model, self.grid = model, grid

    def forward(self, code: Tensor) -> Tensor:
        found = self.model.decode(code.view(code.shape[0], *self.grid))
        return found if isinstance(found, Tensor) else found.mean


class Coded(nn.Module):
    """The codes of x."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        code: Tensor = self.model.encode(x)
        return code.flatten(1)


def walked(stepped: nn.Module, memory: Any, values: int, places: int, given: Any) -> Callable[[int, int], Any]:
    """Examples of a step in the midst of things: some were taken."""

    def example(n: int, seed: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        told, remembered = given(n, seed), tuple(memory(n))
        for place in range((3 * n + seed) % places + 1):
            value = torch.randint(values, (n,), generator=generator)
            asked = (value, torch.tensor([place]), *remembered, *told)
            with evaluating(stepped), torch.no_grad():
                remembered = stepped(*asked)[1:]
        return asked

    return example


def memories(one: Any) -> list[Input]:
    return [
        Input(f"memory_{i}", "memory", tuple(t.shape[1:]), "what is remembered: zeros at first, then as it came out")
        for i, t in enumerate(one.memory(1))
    ]


def step_of(model: Any) -> Part:
    """One step of an autoregressive model, with what it remembers."""
    space, needs = model.config.x, getattr(model.config, "given", None)
    inputs = (
        Input("value", "value", (), "the level or token before this place; of the first place, any"),
        Input("place", "place", (1,), f"whose scores are asked for: 0 to {space.dims - 1}, in this order"),
        *memories(model),
        *([Input("given", "given", needs.shape, f"the condition: {needs}")] if needs is not None else []),
    )
    stepped = Stepped(model).eval()

    def given(n: int, seed: int) -> tuple[Tensor, ...]:
        return (condition(needs, n, seed),) if needs is not None else ()

    example = walked(stepped, model.memory, space.values, space.dims, given)
    return Part("step", stepped, inputs, outputs_of(inputs), example, steps=space.dims)


def outputs_of(inputs: Sequence[Input]) -> tuple[str, ...]:
    return ("scores", *(f"{one.name}_next" for one in inputs if one.kind == "memory"))


def prior_of(model: Any) -> CodePrior | CodeTransformer | None:
    """The prior that draws a model's codes one after the other, if it has one."""
    found = getattr(model, "code_prior", None) or getattr(model, "prior", None)
    return found if isinstance(found, CodePrior | CodeTransformer) else None


def parts_of_codes(model: Any, prior: CodePrior | CodeTransformer) -> list[Part]:
    """One step of the prior, the decoder and the encoder of a model of codes."""
    space, needs = model.config.x, getattr(model.config, "given", None)
    with evaluating(model), torch.no_grad():
        grid = tuple(model.encode(condition(space, 1, 0)).shape[1:])
    codes, places = prior.code.num_embeddings, math.prod(grid)
    before = prior.prefix.length - 1 if isinstance(prior, CodeTransformer) else 0
    read = "the code before this place; of the first place, any"
    asked = f"whose scores are asked for: 0 to {places - 1}, in this order"
    if before:
        asked = (
            f"what is read: 0 to {before}, the tokens of the condition, and {before + 1} to {before + places - 1}, the "
            f"codes but the last; the scores are of the code after it, from place {before} on"
        )
    told = f"the condition: {needs}"
    if needs is not None and isinstance(prior, CodeTransformer):
        told += (
            f"; {prior.prefix.nothing} everywhere: none. Guidance g asks with (t) and without (u): u + g (t - u) are "
            "the scores"
        )
    inputs = (
        Input("value", "value", (), read),
        Input("place", "place", (1,), asked),
        *memories(prior),
        *([Input("given", "given", needs.shape, told)] if needs is not None else []),
    )
    stepped = CodeStep(prior).eval()

    def given(n: int, seed: int) -> tuple[Tensor, ...]:
        return (condition(needs, n, seed),) if needs is not None else ()

    def some(n: int, seed: int) -> tuple[Tensor, ...]:
        return (torch.randint(codes, (n, places), generator=torch.Generator().manual_seed(seed)),)

    code = Input("code", "codes", (places,), f"codes, each from 0 to {codes - 1}")
    x = Input("x", "x", space.shape, f"what is encoded: {space}")
    return [
        Part(
            "step",
            stepped,
            inputs,
            outputs_of(inputs),
            walked(stepped, prior.memory, codes, before + places, given),
            steps=before + places,
            before=before,
        ),
        Part("decoder", Decoded(model, grid).eval(), (code,), ("x",), some),
        Part("encoder", Coded(model).eval(), (x,), ("code",), lambda n, seed: (condition(space, n, seed),)),
    ]
