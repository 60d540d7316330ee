"""Does a model know what it does not know? Data of its kind and of another, told apart by likelihoods."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.core import Data, Generative, ItemNoise, Space, UsageError
from triptych.core.likelihood import Kind
from triptych.data.notebook import table_of
from triptych.inference import anomaly as scores_of
from triptych.io import commit, outputs
from triptych.media import pictures
from triptych.verbs.opening import as_data
from triptych.verbs.score import csv_bytes, score


@dataclass(frozen=True)
class Named(scores_of.Separation):
    """How well one score separates, and what it is."""

    name: str


@dataclass(frozen=True)
class Anomaly:
    """How well each score tells two data sets apart."""

    model: str
    background: str | None
    normal: str
    other: str
    kind: Kind
    how: str
    nats_normal: float
    """Mean -log p(x) of either set. If that of the other is lower, raw likelihood prefers it."""
    nats_other: float
    scores: tuple[Named, ...]
    seed: int
    items_normal: tuple[float, ...] = ()
    """-log p(x) of each item of either set, in the data's order."""
    items_other: tuple[float, ...] = ()

    def __repr__(self) -> str:
        said = ", ".join(f"{one.name} {one.auroc:.3f}" for one in self.scores)
        return f"<{self.other} told from {self.normal} by {self.model}: AUROC {said}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        rows = [[one.name, f"{one.auroc:.4f}", f"{one.stderr:.4f}"] for one in self.scores]
        return table_of(f"{self.model}: {self.normal} and {self.other}", ("score", "AUROC", "stderr"), rows)

    def as_dict(self) -> dict[str, Any]:
        """All but the items, ready for JSON."""
        return {k: v for k, v in asdict(self).items() if not k.startswith("items_")}


def anomaly(
    model: Generative[Any],
    normal: Data | Any,
    other: Data | Any,
    *,
    background: Generative[Any] | None = None,
    group: int = 10,
    draws: int | None = None,
    limit: int | None = None,
    batch: int = 100,
    seed: int = 0,
) -> Anomaly:
    """Scores both sets (with `limit`, that many items of each, evenly spaced), and measures the AUROC of each score.

    The scores are those of `triptych.inference.anomaly`: raw likelihood; the ratio, if there is a `background`; the
    complexity correction, where x has levels; and typicality of `group` items at a time, for which every second normal
    item only serves to know the entropy. Likelihoods are as `verbs.score` has them; model and background see the same
    drawn pixels.

    Raises UsageError for a model without likelihood, likelihoods that do not compare, or too few items.
    """
    normal, other = as_data(normal, model), as_data(other, model)
    found, numbers = {}, {}
    for name, data in (("normal", normal), ("other", other)):
        found[name] = score(model, data, draws=draws, limit=limit, batch=batch, seed=seed)
        numbers[name] = -torch.tensor(found[name].per_item, dtype=torch.float64)
    one, p, q = found["normal"], numbers["normal"], numbers["other"]
    out = [separate("raw likelihood", scores_of.raw(p), scores_of.raw(q))]
    if background is not None:
        ratios = []
        for name, data in (("normal", normal), ("other", other)):
            ground = score(background, data, draws=draws, limit=limit, batch=batch, seed=seed)
            scores_of.check_comparable(found[name], ground)
            ratios.append(-torch.tensor(ground.per_item, dtype=torch.float64) - numbers[name])
        out.append(separate("likelihood ratio", *ratios))
    space = model.config.x
    if space.values is not None:
        sizes = [lossless(data, len(numbers[name]), seed) for name, data in (("normal", normal), ("other", other))]
        corrected = [scores_of.complexity_corrected(a, bits) for a, bits in zip((p, q), sizes, strict=True)]
        out.append(separate("complexity correction", *corrected))
    entropy, judged = -p[::2].mean().item(), p[1::2]
    for size in sorted({1, group}):
        if min(len(judged), len(q)) >= 2 * size:
            far = [scores_of.typicality(a, entropy, size) for a in (judged, q)]
            out.append(separate(f"typicality of {size}", *far))
    return Anomaly(
        model=model.name,
        background=background.name if background else None,
        normal=normal.name,
        other=other.name,
        kind=one.kind,
        how=one.how,
        nats_normal=one.nats,
        nats_other=found["other"].nats,
        scores=tuple(out),
        seed=seed,
        items_normal=tuple((-p).tolist()),
        items_other=tuple((-q).tolist()),
    )


RANKED = 10
"""Items at either end of a ranking that are shown."""


def check_picture(space: Space, out: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError, before anything is scored, unless a picture of items can be written to this file."""
    if out.suffix.lower() != ".png" or not space.planar:
        raise UsageError(f"{out}: only a ranking of images is drawn, as .png; this model is of {space}")
    outputs.check_file(out, overwrite=overwrite)


def write_picture(found: Anomaly, normal: Data, other: Data, out: Path) -> None:
    """Four rows: of the normal set the likeliest items and the least likely, and of the other set the same.

    Raises ResourceError if the disk is full.
    """
    rows = []
    for data, nats in ((normal, found.items_normal), (other, found.items_other)):
        order = torch.tensor(nats).argsort()
        count = min(RANKED, len(found.items_normal), len(found.items_other))
        for part in (order[:count], order[-count:].flip(0)):
            at = part * len(data) // len(nats)
            rows.append(data.fetch(at, ItemNoise(found.seed, at.tolist())).x)
    strip = pictures.strip(rows, scale=2 if rows[0].shape[-1] <= 64 else 1)
    text = {"model": found.model, "rows": f"likeliest and least likely of {found.normal}, then of {found.other}"}
    pictures.save_png(strip, out, text)


def write_items(found: Anomaly, path: Path) -> None:
    """A line an item, the least likely first: the set, the item's number in it, its -log p(x) in nats (.csv)."""
    sets = ((found.normal, found.items_normal), (found.other, found.items_other))
    items = [(nats, name, i) for name, values in sets for i, nats in enumerate(values)]
    rows = [[name, str(i), f"{nats:.6f}"] for nats, name, i in sorted(items, reverse=True)]
    commit.write_atomic(path, csv_bytes(["set", "item", "nats"], rows))


def separate(name: str, normal: Tensor, other: Tensor) -> Named:
    return Named(**vars(scores_of.auroc(normal, other)), name=name)


def lossless(data: Data, n: int, seed: int) -> Tensor:
    """Bits of a general compressor, of the items that `score` saw, as it saw them."""
    rows = torch.arange(n) * len(data) // n
    parts = [rows[first : first + 1000] for first in range(0, n, 1000)]
    return torch.cat(
        [scores_of.lossless_bits(data.x, data.fetch(part, ItemNoise(seed, part.tolist())).x) for part in parts]
    )
