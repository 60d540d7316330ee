"""Rows that others hold, as the files that they would be: lists of PIL pictures, a torch Dataset, Hugging Face
datasets, Arrow tables and Parquet files. From there on they are opened as a folder is: sizes, classes, captions, bad
rows."""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from triptych.core import DataError, UsageError
from triptych.data.arrays import Arrays, from_memory
from triptych.data.files import Problem, sha256_file, sha256_of, shown
from triptych.data.splits import SPLITS
from triptych.data.values import UNKNOWN

TABLES = frozenset([".parquet", ".arrow", ".feather"])
X = ("image", "img", "picture", "photo", "x", "audio", "pixel_values", "images")
LABEL, TEXT = ("label", "labels", "class", "target", "y", "fine_label"), ("text", "caption")
BEGINS = {
    b"\xff\xd8": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
}
"""How files begin, and how their names end then."""
PLAIN = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Modes of pictures that a .png has too."""


class Held:
    """Files that are in memory. A `Tree`."""

    def __init__(self, name: str, contents: Mapping[str, bytes], stamp: str = ""):
        self.name, self.contents = name, contents
        self.files = {file: len(contents[file]) for file in sorted(contents)}
        self.problems = list[Problem]()
        self.stamp = stamp or sha256_of(*(f"{f}|{hashlib.sha256(contents[f]).hexdigest()}" for f in self.files))

    def read(self, name: str) -> bytes:
        return self.contents[name]

    def pieces(self, name: str) -> Iterator[bytes]:
        yield self.contents[name]


@dataclass(frozen=True)
class Rows:
    """What somebody holds of one split ("" where there is none)."""

    items: Iterable[Any]
    """x, pairs of x and its class, or x and more by name."""
    names: tuple[str, ...] = ()
    """What the numbers of classes stand for."""
    split: str = ""
    trusted: bool = True
    """Whether an item may name a file on the disk, and not only hold it."""


def from_others(source: Any) -> Arrays | Held:
    """What is in memory and has no name of ours: arrays as such, and everything else as files.

    Raises DataError for what is neither.
    """
    parts = rows_of(source)
    return from_memory(source) if parts is None else from_rows(type(source).__name__, parts)


def rows_of(source: Any) -> list[Rows] | None:
    """The rows of a source; None if it is no such thing. Raises UsageError for a stream."""
    home = type(source).__module__.partition(".")[0]
    if home == "datasets":
        if isinstance(source, dict):
            return [part for split, one in source.items() for part in hub_rows(one, str(split))]
        return hub_rows(source, "")
    if home == "pyarrow" and hasattr(source, "to_batches"):
        return [arrow_rows(source)]
    if isinstance(source, torch.utils.data.Dataset):
        names = getattr(source, "classes", ())
        plain = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        return [Rows(listed(source), tuple(names) if plain else ())]
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], list):
        x, y = source[0], list(source[1])
        if len(x) != len(y):
            raise DataError(f"there are {len(x)} items and {len(y)} classes: one each, please")
        return [Rows(list(zip(x, y, strict=True)))]
    rows = isinstance(source, list) and source and not isinstance(source[0], int | float)
    return [Rows(source)] if rows else None


def listed(source: Any) -> Iterator[Any]:
    """The items of a torch Dataset: by number where it says how many there are."""
    return (source[i] for i in range(len(source))) if hasattr(source, "__len__") else iter(source)


def hub_rows(source: Any, split: str) -> list[Rows]:
    """A split of Hugging Face datasets, with pictures as the files that they are. Raises UsageError for a stream."""
    if not hasattr(source, "__len__"):
        raise UsageError("a streamed dataset has no end that we know: take some of it, list(dataset.take(1000))")
    names = next((f.names for name, f in source.features.items() if name in LABEL and hasattr(f, "names")), ())
    batches = source.with_format("arrow").iter(batch_size=256)
    return [Rows((row for batch in batches for row in batch.to_pylist()), tuple(names), split)]


def arrow_rows(table: Any, split: str = "", *, trusted: bool = True) -> Rows:
    """An Arrow table; classes have names if Hugging Face datasets wrote it."""
    items = (row for batch in table.to_batches(max_chunksize=256) for row in batch.to_pylist())
    return Rows(items, noted_names(table.schema.metadata or {}), split, trusted)


def noted_names(metadata: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """The names of classes, as Hugging Face datasets notes them in the schema; none if it does not."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        found = next(features[name]["names"] for name in LABEL if "names" in features.get(name, {}))
    except (ValueError, KeyError, TypeError, StopIteration, AttributeError, RecursionError):
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


def from_files(paths: Mapping[Path, str], name: str) -> Held:
    """Parquet and Arrow files, each with its split. Raises UsageError without pyarrow, DataError."""
    parts = [arrow_rows(read_table(path), split, trusted=False) for path, split in paths.items()]
    found = from_rows(name, parts)
    if isinstance(found, Arrays):
        raise DataError(f"{name} holds pictures as lists of numbers; save them as files within it, or as .npz")
    return Held(name, found.contents, sha256_of(*(f"{path.name}|{sha256_file(path)}" for path in paths)))


def shards(folder: Path) -> dict[Path, str]:
    """The Parquet files of a folder that holds nothing else to train on, each with its split, by its name or folder."""
    found = {}
    for path in sorted(folder.rglob("*.parquet")):
        words = [*path.relative_to(folder).parts[:-1], path.stem.partition("-")[0]]
        found[path] = next((SPLITS[w.lower()] for w in reversed(words) if w.lower() in SPLITS), "")
    return found


