"""Line and bar charts as inline SVG: plain text, no library, sharp at any size.

Colors are CSS variables (`--s0` ... `--s7`, `--ink`, `--soft`, `--line`) with fallbacks, so that a page can set them
for light and dark and a chart also stands alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from triptych.core import UsageError
from triptych.media.pictures import nice
from triptych.report import numbers
from triptych.report.escaping import escape

WIDTH, HEIGHT = 480, 264
PALETTE = ("#0a5c9e", "#d1610a", "#1a7f5a", "#a8327d", "#7a5c00", "#5b4fc4", "#b3261e", "#4d5d66")
MOST = 280
"""Points drawn of one line: about one a pixel on most screens."""
HUGE = 1e300
"""Beyond this sums overflow, and on a logarithmic axis below its inverse ratios do: treated as not finite."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line: y against x, in the order of x. Values that are not finite leave a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise UsageError(f"series {self.name!r} has {len(self.x)} x and {len(self.y)} y; it needs as many of each")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Several lines over the same axes."""

    title: str
    series: Sequence[Series]
    x_label: str = "step"
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False
    smooth: int | None = None
    """Values in the centered running mean drawn over the raw line; 1: raw only; None: a fortieth of the points."""
    caption: str = ""


@dataclass(frozen=True)
class Axis:
    """From values to pixels, and which values to label."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (self.scaled(value) - self.scaled(self.low)) / (self.scaled(self.high) - self.scaled(self.low))
        return self.start + min(max(part, -2.0), 3.0) * (self.end - self.start)

    def scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def takes(self, value: float) -> bool:
        return math.isfinite(value) and abs(value) < HUGE and (value > 1 / HUGE or not self.log)

    def ticks(self, most: int = 6) -> list[float]:
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            stride = max(1, math.ceil((last - first + 1) / most))
            decades = [10.0**k for k in range(first, last + 1, stride)]
            if len(decades) > 1:
                return decades
        step = nice((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [t for k in range(first, min(last, first + 20) + 1) if self.takes(t := k * step)]


def axis(values: Sequence[float], log: bool, start: float, end: float, slack: float) -> Axis:
    """An axis that holds all `values` (finite, and positive if `log`), with room for a constant."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    if log:
        if high / low < 1 + 1e-6:
            low, high = low / 2, high * 2
        grow = 10.0 ** (slack * (math.log10(high) - math.log10(low)))  # the ratio itself may be beyond a float
        return Axis(max(low / grow, 1e-307), min(high * grow, 1e307), True, start, end)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        reach = 0.1 * abs(high) or 1.0
        return Axis(low - reach, high + reach, False, start, end)
    return Axis(low - slack * (high - low), high + slack * (high - low), False, start, end)


