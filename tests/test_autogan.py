"""AutoGAN: its cells do what they are asked, the shared network holds them all, and the search chooses among them."""

import json
import math
import os
import signal
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from triptych.core import Images, Points, UsageError
from triptych.data import data
from triptych.io import configs, tensors
from triptych.models.gan.autogan import PAPERS, AutoGAN, AutoGANConfig, Cell, CellNet, Generator, initialize
from triptych.search import autogan as program
from triptych.search.controller import NORMS, UPS, Controller, decoded, every_cell, options
from triptych.search.rewards import Closeness, InceptionScore, reduced
from triptych.search.searching import Search, Searching, search

SMALL = Images(1, 16, 16)


def test_the_papers_generator():
    """The authors' code writes it 1 0 1 1, 1 0 0 1 1, 1 0 1 0 3."""
    written = ([1, 0, 1, 1], [1, 0, 0, 1, 1], [1, 0, 1, 0, 3])
    assert tuple(decoded(actions, i) for i, actions in enumerate(written)) == PAPERS == AutoGANConfig().cells
    m = AutoGAN(AutoGANConfig())
    assert m.generator.grid[0].out_features == 256 * 4 * 4
    norms = [layer for layer in m.generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 1, "none in the cells, one before the image"
    assert [player.turns for player in m.stages()[0].players] == [5, 1]


def test_every_cell_is_written_once():
    assert [len(every_cell(i)) for i in range(3)] == [36, 72, 144]
    assert [len(set(every_cell(i))) for i in range(3)] == [36, 72, 144]
    assert options(0) == (2, 3, 3, 2) and options(2) == (2, 3, 3, 2, 4)


def features(channels=4, side=4, n=3):
    torch.manual_seed(0)
    return torch.randn(n, channels, side, side)


@pytest.mark.parametrize("cell", every_cell(1))
def test_a_cell_of_one_choice_is_the_shared_one_with_that_choice(cell):
    """The found generator is the one whose reward was measured: same parts, same names."""
    torch.manual_seed(1)
    shared = CellNet(4, 4, 1, every_cell(1), shared=True)
    alone = CellNet(4, 4, 1, [cell], shared=False)
    parts = {k: v for k, v in shared.state_dict().items() if k in alone.state_dict()}
    missing = alone.load_state_dict(parts, strict=False)
    assert all("running" in k or "tracked" in k for k in missing.missing_keys)
    x, earlier = features(), [features(side=4)]
    for a, b in zip(shared(x, earlier, cell), alone.train()(x, earlier, cell), strict=True):
        assert a.shape == (3, 4, 8, 8) and torch.allclose(a, b, atol=1e-6)
    assert sum(w.numel() for w in alone.parameters()) < sum(w.numel() for w in shared.parameters())


def test_no_two_choices_are_the_same():
    torch.manual_seed(1)
    net = CellNet(4, 4, 1, every_cell(1), shared=True)
    made = torch.stack([net(features(), [features()], cell)[1].flatten() for cell in every_cell(1)])
    apart = torch.pdist(made)
    assert (apart > 1e-3).all()


def test_a_cell_is_what_figure_1_says():
    """Of one that has everything, by the same operations in the order of the figure."""
    torch.manual_seed(2)
    cell = Cell(conv="pre", norm="instance", up="bilinear", shortcut=True, skips=(True, False))
    net = CellNet(4, 4, 2, [cell], shared=False)
    x, earlier = features(side=8), [features(side=8), features(side=8)]

    def up(h):
        return interpolate(h, scale_factor=2.0, mode="bilinear")

    def norm(h):
        return (h - h.mean((2, 3), True)) / (h.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()

    first = net.first["pre"].conv(up(norm(x).relu()))
    made, out = net(x, [features(side=4), earlier[1]], cell)
    assert torch.allclose(made, first, atol=1e-5), "what later cells get is what the first convolution made, no more"
    twice = net.skips[0](up(up(features(side=4))))
    second = net.second["pre"].conv(norm(first + twice).relu()) + net.short(up(x))
    assert torch.allclose(out, second, atol=1e-5)


@pytest.mark.parametrize(("conv", "positive"), [("pre", False), ("post", True)])
def test_activation_before_or_after(conv, positive):
    torch.manual_seed(0)
    cell = Cell(conv=conv, shortcut=False)
    out = CellNet(4, 4, 0, [cell], shared=False)(features(), [], cell)[1]
    assert bool((out >= 0).all()) == positive


def test_a_generator_of_fewer_cells_makes_a_smaller_image():
    g = Generator(Images(1, 28, 28), 4, 4, [every_cell(i) for i in range(3)], shared=True)
    shapes = [tuple(g(torch.randn(2, 4), PAPERS[:k]).shape) for k in (1, 2, 3)]
    assert shapes == [(2, 1, 7, 7), (2, 1, 14, 14), (2, 1, 28, 28)]
    x = torch.randn(2, 1, 28, 28)
    assert [tuple(reduced(x, k).shape[2:]) for k in (2, 1, 0)] == [(7, 7), (14, 14), (28, 28)]
    assert reduced(x, 2)[0, 0, 0, 0].item() == pytest.approx(x[0, 0, :4, :4].mean().item(), abs=1e-6)


def test_shared_statistics_are_the_batchs():
    """Of a network that plays many parts, running averages would be those of none."""
    g = Generator(SMALL, 4, 4, [every_cell(0)], shared=True)
    z = torch.randn(5, 4)
    cell = [Cell(norm="batch")]
    assert torch.equal(g.train()(z, cell), g.eval()(z, cell))


def test_the_discriminator_is_normalized_and_the_generator_is_not():
    m = AutoGAN(AutoGANConfig(x=SMALL, cells=PAPERS[:2], latent=4, width=4, critic_width=4))
    for layer in m.discriminator.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert nn.utils.parametrize.is_parametrized(layer, "weight")
    assert not any(nn.utils.parametrize.is_parametrized(layer) for layer in m.generator.modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": ()}, "at least one"),
        ({"cells": (Cell(skips=(True,)),)}, r"cells\.0\.skips"),
        ({"cells": (Cell(), Cell())}, r"cells\.1\.skips"),
        ({"x": Images(1, 15, 28)}, "16 pixels"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(AutoGANConfig(), **change)


# the search

TINY = Search(
    iterations=(1, 2),
    shared_steps=2,
    controller_steps=3,
    candidates=4,
    beam=2,
    batch=4,
    latent=4,
    width=4,
    critic_width=4,
    images=16,
    hidden=8,
)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    draws = np.random.default_rng(0)
    x = np.zeros((200, 16, 16), np.uint8)
    for picture, (top, left) in zip(x, draws.integers(0, 8, (200, 2)), strict=True):
        picture[top : top + 8, left : left + 8] = 255
    np.savez(folder / "squares.npz", x=x)
    return data(folder / "squares.npz", cache=folder / "cache")


def test_the_controller_begins_undecided_and_learns_what_is_rewarded():
    """A reward for one short cut and one way of doubling: soon nothing else is written."""
    torch.manual_seed(0)
    c, coins = Controller(16, 1), torch.Generator().manual_seed(0)
    zeros = (torch.zeros(1, 16), torch.zeros(1, 16))
    assert c.write(zeros, coins).entropy.item() == pytest.approx(sum(map(math.log, options(1))), rel=1e-5)
    optimizer, baseline = torch.optim.Adam(c.parameters(), 5e-2), 0.5
    for _ in range(100):
        draft = c.write(zeros, coins)
        reward = 0.5 * draft.cell.shortcut + 0.5 * (draft.cell.up == "deconv")
        optimizer.zero_grad()
        ((baseline - reward) * draft.log_prob).backward()
        optimizer.step()
        baseline = 0.9 * baseline + 0.1 * reward
    written = [c.write(zeros, coins).cell for _ in range(30)]
    assert sum(cell.shortcut and cell.up == "deconv" for cell in written) > 24


def test_choices_have_the_probability_that_is_reported():
    torch.manual_seed(0)
    c, coins = Controller(4, 0), torch.Generator().manual_seed(0)
    for head in c.heads:
        nn.init.normal_(head.weight, 0, 2)
    zeros = (torch.zeros(1, 4), torch.zeros(1, 4))
    drafts = [c.write(zeros, coins) for _ in range(500)]
    p = {d.cell: d.log_prob.exp().item() for d in drafts}
    for cell in sorted(p, key=p.__getitem__)[-3:]:
        share = sum(d.cell == cell for d in drafts) / 500
        assert abs(share - p[cell]) < 5 * math.sqrt(p[cell] * (1 - p[cell]) / 500)


def test_a_search_is_a_function_of_its_seed(squares):
    def brightness(images):
        return images.mean().item()

    state = torch.get_rng_state()
    a, b, c = (search(squares, replace(TINY, seed=seed), brightness) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert a == b and a.trials != c.trials
    assert [len(t.cells) for t in a.trials] == [1] * 3 + [2] * 6, "cell by cell"
    assert a.best == max(a.finalists, key=lambda t: t.reward) and len(a.best.cells) == 2
    assert [t.rounds for t in a.trials] == [2] * 3 + [4] * 3 + [6] * 3


def test_generators_grow_from_the_best(squares):
    """Bilinear first cells are worth most: the second cell is searched for behind those alone."""

    class Prefers(Searching):
        def tried(self, cells):
            return replace(super().tried(cells), reward=float(cells[0].up == "bilinear"))

    settings = replace(TINY, candidates=40, beam=5)
    now = Prefers(squares, settings, lambda images: 0.0)
    torch.manual_seed(0)
    selected = now.selected(Controller(8, 0))
    assert len({kept.cells for _, kept in selected}) == len(selected), "each once"
    now.beam = [kept for _, kept in selected[:5]]
    assert {kept.cells[0].up for kept in now.beam} == {"bilinear"}
    second, states = Controller(8, 1), {id(kept.state[0]) for kept in now.beam}
    assert {now.write(second)[0][0].up for _ in range(20)} == {"bilinear"} and len(states) == 5


def test_random_search_never_learns(squares):
    """Its choices are as undecided at the end: over many, each is made."""
    found = search(squares, replace(TINY, learn=False, controller_steps=25, iterations=(2,)), lambda images: 1.0)
    assert {t.cells[0].up for t in found.trials} == set(UPS) and {t.cells[0].norm for t in found.trials} == set(NORMS)


def test_a_network_that_stands_still_starts_afresh(squares):
    now = Searching(squares, replace(TINY, window=2, still=1e9), lambda images: 0.0)
    before = now.shared
    controller = Controller(8, 0)
    now.round(controller)
    assert now.shared is before
    now.round(controller)
    assert now.shared is not before and now.resets == 1 and not now.losses["generator"]


def test_rewards():
    assert InceptionScore()(torch.zeros(20, 1, 7, 7)) == pytest.approx(1, abs=1e-3), "one class, whatever it is"
    digits = data("mnist:test")
    close = Closeness(digits, 200)
    real = digits.subset(slice(1000, 1300)).stored.float() / 127.5 - 1
    assert close.name == "- log FD-mnist-classifier"
    for halvings, noise in product((0, 1, 2), (1.0,)):
        x = reduced(real, halvings)
        assert close(x) > close((x + noise * torch.randn_like(x)).clamp(-1, 1)) + 1, "at every resolution"
    assert InceptionScore()(real) > 6


def test_the_program_writes_what_train_takes(squares, tmp_path):
    fields = configs.to_json(TINY)
    changes = [f"{k}={json.dumps(v)}" for k, v in fields.items() if k not in ("adam", "learn")]
    program.main(["--data", squares.opened["source"], "--out", str(tmp_path / "found"), *changes])
    text = (tmp_path / "found" / "cells.json").read_text()
    config = configs.override(AutoGANConfig(x=SMALL, cells=PAPERS[:2]), [f"cells={text}", "width=4", "latent=4"])
    assert AutoGAN(config).sample(2, seed=0).shape == (2, 1, 16, 16)
    written = json.loads((tmp_path / "found" / "search.json").read_text())
    assert written["controller"]["best"]["cells"] == json.loads(text)
    assert len(written["random"]["trials"]) == len(written["controller"]["trials"]) == 9, "an equal budget"
    assert written["protocol"]["reward"].startswith("- log FD") and written["controller"]["seconds"] > 0
    picture = (tmp_path / "found" / "curve.svg").read_text()
    assert picture.startswith("<svg") and "random" in picture


class Enough(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 9, 14])
def test_a_search_goes_on_from_anywhere_as_if_nothing_had_happened(squares, steps: int):
    """Within a cell, between two, in rounds and in updates: the same finds, rewards and order, and the same saved."""

    def brightness(images):
        return images.mean().item()

    settings, kept = replace(TINY, window=3, still=1e-9), []
    whole = search(squares, settings, brightness)

    def cut(now: Searching) -> None:
        kept.append(now.state())
        if len(kept) == steps:
            kept.append(tensors.unpack_tree(*tensors.pack_tree(now.state()), "a checkpoint"))
            raise Enough

    with pytest.raises(Enough):
        search(squares, settings, brightness, after=cut)
    torch.manual_seed(99)  # the global state must not matter
    assert search(squares, settings, brightness, state=kept[-1]) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_search_and_the_same_command_goes_on(squares, tmp_path, monkeypatch, capsys, number, code):
    fields = configs.to_json(TINY)
    changes = [f"{k}={json.dumps(v)}" for k, v in fields.items() if k not in ("adam", "learn")]

    def play(out: str) -> None:
        program.main(["--data", squares.opened["source"], "--out", str(tmp_path / out), *changes])

    def found(out: str) -> dict:
        written = json.loads((tmp_path / out / "search.json").read_text())
        return {name: {k: v for k, v in written[name].items() if k != "seconds"} for name in ("controller", "random")}

    play("whole")
    step, steps = Searching.step, []

    def stepped(self: Searching) -> None:
        step(self)
        steps.append(1)
        if len(steps) in (4, 25):  # the second is in the random search
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Searching, "step", stepped)
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            play("cut")
        assert end.value.code == code and "saved in" in capsys.readouterr().err
    play("cut")
    assert found("cut") == found("whole")
    before = (tmp_path / "cut" / "search.json").read_bytes()
    play("cut")  # is done
    assert (tmp_path / "cut" / "search.json").read_bytes() == before
    for more, said in ((["seed=5"], "holds a search with settings"), (["--no-resume"], "already holds a search")):
        with pytest.raises(SystemExit) as end:
            program.main(["--data", squares.opened["source"], "--out", str(tmp_path / "cut"), *changes, *more])
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_an_empty_name_is_no_folder(capsys):
    with pytest.raises(SystemExit) as end:
        program.main(["--data", "mnist", "--out", ""])
    assert end.value.code == 2 and "name a folder" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [["--data", "nothing"], ["--data", "mnist", "wdth=3"], ["--data", "gaussians-25"]])
def test_a_mistake_ends_the_program_in_a_line(asked, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        program.main([*asked, "--out", str(tmp_path / "found")])
    err = capsys.readouterr().err
    assert end.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "found").exists()


def test_what_cannot_be_searched_is_refused(squares):
    with pytest.raises(UsageError, match="32 pixels or more"):
        search(squares.subset(slice(0, 20)), replace(TINY, iterations=(1, 1, 1, 1)), lambda images: 0.0)

    class Plane:
        name, x = "ring", Points(2)

    with pytest.raises(UsageError, match="takes images"):
        Searching(Plane(), TINY, lambda images: 0.0)


def test_initial_weights():
    net = Generator(SMALL, 4, 8, [[Cell()]], shared=False).apply(initialize)
    weight = net.cells[0].first["pre"].conv.weight
    assert weight.abs().max() <= math.sqrt(6 / (8 * 9 + 8 * 9))
