"""The comparison of models: a row a model, every number with its protocol, best values marked only among their like.

A likelihood that is exact, one that is a bound and one that is simulated are three different claims: each says which
it is, and they are never ranked against each other. The same holds for different data, measures and sample sizes.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from triptych.core import UsageError
from triptych.core.likelihood import BaseMeasure, Kind
from triptych.report import numbers

NO_LIKELIHOOD = "none: a GAN has no likelihood"
RANKING_RULE = (
    "Best values are marked only among values of the same kind, quantity, measure, data and number of examples; a "
    "value within two standard errors of the best is marked with it. On pixels alone none is: to them speckle can be "
    "nearer to the data than a picture."
)
BOUND_RULE = (
    'A lower bound on log p(x) is an upper bound on −log p(x), written "≤": against an exact value it says only that '
    'the model\'s log p(x) is at least this. Estimates, written "≈", come from simulation.'
)
SIGN: dict[Kind, str] = {"exact": "", "lower bound": "≤ ", "estimate": "≈ "}

Unit = Literal["", "seconds", "count", "share"]
FORMAT = {"seconds": numbers.seconds, "count": numbers.count, "share": numbers.percent}


@dataclass(frozen=True, kw_only=True)
class MeanLikelihood:
    """The mean of log p(x) over examples, with everything that decides what it may be compared with."""

    kind: Kind
    nats: float
    """Mean log p(x) per example, as `core.Likelihood.nats`; shown negated."""
    dims: int
    n: int
    """Examples averaged over."""
    measure: BaseMeasure
    data: str
    """"mnist-binary:test"."""
    how: str
    """The method and its settings, as `core.Likelihood.how`."""
    stderr: float | None = None
    """Standard error of the mean, in nats; of an estimate, simulation included."""
    quantity: str = "log p(x)"
    """What is measured; "log p(x | label)" of a conditional model is not comparable with log p(x)."""

    def __post_init__(self) -> None:
        if self.kind not in SIGN:
            raise UsageError(f"likelihood kind {self.kind!r}: must be one of {', '.join(map(repr, SIGN))}")
        if self.dims < 1 or self.n < 1:
            raise UsageError(f"likelihood on {self.data!r}: dims={self.dims} and n={self.n} must be 1 or more")

    @property
    def bits_per_dim(self) -> float:
        return -self.nats / (self.dims * math.log(2))

    @property
    def key(self) -> Hashable:
        """Values with equal keys may be ranked. Bounds and estimates by different methods differ in tightness."""
        how = "" if self.kind == "exact" else self.how
        return self.kind, self.quantity, self.measure, self.data, self.n, self.dims, how

    def shown(self) -> str:
        """−log p(x) in nats, with the sign of its kind."""
        return SIGN[self.kind] + with_places(-self.nats, self.stderr)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Any other number about a model."""

    name: str
    """The column: "FD-mnist-classifier", "precision", "sampling, per image"."""
    value: float
    group: str = "Measurements"
    """Columns of one group stand together: "Distances", "Coverage", "Classifier", "Cost"."""
    protocol: str
    """How it was measured: extractor and its hash, sizes, seed, hardware. Only equal protocols are ranked."""
    data: str = ""
    n: str = ""
    """"10,000 real, 10,000 generated"."""
    better: Literal["lower", "higher"] | None = None
    """None: nothing is marked."""
    ranked: bool = True
    """Whether the best is marked at all."""
    floor: float | None = None
    """The value that real data gets against other real data at the same n: nothing can be told below it."""
    rivals: Mapping[str, float] = field(default_factory=dict)
    """What methods without training get, by name."""
    stderr: float | None = None
    unit: Unit = ""
    aside: str = ""
    """Said with the protocol, and no reason not to rank: what of a model's own it was that was judged."""

    @property
    def key(self) -> Hashable:
        return self.name, self.unit, self.data, self.n, self.protocol

    def shown(self) -> str:
        return FORMAT[self.unit](self.value) if self.unit else numbers.with_error(self.value, self.stderr, 3)

    def shown_floor(self) -> str:
        """The null floor as the value is shown; empty where there is none."""
        if self.floor is None:
            return ""
        return FORMAT[self.unit](self.floor) if self.unit else numbers.significant(self.floor, 2)

    def beside(self) -> str:
        """What the value is to be read beside: the floor, and what methods without training get."""
        found = [f"floor {self.shown_floor()}"] if self.floor is not None else []
        for name, value in self.rivals.items():
            found.append(f"{name} {FORMAT[self.unit](value) if self.unit else numbers.significant(value, 3)}")
        return ", ".join(found)


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How samples fall into classes."""

    name: str
    labels: Sequence[str]
    shares: Sequence[float]
    """Adding up to 1."""
    expected: Sequence[float] | None = None
    """The shares in the data."""
    group: str = "Classifier"
    protocol: str
    data: str = ""
    n: str = ""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.shares) or len(self.expected or self.shares) != len(self.shares):
            raise UsageError(f"histogram {self.name!r}: labels, shares and expected shares must be equally many")

    def shown(self) -> str:
        """The bars as characters: "▇▅▇▇▆▇▇█▇▇"; a dot where there is none."""
        top = max((s for s in self.shares if math.isfinite(s)), default=0.0) or 1.0
        return "".join("▁▂▃▄▅▆▇█"[min(int(8 * s / top), 7)] if 0 < s < math.inf else "·" for s in self.shares)


Value = Quantity | Histogram


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model."""

    model: str
    likelihoods: Sequence[MeanLikelihood] = ()
    """Most often one; a VAE may have its bound and an estimate."""
    no_likelihood: str = "not measured"
    """Said where there is none: `NO_LIKELIHOOD` for a GAN."""
    values: Sequence[Value] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """The comparison."""

    rows: Sequence[Row] = ()
    notes: Sequence[str] = ()


