"""A model's folder: config.json and model.safetensors, and beside them what resuming a run needs."""

import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor
from torch.nn.modules import module as registry

from triptych.core import Generative, IntegrityError, TriptychError, UsageError
from triptych.core.reading import expect, parse_json
from triptych.io import commit, tensors
from triptych.io.configs import from_json, to_json
from triptych.io.sketching import Sketching

CONFIG, WEIGHTS, STATE, STATE_TENSORS = "config.json", "model.safetensors", "state.json", "state.safetensors"
CHECKPOINTS = "checkpoints"

DATA = {"name": str, "fingerprint": str, "n": int, "opened?": (dict, type(None))}
MADE_WITH = {"triptych?": str, "torch?": str, "threads?": int, "device?": str}
ABOUT = {"model": str, "config": dict, "data?": DATA, "run?": dict, "made_with?": MADE_WITH}
"""What config.json says. Fields beside these are left to those who know them."""
LONGEST_NAME = 200
MOST_NUMBERS = 1 << 28
"""Of an item of data, in a configuration that is read from a file."""
MOST_OF_A_KIND = 1 << 24
"""Layers, channels and so on in such a configuration: what one page makes lists of, or loops over."""
MANY, SPARE = 16, 64
"""A model may register so many times as many modules, weights and buffers as were saved, with as many to spare."""
REGISTRATIONS: tuple[Callable[..., Any], ...] = (
    registry.register_module_module_registration_hook,
    registry.register_module_parameter_registration_hook,
    registry.register_module_buffer_registration_hook,
)


def save(model: Generative[Any], folder: Path | str, *, about: dict[str, Any] | None = None, state: Any = None) -> None:
    """Writes the model, and with `state` all that resuming needs, in one atomic commit.

    `about` is kept in config.json beside the model's name and configuration (data, run, versions). `state` is a tree
    of JSON values and tensors. Raises NonFiniteError if a weight is NaN or infinite: nothing is written then.
    """
    weights = model.state_dict()
    tensors.check_finite(weights)
    config = {"format": commit.FORMAT, "model": model.name, "config": to_json(model.config), **(about or {})}
    files = {CONFIG: (json.dumps(config, indent=2) + "\n").encode(), WEIGHTS: tensors.pack(weights)}
    if state is not None:
        files[STATE], files[STATE_TENSORS] = tensors.pack_tree(state)
    commit.commit(Path(folder), files)


def load(folder: Path | str, find: Callable[[str], type[Generative[Any]]]) -> Generative[Any]:
    """Reads a model; `find` looks its name up in the table of models (nothing that the folder names is imported).

    Raises UsageError if the folder holds no model or one that this version does not know; IntegrityError, naming the
    file, if anything was altered.
    """
    path = Path(folder)
    files = commit.read(path, [CONFIG, WEIGHTS])
    about = parse(files[CONFIG], path / CONFIG)
    kind, where = find(about["model"]), str(path / CONFIG)
    weights = tensors.unpack(files[WEIGHTS], str(path / WEIGHTS))
    model = build(kind, from_json(config_class(kind), about["config"], where), where, weights)
    tensors.load_weights(model, weights, str(path / WEIGHTS))
    return model


def rebuild(folder: Path | str, kind: type[Generative[Any]]) -> Generative[Any]:
    """A new model of the configuration that a folder holds, which must be of this kind: `resume` fills it."""
    path = Path(folder)
    files = commit.read(path, [CONFIG, WEIGHTS])
    config = from_json(config_class(kind), parse(files[CONFIG], path / CONFIG)["config"], str(path / CONFIG))
    return build(kind, config, str(path / CONFIG), tensors.unpack(files[WEIGHTS], str(path / WEIGHTS)))


def build(kind: type[Generative[Any]], config: Any, where: str, weights: Mapping[str, Tensor]) -> Generative[Any]:
    """A model of a configuration that came from a file, to hold these weights.

    It is first built without memory, on the meta device, and compared with the weights: what a forged configuration
    describes (layers by the million, sizes of 10^18) is refused before anything is allocated. Raises IntegrityError
    where the two do not fit, UsageError for a configuration that no model can be built of.
    """
    make: Any = kind
    check_size(config, where)
    try:
        with bounded(len(weights), where):
            try:
                with torch.device("meta"), Sketching():
                    sketch: Generative[Any] = make(config)
                tensors.check_fit(sketch, weights, where)
            except (NotImplementedError, RuntimeError) as e:
                if "meta" not in str(e):  # a model from elsewhere may compute with its weights as it is made
                    raise
            model: Generative[Any] = make(config)
            return model
    except TriptychError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        said = (str(e).splitlines() or [""])[0] or type(e).__name__
        raise UsageError(f"{where} describes a model that cannot be built: {said}") from e


