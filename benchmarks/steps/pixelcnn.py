"""Memory layouts and precisions of a PixelCNN."""

from typing import Literal

import torch
from torch import Tensor

from steps.turns import Row, Side, compare, triptych
from triptych.data import Dataset
from triptych.models.autoregressive.pixelcnn import PixelCNN, PixelCNNConfig


class ChannelsFirst(PixelCNN):
    """PixelCNN as it would be if it left its activations as the images come."""

    def logits(self, x: Tensor) -> Tensor:
        h = self.blocks(self.first(x))
        h = self.out(self.head2(self.head1(h.relu()).relu()).relu())
        return h.reshape(len(x), self.config.x.channels, self.scores, *x.shape[2:]).movedim(2, -1)


def pixelcnn(images: Dataset, steps: int, repeats: int, config: PixelCNNConfig, *, batch: int = 16) -> list[Row]:
    """Memory layouts and precisions of one model; `images` are of two levels."""

    def make(kind: type[PixelCNN] = PixelCNN) -> PixelCNN:
        torch.manual_seed(0)
        return kind(config)

    def side(
        name: str, model: PixelCNN, channels_last: bool = False, precision: Literal["fp32", "bf16"] = "fp32"
    ) -> Side:
        return triptych(name, model, images, batch, likelihood=True, channels_last=channels_last, precision=precision)

    return compare(
        f"PixelCNN {config.blocks} blocks x {config.width}, batch {batch}",
        [
            side("channels first throughout", make(ChannelsFirst)),
            side("triptych (activations channels last)", make()),
            side("triptych, channels last", make(), channels_last=True),
            side("channels first throughout, bf16", make(ChannelsFirst), precision="bf16"),
            side("triptych, bf16", make(), precision="bf16"),
            side("triptych, bf16, channels last", make(), channels_last=True, precision="bf16"),
        ],
        steps,
        repeats,
    )
