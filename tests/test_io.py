"""Files: commits that happen or do not, what was altered is refused, state and configurations that come back."""

import errno
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

from triptych import models
from triptych.core import Adam, Images, IntegrityError, NonFiniteError, Points, ResourceError, UsageError, config
from triptych.io import commit, configs, folder, tensors
from triptych.io.sketching import Sketching
from triptych.models.vae.vae import PRESETS, VAE, VAEConfig

OLD = {"a": b"old a", "b": b"old b" * 100, "only-old": b"x"}
NEW = {"a": b"new a!", "b": b"new b" * 100, "only-new": b"y"}


class Crash(BaseException):
    """What a kill is to the code: nothing after it runs, no `except OSError` sees it."""


class Bomb:
    """Counts the points at which a commit touches the disk, and goes off at one of them."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at, self.error, self.count = at, error, 0

    def wrap(self, f, *, torn: bool = False):
        def wrapped(*args, **kwargs):
            self.count += 1
            if self.count == self.at:
                if torn:  # half of the file reached the disk
                    args[0].write_bytes(args[1][: len(args[1]) // 2])
                raise self.error
            return f(*args, **kwargs)

        return wrapped

    def plant(self, monkeypatch) -> None:
        monkeypatch.setattr(os, "fsync", self.wrap(os.fsync))
        monkeypatch.setattr(commit, "write_synced", self.wrap(commit.write_synced, torn=True))
        monkeypatch.setattr(commit, "sync_folder", self.wrap(commit.sync_folder))
        for name in ("rename", "replace", "mkdir", "rmdir"):
            monkeypatch.setattr(Path, name, self.wrap(getattr(Path, name)))


@pytest.fixture
def count(tmp_path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        bomb = Bomb(0, Crash())
        bomb.plant(patch)
        commit.commit(tmp_path / "count", NEW)
    assert bomb.count > 12
    return bomb.count


def held(path: Path) -> dict[str, bytes]:
    return commit.read(path)


def test_a_kill_at_any_point_leaves_the_old_or_the_new_set(tmp_path, count: int) -> None:
    seen = set()
    for at in range(1, count + 1):
        path = tmp_path / str(at)
        commit.commit(path, OLD)
        with pytest.MonkeyPatch.context() as patch:
            Bomb(at, Crash()).plant(patch)
            with pytest.raises(Crash):
                commit.commit(path, NEW)
        found = held(path)
        assert found in (OLD, NEW), f"a mixture after a kill at point {at}"
        seen.add("old" if found == OLD else "new")
        commit.finish(path)
        assert held(path) == found and not (path / commit.NEXT).exists()
        commit.commit(path, NEW)
        assert held(path) == NEW
        assert sorted(p.name for p in path.iterdir()) == sorted({*OLD, *NEW, commit.MANIFEST})
    assert seen == {"old", "new"}


def test_a_second_kill_while_finishing_changes_nothing(tmp_path, count: int) -> None:
    """Once the commit is decided, the new set is read however often finishing it is interrupted."""
    for first in range(1, count + 1):
        path = tmp_path / str(first)
        commit.commit(path, OLD)
        with pytest.MonkeyPatch.context() as patch:
            Bomb(first, Crash()).plant(patch)
            with pytest.raises(Crash):
                commit.commit(path, NEW)
        if not (path / commit.NEXT).exists():
            continue
        for at in range(1, 8):
            with pytest.MonkeyPatch.context() as patch:
                Bomb(at, Crash()).plant(patch)
                try:
                    commit.finish(path)
                except Crash:
                    pass
            assert held(path) == NEW


def test_a_first_commit_that_is_killed_leaves_nothing_or_all(tmp_path, count: int) -> None:
    for at in range(1, count + 1):
        path = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            Bomb(at, Crash()).plant(patch)
            with pytest.raises(Crash):
                commit.commit(path, NEW)
        if commit.committed(path):
            assert held(path) == NEW
        else:
            with pytest.raises(UsageError, match="holds no saved model"):
                held(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_full_or_closed_disk_keeps_the_old_set(tmp_path, count: int, number: int) -> None:
    wanted = UsageError if number == errno.EACCES else ResourceError
    for at in range(1, count + 1):
        path = tmp_path / str(at)
        commit.commit(path, OLD)
        with pytest.MonkeyPatch.context() as patch:
            Bomb(at, OSError(number, os.strerror(number))).plant(patch)
            with pytest.raises(wanted, match=r"full|cannot be written"):
                commit.commit(path, NEW)
        assert held(path) in (OLD, NEW)
        assert not list(path.glob(".draft-*"))
        commit.commit(path, NEW)
        assert held(path) == NEW


def test_a_decided_commit_is_read_without_being_touched(saved: Path) -> None:
    """By several ranks at once, or from a disk that cannot be written."""
    files = [*commit.committed(saved), commit.MANIFEST]
    (saved / commit.NEXT).mkdir()
    for name in files[len(files) // 2 :]:
        (saved / name).rename(saved / commit.NEXT / name)
    before = sorted(saved.rglob("*"))
    open_all(saved)
    assert sorted(saved.rglob("*")) == before


def test_exit_codes_of_the_disk() -> None:
    assert ResourceError.exit_code == 5 and IntegrityError.exit_code == 4 and NonFiniteError.exit_code == 3


def test_drafts_of_a_killed_process_are_swept_away(tmp_path) -> None:
    (tmp_path / ".draft-99999999").mkdir()
    (tmp_path / ".draft-99999999" / "model.safetensors").write_bytes(b"half")
    commit.commit(tmp_path, NEW)
    assert not list(tmp_path.glob(".draft-*"))


# What was altered

TREE = {"position": {"step": 3}, "optimizers": {"p": {"state": {0: {"exp": torch.arange(3.0)}}, "lr": [0.5, None]}}}


@pytest.fixture
def saved(tmp_path) -> Path:
    folder.save(VAE(PRESETS["vae-tiny"].config), tmp_path / "run", state=TREE)
    return tmp_path / "run"


FILES = [folder.CONFIG, folder.WEIGHTS, folder.STATE, folder.STATE_TENSORS]


def open_all(path: Path) -> None:
    folder.load(path, models.find_class)
    folder.resume(VAE(PRESETS["vae-tiny"].config), path)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_found_anywhere(saved: Path, name: str) -> None:
    intact = (saved / name).read_bytes()
    open_all(saved)
    for at in {0, 1, 7, 8, len(intact) // 3, len(intact) // 2, len(intact) - 2, len(intact) - 1}:
        for bit in (1, 128):
            (saved / name).write_bytes(intact[:at] + bytes([intact[at] ^ bit]) + intact[at + 1 :])
            with pytest.raises(IntegrityError, match=name):
                open_all(saved)


def test_a_flipped_byte_in_the_manifest_is_found_everywhere(saved: Path) -> None:
    """Every byte of it: what still parses names other files or other sums."""
    intact = (saved / commit.MANIFEST).read_bytes()
    about = json.loads(intact)
    for at in range(len(intact)):
        flipped = intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :]
        try:
            same = json.loads(flipped) == about
        except ValueError:
            same = False
        (saved / commit.MANIFEST).write_bytes(flipped)
        if same:  # white space
            commit.read(saved)
            continue
        with pytest.raises((IntegrityError, UsageError)) as caught:
            commit.read(saved, FILES)
        assert str(saved) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes() + b"\0"),
        lambda p: p.unlink(),
    ],
    ids=["truncated", "empty", "longer", "missing"],
)
def test_a_damaged_file_is_named(saved: Path, name: str, damage) -> None:
    damage(saved / name)
    with pytest.raises(IntegrityError, match=name):
        open_all(saved)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"format": 1}', b'{"files": 3, "format": 1}', b"\xff"]
)
def test_a_manifest_that_is_none(saved: Path, content: bytes) -> None:
    (saved / commit.MANIFEST).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"manifest\.json is damaged"):
        open_all(saved)


def rewrite(path: Path, **changes) -> None:
    """Another file with a fitting checksum: what somebody could send you."""
    files = {**commit.read(path), **changes}
    shutil.rmtree(path)
    commit.commit(path, files)


def test_a_version_from_the_future_is_named(saved: Path) -> None:
    about = json.loads((saved / commit.MANIFEST).read_text())
    (saved / commit.MANIFEST).write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(UsageError, match=r"has format 2; .* reads format 1"):
        open_all(saved)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ""])
def test_a_manifest_names_files_of_its_own_folder_only(saved: Path, name: str) -> None:
    (saved.parent / "outside").write_bytes(b"secret")
    sums = {name: commit.checksum(b"secret")}
    (saved / commit.MANIFEST).write_text(json.dumps({"format": 1, "files": sums}))
    with pytest.raises((IntegrityError, UsageError)):
        commit.read(saved)


class Payload:
    def __reduce__(self):
        return os.system, ("touch pickled",)


def test_a_pickle_in_disguise_is_not_opened(saved: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rewrite(saved, **{folder.WEIGHTS: pickle.dumps(Payload())})
    with pytest.raises(IntegrityError, match="not a safetensors file"):
        open_all(saved)
    assert not (tmp_path / "pickled").exists()


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 64, (2**62).to_bytes(8, "little") + b"{}"])
def test_weights_that_are_none(saved: Path, content: bytes) -> None:
    rewrite(saved, **{folder.WEIGHTS: content})
    with pytest.raises(IntegrityError, match=r"model\.safetensors is not a safetensors file"):
        open_all(saved)


def test_weights_of_another_model(saved: Path) -> None:
    rewrite(saved, **{folder.WEIGHTS: tensors.pack({"w": torch.ones(2)})})
    with pytest.raises(IntegrityError, match="does not hold this model's weights"):
        open_all(saved)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": "os.system"}, UsageError, "there is no model 'os.system'"),
        ({"model": "pixelcn"}, UsageError, "did you mean pixelcnn"),
        ({"model": None}, IntegrityError, r"config\.json: model is damaged"),
        ({"config": {"latentt": 3}}, UsageError, "did you mean latent"),
        ({"config": None}, IntegrityError, r"config\.json: config is damaged"),
        ({"config": "import os"}, IntegrityError, r"config\.json: config is damaged"),
    ],
    ids=str,
)
def test_a_config_that_names_what_is_not_there(saved: Path, changes, error, words) -> None:
    about = json.loads((saved / folder.CONFIG).read_text())
    rewrite(saved, **{folder.CONFIG: json.dumps({**about, **changes}).encode()})
    with pytest.raises(error, match=words):
        folder.load(saved, models.find_class)


@pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b"\xff\xfe"])
def test_a_config_that_is_none(saved: Path, content: bytes) -> None:
    rewrite(saved, **{folder.CONFIG: content})
    with pytest.raises(IntegrityError, match=r"config\.json"):
        folder.load(saved, models.find_class)


def test_a_folder_without_state_cannot_be_resumed(tmp_path) -> None:
    model = VAE(PRESETS["vae-tiny"].config)
    folder.save(model, tmp_path)
    with pytest.raises(UsageError, match="no training state"):
        folder.resume(model, tmp_path)


def test_another_configuration_is_named(saved: Path) -> None:
    other = VAE(VAEConfig(x=Images(1, 2, 2, levels=2), latent=2, hidden=(8,)))
    with pytest.raises(UsageError, match=r"latent=1 \(now 2\)"):
        folder.resume(other, saved)


def test_a_folder_that_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="holds no saved model or run"):
        commit.read(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="holds no saved model or run"):
        commit.read(tmp_path / "file")
    (tmp_path / "odd" / commit.MANIFEST).mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be read"):
        commit.read(tmp_path / "odd")


# What is written


def test_nothing_that_is_not_finite_is_saved(tmp_path) -> None:
    model = VAE(PRESETS["vae-tiny"].config)
    folder.save(model, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    model.decoder[0].weight.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"decoder\.0\.weight"):
        folder.save(model, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_state_comes_back(saved: Path) -> None:
    state = folder.resume(VAE(PRESETS["vae-tiny"].config), saved)
    assert state["position"] == {"step": 3}
    inner = state["optimizers"]["p"]
    assert inner["lr"] == [0.5, None] and torch.equal(inner["state"]["0"]["exp"], torch.arange(3.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_tensors_come_back_with_their_bits(dtype) -> None:
    t = torch.arange(6).reshape(2, 3).to(dtype)
    found = tensors.unpack(tensors.pack({"t": t, "again": t, "turned": t.T, "none": t[:0], "one": t[0, 0]}), "x")
    assert torch.equal(found["t"], t) and torch.equal(found["again"], t) and torch.equal(found["turned"], t.T)
    assert found["none"].shape == (0, 3) and found["one"].shape == () and found["t"].dtype == dtype


def test_checkpoints_are_kept_and_thinned(saved: Path) -> None:
    for step in (1, 2, 3):
        folder.keep(saved, step, 2)
    folder.keep(saved, 3, 2)
    kept = sorted((saved / folder.CHECKPOINTS).iterdir())
    assert [p.name for p in kept] == ["step-00000002", "step-00000003"]
    for path in kept:
        open_all(path)


def test_a_later_commit_does_not_reach_into_a_kept_checkpoint(saved: Path) -> None:
    folder.keep(saved, 1, 2)
    before = (saved / folder.CHECKPOINTS / "step-00000001" / folder.WEIGHTS).read_bytes()
    folder.save(VAE(PRESETS["vae-tiny"].config), saved, state=TREE)
    assert (saved / folder.CHECKPOINTS / "step-00000001" / folder.WEIGHTS).read_bytes() == before
    open_all(saved / folder.CHECKPOINTS / "step-00000001")


def test_one_file_is_replaced_as_a_whole(tmp_path, monkeypatch) -> None:
    path = tmp_path / "deep" / "file"
    commit.write_atomic(path, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Bomb(1, OSError(errno.ENOSPC, "full")).wrap(os.fsync))
        with pytest.raises(ResourceError, match="disk is full"):
            commit.write_atomic(path, b"two")
    assert path.read_bytes() == b"one"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


# Configurations


@config
class Inner:
    rate: float = 1.0
    sizes: tuple[int, ...] = (1, 2)


@config
class Outer:
    x: Images | Points = Points(2)
    inner: Inner = Inner()
    adam: Adam = Adam()
    name: str = "a"
    on: bool = True


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("inner.rate=0.25", ("inner", "rate"), 0.25),
        ("inner.rate=1e-4", ("inner", "rate"), 1e-4),
        ("inner.sizes=[3]", ("inner", "sizes"), (3,)),
        ("name=b=c", ("name",), "b=c"),
        ("name=", ("name",), ""),
        ("on=false", ("on",), False),
        ("adam.betas=[0.5,0.9]", ("adam", "betas"), (0.5, 0.9)),
        ('x={"channels":1,"height":2,"width":3}', ("x",), Images(1, 2, 3)),
    ],
)
def test_overrides(assignment: str, path, value) -> None:
    found = configs.override(Outer(), [assignment])
    for name in path:
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("iner.rate=1", r"iner\.rate: there is no field iner; did you mean inner\?"),
        ("inner.rat=1", r"inner\.rat: there is no field rat; did you mean rate\?"),
        ("zzz=1", "there is no field zzz; there are x, inner, adam, name, on"),
        ("inner.rate=fast", r"inner\.rate='fast'"),
        ("inner.rate", "not of the form field=value"),
        ("=3", "not of the form field=value"),
        ("inner=3", "inner=3"),
        ("inner.rate.deep=3", "there is no field deep"),
        ("on=maybe", "on='maybe'"),
        ("adam.lr=-1", r"adam\.lr=-1"),
        ("adam.lr=0", r"adam\.lr=0"),
        ("adam.lr=NaN", r"adam\.lr=nan"),
        ("adam.lr=Infinity", r"adam\.lr=inf"),
        ("adam.schedule=step", "constant.*linear.*cosine"),
        ("inner.sizes=[1,two]", r"inner\.sizes"),
    ],
)
def test_an_override_that_cannot_be_says_why(assignment: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        configs.override(Outer(), [assignment])


def test_what_is_text_takes_a_number_as_text() -> None:
    assert configs.override(Outer(), ["name=3"]).name == "3"


def test_configs_come_back_from_json() -> None:
    for one in (Outer(), Outer(x=Images(3, 4, 5, levels=7), inner=Inner(rate=0.1, sizes=()))):
        assert configs.from_json(Outer, json.loads(json.dumps(configs.to_json(one)))) == one


def test_every_wrong_field_gets_a_sentence() -> None:
    with pytest.raises(UsageError) as caught:
        configs.from_json(Outer, {"inner": {"rate": "x", "size": 3}, "onn": True}, "file.json")
    text = str(caught.value)
    assert text.startswith("file.json: ")
    assert "inner.rate='x'" in text
    assert "inner.size; did you mean sizes?" in text
    assert "onn; did you mean on?" in text


@pytest.mark.parametrize("name", ["pixelcnn-tiny", "gpt-tiny", "imagegpt-tiny", "biggan-tiny", "vq-vae-tiny"])
def test_a_sketch_has_the_shapes_and_no_compiler(name, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # importing it takes as long as torch does
    entry, preset = models.find_preset(name)
    kind = models.find_class(entry.name)
    with torch.device("meta"), Sketching():
        sketch = kind(preset.config)
    found, expected = ({k: (v.shape, v.dtype) for k, v in [*m.state_dict().items(), *m.named_buffers()]}
                       for m in (sketch, kind(preset.config)))  # fmt: skip
    assert found == expected and all(w.is_meta for w in sketch.parameters())
