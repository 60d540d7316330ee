"""Sound as data: the space and its companding, reading clips, what is wrong with some of them, writing WAV files."""

import io
import math
import struct
import sys
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triptych.core import Audio, DataError, Images, ItemNoise, Label, Labels, UsageError
from triptych.data import check_fits, data, pack
from triptych.io import configs
from triptych.media import audio, pictures
from triptych.media.audio import decode, decode_other
from triptych.media.wav import BadClip

MU_LAW = Audio(1, 100, rate=8000, levels=256, companding="mu-law")


def wav(codes: np.ndarray, *, width: int = 2, rate: int = 8000) -> bytes:
    """A WAV file of codes [channels, samples]."""
    kinds = {1: "u1", 2: "<i2", 4: "<i4"}
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(len(codes))
        file.setsampwidth(width)
        file.setframerate(rate)
        if width == 3:
            stored = np.ascontiguousarray(codes.T).astype("<i4")[..., None].view(np.uint8)[..., :3].tobytes()
        else:
            stored = np.ascontiguousarray(codes.T).astype(kinds[width]).tobytes()
        file.writeframes(stored)
    return out.getvalue()


def tone(samples: int = 100, pitch: float = 440, rate: int = 8000) -> np.ndarray:
    return np.rint(20000 * np.sin(2 * np.pi * pitch / rate * np.arange(samples)))[None].astype(np.int64)


def folder(path: Path, **files: bytes) -> Path:
    """Files by their name, "yes__a" being yes/a.wav."""
    for name, content in files.items():
        file = path / f"{name.replace('__', '/')}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


def fetched(found: object) -> torch.Tensor:
    rows = torch.arange(len(found))  # type: ignore[arg-type]
    return found.fetch(rows, ItemNoise(0, rows.tolist())).x  # type: ignore[attr-defined]


# The space


