"""The optimizer, the average and the data, each alone."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from steps.dcgan import our_nets
from steps.turns import Row, Side, compare, fetched, size
from triptych.core import StepNoise
from triptych.data import Dataset
from triptych.nn.ema import EMA


def many(tensors: int, width: int = 16) -> nn.Module:
    """A net of many small tensors."""
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(tensors // 2)])


def optimizers(net: Callable[[], nn.Module], what: str, steps: int, repeats: int) -> list[Row]:
    """Updates by Adam, from gradients in hand. Raises ValueError if the weights end up different."""
    sides, nets = [], []
    for name, fused in (("torch.optim.Adam, default", None), ("fused, as triptych's", True)):
        torch.manual_seed(0)
        module = net()
        for w in module.parameters():
            w.grad = torch.randn_like(w)
        adam = torch.optim.Adam(module.parameters(), lr=1e-3, fused=fused)

        def run(steps: int, adam: torch.optim.Adam = adam) -> None:
            for _ in range(steps):
                adam.step()

        sides.append(Side(name, run, size(module)))
        nets.append(module)
    rows = compare(f"Adam's update, {what}", sides, steps, repeats)
    check_weights("Adam", *nets)
    return rows


def averages(net: Callable[[], nn.Module], what: str, steps: int, repeats: int) -> list[Row]:
    """Updates of an exponential moving average. Raises ValueError if the averages end up different."""
    torch.manual_seed(0)
    module = net()
    ours, plain = EMA(module, 0.999), EMA(module, 0.999)
    with torch.no_grad():
        for w in module.parameters():
            w.add_(torch.randn_like(w))

    @torch.no_grad()
    def loop(steps: int) -> None:
        for _ in range(steps):
            t = int(plain.updates)
            d = min(plain.decay, (1 + t) / (10 + t))
            for mine, theirs in zip(plain.module.parameters(), module.parameters(), strict=True):
                mine.mul_(d).add_(theirs, alpha=1 - d)
            for mine, theirs in zip(plain.module.buffers(), module.buffers(), strict=True):
                mine.copy_(theirs)
            plain.updates += 1

    def foreach(steps: int) -> None:
        for _ in range(steps):
            ours.update(module)

    sides = [
        Side("a loop over the weights, mul_ and add_", loop, size(module)),
        Side("triptych.nn.EMA", foreach, size(module)),
    ]
    rows = compare(f"EMA's update, {what}", sides, steps, repeats)
    check_weights("EMA", ours.module, plain.module)
    return rows


def check_weights(what: str, ours: nn.Module, theirs: nn.Module) -> None:
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        if not torch.allclose(a, b, rtol=1e-4, atol=1e-5):
            raise ValueError(f"{what}: the two ways give different weights, by {(a - b).abs().max().item():.3g}")


class Items:
    """The same bytes, an example at a time, for torch's DataLoader."""

    def __init__(self, images: Dataset) -> None:
        self.x, self.y = images.stored, images.labels

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor | None]:
        x = self.x[i].float().div_(127.5).sub_(1)
        return (x, self.y[i]) if self.y is not None else (x, torch.zeros(()))


def loaded(images: Dataset, batch: int) -> Iterator[Any]:
    while True:
        yield from DataLoader(Items(images), batch_size=batch, shuffle=True, drop_last=True)


def reading(images: Dataset, steps: int, repeats: int, *, batch: int = 64) -> list[Row]:
    """Batches from packed bytes. Raises ValueError if the same rows give different images."""
    some = torch.arange(min(batch, len(images)))
    x, _ = next(iter(DataLoader(Items(images), batch_size=batch)))
    if not torch.allclose(images.fetch(some, StepNoise(0, len(some), slice(None))).x, x, atol=1e-6):
        raise ValueError("reading: the same rows give different images")
    sources = {"torch DataLoader, 0 workers": loaded(images, batch), "Dataset.fetch": fetched(images, batch)}

    def taking(source: Iterator[Any]) -> Callable[[int], None]:
        def run(steps: int) -> None:
            for _ in range(steps):
                next(source)

        return run

    c, h, w = images.x.shape
    sides = [Side(name, taking(source)) for name, source in sources.items()]
    return compare(f"Reading a batch of {batch}, {c}x{h}x{w} uint8", sides, steps, repeats)


def parts(images: Dataset, steps: int, repeats: int, *, width: int = 64, tensors: int = 300) -> list[Row]:
    """The optimizer, the average and the data, each alone."""
    nets: dict[str, Callable[[], nn.Module]] = {
        f"{tensors} small tensors": lambda: many(tensors),
        f"DCGAN's generator, width {width}": lambda: our_nets(images, width).generator,
    }
    rows = []
    for what, net in nets.items():
        rows += optimizers(net, what, steps, repeats)
    for what, net in nets.items():
        rows += averages(net, what, steps, repeats)
    return rows + reading(images, steps, repeats)
