"""A language model of a grid of codes, told a class or a text: trained with and without, and so guided.

Sun and others, 2024. Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation.
https://arxiv.org/abs/2406.06525
"""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import Given, Labels, Noise, Sampling, Tokens
from triptych.nn.prefix import Prefix, places_after
from triptych.nn.transformer import Read, Score, Transformer, rotations, write


class CodeTransformer(nn.Module):
    """p(codes | condition), place after place. Uniform until it is trained.

    The condition is what is read first. A position is told by the rotation of queries and keys, and by a learned vector
    of the place whose code it predicts.
    """

    def __init__(
        self,
        codes: int,
        grid: Sequence[int],
        given: Labels | Tokens | None,
        width: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.prefix = Prefix(given, width)
        places = places_after(self.prefix.length, grid)[:-1]  # nothing is read after the last code
        self.code = nn.Embedding(codes, width)
        self.where = nn.Parameter(torch.empty(len(places), width).normal_())
        """For each position, of the place whose code it predicts; before that, of the word."""
        turns = rotations(places, width // heads, slowest=100)
        self.transformer = Transformer(layers, width, heads, turns, dropout=dropout)
        self.out = nn.Linear(width, codes, bias=False)
        nn.init.zeros_(self.out.weight)

    @classmethod
    def of(
        cls, prefix: Prefix, code: nn.Embedding, where: nn.Parameter, transformer: Transformer, out: nn.Linear
    ) -> Self:
        """The one that has these parts: of a model that has them by names of its own, which its runs are saved by."""
        one = cls.__new__(cls)
        nn.Module.__init__(one)
        one.prefix, one.code, one.where, one.transformer, one.out = prefix, code, where, transformer, out
        return one

    def scores(self, code: Int[Tensor, "n places"], ids: Int[Tensor, "n prefix"]) -> Float[Tensor, "n places codes"]:
        """The scores of each code, given those before it and the condition's tokens."""
        h = torch.cat((self.prefix(ids), self.code(code[:, :-1])), 1) + self.where  # n prefix+places-1 width
        out: Tensor = self.out(self.transformer(h)[:, self.prefix.length - 1 :])
        return out

    def nats(
        self, code: Int[Tensor, "n places"], ids: Int[Tensor, "n prefix"], read: Int[Tensor, "n places"] | None = None
    ) -> Float[Tensor, " n"]:
        """-log p(codes | condition); `read` stands in the place of the codes before each, where those are not to be
        relied on."""
        return F.cross_entropy(self.scores(code if read is None else read, ids).mT, code, reduction="none").sum(1)

    def memory(self, n: int) -> Sequence[Tensor]:
        """The key-value caches of n grids before anything is read."""
        return self.transformer.memory(n)

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], ids: Int[Tensor, "n prefix"]
    ) -> tuple[Float[Tensor, "n codes"], Sequence[Tensor]]:
        """What is read at one place, and the scores of the code after it, for programs without this model: first the
        condition's tokens, of which the last one is followed by the first code, and then each code but the last."""
        last = self.prefix.length - 1
        word = self.prefix(ids).index_select(1, at.clamp(max=last))[:, 0]
        h = torch.where(at > last, self.code(value), word) + self.where.index_select(0, at)
        h, memory = self.transformer.advance(h[:, None], at, memory)
        return self.out(h[:, 0]), memory

    def draw(self, space: Tokens, noise: Noise, given: Given | None, how: Sampling) -> Int[Tensor, "n places"]:
        """One code after the other, by the key-value cache; guided, with and without the condition side by side."""
        n, before = noise.n, self.prefix.length - 1
        ids, u, code = self.prefix.ids(n, given), noise.uniform(space.length), how.start(space, noise)
        if how.guidance != 1:
            ids, u, code = torch.cat((ids, self.prefix.none(n))), u.repeat(2, 1), code.repeat(2, 1)

        score, read = Score(self.out.weight), Read(self.code.weight, position=self.where)

        def guided(h: Tensor) -> Tensor:
            scores = score(h)
            return how.guide(scores[:n], scores[n:]).repeat(2, 1)

        # the condition's tokens but the last stand where values lie that are known
        h, token, u = self.prefix(ids) + self.where[: before + 1], F.pad(code, (before, 0)), F.pad(u, (before, 0))
        return write(self.transformer, h, token, u, how, score if how.guidance == 1 else guided, read)[:n, before:]
