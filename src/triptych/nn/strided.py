"""DCGAN's networks for images, or solids, of any size that can be halved: a generator and its mirror.

Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks.
Radford, Metz and Chintala, 2015. https://arxiv.org/abs/1511.06434
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Annotated, TypeVar

from pydantic import AfterValidator
from torch import nn

from triptych.core import Images, Points, Voxels, planar
from triptych.nn.dense import mlp
from triptych.nn.spatial import BATCH_NORMS, CONVOLUTIONS, LAYERS, TRANSPOSED, sides

X = TypeVar("X", bound=Images | Points)
Normalization = Callable[[int], nn.Module]
"""A layer for that many channels."""


def halvings(*sides: int) -> int:
    """How often all sides can be halved until the shortest has 4 to 7 pixels; 0 if they cannot, or need not, be."""
    k = (min(sides) // 4).bit_length() - 1
    return k if k > 0 and all(side % 2**k == 0 for side in sides) else 0


def buildable(x: X) -> X:
    """Raises ValueError, with sizes that would do, unless the networks can be built for images of this size."""
    if planar(x) and not halvings(x.height, x.width):
        around = [range(max(s - s // 8 - 4, 8), s + s // 8 + 9) for s in (x.height, x.width)]
        sizes = [(h, w) for h in around[0] for w in around[1] if halvings(h, w) and (h == w) == (x.height == x.width)]
        sizes = sorted(sizes, key=lambda s: abs(s[0] - x.height) + abs(s[1] - x.width))[:3]
        raise ValueError(
            f"the network doubles a grid whose shorter side has 4 to 7 pixels until it is the image, and never arrives "
            f"at {x.height} x {x.width}; near it, these work: {', '.join(f'{h} x {w}' for h, w in sorted(sizes))}"
        )
    return x


def solid(x: Voxels) -> Voxels:
    """Raises ValueError unless the networks can be built for solids of this size."""
    if not halvings(*sides(x)):
        raise ValueError(
            f"its networks double a grid whose shortest side is 4 to 7 until it is the solid, and never arrive at "
            f"{' x '.join(map(str, sides(x)))}; 8, 16, 24, 32 and 64 a side work, among others"
        )
    return x


Halvable = Annotated[Images, AfterValidator(buildable)]
"""Images with sides of 4 to 7 pixels, doubled at least once."""


def generator(inputs: int, x: Images | Voxels, width: int, normalization: Normalization | None = None) -> nn.Sequential:
    """[n, inputs] -> images, or solids: projected and reshaped to a small grid, then doubled (Figure 1).

    width: channels at half the image's size; twice as many at each halving. Kernels are 4 pixels wide, not the
    figure's 5: a multiple of the stride reaches every pixel equally often. Without a normalization, that of batches.
    """
    k = halvings(*sides(x))
    grid, up = [side >> k for side in sides(x)], TRANSPOSED[len(sides(x))]
    norm = normalization or BATCH_NORMS[len(grid)]
    wide = [width << i for i in reversed(range(k))]
    layers: list[nn.Module] = [nn.Linear(inputs, wide[0] * prod(grid), bias=False), nn.Unflatten(1, (wide[0], *grid))]
    layers += [norm(wide[0]), nn.ReLU()]
    for cin, cout in pairwise(wide):
        layers += [up(cin, cout, 4, 2, 1, bias=False), norm(cout), nn.ReLU()]
    return nn.Sequential(*layers, up(wide[-1], x.channels, 4, 2, 1), nn.Tanh())


def trunk(x: Images | Voxels, width: int, normalization: Normalization | None = None) -> nn.Sequential:
    """Images, or solids -> features [n, trunk_features(x, width)]; the generator's mirror, its first layer not
    normalized."""
    conv, norm = CONVOLUTIONS[len(sides(x))], normalization or BATCH_NORMS[len(sides(x))]
    wide = [width << i for i in range(halvings(*sides(x)))]
    layers: list[nn.Module] = [conv(x.channels, wide[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for cin, cout in pairwise(wide):
        layers += [conv(cin, cout, 4, 2, 1, bias=False), norm(cout), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(1))


def trunk_features(x: Images | Voxels, width: int) -> int:
    """How many features `trunk` has."""
    k = halvings(*sides(x))
    return (width << k - 1) * prod(side >> k for side in sides(x))


def discriminator(x: Images | Voxels, width: int, normalization: Normalization | None = None) -> nn.Sequential:
    """Images -> one logit each."""
    features = trunk_features(x, width)
    return nn.Sequential(*trunk(x, width, normalization), nn.Linear(features, 1), nn.Flatten(0))


def drawing(inputs: int, x: Images | Points, width: int) -> nn.Sequential:
    """[n, inputs] -> x: `generator` of images; of points, three hidden layers of `width`."""
    if not planar(x):
        return mlp(inputs, width, width, width, x.dims)
    return generator(inputs, x, width).apply(initialize)


def judging(x: Images | Points, width: int, normalization: Normalization | None = None) -> nn.Sequential:
    """x -> one score each: `discriminator` of images; of points, three hidden layers of `width`."""
    if not planar(x):
        return nn.Sequential(*mlp(x.dims, width, width, width, 1), nn.Flatten(0))
    return discriminator(x, width, normalization).apply(initialize)


def initialize(layer: nn.Module) -> None:
    """Weights from N(0, .02) (Section 4); gains of batch normalization from N(1, .02), as in the authors' code."""
    norms = tuple(BATCH_NORMS.values())
    if isinstance(layer, (*LAYERS, *norms)):
        weights: dict[str, nn.Parameter] = dict(layer.named_parameters())
        nn.init.normal_(weights["weight"], 1.0 if isinstance(layer, norms) else 0.0, 0.02)
        if "bias" in weights:
            nn.init.zeros_(weights["bias"])
