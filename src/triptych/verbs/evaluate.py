"""How good are the samples? Distances to held-out data with their floor, coverage, copies, modes, likelihood."""

import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from triptych import metrics, models
from triptych.core import (
    FAITHFUL,
    Data,
    Decoding,
    Generative,
    Given,
    HasLikelihood,
    Images,
    ItemNoise,
    Label,
    Labels,
    Points,
    UsageError,
    evaluating,
)
from triptych.data import fitted
from triptych.inference.importance import LatentVariable
from triptych.report import NO_LIKELIHOOD, Histogram, MeanLikelihood, Measurement, Row
from triptych.verbs.sample import examples, sample, to_look_at
from triptych.verbs.score import Score, score

DRAWN = "samples drawn from p(x | z), with the decoder's noise"
SHOWN = 64
"""Samples to look at, of the judged ones: the first, not the best."""
FEWEST = 10
"""Held-out examples without which no distance is worth its name."""
POOL = 20_000
"""Training examples that samples are compared with: enough for the floor and for the nearest neighbors."""


def served(data: Data, n: int, seed: int) -> Tensor:
    """Up to n items of a data set, evenly spaced, as it serves them (binary pixels drawn by `seed`)."""
    rows = torch.arange(n) * len(data) // n if n < len(data) else torch.arange(len(data))
    parts = [rows[first : first + 1000] for first in range(0, len(rows), 1000)]
    return torch.cat([data.fetch(part, ItemNoise(seed, part.tolist())).x for part in parts])


class Judge:
    """The real data, seen once through each feature extractor; judges any number of models.

    `n` held-out and `pool` training examples are looked at, evenly spaced.
    """

    def __init__(self, train: Data, test: Data, *, n: int = 2000, pool: int = POOL, seed: int = 0) -> None:
        if len(test) < FEWEST:
            raise UsageError(f"{test.name} holds {len(test)} items; a comparison takes at least {FEWEST} held-out ones")
        self.truth = getattr(test, "truth", None)
        self.references: list[metrics.Reference] = []
        if isinstance(test.x, Images):
            self.train, self.test = served(train, pool, seed), served(test, n, seed)
            names = ["mnist-classifier", "pca-64", "pixels"] if is_mnist(test) else ["pca-64", "pixels"]
            if min(test.x.dims, len(self.train)) < 64:
                names.remove("pca-64")
            for name in names:
                look = metrics.extractor(name, self.train)
                self.references.append(metrics.Reference(look, test=self.test, train=self.train, data=test.name))


def is_mnist(data: Data) -> bool:
    """Whether the digit classifier has something to say about this data."""
    return data.name.startswith("mnist") and data.x.shape == (1, 28, 28)


@runtime_checkable
class Clusters(Protocol):
    """A model that puts x into categories that nobody named (InfoGAN)."""

    def category(self, x: Tensor) -> Tensor:
        """The category of each x, int64 [n]."""


@dataclass(frozen=True)
class Purity:
    """How well a model's own categories match digits."""

    generated: float
    """Of its samples, against what the digit classifier takes them for."""
    n: int
    real: float
    """Of held-out images, against their labels."""
    n_real: int


