"""Verbs about latents: walks, and inversion of a picture."""

from pathlib import Path
from typing import Annotated

import typer

from triptych.cli import output
from triptych.cli.options import Device, Folder, Json, Overwrite, Seed, pick_device
from triptych.errors import UsageError


def walk(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A picture (.png): a row a walk.")],
    through: Annotated[
        str | None, typer.Option(metavar="FILES", help="From the face of one file to the next: a.png,b.png.")
    ] = None,
    walks: Annotated[int, typer.Option(min=1, help="Rows, of random latents.")] = 4,
    steps: Annotated[int, typer.Option(min=2, help="Pictures in a row.")] = 8,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Walk through a model's latent space: from sample to sample, or from one picture to another."""
    from triptych.io.outputs import check_file
    from triptych.verbs.create import load
    from triptych.verbs.latents import pictured, save
    from triptych.verbs.latents import walk as wander

    check_png(out)
    check_file(out, overwrite=overwrite)
    files = named(through)
    model = load(folder).to(pick_device(device))
    frames = wander(model, through=files, walks=walks, steps=steps, seed=seed)
    save(pictured(frames), out, {"model": model.name, "seed": str(seed)})
    if as_json:
        output.dump({"model": model.name, "out": str(out), "walks": len(frames), "steps": steps})
    else:
        output.say(f"{len(frames)} walks of {steps} pictures: {out}")


def invert(
    folder: Folder,
    picture: Annotated[str, typer.Option("--picture", "-i", metavar="FILES", help="One file, or a.png,b.png.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A picture (.png): brought above found.")],
    eyes: Annotated[str, typer.Option(metavar="X,Y,X,Y", help="Where the eyes are, in pixels: to align by.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="Of descent, for models without an encoder.")] = 300,
    starts: Annotated[int, typer.Option(min=1, help="Draws of the prior to begin from; the best is kept.")] = 4,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the latent that a picture comes from, and see how near the model comes to it."""
    from triptych.io.outputs import check_file
    from triptych.verbs.create import load
    from triptych.verbs.latents import find, save

    check_png(out)
    check_file(out, overwrite=overwrite)
    files = named(picture)
    if eyes and len(files) > 1:
        raise UsageError("--eyes is for one picture")
    model = load(folder).to(pick_device(device))
    found = find(model, files, steps=steps, starts=starts, seed=seed, eyes=eyes)
    save(found.sheet(), out, {"model": model.name, "seed": str(seed)})
    errors = [round(error, 2) for error in found.error.tolist()]
    if as_json:
        output.dump({"model": model.name, "out": str(out), "files": [str(f) for f in files], "error": errors})
    else:
        off = ", ".join(f"{error:g}" for error in errors)
        output.say(f"{out}: brought above found; {off} levels of 255 off a pixel (root mean square)")


def named(files: str | None) -> list[Path]:
    """Raises UsageError for a file that is not there."""
    found = [Path(word.strip()) for word in (files or "").split(",") if word.strip()]
    for file in found:
        if not file.is_file():
            raise UsageError(f"{file}: there is no such file")
    return found


def check_png(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: it is a picture, whose name ends in .png")
