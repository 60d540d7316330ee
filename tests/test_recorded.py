"""Samplers whose every step is the same work, as a GPU's recorded ones are, against those of the CPU."""

import gc
import logging
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from triptych.core import UNKNOWN, Autoregressive, Sampling, products
from triptych.nn import recorded, transformer
from triptych.nn.recorded import Repeated
from triptych.testing import Examples
from triptych.verbs.create import create

CPU = torch.device("cpu")
PRESETS = [
    "gpt-tiny",
    "imagegpt-tiny",
    "imagegpt-tiny-rgb",
    "imagegpt-tiny-classes",
    "gated-pixelcnn-tiny",
    "gated-pixelcnn-tiny-rgb",
    "gated-pixelcnn-tiny-classes",
    "wavenet-tiny",
    "wavenet-tiny-binary",
    "vq-vae-tiny",
    "vq-vae-2-tiny",
    "llamagen-tiny-classes",
    "videogpt-tiny-blocks",
]


class Played:
    """In place of a CUDA graph: plays by calling."""

    made = 0

    def __init__(self, step, device):
        self.replay = step
        Played.made += 1


@pytest.fixture
def steady(monkeypatch):
    """A CPU that records."""

    def begin():
        monkeypatch.setenv("TRIPTYCH_NATIVE", "0")
        monkeypatch.setattr(recorded, "records", lambda device: True)
        monkeypatch.setattr(recorded, "recorded", Played)
        monkeypatch.setattr(recorded, "WARM", 1)
        Played.made = 0

    return begin


def sharp(preset):
    """A random model of no small logits."""
    model = create(preset)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
                layer.weight.mul_(2)
                if not layer.weight.any():  # which would draw evenly, whatever it is told
                    layer.weight.normal_()
    return model.eval()


@pytest.mark.parametrize("preset", PRESETS)
def test_steady_samplers_draw_the_same(preset, steady, monkeypatch):
    model = sharp(preset)
    given = Examples(model.config.x, getattr(model.config, "given", None), 5).conditions
    expected = model.sample(5, given, seed=1)
    assert len(torch.unique(expected, dim=0)) > 1
    monkeypatch.setattr(transformer, "SPAN", 4)
    steady()
    assert torch.equal(model.sample(5, given, seed=1), expected)
    assert Played.made or preset.startswith("vq-vae")  # which has two codes
    if isinstance(model, Autoregressive):
        x = model.config.x
        index = x.index(expected) if hasattr(x, "index") else expected
        known = index.flatten(1).clone()
        known[:, known.shape[1] // 2 :] = UNKNOWN
        how = Sampling(known=known.view(index.shape), temperature=0.7, top_k=2)
        found = model.sample(5, given, seed=2, how=how)
        monkeypatch.undo()
        assert torch.equal(found, model.sample(5, given, seed=2, how=how))


def test_a_step_that_cannot_be_recorded_runs_as_it_is(monkeypatch, caplog):
    count = torch.zeros(())

    def broken(*arguments, **options):
        raise RuntimeError("operation not permitted when stream is capturing\nat some place")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "device", broken)
    monkeypatch.setattr(recorded, "records", lambda device: True)
    again = Repeated(lambda: count.add_(1), CPU)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            again()
    assert count == 5 and len(caplog.records) == 1
    assert "kernel by kernel: operation not permitted when stream is capturing" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_collected_while_a_step_is_recorded(fails, monkeypatch):
    """What is left of another graph would be destroyed there, and to do so ends a recording."""
    handles, seen = iter(range(9)), []
    for name, made in {"CUDAGraph": object, "device": nullcontext, "graph": lambda graph, **_: nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, made)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    memory = recorded.Memory()

    def step():
        seen.append(gc.isenabled())
        if fails:
            raise RuntimeError("operation not permitted when stream is capturing")

    made = recorded.recorded(step, CPU, memory=memory)
    assert seen == [False] and gc.isenabled()
    assert (made is None) == fails
    assert memory.handle == int(fails), "a recording that failed is not over for torch: others need other memory"


def test_products_are_put_back_as_they_were():
    """The switches are those of GPUs, but every build has them."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    for how in ("tf32", "fp32"):
        with products(how, torch.device("cuda")):
            assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == (how == "tf32")
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
    with products("tf32", CPU):
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
