"""Finite scalar quantization: each of a few numbers is rounded to one of a few levels, and no codebook is learned.

Mentzer, Minnen, Agustsson and Tschannen, 2023. Finite Scalar Quantization: VQ-VAE Made Simple.
https://arxiv.org/abs/2309.15505
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from triptych.core import precisely
from triptych.nn import ranks
from triptych.nn.codebook import StraightThrough, use

Levels = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)]
"""How many levels each number of a code has: (8, 6, 5) makes 240 codes."""
SLACK = 1e-3
"""How far the bounds lie beyond the outermost levels, so that these are reached."""


class FSQ(nn.Module):
    """Vectors of D numbers -> one of L_1 x ... x L_D codes each, and back.

        round(tanh(z + shift) reach + (L - 1) / 2),   reach = (L - 1)(1 + SLACK) / 2        (Appendix A.1)

    is a digit, 0 to L - 1; its number is (digit - floor(L/2)) / floor(L/2), in [-1, 1]. The shift, which is zero for
    odd L, makes the number 0 of z = 0 for even L. For L = 2 it would be all but infinite: there it is zero, and the
    numbers are -1 and 1. A code counts in mixed radix, the first digit the fastest.

    In float32 in a run of any precision: half of it would round to levels that there are not.

    For each batch call `observe`, once or for one part after the other, then `follow`, for what is said of its codes.
    """

    reach: Tensor
    shift: Tensor
    middle: Tensor
    origin: Tensor
    scale: Tensor
    levels: Tensor
    radix: Tensor
    seen: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.codes, self.width = math.prod(levels), len(levels)
        reach = [(L - 1) / 2 * (1 if L == 2 else 1 + SLACK) for L in levels]
        shift = [math.atanh(0.5 / h) if L % 2 == 0 and L > 2 else 0.0 for L, h in zip(levels, reach, strict=True)]
        constants = {
            "reach": reach,
            "shift": shift,
            "middle": [(L - 1) / 2 for L in levels],
            "origin": [0.5 if L == 2 else L // 2 for L in levels],
            "scale": [0.5 if L == 2 else L // 2 for L in levels],
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer(
            "radix", torch.tensor([math.prod(levels[:i]) for i in range(self.width)]), persistent=False
        )
        # from `observe` to `follow`, within one turn
        self.register_buffer("seen", torch.zeros(self.codes), persistent=False)

    def bound(self, z: Float[Tensor, "*n width"]) -> Float[Tensor, "*n width"]:
        """What is rounded to digits."""
        return precisely(lambda z: (z + self.shift).tanh() * self.reach + self.middle, z)

    def digits(self, bounded: Float[Tensor, "*n width"]) -> Int[Tensor, "*n width"]:
        return torch.minimum(bounded.round().long().clamp(min=0), self.levels - 1)

    def numbers(self, digits: Tensor) -> Float[Tensor, "*n width"]:
        return (digits - self.origin) / self.scale

    @torch.no_grad()
    def nearest(self, z: Float[Tensor, "*n width"]) -> Int[Tensor, "*n"]:
        """The code of each vector."""
        return (self.digits(self.bound(z)) * self.radix).sum(-1)

    def forward(self, code: Int[Tensor, "*n"]) -> Float[Tensor, "*n width"]:
        """The numbers that codes stand for."""
        return self.numbers(code[..., None] // self.radix % self.levels)

    def pass_through(self, z: Float[Tensor, "*n width"]) -> Float[Tensor, "*n width"]:
        """The numbers of each vector's code, with the gradient of what was rounded."""
        bounded = self.bound(z)
        through: Tensor = StraightThrough.apply(  # type: ignore[no-untyped-call]
            self.numbers(bounded), self.numbers(self.digits(bounded))
        )
        return through

    @torch.no_grad()
    def observe(self, code: Int[Tensor, "*n"]) -> None:
        """Counts the codes of a batch, or of a part of it, for `follow`."""
        one = code.flatten()  # not bincount: it would wait for a GPU to say how many there are
        self.seen.index_add_(0, one, torch.ones_like(one, dtype=self.seen.dtype))

    @torch.no_grad()
    def follow(self) -> dict[str, Tensor]:
        """What `use` says of the batch."""
        seen = ranks.total(self.seen.clone())
        self.seen.zero_()
        return use(seen)
