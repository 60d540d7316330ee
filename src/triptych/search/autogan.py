"""The search for AutoGAN's generator: `python -m triptych.search.autogan --data mnist --out DIR`.

AutoGAN: Neural Architecture Search for Generative Adversarial Networks.
Gong, Chang, Jiang and Wang, 2019. https://arxiv.org/abs/1908.03835, Section 3

A controller, an LSTM, writes down a generator choice by choice. One network holds the weights of every generator that
it can write (parameter sharing), and is trained on those that it does; their rewards train the controller, by REINFORCE
with a baseline. Generators grow cell by cell (multi-level search): once a cell has been searched, the best few, with
the controller's states, are what a new controller goes on from at twice the resolution (progressive beam). The shared
network starts afresh when its losses hardly move any more (dynamic reset).

The result is a value of AutoGAN's `cells`. Beside it a random search is run, of equal budget: the same program with a
controller that never learns.
"""

import argparse
import json
import logging
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from triptych.core import (
    Data,
    UsageError,
)
from triptych.data import data as open_data
from triptych.errors import Interrupted, TriptychError, printable
from triptych.io import commit, configs, outputs, tensors
from triptych.io.lock import writing
from triptych.report.charts import Chart, Series, lines
from triptych.search.found import Found, as_json, cells_json, from_json
from triptych.search.rewards import Closeness, InceptionScore
from triptych.search.searching import Search, Searching, search, searchable
from triptych.training.signals import Stop, catching

log = logging.getLogger(__name__)


def curve(searches: dict[str, Found], reward: str) -> str:
    """Rewards in the order in which they were given, as an SVG picture."""
    series = [
        Series(name, range(1, len(found.trials) + 1), [t.reward for t in found.trials])
        for name, found in searches.items()
    ]
    depths = [len(t.cells) for t in next(iter(searches.values())).trials]
    grown = [str(i + 1) for i in range(1, len(depths)) if depths[i] > depths[i - 1]]
    caption = f"A cell more, and twice the resolution, from number {' and '.join(grown)} on." if grown else ""
    return lines(Chart(title="Rewards", series=series, x_label="generators tried", y_label=reward, caption=caption))


