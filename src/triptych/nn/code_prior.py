"""A causal transformer over grids of discrete codes: the prior of VQ-VAE and its kin, trained in a second stage.

van den Oord, Vinyals and Kavukcuoglu, 2017. Neural Discrete Representation Learning, Section 3.3 (a PixelCNN there).
https://arxiv.org/abs/1711.00937
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import FAITHFUL, UNKNOWN, Label
from triptych.nn.transformer import Read, Score, Transformer, rotations, write


class CodePrior(nn.Module):
    """p(z | y, context) = prod_i p(z_i | z_1, ..., z_{i-1}, y, context) in raster order. Uniform until it is trained.

    `grid` is rows and columns of codes, each one of `codes`; `classes` is how many values y has (1: no y). The context
    is optional: a vector for each place of the grid, such as an embedding of a coarser grid of codes. Positions are
    both embedded and rotary, by row and by column.
    """

    def __init__(self, codes: int, grid: Sequence[int], width: int, layers: int, heads: int, classes: int = 1) -> None:
        super().__init__()
        rows, columns = grid
        self.code = nn.Embedding(codes, width)
        self.start = nn.Embedding(classes, width)
        self.where = nn.Parameter(torch.empty(rows * columns, width).normal_())
        """Position embedding of the place whose code is predicted, which is one after that of the code read."""
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        self.transformer = Transformer(layers, width, heads, rotations(places, width // heads, slowest=100))
        self.out = nn.Linear(width, codes)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        code: Int[Tensor, "n rows columns"],
        given: Label | None,
        context: Float[Tensor, "n places width"] | None = None,
    ) -> Float[Tensor, "n rows columns codes"]:
        """The logits of each code, given those before it."""
        h = torch.cat((self.begin(len(code), given), self.code(code.flatten(1)[:, :-1])), 1)  # n places width
        logits: Tensor = self.out(self.transformer(h + self.beside(context)))
        return logits.view(*code.shape, -1)

    def begin(self, n: int, given: Label | None) -> Float[Tensor, "n 1 width"]:
        """The start token: a learned vector, or the class's embedding."""
        y = torch.zeros(n, dtype=torch.long, device=self.where.device) if given is None else given.y
        out: Tensor = self.start(y)[:, None]
        return out

    def beside(self, context: Float[Tensor, "n places width"] | None) -> Float[Tensor, "#n places width"]:
        """What is added to the embedding of the code before: the position, and the context if there is any."""
        return self.where[None] if context is None else self.where + context

    def memory(self, n: int) -> Sequence[Tensor]:
        """The key-value caches of n grids before their first code."""
        return self.transformer.memory(n)

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], given: Label | None
    ) -> tuple[Float[Tensor, "n codes"], Sequence[Tensor]]:
        """The logits of the code at one place, given the one before it, for programs without this model."""
        h = torch.where(at == 0, self.begin(value.shape[0], given)[:, 0], self.code(value))
        h, memory = self.transformer.advance((h + self.where.index_select(0, at))[:, None], at, memory)
        return self.out(h[:, 0]), memory

    def log_prob(
        self,
        code: Int[Tensor, "n rows columns"],
        given: Label | None,
        context: Float[Tensor, "n places width"] | None = None,
    ) -> Float[Tensor, " n"]:
        """log p(z | y, context)"""
        logits = self(code, given, context).movedim(-1, 1)
        return -F.cross_entropy(logits, code, reduction="none").flatten(1).sum(1)

    def draw(
        self,
        u: Float[Tensor, "n rows columns"],
        given: Label | None,
        context: Float[Tensor, "n places width"] | None = None,
    ) -> Int[Tensor, "n rows columns"]:
        """A grid for each row of uniform numbers, one code after the other, by the transformer's key-value cache."""
        u, shape, beside = u.flatten(1), u.shape, self.beside(context)
        score, read = Score(self.out.weight, self.out.bias), Read(self.code.weight, position=beside)
        h, code = self.begin(u.shape[0], given) + beside[:, :1], torch.full_like(u, UNKNOWN, dtype=torch.long)
        return write(self.transformer, h, code, u, FAITHFUL, score, read).view(shape)
