"""A model from outside the package is a first-class citizen: it trains, saves, loads, evaluates, compares, applies."""

import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import triptych as tt
from triptych import models
from triptych.cli import main
from triptych.core import UsageError
from triptych.verbs import judge

PACKAGE = '''
"""Mean: a picture is its mean level, and noise."""

import torch
from torch import nn

from triptych.core import Adam, Generative, Images, Loss, Player, Preset, Stage, config
from triptych.models import Paper

PAPER = Paper(called="Mean", title="On means", authors="Ada Lovelace", year=1843, url="https://example.org/mean")


@config
class MeanConfig:
    x: Images = Images(1, 28, 28)
    """What is modeled."""
    spread: float = 0.1
    """Of the noise."""


class Mean(Generative[None]):
    name = "mean"

    def __init__(self, config: MeanConfig) -> None:
        super().__init__()
        self.config = config
        self.level = nn.Parameter(torch.zeros(config.x.shape))

    def draw(self, noise, given=None):
        return (self.level + self.config.spread * noise.normal(*self.config.x.shape)).clamp(-1, 1)

    def loss(self, batch, clock):
        return Loss((batch.x - self.level).square().mean())

    def stages(self):
        player = Player(name="mean", owns=self, loss=self.loss, optimizer=Adam(lr=0.05))
        return [Stage(name="train", players=[player])]


PRESETS = {"mean-quick": Preset(config=MeanConfig(), steps=20, batch=16, expect="Grey mush.")}
'''
POINTS = "[triptych.models]\nmean = my_package\n"
METADATA = "Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder as pip would leave it: a package, and what it says of itself."""
    site = tmp_path_factory.mktemp("site")
    (site / "my_package.py").write_text(PACKAGE)
    about = site / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA)
    (about / "entry_points.txt").write_text(POINTS)
    return site


FEW = 0
"""Numbers of training pictures that are looked at in an evaluation: as few as can be."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["triptych.cli.app", "triptych.verbs.compare", "triptych.verbs.train"])


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    returncode: int | None
    stdout: str
    stderr: str


def command(words: list[str], path: Path | None, cwd: Path, streams: Path) -> None:
    """In a process of its own: the command line, started in a folder as `python -m triptych` is."""
    os.chdir(cwd)
    sys.path[:0] = [str(cwd), *([str(path)] if path else [])]
    sys.argv = ["triptych", *words]
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    judge.NUMBERS = FEW
    main()


def run(*words: object, path: Path | None, cwd: Path) -> Ended:
    """The command line in a new process, with a folder of packages; torch is imported once for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        streams = Path(folder)
        process = FORKS.Process(target=command, args=([str(word) for word in words], path, cwd, streams))
        process.start()
        process.join(300)
        return Ended(process.exitcode, (streams / "out").read_text(), (streams / "err").read_text())


@pytest.fixture(scope="module")
def trained(site, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    done = run("train", "mean-quick", "--data", "mnist", "--out", "mean", "--pictures", 1, path=site, cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "mean"


def test_an_installed_package_brings_its_model(site, trained) -> None:
    home = trained.parent
    listed = json.loads(run("models", "--json", path=site, cwd=home).stdout)
    assert listed[-1]["name"] == "mean" and listed[-1]["family"] == "plugin"
    assert "Ada Lovelace" in run("cite", "mean", path=site, cwd=home).stdout
    assert "On means" in (trained / "README.md").read_text()
    again = run("train", "--resume", "--out", "mean", "--steps", 25, path=site, cwd=home)
    assert again.returncode == 0, again.stderr
    done = run("compare", "mean", "-n", 64, "--limit", 64, "--out", "page.html", path=site, cwd=home)
    assert done.returncode == 0 and (home / "page.html").exists(), done.stderr


def test_a_module_is_named_where_nothing_is_installed(site, trained, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(PACKAGE.replace('name = "mean"', 'name = "mine"').replace("mean-quick", "mine-q"))
    words = ("--plugin", "mine", "train", "mine-q", "--data", "mnist", "--out", "run", "--no-pictures", "--steps", 2)
    done = run(*words, path=None, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("--plugin", "mine", "sample", "run", "-n", 4, "--out", "s.png", path=None, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "s.png").exists(), done.stderr
    for words, said in ((("--plugin", "nowhere"), "nowhere"), (("--plugin", "json"), "holds no model")):
        done = run(*words, "models", path=None, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_run_folder_never_causes_an_import(trained, tmp_path) -> None:
    (tmp_path / "mean.py").write_text("raise SystemExit('imported')")
    done = run("sample", trained, "--out", "s.png", path=None, cwd=tmp_path)
    assert done.returncode == 2 and "there is no model 'mean'" in done.stderr, done.stderr


def test_an_installed_package_opens_no_folder_to_imports(site, tmp_path, monkeypatch) -> None:
    """Only who names a module on the command line has it looked for where they stand."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "FOREIGN", {})
    assert models.plug_in("my_package") == ["mean"]
    assert str(tmp_path) not in sys.path


def test_python_is_told_the_class(trained, tmp_path, monkeypatch) -> None:
    (tmp_path / "my_package.py").write_text(PACKAGE)  # no package that says anything of itself
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(models, "FOREIGN", {})
    monkeypatch.setattr(judge, "NUMBERS", FEW)
    import my_package  # type: ignore[import-not-found]

    with pytest.raises(UsageError, match="no model 'mean'"):
        tt.load(trained)
    model = tt.load(trained, my_package.Mean)
    assert isinstance(model, my_package.Mean) and model.sample(2, seed=0).shape == (2, 1, 28, 28)
    assert type(tt.load(trained)) is my_package.Mean
    data = tt.data("mnist:test")
    found = tt.evaluate(model, tt.data("mnist"), data, n=64)
    assert found.model == "mean"
    assert tt.create("mean-quick").config == model.config


def test_names_that_do_not_do_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(models, "FOREIGN", {})
    make = type("Other", (), {"name": "dcgan", "__module__": __name__})
    with pytest.raises(UsageError, match="a model 'dcgan' already"):
        models.register(make)  # type: ignore[arg-type]
    for name in ("Big Name", "", None):
        with pytest.raises(UsageError, match="small letters"):
            models.register(type("Other", (), {"name": name, "__module__": __name__}))  # type: ignore[arg-type]
