"""Sound as models and measures take it: other rates, faults, spectrograms and back, clips as pictures."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import triptych as tt
from triptych.core import Audio, UsageError
from triptych.data.library.drums import KINDS, RATE, hit, kind_of
from triptych.data.library.recipe import Folder
from triptych.data.library.syllables import syllable
from triptych.data.library.syllables import write as write_syllables
from triptych.media.resample import resamplable, resampled
from triptych.media.wav import BadClip, encode_wav
from triptych.models.gan.wavegan import WaveGAN, WaveGANConfig
from triptych.nn.mel import Mel, MelSpectrogram, bank
from triptych.verbs.evaluate import evaluate
from triptych.verbs.hearing import Looked, pictures


def sine(hz: float, rate: int, seconds: float = 0.5, size: float = 0.5) -> np.ndarray:
    return (size * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)[None]


@pytest.mark.parametrize(("rate", "to"), [(44_100, 16_000), (8000, 22_050), (48_000, 44_100)])
def test_a_tone_is_the_same_tone_at_another_rate(rate: int, to: int) -> None:
    found = resampled(sine(440, rate), rate, to)
    assert found.shape == (1, to // 2)
    np.testing.assert_allclose(found[0, 400:-400], sine(440, to)[0, 400:-400], atol=1e-4)


def test_what_is_too_high_for_a_rate_is_left_out_and_odd_ratios_are_refused() -> None:
    assert np.abs(resampled(sine(6000, 44_100), 44_100, 8000)[0, 300:-300]).max() < 1e-4
    assert resamplable(11_025, 16_000) and not resamplable(8001, 8000)
    assert resampled(sine(5, 8000), 8000, 8000) is not None


def test_faults_of_recordings_are_named(tmp_path: Path) -> None:
    clips = {"fine": sine(300, 8000), "silent": sine(300, 8000, size=1e-4), "loud": sine(300, 8000, size=3).clip(-1, 1)}
    for name, clip in clips.items():
        (tmp_path / f"{name}.wav").write_bytes(encode_wav(clip, 8000))
    found = tt.data(tmp_path, split="all", cache=tmp_path / "cache")
    said = {p.file: p.reason.split(":")[0] for p in found.problems}
    assert said == {"silent.wav": "silent", "loud.wav": "clipped"} and len(found) == 3


def test_the_bank_covers_the_spectrum_and_each_band_has_weight_one() -> None:
    for mel in (Mel(), Mel(rate=8000, fft=64, hop=16, mels=40, low=50.0, high=3800.0)):
        triangles = torch.from_numpy(bank(mel))
        torch.testing.assert_close(triangles.sum(1), torch.ones(mel.mels))
        peaks = triangles.argmax(1)
        assert (peaks.diff() >= 0).all() and triangles.min() >= 0


def test_a_spectrogram_says_where_a_tone_is_and_comes_back_as_sound() -> None:
    mel = Mel(rate=8000, fft=512, hop=128, mels=40)
    net, sound = MelSpectrogram(mel), torch.from_numpy(sine(1000, 8000))
    seen = net(sound)
    assert seen.shape == (1, 40, mel.frames(4000)) == (1, 40, 32)
    at = net.bank[seen[0, :, 16].argmax()].argmax().item() * 8000 / 512
    assert abs(at - 1000) < 100
    torch.testing.assert_close(net.overlapped(net.spectrum(sound), 4000), sound, atol=1e-5, rtol=0)
    torch.manual_seed(0)
    again = net(net.invert(seen, torch.rand(1, 257, 32), rounds=24))
    loud = seen > seen.max() - 3  # the rest is what Hann's window leaks
    assert (again - seen)[loud].abs().mean() < 0.7 and again[0, :, 16].argmax() == seen[0, :, 16].argmax()
    shifted = MelSpectrogram(Mel(rate=8000, fft=512, hop=128, mels=40, mean=-3.0, deviation=2.0))(sound)
    torch.testing.assert_close(shifted * 2 - 3, seen, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"hop": 600}, "at least two hops"), ({"high": 9000.0}, "below half the rate"), ({"fft": 1023}, "even number")],
)
def test_a_front_end_that_makes_no_sense(fields, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Mel(**fields)


def test_clips_are_looked_at_as_pictures(tmp_path: Path) -> None:
    x = Audio(1, 1024, rate=8000)
    seen = pictures(x, torch.from_numpy(np.stack([sine(hz, 8000, 0.128) for hz in (300, 2500)])))
    assert seen.shape == (2, 1, 16, 64) and seen.abs().max() <= 1
    low, high = seen[:, 0, :, 20].argmax(1)
    assert low < high
    for kind, hz in (("low", 300), ("high", 2500)):
        for i in range(30):
            (tmp_path / "in" / kind).mkdir(parents=True, exist_ok=True)
            clip = sine(hz + 7 * i, 8000, 0.128)
            (tmp_path / "in" / kind / f"{i}.wav").write_bytes(encode_wav(clip, 8000))
    train, test = (tt.data(tmp_path / "in", split=s, sound=x, cache=tmp_path / "cache") for s in ("train", "all"))
    assert Looked(train).x.shape == (1, 16, 64) and Looked(train).name.endswith("log mel")
    found = evaluate(WaveGAN(WaveGANConfig(x=x, width=2, kernel=5)), train, test, n=50, features=["pixels"])
    (one,) = found.distances
    assert one.generated.fd > 2 * one.floor.fd >= 0 and "memorization" in found.skipped


def test_names_of_hits_say_their_kind() -> None:
    names = {
        "BD_01": "kick",
        "SN_2": "snare",
        "hhopen3": "hat",
        "t1_02": "tom",
        "TM2_01": "tom",
        "RideBell-0": "cymbal",
    }
    assert {name: kind_of(name) for name in names} == names
    assert [kind_of(name) for name in ("beats_17", "SnareRim-1", "CB_01", "Clap")] == ["", "", "", ""]
    assert len({kind for kind, _ in KINDS}) == 6


def test_a_hit_begins_at_once_and_ends_within_a_second() -> None:
    late = np.concatenate([np.zeros((2, 4410), np.float32), np.repeat(sine(200, 44_100, 2.0), 2, 0)], 1)
    found = hit(encode_wav(late, 44_100))
    assert found is not None and found.shape == (1, RATE) and np.abs(found).max() == pytest.approx(0.9, abs=1e-3)
    assert np.abs(found[0, :20]).max() > 0.01 and abs(found[0, -1]) < 1e-3
    assert hit(encode_wav(np.zeros((1, 500), np.float32), 8000)) is None
    assert math.isfinite(float(found.sum()))


class Sounds:
    """What the package of syllables holds, of tones for sounds."""

    def members(self, package: str, wanted):
        files = [
            f"{zhuyin}{tone}/{voice}.ogg"
            for zhuyin in ("ㄅㄚ", "ㄓㄨㄤ", "ㄩ")
            for tone in ("", "2", "1")
            for voice in "35"
        ]
        for name in ("usr/share/doc/gcin-voice/copyright", *(f"usr/share/gcin-voice/ogg/{file}" for file in files)):
            if wanted(name):
                yield name, encode_wav(np.pad(sine(200, 44_100, 0.3), ((0, 0), (4410, 4410))), 44_100)


def test_syllables_are_sorted_by_tone_and_a_syllable_is_held_out_as_a_whole(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_syllables(Sounds(), folder)  # type: ignore[arg-type]
    found = {f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.wav")}
    names = {name.partition("/")[2] for name in found}
    assert names == {f"{t}/{s}-{v}.wav" for t in ("1-high", "2-rising") for s in ("ba", "zhuang", "yu") for v in "ab"}
    held = {Path(name).stem.split("-")[0] for name in found if name.startswith("test")}
    kept = {Path(name).stem.split("-")[0] for name in found if name.startswith("train")}
    assert held and kept and not held & kept and (tmp_path / "LICENSE").is_file()


def test_a_syllable_is_cut_to_what_can_be_heard() -> None:
    found = syllable(encode_wav(np.pad(sine(200, 44_100, 0.3), ((0, 0), (4410, 4410))), 44_100))
    assert found.shape[1] == pytest.approx(0.3 * RATE, abs=40) and np.abs(found).max() == pytest.approx(0.9, abs=1e-3)
    with pytest.raises(BadClip, match="silent"):
        syllable(encode_wav(np.zeros((1, 500), np.float32), 8000))
