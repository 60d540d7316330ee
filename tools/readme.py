"""Keeps the tables of docs/models.md and docs/weights.md true: `python tools/readme.py` rewrites them.

A test fails while the page says something else.
"""

import re
import sys
from pathlib import Path

from triptych.models import own
from triptych.verbs.shipped import shipped

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


def weights() -> str:
    """The table of the weights that come with the package, in Markdown."""
    lines = ["| name | what it does | measured | licence | size |", "|---|---|---|---|---|"]
    for one in shipped().values():
        size = (one.folder / "model.safetensors").stat().st_size / 1e6
        cells = (f"`{one.name}`", one.does, one.measured, one.licence, f"{size:.1f} MB")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def weighed(text: str) -> str:
    """docs/weights.md with its table as it should be."""
    return re.sub(
        "<!-- weights -->.*<!-- end of weights -->",
        lambda _: f"<!-- weights -->\n{weights()}\n<!-- end of weights -->",
        text,
        flags=re.DOTALL,
    )


def updated(text: str) -> str:
    """The page with its catalogue as it should be."""
    return re.sub(f"{START}.*{END}", lambda _: f"{START}\n{catalogue()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    changed = []
    for page, true in ((PAGE, updated), (PAGE.with_name("weights.md"), weighed)):
        before = page.read_text()
        page.write_text(true(before))
        changed += [page.name] * (true(before) != before)
    sys.exit(f"rewritten: {', '.join(changed)}" if changed else 0)
