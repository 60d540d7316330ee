"""What `evaluate` measures: a list. Each entry says what it needs, and is left out with a reason where that is missing.

A new measure is a function of a `Case`, its columns, and a line in `MEASURES`; a task's own need not even that (they
are `Task.measure`).
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from triptych import metrics
from triptych.core import (
    FAITHFUL,
    Data,
    Decoding,
    Generative,
    Given,
    HasLikelihood,
    ItemNoise,
    Label,
    Sampling,
    evaluating,
)
from triptych.inference.importance import LatentVariable
from triptych.metrics.compressors import MOST, bits_per_byte
from triptych.tasks.measuring import against_truth, compared, whole_pictures
from triptych.tasks.task import Furthers, Posed
from triptych.verbs import columns
from triptych.verbs.coded import Codec, coded
from triptych.verbs.copied import Coded, copied
from triptych.verbs.judge import Judge
from triptych.verbs.purity import Clusters, Purity, category_purity
from triptych.verbs.sample import MEANS, sample, to_look_at
from triptych.verbs.score import Score, score

SHAPES = 200
"""Held-out solids that samples are compared with, at most: all pairs are."""


OTHER = re.compile(r"it is of [^;]*; .* serves ")
"""A reason for a measure to be left out: that it is of data of another kind."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One model, and all that it is measured by."""

    model: Generative[Any]
    test: Data
    judge: Judge
    n: int
    """Samples that it is judged by."""
    given: Given | None
    """What they are asked for."""
    seed: int
    limit: int | None
    """Held-out items that are scored one by one, at most."""
    draws: int | None
    scores: list[Score] = field(default_factory=list)
    """What `likelihoods` found, for measures that are made of it."""

    @cached_property
    def drawn(self) -> tuple[Tensor, float]:
        """The samples, on the CPU, and the seconds that each took: drawn when the first measure asks for them."""
        return self.timed(FAITHFUL)

    @cached_property
    def looked(self) -> tuple[Tensor, float]:
        """The same samples as one sees them: of a model with a decoder, the means that they were drawn around."""
        how = to_look_at(self.model)
        return self.drawn if how is FAITHFUL else self.timed(how)

    def timed(self, how: Sampling) -> tuple[Tensor, float]:
        started = time.perf_counter()
        x = sample(self.model, self.n, self.given, seed=self.seed, how=how)
        return x, (time.perf_counter() - started) / self.n

    @property
    def x(self) -> Tensor:
        return self.drawn[0]

    @property
    def looks(self) -> Tensor:
        return self.looked[0]


Need = Callable[[Case], str]
"""Why a measure does not apply to a case; empty if it does."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One entry of the list."""

    name: str
    """In JSON, and where it is said what was left out."""
    needs: tuple[Need, ...]
    protocol: str
    """How it is measured; every number says the rest (sizes, hashes, seeds)."""
    floor: str
    """What stands beside it, as what real data or simple rivals get."""
    take: Callable[[Case], Any]
    columns: Callable[[Any, str], columns.Columns]
    """Of the result, and the data's name, for tables."""
    aside: str | None = None
    """Of a model with a decoder: what is looked at in place of samples with its noise."""

    @property
    def about(self) -> dict[str, str]:
        return {"protocol": self.protocol, "floor": self.floor}

    def missing(self, case: Case) -> str:
        """Why it does not apply; empty if it does."""
        return next((reason for need in self.needs if (reason := need(case))), "")


def images(case: Case) -> str:
    return "" if case.test.x.planar else f"it is of images; {case.test.name} serves {case.test.x}"


def seen(case: Case) -> str:
    return "" if case.test.x.kind == "audio" else images(case)


def solids(case: Case) -> str:
    return "" if case.test.x.kind == "voxels" else f"it is of solids; {case.test.name} serves {case.test.x}"


def likelihood(case: Case) -> str:
    return "" if isinstance(case.model, HasLikelihood) else f"{case.model.name} has no likelihood"


def codes(case: Case) -> str:
    if case.test.x.kind != "audio":
        return f"it is of sound; {case.test.name} serves {case.test.x}"
    return "" if isinstance(case.model, Codec) else f"{case.model.name} has no codes"


def coder(case: Case) -> str:
    if not (case.test.x.planar or case.test.x.kind == "voxels"):
        return f"it is of images, and of solids; {case.test.name} serves {case.test.x}"
    return "" if isinstance(case.model, Coded) else f"{case.model.name} has no codes"


def text(case: Case) -> str:
    held = getattr(case.test, "windows", None)
    if case.test.x.symbols is None or held is None:
        return f"it is of text; {case.test.name} serves {case.test.x}"
    return "" if held.fresh == held.length else "it is of windows without overlap: leave out the stride"


def truth(case: Case) -> str:
    known = case.test.x.measure == "density" and case.judge.truth is not None
    return "" if known else f"the density that {case.test.name} was drawn from is not known"


def features(case: Case) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in case.judge.left_out.items())
    return "" if case.judge.references else f"no features could be made ({reasons})"


