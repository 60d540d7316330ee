"""Verbs that make: training, sampling, the demo."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from triptych.cli import output
from triptych.cli.options import (
    ALL,
    Device,
    Folder,
    Json,
    Overwrite,
    Protocol,
    Seed,
    complete_model,
    data_options,
    pick_device,
)
from triptych.errors import UsageError


@data_options(*ALL)
def train(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model, a preset or a task; where it is left out, what made the most of such data in that time. "
            "--resume knows its own.",
            autocompletion=complete_model,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="Fields of the model: width=64 adam.lr=1e-4.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="mnist, mnist-binary, ...; a folder, .txt, .jsonl, .npy, .npz, idx, zip; --resume knows its own.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder: a new one; default: one in runs/, by data and model."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Rounds of each stage (most models have one); default: the preset's.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="As many steps as take so long here; measured once, then kept. Not with --steps."),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples a step; default: the preset's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides every random draw; default 0.")] = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["fp32", "tf32", "bf16"] | None, typer.Option(help="Default fp32; tf32 is for GPUs.")
    ] = None,
    channels_last: Annotated[
        bool | None, typer.Option("--channels-last/--channels-first", help="Faster convolutions on most machines.")
    ] = None,
    repeatable: Annotated[
        bool | None,
        typer.Option(
            "--repeatable/--not-repeatable", help="Kernels of a GPU that give the same bits every time (the default)."
        ),
    ] = None,
    record: Annotated[
        bool | None,
        typer.Option(
            "--record/--no-record", help="Passes of a GPU recorded as CUDA graphs (the default): the same bits, sooner."
        ),
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Fewer operations a step on a GPU, after minutes of preparation."),
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(min=1, help="Parts to work on each batch in: for batches that memory does not hold.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="For a GAN of few images: color,translation,cutout or some of them (DiffAugment)."),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume", help="Go on with the run in --out, if there is one; the default under torchrun."
        ),
    ] = None,
    save_seconds: Annotated[float, typer.Option(min=0, help="Time from one checkpoint to the next.")] = 60,
    pictures: Annotated[
        int, typer.Option(min=0, help="Of samples, as training goes on; fewer where they would take long.")
    ] = 8,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="As --pictures 0.")] = False,
    on_nan: Annotated[
        Literal["stop", "skip", "rollback"],
        typer.Option("--on-nan", help="Where a loss is not finite: stop, leave the step out, or go back."),
    ] = "stop",
    on_collapse: Annotated[
        Literal["warn", "stop", "rollback"],
        typer.Option("--on-collapse", help="Where a GAN stops learning: say so, stop, or go back to a checkpoint."),
    ] = "warn",
    track: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Also log to tensorboard, wandb (offline), trackio.")
    ] = None,
    by: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="What to train for a task.")] = None,
    direction: Annotated[
        Literal["AtoB", "BtoA"] | None, typer.Option(help="For translation: which of a pair is made of the other.")
    ] = None,
    *,
    opening: Any,
    as_json: Json = False,
) -> None:
    """Train a model, or for a task, into a run folder; --resume goes on with it, bit for bit."""
    from triptych.io.outputs import check_apart
    from triptych.models import find_preset
    from triptych.tasks.task import Says, posed
    from triptych.verbs import posing
    from triptych.verbs import train as verb
    from triptych.verbs.announce import announce, costing, told
    from triptych.verbs.opening import open_to_train, resumed, tell
    from triptych.verbs.prepare import prepare
    from triptych.verbs.prepare import sound as sound_for
    from triptych.verbs.resuming import check_begin, continues, resumes, usual_place

    if model is not None and "=" in model:  # `train --resume --out DIR width=64`: the run knows its model
        settings, model = [model, *(settings or [])], None
    if out is None and resumes(resume):
        raise UsageError("which run? --out names its folder")
    held = out if out is not None and continues(out, resume) else None
    known = resumed(held) if held else None
    model = model or (known.model if known else None)
    if model is None and source is not None:
        model, opening = pick(source, opening, minutes, device)
    if model is None:
        raise UsageError("which model? `triptych models` lists them: triptych train MODEL --data SOURCE --out DIR")
    if source is None and not (known and known.opened):
        raise UsageError("on what data? --data takes the name of a set, a folder or a file")
    if out is None:
        out = usual_place(str(source), model)
        output.note(f"the run's folder: {out}")
    if known is None:
        check_begin(out)
        if source is not None:
            check_apart(out, source)
    verb.setup_ranks()
    settings = [*(settings or []), *([f"direction={direction}"] if direction else [])]
    plan = posing.choose(model, by, settings, held)
    model, settings = plan.model, plan.assignments
    preset = find_preset(model)[1]
    usual = preset.data if preset else {}
    if known and source is None:
        tell(out, known.opened)
    before = known.opened if known and source is None else {"source": source, **usual, **posing.opening(plan)}
    heard = chosen({"sound": sound_for(model, settings or [], held)})
    if "crop" in opening and "size" not in opening:
        before = {**before, "size": None}
    found: Any = open_to_train(posing.usual(model).x, preset is not None, **{**before, **heard, **opening})
    found = found if plan.task is None else posed(found, plan.task)
    if plan.task is not None and isinstance(found.task, Says):
        for line in found.task.said(found.data):
            output.note(line)
    given = {
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "precision": precision,
        "channels_last": channels_last,
        "repeatable": repeatable,
        "record": record,
        "compile": compiled,
        "accumulate": accumulate,
        "augment": augment.split(",") if augment else None,
    }
    changed = chosen(given)
    made, run = prepare(model, found, settings or [], changed, held)
    made.to(pick_device(device))
    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps both say how long: leave one of them out")
    if minutes is not None and held:
        output.note(f"--minutes was measured when the run began: it has {run.steps:,} steps")
    if not held:
        run, lines = costing(made, found, run, minutes)
        for line in lines:
            output.note(line)
    total = sum(stage.rounds(run.steps) for stage in made.stages())
    for line in announce(made, run):
        output.note(line)
    held = found.held_out()
    if held is None and found.split == "train":
        output.note(f"nothing is held out of {found.name}: score and evaluate will need other data")
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
            pictures=0 if no_pictures else pictures,
            held=held,
            on_nan=on_nan,
            on_collapse=on_collapse,
            track=track or (),
        ):
            tick(now.step, told(now))
    verb.leave_ranks()
    seconds = time.monotonic() - started
    done = now.step if now else total
    if as_json:
        losses = now.logs() if now else {}
        output.dump({"model": made.name, "out": str(out), "step": done, "seconds": seconds, "losses": losses})
    elif now is None:
        output.say(f"{out} was already finished at step {done}; --steps asks for more")
    else:
        output.say(f"{made.name}: {done} steps, {seconds:.1f} s, in {out}")


def pick(source: str, opening: Any, minutes: float | None, device: str) -> tuple[str, Any]:
    """A preset for data that nobody named a model for, and how to open them; says what and why."""
    from triptych.core import Images
    from triptych.data.builtin import BUILTIN
    from triptych.verbs.choosing import choose_for, usual_side
    from triptych.verbs.opening import open_to_train

    on = pick_device(device)
    side = usual_side(on)
    why = "unless you say another"
    found = open_to_train(Images(3, side, side), False, why, source=source, **opening)
    own = found.x.planar and source.partition(":")[0] not in BUILTIN
    if own and "size" not in opening and "crop" not in opening:
        if max(found.x.shape[1:]) > side:
            of = " x ".join(map(str, found.x.shape[1:]))
            output.note(f"pictures of {of} are brought to --size {side}, {why}")
            opening = {**opening, "size": side}
            found = open_to_train(Images(3, side, side), False, source=source, **opening)
        elif found.opened is not None and found.opened["size"] is not None:  # the model's usual size may be another
            opening = {**opening, "size": found.opened["size"]}
    choice = choose_for(found, minutes, on)
    for line in choice.why:
        output.note(line)
    return choice.preset, opening


def chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were asked for."""
    return {name: value for name, value in options.items() if value is not None}


