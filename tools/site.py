"""Gathers the pages of the documentation site in build/docs: what is in docs/, results/ and site/, a page a model.

python tools/site.py, and then: mkdocs build -f build/mkdocs.yml (`make docs` does both)
"""

import ast
import json
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import triptych as tt
from triptych import models
from triptych.cli.output import say
from triptych.io import configs, folder
from triptych.verbs.shipped import shipped

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "docs"
FAMILIES = {"gan": "GANs", "vae": "VAEs", "autoregressive": "Autoregressive", "translation": "Pictures to pictures"}
GUIDE = ("command-line", "weights", "data", "pictures", "text", "likelihood", "measured", "models", "adding-a-model")
"""Pages of docs/ in the order of the site; all others follow."""
LESSONS = (
    "a_gan",
    "a_vae",
    "an_autoregressive_model",
    "likelihoods",
    "your_own_data",
    "a_model_of_your_own",
    "sample_without_triptych",
)
"""Scripts of examples/, in the order in which one reads them."""
DRAWN = {
    "a_gan": "dcgan-mnist",
    "a_vae": "vae-mnist",
    "an_autoregressive_model": "pixelcnn-mnist",
    "sample_without_triptych": "dcgan-emoji",
}
"""Weights that show what a lesson comes to."""
PICTURES = (".png", ".svg", ".json", ".gif", ".wav")


def page(entry: models.Entry) -> str:
    """A model: paper, five-line recipe, what its presets came to, its fields, samples of shipped weights, citation."""
    paper, kind = entry.paper, entry.load()
    settings = folder.config_class(kind)
    text = (entry.module().__doc__ or "").strip()
    first, _, rest = text.partition("\n")
    lines = [f"# {paper.called}", "", f"*{first}*", ""]
    lines += [
        f"[{paper.title}]({paper.url}). {paper.authors}, {paper.year}.",
        "",
        f"Takes {', '.join(paper.takes)}; conditions: {paper.conditions}; likelihood: {paper.likelihood}.",
        "",
    ]
    formulas = rest.strip() if len(rest.strip().splitlines()) > 3 else ""
    lines += ["```text", formulas, "```", ""] if formulas else []
    presets = {name: p for name, p in entry.presets().items() if "tiny" not in name}
    usual = next((n for n in (f"{entry.name}-small", *presets) if n in presets), entry.name)
    if entry.family != "translation":
        lines += ["## Recipe", "", "```python", *recipe(usual), "```", ""]
    for one in shipped().values():
        if folder.about(one.folder)["model"] == entry.name:
            lines += [f"## Weights: `{one.name}`", "", f"![{one.does}](../weights/{one.name}.png)", ""]
            lines += [f"{one.does[0].upper()}{one.does[1:]}. {one.measured}", ""]
    if presets:
        lines += ["## Presets, and what came of them", "", "| preset | steps | batch | |", "|---|---|---|---|"]
        lines += [f"| `{n}` | {p.steps:,} | {p.batch} | {cell(p.expect)} |" for n, p in presets.items()]
    lines += ["", "## Fields", "", "| field | default | |", "|---|---|---|"]
    own = {f.name for f in fields(settings)}
    for name, _, value, doc in configs.describe(settings()):
        if name.partition(".")[0] in own and (doc or "." not in name):
            lines.append(f"| `{name}` | `{cell(str(value))}` | {cell(doc)} |")
    lines += ["", "## Citation", "", "```bibtex", entry.bibtex(), "```", ""]
    return "\n".join(lines)


def recipe(preset: str) -> list[str]:
    return [
        "import triptych as tt",
        "",
        'data = tt.data("photos/", size=32)  # or a set by name: tt.data("mnist")',
        f'model = tt.create("{preset}", x=data.x)',
        'for now in tt.train(model, data, 2000, out="runs/it"):',
        "    ...",
        "tt.show(model)",
    ]


