"""A model's folder: config.json and model.safetensors, and beside them what resuming a run needs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from triptych.core import Generative, IntegrityError, UsageError
from triptych.io import commit, tensors
from triptych.io.configs import from_json, to_json

CONFIG, WEIGHTS, STATE, STATE_TENSORS = "config.json", "model.safetensors", "state.json", "state.safetensors"
CHECKPOINTS = "checkpoints"


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
    model = build(find(str(about.get("model"))), about.get("config"), str(path / CONFIG))
    tensors.load_weights(model, files[WEIGHTS], str(path / WEIGHTS))
    return model


def build(kind: type[Generative[Any]], config: Any, where: str) -> Generative[Any]:
    """A model of this kind from its configuration in JSON."""
    make: Any = kind
    model: Generative[Any] = make(from_json(config_class(kind), config, where))
    return model


def config_class(kind: type[Generative[Any]]) -> type[Any]:
    """The configuration's dataclass: what the model's constructor says it takes."""
    found: type[Any] = get_type_hints(kind.__init__)["config"]
    return found


def about(folder: Path | str) -> dict[str, Any]:
    """config.json: the model's name and configuration, and what it was trained on."""
    path = Path(folder)
    return parse(commit.read(path, [CONFIG])[CONFIG], path / CONFIG)


def parse(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as e:
        raise IntegrityError(f"{path} is not JSON: {e}") from e
    if not isinstance(value, dict):
        raise IntegrityError(f"{path} does not describe a model")
    return value


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
    if saved.get("model") != model.name:
        raise UsageError(f"{path} holds a run of {saved.get('model')}, not of {model.name}")
    then = from_json(config_class(type(model)), saved.get("config"), str(path / CONFIG))
    if then != model.config:
        raise UsageError(f"{path} was trained with another configuration: {differences(then, model)}")
    state = tensors.unpack_tree(files[STATE], files[STATE_TENSORS], str(path / STATE_TENSORS))
    tensors.load_weights(model, files[WEIGHTS], str(path / WEIGHTS))
    return state


def differences(saved: Any, model: Generative[Any]) -> str:
    now = flat(to_json(model.config))
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
        for old in [*kept[:-last], *target.parent.glob(".draft-*")]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as e:
        shutil.rmtree(draft, ignore_errors=True)
        raise commit.explain(e, target) from e


def link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
