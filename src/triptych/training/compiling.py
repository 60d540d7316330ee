"""The option of a run that compiles its networks."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import nn

from triptych.core import Generative, UsageError

TWICE = ("double backward", "donated buffers")
"""What torch's errors speak of where a compiled network's gradient is to be differentiated."""


def networks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that are called themselves: neither lists of modules, nor the model, whose losses are."""
    for child in module.children():
        if type(child).forward is not nn.Module.forward:
            yield child
        else:
            yield from networks(child)


def compiled(module: nn.Module) -> Callable[..., Any]:
    """A call of the module, compiled when it is first made.

    Module.compile would leave those of torch itself, such as Sequential, as they are. torch keeps few compiled forms
    of the same piece of code, so that each module gets a copy of it.
    """

    def call(*args: Any, **options: Any) -> Any:
        return module._call_impl(*args, **options)  # type: ignore[no-untyped-call]

    own = FunctionType(call.__code__.replace(), call.__globals__, call.__name__, None, call.__closure__)
    made: Callable[..., Any] = torch.compile(own, dynamic=False)
    return made


class Compiled:
    """The networks of a model, compiled by torch.compile for the turns of its training and for nothing else.

    They are compiled when they are first called, for each kind of call (shape, training or not, what has a gradient):
    that takes from seconds to minutes. Weights, their names and what is saved stay as they are, and so do samples and
    likelihoods, which go by caches of their own.
    """

    def __init__(self, model: Generative[Any]) -> None:
        self.networks: list[Any] = list(networks(model))
        self.calls: dict[str, list[Callable[..., Any]]] = {}
        """Of each player: torch 2.11 does not see that weights have been frozen in between."""

    @contextmanager
    def playing(self, player: str) -> Iterator[None]:
        """For a turn. Raises UsageError for a loss that holds the gradient of a network, which torch cannot compile."""
        if player not in self.calls:
            self.calls[player] = [compiled(module) for module in self.networks]
        for module, call in zip(self.networks, self.calls[player], strict=True):
            module._compiled_call_impl = call
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The .grad attribute of a Tensor")  # which torch itself looks at
                warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
                yield
        except RuntimeError as e:
            if any(word in str(e) for word in TWICE):
                raise UsageError(
                    f"compile=True: the loss of {player} differentiates a gradient, which torch.compile cannot; leave "
                    "it out"
                ) from None
            raise
        finally:
            for module in self.networks:
                module._compiled_call_impl = None
