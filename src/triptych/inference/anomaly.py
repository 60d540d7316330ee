"""Is x like what the model was trained on? Scores of anomaly from likelihoods; higher is stranger.

The obvious score, -log p(x), fails where it should not: models of Fashion-MNIST find MNIST likelier than Fashion-MNIST,
those of CIFAR-10 prefer SVHN (Nalisnick et al., 2018. Do Deep Generative Models Know What They Don't Know?
https://arxiv.org/abs/1810.09136). Most of log p(x) says how simple an image is, whatever it shows. Three remedies:

  likelihood ratio       log p(x) less that of a model of the background, trained on the same data with pixels replaced
                         at random (Ren et al., 2019. https://arxiv.org/abs/1906.02845)
  complexity correction  the bits of x less those of a general compressor (Serra et al., 2019.
                         https://arxiv.org/abs/1909.11480)
  batch typicality       how far the mean of several items' -log p(x) lies from the model's entropy, to either side
                         (Nalisnick, Matsukawa, Teh and Lakshminarayanan, 2019. https://arxiv.org/abs/1906.02994)
"""

import io
import zlib
from dataclasses import dataclass
from math import log, sqrt
from typing import Protocol

import torch
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from triptych.core import Images, Likelihood, Space, UsageError, levels_of, planar
from triptych.core.likelihood import BaseMeasure, Kind
from triptych.core.sampling import to_sequence


def raw(log_p: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """-log p(x), in nats."""
    return -log_p


class Measured(Protocol):
    """A number or numbers that say what they are: a `Likelihood`, or a mean of such with its protocol."""

    @property
    def kind(self) -> Kind: ...
    @property
    def measure(self) -> BaseMeasure: ...
    @property
    def dims(self) -> int: ...


def check_comparable(foreground: Measured, background: Measured) -> None:
    """Raises UsageError for a mass and a density, for an exact value and a bound, and for different dimensions."""
    for what in ("measure", "kind", "dims"):
        a, b = getattr(foreground, what), getattr(background, what)
        if a != b:
            raise UsageError(f"the model's likelihood has {what} {a}, the background's {b}: their ratio has no meaning")


def likelihood_ratio(foreground: Likelihood, background: Likelihood) -> Float[Tensor, " n"]:
    """log p_background(x) - log p(x), in nats. Raises UsageError for numbers that do not compare."""
    check_comparable(foreground, background)
    return background.nats - foreground.nats


def complexity_corrected(log_p: Float[Tensor, " n"], bits: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """-log2 p(x) less the bits of a general lossless code of x."""
    return -log_p / log(2) - bits


def typicality(log_p: Float[Tensor, " n"], entropy: float, batch: int) -> Float[Tensor, " n//batch"]:
    """|mean -log p(x) - entropy| of each `batch` items in turn, in nats; items that fill no batch are left out.

    The entropy is the mean of -log p over data of the trained kind, other than what is judged here. Raises UsageError
    if there are not enough items for one batch.
    """
    if not 1 <= batch <= len(log_p):
        raise UsageError(f"batch={batch}: it is from 1 to the number of items, {len(log_p)}")
    batches = len(log_p) // batch
    return (-log_p[: batches * batch].view(batches, batch).mean(1) - entropy).abs()


def lossless_bits(space: Space, x: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """The size in bits, float64, of each x as a file: PNG for images, deflate for all else.

    With the file's header, which is the same for all. Raises UsageError if x is not in the space, or has no levels.
    """
    level = space.index(x).cpu()
    if planar(space) and space.channels in (1, 3) and space.levels <= 256:
        return torch.tensor([8.0 * png_bytes(space, one) for one in level], dtype=torch.float64)
    wide = torch.uint8 if levels_of(space) <= 256 else torch.int32
    rows = to_sequence(space, level).to(wide).numpy()
    return torch.tensor([8.0 * len(zlib.compress(row.tobytes(), 9)) for row in rows], dtype=torch.float64)


def png_bytes(space: Images, level: Tensor) -> int:
    """The length of one image as PNG: a bit a pixel for two levels of grey, else a byte a value."""
    array = level.movedim(0, -1).squeeze(-1).to(torch.uint8).numpy()
    picture = Image.fromarray(array)
    if space.levels == 2 and array.ndim == 2:
        picture = Image.fromarray(array * 255).convert("1")
    picture.save(file := io.BytesIO(), "PNG", optimize=True)
    return len(file.getvalue())


@dataclass(frozen=True)
class Separation:
    """How well a score tells anomalous from normal items."""

    auroc: float
    """The chance that an anomalous item scores above a normal one (a tie counts one half): .5 is guessing."""
    stderr: float
    """Over the items drawn (DeLong, DeLong and Clarke-Pearson, 1988. https://doi.org/10.2307/2531595)."""
    normal: int
    anomalous: int
    """How many scores of each."""


def auroc(normal: Float[Tensor, " n"], anomalous: Float[Tensor, " m"]) -> Separation:
    """The area under the ROC curve of a score that should be higher for anomalous items.

    Raises UsageError for less than 2 scores of either, or a score that is NaN.
    """
    a, b = normal.double(), anomalous.double()
    if min(len(a), len(b)) < 2:
        raise UsageError(f"{len(a)} normal and {len(b)} anomalous scores: it takes 2 or more of each")
    if bool(a.isnan().any() or b.isnan().any()):
        raise UsageError("a score is NaN")

    def beaten(scores: Tensor, by: Tensor) -> Tensor:
        """The share of `by` that lies below each score, ties counting one half."""
        ranked = by.sort().values
        below, not_above = torch.searchsorted(ranked, scores), torch.searchsorted(ranked, scores, right=True)
        return (below + not_above).double() / (2 * len(by))

    of_anomalous, of_normal = beaten(b, a), 1 - beaten(a, b)
    variance = of_anomalous.var().item() / len(b) + of_normal.var().item() / len(a)
    return Separation(of_anomalous.mean().item(), sqrt(variance), len(a), len(b))
