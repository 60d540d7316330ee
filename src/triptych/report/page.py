"""What a report is made of: plain frozen dataclasses, filled by the layer above and rendered by `report.html`.

Every piece that is left at its default does not appear.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from triptych.core import UsageError
from triptych.report.charts import Chart
from triptych.report.tables import Table


@dataclass(frozen=True)
class Link:
    """A text that leads to a web page. Raises UsageError for an address that is not http or https."""

    text: str
    url: str

    def __post_init__(self) -> None:
        if not self.url.lower().startswith(("https://", "http://")):
            raise UsageError(f"link {self.text!r}: the address must begin with https:// or http://, got {self.url!r}")


@dataclass(frozen=True)
class Fact:
    """A name and a value: "data", "mnist-binary, 60,000 training images"."""

    name: str
    value: str
    code: bool = False
    """Set as code, on lines of its own: a command to repeat the run."""


@dataclass(frozen=True, kw_only=True)
class Plate:
    """One image, shown large with its pixels visible."""

    image: Image.Image
    alt: str
    """What it shows, for those who cannot see it."""
    caption: str = ""
    protocol: str = ""
    """How it was made: seed, step, selection. Folded away until asked for."""
    pixelated: bool = True
    """False for drawings such as scatter plots."""
    wav: bytes = b""
    """A WAV file of what is shown, to hear below the picture."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Rows of small images: training progress, nearest neighbors, interpolations, reconstructions.

    Raises UsageError unless all rows have the same number of images and the labels fit.
    """

    rows: Sequence[Sequence[Image.Image]]
    alt: str
    caption: str = ""
    protocol: str = ""
    row_labels: Sequence[str] = ()
    """One a row: "step 500", "sample", "nearest training image"."""
    column_labels: Sequence[str] = ()
    """One a column, below: distances, positions along the walk."""
    slider: bool = False
    """Where JavaScript is on, a slider walks through the columns."""

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows}
        if len(widths) != 1 or 0 in widths:
            raise UsageError(
                f"strip {self.alt!r}: rows must hold equally many images, got {[len(r) for r in self.rows]}"
            )
        for what, labels, n in (
            ("row", self.row_labels, len(self.rows)),
            ("column", self.column_labels, len(self.rows[0])),
        ):
            if len(labels) not in (0, n):
                raise UsageError(f"strip {self.alt!r}: {len(labels)} {what} labels for {n} {what}s")


Figure = Plate | Strip | Chart


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """One trained model: what it is, how it was trained, what it draws."""

    name: str
    """As in the comparison table, whose likelihood is repeated under the cover."""
    sentence: str = ""
    """What the model is, in one sentence."""
    family: str = ""
    """ "GAN", "VAE", "autoregressive", ..."""
    paper: Link | None = None
    cover: Plate | None = None
    """A few samples for the head of the page, where the models stand side by side."""
    facts: Sequence[Fact] = ()
    samples: Figure | None = None
    real: Figure | None = None
    """Examples of the data, to hold the samples against."""
    curves: Sequence[Chart] = ()
    progress: Figure | None = None
    """The same latents at several steps."""
    neighbors: Figure | None = None
    """Samples above their nearest training images, with the distance."""
    interpolation: Figure | None = None
    reconstructions: Figure | None = None
    """Originals above, reconstructions below."""
    more: Sequence[tuple[str, Figure]] = ()
    """Anything else, each with its heading."""
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole report."""

    title: str
    intro: str = ""
    """Paragraphs, parted by an empty line."""
    facts: Sequence[Fact] = ()
    """What was trained, on what data and hardware, with which versions and seed, how long, by which command."""
    models: Sequence[ModelSection] = ()
    table: Table = field(default_factory=Table)
    notes: Sequence[str] = ()
