"""A batch in parts: what adds up to that of the whole batch, model by model, and what is said of the rest."""

import copy
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from triptych import models
from triptych.core import Batch, Clock, Generative, Loss, Noise, PartialLabel, Player, StepNoise
from triptych.models.gan.sgan import supervised
from triptych.nn import ranks
from triptych.nn.codebook import Codebook
from triptych.nn.equalized import MinibatchDeviation
from triptych.testing import Examples
from triptych.training import Run, turn
from triptych.training import train as loop
from triptych.verbs.create import create

N = 8


def tiny_presets() -> list[str]:
    return [name for entry in models.own().values() for name in entry.presets() if "-tiny" in name]


def steady(name: str) -> Generative[Any]:
    """A tiny model, in double precision if it can be, whose layers look at items one by one: without dropout, whose
    masks do not belong to items, statistics of a batch, and augmentation, which is drawn as masks are."""
    plain = {"augment": ()} if hasattr(models.find_preset(name)[1].config, "augment") else {}
    model = create(name, seed=1, **plain).train()
    model = model if name == "lapgan-tiny-class" else model.double()  # its classes are float32
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, _BatchNorm):
            module.eval()
        if isinstance(module, MinibatchDeviation):
            module.size = 1
    return model


def parts_of(model: Generative[Any], parts: int, n: int = N) -> list[Batch[Any]]:
    data, each = Examples(model.config.x, getattr(model.config, "given", None)), n // parts
    slices = [slice(i * each, (i + 1) * each) for i in range(parts)]
    found = [data.fetch(torch.arange(n)[s], StepNoise(3, n, s)) for s in slices]
    kind = next(model.parameters()).dtype

    def typed(t: torch.Tensor) -> torch.Tensor:
        return t.to(kind) if t.is_floating_point() else t

    wrong = torch.arange(n) % 2 == 0  # every other picture has another in its place
    return [
        replace(b, x=typed(b.x), given=b.given and b.given.map(typed), noise=Typed(b.noise, kind), wrong=wrong[s])
        for b, s in zip(found, slices, strict=True)
    ]


class Typed:
    """The same noise in another precision."""

    def __init__(self, noise: Noise, kind: torch.dtype) -> None:
        self.noise, self.kind, self.n, self.device = noise, kind, noise.n, noise.device

    def normal(self, *shape: int) -> torch.Tensor:
        return self.noise.normal(*shape).to(self.kind)

    def uniform(self, *shape: int) -> torch.Tensor:
        return self.noise.uniform(*shape).to(self.kind)


def play(model: Generative[Any], player: Player, parts: list[Batch[Any]]) -> dict[str, torch.Tensor]:
    """A turn: what it logs, its gradient, and what is in the model afterwards."""
    torch.manual_seed(0)
    loss = turn(model, player, player.optimizer(player.owns.parameters()), parts, Clock(1, 0.5))
    found = {"loss": loss.value, **loss.logs}
    found |= {f"gradient of {k}": w.grad for k, w in player.owns.named_parameters() if w.grad is not None}
    return found | {f"buffer {k}": v.clone() for k, v in model.named_buffers()}


@pytest.mark.parametrize("name", tiny_presets())
def test_parts_add_up_to_the_whole_batch(name: str) -> None:
    """Losses, logs, gradients and buffers of every player, in layers that look at items one by one."""
    model = steady(name)
    exact = next(model.parameters()).dtype == torch.float64
    for stage, player in [(s, p) for s, one in enumerate(model.stages()) for p in range(len(one.players))]:
        one, other = copy.deepcopy(model), copy.deepcopy(model)
        if one.stages()[stage].players[player].together:
            continue
        results = []
        for copied, parts in ((one, 1), (other, 2)):
            at = copied.stages()[stage]
            if at.begin:
                at.begin()
            for _ in range(2):  # the second begins with what the first has left
                found = play(copied, at.players[player], parts_of(copied, parts))
            results.append(found)
        assert results[0].keys() == results[1].keys()
        for key, value in results[0].items():
            near = {"rtol": 1e-6, "atol": 1e-8} if exact else {"rtol": 1e-3, "atol": 1e-5}
            torch.testing.assert_close(results[1][key], value, **near, msg=lambda m, k=key: f"{k}: {m}")


# Ranks


class Threads:
    """Two ranks that are threads of this process: sums over both are those of what they have brought."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here, self.meeting = threading.local(), threading.Barrier(2, timeout=60)
        self.brought: list[torch.Tensor] = [torch.zeros(())] * 2
        monkeypatch.setattr(ranks, "world", lambda: 2 if hasattr(self.here, "rank") else 1)
        monkeypatch.setattr(ranks, "rank", lambda: getattr(self.here, "rank", 0))
        monkeypatch.setattr(ranks.dist, "all_reduce", self.reduce)

    def reduce(self, x: torch.Tensor) -> None:
        self.brought[self.here.rank] = x
        self.meeting.wait()
        total = self.brought[0] + self.brought[1]
        self.meeting.wait()
        x.copy_(total)

    def both(self, work: Callable[[int], Any]) -> list[Any]:
        """What each makes of its number."""

        def one(rank: int) -> Any:
            self.here.rank = rank
            try:
                return work(rank)
            except BaseException:
                self.meeting.abort()
                raise

        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(one, range(2)))


def tied() -> list[tuple[str, int, int]]:
    """Players of losses that make something of all items at once: a preset, a stage and the player's place."""
    return [
        (name, s, p)
        for name in tiny_presets()
        for s, stage in enumerate(create(name, seed=1).stages())
        for p, player in enumerate(stage.players)
        if player.together
    ]


