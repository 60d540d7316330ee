"""Verbs that make: training, sampling, the demo."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from triptych.cli import output
from triptych.cli.options import (
    Binary,
    Channels,
    Condition,
    Crop,
    Device,
    Folder,
    Json,
    LabelCount,
    LabelsSeed,
    Length,
    ModelName,
    Noisy,
    Seed,
    Size,
    Source,
    Split,
    Strict,
    TokenOption,
    open_data,
    pick_device,
)


def train(
    model: ModelName,
    source: Source,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="Fields of the model: width=64 adam.lr=1e-4.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Rounds of training; default: the preset's.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples a step; default: the preset's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides every random draw; default 0.")] = None,
    device: Device = "auto",
    precision: Annotated[Literal["fp32", "bf16"] | None, typer.Option(help="Default fp32.")] = None,
    channels_last: Annotated[
        bool | None, typer.Option("--channels-last/--channels-first", help="Faster convolutions on most machines.")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(min=1, help="Parts to work on each batch in: for batches that memory does not hold.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="For a GAN of few images: color,translation,cutout or some of them (DiffAugment)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    save_seconds: Annotated[float, typer.Option(min=0, help="Time from one checkpoint to the next.")] = 60,
    on_nan: Annotated[
        Literal["stop", "skip", "rollback"],
        typer.Option("--on-nan", help="Where a loss is not finite: stop, leave the step out, or go back."),
    ] = "stop",
    on_collapse: Annotated[
        Literal["warn", "stop", "rollback"],
        typer.Option("--on-collapse", help="Where a GAN stops learning: say so, stop, or go back to a checkpoint."),
    ] = "warn",
    split: Split = None,
    binary: Binary = None,
    size: Size = None,
    channels: Channels = None,
    tokens: TokenOption = None,
    length: Length = None,
    noisy: Noisy = None,
    mutate: Annotated[
        float, typer.Option(min=0, max=1, help="Replace this share of pixels at random: for a background model.")
    ] = 0.0,
    labels: LabelCount = None,
    labels_seed: LabelsSeed = 0,
    crop: Crop = None,
    by: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="What to train for a task.")] = None,
    condition: Condition = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Train a model, or for a task, into a run folder; --resume goes on with it, bit for bit."""
    from triptych.models import find_preset
    from triptych.tasks.task import posed
    from triptych.verbs import posing
    from triptych.verbs import train as verb
    from triptych.verbs.prepare import prepare
    from triptych.verbs.prepare import sound as sound_for

    verb.setup_ranks()
    chosen = posing.choose(model, by, settings or [], out if resume else None)
    model, settings = chosen.model, chosen.assignments
    asked = {name: value for name, value in posing.opening(chosen).items() if value is not None}
    crop, channels = crop or asked.get("crop"), channels or asked.get("channels")
    preset = find_preset(model)[1]
    usual = preset.data if preset else {}
    tokens, length = tokens or usual.get("tokens"), length or usual.get("length")
    kind = sound_for(model, settings or [], out if resume else None)
    opened: dict[str, Any] = {"tokens": tokens, "length": length, "sound": kind, "noisy": noisy, "mutate": mutate}
    opened |= {"labels": labels or usual.get("labels"), "labels_seed": labels_seed, "condition": condition}
    found: Any = open_data(source, split, binary, size, channels, strict, **opened, crop=crop)
    found = found if chosen.task is None else posed(found, chosen.task)
    given = {
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "precision": precision,
        "channels_last": channels_last,
        "accumulate": accumulate,
        "augment": augment.split(",") if augment else None,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    made, run = prepare(model, found, settings or [], changed, out if resume else None)
    made.to(pick_device(device))
    if resume:
        for change in verb.changes(out):
            output.note(f"resuming, but not bit for bit: {change}")
    total = sum(stage.rounds(run.steps) for stage in made.stages())
    started, now = time.monotonic(), None
    with output.progress() as bar:
        tick = bar(model, total)
        for now in verb.train(
            made,
            found,
            run,
            out=out,
            resume=resume,
            save_seconds=save_seconds,
            held=found.held_out(),
            on_nan=on_nan,
            on_collapse=on_collapse,
        ):
            tick(now.step, "  ".join(f"{k} {loss.value.item():.4g}" for k, loss in now.losses.items()))
    seconds = time.monotonic() - started
    done = now.step if now else total
    if as_json:
        losses = now.logs() if now else {}
        output.dump({"model": made.name, "out": str(out), "step": done, "seconds": seconds, "losses": losses})
    elif now is None:
        output.say(f"{out} was already finished at step {done}; --steps asks for more")
    else:
        output.say(f"{made.name}: {done} steps, {seconds:.1f} s, in {out}")


def sample(
    folder: Folder,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help=".png (a grid), .txt (text), .wav (sound), .npz (arrays), or a folder (a file each)."
        ),
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    given: Annotated[
        str | None, typer.Option(help="The condition: a class by its name or number, or several in turn: cat,dog.")
    ] = None,
    text: Annotated[str, typer.Option("--prefix", help="Text that every sample begins with.")] = "",
    temperature: Annotated[
        float,
        typer.Option(help="Autoregressive models: below 1, likely values come more often; 0: always."),
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Autoregressive models: only the k likeliest values.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Autoregressive models: only the likeliest values that reach p together.")
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(help="BigGAN: latent numbers further than this from 0 are drawn again; inf: none are."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw new samples from a trained model."""
    from triptych.verbs.create import load
    from triptych.verbs.sample import conditions, steering, write
    from triptych.verbs.sample import sample as draw

    model = load(folder).to(pick_device(device))
    how = steering(model, temperature=temperature, top_k=top_k, top_p=top_p, truncation=truncation, text=text)
    started = time.monotonic()
    x = draw(model, n, conditions(model, n, given), seed=seed, how=how)
    seconds = time.monotonic() - started
    about = {"model": model.name, "seed": str(seed), "n": str(n)} | ({"given": given} if given else {})
    chosen = {
        "temperature": temperature if temperature != 1 else None,
        "top_k": top_k,
        "top_p": top_p,
        "truncation": truncation,
    }
    about |= {name: str(value) for name, value in chosen.items() if value is not None}
    files = write(model, x, out, about)
    if as_json:
        output.dump(
            {"model": model.name, "n": n, "seed": seed, "seconds": seconds, "out": str(out), "files": len(files)}
        )
    else:
        output.say(f"{n} samples of {model.name} in {seconds:.2f} s: {out}")


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the runs and the report go.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps only, to see that everything works.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train one model of each panel on real MNIST, sample, score, compare, and write a report."""
    from triptych.verbs.demo import demo as play

    result = play(out, quick=quick, seed=seed, device=pick_device(device), progress=output.progress, say=output.note)
    if as_json:
        output.dump(result.as_dict())
        return
    columns, rows = result.comparison.table()
    output.table("Three families on real MNIST", columns, rows)
    for line in result.comparison.notes():
        output.say(line)
    output.say(f"{result.seconds:.0f} s in all; report: {result.report}")
