"""A condition as the first tokens that a transformer reads, and the token that stands for none.

Ho and Salimans, 2022. Classifier-Free Diffusion Guidance. https://arxiv.org/abs/2207.12598
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from triptych.core import Given, Label, Labels, Text, Tokens


class Prefix(nn.Module):
    """A class as one token, a text as its own ones; with nothing to be conditioned on, one start token.

    One more token stands in the place of each where the condition is left out: it is trained by `ids` with `dropped`,
    and guidance compares with it. What fills up a short text is read like a word.
    """

    def __init__(self, space: Labels | Tokens | None, width: int) -> None:
        super().__init__()
        self.length, self.nothing = (1, 0) if space is None else (space.dims, space.values)
        self.token = nn.Embedding(self.nothing + 1, width)

    def ids(self, n: int, given: Given | None, dropped: Bool[Tensor, " n"] | None = None) -> Int[Tensor, "n length"]:
        """The tokens of n conditions, of none where they are dropped."""
        if isinstance(given, Label):
            ids = given.y[:, None]
        elif isinstance(given, Text):
            ids = given.tokens
        else:
            return self.none(n)
        return ids if dropped is None else torch.where(dropped[:, None], self.nothing, ids)

    def none(self, n: int) -> Int[Tensor, "n length"]:
        """The tokens of no condition."""
        return torch.full((n, self.length), self.nothing, device=self.token.weight.device)

    def forward(self, ids: Int[Tensor, "n length"]) -> Float[Tensor, "n length width"]:
        out: Tensor = self.token(ids)
        return out


def places_after(prefix: int, grid: Sequence[int]) -> Int[Tensor, "t axes"]:
    """Row and column (and depth before) of the places of a grid, from 1, after a prefix at 0: its tokens are not
    rotated."""
    places = torch.cartesian_prod(*(torch.arange(1, side + 1) for side in grid)).view(-1, len(grid))
    return torch.cat((places.new_zeros(prefix, len(grid)), places))
