"""Verbs that measure a run: likelihood, distances, runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from triptych.cli import output
from triptych.cli.options import (
    Binary,
    Channels,
    Device,
    Folder,
    Json,
    Limit,
    Seed,
    Size,
    Source,
    Split,
    Strict,
    as_read_by,
    open_data,
    pick_device,
)


def score(
    folder: Folder,
    source: Source,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Importance samples an item, for models with latent variables.")
    ] = None,
    ais: Annotated[
        int | None,
        typer.Option(
            metavar="TEMPERATURES", min=1, help="Annealed importance sampling, for VAEs and GANs: 1000 are many."
        ),
    ] = None,
    chains: Annotated[int, typer.Option(min=2, help="Annealed chains an item.")] = 16,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="SIGMA",
            help="GANs, annealed: the noise between G(z) and x, a standard deviation or bernoulli. Decides the number.",
        ),
    ] = None,
    limit: Limit = None,
    batch: Annotated[int, typer.Option(min=1, help="Items at a time.")] = 100,
    per_item: Annotated[Path | None, typer.Option(metavar="FILE", help="Write each item's value (.csv).")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    split: Split = "test",
    binary: Binary = None,
    size: Size = None,
    channels: Channels = None,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Text: tokens from window to window; only so many of each, with context, count."),
    ] = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """How likely data is under a model: nats and bits/dim, with the kind of the number and its protocol."""
    from triptych.data import check_fits
    from triptych.inference.ais import Annealing
    from triptych.inference.generators import observation
    from triptych.verbs.create import load
    from triptych.verbs.score import score as measure
    from triptych.verbs.score import write_items

    model = load(folder).to(pick_device(device))
    found = open_data(source, split, binary, size, channels, strict, **as_read_by(model), stride=stride)
    check_fits(found, model.config)
    anneal = Annealing(ais, chains) if ais else None
    between = observation(noise) if noise else None
    result = measure(model, found, draws=draws, anneal=anneal, noise=between, limit=limit, batch=batch, seed=seed)
    if per_item:
        write_items(result, per_item)
    if as_json:
        output.dump(result.summary())
        return
    value = f"{result.nats:.3f} +- {result.stderr:.3f} nats, {result.bits_per_dim:.4f} bits/dim"
    if result.bits_per_char is not None:
        value += f", {result.bits_per_char:.4f} bits/character"
    output.say(f"{result.model} on {result.data}: {value}")
    protocol = f"{result.measure}, {result.dims} dims, n = {result.n}, seed {result.seed}"
    output.say(f"{result.kind} ({result.how}); {protocol}")
    if gap := result.gap:
        bounds = "between an upper and a lower bound"
        output.say(f"{gap.nats:.3f} +- {gap.stderr:.3f} nats {bounds}, on {gap.n} examples of the model's own (BDMC)")


def evaluate(
    folder: Folder,
    source: Source,
    n: Annotated[int, typer.Option("-n", min=50, help="Samples, and as many real items.")] = 2000,
    draws: Annotated[int | None, typer.Option(min=1, help="Importance samples an item, for the likelihood.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    binary: Binary = None,
    size: Size = None,
    channels: Channels = None,
    as_json: Json = False,
) -> None:
    """Distances between samples and held-out data, coverage, copies of the training set, and the likelihood."""
    from triptych.verbs.create import load
    from triptych.verbs.evaluate import evaluate as measure

    model = load(folder).to(pick_device(device))
    train = open_data(source, "train", binary, size, channels, False, **as_read_by(model))
    test = open_data(source, "test", binary, size, channels, False, **as_read_by(model))
    result = measure(model, train, test, n=n, draws=draws, seed=seed)
    if as_json:
        output.dump(result.as_dict())
        return
    output.table(f"{result.model} on {result.data}", ["measure", "value", "floor", "protocol"], result.rows())


def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report (.html).")] = None,
    n: Annotated[int, typer.Option("-n", min=50, help="Samples of each model, and as many real items.")] = 2000,
    limit: Annotated[int | None, typer.Option(min=1, help="Items to score for the likelihood; default all.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Runs side by side: likelihood with its kind, distances with their floor, pictures."""
    from triptych.verbs.compare import compare as measure

    result = measure(folders, out=out, n=n, limit=limit, seed=seed, device=pick_device(device), say=output.note)
    if as_json:
        output.dump(result.as_dict())
        return
    columns, rows = result.table()
    output.table("Comparison", columns, rows)
    for line in result.notes():
        output.say(line)
    if out:
        output.say(f"report: {out}")
