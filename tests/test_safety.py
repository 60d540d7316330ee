"""What the source must not contain: ways to run what a file says, and training machinery inside of models."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import triptych

SOURCE = Path(triptych.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MODELS = sorted(p for p in (SOURCE / "models").glob("*/*.py") if p.name != "__init__.py")

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "ctypes"}
"""Not to be imported: they run, or can be made to run, what they read."""
CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
METHODS = {
    "torch.load",
    "torch.save",
    "torch.hub.load",
    "torch.jit.load",
    "os.system",
    "os.popen",
    "yaml.load",
    "subprocess.getoutput",
}
ATTRIBUTES = {"extractall", "extract", "read_pickle", "load_module", "exec_module", "unpack_archive"}
PIL = {"Image", "ImageDraw", "ImageFile", "ImageFont", "ImageOps", "PngImagePlugin", "UnidentifiedImageError"}
"""What of Pillow is used. No other: plugins and parsers open files by what they hold, and some start programs."""
OPENERS = {"imageio", "cv2", "skimage", "torchvision", "matplotlib", "av", "trimesh", "webbrowser"}
"""Not to be imported: they open pictures past `open_picture`, or pages."""
DOOR = ("media/images.py", ("open_picture", "extent"))
"""The functions that may call `Image.open`: one opens pictures, one reads how large they are."""
STARTERS = {"verbs/demo.py", "data/library/packages.py", "tasks/phonemes.py"}
"""Where processes are started: of our own command line, the clients of package registries, and espeak-ng, which is fed
a text and the name of a voice that is letters and digits."""
FILMS = "media/video.py"
"""Where PyAV may be imported: films are opened in memory, and as the container that their first bytes say they are (of
others, playlists for one, some name further files)."""
MESHES = "media/meshes.py"
"""Where trimesh may be imported: meshes are opened in memory, without a resolver of what else they name."""
CHECKED = {"metrics/efficientnet.py"}
"""Where torch.load may be called, with weights_only=True: on one file, whose sha256 was looked at before."""
BUILDER = "native/building.py"
"""Where a module is loaded by its path: what it built of our own sources, in a folder that is the user's own."""
IMPORTERS = {
    "__init__.py": ["'triptych.models'", "HOME[name]"],
    "models/__init__.py": ["self.where", "name"],
    "tasks/__init__.py": ["f'triptych.tasks.{module}'"],
    "media/__init__.py": ["f'triptych.media.{module}'"],
}
"""Where import_module is called: on names of our own tables."""
TRAINING = {"detach", "no_grad", "inference_mode", "zero_grad", "backward", "step", "cuda", "cpu", "requires_grad_"}
"""What the loop does, and models do not. Nor do they move to another device: `.to` takes a dtype there."""


