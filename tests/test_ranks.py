"""Several processes: where they meet, and what each says."""

import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.distributed as dist

from triptych.cli import output
from triptych.errors import TriptychError
from triptych.nn import ranks
from triptych.training import Run
from triptych.training.loop import peculiarities
from triptych.verbs import train as verb
from triptych.verbs.create import create
from triptych.verbs.rounds.moments import asked
from triptych.verbs.signals import Stop
from triptych.verbs.train import setup_ranks


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


def remembering() -> dist.Store:
    """A store as torchrun hands it to ranks that it starts again: full of what the killed ones wrote."""
    store = dist.HashStore()
    for key, value in {
        "here/0": "gone",
        "here/1": "lost",
        "list": "gone lost",
        "gone lost/0": "",
        "gone lost/1": "",
    }.items():
        store.set(key, value)
    return store


@pytest.mark.parametrize(("gpu", "backends"), [(True, "cpu:gloo,cuda:nccl"), (False, "gloo")])
def test_a_group_takes_tensors_of_both_kinds(gpu: bool, backends: str, monkeypatch) -> None:
    joined: list[Any] = []
    store = remembering()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "set_device", joined.append)
    monkeypatch.setattr(verb, "rendezvous", lambda url: iter([(store, 1, 2)]))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **how: joined.extend([backend, how]))
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setitem(os.environ, name, value)
    with ThreadPoolExecutor() as other:
        first = other.submit(ranks.meet, store, 0, 2)
        setup_ranks()
    *before, backend, how = joined
    assert (before, backend) == ([1] if gpu else [], backends)
    assert (how["rank"], how["world_size"]) == (1, 2)
    how["store"].set("address", "new")
    assert first.result().get("address") == b"new", "they share a part of the store"
    assert not store.check(["address", "gone lost/address"]), "and nobody else does"


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_ranks_that_are_started_again_meet_each_other_only(rank: int) -> None:
    """Whoever comes first finds the addresses of killed processes; it has to wait for the living."""
    store = remembering()
    with pytest.raises(TimeoutError, match=f"rank {rank} of 3 waited 0 s"):
        ranks.meet(store, rank, 3, patience=0)
    with ThreadPoolExecutor() as threads:
        met = [threads.submit(ranks.meet, store, (rank + i) % 3, 3) for i in range(3)]
    parts = [one.result() for one in met]
    parts[0].set("address", "here")
    assert [part.get("address") for part in parts] == [b"here"] * 3


def test_ranks_that_do_not_meet_end_in_a_sentence(monkeypatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TriptychError, match=r"did not meet .*RANK.*the same command starts them again"):
        setup_ranks()
    advice = "[/a/b.cc:3] Connection refused. Good luck!\nat a.cc"
    for failure, says in ((dist.DistNetworkError(advice), "Connection refused"), (TimeoutError("waited"), "waited")):

        def fails(url: str, failure: Exception = failure) -> Any:
            raise failure

        monkeypatch.setattr(verb, "rendezvous", fails)
        with pytest.raises(TriptychError, match=rf"did not meet \({says}\); the same"):
            setup_ranks()


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


def test_the_first_rank_speaks_for_all(monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        output.say("a result")
        output.dump({"a": 1})
        output.table("results", ["a"], [["1"]])
        output.note("by the way")
        assert all(capsys.readouterr()) == said
