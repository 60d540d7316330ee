"""How well pictures fit what was said: by an encoder of pictures and one of captions that were trained to find each
other, on the training split of the user's own data, apart from every model that is measured.

Learning Transferable Visual Models From Natural Language Supervision. Radford and others, 2021.
https://arxiv.org/abs/2103.00020

    -1/2 mean log softmax over captions of (x_i . t_j / tau)_i,i - 1/2 mean log softmax over pictures of the same

where x and t are vectors of length 1 of a batch's pictures and captions, and tau is learned. Pictures of the same
caption are not held against each other. A word is now and then read as one that is not known.

R-precision (AttnGAN: Xu and others, 2018. https://arxiv.org/abs/1711.10485, Section 4.1): of a picture's own caption
among others of other pictures, how often is it the nearest.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import IntegrityError, StepNoise, Text, Tokens, UsageError, mix
from triptych.core.text import PAD, UNKNOWN
from triptych.metrics.images import eight_bit
from triptych.metrics.trained import BATCH, FEWEST, PASSES, RATE, Net, altered, batches, over, reduced, shape_of, split
from triptych.metrics.trained import unit as scaled
from triptych.nn.conditioning import SentenceEncoder

SECONDS = 90.0
"""Of one core, about, for training."""
WIDTH = 64
FORGOTTEN = 0.1
"""The share of words that are not known in training."""
AMONG = 100
"""A picture's own caption, and as many others as make this."""
RECIPE = (
    f"convolutions to 64 features, words with their neighbours, both to {WIDTH} numbers, AdamW and one cycle, batches "
    f"of {BATCH}, at most {PASSES} passes, {FORGOTTEN:.0%} of the words unknown, seed 0, version 1"
)


class Encoders(nn.Module):
    """Pictures and captions as vectors of length 1, and how sharply they are compared."""

    def __init__(self, shape: tuple[int, int, int], space: Tokens) -> None:
        super().__init__()
        self.picture, self.caption = Net(shape, WIDTH, deep=True), SentenceEncoder(space, WIDTH)
        self.sharpness = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def loss(self, x: Tensor, tokens: Int[Tensor, "n length"], same: Tensor) -> Tensor:
        """same: bool [n, n], which captions are equal."""
        seen, said = F.normalize(self.picture(x)), F.normalize(self.caption(Text(tokens)))
        likeness = (seen @ said.T) * self.sharpness.clamp(max=math.log(100)).exp()
        others = same & ~torch.eye(len(x), dtype=torch.bool)
        likeness = likeness.masked_fill(others, -math.inf)
        own = torch.arange(len(x))
        return (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)) / 2