def window(chart: Chart, series: Series) -> int:
    """How many values the running mean of a series spans; 1: it is not smoothed."""
    return chart.smooth or max(1, len(series.y) // 40)


def running_mean(y: Sequence[float], window: int) -> list[float]:
    """The mean of the finite values among the `window` around each (fewer at the ends); NaN where y is not finite."""
    good = [math.isfinite(v) and abs(v) < HUGE for v in y]
    total, many = [0.0], [0]
    for value, ok in zip(y, good, strict=True):
        total.append(total[-1] + (value if ok else 0.0))
        many.append(many[-1] + ok)
    out = []
    for i, ok in enumerate(good):
        a, b = max(i - window // 2, 0), min(i + (window + 1) // 2, len(y))
        out.append((total[b] - total[a]) / (many[b] - many[a]) if ok else math.nan)
    return out


def pieces(x: Sequence[float], y: Sequence[float], ax: Axis, ay: Axis) -> list[list[Point]]:
    """Unbroken runs of points that both axes take."""
    runs: list[list[Point]] = [[]]
    for point in zip(x, y, strict=True):
        if ax.takes(point[0]) and ay.takes(point[1]):
            runs[-1].append((float(point[0]), float(point[1])))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def thin(run: list[Point], most: int) -> list[Point]:
    """At most about `most` points, keeping the lowest and the highest of each stretch: spikes stay visible."""
    if len(run) <= most:
        return run
    kept = []
    stretches = most // 2
    for k in range(stretches):
        part = run[k * len(run) // stretches : (k + 1) * len(run) // stretches]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return sorted({run[0], *kept, run[-1]})


def lines(chart: Chart) -> str:
    """The chart as an `<svg>` element. Never fails for its numbers: what cannot be drawn is counted and said."""
    windows = [window(chart, s) for s in chart.series]
    smooth = [running_mean(s.y, w) if w > 1 else list(s.y) for s, w in zip(chart.series, windows, strict=True)]
    probe_x, probe_y = Axis(1, 10, chart.log_x, 0, 1), Axis(1, 10, chart.log_y, 0, 1)
    raw = [pieces(s.x, s.y, probe_x, probe_y) for s in chart.series]
    fine = [pieces(s.x, y, probe_x, probe_y) for s, y in zip(chart.series, smooth, strict=True)]
    xs = [p[0] for runs in raw for run in runs for p in run]
    shown = [p[1] for runs in fine for run in runs for p in run]
    for runs in raw:  # all of a short line, and all but the extreme hundredths of a long one
        ys = sorted(p[1] for run in runs for p in run)
        cut = len(ys) // 100
        shown += ys[cut : len(ys) - cut]

    legend, legend_height = draw_legend(chart.series)
    top, bottom, right = legend_height + (24 if chart.y_label else 8), HEIGHT - 40, WIDTH - 12
    ay = axis(shown, chart.log_y, bottom, top, 0.04)
    y_ticks = tick_labels(ay)
    left = 12 + 7 * max((len(label) for _, label in y_ticks), default=1)
    ax = axis(xs, chart.log_x, left, right, 0.0)

    out = [legend]
    if chart.y_label:
        out.append(text(4, legend_height + 11, chart.y_label, "start"))
    for value, label in y_ticks:
        y = ay(value)
        out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" style="stroke:var(--line,#ddd)"/>')
        out.append(text(left - 6, y + 4, label, "end"))
    for value, label in tick_labels(ax):
        x = ax(value)
        out.append(f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" style="stroke:var(--soft,#666)"/>')
        out.append(text(min(x, right - 3 * len(label)), bottom + 17, label, "middle"))
    out.append(f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}" style="stroke:var(--soft,#666)"/>')
    out.append(text(right, bottom + 33, chart.x_label, "end"))

    # an inner <svg> cuts off what lies outside the axes
    out.append(
        f'<svg x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" '
        f'viewBox="{left} {top} {right - left} {bottom - top}">'
    )
    for i, (runs, wide) in enumerate(zip(raw, windows, strict=True)):
        if wide > 1:
            out += [draw(run, ax, ay, i, "raw") for run in runs]
    for i, runs in enumerate(fine):
        out += [draw(run, ax, ay, i, "mean") for run in runs]
    out.append("</svg>")
    if not xs:
        out.append(text((left + right) / 2, (top + bottom) / 2, "no values to draw", "middle"))

    scale = {"x0": ax.low, "x1": ax.high, "y0": ay.low, "y1": ay.high}
    data = "".join(f' data-{k}="{v!r}"' for k, v in scale.items())
    data += f' data-box="{left} {top} {right} {bottom}" data-log="{int(chart.log_x)}{int(chart.log_y)}"'
    data += f' data-x="{escape(chart.x_label)}"'
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary(chart))}"{data} '
        'xmlns="http://www.w3.org/2000/svg" font-size="12" font-family="system-ui, sans-serif">'
        f"{''.join(out)}</svg>"
    )


def draw(run: list[Point], ax: Axis, ay: Axis, i: int, kind: str) -> str:
    color = f"var(--s{i % len(PALETTE)},{PALETTE[i % len(PALETTE)]})"
    points = [(ax(x), ay(y)) for x, y in thin(run, MOST)]
    look = "stroke-width:1;opacity:.28" if kind == "raw" else "stroke-width:2"
    if len(points) == 1:
        (x, y), dim = points[0], ";opacity:.28" if kind == "raw" else ""
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:{color}{dim}"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline class="{kind}" data-series="{i}" points="{path}" '
        f'style="fill:none;stroke:{color};{look};stroke-linejoin:round"/>'
    )


def draw_legend(series: Sequence[Series]) -> tuple[str, int]:
    """Names with their colors, in as many rows as they need; and the height of that."""
    out, x, y = [], 4.0, 12
    for i, one in enumerate(series):
        name = one.name if len(one.name) <= 36 else one.name[:35] + "…"
        width = 34 + 6.6 * len(name)
        if x > 4 and x + width > WIDTH:
            x, y = 4.0, y + 18
        color = f"var(--s{i % len(PALETTE)},{PALETTE[i % len(PALETTE)]})"
        out.append(
            f'<line x1="{x:.1f}" y1="{y - 4}" x2="{x + 16:.1f}" y2="{y - 4}" style="stroke:{color};stroke-width:3"/>'
        )
        out.append(text(x + 22, y, name, "start", "var(--ink,#222)", f' data-series="{i}"'))
        x += width
    return "".join(out), y + 8 if series else 4


def text(x: float, y: float, words: str, anchor: str, color: str = "var(--soft,#666)", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{color}"{more}>{escape(words)}</text>'


def tick_labels(ax: Axis) -> list[tuple[float, str]]:
    """The ticks of an axis, each with the shortest label that tells it from its neighbors."""
    ticks = ax.ticks()
    step = min((b - a for a, b in pairwise(ticks)), default=abs(ticks[0]) if ticks else 1.0) or 1.0
    return [(t, tick_label(t, step)) for t in ticks]


def tick_label(value: float, step: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e10 or abs(value) < 1e-4:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 10 * size and step >= size / 10:
            return f"{value / size:.{decimals(step / size)}f}{unit}"
    return f"{value:,.{decimals(step)}f}"


def decimals(step: float) -> int:
    return min(max(-math.floor(math.log10(step) + 1e-9), 0), 12)


def left_out(chart: Chart) -> str:
    """Which values the chart could not draw, for the caption; empty if it drew all."""
    probe_x, probe_y = Axis(1, 10, chart.log_x, 0, 1), Axis(1, 10, chart.log_y, 0, 1)
    parts = []
    for s in chart.series:
        lost = sum(not (probe_x.takes(a) and probe_y.takes(b)) for a, b in zip(s.x, s.y, strict=True))
        if lost:
            parts.append(f"{lost:,} of {s.name}")
    reason = "not finite, or not positive on a logarithmic axis" if chart.log_x or chart.log_y else "not finite"
    return f"Left out: {', '.join(parts)} ({reason})." if parts else ""


def smoothing(chart: Chart) -> str:
    """What the bold lines are, for the caption; empty if they are the values themselves."""
    windows = sorted({w for s in chart.series if (w := window(chart, s)) > 1})
    span = f"{windows[0]}" if len(windows) == 1 else f"{windows[0]} to {windows[-1]}" if windows else ""
    return f"Bold: running mean over {span} logged values; pale: the values, extremes cut off." if windows else ""


def summary(chart: Chart) -> str:
    """The chart in words, for those who cannot see it."""
    parts = [chart.title]
    for s in chart.series:
        ends = [(a, b) for a, b in zip(s.x, s.y, strict=True) if math.isfinite(a) and math.isfinite(b)]
        if ends:
            (a, b), (c, d) = ends[0], ends[-1]
            number = numbers.significant
            x = chart.x_label or "x"
            parts.append(f"{s.name}: {number(b)} at {x} {number(a)}, {number(d)} at {x} {number(c)}")
        else:
            parts.append(f"{s.name}: no finite values")
    return "; ".join(parts)


def bars(labels: Sequence[str], shares: Sequence[float], expected: Sequence[float] | None = None) -> str:
    """A small bar chart of `shares`, as an `<svg>` element, with a tick where each share is `expected`.

    A share that is not finite has no bar. Raises UsageError unless there are as many labels as shares.
    """
    if len(labels) != len(shares) or (expected is not None and len(expected) != len(shares)):
        raise UsageError(f"bars: {len(labels)} labels for {len(shares)} shares and {len(expected or shares)} expected")
    finite = [s for s in [*shares, *(expected or [])] if math.isfinite(s) and s > 0]
    top, pitch, height = max(finite, default=1.0), 12, 34
    named = max((len(label) for label in labels), default=0) <= 2
    out = []
    for i, (label, share) in enumerate(zip(labels, shares, strict=True)):
        x = i * pitch + 1
        tall = height * share / top if math.isfinite(share) and share > 0 else 0.0
        out.append(
            f'<rect x="{x}" y="{height - tall + 2:.1f}" width="{pitch - 2}" height="{tall:.1f}" '
            'style="fill:var(--s0,#0a5c9e)"/>'
        )
        if expected is not None and math.isfinite(expected[i]):
            y = height + 2 - height * max(expected[i], 0.0) / top
            out.append(
                f'<line x1="{x - 1}" y1="{y:.1f}" x2="{x + pitch - 1}" y2="{y:.1f}" '
                'style="stroke:var(--ink,#222);stroke-width:1.2"/>'
            )
        if named:
            out.append(text(x + (pitch - 2) / 2, height + 11, label, "middle"))
    words = ", ".join(f"{label}: {numbers.percent(s)}" for label, s in zip(labels, shares, strict=True))
    width, full = max(len(shares) * pitch, 1), height + (13 if named else 4)
    return (
        f'<svg class="bars" viewBox="0 0 {width} {full}" width="{width}" height="{full}" role="img" '
        f'aria-label="{escape(words)}" xmlns="http://www.w3.org/2000/svg" font-size="8" '
        f'font-family="system-ui, sans-serif">{"".join(out)}</svg>'
    )
