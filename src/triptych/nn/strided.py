"""DCGAN's networks for images of any size that can be halved: a generator and its mirror.

Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks.
Radford, Metz and Chintala, 2015. https://arxiv.org/abs/1511.06434
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import AfterValidator
from torch import nn

from triptych.core import Images, Points, planar
from triptych.nn.dense import mlp

X = TypeVar("X", bound=Images | Points)
Normalization = Callable[[int], nn.Module]
"""A layer for that many channels."""


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved until the shorter has 4 to 7 pixels; 0 if they cannot, or need not, be."""
    k = (min(height, width) // 4).bit_length() - 1
    return k if k > 0 and height % 2**k == width % 2**k == 0 else 0


def buildable(x: X) -> X:
    """Raises ValueError, with sizes that would do, unless the networks can be built for images of this size."""
    if planar(x) and not halvings(x.height, x.width):
        around = [range(max(s - s // 8 - 4, 8), s + s // 8 + 9) for s in (x.height, x.width)]
        sizes = [(h, w) for h in around[0] for w in around[1] if halvings(h, w) and (h == w) == (x.height == x.width)]
        sizes = sorted(sizes, key=lambda s: abs(s[0] - x.height) + abs(s[1] - x.width))[:3]
        raise ValueError(
            f"DCGAN doubles a grid whose shorter side has 4 to 7 pixels until it is the image, and never arrives at "
            f"{x.height} x {x.width}; near it, these work: {', '.join(f'{h} x {w}' for h, w in sorted(sizes))}"
        )
    return x


Halvable = Annotated[Images, AfterValidator(buildable)]
"""Images with sides of 4 to 7 pixels, doubled at least once."""


def generator(inputs: int, x: Images, width: int) -> nn.Sequential:
    """[n, inputs] -> images: projected and reshaped to a small grid, then doubled (Figure 1).

    width: channels at half the image's size; twice as many at each halving. Kernels are 4 pixels wide, not the
    figure's 5: a multiple of the stride reaches every pixel equally often.
    """
    k = halvings(x.height, x.width)
    h, w = x.height >> k, x.width >> k
    wide = [width << i for i in reversed(range(k))]
    layers: list[nn.Module] = [nn.Linear(inputs, wide[0] * h * w, bias=False), nn.Unflatten(1, (wide[0], h, w))]
    layers += [nn.BatchNorm2d(wide[0]), nn.ReLU()]
    for cin, cout in pairwise(wide):
        layers += [nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(wide[-1], x.channels, 4, 2, 1), nn.Tanh())


def trunk(x: Images, width: int, normalization: Normalization = nn.BatchNorm2d) -> nn.Sequential:
    """Images -> features [n, trunk_features(x, width)]; the generator's mirror, its first layer not normalized."""
    wide = [width << i for i in range(halvings(x.height, x.width))]
    layers: list[nn.Module] = [nn.Conv2d(x.channels, wide[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for cin, cout in pairwise(wide):
        layers += [nn.Conv2d(cin, cout, 4, 2, 1, bias=False), normalization(cout), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(1))


def trunk_features(x: Images, width: int) -> int:
    """How many features `trunk` has."""
    k = halvings(x.height, x.width)
    return (width << k - 1) * (x.height >> k) * (x.width >> k)


def discriminator(x: Images, width: int, normalization: Normalization = nn.BatchNorm2d) -> nn.Sequential:
    """Images -> one logit each."""
    features = trunk_features(x, width)
    return nn.Sequential(*trunk(x, width, normalization), nn.Linear(features, 1), nn.Flatten(0))


def drawing(inputs: int, x: Images | Points, width: int) -> nn.Sequential:
    """[n, inputs] -> x: `generator` of images; of points, three hidden layers of `width`."""
    if not planar(x):
        return mlp(inputs, width, width, width, x.dims)
    return generator(inputs, x, width).apply(initialize)


def judging(x: Images | Points, width: int, normalization: Normalization = nn.BatchNorm2d) -> nn.Sequential:
    """x -> one score each: `discriminator` of images; of points, three hidden layers of `width`."""
    if not planar(x):
        return nn.Sequential(*mlp(x.dims, width, width, width, 1), nn.Flatten(0))
    return discriminator(x, width, normalization).apply(initialize)


def initialize(layer: nn.Module) -> None:
    """Weights from N(0, .02) (Section 4); gains of batch normalization from N(1, .02), as in the authors' code."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
