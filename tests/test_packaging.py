"""What the package says of itself elsewhere than in the repository."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent
URL = "https://example.org/someone/triptych"


def setup() -> Any:
    spec = importlib.util.spec_from_file_location("setup_of_triptych", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    found: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_the_page_of_the_index_leads_to_files_that_are_there() -> None:
    text = (ROOT / "README.md").read_text()
    page = setup().page(text, URL, "1.2")
    assert len(links(page)) == len(links(text)) > 10
    for was, now in zip(links(text), links(page), strict=True):
        if "://" not in was:
            assert now in (f"{URL}/raw/v1.2/{was}", f"{URL}/blob/v1.2/{was}") and (ROOT / was).exists(), was
    assert f"]({URL}/raw/v1.2/docs/weights.png)" in page


def test_without_an_address_the_page_has_no_links_that_lead_nowhere() -> None:
    page = setup().page((ROOT / "README.md").read_text(), "", "1.2")
    assert all("://" in link for link in links(page)) and "![" not in page and "Made by weights" not in page
    assert "All verbs say what they do" in page and setup().homes("") == {}
    assert setup().page("see [a](b.md), [c](https://d.e), [f](#g)", "", "1") == "see a, [c](https://d.e), [f](#g)"


def test_doctor_knows_every_extra_that_adds_something() -> None:
    import tomllib

    from triptych.verbs.doctor import EXTRAS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for name, *_ in EXTRAS} == set(extras) - {"dev", "docs"}
    page = (ROOT / "site/pages/installing.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in set(extras) - {"dev"})


def test_no_module_needs_what_windows_lacks_when_it_is_imported() -> None:
    import ast

    posix = {"curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
    for file in (ROOT / "src").rglob("*.py"):
        for line in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [one.name for one in line.names] if isinstance(line, ast.Import) else []
            names += [line.module or ""] if isinstance(line, ast.ImportFrom) else []
            assert not posix & {name.partition(".")[0] for name in names}, file


def test_where_no_system_tells_of_memory_the_cost_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from triptych.verbs.cost import Cost, memory

    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory(torch.device("cpu")) == 0
    assert str(Cost(1000, {"train": 0.5}, {"train": 10}, 0, "cpu")).startswith("1,000 parameters; 0.5 s a step on cpu")
