"""What notebooks show of a thing by itself: a title, a few facts, and a picture. Plain HTML, for any of them."""

import base64
import html
from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from triptych.core import Data, ItemNoise
from triptych.core.classes import listed
from triptych.errors import printable
from triptych.media import medium_of, pictures

SHOWN = 32
"""Examples of a data set."""


def plain(text: object) -> str:
    return html.escape(printable(str(text)))


def html_of(title: str, facts: Mapping[str, object], picture: Image.Image | None = None, text: str = "") -> str:
    """A title, a line a fact, then a picture or a text."""
    rows = "".join(f"<tr><th align='left'>{plain(k)}</th><td>{plain(v)}</td></tr>" for k, v in facts.items())
    shown = "" if not text else f"<pre>{plain(text)}</pre>"
    if picture is not None:
        code = base64.b64encode(pictures.png(picture)).decode()
        shown = f"<img src='data:image/png;base64,{code}' alt='{plain(title)}'/>"
    return f"<div><b>{plain(title)}</b>{f'<table>{rows}</table>' if rows else ''}{shown}</div>"


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table with its notes below it."""
    head = "".join(f"<th>{plain(c)}</th>" for c in columns)
    body = "".join(f"<tr>{''.join(f'<td>{plain(c)}</td>' for c in row)}</tr>" for row in rows)
    below = "".join(f"<div><small>{plain(note)}</small></div>" for note in notes)
    return f"<div><b>{plain(title)}</b><table><tr>{head}</tr>{body}</table>{below}</div>"


def html_of_data(data: Data, classes: Sequence[str] | None) -> str:
    """The first examples of a data set, and what it is."""
    n = min(SHOWN, len(data))
    x, its = data.fetch(torch.arange(n), ItemNoise(0, range(n))).x, medium_of(data.x)
    texts = its.text(data.x, x[:4])
    facts: dict[str, object] = {"examples": f"{len(data):,}", "x": data.x}
    facts |= {"given": data.given} if data.given is not None else {}
    facts |= {"classes": listed(classes)} if classes else {}
    if texts is not None:
        return html_of(data.name, facts, text="\n---\n".join(texts))
    return html_of(data.name, facts, its.sheet(data.x, x) if n else None)
