"""Runs side by side: one table in which no number stands without its kind, and one page to look at."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import triptych
from triptych import report
from triptych.core import UsageError
from triptych.data.notebook import table_of
from triptych.io import folder as folders_io
from triptych.io import outputs
from triptych.report import Fact, Page
from triptych.verbs.create import load
from triptych.verbs.evaluate import Evaluation, evaluate, machine
from triptych.verbs.judge import POOL, Judge
from triptych.verbs.opening import own
from triptych.verbs.sections import section
from triptych.verbs.shipped import located, meant

PAD, SCALE = 2, 2


@dataclass(frozen=True)
class Comparison:
    """What was measured of each run."""

    folders: tuple[Path, ...]
    evaluations: tuple[Evaluation, ...]
    rows: report.Table

    def __repr__(self) -> str:
        return f"<{len(self.folders)} runs side by side: {', '.join(str(f) for f in self.folders)}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        columns, rows = self.table()
        return table_of("Runs side by side", columns, rows, self.notes())

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: the folder and the measurements of each run."""
        return {
            "runs": [{"folder": str(f), **e.as_dict()} for f, e in zip(self.folders, self.evaluations, strict=True)]
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings and rows for a terminal: the measures down, the runs across. The best of its like has a star."""
        flat = report.flat(self.rows)
        lines = [[cell.text + (" *" if cell.best else "") for cell in row] for row in flat.rows]
        return ["", *(line[0] for line in lines)], [
            [heading, *(line[i] for line in lines)] for i, heading in enumerate(flat.headings) if i > 0
        ]

    def notes(self) -> list[str]:
        """The rules of the table, and the protocol of every number."""
        return list(report.flat(self.rows).footnotes)


def compare(
    folders: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    n: int = 2000,
    pool: int = POOL,
    draws: int = 64,
    limit: int | None = None,
    seed: int = 0,
    features: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    title: str = "Runs side by side",
    intro: str = "",
    command: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Measures every run on the held-out part of the data it was trained on; with `out`, writes a page (.html).

    Raises UsageError if a folder holds no run, the data it was trained on is no longer there, or `out` is no page.
    """
    if out:
        if Path(out).suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{out}: a report is one page; give it a name that ends in .html")
        outputs.check_file(Path(out), overwrite=overwrite)
    paths = tuple(located(f) for f in folders)
    names = distinct(paths)
    judges: dict[str, Judge] = {}
    evaluations, sections, rows = [], [], []
    started = time.monotonic()
    for path, name in zip(paths, names, strict=True):
        model = load(path).to(device)
        train, test = own(path, model, "train"), own(path, model, "test")
        say(f"measuring {name} on {test.name}")
        judge = judges.setdefault(test.fingerprint, Judge(train, test, n=n, pool=pool, seed=seed, features=features))
        one = evaluate(model, train, test, n=n, draws=draws, limit=limit, seed=seed, judge=judge)
        evaluations.append(one)
        rows.append(one.row(name))
        if out:
            sections.append(section(path, name, model, test, one, judge))
    result = Comparison(paths, tuple(evaluations), report.Table(rows=rows))
    if out:
        facts = [
            Fact("evaluated", f"up to {n:,} samples of each model, seed {seed}, in {time.monotonic() - started:.0f} s"),
            Fact("hardware", machine(load(paths[0]).to(device))),
            Fact("versions", f"triptych {triptych.__version__}, torch {torch.__version__}"),
            Fact("repeat", command or repeated(paths, out, n, limit, seed, features), code=True),
        ]
        page = Page(title=title, intro=intro, facts=facts, models=sections, table=result.rows, notes=explained(result))
        report.write(page, out)
    return result


def repeated(
    paths: Sequence[Path], out: str | Path, n: int, limit: int | None, seed: int, features: Sequence[str] | None
) -> str:
    """The command line that writes the page again."""
    words = ["triptych", "compare", *map(str, paths), "--out", str(out), "-n", str(n), "--seed", str(seed)]
    words += [] if limit is None else ["--limit", str(limit)]
    return shlex.join(words + ([] if features is None else ["--features", ",".join(features)]))


MEANINGS = {
    "FD": "FD: distance of two Gaussians fitted to features of samples and of held-out data (Fréchet); 0 is best.",
    "KD": "KD: distance of samples and held-out data by a kernel on features; 0 is best, and it may be negative.",
    "precision": "Precision: the share of samples that lie among real examples. Recall: the share of real examples "
    "that lie among samples. Density and coverage: the same, counted so that outliers weigh less.",
    "memorized": "Memorized: the share of samples that lie much nearer to one training example than to its neighbors.",
    "copied codes": "Copied codes: the share of samples whose codes are all those of one training item.",
    "confidence": "Confidence: how sure a classifier of real digits is of samples; 1 is surest.",
    "digits": "Digits: how often each digit comes; all should come alike.",
    "modes": "Modes: how many of the clusters of a known mixture samples reach. High quality: the share near one.",
}
"""What the columns mean, by how their names begin."""


def explained(result: Comparison) -> list[str]:
    """What the labels on the page mean, those that are on it."""
    names = {value.name for row in result.rows.rows for value in row.values}
    found = [words for start, words in MEANINGS.items() if any(name.startswith(start) for name in names)]
    return [
        "−log p(x): how many nats (1 nat is 1.44 bits) it takes to say an example, given the model; bits/dim are bits "
        "for each number of it. Less is better.",
        "Floor: what real examples get against other real examples; nothing can be told below it.",
        *found,
    ]


def distinct(paths: Sequence[Path]) -> list[str]:
    """What to call the runs: the model's name, and the folder's where two are of one model."""
    names = [folders_io.about(p)["model"] if p.is_dir() else missing(p) for p in paths]
    return [n if names.count(n) == 1 else f"{n} ({p.name})" for n, p in zip(names, paths, strict=True)]


def missing(path: Path) -> str:
    raise UsageError(f"there is no folder {path}; {meant(str(path))}")
