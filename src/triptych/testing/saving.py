"""Configurations and files: what is written comes back, and nothing else is accepted."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from triptych.core import Data, Generative, IntegrityError, Space, UsageError
from triptych.io import commit, configs, folder
from triptych.testing.toys import copied, difference, first_examples, require

SURPLUS = "a_field_that_is_not_there"


def check_config(model: Generative[Any]) -> None:
    """The configuration goes through JSON and comes back equal; it cannot be changed; unknown fields are refused."""
    name, config = model.name, model.config
    try:
        kind = folder.config_class(type(model))
    except (KeyError, NameError) as e:
        raise AssertionError(f"{name}: its constructor does not say what `config` is: annotate it") from e
    require(
        isinstance(config, kind), f"{name}: its configuration is not the {kind.__name__} that its constructor takes"
    )
    require(isinstance(getattr(config, "x", None), Space), f"{name}: config.x is not a space")
    plain = configs.to_json(config)
    back = configs.from_json(kind, json.loads(json.dumps(plain)))
    require(back == config, f"{name}: its configuration comes back from JSON as {back}, not {config}")
    try:
        configs.from_json(kind, {**plain, SURPLUS: 1})
    except UsageError as e:
        require(SURPLUS in str(e), f"{name}: an unknown field is refused without being named: {e}")
    else:
        raise AssertionError(f"{name}: its configuration takes an unknown field; declare it with @config")
    try:
        config.x = config.x
    except dataclasses.FrozenInstanceError:
        return
    raise AssertionError(f"{name}: its configuration can be changed; declare it with @config")


def check_saving(model: Generative[Any], data: Data) -> None:
    """A saved model comes back with the same weights and the same samples; a file that was altered is refused."""
    name, given = model.name, first_examples(model, data, 3).given
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "saved"
        folder.save(model, path)
        back = folder.load(path, lambda _: type(model)).to(model.device)
        changed = difference(copied(model), copied(back))
        require(changed is None, f"{name}: {changed} is another after saving and loading")
        same = bool((model.sample(3, given, seed=0) == back.sample(3, given, seed=0)).all())
        require(same, f"{name}: samples change by saving and loading: something they depend on is not in state_dict()")
        for file in commit.committed(path):
            intact = (path / file).read_bytes()
            middle = len(intact) // 2
            (path / file).write_bytes(intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :])
            try:
                folder.load(path, lambda _: type(model))
            except IntegrityError as e:
                require(file in str(e), f"{name}: the altered file {file} is refused without being named: {e}")
            else:
                raise AssertionError(f"{name}: {file} was altered, and still it was loaded")
            (path / file).write_bytes(intact)