@dataclass(frozen=True)
class Lesson:
    """A script of examples/, in its parts."""

    title: str
    text: str
    commands: Sequence[str]
    """Of its docstring: what comes before it, and at last the script itself."""
    code: str


def lesson(script: Path) -> Lesson:
    source = script.read_text()
    title, _, rest = (ast.get_docstring(ast.parse(source), clean=False) or "").partition("\n")
    lines = rest.splitlines()
    commands = [line.strip() for line in lines if line.startswith("    ")]
    text = "\n".join(line for line in lines if not line.startswith("    ")).strip()
    return Lesson(title.strip("."), text, commands, source.partition('"""\n')[2].strip())


def tutorial(script: Path) -> str:
    """An example as a page: its docstring, below it the code, which the tests run, and what such a model draws."""
    one, drawn = lesson(script), DRAWN.get(script.stem)
    said = "```bash\n" + "\n".join(one.commands) + "\n```"
    seen = f"## What it comes to\n\n![Samples of {drawn}](../weights/{drawn}.png)\n\n" if drawn else ""
    seen += f"*Samples of `{drawn}`, [which comes with the package](../weights.md).*\n" if drawn else ""
    take = f"[The same as a notebook]({script.stem}.ipynb){{: download }}"
    return f"# {one.title}\n\n{one.text}\n\n{said}\n\n{take}\n\n```python\n{one.code}\n```\n\n{seen}"


