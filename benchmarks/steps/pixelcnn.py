"""A PixelCNN under pytorch-generative's recipe and under our loop; memory layouts and precisions of ours."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steps.checkouts import finder
from steps.turns import Row, Side, compare, fetched, triptych
from triptych.data import Dataset
from triptych.models.autoregressive.pixelcnn import PixelCNN, PixelCNNConfig

MISSING = (
    "pytorch-generative is missing, so its row is: git clone https://github.com/EugenHotaj/pytorch-generative PG; "
    "then python benchmarks/training.py --pytorch-generative PG"
)


class ChannelsFirst(PixelCNN):
    """PixelCNN as it would be if it left its activations as the images come."""

    def logits(self, x: Tensor) -> Tensor:
        h = self.blocks(self.first(x))
        h = self.out(self.head2(self.head1(h.relu()).relu()).relu())
        return h.reshape(len(x), self.config.x.channels, self.scores, *x.shape[2:]).movedim(2, -1)


class Reproduced:
    """What pytorch-generative's `reproduce` does at a step, around its own network.

    Whole kernels, masked in place at every pass; default Adam with a rate that falls at every step; the norm of the
    gradient; loss and norm read at every step. A fresh batch of [0, 1] pixels comes from triptych's reader.
    """

    def __init__(self, net: nn.Module, images: Dataset, batch: int) -> None:
        self.net, self.batches = net, fetched(images, batch)
        self.adam = torch.optim.Adam(net.parameters(), lr=1e-3)
        self.rate = torch.optim.lr_scheduler.MultiplicativeLR(self.adam, lambda _: 0.999977)

    def step(self, x: Tensor) -> float:
        self.net.train()
        self.adam.zero_grad()
        scores = self.net(x).flatten(1)
        loss = F.binary_cross_entropy_with_logits(scores, x.flatten(1), reduction="none").sum(1).mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), 1e50)
        self.adam.step()
        self.rate.step()
        norm.item()
        return loss.item()

    def run(self, steps: int) -> float:
        return statistics.fmean(self.step((next(self.batches).x + 1) / 2) for _ in range(steps))


def against_peer(
    images: Dataset, steps: int, repeats: int, checkout: Path, *, batch: int = 32, width: int = 64, blocks: int = 15
) -> list[Row]:
    """Networks of as many blocks of as many feature maps, in a step each.

    They are not one function: each of the peer's blocks adds its input twice, and of its kernels it keeps what is
    masked, which ours do not have.
    """
    peer: Callable[..., nn.Module] = finder(checkout)("pixel_cnn", "PixelCNN")
    config = PixelCNNConfig(x=images.x, width=width, blocks=blocks, head=32)

    def ours(name: str, **how: Any) -> Side:
        torch.manual_seed(0)
        return replace(triptych(name, PixelCNN(config), images, batch, likelihood=True, **how), parameters=None)

    torch.manual_seed(0)
    net = peer(n_residual=blocks, residual_channels=width // 2, head_channels=32)
    return compare(
        f"PixelCNN {blocks} blocks x {width}, batch {batch}, beside pytorch-generative's",
        [
            Side("its network, its step written here", Reproduced(net, images, batch).run),
            ours("triptych"),
            ours("triptych, channels last", channels_last=True),
            ours("triptych, bf16, channels last", channels_last=True, precision="bf16"),
        ],
        steps,
        repeats,
    )


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
