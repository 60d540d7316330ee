"""The table of models against the files, the classes and the papers that it names."""

import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.nn.utils import parametrizations

import triptych.models
from triptych import models
from triptych.core import Exact, Generative, HasLikelihood, LowerBound, UsageError
from triptych.io import configs, folder
from triptych.testing import Examples
from triptych.testing.toys import first_examples

HERE = Path(triptych.models.__file__).parent
OWN = list(models.own().values())
PRESETS = [(entry, name) for entry in OWN for name in entry.presets()]


def test_every_file_is_in_the_table_and_every_entry_has_its_file() -> None:
    files = {
        f"{p.parent.name}.{p.stem}"
        for family in ("gan", "vae", "autoregressive", "translation")
        for p in (HERE / family).glob("*.py")
        if p.name != "__init__.py"
    }
    assert files == {entry.where.removeprefix("triptych.models.") for entry in OWN}


def test_names_are_unique_and_plain() -> None:
    names = [entry.name for entry in OWN]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+-]*", name) for name in names)


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e.name)
def test_an_entry_says_where_it_is_from(entry: models.Entry) -> None:
    paper = entry.paper
    assert 1980 < paper.year < 2100
    assert paper.called and paper.title and paper.authors and paper.conditions and paper.takes
    assert paper.url.startswith("https://")


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e.name)
def test_a_page_is_read_as_it_would_be_imported(entry: models.Entry) -> None:
    assert entry.module().PAPER == entry.paper


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e.name)
def test_a_citation_is_bibtex(entry: models.Entry) -> None:
    text = entry.bibtex()
    head = re.fullmatch(r"@(misc|article|inproceedings)\{([^\s,{}]+),\n(.*)\n\}", text, re.DOTALL)
    assert head, text
    assert text.count("{") == text.count("}")
    found = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", head[3], re.MULTILINE))
    assert {"title", "author", "year", "url"} <= set(found)
    assert found["year"] == str(entry.paper.year)
    assert "," not in found["author"] or " and " in found["author"]
    assert all(len(author.split()) >= 2 for author in found["author"].split(" and "))


def test_keys_of_citations_are_unique() -> None:
    keys = [entry.bibtex().partition(",")[0] for entry in OWN]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e.name)
def test_a_class_is_called_as_the_table_says(entry: models.Entry) -> None:
    kind = entry.load()
    assert issubclass(kind, Generative)
    assert kind.name == entry.name
    assert kind.__doc__ != Generative.__doc__ or (entry.module().__doc__ or "")
    assert str(entry.paper.year)[:3] in (entry.module().__doc__ or "") and "http" in (entry.module().__doc__ or "")


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e.name)
def test_the_default_configuration_can_be_built(entry: models.Entry) -> None:
    assert parameters(entry, folder.config_class(entry.load())()) > 0


@pytest.mark.parametrize(("entry", "name"), PRESETS, ids=[name for _, name in PRESETS])
def test_a_preset_can_be_built(entry: models.Entry, name: str) -> None:
    preset = entry.presets()[name]
    assert name.startswith(entry.name + "-")
    assert isinstance(preset.config, folder.config_class(entry.load()))
    assert preset.expect
    assert models.find_preset(name) == (entry, preset)
    assert parameters(entry, preset.config) > 0


def parameters(entry: models.Entry, config: Any) -> int:
    """How many weights a model has; it is built on the meta device, which takes no memory and no time.

    But for power iteration, whose first steps it goes through in Python: those are left out.
    """
    make: Any = entry.load()
    with torch.device("meta"), patch.object(parametrizations._SpectralNorm, "_power_method"):
        model = make(config)
    assert model.stages()
    return sum(w.numel() for w in model.parameters())


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e.name)
def test_the_kind_of_likelihood_is_the_one_in_the_table(entry: models.Entry) -> None:
    make: Any = entry.load()
    for name, preset in entry.presets().items():
        if "-tiny" not in name:
            continue
        model = make(preset.config)
        given = getattr(preset.config, "given", None)
        assert (entry.paper.conditions == "none") <= (given is None)
        if entry.paper.likelihood == "none":
            assert not isinstance(model, HasLikelihood)
            continue
        batch = first_examples(model, Examples(preset.config.x, given), 2)
        kind = {"exact": Exact, "lower bound": LowerBound}[entry.paper.likelihood]
        assert type(model.log_prob(batch.x, batch.given)) is kind


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e.name)
def test_every_field_is_documented(entry: models.Entry) -> None:
    fields = configs.describe(folder.config_class(entry.load())())
    assert fields
    bare = [name for name, _, _, doc in fields if not doc and "." not in name]
    assert bare == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pixelcn", "did you mean pixelcnn"),
        ("DCGAN", "did you mean dcgan"),
        ("zzzzz", "there are "),
        ("dcgan-mnst", "dcgan-mnist"),
        ("", "there is no model"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        models.find_preset(name)
