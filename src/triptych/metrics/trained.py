"""Features of a small network that is trained here, on the training split of the user's own data.

"classifier"       learns the classes that come with the data: then features tell what the labels tell.
"self-supervised"  learns, without labels, to find two altered views of one image among those of others (Chen et al.,
                   2020. A Simple Framework for Contrastive Learning. https://arxiv.org/abs/2002.05709).

How long is a number of images, looked up from the size of the network, not a time that is measured: the same data
gives the same training. Weights still differ in last digits between processors, so distances on them compare only by
the same weights (sha256).
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Self

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import IntegrityError, StepNoise, UsageError, mix
from triptych.metrics.images import eight_bit, in_parts

SECONDS = 120.0
"""Of one core, about, for training: the default."""
RATE = 2.5e10
"""Multiply-adds that a core does in a second of training, about, by which seconds become numbers of images."""
PASSES = 40
"""At most, over the training images: small sets take less than `SECONDS`."""
BATCH = 128
WIDTH = 64
"""Features."""
LARGEST = 64
"""Pixels of the longer side, at most: larger images are reduced by a whole factor, to means of squares."""
FEWEST = 20
"""Images without which nothing is learned."""
HELD_OUT = 10
"""A tenth of the images (of the training split) is not trained on, but tells how good the network is."""
TEMPERATURE = 0.2

Name = Literal["classifier", "self-supervised"]
RECIPE = (
    f"convolutions to {WIDTH} features, at most {LARGEST} pixels a side, AdamW and one cycle, batches of {BATCH}, at "
    f"most {PASSES} passes, seed 0, version 1"
)
"""What the weights depend on beside the data and the seconds: changes when the code does."""


class Net(nn.Module):
    """Pairs of convolutions, each halving the plane until it is 8 pixels or less (two at least); the mean over the
    plane is 64 features. The head gives logits of classes, or what is contrasted."""

    def __init__(self, shape: tuple[int, int, int], outputs: int, deep: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, side, self.work = shape[0], max(shape[1:]), 0
        plane = shape[1] * shape[2]
        for stage in range(max(2, math.ceil(math.log2(side / 8)))):
            width, kernel = (WIDTH // 2, 5) if stage == 0 else (WIDTH, 3)
            plane = max(1, plane // 4)
            for inner, k, stride in ((channels, kernel, 2), (width, 3, 1)):
                layers += [nn.Conv2d(inner, width, k, stride, k // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                self.work += plane * k * k * inner * width
            channels = width
        self.trunk = nn.Sequential(*layers)
        hidden = [nn.Linear(WIDTH, WIDTH), nn.ReLU()] if deep else []
        self.head = nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))

    work: int
    """Multiply-adds that an image takes, about."""

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 64"]:
        return self.trunk(x).mean((2, 3))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.head(self.features(x))


class Trained:
    """A network trained on images of one shape, as an extractor; a classifier also reads classes."""

    dims = WIDTH

    def __init__(self, name: Name, shape: tuple[int, int, int], net: Net, facts: Mapping[str, float]) -> None:
        self.name, self.shape, self.net, self.facts = name, shape, net.eval().requires_grad_(False), dict(facts)
        weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
        self.sha256 = hashlib.sha256(f"{name} {shape} {RECIPE}".encode() + weights).hexdigest()

    @classmethod
    def classifier(
        cls, images: Tensor, labels: Int[Tensor, " n"], classes: int | None = None, *, seconds: float = SECONDS
    ) -> Self:
        """Trains on images [n, c, h, w] as `eight_bit` takes them, and their classes from 0 on (-1: not known).

        Raises UsageError for too few labeled images, or less than two classes among them.
        """
        known, shape = labels >= 0, shape_of(images)
        images, labels = reduced(eight_bit(images)[known]), labels[known].cpu()
        present = len(set(labels.tolist()))
        if len(labels) < FEWEST or present < 2:
            raise UsageError(
                f"a classifier takes {FEWEST} labeled images of two classes, got {len(labels)} of {present}; "
                "self-supervised takes no labels"
            )
        train, held = split(len(images))
        classes = classes or int(labels.max()) + 1

        def loss(net: Net, rows: Tensor, noise: StepNoise) -> Tensor:
            return F.cross_entropy(net(altered(unit(images[rows]), noise, 0.12)), labels[rows])

        with torch.random.fork_rng(devices=[]):
            net, looks = fit(shape_of(images), classes, False, train, seconds, loss)
        right = (over(net, images[held]).argmax(1) == labels[held]).double().mean().item()
        return cls("classifier", shape, net, facts(train, held, looks, right))

    @classmethod
    def self_supervised(cls, images: Tensor, *, seconds: float = SECONDS) -> Self:
        """Trains on images [n, c, h, w] as `eight_bit` takes them. Raises UsageError for too few."""
        shape, images = shape_of(images), reduced(eight_bit(images))
        if len(images) < FEWEST:
            raise UsageError(f"self-supervised takes {FEWEST} images or more to train on, got {len(images)}")
        train, held = split(len(images))

        def loss(net: Net, rows: Tensor, noise: StepNoise) -> Tensor:
            x = unit(images[rows])
            views = [recolored(altered(x, noise, 0.4), noise) for _ in range(2)]
            return contrast(net(torch.cat(views)))

        with torch.random.fork_rng(devices=[]):
            net, looks = fit(shape_of(images), WIDTH, True, train, seconds / 2, loss)
        held = held[:BATCH]
        x, noise = unit(images[held]), StepNoise(mix(1), len(held), slice(None))
        with torch.no_grad():
            one, other = (F.normalize(net(recolored(altered(x, noise, 0.4), noise))) for _ in range(2))
        right = ((one @ other.T).argmax(1) == torch.arange(len(held))).double().mean().item()
        return cls("self-supervised", shape, net, facts(train, held, looks, right))

    def __call__(self, images: Tensor) -> Float[Tensor, "n 64"]:
        return over(self.net.features, self.ready(images))

    @property
    def classes(self) -> int:
        """How many classes it reads; for a classifier only."""
        return len(self.net.state_dict()["head.0.bias"])

    def probabilities(self, images: Tensor) -> Float[Tensor, "n classes"]:
        """The probability of each class. Raises UsageError for other images, and of a network that knows no classes."""
        if self.name != "classifier":
            raise UsageError(f"{self.name} features know no classes; a classifier does")
        return over(self.net, self.ready(images)).softmax(1)

    def ready(self, images: Tensor) -> UInt8[Tensor, "n c h w"]:
        if shape_of(images) != self.shape:
            raise UsageError(
                f"images have shape {list(images.shape)}; this {self.name} was trained on {list(self.shape)}"
            )
        return reduced(eight_bit(images))

    @property
    def resizer(self) -> str:
        k = factor(self.shape)
        return "none" if k == 1 else f"means of {k} x {k} pixels"

    @property
    def about(self) -> str:
        """How it was trained, and how good it is."""
        n, held, looks = (int(self.facts[key]) for key in ("train", "held", "looks"))
        tells = (
            f"{100 * self.facts['right']:.1f} % of {held:,} held-out ones classified right"
            if self.name == "classifier"
            else f"another view of an image is found among {held:,} held-out ones for {100 * self.facts['right']:.1f} %"
        )
        return f"trained here on {n:,} training images ({looks:,} looks), {tells}"

    def tensors(self) -> dict[str, Tensor]:
        """All there is to keep of it."""
        numbers = {f"facts.{key}": torch.tensor(value, dtype=torch.float64) for key, value in self.facts.items()}
        return {**self.net.state_dict(), **numbers}

    @classmethod
    def restored(cls, name: Name, shape: tuple[int, int, int], tensors: Mapping[str, Tensor]) -> Self:
        """From `tensors`. Raises IntegrityError if they are not those of such a network for images of this shape."""
        k = factor(shape)
        small = shape[0], shape[1] // k, shape[2] // k
        state = {key: value for key, value in tensors.items() if not key.startswith("facts.")}
        deep = name == "self-supervised"
        try:
            net = Net(small, len(state["head.2.bias" if deep else "head.0.bias"]), deep)
            net.load_state_dict(state)
            found = {key: tensors[f"facts.{key}"].item() for key in ("train", "held", "looks", "right")}
            return cls(name, shape, net, found)
        except (KeyError, RuntimeError) as e:
            raise IntegrityError(f"these are not the weights of a {name} for images of {list(shape)}") from e


def facts(train: Tensor, held: Tensor, looks: int, right: float) -> dict[str, float]:
    return {"train": len(train), "held": len(held), "looks": looks, "right": right}


def fit(
    shape: tuple[int, int, int],
    outputs: int,
    deep: bool,
    train: Int[Tensor, " n"],
    seconds: float,
    loss: Callable[[Net, Tensor, StepNoise], Tensor],
) -> tuple[Net, int]:
    """A network trained by a loss of some rows, and how many images it looked at."""
    torch.manual_seed(0)
    net = Net(shape, outputs, deep).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = min(BATCH, len(train))
    looks = min(seconds * RATE / (3 * net.work), PASSES * len(train))
    steps = max(2, int(looks / batch))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps, pct_start=0.2)
    net.train()
    for step, rows in zip(range(steps), batches(train, batch), strict=False):
        optimizer.zero_grad()
        loss(net, rows, StepNoise(mix(0, step), len(rows), slice(None))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return net.eval().to(memory_format=torch.contiguous_format), steps * batch


def batches(rows: Int[Tensor, " n"], size: int) -> Iterator[Int[Tensor, " b"]]:
    """Without end; each pass in an order of its own, what does not fill a batch left out."""
    turn = 0
    while True:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(mix(turn)))
        yield from (rows[part] for part in torch.split(order[: len(rows) // size * size], size))
        turn += 1


def split(n: int) -> tuple[Int[Tensor, " train"], Int[Tensor, " held"]]:
    """Which rows are trained on, and which are held out: at random, as sets are seldom in random order."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(mix(n)))
    return order[n // HELD_OUT :], order[: n // HELD_OUT]


def over(what: Callable[[Tensor], Tensor], images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Of as many images at a time as fit."""
    with torch.no_grad():
        return torch.cat([what(unit(part)) for part in in_parts(images)])


def shape_of(images: Tensor) -> tuple[int, int, int]:
    return images.shape[1], images.shape[2], images.shape[3]


def factor(shape: tuple[int, int, int]) -> int:
    return math.ceil(max(shape[1:]) / LARGEST)


def reduced(images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h2 w2"]:
    """At most 64 pixels a side: means of squares, rounded; what does not fill one is cut off."""
    k = factor(shape_of(images))
    if k == 1:
        return images
    return torch.cat([F.avg_pool2d(part.float(), k).round_().to(torch.uint8) for part in in_parts(images)])


def unit(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    return images.float().div_(127.5).sub_(1)


def altered(x: Float[Tensor, "n c h w"], noise: StepNoise, most: float) -> Float[Tensor, "n c h w"]:
    """Each moved, scaled and turned a little: by up to `most` of its half side, `most`, and `most` radians over 2.

    Never mirrored: letters and digits have a handedness. What comes in from outside repeats the border.
    """
    angle, size, dx, dy = (most * (2 * noise.uniform(4) - 1)).T
    cos, sin, size = (angle / 2).cos(), (angle / 2).sin(), 1 + size
    rows = [torch.stack([size * cos, -size * sin, dx / 2], 1), torch.stack([size * sin, size * cos, dy / 2], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def recolored(x: Float[Tensor, "n c h w"], noise: StepNoise) -> Float[Tensor, "n c h w"]:
    """Each channel with a brightness and a contrast of its own, and each image with a grain: else colors alone would
    tell images apart."""
    contrast, brightness = noise.uniform(2, x.shape[1], 1, 1).unbind(1)
    grain = noise.uniform(1, 1, 1)
    return x * (0.6 + 0.8 * contrast) + 0.6 * (brightness - 0.5) + 0.1 * grain * noise.normal(*x.shape[1:])


def contrast(z: Float[Tensor, "two_n d"]) -> Tensor:
    """The mean of -log p(the other view of the same | a view), among all views but itself (their Equation 1)."""
    z = F.normalize(z)
    likeness = (z @ z.T / TEMPERATURE).fill_diagonal_(-math.inf)
    n = len(z) // 2
    return F.cross_entropy(likeness, torch.arange(2 * n).roll(n))
