"""The README and the pages of docs/ are true: their examples run, the catalogue is the table of models."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from triptych.cli.app import app
from triptych.media.video import Film
from triptych.media.wav import encode_wav
from triptych.tasks import TASKS
from triptych.verbs import judge

ROOT = Path(__file__).parent.parent
PAGES = (
    "command-line",
    "data",
    "pictures",
    "words",
    "faces",
    "shapes-3d",
    "video",
    "text",
    "audio",
    "speech",
    "likelihood",
    "adding-a-model",
    "models",
    "weights",
    "measured",
)
"""In the order in which their examples go on from each other."""
TEXT = "\n".join(file.read_text() for file in (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in PAGES)))


def test_every_page_is_read_and_every_link_leads_somewhere() -> None:
    assert sorted(PAGES) == sorted(file.stem for file in (ROOT / "docs").glob("*.md"))
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
            assert "://" in link or (file.parent / link).exists(), f"{file.name} leads to {link}, which is not there"


def test_every_task_and_every_page_of_results_is_in_a_table() -> None:
    rows = (ROOT / "README.md").read_text().partition("| task | from | to |")[2].partition("\n\n")[0].splitlines()
    named = [name for row in rows[1:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(TASKS)
    pages = {file.name: file.read_text() for file in (ROOT / "results").glob("*.md")}
    links = re.findall(r"\]\(([\w-]+\.md)", pages["README.md"])
    assert set(pages) - {"README.md"} <= set(links), "results/README.md leads to every page"
    for task in TASKS:
        assert any(f"`{task}`" in page or f"train {task} " in page for page in pages.values()), f"{task}: no results"


def test_every_change_is_told_once() -> None:
    """Those who merged lists left some twice, and a half of one."""
    told: list[str] = []
    for line in (ROOT / "CHANGELOG.md").read_text().partition("\n- ")[2].splitlines():
        if line.startswith("- ") or not told:
            told.append(line.removeprefix("- "))
        else:
            told[-1] += " " + line.strip()
    assert len(told) > 100 and len(set(told)) == len(told)
    starts = [one[:60] for one in told]
    assert sorted(set(starts)) == sorted(starts), "two that begin alike: make one of them"
    ends = [sentence for one in told for sentence in one.split(". ") if len(sentence) > 60]
    assert len(set(ends)) == len(ends)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_catalogue_is_the_table_of_models() -> None:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
    assert spec is not None and spec.loader is not None
    tool: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.catalogue() in TEXT and tool.weights() in TEXT, "run: python tools/readme.py"


@pytest.mark.slow
def test_the_ten_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks("python")[0]
    short = code.replace("steps=1500", "steps=100").replace("width=32, blocks=5, head=32", "width=4, blocks=1, head=4")
    short = short.replace("limit=1000", "limit=20").replace("batch=16", "batch=2")
    assert short.count("=100,") == 1 and "limit=20" in short, "the example has changed: shorten it here too"
    scope: dict[str, Any] = {}
    exec(compile(short, "README.md", "exec"), scope)  # noqa: S102 - the README's own code
    assert scope["images"].shape == (64, 1, 28, 28)
    said = capsys.readouterr().out
    assert said.startswith("100 ") and said.endswith("nats, exact\n")
    assert (tmp_path / "runs" / "pixelcnn" / "model.safetensors").exists()


def recorded(folder: Path) -> None:
    """Sounds of five kinds, and sounds with texts."""
    (folder / "voice" / "wavs").mkdir(parents=True)
    for k in range(200):
        sound = 0.3 * np.random.default_rng(k).standard_normal((1, 4800)).astype(np.float32).clip(-1, 1)
        (folder / "voice" / "wavs" / f"v{k}.wav").write_bytes(encode_wav(sound, 8000))
        if k < 90:
            (folder / "hits" / "abcde"[k % 5]).mkdir(parents=True, exist_ok=True)
            (folder / "hits" / "abcde"[k % 5] / f"h{k // 5}.wav").write_bytes(encode_wav(sound, 8000))
    (folder / "voice" / "metadata.csv").write_text("".join(f"v{k}|Some words.\n" for k in range(200)))
    (folder / "letter.txt").write_text("Some words. More words.")
    (folder / "numbers").mkdir()
    for k in range(40):
        sound = 0.3 * np.random.default_rng(k).standard_normal((1, 6000)).astype(np.float32).clip(-1, 1)
        (folder / "numbers" / f"n{k}.wav").write_bytes(encode_wav(sound, 8000))
        (folder / "numbers" / f"n{k}.txt").write_text("four two seven")


@pytest.mark.slow
def test_the_command_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but shorter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judge, "NUMBERS", 0)  # of training pictures, as few are looked at as can be
    (tmp_path / "photos").mkdir()
    for i in range(150):
        noise = np.random.default_rng(i).integers(0, 256, (70, 66, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "fashion").mkdir()
    for i in range(40):
        noise = np.random.default_rng(i).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "fashion" / f"{i}.png")
    (tmp_path / "faces").mkdir()
    rows = ["file_name,age,smiling,glasses"]
    for i in range(40):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "faces" / f"{i}.png")
        rows.append(f"{i}.png,{20 + i},{('no', 'yes')[i % 2]},{('no', 'yes')[i // 2 % 2]}")
    (tmp_path / "faces" / "metadata.csv").write_text("\n".join(rows))
    recorded(tmp_path)
    (tmp_path / "clips").mkdir()
    for i in range(24):
        clip = np.random.default_rng(i).integers(0, 256, (20, 1, 16, 16), dtype=np.uint8)
        Film(clip).save(tmp_path / "clips" / f"{i}.gif")
    (tmp_path / "kjv.txt").write_text("In the beginning was a short text.\n" * 100)
    every = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("triptych ")]
    lines = list(dict.fromkeys(every))  # what two pages show is run once
    assert len(lines) >= 12
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "train":
            for option in ("--steps", "--minutes"):
                if option in words:
                    del words[words.index(option) : words.index(option) + 2]
            words += ["--steps", "2", "--batch", "2"]
            if words[1] == "pixelcnn-mnist-demo":
                words += ["width=4", "blocks=1", "head=4"]
            if words[1] == "--data":
                words += ["width=4"]
            if words[1] == "gpt-char":
                words += ["width=8", "layers=1"]
            if words[1] == "wavegan-drums":
                words += ["width=2"]
            if words[1] == "codec-drums":
                words += ["width=8", "judge=2", "prior_width=8"]
            if words[1] == "vocoder":
                words += ["x.rate=8000", "x.length=4096", "segment=1024", "width=8", "judge=2"]
            if "codec-numbers" in words:
                words += ["width=8", "layers=1", "judge=2", "prior_width=8", "alone=1", "code_times=1"]
            elif words[1] == "text-to-speech":
                words += ["width=8", "layers=1", "rounds=1", "x.length=8000", "x.rate=8000"]
            if words[1] == "nanochat-bpe":
                words = [w for w in words if not w.startswith(("depth=", "aspect="))] + ["depth=1", "aspect=4"]
            if words[1] == "gated-pixelcnn-mnist-classes":
                words += ["width=4", "layers=1", "head=4"]
            if words[1] == "pixelcnn-pp-mnist":
                words += ["width=4", "components=2"]
            if words[1] == "dcgan":
                words[words.index("width=64")] = "width=4"
            if words[1] == "super-resolution":
                words += ["width=4", "depth=1"]
            if words[1] == "text-to-image":
                words += ["tokenizer_width=8", "width=16", "layers=1"]
            if words[1] == "vae-3d":
                words += ["width=2", "latent=2"]
            if words[1] == "video-prediction":
                words += ["width=2", "mixed=4", "depth=1"]
            if words[1] == "inpainting":
                words += ["width=2", "judge=2"]
            if words[1] in ("fastgan", "aging"):
                words += ["width=4"]
            if words[1] == "attributes":
                words += ["width=4", "judge=4", "blocks=1"]
            if words[1] == "dcgan-mnist-demo":
                words += ["width=4"]
        if "--ais" in words:
            words[words.index("--ais") + 1] = "3"
            words += ["--chains", "2"]
        if words[0] == "invert":
            words[words.index("--steps") + 1] = "1"
        if "--rival" in words:
            words += ["--rival-steps", "2"]
        if words[0] == "gallery":
            words += ["-n", "1"]
        if words[0] == "anomaly":
            words[words.index("--limit") + 1] = "20"
        if words[0] in ("evaluate", "compare"):
            words += ["-n", "50"] + (["--limit", "20"] if words[0] == "compare" else [])
        if words[0] in ("score", "compress", "classify") and "--limit" in words:
            words[words.index("--limit") + 1] = "2" if "--ais" in words else "20"
        assert app(words, standalone_mode=False) in (0, None), line
    assert (tmp_path / "samples.png").exists() and (tmp_path / "report.html").exists()