def sample(
    folder: Folder,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help=".png (a grid), .txt (text), .wav (sound), .npz (arrays), or a folder (a file each)."
        ),
    ],
    overwrite: Overwrite = False,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    given: Annotated[
        str | None,
        typer.Option(
            "--given",
            "--label",
            help="The condition: a class by its name or number, or several in turn: cat,dog; or numbers: 20,40.",
        ),
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
    guidance: Annotated[
        float,
        typer.Option(
            "--guidance", "--cfg-scale", help="Models of codes: how far to follow the condition; 1: as it was learned."
        ),
    ] = 1.0,
    best_of: Annotated[
        int, typer.Option(help="Models of codes: draw so many for each, and keep what fits its condition best.")
    ] = 1,
    truncation: Annotated[
        float | None,
        typer.Option(help="BigGAN, FastGAN: latent numbers further than this from 0 are drawn again; inf: none are."),
    ] = None,
    observation: Annotated[
        Literal["drawn", "mean"] | None,
        typer.Option(
            help="VAEs: pixels drawn from p(x | z), or its mean; default: the mean in pictures, drawn in .npz.",
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw new samples from a trained model."""
    from triptych.verbs.create import load
    from triptych.verbs.posing import use
    from triptych.verbs.sample import MEANS, check_out, conditions, ending, steering, to_look_at, write
    from triptych.verbs.sample import sample as draw
    from triptych.verbs.train import sharing

    model = load(folder).to(pick_device(device))
    needs = getattr(model.config, "given", None)
    if given is None and needs is not None and not needs.optional and not needs.choices and use(folder):
        raise UsageError(f"{model.name} draws of what it is given: {use(folder)}")
    check_out(model.config.x, out, n, overwrite=overwrite)
    if observation is None:
        observation = "drawn" if ending(model.config.x, out) == ".npz" else to_look_at(model).observation
    how = steering(
        model,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        guidance=guidance,
        best_of=best_of,
        truncation=truncation,
        text=text,
        observation=observation,
    )
    started = time.monotonic()
    with sharing() as first:
        x = draw(model, n, conditions(model, n, given), seed=seed, how=how)
    if not first:
        return
    seconds = time.monotonic() - started
    about = {"model": model.name, "seed": str(seed), "n": str(n)} | ({"given": given} if given else {})
    chosen = {
        "temperature": temperature if temperature != 1 else None,
        "top_k": top_k,
        "top_p": top_p,
        "guidance": guidance if guidance != 1 else None,
        "best of": best_of if best_of != 1 else None,
        "truncation": truncation,
        "observation": observation,
    }
    about |= {name: str(value) for name, value in chosen.items() if value is not None}
    files = write(model, x, out, about)
    if as_json:
        said = {"n": n, "seed": seed, "observation": observation, "seconds": seconds}
        output.dump({"model": model.name, **said, "out": str(out), "files": len(files)})
    else:
        means = f" ({MEANS}; --observation drawn shows it)" if observation == "mean" else ""
        output.say(f"{n} samples of {model.name} in {seconds:.2f} s: {out}{means}")


def push(
    folder: Folder,
    to: Annotated[str, typer.Argument(metavar="NAME", help="On the Hugging Face Hub: someone/digits.")],
    private: Annotated[bool, typer.Option("--private", help="For your own eyes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; no network.")] = False,
    as_json: Json = False,
) -> None:
    """Put a model and its card onto the Hugging Face Hub."""
    from triptych.verbs.hub import push_to_hub

    found = push_to_hub(folder, to, private=private, dry_run=dry_run)
    if as_json:
        output.dump(vars(found))
        return
    for name, size in found.files.items():
        output.say(f"{name}: {size:,} bytes")
    output.say(f"{'would be' if dry_run else 'is'} on https://huggingface.co/{to}")


def gallery(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder for index.html and a picture of each.")] = Path(
        "gallery"
    ),
    n: Annotated[int, typer.Option("-n", min=1, help="Samples of each.")] = 32,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw with every model that comes with the package, onto a page: no training, no network."""
    from triptych.verbs.gallery import gallery as draw

    page, found = draw(out, seed=seed, n=n, say=output.note)
    if as_json:
        output.dump({"page": str(page), "weights": [{"name": s.of.name, "does": s.of.does} for s in found]})
        return
    output.table("Weights", ["name", "what it does", "licence"], [[s.of.name, s.of.does, s.of.licence] for s in found])
    output.say(f"{len(found)} models, on {page}")


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the runs and the report go.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps only, to see that everything works.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    protocol: Protocol = False,
    as_json: Json = False,
) -> None:
    """Train one model of each panel on real MNIST, sample, score, compare, and write a report."""
    from triptych.verbs.demo import demo as play

    result = play(out, quick=quick, seed=seed, device=pick_device(device), progress=output.progress, say=output.note)
    if as_json:
        output.dump(result.as_dict())
        return
    output.comparison("Three families on real MNIST", result.comparison, protocol)
    output.say(f"{result.seconds:.0f} s in all; report: {result.report}; in color: {result.gallery}")