def digit_purity(model: Generative[Any], generated: Tensor, test: Data, limit: int | None) -> Purity | None:
    """Of samples, and of held-out data (its first `limit` items); None if the model has no categories of its own, or
    the data no labels."""
    if not isinstance(model, Clusters) or not isinstance(test.given, Labels):
        return None
    rows = torch.arange(len(test) if limit is None else min(limit, len(test)))
    batches = [test.fetch(part, ItemNoise(0, part.tolist(), model.device)) for part in torch.split(rows, 1000)]
    with evaluating(model), torch.no_grad():
        code = torch.cat([model.category(part.to(model.device)).cpu() for part in torch.split(generated, 1000)])
        real = torch.cat([model.category(batch.x).cpu() for batch in batches])
    label = torch.cat([batch.given.y.cpu() for batch in batches])
    taken = metrics.classify(generated).argmax(1)
    return Purity(metrics.purity(code, taken), len(code), metrics.purity(real, label), len(real))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything measured of one model, with its protocol."""

    model: str
    data: str
    n: int
    seed: int
    images: Tensor
    """The samples that were judged, on the CPU."""
    shown: Tensor
    """The first SHOWN of them, to look at: of a model with a decoder, the means that they were drawn around."""
    scores: tuple[Score, ...]
    distances: tuple[metrics.Evaluation, ...]
    digits: metrics.DigitReport | None
    purity: Purity | None
    modes: metrics.ModeCoverage | None
    parameters: int
    seconds_per_sample: float
    machine: str
    observation: str = ""
    """Of a model with a decoder: what was judged, samples with its noise or their means."""

    def as_dict(self) -> dict[str, Any]:
        """All but the samples, as JSON values."""
        return {
            "model": self.model,
            "data": self.data,
            "n": self.n,
            "seed": self.seed,
            "likelihoods": [s.summary() for s in self.scores],
            "distances": [d.as_dict() for d in self.distances],
            "digits": asdict(self.digits) if self.digits else None,
            "purity": asdict(self.purity) if self.purity else None,
            "modes": asdict(self.modes) if self.modes else None,
            "parameters": self.parameters,
            "seconds_per_sample": self.seconds_per_sample,
            "machine": self.machine,
            "observation": self.observation,
        }

    def row(self, name: str | None = None) -> Row:
        """For a comparison table."""
        likelihoods = [
            MeanLikelihood(
                kind=s.kind,
                nats=-s.nats,
                dims=s.dims,
                n=s.n,
                measure=s.measure,
                data=s.data,
                how=s.how,
                stderr=s.stderr,
            )
            for s in self.scores
        ]
        values: list[Measurement | Histogram] = []
        for d in self.distances:
            values += distance_columns(d, self.observation)
        if self.digits:
            values += digit_columns(self.digits, self.data)
        if self.purity:
            values += purity_columns(self.purity, self.data)
        if self.modes:
            values += mode_columns(self.modes, self.data)
        cost: dict[str, Any] = {"group": "Cost", "better": None}
        values.append(Measurement(name="parameters", value=self.parameters, protocol="trainable", unit="count", **cost))
        values.append(
            Measurement(
                name="sampling, per image",
                value=self.seconds_per_sample,
                protocol=f"{self.n} samples at once in batches of 256, {self.machine}",
                unit="seconds",
                **cost,
            )
        )
        none = NO_LIKELIHOOD if models.find(self.model).likelihood == "none" else "not measured"
        return Row(model=name or self.model, likelihoods=likelihoods, no_likelihood=none, values=values)

    def rows(self) -> list[list[str]]:
        """(measure, value, floor, protocol) of each number, for a terminal."""
        row = self.row()
        out = [
            [
                f"-log p(x), {one.kind}",
                f"{one.shown()} nats, {one.bits_per_dim:.4f} bits/dim",
                "",
                f"{one.how}, n = {one.n}",
            ]
            for one in row.likelihoods
        ] or [["-log p(x)", row.no_likelihood, "", ""]]
        for value in row.values:
            floor, aside = (value.shown_floor(), value.aside) if isinstance(value, Measurement) else ("", "")
            out.append([value.name, value.shown(), floor, "; ".join(p for p in (value.protocol, aside, value.n) if p)])
        return out


def distance_columns(d: metrics.Evaluation, observation: str = "") -> list[Measurement | Histogram]:
    """FD and KD with their floor; on the first named features also precision, recall, density and coverage.

    On pixels alone nothing is called the best: to them speckle can look more like the data than a picture does.
    `observation` is what the protocol says of how a decoder's samples were drawn.
    """
    protocol = f"{d.extractor} features (sha256 {d.extractor_sha256[:8]}), no resizing, real sha256 {d.real_sha256[:8]}"
    ranked = d.extractor != "pixels"
    n = f"{d.n_gen:,} generated, {d.n_real:,} held-out; floor: {d.n_floor:,} training images"
    common: dict[str, Any] = {"data": d.data, "n": n, "aside": observation}
    g, f = d.generated, d.floor
    out: list[Measurement | Histogram] = [
        Measurement(
            name=d.names["fd"],
            value=g.fd,
            floor=f.fd,
            group="Distances",
            protocol=protocol,
            better="lower",
            ranked=ranked,
            **common,
        ),
        Measurement(
            name=d.names["kd"],
            value=g.kd,
            floor=f.kd,
            stderr=g.kd_stderr,
            group="Distances",
            protocol=protocol,
            better="lower",
            ranked=ranked,
            **common,
        ),
    ]
    if d.extractor in ("mnist-classifier", "pixels"):
        shares = f"{protocol}, k = {d.k}"
        for name in ("precision", "recall", "density", "coverage"):
            out.append(
                Measurement(
                    name=name if d.extractor == "mnist-classifier" else f"{name} (pixels)",
                    value=getattr(g, name),
                    floor=getattr(f, name),
                    group="Fidelity and coverage",
                    protocol=shares,
                    better="higher",
                    ranked=ranked,
                    **common,
                )
            )
    if d.extractor == "pixels":
        out.append(
            Measurement(
                name="memorized",
                value=d.memorized,
                floor=d.memorized_floor,
                group="Fidelity and coverage",
                protocol=f"nearest of {d.n_train:,} training images over mean of 2nd to 6th, mirror images included; "
                f"below the ratio {d.memorized_threshold:.3f}, which 1 % of held-out images fall below",
                unit="share",
                **common,
            )
        )
    return out


def digit_columns(digits: metrics.DigitReport, data: str) -> list[Measurement | Histogram]:
    protocol = f"our MNIST classifier (sha256 {digits.sha256[:8]})"
    n = f"{digits.n:,} generated"
    common: dict[str, Any] = {"group": "Classifier", "protocol": protocol, "n": n, "data": data, "better": "higher"}
    shares = [count / digits.n for count in digits.counts]
    out: list[Measurement | Histogram] = [Measurement(name="confidence", value=digits.confidence, **common)]
    if digits.accuracy is not None:
        out.append(Measurement(name="class accuracy", value=digits.accuracy, unit="share", **common))
    out.append(
        Histogram(
            name="digits",
            labels=list("0123456789"),
            shares=shares,
            expected=[0.1] * 10,
            protocol=protocol,
            n=n,
            data=data,
        )
    )
    return out


def purity_columns(purity: Purity, data: str) -> list[Measurement | Histogram]:
    common: dict[str, Any] = {"group": "Classifier", "data": data, "better": "higher", "unit": "share"}
    return [
        Measurement(
            name="category purity, generated",
            value=purity.generated,
            protocol="each category of the model against the digit that our classifier takes most of its samples for",
            n=f"{purity.n:,} generated",
            **common,
        ),
        Measurement(
            name="category purity, real",
            value=purity.real,
            protocol="each category of the model against the commonest label among the real images that it has",
            n=f"{purity.n_real:,} held-out",
            **common,
        ),
    ]


def mode_columns(modes: metrics.ModeCoverage, data: str) -> list[Measurement | Histogram]:
    protocol, n = "PacGAN counting: within 3 sd of the nearest mean", f"{modes.n:,} generated"
    common: dict[str, Any] = {"group": "Modes", "protocol": protocol, "n": n, "data": data}
    return [
        Measurement(name=f"modes of {modes.modes}", value=modes.found, better="higher", **common),
        Measurement(name="high quality", value=modes.high_quality, better="higher", unit="share", **common),
        Measurement(name="reverse KL, nats", value=modes.reverse_kl, better="lower", **common),
    ]


def evaluate(
    model: Generative[Any],
    train: Data,
    test: Data,
    *,
    n: int = 2000,
    draws: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    judge: Judge | None = None,
) -> Evaluation:
    """Draws n samples and measures them against held-out data; scores `test` (its first `limit` items) too.

    `draws` adds an importance-sampled estimate beside the bound of a latent variable model. `judge` reuses what was
    computed of the same real data for another model.

    Raises UsageError if the data is not the model's kind of data.
    """
    if model.config.x != test.x:
        raise UsageError(f"{model.name} models {model.config.x}; {test.name} serves {test.x}")
    test = fitted(test, model.config)
    judge = judge or Judge(train, test, n=n, seed=seed)
    started = time.perf_counter()
    given = examples(model, n, test)
    x = sample(model, n, given, seed=seed)
    seconds = (time.perf_counter() - started) / n
    scores = []
    if isinstance(model, HasLikelihood):
        scores.append(score(model, test, limit=limit, seed=seed))
        if draws is not None and isinstance(model, LatentVariable):
            scores.append(score(model, test, draws=draws, limit=limit, seed=seed))
    modes = None
    if isinstance(model.config.x, Points) and judge.truth is not None:
        modes = metrics.mode_coverage(x, judge.truth.means, judge.truth.sd)
    return Evaluation(
        model=model.name,
        data=test.name,
        n=n,
        seed=seed,
        images=x,
        shown=to_show(model, x, given, seed),
        scores=tuple(scores),
        distances=tuple(metrics.evaluate(x, reference) for reference in judge.references),
        digits=metrics.judge_digits(x, given.y if isinstance(given, Label) else None) if is_mnist(test) else None,
        purity=digit_purity(model, x, test, limit) if is_mnist(test) else None,
        modes=modes,
        parameters=sum(w.numel() for w in model.parameters() if w.requires_grad),
        seconds_per_sample=seconds,
        machine=machine(model),
        observation=DRAWN if isinstance(model, Decoding) else "",
    )


def to_show(model: Generative[Any], x: Tensor, given: Given | None, seed: int) -> Tensor:
    """The first of the samples x, which were drawn of `given` by `seed`, as a person wants to see them."""
    n, how = min(SHOWN, len(x)), to_look_at(model)
    if how is FAITHFUL:
        return x[:n]
    return sample(model, n, None if given is None else given[slice(n)], seed=seed, how=how)


def machine(model: Generative[Any]) -> str:
    """The hardware in a few words."""
    if model.device.type == "cuda":
        return torch.cuda.get_device_name(model.device)
    return f"{model.device.type}, {torch.get_num_threads()} threads"
