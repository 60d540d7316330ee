"""Features of a random network: local structure at three scales, for images of any kind, without any training.

Convolutions whose weights nobody trained still tell textures and edges apart (Saxe et al., 2011. On Random Weights and
Unsupervised Feature Learning; Ustyuzhaninov et al., 2016. https://arxiv.org/abs/1606.00021). What they see is less
than what a trained network sees, but the same for all data: no class or domain is favored.
"""

import hashlib
from math import prod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, pad, relu

from triptych.core import UsageError
from triptych.metrics.images import eight_bit, in_parts

SEED = 0
WIDTH = 32
SCALES = 3
"""The image, and its halves: means of 2 x 2 pixels."""
SMALLEST = 8
EPS = 1e-4
"""Below what a deviation tells: keeps rounding on flat images from being magnified by the square root."""


class RandomConv:
    """480 features: at each of three scales a 5 x 5 convolution, ReLU, a 3 x 3 convolution of stride 2, ReLU; then the
    means of the 32 channels in the four quarters, and their deviations.

    Weights are orthogonal, drawn from a fixed stream and rounded, so that their sha256 is the same everywhere.
    """

    name = "random-conv"
    resizer = "none"
    about = f"untrained, seed {SEED}"
    dims = SCALES * WIDTH * 5

    def __init__(self, shape: tuple[int, int, int]) -> None:
        if min(shape[1:]) < SMALLEST:
            raise UsageError(f"random-conv takes images of {SMALLEST} x {SMALLEST} pixels or more, got {list(shape)}")
        self.shape = shape
        draws = np.random.RandomState(SEED)  # a stream that NumPy promises never to change
        self.weights = [orthogonal(draws, WIDTH, *of) for of in ((shape[0], 5, 5), (WIDTH, 3, 3))]
        content = b"".join(w.numpy().tobytes() for w in self.weights)
        self.sha256 = hashlib.sha256(f"random-conv, {SCALES} scales, eps {EPS}: ".encode() + content).hexdigest()

    def __call__(self, images: Tensor) -> Float[Tensor, "n 480"]:
        if tuple(images.shape[1:]) != self.shape:
            raise UsageError(
                f"images have shape {list(images.shape)}; this random-conv extractor takes [n, {str(self.shape)[1:-1]}]"
            )
        with torch.no_grad():
            return torch.cat([self.seen(part) for part in in_parts(images)])

    def seen(self, images: Tensor) -> Float[Tensor, "n 480"]:
        x = eight_bit(images).float().div_(127.5).sub_(1)
        found = []
        for _ in range(SCALES):
            y = x  # [n, c, h, w]
            for weight, stride in zip(self.weights, (1, 2), strict=True):
                y = relu(conv2d(pad(y, [weight.shape[-1] // 2] * 4, "replicate"), weight, stride=stride))
            found += [adaptive_avg_pool2d(y, 2).flatten(1), (y.var((2, 3), correction=0) + EPS).sqrt()]
            x = avg_pool2d(x, 2)
        return torch.cat(found, 1)


def orthogonal(draws: np.random.RandomState, *shape: int) -> Float[Tensor, "o i k k"]:
    """Rows (or, where there are more rows than columns, columns) orthogonal to each other, of length sqrt(2)."""
    rows, columns = shape[0], prod(shape[1:])
    drawn = draws.normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.sign(np.diag(r))  # else the signs are the library's
    matrix = q if rows >= columns else q.T
    return torch.from_numpy(np.round(matrix * 2**0.5 * 4096) / 4096).float().view(shape)
