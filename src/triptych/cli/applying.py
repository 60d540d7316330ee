"""The verb apply: its flags are what the task's `ask` takes."""

import re
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from triptych.cli import output
from triptych.cli.options import Device, Folder, Json, pick_device
from triptych.errors import DataError, UsageError


def apply(
    context: typer.Context,
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A file, or a folder for a folder.")],
    task: Annotated[str | None, typer.Option(help="What for, where the run was not trained for a task.")] = None,
    seeds: Annotated[str, typer.Option("--seeds", "--seed", help="One answer for each: 0-3, or 0,7.")] = "0",
    n: Annotated[int | None, typer.Option("-n", min=1, help="So many answers: seeds 0 to n - 1.")] = None,
    tile: Annotated[int | None, typer.Option(min=1, help="Pixels to a side that are worked on at a time.")] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Pictures at their own size, not brought to that of training's.")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(metavar="PNG", help="Also a picture of input | output | truth.")] = None,
    truth: Annotated[Path | None, typer.Option(help="For the sheet: the true answer, or a folder of them.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Use a trained model on a file of yours, or on a folder of them: --picture FILE, and what its task takes.

    text-to-image: --text, words, or a file of captions, one a line, or - for standard input; --guidance, --best-of; and
    --picture with --mask, to complete one.
    super-resolution, translation, clothing: --picture. inpainting: --picture, and --mask (white is filled),
    --invert-mask or --hide. map-to-photo: --picture, the map, and --beside where the model is shown more.
    edges: --picture, --drawing. unpaired-translation: --picture, and --direction of models of both ways.
    aging: --picture, and --age or --strip; --eyes. attributes: --picture, and --set or --strip; --eyes.

    video-prediction: --video, a file or a folder of frames, and --ahead, so many frames; --guidance of models of codes.
    picture-to-solid: --picture, of one thing on a dark ground (--outline where only its outline is right).

    text-to-speech: --text, words, a file of them, or - for standard input; --length-scale, 1.2 to speak slower;
    --vocoder, a run of the task vocoder; of models of codes --guidance and --best-of.
    vocoder: --sound, a recording to be said again of its spectrogram.
    """
    from triptych.io.outputs import check_file, check_png
    from triptych.verbs.apply import answers, pipeline, same
    from triptych.verbs.apply import sheet as drawn
    from triptych.verbs.jobs import check_apart, jobs, matched

    pipe = pipeline(task, folder, pick_device(device))
    asked = parsed(context.args, pipe.flags, pipe.task.name)
    lines = getattr(pipe.task, "lines", False)
    todo = jobs(asked, out, seeds_of(seeds) if n is None else list(range(n)), pipe.gives, pipe.brings, lines)
    there = [str(file) for job in todo for file in job.outs.values() if file.exists()]
    if there and not overwrite:
        raise UsageError(f"{there[0]} is there already; --overwrite replaces it, another --out leaves it alone")
    if sheet is not None:
        check_png(sheet, overwrite=overwrite)
        check_apart(sheet, todo)
    for file in (file for job in todo for file in job.outs.values() if not file.exists()):
        check_file(file)
    truths = None if truth is None else matched(truth, todo)
    found = []
    with output.progress() as add:
        tick = add(f"{pipe.task.name} with {pipe.model.name}", len(todo)) if len(todo) > 1 else None
        for one in answers(pipe, todo, tile=tile, as_is=as_is):
            found.append(one)
            if one.refused and len(todo) > 1:
                output.note(f"left out: {one.refused}")
            if tick is not None:
                tick(len(found), "")
    refused = [one for one in found if one.refused]
    if len(refused) == len(found):
        raise DataError(str(refused[0].refused) if len(refused) == 1 else "nothing could be worked on")
    if sheet is not None:
        from triptych.media.pictures import save_png

        save_png(drawn(found, truths), sheet)
    if any(same(one) for one in found):
        output.note(f"{pipe.model.name} draws nothing at random: the answers of all seeds are the same")
    written = [str(file) for one in found for file in one.files]
    if as_json:
        output.dump({"task": pipe.task.name, "model": pipe.model.name, "files": written, "left_out": len(refused)})
    else:
        left = f"; {len(refused)} of {len(found)} left out" if refused else ""
        several = f"{len(written)} files in {out}" if out.is_dir() else f"{written[0]} to {written[-1]}"
        output.say(f"{pipe.task.name}: {written[0] if len(written) == 1 else several}{left}")


def parsed(words: list[str], flags: dict[str, Parameter], task: str) -> dict[str, Any]:
    """`--picture a.png --invert-mask` as the keywords of a task. Raises UsageError in the words of the command line."""
    known = {f"--{name.replace('_', '-')}": (name, p.annotation) for name, p in flags.items()}
    found, rest = dict[str, Any](), list(words)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if word == "-i":
            word = next(iter(known))
        if word not in known and not word.startswith("-"):
            first = next(iter(known))
            raise UsageError(f"{word}: what is brought comes behind a flag, as in {first} {word}; several in a folder")
        if word not in known:
            raise UsageError(f"{task} takes {', '.join(known)}; not {word}")
        name, kind = known[word]
        if name in found:
            raise UsageError(f"{word} comes twice: it takes one, or a folder of several")
        if kind is bool:
            found[name] = True
            continue
        if not equals:
            if not rest:
                raise UsageError(f"{word} needs a value")
            value = rest.pop(0)
        found[name] = valued(word, value, kind)
    for word, (name, _) in known.items():
        if flags[name].default is Parameter.empty and name not in found:
            raise UsageError(f"{task} needs {word}")
    return found


def valued(word: str, text: str, kind: Any) -> Any:
    """A value of this type. Raises UsageError."""
    from pydantic import TypeAdapter, ValidationError

    kinds = (kind, *get_args(kind))
    if Path in kinds:
        if not text.strip() or not there(text):
            if str in kinds and not named_as_a_file(text):  # words may be given as they are, or in a file
                return text
            raise UsageError(f"{word} {text}: there is no such file or folder")
        return Path(text)
    try:
        return TypeAdapter(kind).validate_strings(text)
    except ValidationError as e:
        raise UsageError(f"{word} {text}: {e.errors()[0]['msg']}") from None


def there(text: str) -> bool:
    """Whether this is the name of something; a text may be longer than names are."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def named_as_a_file(text: str) -> bool:
    """Whether words look like the name of a text, which nobody wants to have read out."""
    from triptych.media.text import Writing

    return not re.search(r"\s", text) and Path(text).suffix.lower() in Writing.suffixes


def seeds_of(text: str) -> list[int]:
    """0-3 or 0,7 or 5. Raises UsageError."""
    found = list[int]()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if match is None:
            raise UsageError(f"--seeds {text}: write 5, or 0-3, or 0,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + 1000:
            raise UsageError(f"--seeds {text}: {part} goes from a number to a higher one, 1,000 at most")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise UsageError(f"--seeds {text}: a seed comes twice")
    return found
