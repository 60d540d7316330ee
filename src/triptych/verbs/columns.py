"""How what was measured stands in a comparison: the columns of each result."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from triptych import metrics
from triptych.report import Histogram, Quantity
from triptych.report.tables import FORMAT
from triptych.verbs.purity import Purity

Columns = list[Quantity | Histogram]
MOST_BARS = 32
"""Classes that a histogram shows."""


def of_distances(found: Sequence[metrics.Distances], data: str) -> Columns:
    """FD and KD with their floor; of the first features and of pixels also precision, recall, density and coverage."""
    out: Columns = []
    for place, d in enumerate(found):
        common: dict[str, Any] = {
            "data": d.data,
            "n": f"{d.n_gen:,} generated, {d.n_real:,} held-out; floor: {d.n_floor:,} training images",
        }
        protocol, g, f = protocol_of(d), d.generated, d.floor
        pixels = d.extractor == metrics.Pixels.name
        common["ranked"] = not pixels  # to them speckle can look more like the data than a picture does
        out += [
            Quantity(
                name=d.names["fd"],
                value=g.fd,
                floor=f.fd,
                group="Distances",
                protocol=protocol,
                better="lower",
                **common,
            ),
            Quantity(
                name=d.names["kd"],
                value=g.kd,
                floor=f.kd,
                stderr=g.kd_stderr,
                group="Distances",
                protocol=protocol,
                better="lower",
                **common,
            ),
        ]
        out += [
            Quantity(
                name=f"{name} (pixels)" if pixels else name,
                value=getattr(g, name),
                floor=getattr(f, name),
                group="Fidelity and coverage",
                protocol=f"{protocol}, k = {d.k}",
                better="higher",
                **common,
            )
            for name in ("precision", "recall", "density", "coverage")
            if pixels or place == 0
        ]
    return out


def protocol_of(d: metrics.Distances) -> str:
    about = f"; {d.extractor_about}" if d.extractor_about else ""
    resized = "no resizing" if d.resizer == "none" else f"resizing: {d.resizer}"
    return (
        f"{d.extractor} features (sha256 {d.extractor_sha256[:8]}{about}), {resized}, real sha256 {d.real_sha256[:8]}"
    )


def of_memorization(m: metrics.Memorization, data: str) -> Columns:
    return [
        Quantity(
            name="memorized",
            value=m.memorized,
            floor=m.memorized_floor,
            group="Fidelity and coverage",
            protocol=f"nearest of {m.n_train:,} training images over mean of 2nd to 6th, mirror images included; "
            f"below the ratio {m.memorized_threshold:.3f}, which 1 % of held-out images fall below",
            unit="share",
            data=data,
            n=f"{m.n_gen:,} generated, {m.n_real:,} held-out",
        )
    ]


def of_copies(found: Sequence[metrics.Measurement], data: str) -> Columns:
    """Beside what is memorized."""
    told = of_task(found, data)
    return [replace(one, group="Fidelity and coverage") if isinstance(one, Quantity) else one for one in told]


def of_classes(found: metrics.ClassReport, data: str) -> Columns:
    """How sure the classifier is, whether it sees what was asked for, and a bar for each class if they are not many."""
    ours = found.reader == metrics.MNISTClassifier.name
    who = "our MNIST classifier" if ours else f"{found.reader}, {found.about}"
    protocol, n = f"{who} (sha256 {found.sha256[:8]})", f"{found.n:,} generated"
    common: dict[str, Any] = {"group": "Classifier", "protocol": protocol, "n": n, "data": data}
    # one that was never shown what is of no class is sure of noise, too
    out: Columns = [
        Quantity(name="confidence", value=found.confidence, better="higher" if ours else None, **common),
    ]
    if found.accuracy is not None:
        out.append(Quantity(name="class accuracy", value=found.accuracy, unit="share", better="higher", **common))
    k = len(found.counts)
    if k <= MOST_BARS:
        out.append(
            Histogram(
                name="digits" if ours else "classes",
                labels=[str(i) for i in range(k)],
                shares=[count / found.n for count in found.counts],
                expected=[1 / k] * k if ours else None,
                protocol=protocol,
                n=n,
                data=data,
            )
        )
    return out


def of_purity(purity: Purity, data: str) -> Columns:
    common: dict[str, Any] = {"group": "Classifier", "data": data, "better": "higher", "unit": "share"}
    return [
        Quantity(
            name="category purity, generated",
            value=purity.generated,
            protocol="each category of the model against the class that a classifier takes most of its samples for",
            n=f"{purity.n:,} generated",
            **common,
        ),
        Quantity(
            name="category purity, real",
            value=purity.real,
            protocol="each category of the model against the commonest label among the real images that it has",
            n=f"{purity.n_real:,} held-out",
            **common,
        ),
    ]


def of_modes(modes: metrics.ModeCoverage, data: str) -> Columns:
    protocol, n = "PacGAN counting: within 3 sd of the nearest mean", f"{modes.n:,} generated"
    common: dict[str, Any] = {"group": "Modes", "protocol": protocol, "n": n, "data": data}
    return [
        Quantity(name=f"modes of {modes.modes}", value=modes.found, better="higher", **common),
        Quantity(name="high quality", value=modes.high_quality, better="higher", unit="share", **common),
        Quantity(name="reverse KL, nats", value=modes.reverse_kl, better="lower", **common),
    ]


def of_task(found: Sequence[metrics.Measurement], data: str) -> Columns:
    """A task's own, with what its baselines get as a part of the protocol: it is the same for all models."""
    out: Columns = []
    for one in found:
        known: Any = one.unit if one.unit in FORMAT else ""
        rivals = ", ".join(f"{name} {FORMAT[known](v) if known else f'{v:.4g}'}" for name, v in one.baselines.items())
        out.append(
            Quantity(
                name=one.name if known or not one.unit else f"{one.name}, {one.unit}",
                value=one.value,
                floor=one.floor,
                group="Against the truth",
                protocol=one.protocol + (f"; baselines: {rivals}" if rivals else ""),
                rivals=one.baselines,
                better=one.better,
                unit=known,
                data=data,
                n=one.n,
            )
        )
    return out