def test_companding_is_the_papers() -> None:
    """f(a) = sign(a) ln(1 + 255 |a|) / ln(256)."""
    a = torch.tensor([-1.0, -0.5, 0.0, 0.01, 1.0])
    expected = [math.copysign(math.log(1 + 255 * abs(v)) / math.log(256), v) for v in a.tolist()]
    torch.testing.assert_close(MU_LAW.compand(a), torch.tensor(expected), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(MU_LAW.expand(MU_LAW.compand(a.double())), a.double(), rtol=1e-12, atol=1e-12)


def test_levels_of_companded_sound_come_back() -> None:
    """Every level is a value of x, stands for its own amplitude, and is found again from it."""
    level = torch.arange(256)
    x = MU_LAW.from_index(level)
    assert torch.equal(MU_LAW.nearest(MU_LAW.compand(MU_LAW.expand(x))), level)
    amplitude = MU_LAW.expand(x)
    steps = amplitude.diff()
    assert (steps > 0).all() and steps.max() / steps.min() > 200  # finest around silence


def test_without_companding_x_is_the_amplitude() -> None:
    plain, a = Audio(1, 5), torch.linspace(-1, 1, 5)
    assert plain.levels == 65536 and torch.equal(plain.compand(a), a) and torch.equal(plain.expand(a), a)


def test_a_space_survives_json() -> None:
    assert configs.from_json(Audio, configs.to_json(MU_LAW)) == MU_LAW
    with pytest.raises(UsageError, match="companding"):
        configs.from_json(Audio, {"channels": 1, "length": 2, "companding": "a-law"})


# Decoding


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_decodes_whole_numbers_of_any_width(width: int, channels: int) -> None:
    top = 2 ** (8 * width - 1)
    codes = np.array([[-top, -1, 0, 1, top - 1], [5, 4, 3, 2, 1]])[:channels]
    clip = decode(wav(codes + (128 if width == 1 else 0), width=width, rate=11025))
    assert clip.rate == 11025 and clip.amplitude.dtype == np.float32
    np.testing.assert_allclose(clip.amplitude, (2 * codes + 1) / (2 * top - 1), rtol=0, atol=1e-7)
    assert clip.amplitude[0, 0] == -1 and clip.amplitude[0, -1] == 1


def test_every_16_bit_code_is_a_level_and_is_written_back(tmp_path: Path) -> None:
    codes = np.arange(-32768, 32768)[None]
    found = data(folder(tmp_path / "in", a=wav(codes), b=wav(codes[:, ::-1])), split="all", cache=tmp_path)
    assert found.x == Audio(1, 65536, rate=8000) and found.problems == []
    x = min(fetched(found), key=lambda clip: float(clip[0, 0]))[None]  # which of the two is held out is no matter here
    assert torch.equal(found.x.index(x)[0, 0], torch.arange(65536))
    with wave.open(io.BytesIO(audio.wav(found.x, x))) as file:
        assert file.getparams()[:4] == (1, 2, 8000, 65536)
        assert np.array_equal(np.frombuffer(file.readframes(65536), "<i2"), codes[0])


def riff(fmt: bytes, data: bytes, *, before: bytes = b"", size: int | None = None, kind: bytes = b"RIFF") -> bytes:
    """A WAV file written by hand."""
    said = len(data) if size is None else size
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + before + b"data" + struct.pack("<I", said) + data
    return kind + struct.pack("<I", min(4 + len(chunks), 0xFFFFFFFF)) + b"WAVE" + chunks


def fmt(bits: int = 16, *, tag: int = 1, channels: int = 1, rate: int = 8000, block: int | None = None) -> bytes:
    width = -(-bits // 8) * channels if block is None else block
    return struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits)


def extensible(bits: int, valid: int, *, tag: int = 1, channels: int = 1) -> bytes:
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return fmt(bits, tag=0xFFFE, channels=channels) + struct.pack("<HHI", 22, valid, 4) + guid


CODES = np.array([-(2**15), -1, 0, 1, 258, 2**15 - 1])
STORED = {
    8: ((CODES >> 8) + 128).astype("u1").tobytes(),
    16: CODES.astype("<i2").tobytes(),
    24: np.ascontiguousarray((CODES * 256).astype("<i4")[:, None].view("u1")[:, :3]).tobytes(),
    32: (CODES * 65536).astype("<i4").tobytes(),
}


@pytest.mark.parametrize("bits", STORED)
def test_headers_that_say_the_same_in_other_ways(bits: int) -> None:
    plain = decode(riff(fmt(bits), STORED[bits]))
    junk = b"JUNK" + struct.pack("<I", 3) + b"abc\0"
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, len(STORED[bits]), 6, 0)
    for same in (
        riff(extensible(bits, bits), STORED[bits]),  # what sox writes of 24 bits
        riff(fmt(bits), STORED[bits] + b"LIST\4\0\0\0INFO", before=junk, size=len(STORED[bits])),
        riff(fmt(bits), STORED[bits], size=0xFFFFFFFF),  # into a pipe, by ffmpeg
        riff(fmt(bits), STORED[bits], size=0x7FFFF000),  # and by sox
        riff(fmt(bits), STORED[bits] + b"LIST\4\0\0\0INFO", before=ds64, size=0xFFFFFFFF, kind=b"RF64"),
        riff(fmt(bits, block=0), STORED[bits]),
    ):
        again = decode(same)
        assert again.rate == 8000 and np.array_equal(again.amplitude, plain.amplitude)
    assert plain.amplitude.shape == (1, 6) and plain.amplitude[0, 1] < 0 < plain.amplitude[0, 2]


