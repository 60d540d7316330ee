"""A report as one self-contained HTML file: no network, no fonts, no libraries.

The page's policy forbids every request (`default-src 'none'`); pictures are inside it. It reads without JavaScript,
in light and dark, on a phone and on paper.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import count
from pathlib import Path
from string import Template

from triptych.io.commit import write_atomic
from triptych.media.pictures import to_data_uri
from triptych.report import charts, tables
from triptych.report.charts import Chart
from triptych.report.escaping import escape
from triptych.report.page import Fact, Figure, Link, ModelSection, Page, Plate, Strip
from triptych.report.tables import Histogram, Quantity, Row, Table

MARK = (
    '<svg viewBox="0 0 34 18" aria-hidden="true">'
    '<path d="M1 3.5 9 1.5v15L1 14.5zM11 1.5h12v15H11zM25 1.5l8 2v11l-8 2z"/></svg>'
)
POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; "
    "form-action 'none'; base-uri 'none'"
)
FOOTER = "<footer>Made by Triptych. This page is complete in itself: it loads nothing.</footer>"
LARGE, SMALL = 460, 60
"""Widths, in CSS pixels, near which pictures and the cells of strips are shown."""


def write(page: Page, path: str | Path) -> Path:
    """Renders the page and writes it atomically. Raises as `write_atomic`."""
    return write_atomic(path, render(page).encode("utf-8"))


def render(page: Page) -> str:
    """The page as HTML. Every text in it is escaped; pieces that are missing do not appear."""
    template = Template(resources.files("triptych.report").joinpath("page.html").read_text("utf-8"))
    script = re.search(r"<script>(.*?)</script>", template.template, re.DOTALL)
    assert script, "page.html has one script"
    digest = base64.b64encode(hashlib.sha256(script[1].encode("utf-8")).digest()).decode("ascii")
    policy = POLICY.format(digest)
    ids = count()
    sections = [
        *([run(page)] if page.facts else []),
        *([comparison(page.table)] if page.table.rows else []),
        *(model(one, f"model-{i}", ids) for i, one in enumerate(page.models)),
        *([f'<section id="notes"><h2>Notes</h2>{bullets(page.notes)}</section>'] if page.notes else []),
    ]
    body = f"{head(page)}\n<main>\n{join(sections)}\n</main>\n{FOOTER}"
    return template.substitute(title=escape(page.title), policy=escape(policy), body=body)


def head(page: Page) -> str:
    """Title, introduction, contents, and the models side by side."""
    places = [("#run", "The run")] * bool(page.facts) + [("#comparison", "Comparison")] * bool(page.table.rows)
    places += [(f"#model-{i}", one.name) for i, one in enumerate(page.models)]
    places += [("#notes", "Notes")] * bool(page.notes)
    links = join(f'<a href="{where}">{escape(words)}</a>' for where, words in places)
    contents = f'<nav aria-label="Contents">{links}</nav>' if len(places) > 1 else ""
    intro = f'<div class="intro">{paragraphs(page.intro)}</div>' if page.intro.strip() else ""
    covers = join(cover(one, f"#model-{i}", page.table) for i, one in enumerate(page.models) if one.cover)
    return (
        f'<header><div class="mark">{MARK}Triptych report</div><h1>{escape(page.title)}</h1>{intro}{contents}'
        + (f'<div class="covers">{covers}</div>' if covers else "")
        + "</header>"
    )


def cover(one: ModelSection, where: str, table: Table) -> str:
    assert one.cover is not None
    row = next((row for row in table.rows if row.model == one.name), None)
    family = f"<span>{escape(one.family)}</span>" if one.family not in ("", one.name) else ""
    return (
        f'<a class="cover" href="{where}">{image(one.cover, LARGE)}<b>{escape(one.name)}</b>'
        f"{family}<span>{escape(in_short(row)) if row else ''}</span></a>"
    )


def in_short(row: Row) -> str:
    """The likelihood in one line, with its kind."""
    if not row.likelihoods:
        return row.no_likelihood
    one = row.likelihoods[0]
    return f"−{one.quantity} {one.shown() if one.kind != 'exact' else '= ' + one.shown()} nats, {one.kind}"


def run(page: Page) -> str:
    return f'<section id="run"><h2>The run</h2>{facts(page.facts)}</section>'


def facts(all: Sequence[Fact]) -> str:
    def one(fact: Fact) -> str:
        value = f"<pre>{escape(fact.value)}</pre>" if fact.code else escape(fact.value)
        wide = ' class="wide"' if fact.code else ""
        return f"<div{wide}><dt>{escape(fact.name)}</dt><dd>{value}</dd></div>"

    return f'<dl class="facts">{join(one(fact) for fact in all)}</dl>' if all else ""


def model(one: ModelSection, where: str, ids: "count[int]") -> str:
    """All there is about one model."""
    paper = link(one.paper) if one.paper else ""
    kicker = " · ".join(part for part in (escape(one.family), paper) if part)
    pictures = [titled(title, what, ids) for title, what in (("Samples", one.samples), ("Real", one.real)) if what]
    beside = [f'<div class="stack">{join(pictures)}</div>'] if pictures else []
    if one.curves:
        beside.append(f'<div class="stack">{join(titled(c.title, c, ids) for c in one.curves)}</div>')
    blocks = [
        ("Training progress", one.progress),
        ("Nearest training examples", one.neighbors),
        ("Interpolation", one.interpolation),
        ("Reconstructions", one.reconstructions),
        *one.more,
    ]
    return (
        f'<section id="{where}"><h2>{escape(one.name)}</h2>'
        + (f'<p class="kicker">{kicker}</p>' if kicker else "")
        + (f'<p class="lead">{escape(one.sentence)}</p>' if one.sentence else "")
        + (f'<div class="pair{" two" * (len(beside) == 2)}">{join(beside)}</div>' if beside else "")
        + join(f'<div class="block">{titled(title, figure, ids)}</div>' for title, figure in blocks if figure)
        + (f'<div class="block">{facts(one.facts)}</div>' if one.facts else "")
        + (bullets(one.notes) if one.notes else "")
        + "</section>"
    )


def titled(title: str, what: Figure, ids: "count[int]") -> str:
    return f"<div><h3>{escape(title)}</h3>{figure(what, ids)}</div>"


def figure(what: Figure, ids: "count[int]") -> str:
    """A picture, a strip or a chart with its caption."""
    if isinstance(what, Chart):
        words = " ".join(part for part in (what.caption, charts.smoothing(what), charts.left_out(what)) if part)
        return f"<figure>{charts.lines(what)}{caption(words)}</figure>"
    shown = image(what, LARGE) + hear(what) if isinstance(what, Plate) else strip(what, f"strip-{next(ids)}")
    return f"<figure>{shown}{caption(what.caption, what.protocol)}</figure>"


def caption(words: str, protocol: str = "") -> str:
    if not (words or protocol):
        return ""
    folded = f"<details><summary>Protocol</summary><p>{escape(protocol)}</p></details>" if protocol else ""
    return f"<figcaption>{escape(words)}{folded}</figcaption>"


def image(picture: Plate, wide: int) -> str:
    """The picture, enlarged by a whole number so that pixels stay square."""
    width, height = picture.image.size
    times = max(1, round(wide / width)) if picture.pixelated else 1
    look = ' class="pixels"' if picture.pixelated else ""
    return (
        f'<img{look} src="{to_data_uri(picture.image)}" alt="{escape(picture.alt)}" '
        f'width="{width * times}" height="{height * times}">'
    )


def hear(picture: Plate) -> str:
    """A player below a picture of sound."""
    if not picture.wav:
        return ""
    coded = base64.b64encode(picture.wav).decode("ascii")
    source = f'src="data:audio/wav;base64,{coded}"'
    return f'<audio controls preload="none" {source} aria-label="{escape(picture.alt)}"></audio>'


def strip(what: Strip, where: str) -> str:
    """Rows of small images that shrink together on a narrow screen."""
    columns = len(what.rows[0])
    width = what.rows[0][0].width
    cell = width * max(1, round(SMALL / width))
    label_rows, label_columns = list(what.row_labels), list(what.column_labels)
    parts = []
    for r, row in enumerate(what.rows):
        if label_rows:
            parts.append(f'<div class="name">{escape(label_rows[r])}</div>')
        cells = []
        for k, one in enumerate(row):
            words = ", ".join(
                part
                for part in (label_rows[r] if label_rows else "", label_columns[k] if label_columns else "")
                if part
            )
            alt = escape(words or f"row {r + 1}, column {k + 1}")
            cells.append(
                f'<img class="pixels" src="{to_data_uri(one)}" alt="{alt}" width="{one.width}" height="{one.height}">'
            )
        parts.append(f'<div class="cells">{join(cells)}</div>')
    if label_columns:
        if label_rows:
            parts.append('<div class="name"></div>')
        under = join(f'<span class="under">{escape(words)}</span>' for words in label_columns)
        parts.append(f'<div class="cells">{under}</div>')
    slider = " data-slider" if what.slider and columns > 1 else ""
    return (
        f'<div class="strip{" named" if label_rows else ""}" id="{where}" role="group" '
        f'aria-label="{escape(what.alt)}" style="--k:{columns};--cell:{cell}px"{slider}>{join(parts)}</div>'
    )


def comparison(table: Table) -> str:
    """The table of likelihoods, then one table for each group of measurements, then the rules."""
    parts = [likelihoods(table), *(measurements(table, group) for group in tables.columns(table))]
    rules = [tables.RANKING_RULE, *tables.bound_rule(table), *table.notes]
    return (
        f'<section id="comparison"><h2>Comparison</h2><div class="tables">{join(parts)}</div>{bullets(rules)}</section>'
    )


def likelihoods(table: Table) -> str:
    winners = tables.best_likelihoods(table)
    rows = []
    for r, row in enumerate(table.rows):
        name = escape(row.model)
        if not row.likelihoods:
            none = f'<td class="words none" colspan="6">{escape(row.no_likelihood)}</td>'
            rows.append(f'<tr><th scope="row">{name}</th>{none}</tr>')
        for k, one in enumerate(row.likelihoods):
            best = ' class="best"' if (r, k) in winners else ""
            rows.append(
                f'<tr><th scope="row">{name}</th>'
                f'<td class="words"><span class="kind {one.kind.replace(" ", "-")}">{escape(one.kind)}</span></td>'
                f"<td{best}>{escape(one.shown())}</td><td>{escape(tables.SIGN[one.kind])}{one.bits_per_dim:.3f}</td>"
                f'<td class="words">{escape(one.quantity)}, {escape(one.measure)}</td>'
                f'<td class="words">{escape(one.data)}</td><td>{one.n:,}</td></tr>'
            )
    heads = (
        '<th scope="col">Model</th><th scope="col" class="words">Kind</th><th scope="col">−log p(x), nats\u00a0↓</th>'
        '<th scope="col">bits/dim\u00a0↓</th><th scope="col" class="words">Measured</th>'
        '<th scope="col" class="words">Data</th><th scope="col">n</th>'
    )
    return framed("Likelihood: how likely is this sample?", heads, rows, tables.protocols(table, ""), wide=True)


def measurements(table: Table, group: str) -> str:
    names = tables.columns(table)[group]
    winners = {name: tables.best_values(table, group, name) for name in names}
    rows = []
    for r, row in enumerate(table.rows):
        cells = []
        for name in names:
            one = tables.value_of(table, r, group, name)
            if one is None:
                cells.append('<td class="missing"><span aria-label="not measured">—</span></td>')
            elif isinstance(one, Histogram):
                cells.append(f"<td>{charts.bars(one.labels, one.shares, one.expected)}</td>")
            else:
                best = ' class="best"' if r in winners[name] else ""
                cells.append(f"<td{best}>{escape(one.shown())}{beside(one)}</td>")
        rows.append(f'<tr><th scope="row">{escape(row.model)}</th>{join(cells)}</tr>')
    heads = '<th scope="col">Model</th>' + join(
        f'<th scope="col">{escape(tables.heading(table, group, name))}</th>' for name in names
    )
    return framed(group, heads, rows, tables.protocols(table, group), wide=len(names) > 4)


def beside(one: Quantity) -> str:
    """The null floor and simple rivals, below the value."""
    return f"<small>{escape(found)}</small>" if (found := one.beside()) else ""


def framed(title: str, heads: str, rows: Iterable[str], protocols: Sequence[tuple[str, str]], *, wide: bool) -> str:
    """A table that scrolls sideways where the screen is narrow, its protocols folded below."""
    how = join(f"<dt>{escape(what)}</dt><dd>{escape(words)}</dd>" for what, words in protocols)
    return (
        f'<div class="{"table wide" if wide else "table"}">'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}"><table>'
        f"<caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead><tbody>{join(rows)}</tbody></table></div>"
        + (f"<details><summary>Protocol</summary><dl>{how}</dl></details>" if how else "")
        + "</div>"
    )


def link(one: Link) -> str:
    return f'<a href="{escape(one.url)}" rel="noopener noreferrer">{escape(one.text)}</a>'


def bullets(notes: Iterable[str]) -> str:
    return f'<ul class="rules">{join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def paragraphs(words: str) -> str:
    return join(f"<p>{escape(part.strip())}</p>" for part in re.split(r"\n\s*\n", words) if part.strip())


def join(parts: Iterable[str]) -> str:
    return "".join(parts)
