"""Data for a model that is there already: what the model and its run know of them is not asked again."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Unpack

from triptych.core import Audio, Data, Generative, Space, UsageError, planar
from triptych.core.reading import expect
from triptych.data import Served, data
from triptych.data.builtin import BUILTIN
from triptych.data.sides import SizesDiffer
from triptych.data.sources import LARGEST_SIDE, split_of
from triptych.io import commit, configs, folder
from triptych.media import medium_of
from triptych.media.images import SUFFIXES
from triptych.media.reading import Reading
from triptych.options import Opening, declared
from triptych.tasks.task import Task, posed
from triptych.verbs.posing import saved_task
from triptych.verbs.shipped import FOLDER

logger = logging.getLogger(__name__)

KEPT: dict[str, Any] = {"source": (str,), **{name: o.kept for name, (_, o) in declared().items() if o.kept}}
"""All that a run may say of how its data were opened, with the types: what is read, and never where is written."""


@dataclass(frozen=True)
class Resumed:
    """What a run that is to go on says of itself."""

    model: str
    """Or its task."""
    opened: Mapping[str, Any]
    """Its data, as options of `data`; empty if it does not say."""


def resumed(run: str | Path) -> Resumed | None:
    """What a run knows of its model and its data; None if there is none yet."""
    if not commit.committed(Path(run)):
        return None
    about, opened = folder.about(run), saved(run)
    data = about.get("data")
    if opened and isinstance(data, dict):
        expect(data, {"split?": (str, type(None)), "mutate?": (int, float, type(None))}, f"{run}/{folder.CONFIG}: data")
        opened |= {name: data[name] for name in ("split", "mutate") if data.get(name)}
    task = saved_task(Path(run))
    return Resumed(task.name if task else str(about.get("model")), opened)


def saved(run: str | Path) -> dict[str, Any]:
    """How the data of a run were opened, as options of `data`; empty if it does not say."""
    if not commit.committed(Path(run)):
        return {}
    about = folder.about(run).get("data")
    opened = about.get("opened") if isinstance(about, dict) else None
    if not isinstance(opened, dict) or not isinstance(opened.get("source"), str):
        return {}
    where = f"{Path(run) / folder.CONFIG}: data: opened"
    found = {name: value for name, value in opened.items() if name in KEPT and value is not None}
    expect(found, {f"{name}?": kinds for name, kinds in KEPT.items()}, where)
    if isinstance(found.get("size"), list):
        found["size"] = tuple(found["size"])
    expect(found.get("pair", {}), {name: str for name in found.get("pair", {})}, f"{where}: pair")
    if "sound" in found:
        found["sound"] = configs.from_json(Audio, found["sound"], where)
    return found


def readings(run: str | Path) -> dict[str, Reading]:
    """How a run's data were read, column by column; empty if it does not say. Raises UsageError, naming the field, for
    what no reading is."""
    about = folder.about(run).get("data") if commit.committed(Path(run)) else None
    said = about.get("reading") if isinstance(about, dict) else None
    where = f"{Path(run) / folder.CONFIG}: data: reading"
    if said is None:
        return {}
    expect(said, dict.fromkeys(said, dict) if isinstance(said, dict) else {}, where)
    found = {name: configs.from_json(Reading, one, f"{where}: {name}") for name, one in said.items()}
    for name, reading in found.items():
        if not all(1 <= side <= LARGEST_SIDE for side in reading.size or ()):
            raise UsageError(f"{where}: {name}: size={reading.size}: sides are from 1 to {LARGEST_SIDE}")
    return found


def tell(run: str | Path, known: Mapping[str, Any]) -> None:
    """Says which files are opened because a run names them: the run may have come from anybody."""
    places = [str(place) for place in (known["source"], *known.get("pair", {}).values())]
    files = [place for place in places if place.partition(":")[0] not in BUILTIN]
    if files:
        own = Path(run).name if Path(run).parent == FOLDER else str(run)
        told(own, ", ".join(files))


@cache
def told(run: str, files: str) -> None:
    """Once, though several splits are opened."""
    logger.info("%s names its data: %s", run, files)


def own(run: str | Path, model: Generative[Any], split: str) -> Served:
    """A split of what a run was trained on. Raises UsageError if the run does not say, or it is no longer there."""
    return open_for(model, run, None, split=split)


def open_to_train(x: Space, fixed: bool, usual: str = "the model's usual size", /, **options: Any) -> Served:
    """Opens data for a model whose x is usually `x`, and if it is `fixed`, always.

    Pictures of several sizes, of which nothing says the size to bring them to, are brought to that of `x`; or if any is
    smaller, to squares whose side is the largest power of two that none is smaller than. That is said aloud, with
    `usual` for the reason.
    """
    try:
        return data(**options)
    except SizesDiffer as e:
        if not planar(x):
            raise
        size, why = (x.height, x.width), usual
        if not fixed and (shortest := e.shortest()) < max(size):
            side = 1 << shortest.bit_length() - 1
            size, why = (side, side), f"as the shortest side of them has {shortest} pixels"
        brought = f"brought to {size[0]} x {size[1]} (height x width), {why}"
        logger.warning("%s: pictures of several sizes are %s; size= says another", e.tree.name, brought)
        return data(**{**options, "size": size})


def open_for(
    model: Generative[Any],
    run: str | Path | None,
    source: str | Path | None,
    *,
    lossless: bool = False,
    **asked: Unpack[Opening],
) -> Any:
    """Opens `source`, or else what the run was trained on, as the model takes it.

    `asked` are options of `data` that a person gave: they come before what the model and its run say, unless they are
    None. With `lossless`, a source that is named is taken as it is: nothing is resized or cut to two levels unasked.

    Data of a run that was trained for a task are posed as they were. Raises UsageError if nothing says what to open,
    and as `data` does.
    """
    task = saved_task(Path(run)) if run is not None else None
    said = {name: value for name, value in asked.items() if value is not None}
    found = opened(model, run, source, said, task, lossless)
    return found if task is None else posed(found, task)


def both_parts(model: Generative[Any], run: str | Path, source: str | Path | None, **asked: Any) -> tuple[Any, Any]:
    """What a model was, or might have been, trained on, and what it is measured by.

    Of a source these are its training and its test part; if it names another one ("photos:all"), it is measured by
    that, and the training part is that of the run's own data. `asked` are options of `data` but for the split. Raises
    UsageError if the parts would overlap, and as `open_for` does.
    """
    named, split = (None, None) if source is None else split_of(source)
    if split not in ("train", "all"):
        held = split or "test"
        return open_for(model, run, named, split="train", **asked), open_for(model, run, named, split=held, **asked)
    own = saved(run).get("source")
    if own is None:
        raise UsageError(f"{source}: {run} does not say what it was trained on, which this is to be measured beside")
    if split == "train" or same(str(named), own):
        why = "samples are compared with what was held out"
        raise UsageError(f"{source}: {why}; name the source without :{split}, or other data with :all")
    return open_for(model, run, None, split="train"), open_for(model, run, source, **asked)


def opened(
    model: Generative[Any],
    run: str | Path | None,
    source: str | Path | None,
    said: dict[str, Any],
    task: Task | None,
    lossless: bool,
) -> Served:
    known = saved(run) if run is not None else {}
    if source is None and "source" not in known:
        raise UsageError(f"{run} does not say what it was trained on; name the data: data=")
    if lossless and source is not None:
        return data(source, **{**reading(model), **said})
    if source is None or same(source, known.get("source")):
        if source is None and run is not None:
            tell(run, known)
        return data(**{**known, **reading(model), **said})
    options = {**binary(model, known), **columns(source, known), **reading(model), **said}
    if task is not None:
        return data(source, **{**task.opens(model.config.x), **options})
    x = model.config.x
    shape = medium_of(x).opens(x)
    if files(source):
        return data(source, **{**shape, **options})
    found = data(source, **options)
    if found.x.kind != x.kind or found.x.shape == x.shape:
        return found
    return data(source, **{**shape, **options})


def columns(source: str | Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """What a run knows of the columns of its own files, for others, which are likely laid out as they are (--x "" says
    that they are not)."""
    kept = ("x", "halves", "index", *([] if known.get("condition") in ("label", "caption") else ["condition"]))
    return {name: known[name] for name in kept if name in known} if files(source) else {}


def as_data(source: Any, model: Generative[Any] | None = None) -> Any:
    """What verbs of Python take for data: a `Data` as it is; a source by its name, opened as the model takes it; or
    arrays, all of them, and for a model of two levels cut at one half."""
    if isinstance(source, Data):
        return source
    if isinstance(source, str | Path):
        return data(source) if model is None else open_for(model, None, source)
    found, x = data(source, split="all"), model.config.x if model is not None else None
    two = x is not None and x.planar and x.values == 2 and found.x.planar and found.x.values != 2
    return data(source, split="all", binary="threshold") if two else found


def reading(model: Generative[Any]) -> dict[str, Any]:
    """How text and sound are read for a model: as its own tokens and length, or its own kind of sound."""
    opens = medium_of(model.config.x).opens(model.config.x)
    return {name: value for name, value in opens.items() if name in ("sound", "tokens", "length")}


def binary(model: Generative[Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """How images become two levels for a model of two: as its own data did, or else drawn."""
    x = model.config.x
    if not (x.planar and x.values == 2):
        return {}
    return {"binary": known.get("binary", "dynamic")}


def same(source: str | Path, other: Any) -> bool:
    """Whether two names are of one source."""
    if not isinstance(other, str):
        return False
    return str(source) == other or (Path(source).exists() and Path(source).absolute() == Path(other).absolute())


def files(source: str | Path) -> bool:
    """Whether a source may be files of any size, which only become one set when a size is given."""
    path = Path(str(source).rpartition(":")[0]) if not Path(source).exists() and ":" in str(source) else Path(source)
    packed = (path / "meta.json").is_file()
    one = path.suffix.lower() == ".zip" or path.suffix.lower() in SUFFIXES
    return str(path) not in BUILTIN and (one or (path.is_dir() and not packed))
