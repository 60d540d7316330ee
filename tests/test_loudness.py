"""How loud recordings are: levels, what is said of them, and the picture."""

from pathlib import Path

import numpy as np
import pytest

import triptych as tt
from triptych.media.wav import encode_wav
from triptych.verbs.contact import contact_sheet
from triptych.verbs.loudness import FAULTY, chart, levels, words


def folder(path: Path, **sizes: float) -> Path:
    path.mkdir()
    for name, size in sizes.items():
        wave = (size * np.sin(np.arange(800) * np.pi / 4 + np.pi / 4)).clip(-1, 1).astype(np.float32)
        (path / f"{name}.wav").write_bytes(encode_wav(wave[None], 8000))
    return path


def test_levels_are_in_decibels_of_full_scale_and_faults_are_named(tmp_path: Path) -> None:
    data = tt.data(folder(tmp_path / "in", half=0.5, none=0.0, over=3.0), split="all", cache=tmp_path)
    peaks, means, wrong = levels(data)
    assert sorted(wrong) == [False, True, True] and wrong[int(np.argsort(peaks)[1])] is False
    half = int(np.argsort(peaks)[1])
    assert peaks[half] == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert means[half] == pytest.approx(20 * np.log10(0.5 * 0.5**0.5), abs=0.01)
    said = "\n".join(words(data, means))
    assert "none.wav" in said and "over.wav" in said and "half.wav" not in said and "leave it out" in said
    assert "record it at a lower level" in said and "they differ by" in said
    colors = chart(data).getcolors(1 << 20)
    assert colors is not None and sum(many for many, color in colors if color == FAULTY) > 500


def test_a_sheet_of_sound_says_how_loud_all_are(tmp_path: Path) -> None:
    data = tt.data(folder(tmp_path / "in", a=0.5, b=0.4), split="all", cache=tmp_path)
    sheet = contact_sheet(data)
    assert sheet.height > chart(data).height and "none is silent" in words(data, levels(data)[1])[-1]


def test_silence_behind_the_end_does_not_count(tmp_path: Path) -> None:
    data = tt.data(folder(tmp_path / "in", a=0.5), split="all", sound=tt.core.Audio(1, 8000, rate=8000), cache=tmp_path)
    assert levels(data)[1][0] == pytest.approx(20 * np.log10(0.5 * 0.5**0.5), abs=0.01)
