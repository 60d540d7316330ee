"""Captions and labels beside images: `metadata.jsonl` or `metadata.csv`, as Hugging Face's ImageFolder reads them.

Each row has a `file_name`, relative to the folder of the table, and a `text` (or `caption`), a `label` (or `class`),
or both. https://huggingface.co/docs/datasets/image_dataset
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from triptych.core import DataError
from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, shown

TABLES = ("metadata.jsonl", "metadata.csv")
TEXT, LABEL = ("text", "caption"), ("label", "class")


@dataclass(frozen=True)
class Row:
    text: str | None
    label: str | None


@dataclass(frozen=True)
class Table:
    rows: dict[str, Row]
    """By the name of the file, from the top of the source."""
    problems: list[Problem]


def read_table(tree: Tree, name: str) -> Table:
    """Reads one table. Rows that cannot be used are reported, and so are the files that they name.

    Raises DataError if the table as a whole cannot be read, or has no column that we know.
    """
    where = f"{tree.name}/{shown(name)}"
    if tree.files[name] > LARGEST_FILE:
        raise DataError(f"{where} has {tree.files[name]:,} bytes; at most {LARGEST_FILE:,} are read")
    try:
        text = tree.read(name).decode("utf-8-sig")
    except OSError as e:
        raise DataError(f"{where} cannot be read: {reason_of(e)}") from e
    except UnicodeDecodeError as e:
        raise DataError(f"{where} is not UTF-8 (byte {e.start} is 0x{e.object[e.start]:02x}); save it as UTF-8") from e
    table = Table({}, [])
    columns: dict[str, None] = {}
    for line, fields in (from_csv if name.endswith(".csv") else from_json_lines)(text):
        place = f"{shown(name)}:{line}"
        if isinstance(fields, str):
            table.problems.append(Problem(file=place, reason=fields))
            continue
        columns |= dict.fromkeys(fields)
        try:
            file = str(PurePosixPath(name).parent / string(fields.get("file_name"), "file_name"))
            row = Row(text_of(fields), label_of(fields))
        except ValueError as e:
            table.problems.append(Problem(file=place, reason=str(e)))
            continue
        if file in table.rows:
            same = "the same" if table.rows[file] == row else "another content; the first is taken"
            table.problems.append(Problem(file=place, reason=f"a second row for {shown(file)}, with {same}"))
        else:
            table.rows[file] = row
    if columns and not columns.keys() & {*TEXT, *LABEL}:
        raise DataError(f"{where} has the columns {', '.join(map(shown, columns))}; we look for text or label")
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


def text_of(fields: dict[str, Any]) -> str | None:
    value = next((fields[c] for c in TEXT if c in fields), None)
    return None if value is None else string(value, "text")


def label_of(fields: dict[str, Any]) -> str | None:
    value = next((fields[c] for c in LABEL if c in fields), None)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if value is None else string(value, "label")


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
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        for fields in lines:
            if len(fields) == len(header):
                yield lines.line_num, dict(zip(header, fields, strict=True))
            elif fields:
                yield lines.line_num, f"{len(fields)} fields where the first line has {len(header)}"
    except csv.Error as e:
        yield lines.line_num, f"not CSV from here on ({e})"
