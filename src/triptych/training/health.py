"""Signs that a game goes wrong, in plain language.

The losses of a GAN say who is ahead, not whether the generator learns: a discriminator that is always right teaches it
nothing, and one sample over and over can be as good a move as any. So a run is watched from outside, by numbers that it
logs anyway and by a few samples at every checkpoint. Watching changes nothing in training.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median

import torch
from jaxtyping import Float, Int
from torch import Tensor, pdist

WINDOW = 200
"""Rounds that a sign has to last."""
WON = 0.01
"""A discriminator that is wrong by no more than this on either side, for a whole window, has won."""
BURST, ROUNDS = 100.0, 10
"""A gradient is exploding if its mean norm over the last rounds is so many times the window's median."""
FLAT, EARLY = 0.25, 0.25
"""Samples differ too little if they do so by less than this share of what the data do; not before this share of the
stage is done, or in less than WINDOW rounds, unless they have differed enough once: a new generator's outputs are all
alike."""


@dataclass(frozen=True)
class Sign:
    """Something wrong: what it is called, and what was seen and what may help, for people."""

    name: str
    text: str


def diversity(x: Float[Tensor, "n ..."], y: Int[Tensor, " n"] | None = None) -> float:
    """How much examples differ: the root mean square difference of a value, averaged over all pairs, or over those of
    the same class y, if there are any."""
    flat = x.flatten(1).float()
    apart = pdist(flat) / flat.shape[1] ** 0.5
    if y is not None:
        first, second = torch.triu_indices(len(y), len(y), 1)
        alike = (y[first] == y[second]).to(apart.device)
        apart = apart[alike] if alike.any() else apart
    return apart.mean().item()


class Health:
    """Watches a game of several players: what the rounds log, and at times its samples beside the data.

    One for each stage. A game of one player (a VAE, an autoregressive model) minimizes a loss that says how well it
    does: nothing here would add to that.
    """

    def __init__(self) -> None:
        self.logs: dict[str, deque[float]] = {}
        self.rounds = 0
        self.varied = False

    @property
    def early(self) -> bool:
        """Whether too few rounds were seen to say of samples that anything is wrong with them."""
        return self.rounds < WINDOW

    def observe(self, logs: Mapping[str, float]) -> None:
        """Takes what one round logged: {"discriminator/D(real)": .7, "generator/gradient_norm": 1.3, ...}."""
        self.rounds += 1
        for name, value in logs.items():
            self.logs.setdefault(name, deque(maxlen=WINDOW)).append(value)

    def signs(
        self,
        samples: Float[Tensor, "n ..."],
        data: Float[Tensor, "n ..."],
        progress: float,
        y: Int[Tensor, " n"] | None = None,
    ) -> tuple[list[Sign], dict[str, float]]:
        """What is wrong now, and what was measured for it.

        progress: the share of the stage that is done. y: the classes of both samples and data, of a model that is told
        them; one picture a class would be a collapse, too.
        """
        share = diversity(samples, y) / max(diversity(data, y), 1e-12)
        self.varied |= share >= 2 * FLAT
        found = [*self.winner(), *self.bursts()]
        if share < FLAT and (self.varied or (progress >= EARLY and not self.early)):
            which = "samples" if y is None else "samples of a class"
            text = (
                f"outputs hardly vary with z: {which} differ by {share:.0%} of what the data do. Mode collapse: go "
                f"back to an earlier checkpoint, with a lower learning rate or a penalty on the discriminator"
            )
            found.append(Sign("collapse", text))
        return found, {"diversity": share}

    def winner(self) -> list[Sign]:
        """The discriminator's victory, if its answers are logged as probabilities D(real) and D(fake)."""
        real, fake = ({k: v for k, v in self.logs.items() if k.endswith(f"D({side})")} for side in ("real", "fake"))
        if len(real) != 1 or len(fake) != 1:
            return []
        reals, fakes = next(iter(real.values())), next(iter(fake.values()))
        if len(reals) < WINDOW or min(reals) < 1 - WON or max(fakes) > WON:
            return []
        return [
            Sign(
                "won",
                f"the discriminator has won: for {WINDOW} rounds it has told real from fake without a mistake (D(real) "
                f"{fmean(reals):.3f}, D(fake) {fmean(fakes):.3f}), and the generator learns next to nothing from it. "
                f"Give it less power, noise or a penalty, or its rate a lower value",
            )
        ]

    def bursts(self) -> list[Sign]:
        """Players whose gradients have grown out of all proportion."""
        found = []
        for name, values in self.logs.items():
            player, _, what = name.rpartition("/")
            if what != "gradient_norm" or len(values) < WINDOW:
                continue
            now, usual = fmean(list(values)[-ROUNDS:]), median(values)
            if now > BURST * usual:
                found.append(
                    Sign(
                        f"burst-{player}",
                        f"the {player}'s gradient explodes: its norm is {now:.3g}, {now / usual:.0f} times the usual "
                        f"{usual:.3g}. Lower its learning rate, or clip its gradient",
                    )
                )
        return found
