"""Keeps the catalogue of docs/models.md true: `python tools/readme.py` rewrites it from the table of models.

A test fails while the page says something else.
"""

import re
import sys
from pathlib import Path

from triptych.models import own

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
START, END = "<!-- catalogue -->", "<!-- end of catalogue -->"
FAMILIES = {
    "gan": "GANs",
    "vae": "VAEs",
    "autoregressive": "Autoregressive models",
    "translation": "Pictures to pictures",
}


def catalogue() -> str:
    """The table of models in Markdown, family by family."""
    lines = ["| name | model | year | conditions | likelihood |", "|---|---|---|---|---|"]
    for family, title in FAMILIES.items():
        lines.append(f"| | **{title}** | | | |")
        for e in (e for e in own().values() if e.family == family):
            p = e.paper
            lines.append(f"| `{e.name}` | [{p.called}]({p.url}) | {p.year} | {p.conditions} | {p.likelihood} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """The page with its catalogue as it should be."""
    return re.sub(f"{START}.*{END}", lambda _: f"{START}\n{catalogue()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    before = PAGE.read_text()
    PAGE.write_text(updated(before))
    sys.exit(0 if updated(before) == before else "the catalogue was rewritten")
