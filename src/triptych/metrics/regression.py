"""A number read off a picture, an age say, by a small network that is trained here on the training split."""

import hashlib
from collections.abc import Mapping
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import StepNoise, UsageError
from triptych.metrics.images import eight_bit
from triptych.metrics.trained import FEWEST, RECIPE, SECONDS, Net, altered, fit, over, reduced, shape_of, split, unit


class Regressor:
    """A network that reads one number of each picture; as `Trained`, but for its head."""

    def __init__(self, net: Net, mean: float, deviation: float, facts: Mapping[str, float]) -> None:
        self.net, self.mean, self.deviation, self.facts = net.eval().requires_grad_(False), mean, deviation, dict(facts)
        weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
        self.sha256 = hashlib.sha256(f"regressor {mean} {deviation} {RECIPE}".encode() + weights).hexdigest()

    @classmethod
    def trained(cls, images: Tensor, values: Float[Tensor, " n"], *, seconds: float = SECONDS) -> Self:
        """Trains on images [n, c, h, w] as `eight_bit` takes them, and a number for each.

        Raises UsageError for too few images, or numbers that are all one.
        """
        shape, images, values = shape_of(images), reduced(eight_bit(images)), values.cpu().float()
        if len(images) < FEWEST or values.std() == 0:
            raise UsageError(f"a regressor takes {FEWEST} images with numbers that differ, got {len(images)}")
        mean, deviation = values.mean().item(), values.std().item()
        train, held = split(len(images))

        def loss(net: Net, rows: Tensor, noise: StepNoise) -> Tensor:
            read = net(altered(unit(images[rows]), noise, 0.12)).flatten()
            return F.smooth_l1_loss(read, (values[rows] - mean) / deviation, beta=0.1)

        with torch.random.fork_rng(devices=[]):
            net, looks = fit(shape_of(images), 1, False, train, seconds, loss)
        made = cls(net, mean, deviation, {})
        off = (over(net, images[held]).flatten() * deviation + mean - values[held]).abs().mean().item()
        made.facts = {"train": len(train), "held": len(held), "looks": looks, "off": off, "pixels": max(shape[1:])}
        return made

    def __call__(self, images: Tensor) -> Float[Tensor, " n"]:
        """The number of each image."""
        return over(self.net, reduced(eight_bit(images))).flatten() * self.deviation + self.mean

    @property
    def about(self) -> str:
        """How it was trained, and how far off it is."""
        n, held, looks = (int(self.facts[key]) for key in ("train", "held", "looks"))
        return f"{n:,} training images, {looks:,} looks, {self.facts['off']:.3g} off on {held:,} others of that part"