def read_table(path: Path) -> Any:
    """Raises UsageError without pyarrow, DataError for a damaged file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(f"{shown(path)}: tables are read by pyarrow: pip install 'triptych[tables]'") from None
    try:
        if path.suffix.lower() == ".parquet":
            return pyarrow.parquet.ParquetFile(path).read()
        try:
            return pyarrow.ipc.open_file(path).read_all()
        except pyarrow.ArrowInvalid:  # as Hugging Face datasets keeps them
            return pyarrow.ipc.open_stream(path).read_all()
    except (pyarrow.ArrowException, OSError) as e:
        raise DataError(f"{shown(path)} cannot be read as a table: {(str(e).splitlines() or [''])[0]:.200}") from e


def from_rows(name: str, parts: list[Rows]) -> Arrays | Held:
    """Raises DataError for rows of which we cannot tell what x is."""
    contents, said, texts = dict[str, bytes](), list[str](), dict[str, list[str]]()
    arrays, classes = list[np.ndarray](), list[Any]()
    for part in parts:
        split = SPLITS.get(part.split.lower(), part.split)
        for i, item in enumerate(part.items):
            x, fields = taken_apart(item)
            if x is None and (text := first(fields, TEXT)) is not None:
                texts.setdefault(split, []).append(str(text))
                continue
            content = as_file(x, part.trusted)
            if content is None:
                arrays.append(as_numbers(x, name, i))
                classes.append(first(fields, LABEL))
                continue
            file = f"{split}/{len(said):08d}{ending(content)}".lstrip("/")
            contents[file] = content
            said.append(json.dumps({"file_name": file, **plain(fields)}))
    if arrays and not contents and not texts:
        return stacked(name, arrays, classes)
    if arrays or bool(contents) == bool(texts):
        raise DataError(
            f"{name} holds nothing, or rows of several kinds; each is a picture, a sound, an array or a text"
        )
    if texts:
        return Held(name, {f"{split or 'text'}.txt": "\n".join(lines).encode() for split, lines in texts.items()})
    if any(len(json.loads(line)) > 1 for line in said[:1]):
        contents["metadata.jsonl"] = "\n".join(said).encode()
    if names := next((part.names for part in parts if part.names), ()):
        table = "".join(f'{k},"{n.replace(chr(34), chr(34) * 2)}"\n' for k, n in enumerate(names))
        contents["classes.csv"] = f"id,name\n{table}".encode()
    return Held(name, contents)


def taken_apart(item: Any) -> tuple[Any, dict[str, Any]]:
    """x, and what else is said of it."""
    if isinstance(item, Mapping):
        known = [key for key in X if key in item]
        key = next(
            (k for k in [*known, *item] if item[k] is not None and not isinstance(item[k], str | int | float)), None
        )
        return (None if key is None else item[key]), {k: v for k, v in item.items() if k != key}
    if isinstance(item, tuple | list) and len(item) == 2:
        said = item[1]
        return item[0], {"text" if isinstance(said, str) and " " in said else "label": said}
    return (None, {"text": item}) if isinstance(item, str) else (item, {})


def first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a table of metadata says: a label, a text, and other numbers and words by name."""
    label, text = number(first(fields, LABEL)), first(fields, TEXT)
    found: dict[str, Any] = {} if label is None or label == UNKNOWN else {"label": str(label)}
    found |= {"text": text} if isinstance(text, str) else {}
    others = {k: number(v) for k, v in fields.items() if k not in (*LABEL, *TEXT) and not k.endswith("_file")}
    return found | {k: v for k, v in others.items() if isinstance(v, str | int | float)}


def number(value: Any) -> Any:
    """A number of numpy or torch as one of Python; all else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def as_file(x: Any, trusted: bool) -> bytes | None:
    """x as the content of a file; None if it is no picture and no file."""
    if isinstance(x, Image.Image):
        buffer = io.BytesIO()
        (x if x.mode in PLAIN else x.convert("RGB")).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    if isinstance(x, bytes):
        return x
    if isinstance(x, Mapping):
        if x.get("bytes") is None and x.get("path") and trusted:
            return Path(x["path"]).read_bytes()
        return x.get("bytes") or b""  # an empty file is told of as a bad one
    return None


def ending(content: bytes) -> str:
    """How the name of a file ends that begins so; .png if nothing is known of it."""
    if content.startswith(b"RIFF"):
        return ".wav" if content[8:12] == b"WAVE" else ".webp"
    return next((end for begin, end in BEGINS.items() if content.startswith(begin)), ".png")


def as_numbers(x: Any, name: str, row: int) -> np.ndarray:
    """Raises DataError."""
    try:
        found = np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)
    except (TypeError, ValueError) as e:
        raise DataError(f"{name}, row {row}: x cannot be read as numbers: {e}") from e
    if found.dtype == object or found.ndim == 0 or found.dtype.kind in "US":
        raise DataError(
            f"{name}, row {row}: x is a {type(x).__name__}; we take PIL pictures, arrays, tensors, and files as bytes"
        )
    return found


def stacked(name: str, arrays: list[np.ndarray], classes: list[Any]) -> Arrays:
    """Rows of numbers as one array. Raises DataError unless they are of one shape, and classes numbers."""
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1:
        some = " and ".join(str(list(s)) for s in sorted(shapes)[:2])
        raise DataError(f"{name}: rows have shapes {some}; bring them to one, or give pictures of PIL and size=")
    x = np.stack(arrays)
    if all(y is None for y in classes):
        return from_memory(x)
    try:
        y = np.array([UNKNOWN if y is None else int(y) for y in classes])
    except (TypeError, ValueError) as e:
        raise DataError(f"{name}: a class is a whole number beside an array; {e}") from e
    return from_memory((x, y))
