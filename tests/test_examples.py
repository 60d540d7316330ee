"""The scripts of examples/ run, and the pages of the documentation site hold together."""

import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from triptych import models

ROOT = Path(__file__).parent.parent


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("site_tool", ROOT / "tools" / "site.py")
    assert spec is not None and spec.loader is not None
    found: Any = importlib.util.module_from_spec(spec)
    sys.modules["site_tool"] = found  # dataclasses ask for it
    spec.loader.exec_module(found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", tool().LESSONS)
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "FOREIGN", {})
    words = ["2"]
    if name == "sample_without_triptych":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        from triptych.verbs.export import export

        export(ROOT / "src/triptych/weights/dcgan-emoji", "exported")
        words = ["exported/model.onnx", "emoji.png"]
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out or list(tmp_path.glob("*.png"))


def test_notebooks_are_the_scripts_in_cells() -> None:
    site = tool()
    for name in site.LESSONS:
        script = ROOT / "examples" / f"{name}.py"
        found = site.notebook(script)
        cells = ["".join(cell["source"]) for cell in found["cells"]]
        assert (found["nbformat"], found["cells"][0]["cell_type"]) == (4, "markdown") and cells[0].startswith("# ")
        code = "\n".join(cell for cell in cells[1:] if not cell.startswith("!"))
        compile(code, name, "exec")
        assert "sys.argv" not in code
        kept = {line for line in site.lesson(script).code.splitlines() if "sys" not in line and ".save(" not in line}
        assert kept <= {*code.splitlines(), ""}, f"{name}: the notebook lacks lines of the script"
    without = ["".join(cell["source"]) for cell in site.notebook(script)["cells"]]
    assert "!triptych export dcgan-emoji --to onnx --out exported" in without
    assert 'program, out = "exported/model.onnx", "emoji.png"' in "\n".join(without)
    own = site.notebook(ROOT / "examples/a_model_of_your_own.py")["cells"]
    assert any("".join(cell["source"]).startswith("@tt.register\nclass Gaussian") for cell in own)


def test_the_pages_of_the_site_are_all_there_and_their_links_lead_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    site = tool()
    monkeypatch.setattr(site, "OUT", tmp_path / "docs")
    site.main()
    assert sorted(f.stem for f in (ROOT / "examples").glob("*.py")) == sorted(site.LESSONS)
    pages = {str(f.relative_to(tmp_path / "docs")) for f in (tmp_path / "docs").rglob("*.md")}
    listed = set(re.findall(r'"([\w./-]+\.md)"', json.dumps(json.loads((tmp_path / "mkdocs.yml").read_text())["nav"])))
    assert listed == pages
    for page in sorted(pages):
        file = tmp_path / "docs" / page
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)):
            assert "://" in link or (file.parent / link).exists(), f"{page} leads to {link}, which is not there"
    dcgan = (tmp_path / "docs/models/dcgan.md").read_text()
    assert "dcgan-small" in dcgan and "../weights/dcgan-emoji.png" in dcgan and "@misc" in dcgan


@pytest.mark.slow
def test_the_python_of_the_pages_of_the_site_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for page in sorted((ROOT / "site" / "pages").glob("*.md")):
        for code in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
            exec(compile(code, page.name, "exec"), {})  # noqa: S102 - our own page
