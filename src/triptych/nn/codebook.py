"""Vector quantization: the nearest of K vectors stands for a vector, and follows those that it stands for.

van den Oord, Vinyals and Kavukcuoglu, 2017. Neural Discrete Representation Learning. https://arxiv.org/abs/1711.00937
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from triptych.core import Noise
from triptych.nn import ranks

EPSILON = 1e-5


class StraightThrough(torch.autograd.Function):
    """Forward, what was chosen; backward, as if it were z itself (Section 3.1).

    The usual z + stop(chosen - z) rounds: what the decoder learns from is then not quite what it is given later.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, chosen: Tensor) -> Tensor:
        return chosen.view_as(chosen)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Codebook(nn.Module):
    """K vectors, each the moving average of the vectors that it is the nearest to (Appendix A.1).

        N_k <- decay N_k + (1 - decay) n_k,   m_k <- decay m_k + (1 - decay) sum of the n_k vectors,   e_k = m_k / N_k

    No gradient reaches them. For each batch call `observe`, once or for one part after the other, on one rank or on
    several, and then (after the optimizer's update) `follow`: n_k and the rest are the whole batch's. All that they
    depend on is in the buffers, so that it is saved and resumed.

    So that all of the codebook comes into use, and stays in it, a code whose N_k (in vectors a batch) is below `revive`
    is moved to a random vector of the batch, with N_k = revive: with so little past it soon finds its place, and if it
    stands for nothing in the next batch, it moves again. As every N_k begins at zero, the first batch places them all.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    seen_counts: Tensor
    seen_sums: Tensor
    candidates: Tensor
    keys: Tensor
    open: Tensor

    def __init__(self, size: int, width: int, decay: float, revive: float) -> None:
        super().__init__()
        self.decay, self.revive = decay, revive
        self.register_buffer("codes", torch.empty(size, width).normal_())
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, width))
        # from `observe` to `follow`, within one turn
        self.register_buffer("seen_counts", torch.zeros(size), persistent=False)
        self.register_buffer("seen_sums", torch.zeros(size, width), persistent=False)
        self.register_buffer("candidates", torch.zeros(size, width), persistent=False)
        self.register_buffer("keys", torch.full((size,), torch.inf), persistent=False)
        self.register_buffer("open", torch.zeros((), dtype=torch.bool), persistent=False)

    @torch.no_grad()
    def nearest(self, z: Float[Tensor, "*n width"]) -> Int[Tensor, "*n"]:
        """The code of each vector: the nearest in Euclidean distance (Equation 1), the first of equals."""
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 would confuse neighbors
            z = z.to(self.codes.dtype)
            return (self.codes.square().sum(1) - 2 * z @ self.codes.T).argmin(-1)  # |z|^2 is the same for all codes

    def forward(self, code: Int[Tensor, "*n"]) -> Float[Tensor, "*n width"]:
        """The vectors that codes stand for (Equation 2)."""
        return nn.functional.embedding(code, self.codes)

    def pass_through(
        self, z: Float[Tensor, "*n width"], code: Int[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "*n width"], Float[Tensor, "*n"]]:
        """The codes' vectors, with the gradient going on to z, and |z - e|^2, whose gradient goes to z alone.

        The second is the commitment term of Equation 3. Its counterpart, which would draw the codes toward z, is not
        there: the moving averages do that.
        """
        chosen = self(code)
        through: Tensor = StraightThrough.apply(z, chosen)  # type: ignore[no-untyped-call]
        return through, (z - chosen).square().sum(-1)

    @torch.no_grad()
    def observe(self, z: Float[Tensor, "n *grid width"], code: Int[Tensor, "n *grid"], noise: Noise) -> None:
        """Remembers which vectors a batch, or a part of it, had, for `follow`. Spends noise.uniform(*grid)."""
        keys = noise.uniform(*code.shape[1:]).flatten().to(self.keys.dtype)
        z, code = z.flatten(0, -2).to(self.codes.dtype), code.flatten()
        counts = z.new_zeros(len(self.codes)).index_add_(0, code, torch.ones_like(code, dtype=z.dtype))
        sums = torch.zeros_like(self.sums).index_add_(0, code, z)
        self.seen_counts.copy_(counts + torch.where(self.open, self.seen_counts, 0))  # of earlier parts, if any
        self.seen_sums.copy_(sums + torch.where(self.open, self.seen_sums, 0))
        earlier = torch.where(self.open, self.keys, torch.inf)
        self.draw(torch.cat([self.candidates, z]), torch.cat([earlier, keys]))
        self.open.fill_(True)

    def draw(self, z: Float[Tensor, "n width"], keys: Float[Tensor, " n"]) -> None:
        """The candidates: K vectors at random, which are those of the lowest keys, of however many parts they come."""
        order = keys.argsort(stable=True)[: len(self.codes)]
        self.candidates.copy_(z[order])
        self.keys.copy_(keys[order])

    @torch.no_grad()
    def follow(self) -> dict[str, Tensor]:
        """Moves the codes to their vectors' averages, and those out of use to where there are vectors.

        Returns what `use` says of the batch.
        """
        size = len(self.codes)
        if ranks.world() > 1:
            self.seen_counts.copy_(ranks.total(self.seen_counts))
            self.seen_sums.copy_(ranks.total(self.seen_sums))
            self.draw(ranks.whole(self.candidates), ranks.whole(self.keys))
        there = self.keys.isfinite().sum().clamp(min=1)
        candidates = self.candidates[torch.arange(size, device=there.device) % there]
        self.open.fill_(False)
        counts = self.counts.lerp(self.seen_counts, 1 - self.decay)
        sums = self.sums.lerp(self.seen_sums, 1 - self.decay)
        least = self.least()
        dead = counts < least
        self.counts.copy_(torch.where(dead, least, counts))
        self.sums.copy_(torch.where(dead[:, None], least * candidates, sums))
        # Laplace smoothing: no division by a count that has faded away
        total = self.counts.sum()
        smooth = (self.counts + EPSILON) / (total + size * EPSILON) * total
        self.codes.copy_(self.sums / smooth[:, None])
        return self.use()

    def least(self) -> float | Tensor:
        """How many vectors of a batch a code has to stand for, on average, not to be moved."""
        return self.revive

    def use(self) -> dict[str, Tensor]:
        """What `use` says of the batch observed last."""
        return use(self.seen_counts)


class UnitCodebook(Codebook):
    """Codes of length 1, for vectors of length 1: the nearest is that of the smallest angle. Out of use is a code below
    a share of the average use, `revive`.

    Yu and others, 2021. Vector-quantized Image Modeling with Improved VQGAN, Section 3.2.
    https://arxiv.org/abs/2110.04627
    """

    @torch.no_grad()
    def nearest(self, z: Float[Tensor, "*n width"]) -> Int[Tensor, "*n"]:
        with torch.autocast(z.device.type, enabled=False):
            return (z.to(self.codes.dtype) @ nn.functional.normalize(self.codes, dim=-1).T).argmax(-1)

    def forward(self, code: Int[Tensor, "*n"]) -> Float[Tensor, "*n width"]:
        return nn.functional.normalize(super().forward(code), dim=-1)

    def least(self) -> Tensor:
        return self.revive * self.seen_counts.sum() / len(self.codes)


def use(counts: Float[Tensor, " codes"]) -> dict[str, Tensor]:
    """By how often each code came in a batch: the share that it used, and the perplexity, exp of their entropy.

    The perplexity is as many codes as would be in use if they all were used equally often: from 1 to K.
    """
    p = counts / counts.sum()
    return {"used": (p > 0).to(p.dtype).mean(), "perplexity": torch.special.entr(p).sum().exp()}
