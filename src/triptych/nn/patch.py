"""Discriminators that judge a picture patch by patch.

Image-to-Image Translation with Conditional Adversarial Networks. Isola, Zhu, Zhou and Efros, 2017.
https://arxiv.org/abs/1611.07004, Section 3.2.2 and Appendix 6.1.2
High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs. Wang et al., 2018.
https://arxiv.org/abs/1711.11585, Section 3.2 (several sizes)

In place of the papers' normalization between layers, weights are divided by their largest singular value: what a patch
is worth does not depend on the rest of the picture, nor on those beside it in the batch.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils.parametrizations import spectral_norm

from triptych.core import Images

SLOPE = 0.2
"""Negative slope of LeakyReLU."""
Judged = tuple[Float[Tensor, "n 1 h w"], list[Tensor]]
"""A score for each patch, and the features of each layer on the way there."""


class PatchDiscriminator(nn.Module):
    """Convolutions of 4 x 4 that halve the picture so many times, one more at that size, and one for the scores.

    Each score is for a square patch: 70 x 70 pixels for 3 halvings, 34 x 34 for 2, 16 x 16 for 1.
    """

    def __init__(self, channels: int, width: int, halvings: int) -> None:
        super().__init__()
        wide = [channels, *(width * min(2**i, 8) for i in range(halvings + 1))]
        strides = [2] * halvings + [1]
        self.layers = nn.ModuleList(
            nn.Sequential(spectral_norm(nn.Conv2d(a, b, 4, stride, 1)), nn.LeakyReLU(SLOPE))
            for (a, b), stride in zip(pairwise(wide), strides, strict=True)
        )
        self.score = spectral_norm(nn.Conv2d(wide[-1], 1, 4, 1, 1))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Judged:
        seen = list[Tensor]()
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        return self.score(x), seen


class MultiScale(nn.Module):
    """A discriminator for the picture, one for the picture at half its size, and so on."""

    def __init__(self, scales: int, channels: int, width: int, halvings: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(PatchDiscriminator(channels, width, halvings) for _ in range(scales))

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Judged]:
        found = list[Judged]()
        for k, judge in enumerate(self.each):
            x = avg_pool2d(x, 3, 2, 1, count_include_pad=False) if k else x
            found.append(judge(x))
        return found


def patch(halvings: int) -> int:
    """Receptive field of a score: the side of its patch, in pixels."""
    return 9 * 2**halvings - 2


def check_patches(x: Images, halvings: int, scales: int = 1) -> None:
    """Raises ValueError where a patch is larger than the picture, also at the smallest of the sizes it is judged at."""
    least = min(x.height, x.width) >> (scales - 1)
    if least >= patch(halvings):
        return
    fits = [h for h in range(1, halvings) if patch(h) <= least]
    remedy = f"halvings={fits[-1]} makes them {patch(fits[-1])} x {patch(fits[-1])}" if fits else "take larger pictures"
    smaller = f", judged at {scales} sizes," if scales > 1 else ""
    raise ValueError(
        f"halvings={halvings}: the discriminator judges patches of {patch(halvings)} x {patch(halvings)} pixels, and "
        f"pictures are {x.height} x {x.width}{smaller} at the least {least} to a side: {remedy}"
    )


def check_aligned(x: Images, given: Images, halvings: int) -> None:
    """Raises ValueError unless a condition is as large as its picture, and both can be halved so many times."""
    if (given.height, given.width) != (x.height, x.width):
        raise ValueError(
            f"given is {given.height} x {given.width} and x {x.height} x {x.width} (height x width): a picture's "
            "condition is as large as the picture"
        )
    if x.height % 2**halvings or x.width % 2**halvings:
        raise ValueError(
            f"pictures are halved {halvings} times, and {x.height} x {x.width} is no multiple of {2**halvings}: take "
            "pictures of such a size (size= or crop=), or fewer halvings (depth=, halvings=)"
        )
