"""Captions, labels and further files beside images, in `metadata.jsonl` or `metadata.csv` as Hugging Face's
ImageFolder reads them.

Each row has a `file_name`, relative to the folder of the table, and a `text` (or `caption`), a `label` (or `class`),
or both. https://huggingface.co/docs/datasets/image_dataset

Columns whose names end in _file name further files of a row, each a column of the data: map_file, relief_file.

Names of tables and of columns may be in capitals; columns of a .csv may be separated by semicolons or tabs. A caption
may also be a text file beside its image, of the same name.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from triptych.core import DataError
from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, shown
from triptych.media.encodings import BadText, decode

TABLES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
FILE, TEXT, LABEL = ("file_name", "filename"), ("text", "caption"), ("label", "class")
SPOKEN = (".wav", ".flac", ".ogg", ".mp3")
ANY_FILE = "_file"
"""How the names of columns end that name further files of a row."""
BESIDE = (".txt", ".caption")
"""Endings of files that hold one caption."""
LONGEST_CAPTION = 1 << 16
NUMBERS = re.compile(r"[-+0-9.eE\s,:]*")
"""What annotations of boxes and the like consist of; captions do not."""


@dataclass(frozen=True)
class Row:
    text: str | None
    label: str | None
    values: Mapping[str, str] = field(default_factory=dict)
    """What else its columns say."""


@dataclass(frozen=True)
class Table:
    rows: dict[str, Row]
    """By the name of the file, from the top of the source."""
    problems: list[Problem]
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    """What the columns `*_file` name, by the name of the row's file: {"x/1.png": {"map": "map/1.png"}}."""


def is_table(name: str) -> bool:
    return PurePosixPath(name).name.lower() in TABLES


def read_table(tree: Tree, name: str) -> Table:
    """Reads one table. Rows that cannot be used are reported, and so are the files that they name.

    Raises DataError if the table as a whole cannot be read, or has no column that we know.
    """
    where = f"{tree.name}/{shown(name)}"
    if tree.files[name] > LARGEST_FILE:
        raise DataError(f"{where} has {tree.files[name]:,} bytes; at most {LARGEST_FILE:,} are read")
    try:
        text = decode(tree.read(name))
    except OSError as e:
        raise DataError(f"{where} cannot be read: {reason_of(e)}") from e
    except BadText as e:
        raise DataError(f"{where} is {e}") from e
    table = Table({}, [])
    columns: dict[str, None] = {}
    parent = PurePosixPath(name).parent
    if (spoken := transcript(tree, parent, text)) is not None:
        return spoken
    for line, raw in (from_json_lines if name.lower().endswith(".jsonl") else from_csv)(text):
        place = f"{shown(name)}:{line}"
        if isinstance(raw, str):
            table.problems.append(Problem(file=place, reason=raw))
            continue
        fields = {key.strip().lower(): value for key, value in raw.items()}
        columns |= dict.fromkeys(raw)
        try:
            file = string(first(fields, FILE), "file_name").replace("\\", "/")
            label = label_of(fields)
            row = Row(text_of(fields, label), label, values_of(fields))
        except ValueError as e:
            table.problems.append(Problem(file=place, reason=str(e)))
            continue
        file = str(parent / file)
        if file in table.rows:
            same = "the same" if table.rows[file] == row else "another content; the first is taken"
            table.problems.append(Problem(file=place, reason=f"a second row for {shown(file)}, with {same}"))
        else:
            table.rows[file] = row
            if any(key.endswith(ANY_FILE) for key in fields):
                table.files[file] = files_of(fields, parent)
    known = {c.strip().lower() for c in columns}
    if columns and len(known - {*FILE, ""}) == 0:
        raise DataError(
            f"{where} has the columns {', '.join(map(shown, columns))}; we look for text or label, for values, or for "
            f"further files as in map_file"
        )
    return table