def check_size(config: Any, where: str) -> None:
    """Raises UsageError where an element of the model's spaces is larger than anything that is worked on here, or any
    other whole number is."""
    for name, value in counts(config):
        if abs(value) > MOST_OF_A_KIND:
            raise UsageError(f"{where}: {name}={value:,}: a model has at most {MOST_OF_A_KIND:,} of anything")
    for name in ("x", "given"):
        shape = getattr(getattr(config, name, None), "shape", ())
        if prod(shape) > MOST_NUMBERS:
            raise UsageError(f"{where}: {name} of {list(shape)} is more than {MOST_NUMBERS:,} numbers an item")


def counts(config: Any) -> Iterator[tuple[str, int]]:
    """The whole numbers of a configuration, those of its spaces left out."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and field.name not in ("x", "given"):
            yield from counts(value)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int):
                yield field.name, one


@contextmanager
def bounded(held: int, where: str) -> Iterator[None]:
    """Within, modules that register many more tensors or modules than the `held` that were saved are given up."""
    most, so_far, here = MANY * (held + SPARE), 0, threading.get_ident()

    def count(module: Any, name: str, value: Any) -> None:
        nonlocal so_far
        so_far += threading.get_ident() == here
        if so_far > most:
            raise IntegrityError(f"{where} describes a model of far more than the {held:,} tensors saved beside it")

    hooks = [register(count) for register in REGISTRATIONS]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def config_class(kind: type[Generative[Any]]) -> type[Any]:
    """The configuration's dataclass: what the model's constructor says it takes."""
    found: type[Any] = get_type_hints(kind.__init__)["config"]
    return found


def about(folder: Path | str) -> dict[str, Any]:
    """config.json: the model's name and configuration, and what it was trained on."""
    path = Path(folder)
    return parse(commit.read(path, [CONFIG])[CONFIG], path / CONFIG)


def parse(data: bytes, path: Path) -> dict[str, Any]:
    """config.json. Raises IntegrityError, naming the field, for what it cannot say; UsageError for another format."""
    value = parse_json(data, str(path))
    expect(value, {"format": (int, str, float, type(None))}, str(path))
    commit.check_format(value["format"], str(path))
    expect(value, ABOUT, str(path))
    if len(value["model"]) > LONGEST_NAME:
        raise IntegrityError(f"{path} is damaged: its model's name is {len(value['model']):,} characters long")
    about: dict[str, Any] = value
    return about


def resume(model: Generative[Any], folder: Path | str) -> Any:
    """Fills `model` with a run's latest weights and returns its saved state.

    Raises UsageError if the folder holds another model or configuration, or was saved without state.
    """
    path = Path(folder)
    held = commit.committed(path)
    if STATE not in held:
        what = "a model but no training state" if held else "no checkpoint of a run"
        raise UsageError(f"{path} holds {what}: it cannot be resumed; without --resume, a run starts from nothing")
    files = commit.read(path, [CONFIG, WEIGHTS, STATE, STATE_TENSORS])
    saved = parse(files[CONFIG], path / CONFIG)
    if saved["model"] != model.name:
        raise UsageError(f"{path} holds a run of {saved['model']}, not of {model.name}")
    then = from_json(config_class(type(model)), saved["config"], str(path / CONFIG))
    if then != model.config:
        raise UsageError(f"{path} was trained with another configuration: {differences(then, model.config)}")
    state = tensors.unpack_tree(files[STATE], files[STATE_TENSORS], str(path / STATE_TENSORS))
    tensors.load_weights(model, tensors.unpack(files[WEIGHTS], str(path / WEIGHTS)), str(path / WEIGHTS))
    return state


def differences(saved: Any, config: Any) -> str:
    """The fields in which two configurations differ."""
    now = flat(to_json(config))
    then = flat(to_json(saved))
    changed = [k for k in {**then, **now} if then.get(k) != now.get(k)]
    return ", ".join(f"{k}={then.get(k)!r} (now {now.get(k)!r})" for k in changed[:4])


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    return {k: v for name, node in tree.items() for k, v in flat(node, f"{prefix}{name}.").items()}


def keep(folder: Path | str, step: int, last: int, kind: str = "step") -> None:
    """Keeps the current commit as checkpoints/KIND-N (linked, not copied, where the disk can) and the `last` newest."""
    path = Path(folder)
    target = path / CHECKPOINTS / f"{kind}-{step:08d}"
    draft = target.with_name(f".draft-{os.getpid()}")
    try:
        if not target.exists():
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            for name in [*commit.committed(path), commit.MANIFEST]:
                link(path / name, draft / name)
            draft.rename(target)
        kept = sorted(p for p in target.parent.iterdir() if p.name.startswith(f"{kind}-"))
        for old in kept[:-last]:
            shutil.rmtree(old, ignore_errors=True)
        commit.sweep(target.parent)
    except OSError as e:
        shutil.rmtree(draft, ignore_errors=True)
        raise commit.explain(e, target) from e


def link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
