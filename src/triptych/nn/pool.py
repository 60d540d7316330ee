"""Generated pictures of earlier turns, among those that a discriminator is shown.

Learning from Simulated and Unsupervised Images through Adversarial Training. Shrivastava et al., 2017.
https://arxiv.org/abs/1612.07828, Section 2.3
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import Images, Noise
from triptych.nn import ranks


class Pool(nn.Module):
    """Up to `size` pictures. What it holds is in its buffers, so that it is saved and resumed.

    For each batch call `mixed`, once or for one part after the other, on one rank or on several, and then (after the
    optimizer's update) `follow`: all parts see the pool as it was before the turn. Until it is full it takes in every
    picture that comes; from then on a picture comes back itself, or, as often, changes places with one of the pool.
    """

    pictures: Tensor
    held: Tensor
    open: Tensor

    def __init__(self, x: Images, size: int) -> None:
        super().__init__()
        self.size = size
        self.came: list[tuple[Tensor, Tensor]] = []
        if size:
            self.register_buffer("pictures", torch.zeros(size, *x.shape))
            self.register_buffer("held", torch.zeros((), dtype=torch.int64))
            self.register_buffer("open", torch.zeros((), dtype=torch.bool), persistent=False)

    @torch.no_grad()
    def mixed(self, fake: Float[Tensor, "n c h w"], noise: Noise) -> Float[Tensor, "n c h w"]:
        """Pictures to be judged, of those just generated. Spends noise.uniform(2); a pool of size 0 gives them back."""
        if not self.size:
            return fake
        u = noise.uniform(2).to(fake.device)
        slot = (u[:, 0] * self.size).long().clamp_(max=self.size - 1)
        swaps = u[:, 1] < 0.5
        if not bool(self.open):  # what came in a turn that was broken off is forgotten
            self.came, self.open = [], torch.ones_like(self.open)
        self.came.append((fake.to(self.pictures.dtype), torch.where(swaps, slot, -1)))
        old = (swaps & (self.held == self.size))[:, None, None, None]
        return torch.where(old, self.pictures[slot].to(fake.dtype), fake)

    @torch.no_grad()
    def follow(self) -> None:
        """Takes in what came in this turn, in its order."""
        if not self.came:
            return
        fakes = ranks.whole(torch.cat([fake for fake, _ in self.came]))
        slots = ranks.whole(torch.cat([slot for _, slot in self.came])).tolist()
        held = int(self.held)
        for fake, slot in zip(fakes, slots, strict=True):
            if held < self.size:
                self.pictures[held] = fake
                held += 1
            elif slot >= 0:
                self.pictures[slot] = fake
        self.held.fill_(held)
        self.came, self.open = [], torch.zeros_like(self.open)
