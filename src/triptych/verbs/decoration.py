"""What a run leaves beside its checkpoints: its log, pictures, an animation, a card.

None of it is needed to go on, so none of it may cost a run or a report: what cannot be written is said and left out,
and so is what cannot be read.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from triptych.core.reading import MOST_JSON, expect, parse_json, read_file
from triptych.data.files import reason_of
from triptych.errors import IntegrityError
from triptych.media import pictures
from triptych.media.images import BadImage, open_picture

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
SAMPLES = "samples"
MOST_SHOTS = 1000
"""Pictures of one run that are looked at; a run takes 9 unless told otherwise."""


@contextmanager
def decorating(what: str | Path) -> Iterator[None]:
    """Whatever goes wrong within is logged, and the run goes on."""
    try:
        yield
    except Exception as e:
        log.warning("%s is left out: %s", what, str(e).strip() or type(e).__name__)


def log_lines(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """The lines of a metrics.jsonl that are whole, as they stand and as they read; the others are named in a warning.

    A last line without its end is still being written, or was when its run was killed: nothing is said of it.
    """
    try:
        text = read_file(file, MOST_JSON).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as e:
        log.warning("%s is left out: %s", file, reason_of(e))
        return []
    whole, bad = [], list[str]()
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            whole.append((line, log_line(line)))
        except IntegrityError as e:
            bad.append(f"line {number}: {e}")
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        log.warning("%s: %s%s; left out", file, bad[0], more)
    return whole


def mark_of(file: Path) -> dict[str, Any] | None:
    """How long a log is and its sha256, for the checkpoint that is saved beside it."""
    try:
        data = read_file(file, MOST_JSON)
    except OSError:
        return None
    return {"bytes": len(data), "sha256": sha256(data).hexdigest()}


def check_mark(file: Path, mark: Any) -> None:
    """Warns if a log does not begin with what was logged when the checkpoint was saved: a digit may have changed."""
    if not isinstance(mark, dict) or type(mark.get("bytes")) is not int:  # of an earlier version
        return
    try:
        data = read_file(file, MOST_JSON)[: max(0, mark["bytes"])]
    except OSError:
        return
    if sha256(data).hexdigest() != mark.get("sha256"):
        log.warning("%s is not what its run logged (its sha256 differs): some of its numbers may be wrong", file)


def log_line(line: str) -> dict[str, Any]:
    """Raises IntegrityError unless these are a step, the seconds, and other numbers by name."""
    values: dict[str, Any] = parse_json(line, "the line")
    expect(values, {"step": int, "seconds": (int, float)}, "the line")
    for name, value in values.items():
        expect(value, (int, float), f"the line: {name}")
        if type(value) is int and abs(value) >= 2**53:
            raise IntegrityError(f"the line: {name} is out of any range")
    if not 0 <= values["step"] or not 0 <= values["seconds"] < math.inf:
        raise IntegrityError("the line: step or seconds is out of any range")
    return values


def metrics(path: str | Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl."""
    return [values for _, values in log_lines(Path(path) / METRICS)]


def shots_of(path: Path) -> list[Path]:
    """The files of the pictures that a run took, in order."""
    found = (path / SAMPLES).glob("step-*.png")
    return sorted(file for file in found if re.fullmatch("step-[0-9]{1,18}", file.stem))[:MOST_SHOTS]


def shots(path: Path) -> list[tuple[int, Image.Image]]:
    """Those pictures, each with its step. One that cannot be read, or differs in size from most, is left out."""
    found = dict[Path, Image.Image]()
    for file in shots_of(path):
        try:
            with open_picture(read_file(file, MOST_JSON)) as image:
                found[file] = image.convert("RGB")
        except (OSError, BadImage) as e:
            log.warning("%s is left out: %s", file, reason_of(e) if isinstance(e, OSError) else e)
    sizes = Counter(image.size for image in found.values()).most_common(1)
    for file in [file for file, image in found.items() if image.size != sizes[0][0]]:
        log.warning("%s is left out: it is %s, where most are %s", file, found.pop(file).size, sizes[0][0])
    return [(int(file.stem.removeprefix("step-")), image) for file, image in found.items()]


def animate(path: Path) -> None:
    """The run's pictures as one animation."""
    frames = [picture for _, picture in shots(path)]
    if len(frames) > 1:
        pictures.gif(frames, path / SAMPLES / "progress.gif", milliseconds=400)
