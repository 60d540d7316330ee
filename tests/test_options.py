"""The options of data: declared once, and everything else follows."""

import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import triptych as tt
from triptych.cli.app import app
from triptych.data import data, pack
from triptych.options import Opening, Packing, declared
from triptych.training import Run
from triptych.verbs.card import command
from triptych.verbs.opening import KEPT

VERBS: dict[str, typer.core.TyperCommand] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_python_shows_every_option_by_its_name_and_says_what_it_does() -> None:
    for function, kind in ((data, Opening), (pack, Packing)):
        shown = inspect.signature(function).parameters
        assert set(declared(kind)) == {name for name, p in shown.items() if p.kind is p.KEYWORD_ONLY}
        assert {name: shown[name].default for name in declared(kind)} == {
            name: option.default for name, (_, option) in declared(kind).items()
        }
    for name in declared():
        assert re.search(rf"^    {name}  ", data.__doc__ or "", re.M), name


def test_the_command_line_has_the_options_that_have_a_line_of_help() -> None:
    said = {name: option.help for name, (_, option) in declared().items() if option.help}
    typed = {p.name: p.help for verb in VERBS.values() for p in verb.params if p.name in said}
    assert typed == said
    assert {p.name for p in VERBS["train"].params} >= set(said) - {"stride"}
    assert {o for p in VERBS["train"].params for o in p.opts} >= {"--size", "--labels-seed", "--x", "--strict"}


def test_options_mean_on_the_command_line_what_they_mean_in_python(cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    done = cli("data", tmp_path, "--size", "6x4", "--channels", 1, "--split", "all", "--json")
    assert done.code == 0 and "Images(channels=1, height=6, width=4" in done.out
    assert data(tmp_path, size=(6, 4), channels=1, split="all").x == tt.Images(1, 6, 4)


def test_an_option_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(tt.UsageError, match="an option chanels; did you mean channels"):
        data("mnist", chanels=1)  # type: ignore[call-arg]
    with pytest.raises(tt.UsageError, match="crop"):
        pack("mnist", "there", crop=8)  # type: ignore[call-arg]


def test_nothing_of_a_run_decides_where_is_written_or_whether_the_rest_is_read() -> None:
    assert not set(KEPT) & {"cache", "strict", "split", "mutate", "stride"}


def test_a_card_repeats_every_option_that_a_run_was_opened_with(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / name / f"{i}.png")
    found = data(tmp_path, x="one", size=4)
    words = command(tt.create("dcgan-tiny"), found, Run(), tmp_path / "run")
    assert "--x one" in words and "--size 4" in words


def test_a_source_is_opened_for_the_model_in_python_too(tmp_path: Path) -> None:
    for i in range(12):
        Image.new("RGB", (9 + i, 8), (20 * i, 0, 255)).save(tmp_path / f"{i}.png")
    model = tt.create("vae", x=tt.Images(1, 4, 4), hidden=(4,), latent=1)
    assert len(list(tt.train(model, tmp_path, tt.Run(steps=2, batch=4)))) == 2
    assert tt.score(model, str(tmp_path), draws=2).n > 0


@pytest.mark.parametrize("name", [n for n in VERBS if find_spec(f"triptych.verbs.{n.replace('-', '_')}")])
def test_a_verb_has_the_same_defaults_on_the_command_line_and_in_python(name: str) -> None:
    function = getattr(import_module(f"triptych.verbs.{name}"), name, None)
    if function is None:
        pytest.skip("it has another name in Python")
    python = {n: p.default for n, p in inspect.signature(function).parameters.items() if p.default is not p.empty}
    shared = {p.name: p.default for p in VERBS[name].params if p.name in python and p.name != "device"}
    assert {n: v or None for n, v in shared.items()} == {n: python[n] or None for n in shared}
