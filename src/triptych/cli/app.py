"""The verbs. Each parses, calls the Python function of the same name and shows what it returned.

Verbs import what they need when they run: `triptych --help` and `triptych models` do not load torch.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from triptych.cli import output
from triptych.errors import UsageError

if TYPE_CHECKING:
    from triptych.core import Audio, Symbols
    from triptych.data import Dataset

app = typer.Typer(
    name="triptych",
    help="Deep generative models under one vocabulary: train them, sample them, ask how likely a sample is.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A model or preset; `triptych models` lists them.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder or a saved model.")]
Source = Annotated[
    str,
    typer.Option("--data", metavar="SOURCE", help="mnist, mnist-binary, ...; a folder, .txt, .npy, .npz, idx, zip."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides every random draw.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes the fastest there is.")]
Split = Annotated[str | None, typer.Option(help="Which part of the data: train, test or all.")]
Binary = Annotated[
    Literal["dynamic", "fixed", "threshold"] | None,
    typer.Option(help="Make grey pixels 0 or 1: drawn anew each time, drawn once, or cut at one half."),
]
Size = Annotated[int | None, typer.Option(min=1, help="Resize (shorter side) and crop images to this many pixels.")]
Channels = Annotated[int | None, typer.Option(min=1, help="1: grey; 3: color. Default: what the files are.")]
TokenOption = Annotated[
    str | None,
    typer.Option("--tokens", help="Text as characters, bytes, or a vocabulary of so many byte pairs: 1024."),
]
Length = Annotated[int | None, typer.Option(min=1, help="Tokens of text at a time; default: the preset's, or 256.")]
LabelCount = Annotated[
    int | None,
    typer.Option(
        "--labels", min=1, help="Only so many training examples keep their class; default: the preset's, all."
    ),
]
LabelsSeed = Annotated[int, typer.Option("--labels-seed", min=0, help="Which examples keep their class.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a source with any bad file, in place of skipping it.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only so many items, evenly spaced.")]


def open_data(
    source: str,
    split: str | None,
    binary: Literal["dynamic", "fixed", "threshold"] | None,
    size: int | None,
    channels: int | None,
    strict: bool,
    *,
    tokens: "str | int | Symbols | None" = None,
    length: int | None = None,
    stride: int | None = None,
    sound: "Audio | None" = None,
    mutate: float = 0.0,
    labels: int | None = None,
    labels_seed: int = 0,
) -> "Dataset":
    """The data; what was wrong in it is logged, and so said on stderr.

    Recordings are brought to `sound`, if that is a space of sound.
    """
    from triptych.data import data

    return data(
        source,
        split=split,
        binary=binary,
        size=size,
        channels=channels,
        tokens=int(tokens) if isinstance(tokens, str) and tokens.isdecimal() else tokens,  # type: ignore[arg-type]
        length=length,
        stride=stride,
        sound=sound,
        mutate=mutate,
        labels=labels,
        labels_seed=labels_seed,
        strict=strict,
    )


def as_read_by(model: Any) -> dict[str, Any]:
    """How to open text or recordings for a trained model: its own tokens and length, or its own kind of sound."""
    from triptych.core import Audio

    x = model.config.x
    if isinstance(x, Audio):
        return {"sound": x}
    return {"tokens": x.symbols, "length": x.length} if getattr(x, "symbols", None) is not None else {}


def pick_device(name: str) -> Any:
    """A torch device. Raises UsageError for one that this machine lacks."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise UsageError(f"--device {name}: not available here ({str(e).splitlines()[0]})") from e
    return device


@app.command()
def models(as_json: Json = False) -> None:
    """The catalogue: every model with its year, paper, conditions and the kind of its likelihood."""
    from triptych.models import TABLE

    if as_json:
        output.dump([{**{k: v for k, v in vars(e).items() if k != "cls"}, "ready": e.ready} for e in TABLE])
        return
    columns = ["name", "family", "year", "model", "conditions", "likelihood", "status", "paper"]
    rows = [
        [e.name, e.family, str(e.year), e.title, e.conditions, e.likelihood, "ready" if e.ready else "planned", e.url]
        for e in TABLE
    ]
    output.table("Models", columns, rows)


