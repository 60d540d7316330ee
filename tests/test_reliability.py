"""What kills, signals, damage, hostile files and a second writer must not cost."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

import triptych as tt
import triptych.core
from triptych import cli, models
from triptych.core import BytePairs, IntegrityError, UsageError
from triptych.data import cache, packs, sink
from triptych.data.corpus import fit_pairs
from triptych.data.files import sha256_file
from triptych.errors import Interrupted, TriptychError, printable
from triptych.inference import compression
from triptych.io import commit, folder, lock
from triptych.models.vae.vae import PRESETS, VAE, VAEConfig
from triptych.testing import Examples
from triptych.training import Run
from triptych.verbs import opening
from triptych.verbs.decoration import metrics, shots
from triptych.verbs.train import train


def small() -> VAE:
    torch.manual_seed(0)
    return VAE(PRESETS["vae-tiny"].config)


def play(path: Path, steps: int = 4, **options: Any) -> None:
    model = small()
    for _ in train(model, Examples(model.config.x), Run(steps=steps, batch=8), out=path, **options):
        pass


@pytest.fixture
def run(tmp_path: Path) -> Path:
    play(tmp_path / "run", pictures=3)
    return tmp_path / "run"


# Decoration


def flip(file: Path, at: int | None = None) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    file.write_bytes(data)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "postscript": lambda file: file.write_bytes(EPS),
    "another size": lambda file: Image.new("RGB", (3, 3)).save(file),
    "folder": lambda file: (file.unlink(), file.mkdir()),
    "fifo": lambda file: (file.unlink(), os.mkfifo(file)),
    "device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    "nothing": lambda file: (file.unlink(), file.symlink_to("nowhere")),
}


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called gs, first on the PATH, that leaves a file if it is started."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "started"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_picture_is_named_and_costs_nothing(run: Path, ghostscript: Path, damage: str, caplog) -> None:
    file = run / "samples" / "step-00000002.png"
    DAMAGES[damage](file)
    play(run, 8, resume=True, pictures=3)
    assert json.loads((run / "state.json").read_text())["position"]["step"] == 8
    assert (run / "samples" / "progress.gif").exists() and not ghostscript.exists()
    assert f"{file} is left out" in caplog.text and caplog.text.count("is left out") == 1
    steps = [step for step, _ in shots(run)]
    assert 2 not in steps and {0, 4, 8} <= set(steps)


BAD_LINES = {
    "flipped": lambda line: line.replace('"step"', '"stdp"'),
    "no json": lambda line: line[:-1],
    "a list": lambda line: "[]",
    "a number": lambda line: "3}",
    "text": lambda line: line.replace('"seconds": ', '"seconds": "x", "y": '),
    "truth": lambda line: '{"step": true, "seconds": 0}',
    "nested": lambda line: '{"step": 1, "seconds": 0, "loss": {"a": 1}}',
    "deep": lambda line: "[" * 100_000 + "]" * 100_000,
    "null": lambda line: "null",
    "huge": lambda line: '{"step": ' + "9" * 5000 + ', "seconds": 0}',
    "no utf-8": lambda line: "\udcff\udcfe",
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_damaged_line_of_the_log_is_named_and_costs_nothing(run: Path, kind: str, caplog) -> None:
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines()
    assert len(lines) == 4
    lines[1] = BAD_LINES[kind](lines[1])
    file.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    assert [line["step"] for line in metrics(run)] == [1, 3, 4]
    assert f"{file}: line 2" in caplog.text
    play(run, 6, resume=True)
    assert [line["step"] for line in metrics(run)] == [1, 3, 4, 5, 6]


def test_a_digit_that_changed_in_the_log_is_said(run: Path, caplog) -> None:
    file = run / "metrics.jsonl"
    play(run, 5, resume=True)
    assert "is not what" not in caplog.text
    file.write_text(file.read_text().replace('"step": 2', '"step": 3', 1))
    assert len(metrics(run)) == 5
    play(run, 6, resume=True)
    assert f"{file} is not what its run logged" in caplog.text


def test_a_line_that_is_still_being_written_is_no_damage(run: Path, caplog) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "sec')
    assert [line["step"] for line in metrics(run)] == [1, 2, 3, 4]
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["metrics.jsonl", "README.md", "samples"])
def test_decoration_that_cannot_be_written_costs_nothing(run: Path, name: str, caplog) -> None:
    blocked = run / name
    if name == "samples":
        shutil.rmtree(blocked)
        blocked.write_text("")
    else:
        blocked.unlink()
        blocked.mkdir()
    play(run, 8, resume=True, pictures=3)
    assert json.loads((run / "state.json").read_text())["position"]["step"] == 8
    assert f"{blocked}" in caplog.text and "is left out" in caplog.text


# Forged folders


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder.save(small(), tmp_path / "saved")
    return tmp_path / "saved"


def forge(path: Path, name: str = folder.CONFIG, **changes: Any) -> None:
    """Other fields in a JSON file, with a fitting checksum: what somebody could send you."""
    files = commit.read(path)
    commit.commit(path, {**files, name: json.dumps({**json.loads(files[name]), **changes}).encode()})


def config_of(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / folder.CONFIG).read_text())["config"])


BOMBS: dict[str, dict[str, Any]] = {
    "wide": {"hidden": [10**9]},
    "wide and deep": {"hidden": [20_000] * 20},
    "layers": {"hidden": [1] * 200_000},
    "latent": {"latent": 10**18},
    "pixels": {"x": {"channels": 1, "height": 10**9, "width": 10**9, "levels": 2}},
    "many pixels": {"x": {"channels": 1, "height": 20_000, "width": 20_000, "levels": 2}},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_model_larger_than_its_weights_is_never_built(saved: Path, bomb: str, monkeypatch) -> None:
    forge(saved, config={**config_of(saved), **BOMBS[bomb]})
    devices = set[str]()
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda layer: devices.add(layer.weight.device.type))
    with pytest.raises((IntegrityError, UsageError)):
        tt.load(saved)
    assert devices <= {"meta"}


DEEP = ("pixelcnn-tiny", "wavenet-tiny", "vdvae-tiny", "made-tiny", "gpt-tiny", "lstm-tiny", "srgan-tiny", "spade-tiny")


@pytest.mark.parametrize("name", DEEP)
def test_deep_models_are_given_up_early(tmp_path: Path, name: str) -> None:
    """Every whole number in the configuration, one by one, as large as one may be."""
    model = tt.create(name)
    folder.save(model, tmp_path)
    config = config_of(tmp_path)
    counts = {"levels", "classes", "length", "rate", "vocabulary"}  # these may be anything, or change no weight
    for field, value in config.items():
        if type(value) is int and field not in counts:
            forge(tmp_path, config={**config, field: folder.MOST_OF_A_KIND})
            try:
                tt.load(tmp_path)
            except (IntegrityError, UsageError):
                continue


@pytest.mark.parametrize("name", ["srgan-tiny", "lstm-tiny"])
def test_no_list_is_made_of_a_billion_of_anything(tmp_path: Path, name: str) -> None:
    folder.save(tt.create(name), tmp_path)
    config = config_of(tmp_path)
    for field in ("depth", "layers", "width"):
        if field in config:
            forge(tmp_path, config={**config, field: 10**9})
            with pytest.raises(UsageError, match=f"{field}=1,000,000,000: a model has at most 16,777,216 of anything"):
                tt.load(tmp_path)


@pytest.mark.parametrize("entry", models.own().values(), ids=lambda e: e.name)
def test_every_model_can_be_sketched(entry: models.Entry) -> None:
    """Without memory, and with the names and shapes that it has with memory."""
    kind, presets = entry.load(), entry.presets()
    config = presets[next((name for name in presets if name.endswith("-tiny")), next(iter(presets)))].config
    make: Any = kind
    weights = {name: t for name, t in make(config).state_dict().items()}
    assert isinstance(folder.build(kind, config, "here", weights), kind)
    name = next(iter(weights))
    with pytest.raises(IntegrityError, match="does not hold this model's weights"):
        folder.build(kind, config, "here", {**weights, name: weights[name][None]})


def test_a_model_that_cannot_be_sketched_is_built_all_the_same(saved: Path) -> None:
    """One from outside that computes with its own weights as it is made."""

    class Peculiar(VAE):
        def __init__(self, config: VAEConfig) -> None:
            super().__init__(config)
            self.sum = sum(weight.sum().item() for weight in self.parameters())

    assert isinstance(folder.load(saved, lambda name: Peculiar), Peculiar)


def test_merges_that_double_are_refused() -> None:
    merges = [(97, 97), *((256 + i, 256 + i) for i in range(45))]
    with pytest.raises(ValueError, match="makes a token of"):
        BytePairs(merges=tuple(merges))
    long = fit_pairs("a" * 20_000 + " " + "a" * 20_000, 100)
    assert max(map(len, long.pieces)) <= 4096


ODD_JSON = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "within the parser's reach": b'{"format": 1, "model": ' + b"[" * 200 + b"]" * 200 + b"}",
    "digits": b'{"format": ' + b"9" * 10_000 + b"}",
    "halves": b'{"format": 1, "model": "\\ud800", "config": {}}',
    "no format": b'{"model": "vae", "config": {}}',
    "future": b'{"format": 99, "model": "vae", "config": {}}',
    "text": b'{"format": "1", "model": "vae", "config": {}}',
    "truth": b'{"format": true, "model": "vae", "config": {}}',
    "long name": b'{"format": 1, "model": "' + b"x" * 10**6 + b'", "config": {}}',
    "null": b"null",
    "number": b"1",
}


@pytest.mark.parametrize("content", ODD_JSON)
@pytest.mark.parametrize("name", [folder.CONFIG, commit.MANIFEST])
def test_odd_json_is_refused(saved: Path, content: str, name: str) -> None:
    if name == commit.MANIFEST:
        (saved / name).write_bytes(ODD_JSON[content])
    else:
        commit.commit(saved, {**commit.read(saved), name: ODD_JSON[content]})
    with pytest.raises((IntegrityError, UsageError)) as caught:
        tt.load(saved)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", [folder.CONFIG, folder.WEIGHTS, commit.MANIFEST])
@pytest.mark.parametrize("kind", ["fifo", "device", "endless"])
def test_what_is_no_file_is_not_waited_for(saved: Path, name: str, kind: str) -> None:
    (saved / name).unlink()
    if kind == "fifo":
        os.mkfifo(saved / name)
    elif kind == "device":
        (saved / name).symlink_to("/dev/zero")
    else:
        with (saved / name).open("wb") as file:
            file.truncate(2**36)  # a hole: nothing on the disk
        if name == folder.WEIGHTS:
            pytest.skip("weights may be as large as they are")
    with pytest.raises(UsageError, match="cannot be read"):
        tt.load(saved)


@pytest.mark.parametrize("name", [commit.NEXT, "checkpoints", "samples", "metrics.jsonl"])
def test_links_lead_no_writer_out_of_a_folder(run: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "step-00000001").mkdir()
    (victim / "precious").write_text("precious")
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim if name != "metrics.jsonl" else victim / "new")
    with pytest.raises(IntegrityError, match=f"{name} is a link"):
        play(run, 6, resume=True)
    assert sorted(p.name for p in victim.iterdir()) == ["precious", "step-00000001"]


FORGED_STATES: dict[str, dict[str, Any]] = {
    "no position": {"position": None},
    "a step of text": {"position": {"step": "1", "stage": 0, "stage_step": 1, "drawn": 1}},
    "no optimizers": {"optimizers": {}},
    "groups of text": {"optimizers": {"vae": {"state": {}, "param_groups": "x"}}},
    "no groups": {"optimizers": {"vae": {"state": {}, "param_groups": []}}},
    "seconds": {"seconds": "long"},
    "best": {"best": [1]},
    "a tensor that is not there": {"seconds": {"\0tensor": "nowhere"}},
    "a tensor of no name": {"seconds": {"\0tensor": []}},
}


@pytest.mark.parametrize("kind", FORGED_STATES)
def test_a_forged_state_is_refused(run: Path, kind: str) -> None:
    forge(run, folder.STATE, **FORGED_STATES[kind])
    with pytest.raises(IntegrityError):
        play(run, 6, resume=True)


@pytest.mark.parametrize("rate", ["fast", None, float("nan"), [1], {"a": 1}])
def test_a_forged_optimizer_is_refused(run: Path, rate: Any) -> None:
    optimizers = json.loads((run / folder.STATE).read_text())["optimizers"]
    (name,) = optimizers
    optimizers[name]["param_groups"][0]["lr"] = rate
    forge(run, folder.STATE, optimizers=optimizers)
    with pytest.raises(IntegrityError, match="optimizer"):
        play(run, 6, resume=True)


@pytest.mark.parametrize(
    "about",
    [
        {"cache": "elsewhere"},
        {"source": 3},
        {"source": None},
        {"size": "x"},
        {"sound": {"rate": "x"}},
    ],
    ids=str,
)
def test_a_run_may_say_only_so_much_of_its_data(saved: Path, about: dict[str, Any]) -> None:
    opened = {"source": "mnist", "size": None, **about}
    forge(saved, data={"name": "x", "fingerprint": "y", "n": 3, "opened": opened})
    try:
        said = opening.saved(saved)
    except (IntegrityError, UsageError):
        return
    assert set(said) <= {"source", "size"} and said.get("source", "mnist") == "mnist"


def test_all_that_data_are_opened_with_may_be_said(tmp_path: Path) -> None:
    """What `data` keeps of its options is read back as it was."""
    np.savez(tmp_path / "g.npz", x=np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8), y=np.arange(40) % 2)
    (tmp_path / "t.txt").write_text("a text " * 200)
    source, text = str(tmp_path / "g.npz"), str(tmp_path / "t.txt")
    for found in (
        tt.data(source, size=(6, 6), channels=1, binary="threshold", labels=4, cache=tmp_path),
        tt.data(source, noisy="gaussian-25", cache=tmp_path),
        tt.data(text, tokens=260, length=8, cache=tmp_path),
    ):
        path = tmp_path / "saved"
        opened = json.loads(json.dumps(found.opened))
        folder.save(small(), path, about={"data": {"name": "x", "fingerprint": "y", "n": 3, "opened": opened}})
        wanted = {name: value for name, value in found.opened.items() if value is not None}
        assert opening.saved(path) == wanted


def test_a_compressed_file_claims_no_more_than_it_could_hold(monkeypatch) -> None:
    pytest.importorskip("constriction")
    model = tt.create("pixelcnn-tiny")
    x = model.sample(3, seed=0)
    made = compression.compress(model, x).data
    start = len(compression.MAGIC) + compression.DIGEST
    for items, batch in ((2**32 - 1, 1), (2**32 - 1, 2**16 - 1), (3, 4), (0, 1), (3, 0)):
        fields = list(compression.HEADER.unpack_from(made[start:]))
        fields[1:3] = items, batch
        body = compression.HEADER.pack(*fields) + made[start + compression.HEADER.size :]
        with pytest.raises(IntegrityError, match="damaged"):
            compression.decompress(model, compression.MAGIC + compression.digest(body) + body)


# Packs


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    np.savez(tmp_path / "g.npz", x=np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8), y=np.arange(40) % 2)
    tt.data(tmp_path / "g.npz", cache=tmp_path / "cache")
    (found,) = (tmp_path / "cache" / "data").iterdir()
    return found


@pytest.mark.parametrize("name", ["x.npy", "y.npy"])
def test_a_flipped_bit_in_the_cache_is_not_served(pack: Path, tmp_path: Path, name: str, caplog) -> None:
    intact = (pack / name).read_bytes()
    flip(pack / name, len(intact) - 5)
    found = tt.data(tmp_path / "g.npz", cache=tmp_path / "cache")
    assert "packing it again" in caplog.text and name in caplog.text
    assert (pack / name).read_bytes() == intact
    assert found.fetch(torch.arange(2), triptych.core.ItemNoise(0, [0, 1])).x.shape == (2, 1, 8, 8)


def test_a_pack_is_read_whole_once_a_process(pack: Path, tmp_path: Path, monkeypatch) -> None:
    read = []
    monkeypatch.setattr(packs, "sha256_file", lambda path: read.append(path.name) or sha256_file(path))
    cache.VERIFIED.clear()
    for _ in range(3):
        tt.data(tmp_path / "g.npz", cache=tmp_path / "cache")
    assert sorted(read) == ["x.npy", "y.npy"]


FORGED_META: dict[str, dict[str, Any]] = {
    "future": {"format": 99},
    "format of text": {"format": "1"},
    "rows that are not there": {"splits": {"train": [0, 41]}},
    "rows backwards": {"splits": {"train": [30, 3]}},
    "negative rows": {"splits": {"train": [-3, 3]}},
    "no splits": {"splits": {}},
    "one class": {"classes": ["a"]},
    "no classes": {"classes": None},
    "other pixels": {"x": {"channels": 1, "height": 4, "width": 16, "levels": 256}},
    "other space": {"x": {"dims": 64}},
    "files elsewhere": {"files": {"../x": {"bytes": 1, "sha256": "x"}}},
    "no files": {"files": {}},
    "nothing": {"name": None},
}


@pytest.mark.parametrize("kind", FORGED_META)
def test_a_forged_pack_is_refused(pack: Path, kind: str) -> None:
    about = {**json.loads((pack / "meta.json").read_text())["meta"], **FORGED_META[kind]}
    (pack / "meta.json").write_text(json.dumps({"meta": about, "sha256": packs.seal(about)}))
    with pytest.raises(IntegrityError) as caught:
        tt.data(pack)
    assert len(str(caught.value).splitlines()) == 1
    if kind == "future":
        assert "format 99" in str(caught.value) and "pack it again" in str(caught.value)


@pytest.mark.parametrize("content", [b"null", b"[]", b'{"meta": 3, "sha256": "x"}', b"[" * 100_000, b'{"meta": {}}'])
def test_a_pack_whose_meta_is_none(pack: Path, content: bytes) -> None:
    (pack / "meta.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"meta\.json"):
        tt.data(pack)


def test_long_packing_says_so(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(sink, "SOON", 0.0)
    np.savez(tmp_path / "g.npz", x=np.zeros((40, 8, 8), np.uint8))
    with caplog.at_level(logging.INFO):
        tt.data(tmp_path / "g.npz", cache=tmp_path / "cache")
    assert "packing, once: " in caplog.text


# One writer


def write(path: Path, started: Any, release: Any) -> None:
    with lock.writing(path):
        started.set()
        release.wait(60)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Any]:
    """Another process that writes into tmp_path/run."""
    context = multiprocessing.get_context("fork")
    started, release = context.Event(), context.Event()
    process = context.Process(target=write, args=(tmp_path / "run", started, release))
    process.start()
    assert started.wait(60)
    yield process
    if process.is_alive():
        release.set()
    process.join(60)


def test_a_second_writer_is_refused_and_told_of_the_first(tmp_path: Path, writer: Any) -> None:
    for second in (lambda: play(tmp_path / "run"), lambda: tt.save_pretrained(small(), tmp_path / "run")):
        with pytest.raises(UsageError, match=rf"is being written by process {writer.pid} on .* since "):
            second()
    assert {p.name for p in (tmp_path / "run").iterdir()} == {lock.NAME}


def test_a_lock_does_not_outlive_a_killed_process(tmp_path: Path, writer: Any) -> None:
    writer.kill()
    writer.join(60)
    assert (tmp_path / "run" / lock.NAME).exists()
    play(tmp_path / "run")
    assert not (tmp_path / "run" / lock.NAME).exists()


def test_two_runs_of_one_process_are_two_writers(tmp_path: Path) -> None:
    model = small()
    first = train(model, Examples(model.config.x), Run(steps=4, batch=8), out=tmp_path)
    next(first)
    with pytest.raises(UsageError, match=f"is being written by process {os.getpid()} "):
        play(tmp_path, resume=True)
    first.close()
    play(tmp_path, resume=True)


def test_readers_are_not_kept_out(run: Path) -> None:
    with lock.writing(run):
        tt.load(run)


@pytest.mark.parametrize("kind", ["fifo", "device", "link", "folder"])
def test_a_lock_file_that_is_none(tmp_path: Path, kind: str) -> None:
    file = tmp_path / lock.NAME
    victim = tmp_path / "victim"
    victim.write_text("precious")
    {
        "fifo": lambda: os.mkfifo(file),
        "device": lambda: file.symlink_to("/dev/zero"),
        "link": lambda: file.symlink_to(victim),
        "folder": lambda: file.mkdir(),
    }[kind]()
    with pytest.raises(UsageError, match=r"\.lock|cannot write"), lock.writing(tmp_path):
        pass
    assert victim.read_text() == "precious"


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch, caplog) -> None:
    import errno
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    play(tmp_path)
    assert "cannot be locked" in caplog.text


def test_a_refused_writer_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError), lock.writing(tmp_path / "new"):
        raise UsageError("no")
    assert not (tmp_path / "new").exists()


# Signals


def test_a_signal_is_no_mere_exception() -> None:
    assert not issubclass(Interrupted, Exception) and not issubclass(Interrupted, TriptychError)


def main_with(monkeypatch, work: Callable[[], None]) -> int:
    monkeypatch.setattr(typer.Typer, "__call__", lambda app, standalone_mode: work())
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_swallowed_signal_is_raised_again(monkeypatch, capsys, number: int, code: int) -> None:
    monkeypatch.setattr(cli, "AGAIN", 0.02)

    def deaf() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException:
            pass
        for _ in range(500):
            time.sleep(0.01)

    before = signal.getsignal(number)
    assert main_with(monkeypatch, deaf) == code
    assert signal.getsignal(number) == before and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_cleaning_up_is_not_disturbed(monkeypatch) -> None:
    monkeypatch.setattr(cli, "AGAIN", 0.02)
    cleaned = []

    def tidy() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            time.sleep(0.1)
            cleaned.append(True)

    assert main_with(monkeypatch, tidy) == 143 and cleaned


@pytest.mark.parametrize("error", [RuntimeError("a serializer failed"), IntegrityError("it looks damaged")], ids=repr)
def test_a_signal_that_a_library_made_an_error_of_is_still_a_signal(monkeypatch, capsys, error: Exception) -> None:
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except BaseException as e:  # as pydantic does where its serializers call back
            raise error from e

    assert main_with(monkeypatch, work) == 143
    said = capsys.readouterr().err
    assert "terminated" in said and "bug" not in said and "damaged" not in said


def test_ignored_signals_stay_ignored(monkeypatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main_with(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("module", ["typer", "torch", "numpy", "triptych.verbs.train"])
def test_a_signal_during_an_import_is_one_line(tmp_path: Path, number: int, code: int, module: str) -> None:
    """In a process of its own, which signals itself as soon as it begins to import a module."""
    import subprocess

    program = f"""
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder())
from triptych.cli import main
main()
"""
    arguments = ["train", "vae", "--data", "mnist", "--out", str(tmp_path / "run")]
    source = str(Path(tt.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("x"),
        OSError(12, "Cannot allocate memory"),
        OSError(28, "No space left on device", "page.html"),
    ],
    ids=repr,
)
def test_what_runs_out_anywhere_is_explained(monkeypatch, capsys, error: Exception) -> None:
    def work() -> None:
        raise error

    assert main_with(monkeypatch, work) == 5
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "bug" not in said


def test_the_demo_passes_a_signal_on_and_waits(tmp_path: Path, monkeypatch, capsys) -> None:
    """In place of the trainings: scripts that take a moment to save when they are asked to end."""
    from contextlib import contextmanager

    from triptych.verbs.demo import CAST, demo

    said = tmp_path / "said"
    script = tmp_path / "python"
    script.write_text(
        f"#!/bin/sh\ntrap 'sleep 0.3; echo saved >> {said}; exit 143' TERM\necho up >> {said}\n"
        "while :; do sleep 0.02; done\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(len(CAST)), raising=False)

    def asking() -> None:
        while not said.exists() or said.read_text().count("up") < len(CAST):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    @contextmanager
    def silent() -> Iterator[Any]:
        yield lambda title, total: lambda step, text: None

    def work() -> None:
        threading.Thread(target=asking).start()
        demo(tmp_path / "demo", progress=silent, quick=True)

    assert main_with(monkeypatch, work) == 143
    assert said.read_text().count("saved") == len(CAST)
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "demo" / lock.NAME).exists()


# Terminals

NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\x00\ud800"


def test_what_steers_a_terminal_is_shown_as_text() -> None:
    shown = printable(NASTY + "é 漢 🎉 👩‍👩‍👧 a\tb\nc")
    assert not any(c in shown for c in "\x1b\x07\x9b\u202e\u2066\x00\ud800")
    assert shown.endswith("é 漢 🎉 👩‍👩‍👧 a\tb\nc") and "\\x1b[2J" in shown


@pytest.mark.parametrize("way", ["error", "usage", "log", "note", "say", "table", "dump", "progress"])
def test_nothing_reaches_a_terminal_raw(monkeypatch, capsys, way: str) -> None:
    from triptych.cli import output

    def work() -> None:
        if way == "error":
            raise UsageError(NASTY)
        if way == "usage":
            raise typer.BadParameter(NASTY)
        if way == "log":
            logging.getLogger("triptych.data").warning("%s", NASTY.rstrip("\ud800"))  # which pytest-xdist cannot send
        if way == "note":
            output.note(NASTY)
        if way == "say":
            output.say(NASTY)
        if way == "table":
            output.table(NASTY, ["a"], [[NASTY]])
        if way == "dump":
            output.dump({NASTY: NASTY})
        if way == "progress":
            with output.progress() as bar:
                bar(NASTY, 1)(1, NASTY)

    main_with(monkeypatch, work)
    out, err = capsys.readouterr()
    text = out + err
    assert "owned" in text
    assert not any(c in text for c in "\x1b\x07\x9b\u202e\u2066\x00\ud800")
