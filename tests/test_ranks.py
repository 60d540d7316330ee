"""Several processes: where they meet, and what each says."""

import logging
import os
import socket
from typing import Any

import pytest
import torch
import torch.distributed as dist

from triptych.nn import ranks
from triptych.training import Run
from triptych.training.loop import peculiarities
from triptych.verbs.create import create
from triptych.verbs.signals import Stop
from triptych.verbs.train import asked, setup_ranks


@pytest.fixture
def address(monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 1}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(("backends", "place"), [("gloo", "cpu"), ("cpu:gloo,cuda:gloo", "cpu"), ("cuda:gloo", "cuda")])
def test_ranks_meet_where_their_group_has_a_backend(backends: str, place: str, address, monkeypatch) -> None:
    """A group for GPUs only refuses tensors of the CPU: the flag that ends a run has to lie on a GPU then."""
    met = []

    def made(value: float, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        met.append(device.type)
        return torch.ones((), dtype=dtype) * value  # there may be no GPU here

    monkeypatch.setattr(ranks.torch, "tensor", made)
    dist.init_process_group(backends)
    try:
        assert ranks.meeting_place().type == place
        assert not asked(Stop()), "alone, there is nobody to meet"
        monkeypatch.setattr(ranks, "world", lambda: 2)
        monkeypatch.setattr(dist, "all_reduce", lambda t, op: t.fill_(15.0))
        stop = Stop()
        assert asked(stop) and stop.signal == 15 and met == [place]
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(("gpu", "backends"), [(True, "cpu:gloo,cuda:nccl"), (False, "gloo")])
def test_a_group_takes_tensors_of_both_kinds(gpu: bool, backends: str, monkeypatch) -> None:
    joined: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "set_device", joined.append)
    monkeypatch.setattr(dist, "init_process_group", joined.append)
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    monkeypatch.setitem(os.environ, "LOCAL_RANK", "1")
    setup_ranks()
    assert joined == [1, backends] if gpu else joined == [backends]


def test_what_each_rank_draws_itself_is_said(monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    model = create("gan-tiny", seed=0, hidden_dropout=0.5)
    with caplog.at_level(logging.WARNING):
        assert peculiarities(model, Run()) == []
        monkeypatch.setattr(ranks, "world", lambda: 2)
        (line,) = peculiarities(model, Run())
        assert "2 ranks: dropout's masks are drawn by each rank itself" in line
        (line,) = peculiarities(create("dcgan-tiny", seed=0), Run(augment=("color",)))
        assert "augmentations" in line and "dropout" not in line
        assert peculiarities(create("vae-tiny", seed=0), Run()) == []