@app.command()
def show(model: ModelName, as_json: Json = False) -> None:
    """A model's fields with their meaning and defaults, its players, presets, size and source."""
    from triptych.verbs.show import show as describe

    about = describe(model)
    if as_json:
        output.dump(about)
        return
    output.say(f"{about['title']} ({about['year']}), {about['family']}; likelihood: {about['likelihood']}")
    output.say(f"{about['authors']}. {about['paper']}. {about['url']}")
    output.say(f"{about['parameters']:,} parameters as configured below; source: {about['source']}")
    output.table(
        "Fields", ["field", "value", "meaning"], [[f["field"], str(f["value"]), f["doc"]] for f in about["fields"]]
    )
    players = [[p["stage"], p["player"], f"{p['parameters']:,}", p["every"]] for p in about["players"]]
    output.table("Players", ["stage", "player", "parameters", "turns"], players)
    presets = [[p["name"], str(p["steps"]), str(p["batch"]), p["expect"]] for p in about["presets"]]
    output.table("Presets", ["preset", "steps", "batch", "what to expect"], presets)


@app.command()
def data(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A built-in set, a folder, an array file or a zip.")],
    pack: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the packed form to this folder.")] = None,
    split: Split = None,
    binary: Binary = None,
    size: Size = None,
    channels: Channels = None,
    tokens: TokenOption = None,
    length: Length = None,
    labels: LabelCount = None,
    labels_seed: LabelsSeed = 0,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """What a source holds: items, space, conditions, and the problems found in it."""
    from triptych.verbs.inspect import inspect

    hidden: dict[str, Any] = {"labels": labels, "labels_seed": labels_seed}
    found = open_data(source, split, binary, size, channels, strict, tokens=tokens, length=length, **hidden)
    about = inspect(found, pack)
    if as_json:
        output.dump(about)
        return
    for name, value in about.items():
        if name != "problems":
            output.say(f"{name}: {value}")
    output.say(f"problems: {len(about['problems'])}")
    for problem in about["problems"]:
        output.say(f"  {problem['file']}: {problem['reason']}")


@app.command()
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
    mutate: Annotated[
        float, typer.Option(min=0, max=1, help="Replace this share of pixels at random: for a background model.")
    ] = 0.0,
    labels: LabelCount = None,
    labels_seed: LabelsSeed = 0,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Train a model into a run folder; --resume goes on with it, bit for bit."""
    from triptych.models import find_preset
    from triptych.verbs import train as verb
    from triptych.verbs.prepare import prepare
    from triptych.verbs.prepare import sound as sound_for

    verb.setup_ranks()
    preset = find_preset(model)[1]
    usual = preset.data if preset else {}
    tokens, length = tokens or usual.get("tokens"), length or usual.get("length")
    kind = sound_for(model, settings or [], out if resume else None)
    opened: dict[str, Any] = {"tokens": tokens, "length": length, "sound": kind, "mutate": mutate}
    opened |= {"labels": labels or usual.get("labels"), "labels_seed": labels_seed}
    found = open_data(source, split, binary, size, channels, strict, **opened)
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
    total = sum(stage.steps or run.steps for stage in made.stages())
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


@app.command()
def sample(
    folder: Folder,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help=".png (a grid), .txt (text), .wav (sound), .npz (arrays), or a folder (a file each)."
        ),
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    given: Annotated[str | None, typer.Option(help="The condition: a class, or several in turn: 0,1,2.")] = None,
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
    chosen = {"temperature": temperature if temperature != 1 else None, "top_k": top_k, "top_p": top_p}
    chosen["truncation"] = truncation
    about |= {name: str(value) for name, value in chosen.items() if value is not None}
    files = write(model, x, out, about)
    if as_json:
        output.dump(
            {"model": model.name, "n": n, "seed": seed, "seconds": seconds, "out": str(out), "files": len(files)}
        )
    else:
        output.say(f"{n} samples of {model.name} in {seconds:.2f} s: {out}")


@app.command()
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


@app.command()
def classify(
    folder: Folder,
    source: Source,
    draws: Annotated[
        int | None, typer.Option(min=2, help="Importance samples an item and class, for models with latent variables.")
    ] = None,
    limit: Limit = None,
    batch: Annotated[int, typer.Option(min=1, help="Items at a time.")] = 100,
    seed: Seed = 0,
    device: Device = "auto",
    split: Split = "test",
    binary: Binary = None,
    size: Size = None,
    channels: Channels = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Classify by Bayes' rule with a model of p(x | y): accuracy, -log p(y | x), calibration."""
    from triptych.data import check_fits
    from triptych.verbs.classify import classify as measure
    from triptych.verbs.create import load

    model = load(folder).to(pick_device(device))
    found = open_data(source, split, binary, size, channels, strict, **as_read_by(model))
    check_fits(found, model.config)
    result = measure(model, found, draws=draws, limit=limit, batch=batch, seed=seed)
    if as_json:
        output.dump(result.summary())
        return
    columns = ["probabilities", "accuracy", "nats", "calibration error"]
    rows = [
        [name, f"{c.accuracy:.4f}", f"{c.nll:.4f}", f"{c.ece:.4f}"]
        for name, c in (("as the model says", result.raw), ("at a temperature", result.calibrated))
    ]
    output.table(f"{result.model} on {result.data}", columns, rows)
    output.say(f"p(y | x) from p(x | y), {result.kind} ({result.how}); {result.prior} prior, {result.classes} classes")
    fitted = "each item's fitted on the other half of the items; on all of them"
    output.say(f"n = {result.n}, seed {result.seed}; temperature: {fitted}, {result.temperature:.4g}")


@app.command()
def anomaly(
    folder: Folder,
    normal: Annotated[str, typer.Option(metavar="SOURCE", help="Data of the kind that the model was trained on.")],
    other: Annotated[str, typer.Option(metavar="SOURCE", help="Data of another kind, which is to be told from it.")],
    background: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A run trained with --mutate, for the likelihood ratio."),
    ] = None,
    group: Annotated[int, typer.Option(min=1, help="Items a batch, for typicality.")] = 10,
    draws: Annotated[
        int | None, typer.Option(min=2, help="Importance samples an item, for models with latent variables.")
    ] = None,
    limit: Limit = None,
    batch: Annotated[int, typer.Option(min=1, help="Items scored at a time.")] = 100,
    seed: Seed = 0,
    device: Device = "auto",
    split: Split = "test",
    binary: Binary = None,
    size: Size = None,
    channels: Channels = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Tell data of another kind from the model's own, by likelihoods: AUROC of four scores."""
    from triptych.data import check_fits
    from triptych.verbs.anomaly import anomaly as measure
    from triptych.verbs.create import load

    where = pick_device(device)
    model = load(folder).to(where)
    ground = load(background).to(where) if background else None
    sources = [
        open_data(source, split, binary, size, channels, strict, **as_read_by(model)) for source in (normal, other)
    ]
    for found in sources:
        for one in (model, ground) if ground else (model,):
            check_fits(found, one.config)
    result = measure(model, *sources, background=ground, group=group, draws=draws, limit=limit, batch=batch, seed=seed)
    if as_json:
        output.dump(result.as_dict())
        return
    rows = [[r.name, f"{r.auroc:.4f}", f"{r.stderr:.4f}", f"{r.normal} and {r.anomalous}"] for r in result.scores]
    output.table(f"{result.model}: {result.normal} and {result.other}", ["score", "AUROC", "stderr", "items"], rows)
    output.say(f"-log p, {result.kind} ({result.how}): {result.nats_normal:.3f} and {result.nats_other:.3f} nats")
    output.say(f"AUROC: the chance that an item of the second set scores stranger; .5 is guessing. seed {result.seed}")


@app.command()
def compress(
    folder: Folder,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A file or folder (all of it), or a built-in set: mnist-binary:test."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The compressed file.")],
    limit: Limit = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Items coded together; default 256, or 1 for latent variable models.")
    ] = None,
    seed: Seed = 0,
    split: Split = None,
    binary: Binary = None,
    size: Size = None,
    channels: Channels = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Make data as small as a model finds it likely, without loss. Runs on the CPU.

    Items are kept in the order in which the data is served: training items first, what is held out after them.
    """
    from triptych.data import check_fits
    from triptych.verbs.compress import compress as shrink
    from triptych.verbs.compress import from_data, from_text, is_text, write_compressed
    from triptych.verbs.create import load

    model = load(folder)
    if is_text(model, source):
        if limit is not None:
            raise UsageError("--limit is for items; a text is compressed whole")
        items = from_text(model, Path(source))
    else:
        split = split or ("all" if Path(source).exists() else None)
        found = open_data(source, split, binary, size, channels, strict, **as_read_by(model))
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


@app.command()
def decompress(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `triptych compress` wrote.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help=".npz (x, and y if there are classes), .txt, .wav, or a folder of .png."),
    ],
    as_json: Json = False,
) -> None:
    """Get the data back, exactly; refuses, and writes nothing, if that cannot be done here."""
    from triptych.verbs.compress import decompress as restore
    from triptych.verbs.compress import write_restored
    from triptych.verbs.create import load

    model = load(folder)
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def cite(model: ModelName) -> None:
    """The paper of a model, as BibTeX."""
    from triptych.models import find_preset

    output.say(find_preset(model)[0].bibtex())


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, devices, precision, and which extras are missing (with the pip line for each)."""
    from triptych.verbs.doctor import doctor as look

    about = look()
    if as_json:
        output.dump(about)
        return
    output.table("This machine", ["what", "found"], [[k, str(v)] for k, v in about["machine"].items()])
    extras = [[e["extra"], "there" if e["found"] else f"missing: {e['install']}", e["why"]] for e in about["extras"]]
    output.table("Extras", ["extra", "state", "for"], extras)
