"""Models put onto the Hugging Face Hub: what would be sent, and what comes back of it. No network."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import triptych as tt
from triptych.cli.app import app
from triptych.core import TriptychError, UsageError


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    found = CliRunner().invoke(app, ["push", "pixelcnn-mnist", "someone/digits", "--dry-run"])
    assert found.exit_code == 0, found.output
    for name in ("config.json", "model.safetensors", "manifest.json", "README.md", "samples.png"):
        assert f"{name}: " in found.output
    assert "would be on https://huggingface.co/someone/digits" in found.output
    with pytest.raises(UsageError, match="triptych\\[hub\\]"):
        tt.push_to_hub("pixelcnn-mnist", "someone/digits")
    with pytest.raises(UsageError, match="no name on the hub"):
        tt.push_to_hub("pixelcnn-mnist", "digits")


def test_what_is_sent_comes_back_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    data = tt.data(torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8))
    model: Any = tt.create("vae", x=data.x, latent=2, hidden=(4,))
    for _ in tt.train(model, data, tt.Run(steps=1, batch=4), out=tmp_path / "run", pictures=0):
        pass
    hub, made = tmp_path / "hub", list[Any]()

    class Api:
        def create_repo(self, to: str, **how: Any) -> None:
            made.append((to, how))

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
            shutil.copytree(folder_path, hub)

    fake = SimpleNamespace(HfApi=Api, snapshot_download=lambda name: str(hub))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    sent = tt.push_to_hub(tmp_path / "run", "someone/vae", private=True)
    assert made == [("someone/vae", {"private": True, "exist_ok": True})]
    assert sorted(sent.files) == sorted(str(f.relative_to(hub)) for f in hub.rglob("*") if f.is_file())
    assert not {"state.json", "state.safetensors"} & set(sent.files)
    assert str(tmp_path) not in (hub / "config.json").read_text()
    again = tt.from_pretrained("someone/vae")
    assert torch.equal(again.sample(2, seed=0), model.eval().sample(2, seed=0))
    assert "someone/vae" in (hub / "README.md").read_text()


def test_a_hub_that_is_not_reached_is_one_line(monkeypatch: Any) -> None:
    def refuse(*words: Any, **how: Any) -> None:
        raise OSError("no route to host\nand more")

    api = SimpleNamespace(create_repo=refuse)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=lambda: api, snapshot_download=refuse))
    with pytest.raises(TriptychError, match=r"someone/digits .*\(no route to host\); a folder"):
        tt.from_pretrained("someone/digits")
    with pytest.raises(TriptychError, match="no route to host"):
        tt.push_to_hub("pixelcnn-mnist", "someone/digits")