def with_places(value: float, stderr: float | None) -> str:
    """Nats: to the second digit of the standard error, else to two places."""
    if stderr is None or not math.isfinite(value):
        return f"{value:,.2f}" if math.isfinite(value) else "not finite"
    return numbers.with_error(value, stderr)


def best(entries: Sequence[tuple[Hashable, float, float | None]]) -> set[int]:
    """Which of (key, value to be low, standard error) are the best among two or more of equal key.

    What lies within two standard errors of the difference counts as equal to the best. NaN is never best.
    """
    marked = set()
    for key in {entry[0] for entry in entries}:
        like = [(value, i) for i, (k, value, _) in enumerate(entries) if k == key and math.isfinite(value)]
        if len(like) < 2:
            continue
        low, winner = min(like)
        for value, i in like:
            if i == winner or value - low <= 2 * math.hypot(entries[winner][2] or 0.0, entries[i][2] or 0.0):
                marked.add(i)
    return marked


def best_likelihoods(table: Table) -> set[tuple[int, int]]:
    """(row, position in its likelihoods) of the best."""
    places = [(r, k) for r, row in enumerate(table.rows) for k in range(len(row.likelihoods))]
    found = [table.rows[r].likelihoods[k] for r, k in places]
    return {places[i] for i in best([(one.key, -one.nats, one.stderr) for one in found])}


def best_values(table: Table, group: str, name: str) -> set[int]:
    """Rows that are best in a column."""
    entries: list[tuple[Hashable, float, float | None]] = []
    for r in range(len(table.rows)):
        one = value_of(table, r, group, name)
        if isinstance(one, Quantity) and one.better and one.ranked:
            entries.append((one.key, one.value if one.better == "lower" else -one.value, one.stderr))
        else:
            entries.append((("none", r), math.nan, None))
    return best(entries)


def columns(table: Table) -> dict[str, list[str]]:
    """The names of the columns of each group, in order of appearance."""
    found: dict[str, list[str]] = {}
    for row in table.rows:
        for one in row.values:
            names = found.setdefault(one.group, [])
            if one.name not in names:
                names.append(one.name)
    return found


def value_of(table: Table, row: int, group: str, name: str) -> Value | None:
    return next((v for v in table.rows[row].values if (v.group, v.name) == (group, name)), None)