def dotted(node: ast.expr) -> str:
    """`torch.load` of an attribute's tree; "" for what is not a plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def pictures_opened(tree: ast.Module, name: str) -> Iterator[str]:
    """Ways of opening a picture other than through the one door, and uses of that door without named formats."""
    door = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and name == DOOR[0] and f.name in DOOR[1]]
    inside = {node for f in door for node in ast.walk(f)}
    allowed = {
        node.func
        for node in inside
        if isinstance(node, ast.Call)
        and dotted(node.func) == "Image.open"
        and "formats" in {k.arg for k in node.keywords}
    }
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            roots = {a.name.split(".")[0] for a in node.names}
            films = {"av"} if name == FILMS else {"trimesh"} if name == MESHES else set()
            yield from (f"{where} imports {root}" for root in roots & (OPENERS | {"PIL"}) - films)
            if "subprocess" in roots and name not in STARTERS:
                yield f"{where} imports subprocess"
        elif isinstance(node, ast.ImportFrom) and not node.level:
            root = (node.module or "").split(".")[0]
            names = {a.name for a in node.names}
            if root in OPENERS or (root == "subprocess" and name not in STARTERS):
                yield f"{where} imports {root}"
            if root == "PIL" and (node.module != "PIL" or names - PIL or any(a.asname for a in node.names)):
                yield f"{where} imports {sorted(names)} from {node.module}"
        elif isinstance(node, ast.Call) and dotted(node.func) == "av.open":
            if "format" not in {k.arg for k in node.keywords}:
                yield f"{where} opens a film of any kind"
        elif isinstance(node, ast.Attribute) and dotted(node) == "Image.open" and node not in allowed:
            yield f"{where} uses Image.open"
        elif isinstance(node, ast.Attribute) and dotted(node.value) == "ImageFile" and node.attr != "ImageFile":
            yield f"{where} uses {dotted(node)}"
        elif isinstance(node, ast.Name) and node.id == "Image" and aliased(tree, node):
            yield f"{where} gives Image another name"
        elif isinstance(node, ast.Attribute) and dotted(node).startswith(
            ("os.exec", "os.spawn", "os.posix_spawn", "os.startfile")
        ):
            yield f"{where} uses {dotted(node)}"


def aliased(tree: ast.Module, name: ast.Name) -> bool:
    """Whether the module itself is assigned, passed on or asked for an attribute by a text."""
    for node in ast.walk(tree):
        values = [node.value] if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.Return) else []
        values += [*node.args, *(k.value for k in node.keywords)] if isinstance(node, ast.Call) else []
        if name in values:
            return True
    return False


def weights_only(call: ast.Call) -> bool:
    return any(
        k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords
    )


def offences(source: str, name: str) -> Iterator[str]:
    yield from pictures_opened(ast.parse(source), name)
    for node in ast.walk(ast.parse(source)):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (f"{where} imports {a.name}" for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in MODULES:
                yield f"{where} imports from {module}"
            names = {f"{module}.{a.name}" for a in node.names}
            yield from (f"{where} imports {n}" for n in names & METHODS)
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            last = node.func.attr if isinstance(node.func, ast.Attribute) else called
            loads = last in ATTRIBUTES and not (last == "exec_module" and name == BUILDER)
            banned = METHODS - ({"torch.load"} if name in CHECKED and weights_only(node) else set())
            if called in CALLS or called.removeprefix("builtins.") in CALLS or called in banned or loads:
                yield f"{where} calls {called or last}"
            if last == "import_module" and name not in IMPORTERS:
                yield f"{where} imports a module by name"
            for keyword in node.keywords:
                true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                if keyword.arg == "shell" or (keyword.arg == "allow_pickle" and true):
                    yield f"{where} calls {called} with {keyword.arg}="


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_can_run_what_a_file_says(path: Path) -> None:
    assert list(offences(path.read_text(), str(path.relative_to(SOURCE)))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(f)",
        "from torch import load",
        "torch.load(f, weights_only=True)",
        "eval('1')",
        "exec(code)",
        "builtins.compile(a, b, c)",
        "__import__('os')",
        "zipfile.ZipFile(f).extractall()",
        "archive().extract(name)",
        "subprocess.run(c, shell=True)",
        "numpy.load(f, allow_pickle=True)",
        "importlib.import_module(config['class'])",
        "import yaml\nyaml.load(f)",
        "from PIL import Image\nImage.open(f)",
        "from PIL import Image\nImage.open(f, formats=FORMATS)",
        "from PIL import Image\nopen_it = Image.open",
        "from PIL import Image\ngetattr(Image, 'open')(f)",
        "from PIL import Image\npil = Image",
        "from PIL import Image as Picture\nPicture.open(f)",
        "from PIL.Image import open as look",
        "from PIL.Image import *",
        "from PIL import ImageFile\nImageFile.Parser()",
        "from PIL import EpsImagePlugin",
        "from PIL.ImageFile import Parser",
        "import PIL.Image\nPIL.Image.open(f)",
        "import PIL",
        "import cv2",
        "from torchvision.io import read_image",
        "import subprocess\nsubprocess.run(c)",
        "from subprocess import run",
        "import os\nos.execvp(a, b)",
        "import os\nos.startfile(a)",
    ],
)
def test_the_walk_finds(source: str) -> None:
    assert list(offences(source, "planted.py"))


def test_the_door_names_its_formats() -> None:
    """The walk looks at the door, too: without formats it is an offence there."""
    source = "from PIL import Image\ndef open_picture(data):\n    return Image.open(data)"
    assert list(offences(source, DOOR[0]))
    assert not list(offences(source.replace("open(data)", "open(data, formats=FORMATS)"), DOOR[0]))


def test_the_importers_import_from_tables_only() -> None:
    """From tables of this package; and what a person names on the command line or has installed for it."""
    for name, wanted in IMPORTERS.items():
        tree = ast.parse((SOURCE / name).read_text())
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and dotted(n.func) == "import_module"]
        assert [ast.unparse(call.args[0]) for call in calls] == wanted


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_a_model_leaves_training_to_the_loop(path: Path) -> None:
    tree = ast.parse(path.read_text())
    casts = {
        node.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and not node.keywords
        and [dotted(a).endswith((".dtype", ".precision")) for a in node.args] == [True]
    }
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [
        f"{path.name}:{node.lineno} .{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and (node.attr in TRAINING or (node.attr == "to" and node not in casts))
        if node.attr != "step" or node in called  # clock.step is a number, optimizer.step() an update
    ]
    assert found == []


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_a_model_draws_from_its_noise_only(path: Path) -> None:
    """torch's own generator is for dropout; a bound's draws, which score() seeds, are those of a Distribution."""
    banned = {"rand", "randn", "randint", "randperm", "multinomial", "bernoulli", "normal", "rand_like", "randn_like"}
    tree = ast.parse(path.read_text())
    kinds = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and "Distribution" in map(dotted, n.bases)]
    draws = {f for kind in kinds for f in kind.body if isinstance(f, ast.FunctionDef) and f.name == "sample"}
    within = {node for f in draws for node in ast.walk(f)}
    found = [
        f"{path.name}:{node.lineno} {dotted(node.func)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) in {f"torch.{name}" for name in banned}
        if node not in within
    ]
    assert found == []


@pytest.mark.parametrize(
    ("call", "found"),
    [("torch.load(f, weights_only=True)", 0), ("torch.load(f)", 1), ("torch.load(f, weights_only=w)", 1)],
)
def test_the_one_foreign_file_of_weights_is_read_as_weights_only(call: str, found: int) -> None:
    (name,) = CHECKED
    assert len(list(offences(call, name))) == found