def classifier(case: Case) -> str:
    if case.judge.reader:
        return ""
    return f"there is no classifier of the classes of {case.test.name}: ask for features classifier, if it has labels"


def categories(case: Case) -> str:
    return "" if isinstance(case.model, Clusters) else f"{case.model.name} finds no categories of its own"


def labels(case: Case) -> str:
    return "" if case.test.given and case.test.given.classed else f"{case.test.name} serves no labels"


def task(case: Case) -> str:
    return "" if isinstance(case.test, Posed) else f"{case.test.name} is not posed by a task"


def likelihoods(case: Case) -> tuple[Score, ...]:
    """Of held-out items; of a latent variable model also an importance-sampled estimate, if draws are asked for."""
    asked = [None] if case.draws is None or not isinstance(case.model, LatentVariable) else [None, case.draws]
    case.scores[:] = [score(case.model, case.test, draws=k, limit=case.limit, seed=case.seed) for k in asked]
    return tuple(case.scores)


def compression(case: Case) -> tuple[metrics.Measurement, ...]:
    """Bits a byte of held-out text, beside those of general compressors on the same text."""
    found, symbols = case.scores[0], case.test.x.symbols
    assert symbols is not None
    rows = torch.arange(found.n) * len(case.test) // found.n
    held, before = (
        symbols.decode(data.fetch(some, ItemNoise(0, some.tolist())).x.flatten().tolist()).encode("utf-8", "replace")
        for data, some in ((case.test, rows), (case.judge.training, side_by_side(case.judge.training)))
    )
    return (
        metrics.Measurement(
            name="bits/byte",
            value=found.nats * found.n / math.log(2) / len(held),
            better="lower",
            protocol=f"-log2 p of {len(held):,} bytes of UTF-8 ({found.kind}, {found.how}); gzip -9 and xz -9e on the "
            f"same bytes, and xz on what they add to {len(before):,} bytes of training text",
            n=f"{found.n:,} windows",
            baselines=bits_per_byte(held, before),
        ),
    )