def unlike(batch: Batch[Any], first: int) -> Batch[Any]:
    """Items that are not equally much: sounds end sooner or later."""
    if batch.x.dim() != 3:
        return batch
    lengths = batch.x.shape[2] * (1 + first + torch.arange(len(batch.x))) // N
    heard = torch.arange(batch.x.shape[2]) < lengths[:, None, None]
    return replace(batch, x=batch.x * heard, lengths=lengths)


@pytest.mark.parametrize(("name", "stage", "player"), [*tied(), ("pix2pix-tiny", 0, 0), ("pixel-dtgan-tiny", 0, 1)])
def test_ranks_learn_from_all_items_at_once(
    name: str, stage: int, player: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is normalized by a count, or compared with another item, is so in the batch of all ranks."""
    model, threads = steady(name), Threads(monkeypatch)
    copies = [copy.deepcopy(model) for _ in range(3)]
    halves = [unlike(part, k * N // 2) for k, part in enumerate(parts_of(model, 2))]
    (whole,) = (unlike(part, 0) for part in parts_of(model, 1))
    alone = play(copies[2], copies[2].stages()[stage].players[player], [whole])
    for found in threads.both(lambda k: play(copies[k], copies[k].stages()[stage].players[player], [halves[k]])):
        assert found.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-8, msg=lambda m, k=key: f"{k}: {m}")


def test_labels_of_a_part_weigh_as_in_the_batch() -> None:
    """One part knows all of its labels, another none, a third one."""
    model = steady("sgan-tiny")
    y = torch.tensor([0, 1, 2, 1, -1, -1, -1, -1, -1, 2, -1, -1])
    results = []
    for parts in (1, 3):
        batches = parts_of(model, parts, n=12)
        given = y.view(parts, -1)
        batches = [replace(b, given=PartialLabel(labels)) for b, labels in zip(batches, given, strict=True)]
        results.append(play(copied := copy.deepcopy(model), classifier(copied), batches)["loss"])
    assert results[0] > 0
    torch.testing.assert_close(results[1], results[0])


def classifier(model: Any) -> Player:
    """With the supervised part of its loss alone."""

    def loss(batch: Batch[PartialLabel], clock: Clock) -> Loss:
        return Loss(supervised(model.classifier(batch.x), batch.given.y, batch.labeled))

    return replace(model.stages()[0].players[0], loss=loss)


def test_a_codebook_learns_from_every_part() -> None:
    """N_k and m_k of 12 vectors, and the candidates for revival, whatever they came in."""
    z = torch.randn(12, 3)
    books = [Codebook(5, 3, decay=0.5, revive=1.0)]
    books += [copy.deepcopy(books[0]) for _ in range(2)]
    for book, parts in zip(books, (1, 2, 4), strict=True):
        for seed in range(3):
            code, each = book.nearest(z), 12 // parts
            for i in range(parts):
                rows = slice(i * each, (i + 1) * each)
                book.observe(z[rows], code[rows], StepNoise(seed, 12, rows))
            use = book.follow()
            assert book.seen_counts.sum() == 12
            assert use["used"] == len(code.unique()) / 5
    for book in books[1:]:
        for key in ("codes", "counts", "sums"):
            torch.testing.assert_close(getattr(book, key), getattr(books[0], key), msg=key)


def test_what_cannot_add_up_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def said(name: str, **changes: Any) -> list[str]:
        caplog.clear()
        model = create(name, seed=0)
        with caplog.at_level(logging.WARNING):
            for _ in loop(model, Examples(model.config.x, getattr(model.config, "given", None)), Run(**changes)):
                pass
        return [record.message for record in caplog.records]

    run = {"steps": 2, "batch": 8}
    assert said("dcgan-tiny", **run) == [] and said("vae-tiny", accumulate=2, **run) == []
    (line,) = said("dcgan-tiny", accumulate=2, **run)
    assert "each part of 4" in line and "batch normalization" in line
    (line,) = said("sgan-tiny", accumulate=2, **run)
    assert "batch normalization" in line and "the mean features that it matches" in line
    (line,) = said("progan-tiny", accumulate=2, **run)
    assert "minibatch deviation" in line and "batch normalization" not in line


def test_batch_statistics_are_the_mean_of_the_parts() -> None:
    """And a turn in parts is one update of them."""
    model = create("dcgan-tiny", seed=1).double()
    whole, parts = copy.deepcopy(model), copy.deepcopy(model)
    for m, k in ((whole, 1), (parts, 2)):
        player = m.stages()[0].players[0]
        torch.manual_seed(0)
        turn(m, player, player.optimizer(player.owns.parameters()), parts_of(m, k), Clock(0, 0.0))
    firsts = {"running_mean": 0, "num_batches_tracked": 0}
    for (name, value), other in zip(whole.named_buffers(), parts.buffers(), strict=True):
        kind = name.rpartition(".")[2]
        if name.startswith("generator.") and kind in firsts and not firsts[kind]:  # what it normalizes is the whole's
            torch.testing.assert_close(other, value, msg=name)
            firsts[kind] += 1
    assert all(firsts.values())
