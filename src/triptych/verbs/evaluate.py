"""How good are the samples? The list of measures (`verbs.measures`), each with its protocol, taken of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from triptych import metrics, models
from triptych.core import FAITHFUL, Data, Generative, Given, UsageError
from triptych.data import fitted
from triptych.data.notebook import table_of
from triptych.report import NO_LIKELIHOOD, Histogram, MeanLikelihood, Quantity, Row
from triptych.verbs.judge import Judge
from triptych.verbs.measures import MEASURES, OTHER, Case, record, run
from triptych.verbs.opening import as_data
from triptych.verbs.purity import Purity
from triptych.verbs.sample import examples, noisy, sample, to_look_at, told_items
from triptych.verbs.score import Score

DRAWN = "samples drawn from p(x | z), with the decoder's noise"
SHOWN = 64
"""Samples to look at, of the judged ones: the first, not the best."""
MNIST = metrics.MNISTClassifier.name


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything measured of one model, with its protocol."""

    model: str
    data: str
    n: int
    """Samples that were drawn."""
    seed: int
    images: Tensor
    """The samples that were judged, on the CPU; where no measure is of samples, those that are shown."""
    shown: Tensor
    """The first SHOWN of them, to look at: of a model with a decoder, the means that they were drawn around."""
    found: Mapping[str, Any]
    """What each of `MEASURES` found, by its name."""
    skipped: Mapping[str, str]
    """Why others were left out."""
    without: Mapping[str, str]
    """Why there are no distances on some usual features."""
    parameters: int
    seconds_per_sample: float
    machine: str
    observation: str = ""
    """Of a model with a decoder: what was judged, samples with its noise or their means."""
    fewer: str = ""
    """Why fewer samples were drawn than were asked for."""

    @property
    def scores(self) -> tuple[Score, ...]:
        return self.found.get("likelihoods", ())

    @property
    def distances(self) -> tuple[metrics.Distances, ...]:
        return self.found.get("distances", ())

    @property
    def memorization(self) -> metrics.Memorization | None:
        return self.found.get("memorization")

    @property
    def classes(self) -> metrics.ClassReport | None:
        return self.found.get("classes")

    @property
    def digits(self) -> metrics.ClassReport | None:
        """`classes`, of MNIST, as the shipped classifier reads them."""
        return self.classes if self.classes and self.classes.reader == MNIST else None

    @property
    def purity(self) -> Purity | None:
        return self.found.get("purity")

    @property
    def modes(self) -> metrics.ModeCoverage | None:
        return self.found.get("modes")

    @property
    def measurements(self) -> tuple[metrics.Measurement, ...]:
        """A task's own."""
        return self.found.get("measurements", ())

    @property
    def left_out(self) -> dict[str, str]:
        """Measures that were not taken, and features that distances were not taken on, with reasons."""
        return {**self.skipped, **{f"distances, {name}": reason for name, reason in self.without.items()}}

    def __repr__(self) -> str:
        return f"<{self.model} on {self.data}, {self.n:,} samples: {', '.join(self.found) or 'nothing measured'}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        columns = ("measure", "value", "floor", "protocol")
        return table_of(f"{self.model} on {self.data}", columns, self.rows(), self.notes())

    def as_dict(self) -> dict[str, Any]:
        """All but the samples, as JSON values; null, or an empty list, for what was left out (see "skipped").

        "digits" is what earlier versions called "classes", then of MNIST only.
        """
        empty: dict[str, Any] = {"likelihoods": [], "distances": [], "copies": [], "measurements": []}
        return {
            "model": self.model,
            "data": self.data,
            "n": self.n,
            "seed": self.seed,
            **{m.name: record(self.found.get(m.name, empty.get(m.name))) for m in MEASURES},
            "digits": record(self.digits),
            "measures": {m.name: m.about for m in MEASURES if m.name in self.found},
            "skipped": self.left_out,
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
        values: list[Quantity | Histogram] = []
        for m in MEASURES:
            some = m.columns(self.found[m.name], self.data) if m.name in self.found else []
            aside = m.aside if m.aside is not None and self.observation else self.observation
            values += [replace(v, aside=aside) if isinstance(v, Quantity) else v for v in some]
        cost: dict[str, Any] = {"group": "Cost", "better": None}
        values.append(Quantity(name="parameters", value=self.parameters, protocol="trainable", unit="count", **cost))
        values.append(
            Quantity(
                name="sampling, per image",
                value=self.seconds_per_sample,
                protocol=f"{self.n} samples at once in batches of 256, {self.machine}",
                unit="seconds",
                **cost,
            )
        )
        entry = models.find(self.model)
        lacks = NO_LIKELIHOOD if entry.family == "gan" else "none: this model has no likelihood"
        none = lacks if entry.paper.likelihood == "none" else "not measured"
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
            floor, aside = (value.shown_floor(), value.aside) if isinstance(value, Quantity) else ("", "")
            out.append([value.name, value.shown(), floor, "; ".join(p for p in (value.protocol, aside, value.n) if p)])
        return out

    def notes(self) -> list[str]:
        """What was left out, and why; not the measures of other kinds of data, of which nobody thought here."""
        those = {name: reason for name, reason in self.left_out.items() if not OTHER.match(reason)}
        found = [f"left out: {name} ({reason})" for name, reason in those.items()]
        return [self.fewer, *found] if self.fewer else found


def evaluate(
    model: Generative[Any],
    train: Data | Any,
    test: Data | Any,
    *,
    n: int = 2000,
    draws: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    features: Sequence[str] | None = None,
    judge: Judge | None = None,
) -> Evaluation:
    """Draws n samples and takes every measure that applies, against held-out data: distances, copies, coverage,
    classes, the likelihood of `test` (its first `limit` items), and what a task measures (`posed` data).

    No more are drawn than the measures need: of conditions that only items have (texts, pictures), one for each
    held-out item; where no measure is of samples, as of text, so many as are shown.

    `draws` adds an importance-sampled estimate beside the bound of a latent variable model. `features` names those that
    distances are taken on (`metrics.FEATURES`; by default such as suit the data). `judge` reuses what was computed of
    the same real data for another model, its features included.

    Raises UsageError if the data is not the model's kind of data.
    """
    train, test = as_data(train, model), as_data(test, model)
    if model.config.x != test.x:
        raise UsageError(f"{model.name} models {model.config.x}; {test.name} serves {test.x}")
    test = fitted(test, model.config)
    judge = judge or Judge(train, test, n=n, seed=seed, features=features)
    many = min(n, len(test)) if told_items(model) else n
    fewer = f"{many:,} samples of {n:,}: one for each condition that is held out" if many < n else ""
    given = examples(model, many, test)
    case = Case(model=model, test=test, judge=judge, n=many, given=given, seed=seed, limit=limit, draws=draws)
    found, skipped = run(case)
    if not vars(case).keys() & {"drawn", "looked"}:
        case = replace(case, n=min(many, SHOWN), given=None if given is None else given[slice(SHOWN)])
        fewer = f"{case.n:,} samples of {n:,}, to show: no measure is of samples" if case.n < n else ""
    x, seconds = case.drawn if "drawn" in vars(case) else case.looked
    return Evaluation(
        model=model.name,
        data=test.name,
        n=len(x),
        seed=seed,
        images=x,
        shown=case.looks[:SHOWN] if "looked" in vars(case) else to_show(model, x, given, seed),
        found=found,
        skipped=skipped,
        without=judge.left_out,
        parameters=sum(w.numel() for w in model.parameters() if w.requires_grad),
        seconds_per_sample=seconds,
        machine=machine(model),
        observation=DRAWN if noisy(model) else "",
        fewer=fewer,
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