def side_by_side(data: Data) -> Tensor:
    """The last windows of a text that do not overlap, as many as compressors look at."""
    windows, starts = getattr(data, "windows", None), getattr(data, "rows", range(0))
    assert windows is not None
    step = -(-windows.length // starts.step)
    rows = torch.arange(len(data) - 1, -1, -step)[: MOST // windows.length]
    return rows.flip(0)


def distances(case: Case) -> tuple[metrics.Distances, ...]:
    return tuple(metrics.distances(case.judge.seen(case.x), reference) for reference in case.judge.references)


def classes(case: Case) -> metrics.ClassReport:
    reader = case.judge.reader
    assert reader is not None
    return metrics.read_classes(reader, case.judge.seen(case.x), asked(case, reader))


def asked(case: Case, reader: metrics.Reader) -> Tensor | None:
    """The reader's number of the class that each sample was asked for, matched by name where both have names; None if
    none was, or the reader does not know them all."""
    told, given = getattr(case.model.config, "given", None), case.given
    if not isinstance(given, Label) or told is None or not told.classed:
        return None
    if not told.told or not case.judge.names:
        return given.y if told.choices == reader.classes else None
    numbers = {name.casefold(): k for k, name in enumerate(case.judge.names)}
    found = [numbers.get(name.casefold(), -1) for name in told.told]
    return None if -1 in found else torch.tensor(found)[given.y.cpu()]


def purity(case: Case) -> Purity:
    reader = case.judge.reader
    assert reader is not None
    return category_purity(case.model, case.x, case.test, reader, case.limit)


def modes(case: Case) -> metrics.ModeCoverage:
    assert case.judge.truth is not None
    return metrics.mode_coverage(case.x, case.judge.truth.means, case.judge.truth.sd)


def tasks_own(case: Case) -> tuple[metrics.Measurement, ...]:
    assert isinstance(case.test, Posed)
    # conditions of samples are drawn by the seed 0, and those of answers by the case's
    same = "drawn" in vars(case) and case.seed == 0 and case.n == compared(case.test, case.limit)
    drawn = case.x if same else None
    crops = against_truth(case.model, case.test, limit=case.limit, seed=case.seed, drawn=drawn)
    whole = whole_pictures(case.model, case.test, limit=case.limit, seed=case.seed)
    own = case.test.task
    further = own.further(case.model, case.test, limit=case.limit, seed=case.seed) if isinstance(own, Furthers) else []
    return crops + whole + tuple(further)


def shapes(case: Case) -> tuple[metrics.Measurement, ...]:
    """Of samples against held-out shapes, as people take them home: of a model with a decoder, their means. And of a
    model with an encoder, of held-out shapes through it and back."""
    model, real = case.model, case.judge.test[:SHAPES]
    found = metrics.shape_measurements(case.looks[: len(real)], real, case.judge.train)
    encode: Any = getattr(model, "encode", None)
    decode: Any = getattr(model, "decode", None)
    if isinstance(model, Decoding) and encode is not None and decode is not None:
        n = min(len(case.test), SHAPES)
        rows = torch.arange(n) * len(case.test) // n
        overlaps = []
        for some in torch.split(rows, 20):
            batch = case.test.fetch(some, ItemNoise(case.seed, some.tolist(), model.device))
            given = batch.given if getattr(model.config, "given", None) is not None else None
            with evaluating(model), torch.no_grad():
                q = encode(batch.x, given)
                back = decode(q if isinstance(q, Tensor) else q.mean, given).mean
            overlaps.append(metrics.iou(batch.x, back).cpu())
        found.append(
            metrics.Measurement(
                name="IoU of reconstructions",
                value=torch.cat(overlaps).mean().item(),
                better="higher",
                protocol="held-out shapes through the encoder (the mean of q, or their codes) and back, full above one "
                "half; mean over shapes",
                n=f"{n} held-out",
            )
        )
    return tuple(found)


def nothing(found: Any, data: str) -> columns.Columns:
    """Likelihoods have a place of their own in tables."""
    return []


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="likelihoods",
        needs=(likelihood,),
        protocol="log p(x) of held-out items, by kind: exact, a lower bound or an estimate",
        floor="none; the entropy of the data is not known",
        take=likelihoods,
        columns=nothing,
    ),
    Measure(
        name="text",
        needs=(likelihood, text),
        protocol="-log2 p of held-out text over its bytes",
        floor="none; beside it what gzip and xz make of the same bytes",
        take=compression,
        columns=columns.of_task,
    ),
    Measure(
        name="distances",
        needs=(seen, features),
        protocol="Frechet and kernel distance, precision, recall, density and coverage of samples against held-out "
        "images, on named features; of sound, on log mel spectrograms",
        floor="as many training images in the samples' place",
        take=distances,
        columns=columns.of_distances,
    ),
    Measure(
        name="memorization",
        needs=(images,),
        protocol="share of samples nearer to a training image, or its mirror image, than is usual, in pixels",
        floor="held-out images, of which 1 % are accused",
        take=lambda case: metrics.memorization(case.looks, case.judge.pixels),
        columns=columns.of_memorization,
        aside=MEANS,
    ),
    Measure(
        name="copies",
        needs=(coder,),
        protocol="share of samples whose codes are all those that the model's encoder gives one training item",
        floor="held-out items with such codes",
        take=lambda case: copied(case.model, case.judge.train, case.judge.test, case.n, case.given, case.seed),
        columns=columns.of_copies,
        aside="",
    ),
    Measure(
        name="classes",
        needs=(seen, classifier),
        protocol="what a classifier takes samples for: how surely, and how often for the class that was asked for",
        floor="the classifier's own accuracy on held-out images",
        take=classes,
        columns=columns.of_classes,
    ),
    Measure(
        name="purity",
        needs=(images, classifier, categories, labels),
        protocol="how well the model's own categories match classes, of samples and of held-out images",
        floor="the share of the commonest class",
        take=purity,
        columns=columns.of_purity,
    ),
    Measure(
        name="modes",
        needs=(truth,),
        protocol="PacGAN counting of the modes of a known mixture: within 3 deviations of the nearest mean",
        floor="an ideal sampler has 98.9 % high quality",
        take=modes,
        columns=columns.of_modes,
    ),
    Measure(
        name="shapes",
        needs=(solids,),
        protocol="MMD-CD, COV and 1-NNA of samples against held-out shapes, by points of their surfaces; how like the "
        "nearest training shape they are; IoU of reconstructions",
        floor="as many training shapes in the samples' place; of the nearest training shape, held-out ones",
        take=shapes,
        columns=columns.of_task,
        aside=MEANS,
    ),
    Measure(
        name="codes",
        needs=(codes,),
        protocol="of held-out recordings: -log2 p of their codes; how far they are off through them and back",
        floor="what the classifier makes of the recordings themselves",
        take=lambda case: coded(case.model, case.test, case.judge, case.seed),
        columns=columns.of_task,
    ),
    Measure(
        name="measurements",
        needs=(task,),
        protocol="the task's own, of the model's answers to held-out conditions against the truth",
        floor="the task's named baselines, which need no training",
        take=tasks_own,
        columns=columns.of_task,
    ),
)


def record(found: Any) -> Any:
    """What was measured, as JSON values."""
    if isinstance(found, tuple):
        return [record(one) for one in found]
    if isinstance(found, Score):
        return found.summary()
    if isinstance(found, metrics.Distances | metrics.Measurement):
        return found.as_dict()
    return asdict(found) if is_dataclass(found) and not isinstance(found, type) else found


def run(case: Case, measures: Sequence[Measure] = MEASURES) -> tuple[dict[str, Any], dict[str, str]]:
    """What each measure found, by name; and why others were left out."""
    skipped = {m.name: reason for m in measures if (reason := m.missing(case))}
    found = {m.name: m.take(case) for m in measures if m.name not in skipped}
    return found, skipped