def heading(table: Table, group: str, name: str) -> str:
    """The column's name, with an arrow to where it gets better."""
    found = [v for r in range(len(table.rows)) if isinstance(v := value_of(table, r, group, name), Quantity)]
    directions = {v.better for v in found}
    arrow = {"lower": "\u00a0↓", "higher": "\u00a0↑", None: ""}[directions.pop()] if len(directions) == 1 else ""
    return name + arrow


def protocols(table: Table, group: str) -> list[tuple[str, str]]:
    """(what, how) of each number of a group, "" standing for the likelihoods; what was measured alike shares an entry.

    Models are named only where a column was not measured alike for all.
    """
    models: dict[tuple[str, str], list[str]] = {}
    for model, name, how in entries(table, group):
        models.setdefault((name, how), []).append(model)
    names: dict[str, list[str]] = {}
    for (name, how), those in models.items():
        alike = sum(other == name for other, _ in models) == 1
        names.setdefault(how, []).append(name if alike else f"{name} ({', '.join(dict.fromkeys(those))})")
    return [(", ".join(those), how) for how, those in names.items()]


def entries(table: Table, group: str) -> Iterator[tuple[str, str, str]]:
    for row in table.rows:
        if not group:
            for one in row.likelihoods:
                yield row.model, f"−{one.quantity}, {one.kind}", "; ".join((one.how, one.data, f"n = {one.n:,}"))
        for value in row.values:
            if group and value.group == group:
                n = f"n: {value.n}" if value.n else ""
                aside = value.aside if isinstance(value, Quantity) else ""
                yield row.model, value.name, "; ".join(part for part in (value.protocol, aside, value.data, n) if part)


@dataclass(frozen=True)
class Cell:
    """A text for a terminal or a README, and whether it is to be marked."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Flat:
    """The comparison as one table of texts. A model's second likelihood continues on a line of its own."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...]


def flat(table: Table) -> Flat:
    """The comparison for `rich`, or for `markdown`."""
    groups = [(group, name) for group, names in columns(table).items() for name in names]
    winners = {place: best_values(table, *place) for place in groups}
    top = best_likelihoods(table)
    rows = []
    for r, row in enumerate(table.rows):
        for k in range(max(len(row.likelihoods), 1)):
            line = [Cell(row.model if k == 0 else "")]
            if row.likelihoods:
                one = row.likelihoods[k]
                line += [Cell(one.kind), Cell(one.shown(), (r, k) in top), Cell(f"{one.bits_per_dim:.3f}")]
                line += [Cell(f"{one.n:,}")]
            else:
                line += [Cell(row.no_likelihood), Cell("—"), Cell("—"), Cell("—")]
            for place in groups:
                value = value_of(table, r, *place) if k == 0 else None
                shown = value.shown() if value else "" if k else "—"
                if isinstance(value, Quantity) and (beside := value.beside()):
                    shown += f" ({beside})"
                line.append(Cell(shown, k == 0 and r in winners[place]))
            rows.append(tuple(line))
    headings = ("model", "likelihood", "−log p(x), nats ↓", "bits/dim ↓", "n", *(heading(table, *p) for p in groups))
    notes = [RANKING_RULE, *bound_rule(table), *table.notes]
    notes += [f"{what}: {how}." for group in ("", *columns(table)) for what, how in protocols(table, group)]
    return Flat(headings, tuple(rows), tuple(notes))


def bound_rule(table: Table) -> list[str]:
    """The rule about bounds and estimates, where there are any."""
    return [BOUND_RULE] if any(one.kind != "exact" for row in table.rows for one in row.likelihoods) else []


def markdown(table: Table) -> str:
    """The comparison in Markdown: best values bold, protocols below."""
    f = flat(table)
    lines = [tuple(map(md, f.headings)), tuple("---" for _ in f.headings)]
    lines += [tuple(f"**{md(c.text)}**" if c.best else md(c.text) for c in row) for row in f.rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return body + "\n\n" + "\n".join(f"- {md(note)}" for note in f.footnotes) + "\n"


def md(text: str) -> str:
    """One line of text that Markdown takes for text, also within a table."""
    line = " ".join(text.split())
    for mark in "\\`*_[]<>|":
        line = line.replace(mark, "\\" + mark)
    return line
