"""What writes down AutoGAN's generators, cell by cell: an LSTM that makes their choices.

AutoGAN: Neural Architecture Search for Generative Adversarial Networks.
Gong, Chang, Jiang and Wang, 2019. https://arxiv.org/abs/1908.03835, Sections 3.1 and 3.2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.models.gan.autogan import Cell, Conv, Norm, Up

CONVS: tuple[Conv, ...] = ("post", "pre")
NORMS: tuple[Norm, ...] = ("none", "batch", "instance")
UPS: tuple[Up, ...] = ("bilinear", "nearest", "deconv")


def options(before: int) -> tuple[int, ...]:
    """How many choices there are at each step of writing down a cell that has so many before it."""
    sizes = (len(CONVS), len(NORMS), len(UPS), 2)
    return (*sizes, 2**before) if before else sizes


def decoded(actions: Sequence[int], before: int) -> Cell:
    """A cell from its choices: activation, normalization, doubling, short cut, and skips as a binary number."""
    conv, norm, up, shortcut, *rest = actions
    bits = rest[0] if rest else 0
    skips = tuple(bool(bits >> (before - 1 - i) & 1) for i in range(before))
    return Cell(conv=CONVS[conv], norm=NORMS[norm], up=UPS[up], shortcut=bool(shortcut), skips=skips)


def every_cell(before: int) -> list[Cell]:
    """All that can be written: 36, times 2 for each cell before."""
    return [decoded(actions, before) for actions in product(*map(range, options(before)))]


State = tuple[Float[Tensor, "1 hidden"], Float[Tensor, "1 hidden"]]


@dataclass(frozen=True)
class Draft:
    """A cell as the controller wrote it."""

    cell: Cell
    log_prob: Tensor
    """Of all its choices together."""
    entropy: Tensor
    """Of the distributions that they were drawn from, together."""
    state: State
    """The controller's, at the end."""


class Controller(nn.Module):
    """Writes a cell: an LSTM that reads each choice before it makes the next (Section 3.2)."""

    def __init__(self, hidden: int, before: int) -> None:
        super().__init__()
        self.before, self.sizes = before, options(before)
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.read = nn.Embedding(sum(self.sizes), hidden)
        self.heads = nn.ModuleList(nn.Linear(hidden, size) for size in self.sizes)
        for head in self.heads:  # at first every choice is as likely as the others
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def write(self, state: State, generator: torch.Generator) -> Draft:
        """One cell, beginning with the state in which the last one ended."""
        x, actions = torch.zeros_like(state[0]), list[int]()
        log_prob = entropy = torch.zeros(())
        for i, head in enumerate(self.heads):
            state = self.lstm(x, state)
            nats = head(state[0]).log_softmax(1)[0]
            action = torch.multinomial(nats.exp(), 1, generator=generator)
            log_prob, entropy = log_prob + nats[action[0]], entropy - nats.exp() @ nats
            actions.append(int(action))
            x = self.read(action + sum(self.sizes[:i]))
        return Draft(decoded(actions, self.before), log_prob, entropy, state)
