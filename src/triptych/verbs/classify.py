"""Which class is it? p(y | x) by Bayes' rule from a model of p(x | y), with its calibration.

On request beside a classifier that was trained for nothing else, on the same data.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.core import Data, Generative, ItemNoise, Label, UsageError, evaluating, mix
from triptych.core.likelihood import Kind
from triptych.data import fitted
from triptych.data.notebook import table_of
from triptych.inference import bayes, discriminative
from triptych.io import commit, outputs
from triptych.media import pictures
from triptych.verbs.opening import as_data
from triptych.verbs.score import csv_bytes


@dataclass(frozen=True)
class Rival:
    """A small convolutional classifier trained on labels, on the same items (`inference.discriminative`)."""

    data: str
    """What it was trained on."""
    examples: int
    steps: int
    raw: bayes.Classified
    calibrated: bayes.Classified
    """At a temperature, fitted as the model's."""


@dataclass(frozen=True)
class Classification:
    """A data set classified by Bayes' rule, with everything one needs to know to quote it."""

    model: str
    data: str
    n: int
    classes: int
    names: tuple[str, ...] | None
    """What the classes are called, by their number, if they have names."""
    kind: Kind
    """Of log p(x | y). Probabilities of classes from bounds are no bounds."""
    how: str
    prior: str
    raw: bayes.Classified
    """As the model says."""
    calibrated: bayes.Classified
    """At a temperature; that of each item was fitted on the other half of the items."""
    temperature: float
    """Fitted on all items: what to divide log p(x | y) by from now on."""
    seed: int
    rival: Rival | None
    """If one was asked for."""
    nats: Tensor
    """log p(x | y), float64 [n, classes], in the data's order."""
    y: Tensor
    """The true classes, int64 [n]."""

    def __repr__(self) -> str:
        said = f"accuracy {self.raw.accuracy:.4f}; {self.kind} ({self.how}), n = {self.n:,}"
        return f"<{self.data} classified by {self.model}: {said}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        found = {"as the model says": self.raw, "at a temperature": self.calibrated}
        found |= {"rival": self.rival.raw} if self.rival else {}
        rows = [[name, f"{c.accuracy:.4f}", f"{c.nll:.4f}", f"{c.ece:.4f}"] for name, c in found.items()]
        return table_of(repr(self)[1:-1], ("", "accuracy", "nats", "calibration error"), rows)

    def summary(self) -> dict[str, Any]:
        """All but the items, ready for JSON."""
        return {k: v for k, v in asdict(self).items() if k not in ("nats", "y")}


def classify(
    model: Generative[Any],
    data: Data | Any,
    *,
    draws: int | None = None,
    limit: int | None = None,
    batch: int = 100,
    seed: int = 0,
    rival: Data | None = None,
    rival_steps: int = 2000,
) -> Classification:
    """Classifies the items of `data` (with `limit`, that many, evenly spaced), all classes being equally likely before.

    With `draws`, a model with latent variables is importance sampled. Random preprocessing follows from `seed`, item by
    item; random bounds from `seed`, batch by batch.

    rival: labeled examples, of another split, to train a classifier on, for `rival_steps` steps of 64, which then
    classifies the same items. About a minute.

    Raises UsageError for a model that has no p(x | y), for data without labels, and for a rival trained on `data`.
    """
    data = as_data(data, model)
    n = len(data) if limit is None else min(limit, len(data))
    if n < 2:
        raise UsageError(f"{data.name} holds {n} items to classify; it takes 2 or more")
    if rival is not None and rival.fingerprint == data.fingerprint:
        raise UsageError(f"the rival would be trained on the items it is to classify, {data.name}; take another split")
    data, rival = fitted(data, model.config), None if rival is None else fitted(rival, model.config)
    chosen, nats, truth = torch.arange(n) * len(data) // n, [], []
    with evaluating(model), torch.no_grad():
        for first in range(0, n, batch):
            rows = chosen[first : first + batch]
            b = data.fetch(rows, ItemNoise(seed, rows.tolist(), model.device))
            if not isinstance(b.given, Label):
                raise UsageError(
                    f"{data.name} has no labels to compare with: they come from class sub-folders, a label column of "
                    "metadata.csv, or y in a .npz"
                )
            found = bayes.class_likelihoods(model, b.x, draws=draws, seed=mix(seed, first))
            nats.append(found.nats.cpu())
            truth.append(b.given.y.cpu())
    likelihoods, y = torch.cat(nats), torch.cat(truth)
    beside = None
    if rival is not None:
        beside = challenge(rival, data, chosen, y, steps=rival_steps, batch=batch, seed=seed)
    return Classification(
        model=model.name,
        data=data.name,
        n=n,
        classes=likelihoods.shape[1],
        names=model.config.given.names,
        kind=found.kind,
        how=found.how,
        prior="uniform",
        raw=bayes.classified(bayes.log_posterior(likelihoods), y),
        calibrated=bayes.classified(bayes.calibrated(likelihoods, y), y),
        temperature=bayes.fit_temperature(likelihoods, y),
        seed=seed,
        rival=beside,
        nats=likelihoods,
        y=y,
    )


def guesses(found: Classification) -> tuple[Tensor, Tensor]:
    """The likeliest class of each item, and its probability, at the fitted temperature."""
    confidence, guess = bayes.log_posterior(found.nats, temperature=found.temperature).exp().max(1)
    return guess, confidence


def called(found: Classification) -> list[str]:
    """What the classes are called."""
    return list(found.names or map(str, range(found.classes)))


def check_picture(out: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError, before anything is classified, unless a picture can be written to this file."""
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: a picture is written as .png")
    outputs.check_file(out, overwrite=overwrite)


def write_picture(found: Classification, out: Path) -> None:
    """The confusion matrix: how often each class was taken for each. Raises ResourceError if the disk is full."""
    counts = torch.zeros(found.classes, found.classes, dtype=torch.long)
    counts.index_put_((found.y, guesses(found)[0]), torch.ones_like(found.y), accumulate=True)
    text = {"model": found.model, "data": found.data, "seed": str(found.seed)}
    pictures.save_png(pictures.matrix(counts.numpy(), called(found)), out, text)


def write_items(found: Classification, path: Path) -> None:
    """A line an item: its number, its class, the likeliest one and that one's probability (.csv)."""
    names, (guess, confidence) = called(found), guesses(found)
    rows = zip(found.y.tolist(), guess.tolist(), confidence.tolist(), strict=True)
    table = [[str(i), names[y], names[g], f"{p:.6f}"] for i, (y, g, p) in enumerate(rows)]
    commit.write_atomic(path, csv_bytes(["item", "class", "guess", "probability"], table))


def challenge(examples: Data, data: Data, chosen: Tensor, y: Tensor, *, steps: int, batch: int, seed: int) -> Rival:
    """Trains a classifier on `examples`, and has it classify the rows `chosen` of `data`, whose classes are `y`."""
    net = discriminative.train_classifier(examples, steps=steps, seed=seed)
    seen = (data.fetch(rows, ItemNoise(seed, rows.tolist())).x for rows in torch.split(chosen, batch))
    log_p = torch.cat([discriminative.log_probabilities(net, x) for x in seen])
    return Rival(
        data=examples.name,
        examples=len(examples),
        steps=steps,
        raw=bayes.classified(log_p, y),
        calibrated=bayes.classified(bayes.calibrated(log_p, y), y),
    )
