"""An exponential moving average of a network's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class EMA(nn.Module, Generic[M]):
    """A copy of `module` whose weights trail behind: after each update, average = d * average + (1 - d) * weights.

    d = min(decay, (1 + t) / (10 + t)) at the t-th update (from 0), so that a short run forgets its random start.
    The average and t are part of the module tree: they are saved and resumed with the model. No gradient reaches them.
    A network is trained as it is, and used by its average:

        net = self.average.unless_training(self.generator)
    """

    module: M
    updates: Tensor

    def __init__(self, module: M, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.read: tuple[Tensor, int, int] | None = None
        """`updates` as it was last read, its version then, and what it held: to read it again would be to wait for a
        GPU."""

    def count(self) -> int:
        """What `updates` holds."""
        if self.read is None or self.read[0] is not self.updates or self.read[1] != self.updates._version:
            self.read = self.updates, self.updates._version, int(self.updates)
        return self.read[2]

    @torch.no_grad()
    def update(self, module: M) -> None:
        """Moves toward the weights of `module`; its buffers (batch statistics) are copied."""
        t = self.count()
        d = min(self.decay, (1 + t) / (10 + t))
        (weights, buffers), (new, other) = held(self.module), held(module)
        torch._foreach_lerp_(weights, new, 1 - d)
        if buffers:
            torch._foreach_copy_(buffers, other)
        self.updates += 1
        self.read = self.updates, self.updates._version, t + 1

    def unless_training(self, module: M) -> M:
        """`module` itself in training mode, its average in evaluation mode."""
        return module if self.training else self.module


def held(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The weights and the buffers of a network, each once. torch's own way spells out their names, for which a small
    network on a GPU has to wait."""
    weights, buffers, todo = list[Tensor | None](), list[Tensor | None](), [module]
    while todo:
        one = todo.pop()
        weights.extend(one._parameters.values())
        buffers.extend(one._buffers.values())
        todo.extend(child for child in one._modules.values() if child is not None)
    return [*dict.fromkeys(w for w in weights if w is not None)], [*dict.fromkeys(b for b in buffers if b is not None)]