def notebook(script: Path) -> dict[str, Any]:
    """An example for Jupyter, a cell a paragraph: what the command line would say is in the code, and the last picture
    is shown, not saved."""
    one = lesson(script)
    *before, own = one.commands
    words = shlex.split(own, comments=True)[2:]
    code = re.sub(r"int\(sys\.argv\[1\]\) if len\(sys\.argv\) > 1 else (\d+)", r"\1", one.code)
    code = code.replace("sys.argv[1:3]", ", ".join(json.dumps(word) for word in words))
    code = re.sub(r"\.save\([^()]*\)$", "", code)
    if "sys." not in code:
        code = code.replace("import sys\n", "", 1)
    said = f"# {one.title}\n\n{one.text}\n\nThe kernel needs Triptych: `pip install .` in its folder."
    cells = [("markdown", said), *(("code", f"!{command}") for command in before)]
    cells += [("code", paragraph) for paragraph in paragraphs(code.strip())]
    return {
        "cells": [cell_of(k, kind, text) for k, (kind, text) in enumerate(cells)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def paragraphs(code: str) -> list[str]:
    """Statements with nothing but a line break between them; all imports are one."""
    lines, found = code.splitlines(), list[str]()
    tops, imports = ast.parse(code).body, (ast.Import, ast.ImportFrom)
    starts = [min([top.lineno, *(one.lineno for one in getattr(top, "decorator_list", ()))]) for top in tops]
    for k, (begin, end) in enumerate(zip(starts, [*starts[1:], len(lines) + 1], strict=True)):
        part = "\n".join(lines[begin - 1 : end - 1]).rstrip()
        imported = k > 0 and isinstance(tops[k], imports) and isinstance(tops[k - 1], imports)
        if k and (imported or lines[begin - 2].strip()):
            found[-1] += ("\n" if lines[begin - 2].strip() else "\n\n") + part
        else:
            found.append(part)
    return found


def cell_of(k: int, kind: str, text: str) -> dict[str, Any]:
    more = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": f"cell-{k}", "metadata": {}, "source": text.splitlines(keepends=True), **more}


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def results(text: str) -> str:
    """A page of results as it stands in the site: pictures of the package lie in weights/."""
    return re.sub(r"\.\./src/triptych/weights/([\w-]+)/samples\.png", r"../weights/\1.png", text)


def guide(text: str) -> str:
    """A page of docs/, whose links lead out of it."""
    return re.sub(r"\]\(\.\./(?!results/)([^)]+)\)", "]", text).replace("](../results/", "](results/")


def readme(text: str) -> str:
    """The README as the first page: what it links to in docs/ stands beside it."""
    return text.replace("](docs/", "](").replace("](LICENSE)", "]").replace("](NOTICE)", "]")


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    for place in ("models", "results", "weights", "api", "examples"):
        (OUT / place).mkdir(parents=True)
    (OUT / "index.md").write_text(readme((ROOT / "README.md").read_text()))
    for file in (ROOT / "docs").iterdir():
        target = OUT / file.name
        target.write_text(guide(file.read_text())) if file.suffix == ".md" else shutil.copy(file, target)
    for file in (ROOT / "results").iterdir():
        target = OUT / "results" / file.name
        if file.suffix == ".md":
            target.write_text(results(file.read_text()))
        elif file.suffix in PICTURES:
            shutil.copy(file, target)
    for one in shipped().values():
        shutil.copy(one.folder / "samples.png", OUT / "weights" / f"{one.name}.png")
    for file in (ROOT / "site" / "pages").glob("*.md"):
        shutil.copy(file, OUT / file.name)
    shutil.copy(ROOT / "site" / "wide.css", OUT / "wide.css")
    for script in sorted((ROOT / "examples").glob("*.py")):
        (OUT / "examples" / f"{script.stem}.md").write_text(tutorial(script))
        (OUT / "examples" / f"{script.stem}.ipynb").write_text(json.dumps(notebook(script), indent=1) + "\n")
    for entry in models.own().values():
        (OUT / "models" / f"{entry.name}.md").write_text(page(entry))
    reference()
    settings = {"INHERIT": "../site/mkdocs.yml", "docs_dir": "docs", "site_dir": "site", "nav": nav()}
    (OUT.parent / "mkdocs.yml").write_text(json.dumps(settings, indent=1))  # JSON is YAML
    say(f"{sum(1 for _ in OUT.rglob('*.md'))} pages in {OUT}")


def reference() -> None:
    """The reference: every public name of `triptych`, by the module that it is from."""
    for module, names in tt.HOMES.items():
        if module == "triptych.models":
            continue
        lines = [f"# {module.removeprefix('triptych.')}", ""]
        for name in names.split():
            lines += [f"::: {module}.{name}", ""]
        (OUT / "api" / f"{module.removeprefix('triptych.')}.md").write_text("\n".join(lines))


def last(page: str) -> tuple[bool, str]:
    """Sorts a README to the front."""
    return "README" not in page, page


def titled(pages: Sequence[str]) -> list[object]:
    """Those of the same heading with the names of their files."""
    heads = [(OUT / page).read_text().partition("\n")[0].strip("# ") for page in pages]
    return [
        page if heads.count(head) == 1 else {f"{head}: {Path(page).stem.replace('_', ' ')}": page}
        for page, head in zip(pages, heads, strict=True)
    ]


def nav() -> list[dict[str, object]]:
    known = [name for name in GUIDE if (OUT / f"{name}.md").exists()]
    extra = sorted(f.stem for f in (ROOT / "docs").glob("*.md") if f.stem not in GUIDE)
    learn = [f"examples/{name}.md" for name in LESSONS]
    learn += sorted(f.name for f in (ROOT / "site" / "pages").glob("*.md"))
    families: list[object] = [
        {title: [f"models/{e.name}.md" for e in models.own().values() if e.family == family]}
        for family, title in FAMILIES.items()
    ]
    return [
        {"Triptych": "index.md"},
        {"Learn": learn},
        {"Use": [f"{name}.md" for name in (*known, *extra)]},
        {"Models": families},
        {"Results": titled(sorted((f"results/{f.name}" for f in (OUT / "results").glob("*.md")), key=last))},
        {"Reference": sorted(f"api/{f.name}" for f in (OUT / "api").glob("*.md"))},
    ]


if __name__ == "__main__":
    main()
