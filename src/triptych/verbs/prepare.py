"""From what a person typed to a model and a run: presets, overrides, and what a resumed run was told before."""

from pathlib import Path
from typing import Any

from triptych import models
from triptych.core import Audio, Data, Generative, UsageError
from triptych.io import commit, configs, folder
from triptych.training import Run
from triptych.verbs.create import create_for


def sound(name: str, assignments: list[str], resume: Path | None) -> Audio | None:
    """The space that recordings are brought to for a model of sound: what its configuration, a preset's, or that of
    the run being resumed says, with what `assignments` say of x. None for models of anything else.
    """
    entry, preset = models.find_preset(name)
    kind = folder.config_class(entry.load())
    config = preset.config if preset else kind()
    if resume is not None and commit.committed(resume) and folder.about(resume)["model"] == entry.name:
        config = configs.from_json(kind, folder.about(resume)["config"], str(resume))
    if not isinstance(config.x, Audio):  # the one space that is an option of `data`: recordings have no other size=
        return None
    of_x = [a.removeprefix("x.") for a in assignments if a.startswith("x.")]
    return configs.override(config.x, of_x)


def prepare(
    name: str, data: Data, assignments: list[str], changes: dict[str, Any], resume: Path | None
) -> tuple[Generative[Any], Run]:
    """A model and its run. `changes` are fields of Run that were asked for; the others come from the run being
    resumed, or else from the preset, or else from Run's defaults.

    Raises UsageError for anything unknown, and if `resume` is a folder of another model.
    """
    entry, preset = models.find_preset(name)
    settings = {"steps": preset.steps, "batch": preset.batch} if preset else {}
    if preset and preset.fits:
        settings["batch"] = min(preset.batch, len(data))
    if resume is None:
        run = configs.from_json(Run, {**settings, **changes}, "run")
        return create_for(name, data, assignments, seed=run.seed), run
    saved = folder.about(resume)
    if saved["model"] != entry.name:
        raise UsageError(f"{resume} holds a run of {saved['model']}, not of {entry.name}")
    run = configs.from_json(Run, {**saved.get("run", {}), **changes}, "run")
    kind = entry.load()
    config = configs.from_json(folder.config_class(kind), saved["config"], str(resume))
    asked = configs.override(config, assignments)
    if asked != config:
        raise UsageError(f"{resume} was trained with another configuration: {folder.differences(config, asked)}")
    return folder.rebuild(resume, kind), run
