"""Verbs that show what a likelihood is for: classes, anomalies, what is missing, compression."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from triptych.cli import output
from triptych.cli.options import (
    USING,
    Device,
    Folder,
    Json,
    Limit,
    Overwrite,
    OwnSource,
    PerItem,
    Seed,
    data_options,
    pick_device,
)
from triptych.errors import UsageError


@data_options(*USING, split="test")
def classify(
    folder: Folder,
    source: OwnSource = None,
    draws: Annotated[
        int | None, typer.Option(min=2, help="Importance samples an item and class, for models with latent variables.")
    ] = None,
    limit: Limit = None,
    rival: Annotated[
        bool, typer.Option("--rival", help="Beside it, a classifier trained on the source's training part.")
    ] = False,
    rival_steps: Annotated[int, typer.Option(min=1, help="Steps of 64 examples for the rival.")] = 2000,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture: the confusion matrix (.png).")] = None,
    per_item: PerItem = None,
    overwrite: Overwrite = False,
    batch: Annotated[int, typer.Option(min=1, help="Items at a time.")] = 100,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    opening: Any,
    as_json: Json = False,
) -> None:
    """Classify by Bayes' rule with a model of p(x | y): accuracy, -log p(y | x), calibration."""
    from triptych.core.classes import listed
    from triptych.data import check_fits
    from triptych.verbs.classify import check_picture, write_items, write_picture
    from triptych.verbs.classify import classify as measure
    from triptych.verbs.create import load
    from triptych.verbs.opening import open_for
    from triptych.verbs.score import check_items

    if out:
        check_picture(out, overwrite=overwrite)
    if per_item:
        check_items(per_item, overwrite=overwrite)
    model = load(folder).to(pick_device(device))
    found = open_for(model, folder, source, **opening)
    check_fits(found, model.config)
    examples = found.training_part() if rival else None
    result = measure(
        model, found, draws=draws, limit=limit, batch=batch, seed=seed, rival=examples, rival_steps=rival_steps
    )
    if out:
        write_picture(result, out)
    if per_item:
        write_items(result, per_item)
    if as_json:
        output.dump(result.summary())
        return
    columns = ["probabilities", "accuracy", "nats", "calibration error"]
    found_by = {"as the model says": result.raw, "at a temperature": result.calibrated}
    if result.rival:
        found_by |= {"rival": result.rival.raw, "rival, at a temperature": result.rival.calibrated}
    rows = [[name, f"{c.accuracy:.4f}", f"{c.nll:.4f}", f"{c.ece:.4f}"] for name, c in found_by.items()]
    output.table(f"{result.model} on {result.data}", columns, rows)
    known = f"{result.classes} classes{f': {listed(result.names)}' if result.names else ''}"
    output.say(f"p(y | x) from p(x | y), {result.kind} ({result.how}); {result.prior} prior, {known}")
    fitted = "each item's fitted on the other half of the items; on all of them"
    output.say(f"n = {result.n}, seed {result.seed}; temperature: {fitted}, {result.temperature:.4g}")
    if result.rival:
        of = f"{result.rival.examples} examples of {result.rival.data}, {result.rival.steps} steps of 64"
        output.say(f"rival: a convolutional classifier, trained on {of}")


@data_options(*USING, split="test")
def anomaly(
    folder: Folder,
    other: Annotated[str, typer.Option(metavar="SOURCE", help="Data of another kind, which is to be told from it.")],
    normal: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Data of the model's kind; default: what it was trained on.")
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A run trained with --mutate, for the likelihood ratio."),
    ] = None,
    group: Annotated[int, typer.Option(min=1, help="Items a batch, for typicality.")] = 10,
    draws: Annotated[
        int | None, typer.Option(min=2, help="Importance samples an item, for models with latent variables.")
    ] = None,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A picture: the likeliest and least likely items (.png).")
    ] = None,
    per_item: PerItem = None,
    overwrite: Overwrite = False,
    batch: Annotated[int, typer.Option(min=1, help="Items scored at a time.")] = 100,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    opening: Any,
    as_json: Json = False,
) -> None:
    """Tell data of another kind from the model's own, by likelihoods: AUROC of four scores."""
    from triptych.data import check_fits
    from triptych.verbs.anomaly import anomaly as measure
    from triptych.verbs.anomaly import check_picture, write_items, write_picture
    from triptych.verbs.create import load
    from triptych.verbs.opening import open_for
    from triptych.verbs.score import check_items

    where = pick_device(device)
    model = load(folder).to(where)
    if out:
        check_picture(model.config.x, out, overwrite=overwrite)
    if per_item:
        check_items(per_item, overwrite=overwrite)
    ground = load(background).to(where) if background else None
    sources = [open_for(model, folder, source, **opening) for source in (normal, other)]
    for found in sources:
        for one in (model, ground) if ground else (model,):
            check_fits(found, one.config)
    result = measure(model, *sources, background=ground, group=group, draws=draws, limit=limit, batch=batch, seed=seed)
    if out:
        write_picture(result, sources[0], sources[1], out)
    if per_item:
        write_items(result, per_item)
    if as_json:
        output.dump(result.as_dict())
        return
    rows = [[r.name, f"{r.auroc:.4f}", f"{r.stderr:.4f}", f"{r.normal} and {r.anomalous}"] for r in result.scores]
    output.table(f"{result.model}: {result.normal} and {result.other}", ["score", "AUROC", "stderr", "items"], rows)
    output.say(f"-log p, {result.kind} ({result.how}): {result.nats_normal:.3f} and {result.nats_other:.3f} nats")
    output.say(f"AUROC: the chance that an item of the second set scores stranger; .5 is guessing. seed {result.seed}")


