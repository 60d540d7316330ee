"""Trains the digit classifier that `triptych.metrics` ships.

60,000 MNIST training images, each step with fresh small rotations, scalings, shears and shifts; half of every batch is
binarized at random afterwards (each pixel white with its grey level as probability), so that the classifier judges grey
and binary images alike. To every ten digits comes one image that is none (noise, or a digit with its quadrants
swapped), whose target is a tenth for each class (outlier exposure: Hendrycks et al., 2019.
https://arxiv.org/abs/1812.04606): so that the mean confidence of generated images says something about them. Batch
normalization is folded into the convolutions afterwards. The test images are only used for the report,
one JSON line.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from triptych.core import StepNoise, mix
from triptych.data import data
from triptych.metrics.digits import DigitNet

BATCH, OUTLIERS = 250, 25


def mnist(split: str) -> tuple[Tensor, Tensor]:
    """Images in [-1, 1], float32 [n, 1, 28, 28], and labels, int64 [n]."""
    source = data("mnist", split=split)
    assert source.labels is not None
    return source.stored.float() / 127.5 - 1, source.labels


def warp(x: Tensor, noise: StepNoise) -> Tensor:
    """Rotates by up to 12 degrees, scales by up to 12 %, shears by up to .15 and shifts by up to 2 pixels."""
    angle, scale_x, scale_y, shear, dx, dy = (2 * noise.uniform(6) - 1).T
    cos, sin = (angle * math.radians(12)).cos(), (angle * math.radians(12)).sin()
    scale_x, scale_y, shear = 1 + 0.12 * scale_x, 1 + 0.12 * scale_y, 0.15 * shear
    shift = 2 * 2 / x.shape[-1]
    rows = [torch.stack([scale_x * cos, shear - sin, shift * dx], 1), torch.stack([sin, scale_y * cos, shift * dy], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # outside is black


def binarize(x: Tensor, noise: StepNoise) -> Tensor:
    """White with probability (x + 1) / 2, black otherwise."""
    return (noise.uniform(*x.shape[1:]) < (x + 1) / 2).float() * 2 - 1


def strange(digits: Tensor, noise: StepNoise) -> Tensor:
    """Images that are no digits: quadrants swapped, or noise of some grain, density and contrast."""
    fine, coarse = noise.uniform(1, 28, 28), F.interpolate(noise.uniform(1, 7, 7), scale_factor=4.0, mode="bilinear")
    grain, level, contrast = noise.uniform(3, 1, 1, 1).unbind(1)
    speckled = ((fine.lerp(coarse, grain) - level) * (1 + 20 * contrast) + 0.5).clamp(0, 1) * 2 - 1
    return every_other(speckled, digits.roll((14, 14), (2, 3)), 2)


def every_other(a: Tensor, b: Tensor, run: int) -> Tensor:
    """`run` rows of a, `run` rows of b, and so on."""
    return torch.where((torch.arange(len(a)) // run % 2 == 0)[:, None, None, None], a, b)


def normalized(trunk: nn.Sequential) -> nn.Sequential:
    """Fresh convolutions of the same shapes, with batch normalization instead of biases."""
    layers: list[nn.Module] = []
    for c in (layer for layer in trunk if isinstance(layer, nn.Conv2d)):
        c = nn.Conv2d(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, bias=False)
        layers += [c, nn.BatchNorm2d(c.out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


def folded(trunk: nn.Sequential) -> nn.Sequential:
    """The same function in evaluation mode, without the normalization."""
    layers: list[nn.Module] = []
    for conv, norm in zip(trunk[0::3], trunk[1::3], strict=True):
        layers += [fuse_conv_bn_eval(conv, norm), nn.ReLU()]
    return nn.Sequential(*layers)


def train(x: Tensor, y: Tensor, *, epochs: int, seed: int) -> DigitNet:
    model = DigitNet()
    torch.manual_seed(seed)
    model.trunk, model.head = normalized(model.trunk), nn.Linear(model.width, 10)
    model.to(memory_format=torch.channels_last)
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        epoch, place = divmod(step, len(x) // BATCH)
        if place == 0:
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(mix(seed, epoch)))
        rows = order[place * BATCH : (place + 1) * BATCH]
        rows = torch.cat([rows, rows[:OUTLIERS]])
        noise = StepNoise(mix(seed, 1, step), len(rows), slice(None))
        batch = warp(x[rows], noise)
        batch[BATCH:] = strange(batch, noise)[BATCH:]
        batch = every_other(batch, binarize(batch, noise), 1)
        target = F.one_hot(y[rows], 10).float()
        target[BATCH:] = 0.1
        loss = F.cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    model.trunk = folded(model.trunk)
    return model


def accuracy(model: DigitNet, x: Tensor, y: Tensor) -> tuple[float, float]:
    """The share of right answers, and the mean probability of the chosen answer."""
    with torch.no_grad():
        probs = torch.cat([model(part).softmax(1) for part in x.split(1000)])
    return (probs.argmax(1) == y).double().mean().item(), probs.amax(1).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.process_time()
    model = train(*mnist("train"), epochs=args.epochs, seed=args.seed)
    seconds = time.process_time() - began
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, args.out)
    x, y = mnist("test")
    binary = [accuracy(model, binarize(x, StepNoise(mix(7, i), len(x), slice(None))), y) for i in range(5)]
    grey = accuracy(model, x, y)
    specks = accuracy(model, 2 * StepNoise(mix(8), len(x), slice(None)).uniform(1, 28, 28) - 1, y)
    report = {
        "grey": grey,
        "binarized": binary,
        "noise": specks,
        "cpu_seconds": seconds,
        "epochs": args.epochs,
        "seed": args.seed,
    }
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main()