class Matching:
    """Trained encoders of pictures of one shape and of captions in one space."""

    name = "matching"

    def __init__(self, shape: tuple[int, int, int], space: Tokens, net: Encoders, facts: Mapping[str, float]) -> None:
        self.shape, self.space, self.facts = shape, space, dict(facts)
        self.net = net.eval().requires_grad_(False)
        weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
        self.sha256 = hashlib.sha256(f"{self.name} {shape} {space} {RECIPE}".encode() + weights).hexdigest()

    @classmethod
    def learned(
        cls, images: Tensor, captions: Int[Tensor, "n length"], space: Tokens, *, seconds: float = SECONDS
    ) -> Self:
        """Trains on images as `eight_bit` takes them and their captions. Raises UsageError for too few."""
        shape, images, captions = shape_of(images), reduced(eight_bit(images)), captions.cpu()
        if len(images) < FEWEST:
            raise UsageError(f"what matches pictures and captions is learned from {FEWEST} or more, got {len(images)}")
        train, held = split(len(images))
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            net = Encoders(shape_of(images), space)
            batch = min(BATCH, len(train))
            steps = max(2, int(min(seconds * RATE / (3 * net.picture.work), PASSES * len(train)) / batch))
            optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.2)
            net.train()
            for step, rows in zip(range(steps), batches(train, batch), strict=False):
                noise = StepNoise(mix(0, step), len(rows), slice(None))
                x, said = altered(scaled(images[rows]), noise, 0.12), captions[rows]
                gone = (noise.uniform(said.shape[1]) < FORGOTTEN) & (said != PAD)
                optimizer.zero_grad()
                value = net.loss(x, said.masked_fill(gone, UNKNOWN) if space.padded else said, equal(said, said))
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        found = cls(shape, space, net, {"train": len(train), "looks": steps * batch})
        right, among = found.precision(images[held], captions[held], captions[held], ready=True)
        found.facts |= {"held": len(held), "right": right, "among": among}
        return found

    def pictures(self, images: Tensor) -> Float[Tensor, "n 64"]:
        """Vectors of length 1. Raises UsageError for images of another shape."""
        if shape_of(images) != self.shape:
            raise UsageError(f"images have shape {list(images.shape)}; this was trained on {list(self.shape)}")
        return F.normalize(over(self.net.picture, reduced(eight_bit(images))))

    def captions(self, tokens: Int[Tensor, "n length"]) -> Float[Tensor, "n 64"]:
        """Vectors of length 1."""
        with torch.no_grad():
            return F.normalize(self.net.caption(Text(tokens)))

    def precision(
        self,
        images: Tensor,
        captions: Int[Tensor, "n length"],
        pool: Int[Tensor, "m length"],
        *,
        seed: int = 0,
        ready: bool = False,
    ) -> tuple[float, int]:
        """R-precision: how often the caption of a picture is nearest to it among `AMONG` (or as many different ones as
        there are): its own and others of the pool, drawn by `seed`. With it, among how many.

        Raises UsageError where all captions are one.
        """
        seen = F.normalize(over(self.net.picture, images)) if ready else self.pictures(images)
        pool = torch.unique(pool, dim=0)
        likeness, own = seen @ self.captions(pool).T, (seen * self.captions(captions)).sum(1)
        likeness = likeness.masked_fill(equal(captions, pool), -math.inf)
        others = min(AMONG - 1, len(pool) - 1)
        if others < 1:
            raise UsageError("R-precision takes captions that differ")
        generator = torch.Generator().manual_seed(mix(seed))
        among = torch.stack([torch.randperm(len(pool), generator=generator)[: others + 1] for _ in range(len(seen))])
        drawn = likeness.gather(1, among)
        # where its own was drawn among them it counts for nothing; elsewhere the last is one too many
        none = torch.isinf(drawn).any(1)
        drawn[~none, -1] = -math.inf
        return (own > drawn.amax(1)).double().mean().item(), others + 1

    @property
    def about(self) -> str:
        """How it was trained, and how good it is."""
        return (
            f"an encoder trained apart on {int(self.facts['train']):,} training pictures ({int(self.facts['looks']):,} "
            f"looks), which finds the caption of {100 * self.facts['right']:.1f} % of {int(self.facts['held']):,} "
            f"others of that split among {int(self.facts['among'])}; sha256 {self.sha256[:12]}"
        )

    def tensors(self) -> dict[str, Tensor]:
        """All there is to keep of it."""
        numbers = {f"facts.{key}": torch.tensor(value, dtype=torch.float64) for key, value in self.facts.items()}
        return {**self.net.state_dict(), **numbers}

    @classmethod
    def restored(cls, shape: tuple[int, int, int], space: Tokens, tensors: Mapping[str, Any]) -> Self:
        """From `tensors`. Raises IntegrityError if they are not those of such encoders."""
        small = shape_of(reduced(torch.zeros(1, *shape, dtype=torch.uint8)))
        state = {key: value for key, value in tensors.items() if not key.startswith("facts.")}
        try:
            net = Encoders(small, space)
            net.load_state_dict(state)
            keys = ("train", "looks", "held", "right", "among")
            return cls(shape, space, net, {key: tensors[f"facts.{key}"].item() for key in keys})
        except (KeyError, RuntimeError) as e:
            raise IntegrityError(f"these match no captions of {space} with images of {list(shape)}") from e


def equal(one: Int[Tensor, "n length"], other: Int[Tensor, "m length"]) -> Tensor:
    """bool [n, m]: which captions are the same."""
    return (one[:, None] == other[None]).all(2)
