"""The report: exact pictures, honest tables, finite charts, and a page that is well formed and loads nothing."""

import itertools
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from triptych import report
from triptych.core import ResourceError, UsageError
from triptych.io.commit import write_atomic
from triptych.media import pictures
from triptych.report import (
    NO_LIKELIHOOD,
    Card,
    Chart,
    Fact,
    Histogram,
    Link,
    MeanLikelihood,
    ModelSection,
    Page,
    Plate,
    Quantity,
    Row,
    Series,
    Strip,
    Table,
    charts,
    numbers,
    tables,
)

NASTY = "<script>alert('x')</script>\n\"quoted\" & $title \x00 \udcff {braces}"
VOID = {"meta", "img", "br", "input", "line", "rect", "circle", "path", "polyline"}


class Reader(HTMLParser):
    """Checks that elements nest, and keeps what a test asks about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def digits(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 1, 5, 4), dtype=np.uint8)


def likelihood(kind: str = "exact", nats: float = -90.0, **other: object) -> MeanLikelihood:
    about = {"dims": 784, "n": 10_000, "measure": "mass", "data": "mnist:test", "how": "chain rule"} | other
    return MeanLikelihood(kind=kind, nats=nats, **about)  # type: ignore[arg-type]


def distance(value: float, **other: object) -> Quantity:
    about: dict[str, object] = {"name": "FD-pixels", "group": "Distances", "protocol": "raw pixels", "better": "lower"}
    return Quantity(value=value, **(about | other))  # type: ignore[arg-type]


def full_page(name: str = "PixelCNN", words: str = "words") -> Page:
    picture = Plate(image=report.grid(digits()), alt=words, caption=words, protocol=words)
    cells = report.cells(digits(3))
    strip = Strip(
        rows=(cells, cells),
        alt=words,
        caption=words,
        row_labels=(words, "b"),
        column_labels=("1", words, "3"),
        slider=True,
    )
    chart = Chart(title=words, series=[Series(words, [0, 1, 2], [3.0, math.nan, 1.0])], y_label=words, caption=words)
    section = ModelSection(
        name=name,
        sentence=words,
        family=words,
        paper=Link(words, "https://arxiv.org/abs/1601.06759?a=1&b='\">"),
        cover=picture,
        facts=[Fact(words, words), Fact("command", words, code=True)],
        samples=picture,
        curves=[chart],
        progress=strip,
        neighbors=strip,
        interpolation=strip,
        reconstructions=strip,
        more=[(words, picture)],
        notes=[words],
    )
    histogram = Histogram(name=words, labels=["0", words], shares=[0.25, 0.75], expected=[0.5, 0.5], protocol=words)
    row = Row(
        model=name,
        likelihoods=[likelihood(how=words, data=words), likelihood("lower bound", -100.0, how="ELBO")],
        values=[distance(1.0, floor=0.5, protocol=words, data=words, n=words), histogram],
    )
    table = Table(rows=[row, Row(model="DCGAN", no_likelihood=NO_LIKELIHOOD)], notes=[words])
    return Page(title=words, intro=f"{words}\n\n{words}", facts=[Fact("data", words)], models=[section], table=table)


# ---------------------------------------------------------------- pictures


def test_grid_of_one_channel_is_exact() -> None:
    images = np.array([[[[10, 20]]], [[[30, 40]]], [[[50, 60]]]], np.uint8)
    sheet = np.asarray(report.grid(images, columns=2, pad=1))
    assert sheet.tolist() == [[10, 20, 0, 30, 40], [0, 0, 0, 0, 0], [50, 60, 0, 0, 0]]
    large = np.asarray(report.grid(images, columns=2, pad=1, scale=3))
    assert (large == sheet.repeat(3, 0).repeat(3, 1)).all()


def test_grid_of_three_channels_keeps_colors() -> None:
    image = report.grid(torch.tensor([[[[255]], [[0]], [[7]]]], dtype=torch.uint8))
    assert image.mode == "RGB" and image.getpixel((0, 0)) == (255, 0, 7)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_grid_shows_other_channels_side_by_side(channels: int) -> None:
    images = np.arange(channels, dtype=np.uint8).reshape(1, channels, 1, 1)
    assert np.asarray(report.grid(images)).tolist() == [list(range(channels))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_grid_of_floats_maps_minus_one_to_one_and_cuts_off(dtype: torch.dtype) -> None:
    images = torch.tensor([-1.0, 0.0, 1.0, -9.0, 9.0], dtype=dtype, requires_grad=True).reshape(1, 1, 1, 5)
    assert np.asarray(report.grid(images)).tolist() == [[0, 128, 255, 0, 255]]


def test_every_level_of_a_byte_survives_the_float_scale() -> None:
    levels = torch.arange(256)
    images = (levels.float() * (2 / 255) - 1).reshape(1, 1, 16, 16)
    assert np.asarray(report.grid(images)).ravel().tolist() == levels.tolist()


@pytest.mark.parametrize(("n", "size"), [(1, (4, 5)), (5, (3 * 6 - 2, 2 * 7 - 2)), (9, (3 * 6 - 2, 3 * 7 - 2))])
def test_grid_is_nearly_square(n: int, size: tuple[int, int]) -> None:
    assert report.grid(digits(n)).size == size


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, 1, 2, 2), np.uint8),
        np.zeros((1, 2, 2), np.uint8),
        np.zeros((1, 1, 2, 2), np.int64),
        np.full((1, 1, 2, 2), np.nan, np.float32),
    ],
)
def test_grid_refuses_what_is_no_batch_of_images(images: np.ndarray) -> None:
    with pytest.raises(UsageError):
        report.grid(images)


def test_strip_puts_each_batch_on_a_row() -> None:
    rows = digits(6).reshape(2, 3, 1, 5, 4)
    sheet = np.asarray(report.strip(rows, pad=0))
    assert (sheet == np.concatenate([np.concatenate(list(r[:, 0]), 1) for r in rows], 0)).all()
    colors = torch.rand(2, 3, 3, 5, 4)
    assert np.array_equal(report.strip(colors), report.grid(colors.flatten(0, 1), columns=3))
    with pytest.raises(UsageError, match="one shape"):
        report.strip([digits(2), digits(3)])


def test_scatter_draws_points_where_they_are() -> None:
    corners = np.array([[0.0, 0.0], [1.0, 1.0]])
    picture = np.asarray(report.scatter(np.array([[1.0, 1.0]]), truth=corners, side=100)).astype(int)
    blue = np.argwhere(picture[:, :, 2] - picture[:, :, 0] > 60)
    assert blue[:, 0].max() < 50 < blue[:, 1].min(), "y goes up, x to the right"
    far = np.asarray(report.scatter(np.array([[1e9, 0.5]]), truth=corners, side=100)).astype(int)
    assert (far[:, :, 2] - far[:, :, 0] > 60).any(), "a point outside the frame is drawn on its edge"
    for bad in (np.zeros((0, 2)), np.zeros((3, 3)), np.array([[np.inf, 0.0]])):
        with pytest.raises(UsageError):
            report.scatter(bad)
    assert report.scatter(torch.zeros(5, 2)).size == (480, 480)


def test_png_carries_its_text(tmp_path: Path) -> None:
    text = {"seed": "7", "model": "pixelcnn <b>", "note": "Gauß 數字\nsecond line"}
    path = report.save_png(report.grid(digits()), tmp_path / "new" / "a.png", text)
    with Image.open(path) as image:
        assert image.text == {"Software": "Triptych", **text}  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(image), np.asarray(report.grid(digits())))
    assert b"tEXtseed\x007" in path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["a.png"], "nothing temporary is left"


@pytest.mark.parametrize("text", [{"": "x"}, {"k" * 80: "x"}, {"數": "x"}, {"a\nb": "x"}, {"k": "a\0b"}])
def test_png_text_that_the_format_does_not_allow(text: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="PNG text"):
        pictures.png(report.grid(digits()), text)


def test_gif_holds_every_frame(tmp_path: Path) -> None:
    frames = [report.grid(digits(4)[i : i + 1]) for i in range(4)]
    with Image.open(report.gif(frames, tmp_path / "a.gif", milliseconds=100)) as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]
        for i, frame in enumerate(frames):
            image.seek(i)
            assert np.array_equal(np.asarray(image.convert("L")), np.asarray(frame))
            assert image.info["duration"] == (800 if i == 3 else 100)
    with Image.open(report.gif(frames[:1] * 3, tmp_path / "still.gif")) as image:
        assert image.n_frames == 3, "pictures of training that did not change"  # type: ignore[attr-defined]
    for bad in ([], [frames[0], report.grid(digits())]):
        with pytest.raises(UsageError):
            report.gif(bad, tmp_path / "b.gif")


# ---------------------------------------------------------------- files


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_atomic(tmp_path / "a.txt", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="disk is full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_reader_of_the_old_file_never_sees_the_new_one(tmp_path: Path) -> None:
    with write_atomic(tmp_path / "a.txt", b"old").open("rb") as reader:
        write_atomic(tmp_path / "a.txt", b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_writing_over_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        write_atomic(tmp_path, b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot write"):
        write_atomic(tmp_path / "file" / "a", b"x")


# ---------------------------------------------------------------- charts


def check_svg(text: str) -> Reader:
    """Nested right, and every coordinate a finite number."""
    reader = Reader(text)
    places = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "points", "viewBox", "data-box")
    for _, attributes in reader.elements:
        for name in places:
            for part in re.split(r"[ ,]+", attributes.get(name) or "0"):
                assert math.isfinite(float(part)), (name, part)
        for name in ("data-x0", "data-x1", "data-y0", "data-y1"):
            assert math.isfinite(float(attributes.get(name) or 0))
    return reader


NAN, INF = math.nan, math.inf
HARD = {
    "no series": [],
    "empty": [Series("a", [], [])],
    "one point": [Series("a", [3], [4.0])],
    "constant": [Series("a", range(9), [5.0] * 9)],
    "zeros": [Series("a", range(9), [0.0] * 9)],
    "nan and inf": [Series("a", range(6), [1.0, NAN, INF, -INF, 2.0, 3.0])],
    "all nan": [Series("a", range(3), [NAN] * 3)],
    "nan in x": [Series("a", [0, NAN, 2], [1.0, 2.0, 3.0])],
    "enormous": [Series("a", range(4), [1e308, -1e308, 1e299, -1e299])],
    "tiny": [Series("a", range(4), [5e-324, 1e-310, 0.0, 1e-300])],
    "nearly constant": [Series("a", range(3), [1e16, 1e16 + 2, 1e16])],
    "long with a spike": [Series("a", range(5000), [0.0] * 2500 + [1e9] + [0.0] * 2499), Series("b", [1], [1])],
    "negative": [Series("a", range(3), [-3.0, -2.0, -1.0])],
}


@pytest.mark.parametrize("log", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("series", HARD.values(), ids=HARD.keys())
def test_charts_are_finite_whatever_comes(series: list[Series], log: tuple[bool, bool]) -> None:
    check_svg(charts.lines(Chart(title="t", series=series, log_x=log[0], log_y=log[1])))


@settings(max_examples=60, deadline=None, derandomize=True)
@example([1.2658076329569744e43, 7.041288684978606e-266], False, True)
@given(st.lists(st.floats(), max_size=12), st.booleans(), st.booleans())
def test_charts_are_finite_for_any_floats(values: list[float], log_x: bool, log_y: bool) -> None:
    series = [Series("a", values, values[::-1])]
    check_svg(charts.lines(Chart(title="t", series=series, log_x=log_x, log_y=log_y)))


def test_a_gap_breaks_the_line_and_is_counted() -> None:
    chart = Chart(title="loss", series=[Series("g", range(5), [1.0, 2.0, NAN, 3.0, 4.0])])
    lines = [a for tag, a in check_svg(charts.lines(chart)).elements if tag == "polyline"]
    assert len(lines) == 2
    assert charts.left_out(chart) == "Left out: 1 of g (not finite)."
    assert "no finite values" in charts.summary(Chart(title="t", series=HARD["all nan"]))


def test_lines_lie_where_their_values_are() -> None:
    chart = Chart(title="t", series=[Series("a", [0, 10], [0.0, 1.0]), Series("b", [0, 10], [1.0, 0.0])], smooth=1)
    reader = check_svg(charts.lines(chart))
    a, b = ([float(v) for v in re.split("[ ,]", line["points"] or "")] for line in reader.all("polyline"))
    assert a[0] == b[0] and a[2] == b[2] and a[1] == b[3] > a[3] == b[1], "low values lie low"
    assert {"a", "b", "step", "0.4"} <= set(reader.words)


def test_ticks_are_round_and_inside() -> None:
    axis = charts.Axis(0.0, 103.0, False, 0, 1)
    assert axis.ticks() == [0, 20, 40, 60, 80, 100]
    assert charts.Axis(0.5, 2e4, True, 0, 1).ticks() == [1, 10, 100, 1000, 10000]
    assert [label for _, label in charts.tick_labels(charts.Axis(0, 60_000, False, 0, 1))][1:3] == ["10k", "20k"]


def test_running_mean_skips_what_is_not_finite() -> None:
    y = charts.running_mean([1.0, 2.0, NAN, 4.0, 6.0], 3)
    assert y[:2] == [1.5, 1.5] and math.isnan(y[2]) and y[3:] == [5.0, 5.0]


def test_thinning_keeps_spikes_and_ends() -> None:
    run = [(float(i), 0.0) for i in range(10_000)]
    run[4321] = (4321.0, 9.0)
    thin = charts.thin(run, 100)
    assert run[4321] in thin and thin[0] == run[0] and thin[-1] == run[-1] and len(thin) <= 110
    assert thin == sorted(thin)


def test_bars_are_finite_and_say_their_shares() -> None:
    reader = check_svg(charts.bars(["0", "1", "2"], [0.5, NAN, 0.0], [0.3, 0.3, INF]))
    assert reader.all("svg")[0]["aria-label"] == "0: 50.0 %, 1: not finite, 2: 0.0 %"
    check_svg(charts.bars([], []))
    with pytest.raises(UsageError):
        charts.bars(["0"], [1.0, 2.0])


def test_a_series_needs_as_many_x_as_y() -> None:
    with pytest.raises(UsageError, match="'g' has 1 x and 2 y"):
        Series("g", [1], [1, 2])


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.significant(1234.5), "1,234"),
        (numbers.significant(0.0123456), "0.01235"),
        (numbers.significant(1e-7), "1.000e-7"),
        (numbers.significant(-2.5e12), "-2.500e12"),
        (numbers.significant(math.inf), "not finite"),
        (numbers.with_error(93.1234, 0.3412), "93.12 ± 0.34"),
        (numbers.with_error(93.1234, 12.0), "93 ± 12"),
        (numbers.seconds(0.00123), "1.23 ms"),
        (numbers.seconds(75), "1 min 15 s"),
        (numbers.seconds(59.99), "60.0 s"),
        (numbers.seconds(7265), "2 h 1 min"),
        (numbers.seconds(0), "0 s"),
        (numbers.count(447_681), "447,681"),
        (numbers.count(1_234_567), "1.23 M"),
        (numbers.percent(0.123), "12.3 %"),
    ],
)
def test_numbers_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


# ---------------------------------------------------------------- tables


def marked(*likelihoods: MeanLikelihood) -> set[int]:
    rows = [Row(model=str(i), likelihoods=[one]) for i, one in enumerate(likelihoods)]
    return {r for r, _ in tables.best_likelihoods(Table(rows=rows))}


def test_the_best_of_equal_kind_is_marked() -> None:
    assert marked(likelihood(nats=-93), likelihood(nats=-88), likelihood("lower bound", -70)) == {1}
    assert marked(likelihood(nats=-93), likelihood(nats=-93)) == {0, 1}
    assert marked(likelihood(nats=-93)) == set(), "one alone is not the best of anything"


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "lower bound"},
        {"kind": "estimate"},
        {"measure": "density"},
        {"data": "mnist:train"},
        {"n": 100},
        {"dims": 1024},
        {"quantity": "log p(x | label)"},
    ],
)
def test_unlike_likelihoods_are_never_ranked(other: dict[str, object]) -> None:
    assert marked(likelihood(), likelihood(**({"nats": -50.0} | other))) == set()  # type: ignore[arg-type]


def test_bounds_by_different_methods_are_not_ranked_but_exact_values_are() -> None:
    assert marked(likelihood("lower bound", -99, how="ELBO"), likelihood("lower bound", -98, how="IWAE 50")) == set()
    assert marked(likelihood(nats=-99, how="chain rule"), likelihood(nats=-98, how="chain rule, bf16")) == {1}


def test_values_within_the_noise_share_the_mark_and_nan_never_has_it() -> None:
    assert marked(*(likelihood(nats=n, stderr=0.3) for n in (-93.0, -92.5, -90.0, -90.5))) == {2, 3}
    assert marked(likelihood(nats=math.nan), likelihood(nats=-90), likelihood(nats=-91)) == {1}
    assert marked(likelihood(nats=-90, stderr=math.nan), likelihood(nats=-91)) == {0}


def test_measurements_are_ranked_only_under_one_protocol() -> None:
    def best(*values: Quantity) -> set[int]:
        rows = [Row(model=str(i), values=[one]) for i, one in enumerate(values)]
        return tables.best_values(Table(rows=rows), "Distances", "FD-pixels")

    assert best(distance(3), distance(2), distance(4)) == {1}
    assert best(distance(3, better="higher"), distance(2, better="higher")) == {0}
    assert best(distance(3), distance(2, protocol="other resizer")) == set()
    assert best(distance(3), distance(2, n="500")) == set()
    assert best(distance(3, better=None), distance(2, better=None)) == set()


def test_signs_and_bits() -> None:
    assert likelihood(nats=-93.1234).shown() == "93.12"
    assert likelihood("lower bound", -100.0, stderr=0.25).shown() == "≤ 100.00 ± 0.25"
    assert likelihood("estimate", -100.0).shown() == "≈ 100.00"
    assert likelihood(nats=-784 * math.log(2)).bits_per_dim == pytest.approx(1.0)
    for bad in ({"kind": "upper bound"}, {"dims": 0}, {"n": 0}):
        with pytest.raises(UsageError):
            likelihood(**bad)  # type: ignore[arg-type]


def test_flat_table_and_markdown() -> None:
    rows = [
        Row(model="a|b", likelihoods=[likelihood(nats=-93)], values=[distance(3, floor=1)]),
        Row(model="c", likelihoods=[likelihood(nats=-88), likelihood("estimate", -87)], values=[distance(2)]),
        Row(model="gan", no_likelihood=NO_LIKELIHOOD),
    ]
    flat = report.flat(Table(rows=rows, notes=["a note"]))
    assert [[cell.text for cell in row] for row in flat.rows] == [
        ["a|b", "exact", "93.00", "0.171", "10,000", "3.00 (floor 1.0)"],
        ["c", "exact", "88.00", "0.162", "10,000", "2.00"],
        ["", "estimate", "≈ 87.00", "0.160", "10,000", ""],
        ["gan", NO_LIKELIHOOD, "—", "—", "—", "—"],
    ]
    assert {c.text for row in flat.rows for c in row if c.best} == {"88.00", "2.00"}
    assert tables.RANKING_RULE in flat.footnotes and tables.BOUND_RULE in flat.footnotes
    assert "a note" in flat.footnotes and "FD-pixels: raw pixels." in flat.footnotes
    lines = report.markdown(Table(rows=rows)).splitlines()
    assert lines[2].startswith("| a\\|b | exact |") and "**88.00**" in lines[3]


def test_protocols_name_models_only_where_they_differ() -> None:
    rows = [
        Row(model="a", values=[distance(1), distance(1, name="KD")]),
        Row(model="b", values=[distance(1), distance(1, name="KD", protocol="other")]),
    ]
    assert tables.protocols(Table(rows=rows), "Distances") == [
        ("FD-pixels, KD (a)", "raw pixels"),
        ("KD (b)", "other"),
    ]


def test_histogram_in_characters() -> None:
    histogram = Histogram(name="d", labels=list("abcd"), shares=[1.0, 0.5, 0.0, math.nan], protocol="p")
    assert histogram.shown() == "█▅··"
    with pytest.raises(UsageError, match="equally many"):
        Histogram(name="d", labels=["a"], shares=[0.5, 0.5], protocol="p")


# ---------------------------------------------------------------- the page


def check_page(text: str) -> Reader:
    """Well formed, loads nothing, links that lead somewhere, words for every picture and table."""
    reader = Reader(text)
    ids = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.elements:
        assert not {"srcset", "action", "formaction", "background", "poster", "data"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        if "src" in attributes:
            assert tag == "img" and (attributes["src"] or "").startswith("data:image/png;base64,")
        if "href" in attributes:
            href = attributes["href"] or ""
            assert tag == "a" and (href.startswith(("https://", "http://")) or href[1:] in ids)
        if tag == "img":
            assert attributes["alt"]
    tags = [tag for tag, _ in reader.elements]
    assert tags.count("table") == tags.count("caption")
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(tags)
    assert tags.count("script") == 1 and tags.count("style") == 1
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]
    policy = reader.all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'")
    return reader


def test_a_full_page_is_whole() -> None:
    reader = check_page(report.render(full_page()))
    for words in ("The run", "Comparison", "Samples", "Training progress", "Nearest training examples"):
        assert words in reader.text
    for words in ("Interpolation", "Reconstructions", NO_LIKELIHOOD, "lower bound", "≤ 100.00", tables.BOUND_RULE):
        assert words in reader.text
    assert "−log p(x) = 90.00 nats, exact" in reader.text, "the cover repeats the likelihood with its kind"
    assert any("data-slider" in attributes for _, attributes in reader.elements)


def test_the_policy_allows_the_page_s_own_script_only() -> None:
    import base64
    import hashlib

    text = report.render(full_page(words=NASTY))
    script = re.search("<script>(.*?)</script>", text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in (Reader(text).all("meta")[1]["content"] or "")


def test_any_text_is_escaped() -> None:
    text = report.render(full_page(name=NASTY, words=NASTY))
    reader = check_page(text)
    assert text.count("<script") == 1
    shown = NASTY.replace("\x00", "\ufffd").replace("\udcff", "\ufffd")
    assert shown in reader.words, "and it reads as it was written"
    text.encode("utf-8")


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_text_keeps_the_page_whole(words: str) -> None:
    picture = Plate(image=Image.new("L", (2, 2)), alt=words or "alt", caption=words, protocol=words)
    section = ModelSection(name=words, samples=picture, curves=[Chart(title=words, series=[Series(words, [1], [2])])])
    check_page(report.render(Page(title=words, intro=words, models=[section], notes=[words])))


def test_what_is_missing_does_not_appear() -> None:
    reader = check_page(report.render(Page(title="Empty")))
    assert "Comparison" not in reader.text and "The run" not in reader.text
    assert not reader.all("table") and not reader.all("img") and not reader.all("figure")
    bare = check_page(report.render(Page(title="One", models=[ModelSection(name="vae")])))
    for words in ("Samples", "Training progress", "Interpolation", "Reconstructions", "Protocol"):
        assert words not in bare.text


def test_the_page_marks_best_values_within_a_kind() -> None:
    rows = [
        Row(model="a", likelihoods=[likelihood(nats=-93)]),
        Row(model="b", likelihoods=[likelihood(nats=-91)]),
        Row(model="c", likelihoods=[likelihood("lower bound", -80)]),
        Row(model="d", likelihoods=[likelihood("estimate", -70)]),
    ]
    text = report.render(Page(title="t", table=Table(rows=rows)))
    assert re.findall(r'<td class="best">([^<]*)', text) == ["91.00"]
    assert re.findall(r'<span class="kind [a-z-]*">([^<]*)', text) == ["exact", "exact", "lower bound", "estimate"]


def test_null_floors_stand_beside_their_values() -> None:
    rows = [Row(model="a", values=[distance(7.2, floor=0.84)]), Row(model="b", values=[distance(5.1)])]
    text = report.render(Page(title="t", table=Table(rows=rows)))
    assert "7.20<small>floor 0.84</small>" in text and "5.10</td>" in text


def test_write_is_what_render_says(tmp_path: Path) -> None:
    path = report.write(full_page(), tmp_path / "runs" / "report.html")
    assert path.read_text("utf-8") == report.render(full_page())


def test_links_lead_to_the_web() -> None:
    for url in ("javascript:alert(1)", "data:text/html,x", "//example.org", ""):
        with pytest.raises(UsageError, match="https"):
            Link("paper", url)


def test_strips_need_equal_rows_and_fitting_labels() -> None:
    cells = report.cells(digits(3))
    for rows, more in (((cells, cells[:2]), {}), ((), {}), (((), ()), {}), ((cells,), {"row_labels": ("a", "b")})):
        with pytest.raises(UsageError, match="strip"):
            Strip(rows=rows, alt="x", **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the model card


def card(**other: object) -> str:
    about: dict[str, object] = {
        "name": "pixelcnn",
        "title": "PixelCNN: digits",
        "sentence": "Predicts pixels.",
        "family": "autoregressive",
        "dataset": "mnist",
        "samples": "float32 [n, 1, 28, 28] in [-1, 1]",
        "command": "triptych train pixelcnn --data mnist",
    }
    return report.model_card(Card(**(about | other)))  # type: ignore[arg-type]


def test_model_card_says_kind_and_protocol() -> None:
    row = Row(
        model="pixelcnn", likelihoods=[likelihood(nats=-93.12)], values=[distance(1e-5, floor=0.8), distance(math.nan)]
    )
    text = card(
        results=row,
        license="apache-2.0",
        folder="runs/my model",
        training=[Fact("seed", "0")],
        paper=Link("van den Oord, 2016", "https://arxiv.org/abs/1601.06759"),
        bibtex="@article{x}",
        picture="samples/final (1).png",
        limits=["Only digits."],
    )
    head, body = text[4:].split("\n---\n", 1)
    assert text.startswith('---\nlibrary_name: triptych\nlicense: "apache-2.0"\n')
    assert '    - type: "-log p(x) (nats, exact)"' in head and "      value: 93.12" in head
    assert "      value: 1.0e-05" in head and "nan" not in head
    assert "| −log p(x), **exact** | 93.12 nats, 0.171 bits/dim | chain rule; mass; mnist:test, n = 10,000 |" in body
    assert "null floor 0.80" in body and "triptych sample 'runs/my model' -n 16" in body
    assert "tt.load('runs/my model')" in body and "![Samples](samples/final%20%281%29.png)" in body
    assert "- seed: 0" in body and "@article{x}" in body and "Only digits." in body


def test_model_card_without_likelihood_or_results() -> None:
    assert NO_LIKELIHOOD in card(results=Row(model="gan", no_likelihood=NO_LIKELIHOOD))
    bare = card()
    assert "## Results" not in bare and "## Citation" not in bare and "metrics:" not in bare and "license" not in bare


def test_model_card_escapes() -> None:
    text = card(
        title='a"b\n---\nlicense: x', dataset="mnist\n- evil", sentence="<script>|", given="tt.Label(torch.arange(3))"
    )
    head = text.split("\n---\n")[0]
    assert '- "mnist - evil"' in head and "\nlicense" not in head
    assert "\\<script\\>\\|" in text
    assert "import torch\n" in text and "given = tt.Label(torch.arange(3))\nx = model.sample(len(given), given" in text
    assert "````bash\na```b\n````" in card(command="a```b")


def test_sound_can_be_heard_and_the_policy_lets_it() -> None:
    picture = Plate(image=Image.new("L", (4, 4)), alt="two <clips>", wav=b"RIFF")
    html = report.render(Page(title="t", models=[ModelSection(name="wavenet", samples=picture, real=picture)]))
    assert html.count("<audio controls") == 2 and "media-src data:" in html and "two <clips>" not in html
    assert "<h3>Real</h3>" in html


def test_a_matrix_is_as_dark_as_its_shares() -> None:
    image = np.asarray(pictures.matrix(np.array([[9, 1], [0, 10]]), ["cat", "a very long name indeed"]))
    assert len({tuple(color) for color in image.reshape(-1, 3)}) > 3
    with pytest.raises(UsageError, match="names for counts"):
        pictures.matrix(np.zeros((2, 3)), ["a", "b"])