def test_floating_point() -> None:
    values = np.array([-1.5, -1, -0.25, 0, 0.5, 2], "<f4")
    for bits in (32, 64):
        stored = values.astype(f"<f{bits // 8}").tobytes()
        for head in (fmt(bits, tag=3), extensible(bits, bits, tag=3)):
            np.testing.assert_array_equal(decode(riff(head, stored)).amplitude[0], values.clip(-1, 1))
    with pytest.raises(BadClip, match="NaN"):
        decode(riff(fmt(32, tag=3), np.array([0, np.nan], "<f4").tobytes()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (riff(fmt(64), bytes(64)), "64 bits in 8 bytes"),
        (riff(fmt(0), bytes(64)), "0 bits"),
        (riff(fmt(16, rate=0), bytes(64)), "0 samples a second"),
        (riff(fmt(16, channels=0, block=2), bytes(64)), "0 channels"),
        (riff(fmt(16, block=12), bytes(64)), "16 bits in 12 bytes"),
        (riff(fmt(16)[:10], bytes(64)), "header is too short"),
        (b"RIFF\4\0\0\0WAVE", "ends within its header"),
        (b"RIFF\x0c\0\0\0WAVEdata\4\0\0\0abcd", "samples come before the header"),
        (riff(fmt(16), bytes(64), size=80), "its header says 40 samples, and 32 are there"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_headers_are_the_file_s_own_fault(content: bytes, reason: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "in", a=wav(tone()), b=wav(tone()), bad=content)
    found = data(path, split="all", cache=tmp_path)
    assert len(found) == 2 and [p.file for p in found.problems] == ["bad.wav"] and reason in found.problems[0].reason
    (tmp_path / "in" / "a.wav").unlink()
    (tmp_path / "in" / "b.wav").unlink()
    with pytest.raises(DataError, match="none of 1 sound files can be read"):
        data(path, cache=tmp_path)


@pytest.mark.parametrize("kind", ["FLAC", "AIFF", "WAV", "AU", "CAF"])
@pytest.mark.parametrize("bits", [16, 24])
def test_the_same_codes_have_the_same_levels_in_every_kind_of_file(kind: str, bits: int) -> None:
    soundfile = pytest.importorskip("soundfile")
    codes = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (500, 2))
    out = io.BytesIO()
    soundfile.write(out, (codes << (32 - bits)).astype(np.int32), 8000, format=kind, subtype=f"PCM_{bits}")
    for read in (decode, decode_other):
        clip = read(out.getvalue())
        np.testing.assert_array_equal(clip.amplitude, ((2 * codes + 1) / (2.0**bits - 1)).astype(np.float32).T)


# Folders


def test_one_long_recording_takes_no_more_room_than_it_has_samples(tmp_path: Path) -> None:
    long = tone(400_000)
    path = folder(tmp_path / "in", long=wav(long), **{f"s{i}": wav(tone(80 + i)) for i in range(20)})
    tracemalloc.start()
    try:
        found = data(path, split="all", cache=tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.x == Audio(1, 400_000, rate=8000) and len(found) == 21 and not found.problems
    assert sum(p.stat().st_size for p in (tmp_path / "data").rglob("*")) < 1e6 and peak < 20e6
    for row in range(21):
        (x,) = found.fetch(torch.tensor([row]), ItemNoise(0, [row])).x
        length = found.pack.clip(row).shape[1]
        assert torch.equal(found.x.nearest(x)[0, :length] - 32768, torch.from_numpy(long[0, :length]))
        assert x[0, length:].abs().max() < 1e-4 if length < 400_000 else True
    packed = pack(path, tmp_path / "packed")
    again = data(tmp_path / "packed", split="all", cache=tmp_path)
    assert again.fingerprint == found.fingerprint == packed.fingerprint
    cut = data(tmp_path / "packed", split="all", sound=Audio(1, 90, rate=8000), cache=tmp_path)
    assert torch.equal(cut.stored, data(path, split="all", sound=Audio(1, 90, rate=8000), cache=tmp_path).stored)
    fast = data(tmp_path / "packed", split="all", sound=Audio(1, 180), cache=tmp_path)
    np.testing.assert_allclose(fetched(fast)[:, 0, 60:120:2], fetched(cut)[:, 0, 30:60], atol=0.02)


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    files = {f"{word}__{i}": wav(tone(60 + i)) for word in ("no", "yes") for i in range(6)}
    found = data(folder(tmp_path / "in", **files), split="all", sound=MU_LAW, cache=tmp_path)
    assert (found.x, found.given, found.classes) == (MU_LAW, Labels(2), ["no", "yes"])
    rows = torch.arange(12)
    batch = found.fetch(rows, ItemNoise(0, rows.tolist()))
    assert isinstance(batch.given, Label) and batch.given.y.bincount().tolist() == [6, 6]
    assert found.stored.dtype == torch.uint8 and found.stored.shape == (12, 1, 100)
    assert torch.equal(MU_LAW.from_index(MU_LAW.index(batch.x)), batch.x)
    train, test = (data(tmp_path / "in", split=s, sound=MU_LAW, cache=tmp_path) for s in ("train", "test"))
    assert len(train) + len(test) == 12 and len(test) >= 1
    assert train.fingerprint != data(tmp_path / "in", split="train", cache=tmp_path).fingerprint


def test_clips_are_padded_with_silence_and_cut_at_the_end(tmp_path: Path) -> None:
    short, long = tone(70), tone(130)
    found = data(folder(tmp_path / "in", a=wav(short), b=wav(long)), split="all", sound=MU_LAW, cache=tmp_path)
    amplitude = MU_LAW.expand(fetched(found))[:, 0]
    short_first = amplitude[0, 70:].abs().max() < 1e-3
    padded, cut = amplitude if short_first else amplitude.flip(0)
    assert padded[70:].abs().max() < 1e-3
    for row, codes in ((padded[:70], short[0]), (cut, long[0, :100])):
        np.testing.assert_allclose(row.numpy(), codes / 32767.5, rtol=0.03, atol=2e-3)
    (problem,) = found.problems
    assert (problem.file, problem.reason) == ("b.wav", "its last 30 samples are cut off")
    several = data(folder(tmp_path / "more", a=wav(short), b=wav(long), c=wav(tone(105))), split="all", sound=MU_LAW)
    (problem,) = several.problems
    assert problem.file == "2 of 3 sound files" and "the longest, b.wav, by 30; x.length=130" in problem.reason


def test_unasked_the_space_is_what_the_files_are(tmp_path: Path) -> None:
    stereo = np.concatenate((tone(90), -tone(90)))
    path = folder(tmp_path / "in", a=wav(tone(80)), b=wav(stereo), c=wav(tone(300), rate=16000))
    found = data(path, split="all", cache=tmp_path)
    assert found.x == Audio(2, 150, rate=8000) and len(found) == 3 and not found.problems
    assert any(
        "1 of 3 sound files: resampled from 16,000 to 8,000 samples a second" in n for n in found.pack.meta.notes
    )
    x = fetched(data(folder(tmp_path / "two", a=wav(tone(80)), b=wav(stereo)), split="all", cache=tmp_path))
    mono, both = sorted(x, key=lambda clip: float((clip[0] - clip[1]).abs().max()))
    assert torch.equal(mono[0], mono[1]) and not torch.equal(both[0], both[1])
    one = data(path, split="all", sound=Audio(1, 90, rate=8000), cache=tmp_path)
    assert min(float(clip.abs().max()) for clip in fetched(one)) < 1e-4  # opposite channels cancel


BAD = {
    "empty": (b"", "an empty file"),
    "short": (wav(tone())[:120], "cut short: its header says 100 samples, and 38 are there"),
    "head": (wav(tone())[:30], "damaged"),
    "none": (wav(tone(0)), "no samples in it"),
    "page": (b"<!DOCTYPE html><html>", "not a WAV file|not a sound file"),
    "other": (wav(tone(), rate=8001), "8,001 samples a second, where 8,000 are wanted: too odd"),
    "float": (wav(tone()).replace(b"fmt \x10\0\0\0\1", b"fmt \x10\0\0\0\x37"), "pip install 'triptych.audio.'|not a"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_clips_are_named_and_skipped(tmp_path: Path, kind: str) -> None:
    content, reason = BAD[kind]
    path = folder(tmp_path / "in", a=wav(tone()), b=wav(tone()), bad=content)
    found = data(path, split="all", sound=MU_LAW, cache=tmp_path)
    (problem,) = found.problems
    assert len(found) == 2 and problem.file == "bad.wav"
    assert any(part in problem.reason for part in reason.replace(".audio.", "[audio]").split("|")), problem.reason
    with pytest.raises(DataError, match=r"bad\.wav"):
        data(path, sound=MU_LAW, strict=True, cache=tmp_path)


def test_nothing_but_bad_clips_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "in", a=b"", b=b"")
    for asked in (None, MU_LAW):
        with pytest.raises(DataError, match=r"none of 2 .*[ab].wav: an empty file"):
            data(path, sound=asked, cache=tmp_path)


def test_other_formats_ask_for_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.flac").write_bytes(b"fLaC" + bytes(50))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"a\.flac.*pip install 'triptych\[audio\]'"):
        data(tmp_path / "in", cache=tmp_path)


def test_flac(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    for name, codes in (("a", tone(80)), ("b", tone(90))):
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "in" / f"{name}.flac", codes[0].astype(np.int16), 8000)
    found = data(tmp_path / "in", split="all", cache=tmp_path)
    assert found.x == Audio(1, 90, rate=8000) and found.problems == []


def test_images_among_which_lies_a_sound_stay_images(tmp_path: Path) -> None:
    folder(tmp_path / "in", a=wav(tone()))
    for name in ("b", "c"):
        Image.new("L", (4, 4)).save(tmp_path / "in" / f"{name}.png")
    found = data(tmp_path / "in", split="all", cache=tmp_path)
    assert found.x == Images(1, 4, 4) and [p.file for p in found.problems] == ["a.wav"]


def test_options_go_with_their_kind(tmp_path: Path) -> None:
    path = folder(tmp_path / "in", a=wav(tone()), b=wav(tone()))
    with pytest.raises(
        UsageError, match=r"size=, channels=, binary= and noisy= are for images; this source holds sound"
    ):
        data(path, size=8, cache=tmp_path)
    with pytest.raises(UsageError, match=r"binary= is for images"):
        data(path, binary="dynamic", cache=tmp_path)
    with pytest.raises(UsageError, match=r"sound= is for recordings; this source holds images"):
        data("mnist", sound=MU_LAW, cache=tmp_path)


def test_a_model_of_another_length_is_told_how_to_open_the_data(tmp_path: Path) -> None:
    class Config:
        x = MU_LAW

    path = folder(tmp_path / "in", a=wav(tone()), b=wav(tone()))
    with pytest.raises(UsageError, match=r"open the data with sound=Audio\(channels=1, length=100, rate=8000"):
        check_fits(data(path, cache=tmp_path), Config())
    check_fits(data(path, sound=MU_LAW, cache=tmp_path), Config())


# Writing


def test_clips_in_one_file_have_silence_between() -> None:
    x = torch.ones(2, 1, 100)
    with wave.open(io.BytesIO(audio.wav(MU_LAW, x))) as file:
        assert file.getframerate() == 8000 and file.getnframes() == 2 * (100 + 1200)
        codes = np.frombuffer(file.readframes(2600), "<i2").reshape(2, 1300)
    assert (codes[:, :100] == 32767).all() and (abs(codes[:, 100:].astype(int)) <= 1).all()


def test_stereo_is_written_side_by_side() -> None:
    space = Audio(2, 3, rate=8000)
    codes = torch.tensor([[[1, 2, 3], [-4, -5, -6]]])
    with wave.open(io.BytesIO(audio.wav(space, space.from_index(codes + 32768)))) as file:
        assert file.getnchannels() == 2
        assert np.frombuffer(file.readframes(3), "<i2").tolist() == [1, -4, 2, -5, 3, -6]


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    """1,000 Hz of 4,000 is a quarter of the way up; above and below the sheet is white, and dark is loud."""
    space = Audio(1, 4096, rate=8000)
    t = torch.arange(4096) / 8000
    sheet = np.asarray(audio.sheet(space, 0.5 * torch.sin(2 * math.pi * 1000 * t)[None, None]))
    high, left = 2 * audio.BINS, audio.LEFT
    assert sheet.shape == (2 * (audio.BINS + 1 + audio.TRACE) + audio.BELOW + pictures.LINE, left + 256 + audio.RIGHT)
    rows = sheet[:high, left + 40 : left + 216].mean(1)
    assert abs(int(rows.argmin()) - (high - 32)) <= 2 and rows.min() < 40 and rows[:80].min() > 200
    assert len(np.unique(sheet[high + 2 : -audio.BELOW - pictures.LINE - 1, left:-20])) == 2
    ticks = np.flatnonzero((sheet[:, left - audio.TICK : left] == audio.AXIS).all(1))
    assert ticks.tolist() == [0, 32, 64, 96, 127], "one is where the tone is"


def test_axes_of_sound_say_seconds_and_hertz() -> None:
    assert audio.ticks(4000, "Hz", 4) == [(0, "0 kHz"), (0.25, "1"), (0.5, "2"), (0.75, "3"), (1, "4")]
    assert audio.ticks(500, "Hz", 4) == [(0, "0 Hz"), (0.4, "200"), (0.8, "400")]
    assert [text for _, text in audio.ticks(22050, "Hz", 4)] == ["0 kHz", "10", "20"]
    assert [text for _, text in audio.ticks(0.068, "s", 4)] == ["0 ms", "20", "40", "60"]
    assert [text for _, text in audio.ticks(2.0, "s", 4)] == ["0 s", "0.5", "1", "1.5", "2"]
    assert audio.ticks(0.00075, "s", 3)[-1][1] == "0.5"


@pytest.mark.parametrize("length", [150, 1000, 1023])
def test_a_spectrogram_spans_the_whole_clip(length: int) -> None:
    """As its axis says, and as the waveform below it does: a click at the end is at its right edge."""
    clip = torch.zeros(1, length)
    clip[0, -1] = 1
    energy = audio.spectrograms(clip)[0].mean(0)
    assert energy.argmax() == audio.COLUMNS - 1


def test_sheets_refuse_nothing_and_what_is_no_sound() -> None:
    with pytest.raises(UsageError, match="no sound"):
        audio.sheet(MU_LAW, torch.empty(0, 1, 100))
    with pytest.raises(UsageError, match="shape"):
        audio.sheet(MU_LAW, torch.zeros(1, 1, 99))
    short = Audio(1, 6, rate=8000, levels=3)
    assert audio.sheet(short, torch.zeros(3, 1, 6)).width > 2 * audio.COLUMNS