def transcript(tree: Tree, parent: PurePosixPath, text: str) -> Table | None:
    """What was said in recordings, of a table without a heading: id|text, id|text|text with numbers written out (of
    which the last is taken), or id|speaker|text, as of LJSpeech and piper; None if it is none of these.

    The recordings are called by the ids, below wav/ or wavs/ or beside the table.
    """
    lines = [line.split("|") for line in text.splitlines() if line.strip()]
    stems = {str(PurePosixPath(name).with_suffix("")): name for name in tree.files if name.lower().endswith(SPOKEN)}

    def file_of(said: str) -> str | None:
        stem = said.strip().removesuffix(".wav")
        return next((stems[p] for folder in ("wavs", "wav", ".") if (p := str(parent / folder / stem)) in stems), None)

    if not lines or not all(len(fields) in (2, 3) for fields in lines[:20]) or file_of(lines[0][0]) is None:
        return None
    second = [fields[1] for fields in lines if len(fields) == 3]
    speakers = len(second) == len(lines) and 2 * len(set(second)) <= len(second) and not any(" " in s for s in second)
    table = Table({}, [])
    for number, fields in enumerate(lines, 1):
        place, file = f"line {number}", file_of(fields[0])
        try:
            if file is None:
                raise ValueError(f"there is no recording called {fields[0]:.40}")
            table.rows[file] = Row(string(fields[-1], "text").strip(), fields[1].strip() if speakers else None)
        except ValueError as e:
            table.problems.append(Problem(file=place, reason=str(e)))
    return table


def files_of(fields: dict[str, Any], parent: PurePosixPath) -> dict[str, str]:
    """The further files of a row, from the top of the source; those that are not said are left out."""
    said = {key.removesuffix(ANY_FILE): value for key, value in fields.items() if key.endswith(ANY_FILE)}
    named = {name: value.strip().replace("\\", "/") for name, value in said.items() if isinstance(value, str)}
    return {name: normpath(parent / value) for name, value in named.items() if name and value}


def values_of(fields: dict[str, Any]) -> dict[str, str]:
    """The fields of a row that are neither its file, its text, its label nor further files."""
    known = {*FILE, *TEXT, *LABEL}
    plain = {name: "" if value is None else value for name, value in fields.items() if name not in known}
    return {
        name: str(value)
        for name, value in plain.items()
        if isinstance(value, str | int | float) and not name.endswith(ANY_FILE)
    }


def captions_beside(tree: Tree, names: list[str], others: list[str]) -> dict[str, str]:
    """The text file that each of `names` has beside it, of those `others`: cat.txt beside cat.png."""
    by_stem = {name[: -len(end)]: name for end in reversed(BESIDE) for name in others if name.lower().endswith(end)}
    stems = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    return {name: by_stem[stem] for name, stem in stems.items() if stem in by_stem}


def read_captions(tree: Tree, beside: dict[str, str]) -> Table:
    """The captions in text files, by the name of what they describe. Those that cannot be used are reported.

    None at all, if they hold nothing but numbers: then they are annotations of another kind.
    """
    table = Table({}, [])
    for name, file in beside.items():
        try:
            if tree.files[file] > LONGEST_CAPTION:
                raise BadText(f"{tree.files[file]:,} bytes; a caption has at most {LONGEST_CAPTION:,}")
            table.rows[name] = Row(string(" ".join(decode(tree.read(file)).split()), "caption"), None)
        except OSError as e:
            table.problems.append(Problem(file=shown(file), reason=reason_of(e)))
        except ValueError as e:
            table.problems.append(Problem(file=shown(file), reason=str(e)))
    if table.rows and all(row.text is not None and NUMBERS.fullmatch(row.text) for row in table.rows.values()):
        return Table({}, [])
    return table


def string(value: Any, what: str) -> str:
    """Raises ValueError unless `value` is a string that holds something, and only characters."""
    if not isinstance(value, str):
        raise ValueError(f"the {what} is not a string but {value!r:.40}")
    if not value.strip():
        raise ValueError(f"the {what} is empty")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"the {what} holds half a character (a lone surrogate)")
    return value


def first(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[c] for c in names if c in fields), None)


def text_of(fields: dict[str, Any], label: str | None) -> str | None:
    """The text; an empty one counts as none where there is a label."""
    value = first(fields, TEXT)
    if label is not None and isinstance(value, str) and not value.strip():
        return None
    return None if value is None else string(value, "text")


def label_of(fields: dict[str, Any]) -> str | None:
    """The label; None where it is not known: null, an empty field, or -1."""
    value = first(fields, LABEL)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str) and value.strip() in ("", "-1")):
        return None
    return string(value, "label").strip()


def from_json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Number and fields of each line, or what is wrong with it."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as e:
            yield number, f"not JSON ({e})"
            continue
        yield number, fields if isinstance(fields, dict) else "not a JSON object"


def from_csv(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    head = text.split("\n", 1)[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        header = next(lines, [])
        for fields in lines:
            if len(fields) == len(header):
                yield lines.line_num, dict(zip(header, fields, strict=True))
            elif fields:
                yield lines.line_num, f"{len(fields)} fields where the first line has {len(header)}"
    except csv.Error as e:
        yield lines.line_num, f"not CSV from here on ({e})"