@data_options(*USING, split="test")
def impute(
    folder: Folder,
    source: OwnSource = None,
    hide: Annotated[
        str, typer.Option(help="top, bottom, left, right, middle (of solids front, back), or a share: 0.5.")
    ] = "bottom",
    n: Annotated[int, typer.Option("-n", min=1, help="Items, evenly spaced.")] = 8,
    completions: Annotated[int, typer.Option(min=1, help="Of each item.")] = 4,
    draws: Annotated[
        int, typer.Option(min=1, help="To choose each completion from, for models that have no exact way.")
    ] = 64,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A picture: truth, what was known, completions.")
    ] = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    opening: Any,
    as_json: Json = False,
) -> None:
    """Hide a part of some items, and fill it in: says whether exactly, or how nearly."""
    from triptych.data import check_fits
    from triptych.verbs.create import load
    from triptych.verbs.impute import check_picture, write_picture
    from triptych.verbs.impute import impute as fill
    from triptych.verbs.opening import open_for

    model = load(folder).to(pick_device(device))
    if out:
        check_picture(model.config.x, out, overwrite=overwrite)
    found = open_for(model, folder, source, **opening)
    check_fits(found, model.config)
    result = fill(model, found, hide=hide, n=n, completions=completions, draws=draws, seed=seed)
    if out:
        write_picture(result, out)
    if as_json:
        output.dump(result.summary())
        return
    way = "exact" if result.exact else "not exact"
    if result.effective is not None:
        way += f", {result.effective:.1f} of {draws} draws effective"
    hidden = f"{result.completions} completions of {result.n} items of {result.data}, hidden: {result.hidden}"
    output.say(f"{result.model}: {hidden}; {way} ({result.how})")
    output.say(f"mean distance between a hidden value and the truth: {result.error:.4f}; seed {result.seed}")
    if out:
        output.say(f"{out}: " + ("filled in with means of p(x | z)" if result.means is not None else "as drawn"))


@data_options(*USING)
def compress(
    folder: Folder,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A file or folder (all of it), or a built-in set: mnist-binary:test."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The compressed file.")],
    overwrite: Overwrite = False,
    limit: Limit = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Items coded together; default 256, or 1 for latent variable models.")
    ] = None,
    seed: Seed = 0,
    *,
    opening: Any,
    as_json: Json = False,
) -> None:
    """Make data as small as a model finds it likely, without loss. Runs on the CPU.

    Items are kept in the order in which the data is served: training items first, what is held out after them.
    """
    from triptych.data import check_fits
    from triptych.io import outputs
    from triptych.verbs.compress import compress as shrink
    from triptych.verbs.compress import from_data, from_text, is_text, write_compressed
    from triptych.verbs.create import load
    from triptych.verbs.opening import open_for

    outputs.check_file(out, overwrite=overwrite)
    model = load(folder)
    if is_text(model, source):
        if limit is not None:
            raise UsageError("--limit is for items; a text is compressed whole")
        items = from_text(model, Path(source))
    else:
        whole = {"split": "all"} if Path(source).exists() else {}
        found = open_for(model, folder, source, lossless=True, **{**whole, **opening})
        check_fits(found, model.config)
        items = from_data(model, found, limit=limit, seed=seed)
    started = time.monotonic()
    with output.progress() as add:
        tick = add(f"compress with {model.name}", len(items.x))
        made, about = shrink(model, items, batch=batch, tick=lambda done: tick(done, ""))
    write_compressed(made, out)
    if as_json:
        output.dump({**about.as_dict(), "seconds": time.monotonic() - started, "out": str(out)})
        return
    says = about.as_dict()
    output.say(f"{about.items} items of {about.values // about.items} values: {about.bytes:,} bytes in {out}")
    output.say(
        f"code: {about.net_bits:,.0f} bits, {says['net_bits_per_dim']:.4f} bits/dim; {model.name}'s likelihood says "
        f"{about.reported_bits:,.0f}, {says['reported_bits_per_dim']:.4f} bits/dim ({about.kind}, {about.how})"
    )
    beside = {"initial bits": about.initial_bits, "classes": about.label_bits}
    beside |= {"header and checksums": 8 * about.bytes - about.code_bits}
    output.say("and " + ", ".join(f"{what}: {bits:,.0f} bits" for what, bits in beside.items() if bits))


def decompress(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `triptych compress` wrote.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help=".npz (x, and y if there are classes), .txt, .wav, or a folder of .png."),
    ],
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Get the data back, exactly; refuses, and writes nothing, if that cannot be done here."""
    from triptych.verbs.compress import check_restored, write_restored
    from triptych.verbs.compress import decompress as restore
    from triptych.verbs.create import load

    model = load(folder)
    check_restored(model, out, overwrite=overwrite)
    started = time.monotonic()
    held = restore(model, file)
    files = write_restored(model, held, out)
    seconds = time.monotonic() - started
    if as_json:
        output.dump(
            {"model": model.name, "items": len(held.x), "seconds": seconds, "out": str(out), "files": len(files)}
        )
    else:
        output.say(f"{len(held.x)} items in {seconds:.1f} s: {out}")


def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder: the program, and a README.md with a script.")],
    to: Annotated[Literal["onnx", "torch"], typer.Option(help="ONNX, or a program of torch.export (.pt2).")] = "onnx",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a generator, decoder, encoder, translator or one autoregressive step for programs without Triptych; checked
    against the model."""
    from triptych.verbs.export import export as write

    result = write(folder, out, to, overwrite=overwrite)
    if as_json:
        output.dump(result.as_dict())
        return
    for name, apart in result.apart.items():
        sizes = ", ".join(map(str, result.batches))
        output.say(f"{out / name}: as the model, but for {apart:.1e} (batches of {sizes})")
    output.say(f"{out}: {', '.join(result.files)}")
