"""An exponential moving average of a network's weights."""

import copy

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """A copy of `module` whose weights trail behind: after each update, average = d * average + (1 - d) * weights.

    d = min(decay, (1 + t) / (10 + t)) at the t-th update (from 0), so that a short run forgets its random start.
    The average and t are part of the module tree: they are saved and resumed with the model. No gradient reaches them.
    """

    updates: Tensor

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves toward the weights of `module`; its buffers (batch statistics) are copied."""
        t = int(self.updates)
        d = min(self.decay, (1 + t) / (10 + t))
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - d)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
        self.updates += 1