def folder(text: str) -> Path:
    """A folder's name from the command line."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a folder")
    return Path(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m triptych.search.autogan",
        description="Searches for AutoGAN's generator, and beside it at random. OUT/cells.json is what was found: "
        'triptych train autogan-mnist --data mnist --out DIR "cells=$(cat OUT/cells.json)"',
    )
    parser.add_argument("--data", required=True, metavar="SOURCE", help="images; those of its training part are used")
    parser.add_argument(
        "--out", required=True, type=folder, metavar="DIR", help="for search.json, cells.json, curve.svg, checkpoint/"
    )
    parser.add_argument("--reward", choices=("closeness", "inception-score"), default="closeness")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with the search in DIR, if there is one, bit for bit (the default)",
    )
    parser.add_argument("--save-seconds", type=float, default=60, metavar="S", help="time between checkpoints")
    parser.add_argument("settings", nargs="*", metavar="FIELD=VALUE", help="fields of Search: width=32 seed=1")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with catching() as stop:
        try:
            source, settings = open_data(args.data), configs.override(Search(), args.settings)
            searchable(source, settings)
            reward = Closeness(source) if args.reward == "closeness" else InceptionScore()
            options = {"resume": args.resume, "save_seconds": args.save_seconds, "stop": stop}
            with writing(args.out):
                run(source, settings, reward, args.out, **options)
        except TriptychError as e:
            parser.exit(e.exit_code, printable(f"error: {e}\n"))
        except Interrupted as e:
            parser.exit(e.exit_code, f"{e}\n")


WRITTEN = ("search.json", "cells.json", "cells-random.json", "curve.svg")
CHECKPOINT = "checkpoint"
STATE, TENSORS = "state.json", "state.safetensors"


def run(
    source: Data,
    settings: Search,
    reward: Closeness | InceptionScore,
    out: Path,
    *,
    resume: bool = False,
    save_seconds: float = 60,
    stop: Stop | None = None,
) -> None:
    """The search and the random one, each written to the folder once it is done, and both as far as they are to
    checkpoint/ every `save_seconds` and when `stop` is asked for.

    Raises UsageError if the folder holds a search that is not to be gone on with, or another one; Interrupted after a
    checkpoint.
    """
    protocol = {
        "data": source.name,
        "fingerprint": source.fingerprint,
        "reward": f"{reward.name}, {settings.images} samples of the same z, at the resolution of the last cell",
        "settings": configs.to_json(settings),
    }
    saved = reopen(out, protocol) if resume else None
    if saved is None:
        if (out / CHECKPOINT).exists():
            raise UsageError(f"{out} already holds a search; --resume goes on with it, another --out starts afresh")
        outputs.check_files(out, WRITTEN)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    about: dict[str, Any] = saved["done"] if saved else {}
    last = -math.inf  # the first step is kept at once: the folder is a search's from then on

    for name, learn in (("controller", True), ("random", False)):
        if name in about:
            continue
        ours = saved is not None and saved["name"] == name
        spent, began = saved["seconds"] if saved and ours else 0.0, time.monotonic()
        log.info("%s search%s", name, ", gone on with" if ours else "")

        def keep(now: Searching | None, name: str = name, spent: float = spent, began: float = began) -> None:
            nonlocal last
            seconds = spent + time.monotonic() - began
            state = {"protocol": protocol, "machine": machine, "name": name, "done": about, "seconds": seconds}
            plain, tensors_ = tensors.pack_tree({**state, "search": now.state() if now else None})
            commit.commit(out / CHECKPOINT, {STATE: plain, TENSORS: tensors_})
            last = time.monotonic()

        def after(now: Searching, keep: Callable[[Searching], None] = keep) -> None:
            asked = stop.signal if stop is not None else None
            if asked is not None or time.monotonic() - last > save_seconds:
                keep(now)
            if asked is not None:
                raise Interrupted(asked, f"interrupted after {now.rounds} rounds; saved in {out}: --resume goes on")

        state = saved["search"] if saved and ours else None
        found = search(source, replace(settings, learn=learn), reward, state=state, after=after)
        about[name] = {**as_json(found), "seconds": spent + time.monotonic() - began}
        write(out, name, found, {"protocol": {**protocol, "machine": machine}, **about}, reward.name)
        keep(None)


def write(out: Path, name: str, found: Found, written: dict[str, Any], reward: str) -> None:
    """What came of a search, and of those before it."""
    searches = {name: from_json(written[name]) for name in written if name != "protocol"}
    file = "cells.json" if name == "controller" else "cells-random.json"
    commit.write_atomic(out / "search.json", (json.dumps(written, indent=1) + "\n").encode())
    commit.write_atomic(out / file, (json.dumps(cells_json(found.best.cells)) + "\n").encode())
    commit.write_atomic(out / "curve.svg", curve(searches, reward).encode())
    log.info("%s: reward %.3f, %s", name, found.best.reward, cells_json(found.best.cells))


def reopen(out: Path, protocol: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint of a search; None if there is none yet. Raises UsageError if it is of another search."""
    path = out / CHECKPOINT
    if not commit.committed(path):
        return None
    files = commit.read(path, [STATE, TENSORS])
    saved: dict[str, Any] = tensors.unpack_tree(files[STATE], files[TENSORS], str(path / TENSORS))
    then = saved.get("protocol", {})
    changed = [k for k in protocol if then.get(k) != protocol[k]]
    if changed:
        k = changed[0]
        raise UsageError(f"{out} holds a search with {k} {then.get(k)}, not {protocol[k]}; name another --out")
    return saved


if __name__ == "__main__":
    main()
