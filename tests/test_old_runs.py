"""Run folders that earlier versions wrote (tests/fixtures/runs) still load, sample and resume."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import triptych as tt
from triptych.verbs.prepare import prepare
from triptych.verbs.sample import examples
from triptych.verbs.train import train

RUNS = Path(__file__).parent / "fixtures" / "runs"
SOURCES = {
    "cgan": lambda: tt.data("mnist"),
    "vae": lambda: tt.data("mnist-binary"),
    "gpt": lambda: tt.data(RUNS / "gpt" / "text.txt", length=8),
}


def drawn(folder: Path) -> torch.Tensor:
    model = tt.load(folder)
    return model.sample(3, examples(model, 3), seed=5)


def close(x: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(x, wanted, atol=2e-4, rtol=0)  # another processor rounds its products in another way


@pytest.mark.parametrize("name", SOURCES)
def test_a_model_saved_earlier_samples_as_it_did(name: str) -> None:
    close(drawn(RUNS / name), load_file(RUNS / "expected.safetensors")[name])


@pytest.mark.parametrize("name", SOURCES)
def test_a_run_saved_earlier_resumes_as_it_did(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    shutil.copytree(RUNS / name, out)
    data = SOURCES[name]()
    model, run = prepare(name, data, [], {"steps": 10}, out)
    for _ in train(model, data, run, out=out, resume=True):
        pass
    close(drawn(out), load_file(RUNS / "expected.safetensors")[f"{name}-resumed"])
