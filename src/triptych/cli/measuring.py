"""Verbs that measure a run: likelihood, distances, runs side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from triptych.cli import output
from triptych.cli.options import (
    USING,
    Device,
    Features,
    Folder,
    Json,
    Limit,
    Overwrite,
    OwnSource,
    PerItem,
    PerToken,
    Protocol,
    Seed,
    data_options,
    pick_device,
)


@data_options(*USING, "stride", split="test")
def score(
    folder: Folder,
    source: OwnSource = None,
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
    per_item: PerItem = None,
    per_token: PerToken = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    opening: Any,
    as_json: Json = False,
) -> None:
    """How likely data is under a model: nats and bits/dim, with the kind of the number and its protocol."""
    from triptych.data import check_fits
    from triptych.inference.ais import Annealing
    from triptych.inference.generators import observation
    from triptych.verbs.create import load
    from triptych.verbs.opening import open_for
    from triptych.verbs.per_token import per_token as surprises
    from triptych.verbs.per_token import write_tokens
    from triptych.verbs.score import check_items, write_items
    from triptych.verbs.score import score as measure
    from triptych.verbs.train import sharing

    for path in (per_item, per_token):
        if path:
            check_items(path, overwrite=overwrite)
    model = load(folder).to(pick_device(device))
    found = open_for(model, folder, source, **opening)
    check_fits(found, model.config)
    anneal = Annealing(ais, chains) if ais else None
    between = observation(noise) if noise else None
    with sharing() as first:
        result = measure(model, found, draws=draws, anneal=anneal, noise=between, limit=limit, batch=batch, seed=seed)
    if not first:
        return
    if per_item:
        write_items(result, per_item)
    if per_token:
        write_tokens(surprises(model, found, limit=limit, batch=batch), per_token)
    if as_json:
        output.dump(result.summary())
        return
    within = f" +- {result.stderr:.3f}" if result.stderr == result.stderr else ""  # of one item nothing is known
    value = f"{result.nats:.3f}{within} nats, {result.bits_per_dim:.4f} bits/dim"
    if result.bits_per_char is not None:
        value += f", {result.bits_per_char:.4f} bits/character"
    output.say(f"{result.model} on {result.data}: {value}")
    protocol = f"{result.measure}, {result.dims} dims, n = {result.n}, seed {result.seed}"
    output.say(f"{result.kind} ({result.how}); {protocol}")
    if gap := result.gap:
        bounds = "between an upper and a lower bound"
        output.say(f"{gap.nats:.3f} +- {gap.stderr:.3f} nats {bounds}, on {gap.n} examples of the model's own (BDMC)")


@data_options(*(name for name in USING if name not in ("split", "strict")))
def evaluate(
    folder: Folder,
    source: OwnSource = None,
    n: Annotated[int, typer.Option("-n", min=50, help="Samples, and as many real items, at most.")] = 2000,
    draws: Annotated[int | None, typer.Option(min=1, help="Importance samples an item, for the likelihood.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    opening: Any,
    features: Features = None,
    protocol: Protocol = False,
    as_json: Json = False,
) -> None:
    """Distances between samples and held-out data, coverage, copies of the training set, and the likelihood."""
    from triptych.verbs.create import load
    from triptych.verbs.evaluate import evaluate as measure
    from triptych.verbs.features import parse
    from triptych.verbs.opening import both_parts

    model = load(folder).to(pick_device(device))
    train, test = both_parts(model, folder, source, **opening)
    result = measure(model, train, test, n=n, draws=draws, seed=seed, features=parse(features))
    if as_json:
        output.dump(result.as_dict())
        return
    columns, rows = ["measure", "value", "floor", "protocol"], result.rows()
    if protocol or not output.looked_at():
        output.table(f"{result.model} on {result.data}", columns, rows)
        for line in result.notes():
            output.note(line)
        return
    if result.fewer:
        output.note(result.fewer)
    for name, reason in result.without.items():
        output.note(f"no distances on {name}: {reason}")
    output.table(f"{result.model} on {result.data}", columns[:3], [row[:3] for row in rows])
    output.say("floor: what real images get against other real images. --protocol says how each number was measured.")


def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report (.html).")] = None,
    n: Annotated[int, typer.Option("-n", min=50, help="Samples of each model, and as many real items.")] = 2000,
    limit: Annotated[int | None, typer.Option(min=1, help="Items to score for the likelihood; default all.")] = None,
    seed: Seed = 0,
    features: Features = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    protocol: Protocol = False,
    as_json: Json = False,
) -> None:
    """Runs side by side: likelihood with its kind, distances with their floor, pictures."""
    from triptych.verbs.compare import compare as measure
    from triptych.verbs.features import parse

    how: dict[str, Any] = {"features": parse(features), "device": pick_device(device), "say": output.note}
    result = measure(folders, out=out, overwrite=overwrite, n=n, limit=limit, seed=seed, **how)
    if as_json:
        output.dump(result.as_dict())
        return
    output.comparison("Comparison", result, protocol)
    if out:
        output.say(f"report: {out}")
