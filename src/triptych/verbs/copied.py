"""Copies by codes: samples whose codes are those that a model's own encoder gives a training picture.

A decoder lays noise around what codes say, and a picture is never quite what was made of its codes: that a sample says
nothing new is plainest before it is decoded.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from triptych.core import Generative, Given, ItemNoise, Noise, evaluating
from triptych.metrics import Measurement

BATCH = 256


@runtime_checkable
class Coded(Protocol):
    """A model of codes: one grid of them, or several."""

    def encode(self, x: Tensor, given: Any = None) -> Tensor | tuple[Tensor, ...]:
        """The codes of each x; of other models a distribution of latents, which are no codes."""

    def draw_codes(self, noise: Noise, given: Any) -> Tensor | tuple[Tensor, ...]:
        """The codes of the samples that `noise` and the condition make."""


def copied(
    model: Generative[Any], train: Tensor, test: Tensor, n: int, given: Given | None, seed: int
) -> tuple[Measurement, ...]:
    """Of n samples, drawn of `given` by `seed`, how many have the codes of a training item; and of held-out ones."""
    coder: Any = model
    with evaluating(model), torch.no_grad():
        known, held = set(read(coder, train)), read(coder, test)
        drawn = list[bytes]()
        for first in range(0, n, BATCH):
            last = min(first + BATCH, n)
            noise = ItemNoise(seed, range(first, last), model.device, model.precision)
            drawn += rows(coder.draw_codes(noise, given if given is None else given[slice(first, last)]))
    return (
        Measurement(
            name="copied codes",
            value=share(drawn, known),
            floor=share(held, known),
            unit="share",
            better="lower",
            protocol=f"samples whose codes are all those of one of {len(train):,} training items, as the model's "
            "encoder reads it; floor: held-out items with such codes",
            n=f"{n:,} generated, {len(test):,} held-out",
        ),
    )


def read(model: Any, x: Tensor) -> list[bytes]:
    """The codes of x, as the model's encoder reads them."""
    return [code for part in torch.split(x, BATCH) for code in rows(model.encode(part.to(model.device)))]


def rows(codes: Tensor | tuple[Tensor, ...]) -> list[bytes]:
    """The codes of each item, to be compared."""
    grids = codes if isinstance(codes, tuple) else (codes,)
    flat = torch.cat([grid.flatten(1) for grid in grids], 1).long().cpu().numpy()
    return [row.tobytes() for row in flat]


def share(codes: list[bytes], known: set[bytes]) -> float:
    return sum(code in known for code in codes) / len(codes)
