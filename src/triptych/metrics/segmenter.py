"""How well pictures show what their maps say, as a network sees it that learned to segment real pictures.

The models that drew the pictures have no part in it: a discriminator that segments was what its generator was trained
to please. High-Resolution Image Synthesis with Conditional GANs (Wang et al., 2018), Section 4, and others measure so
with networks trained on the field's own sets; this one is trained here, on the training split.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from triptych.nn.unet import UNet

NO_CLASS = -1
STEPS, BATCH, RATE, WIDTH, HALVINGS = 1000, 16, 2e-3, 16, 3
RECIPE = (
    f"a U-Net (width {WIDTH}, {HALVINGS} halvings, batch normalization) trained on {STEPS} batches of {BATCH} training "
    f"pictures with their maps, Adam {RATE:g} falling to 0, seed 0"
)


@dataclass(frozen=True)
class Segmented:
    accuracy: float
    """The share of pixels that are taken for the class that the map says."""
    miou: float
    """Intersection over union of what is taken for a class and what is of it, the mean over classes that there are."""


def train_segmenter(fetch: Callable[[int], tuple[Tensor, Tensor]], channels: int, classes: int) -> nn.Module:
    """A network that gives each pixel its class.

    fetch: of step k, pictures [n, channels, h, w] and their classes, int64 [n, h, w], `NO_CLASS` where nobody says.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = UNet(
            channels, classes, WIDTH, HALVINGS, lambda conv: nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))
        )
    adam = torch.optim.Adam(net.parameters(), lr=RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    with torch.enable_grad():
        for k in range(STEPS):
            x, t = fetch(k)
            adam.zero_grad()
            cross_entropy(net(x), t, ignore_index=NO_CLASS).backward()  # type: ignore[no-untyped-call]
            adam.step()
            falling.step()
    return net.eval()


def segmented(net: nn.Module, x: Float[Tensor, "n c h w"], t: Int[Tensor, "n h w"]) -> Segmented:
    """How near what the network sees in pictures is to what their maps say."""
    with torch.no_grad():
        seen = torch.cat([net(part).argmax(1) for part in torch.split(x, BATCH)])
    known = t != NO_CLASS
    classes = int(t.max()) + 1
    union, both = [], []
    for k in range(classes):
        here, there = (seen == k) & known, (t == k) & known
        if there.any():
            both.append((here & there).sum())
            union.append((here | there).sum())
    right = (seen == t)[known].double().mean().item()
    return Segmented(right, (torch.stack(both) / torch.stack(union)).double().mean().item())
