"""Text to speech: the search for the alignment, a voice of tones that learns to speak, and what users may get wrong."""

from io import StringIO
from itertools import accumulate, groupby, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import triptych as tt
from triptych.cli.app import app
from triptych.core import FAITHFUL, Adam, Audio, Batch, ItemNoise, Sampling, Text, Tokens, UsageError
from triptych.core.text import Letters
from triptych.io import configs
from triptych.media.wav import encode_wav
from triptych.metrics.speech import distortion, warped
from triptych.models.vae.mas_tts import MASTTS, PRESETS, MASTTSConfig
from triptych.nn.alignment import durations, search, spread
from triptych.nn.mel import Mel
from triptych.tasks.phonemes import phonemes
from triptych.tasks.speaking import check_speaks, ended
from triptych.tasks.task import posed
from triptych.tasks.text_to_speech import TextToSpeech, cut
from triptych.training import Run, train
from triptych.verbs.opening import open_for

RATE = 8000
TONES = {"a": 400, "b": 900, "c": 1800, " ": 0}


def said(text: str, seconds: float = 0.12) -> np.ndarray:
    """A voice of tones: float32 [1, samples]."""
    t = np.arange(round(RATE * seconds)) / RATE
    sound = np.concatenate([0.3 * np.sin(2 * np.pi * TONES[letter] * t) for letter in text])
    return (sound + 1e-3 * np.random.default_rng(0).standard_normal(len(sound))).astype(np.float32)[None]


def voice(folder: Path, n: int = 40) -> Path:
    """A folder as LJSpeech has it."""
    (folder / "wavs").mkdir(parents=True)
    drawn, lines = np.random.default_rng(1), []
    for i in range(n):
        text = "".join(drawn.choice(list("abc "), drawn.integers(3, 7))).strip() or "abc"
        (folder / "wavs" / f"T{i:03d}.wav").write_bytes(encode_wav(said(text), RATE))
        lines.append(f"T{i:03d}|{text.upper()}\n")
    (folder / "metadata.csv").write_text("".join(lines))
    return folder


# The alignment


@pytest.mark.parametrize(("symbols", "frames"), [(4, 7), (1, 5), (5, 5)])
def test_the_search_finds_the_best_of_all_ways(symbols: int, frames: int) -> None:
    torch.manual_seed(symbols)
    score = torch.randn(2, symbols + 2, frames + 3)
    found = search(score, torch.tensor([symbols, symbols]), torch.tensor([frames, frames]))
    steps = product((0, 1), repeat=frames - 1)
    ways = [way for way in (tuple(accumulate(s, initial=0)) for s in steps) if way[-1] == symbols - 1]
    for item in range(2):
        best = max(ways, key=lambda way: sum(score[item, s, t].item() for t, s in enumerate(way)))
        assert found[item, :frames].tolist() == list(best)


def test_a_text_longer_than_its_sound_still_gives_numbers() -> None:
    found = search(torch.randn(1, 6, 3), torch.tensor([6]), torch.tensor([3]))
    assert found.shape == (1, 3) and found.min() >= 0 and found.max() <= 5


def test_in_bfloat16_the_search_finds_what_it_does_in_float32() -> None:
    """Sums over hundreds of frames, of which bfloat16 keeps three digits."""
    torch.manual_seed(0)
    model = MASTTS(PRESETS["mas-tts-tiny"].config)
    mean = (torch.randn(2, 6, 50) * 1.5).bfloat16()
    mel = mean.float()[:, :, torch.arange(400) // 8] + 0.5 * torch.randn(2, 6, 400)
    ends = torch.tensor([50, 50]), torch.tensor([400, 400])
    plain = model.align(mel, mean.float(), *ends)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model.align(mel, mean, *ends)
    assert (plain != rounded).float().mean() < 0.005


def test_durations_and_back() -> None:
    path = torch.tensor([[0, 0, 1, 3, 3, 3]])
    many = durations(path, torch.tensor([5]), 5)
    assert many.tolist() == [[2, 1, 0, 2, 0]]
    assert spread(torch.tensor([[2.0, 1, 0, 3, 0]]), 6).tolist() == path.tolist()


# The voice


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> MASTTS:
    """A model that has learned to speak in tones."""
    folder = tmp_path_factory.mktemp("tones")
    data = tt.data(voice(folder / "in"), split="all", sound=Audio(1, 8000, rate=RATE), cache=folder / "cache")
    spoken = posed(data, TextToSpeech())
    torch.manual_seed(0)
    model = MASTTS(
        MASTTSConfig(
            x=spoken.x,
            given=spoken.given,
            mel=spoken.task.mel,
            width=32,
            layers=2,
            kernel=3,
            rounds=12,
            adam=Adam(lr=4e-3, betas=(0.9, 0.98), schedule="cosine"),
        )
    )
    for _ in train(model, spoken, Run(steps=160, batch=8)):
        pass
    return model.eval()


def heard(sound: np.ndarray) -> str:
    """The letters of a voice of tones, each once where it is heard for three windows or more."""
    pieces = np.lib.stride_tricks.sliding_window_view(sound, 256)[::128]
    found = ""
    for piece in pieces:
        size = np.abs(np.fft.rfft(piece * np.hanning(256)))
        at = size.argmax() * RATE / 256
        found += min("abc", key=lambda letter: abs(TONES[letter] - at)) if size.max() > 4 else "."
    runs = [(letter, len(list(run))) for letter, run in groupby(found)]
    return "".join(letter for letter, many in runs if many >= 3 and letter != ".")


def test_it_says_the_tones_of_a_text_in_order(trained: MASTTS) -> None:
    assert heard(said("cab")[0]) == "cab"
    given = Text(trained.config.given.elements("cab", 1))
    sound, samples = trained.speak(ItemNoise(0, [0]), given)
    assert heard(sound[0].detach().numpy()) == "cab"
    assert 0.5 < int(samples[0]) / (3 * 0.12 * RATE) < 1.8
    slow = trained.speak(ItemNoise(0, [0]), given, 1.5)[1]
    assert slow / samples == pytest.approx(1.5, abs=0.2)


def test_it_finds_when_each_letter_is_heard(trained: MASTTS) -> None:
    given = Text(trained.config.given.elements("acb", 1))
    found, mel = trained.alignment(torch.from_numpy(said("acb"))[None], given)
    assert found.shape == (1, 7, mel.shape[2]) and (found.sum(1) == 1).all()
    heard = found[0].sum(1)
    ends = heard.cumsum(0) * trained.config.mel.hop / RATE
    assert ends[2].item() == pytest.approx(0.12, abs=0.07) and ends[4].item() == pytest.approx(0.24, abs=0.07)


def test_a_picture_shows_which_letter_is_heard_when(trained: MASTTS) -> None:
    x = torch.zeros(1, 1, 8000)
    x[0, 0, : said("acb").shape[1]] = torch.from_numpy(said("acb"))[0]
    batch = Batch(x, Text(trained.config.given.elements("acb", 1)), ItemNoise(0, [0]), lengths=torch.tensor([2880]))
    (picture,) = TextToSpeech().looks(trained, batch)
    dark = 255 - np.asarray(picture).astype(float)
    rows = (dark * np.arange(dark.shape[0])[:, None]).sum(0) / dark.sum(0)  # goes down as time goes on
    assert picture.size == (256, 128) and rows[:40].mean() < 40 < 64 < rows[-40:].mean()
    assert TextToSpeech().looks(object(), batch) == []


def test_samples_are_as_long_as_x_and_do_not_depend_on_what_is_drawn_beside(trained: MASTTS) -> None:
    given = Text(trained.config.given.elements(["ab", "cccba"], 2))
    both = trained.sample(2, given, seed=3)
    assert both.shape == (2, 1, 8000) and both[0, 0, 7000:].abs().max() < 1e-3
    torch.testing.assert_close(trained.sample(1, given[1:2], seed=3, first=1)[0], both[1], atol=1e-4, rtol=0)


# The task


def test_from_a_folder_to_a_sound_file(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("triptych.metrics.recognizer.STEPS", 3)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    voice(tmp_path / "in", 150)
    small = ["x.length=8000", "x.rate=8000", "width=8", "layers=1", "rounds=2"]
    words = ["train", "text-to-speech", "--data", "in", "--out", "run", "--steps", "3", "--batch", "4", *small]
    assert app([*words, "--no-pictures"], standalone_mode=False) in (0, None)
    assert "texts in 4 letters" in (out := capsys.readouterr().err) and "of these recordings" in out
    ask = ["apply", "run", "--text", "Ab ca. BC!", "--out", "a.wav"]
    assert app(ask, standalone_mode=False) in (0, None)
    assert app([*ask[:-1], "b.wav", "--length-scale", "2"], standalone_mode=False) in (0, None)
    assert (tmp_path / "b.wav").stat().st_size > (tmp_path / "a.wav").stat().st_size > 44
    monkeypatch.setattr("sys.stdin", StringIO("ab ca. bc!"))
    assert app([*ask[:3], "-", "--out", "d.wav"], standalone_mode=False) in (0, None)
    assert (tmp_path / "d.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()
    with pytest.raises(UsageError, match="nothing to say"):
        app([*ask[:3], "12", "--out", "c.wav"], standalone_mode=False)
    pipe = tt.pipeline(None, tmp_path / "run")
    assert pipe.task.mel == pipe.model.config.mel and pipe.task.mel.mean != 0
    found = tt.evaluate(pipe.model, *(tt_open(pipe, tmp_path, s) for s in ("train", "test")), n=50, limit=3)
    assert found.n == len(found.images) == 15 and found.notes()[0].startswith("15 samples of 50: one for each")
    names = [m.name for m in found.measurements]
    assert names == ["MCD", "MCD, shuffled text", "letter error rate", "word error rate", "real-time factor"]
    assert "too weak to judge" in found.measurements[2].protocol  # after three steps it hears nothing
    assert found.measurements[0].floor is not None and found.measurements[0].floor < found.measurements[0].value


def test_another_model_may_speak(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("triptych.metrics.recognizer.STEPS", 2)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    voice(tmp_path / "in", 60)
    small = ["x.length=8000", "x.rate=8000", "width=8", "layers=1", "late_layers=1", "hidden=8", "rounds=2"]
    words = [
        "train",
        "text-to-speech",
        "--model",
        "tacotron-16k",
        "--data",
        "in",
        "--out",
        "run",
        "--steps",
        "2",
        *small,
    ]
    assert app([*words, "--batch", "4", "--pictures", "1"], standalone_mode=False) in (0, None)
    assert len(list((tmp_path / "run" / "samples").glob("*.png"))) == 2  # with alignments
    assert app(["apply", "run", "--text", "Ab ca.", "--out", "a.wav"], standalone_mode=False) in (0, None)
    pipe = tt.pipeline(None, tmp_path / "run")
    test = tt_open(pipe, tmp_path, "test")
    found = {m.name: m for m in test.task.further(pipe.model, test, limit=2, seed=0)}
    assert set(found) == {"letter error rate", "word error rate", "real-time factor", "bits/band"}
    assert "exact" in found["bits/band"].protocol and "by the text of another" in found["bits/band"].baselines


def test_codes_may_speak(tmp_path: Path, monkeypatch, capsys) -> None:
    """[text; codes]: from a folder to a sound file, guided and the best of several; as letters, and as words."""
    monkeypatch.setattr("triptych.metrics.recognizer.STEPS", 2)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    voice(tmp_path / "in", 40)
    small = "x.length=8192 x.rate=8000 hop=512 fft=1024 width=8 layers=1 judge=2 judge_layers=1 judges=1 segment=1024"
    small += " windows=[64] prior_width=8 prior_layers=1 prior_heads=2 alone=1 code_times=1"
    words = ["train", "text-to-speech", "--model", "codec-numbers", "--data", "in", "--out", "run", "--steps", "2"]
    assert app([*words, *small.split(), "--batch", "4", "--no-pictures"], standalone_mode=False) in (0, None)
    ask = ["apply", "run", "--text", "Ab ca.", "--out", "a.wav"]
    assert app(ask, standalone_mode=False) in (0, None)
    more = ["--guidance", "2", "--best-of", "2", "--temperature", ".5"]
    assert app([*ask[:-1], "b.wav", *more], standalone_mode=False) in (0, None)
    assert (tmp_path / "a.wav").stat().st_size > 44 and (tmp_path / "b.wav").stat().st_size > 44
    assert app(["sample", "run", "-n", "1", "--given", "ab ca", "--out", "c.wav"], standalone_mode=False) in (0, None)
    with pytest.raises(UsageError, match="as fast as its recordings"):
        app([*ask[:-1], "d.wav", "--length-scale", "2"], standalone_mode=False)
    pipe = tt.pipeline(None, tmp_path / "run")
    assert pipe.model.config.mel == 45  # the weight of a distance, and no spectrogram of the task's
    test = tt_open(pipe, tmp_path, "test")
    found = {m.name: m for m in test.task.further(pipe.model, test, limit=2, seed=0)}
    assert "recordings by way of codes" in found["letter error rate"].baselines
    assert found["bits/code"].value == pytest.approx(found["bits/code"].baselines["by the text of another"], rel=0.1)
    plain = ["train", "codec-numbers", "--condition", "caption", "--data", "in", "--out", "words", "--steps", "1"]
    assert app([*plain, *small.split(), "--batch", "4", "--no-pictures"], standalone_mode=False) in (0, None)
    assert tt.load(tmp_path / "words").config.given.symbols.words[2:]


def test_a_voice_of_codes_ends_where_nothing_is_heard_any_more() -> None:
    sound = torch.cat((torch.zeros(400), 0.5 * torch.ones(800), 0.004 * torch.ones(2000)))
    assert ended(sound, RATE) == 1200 and ended(torch.zeros(100), RATE) == 80
    with pytest.raises(UsageError, match="leave out guidance=, best_of= and temperature="):
        check_speaks(MASTTS(PRESETS["mas-tts-tiny"].config), 1.0, Sampling(guidance=2))
    with pytest.raises(UsageError, match="does not speak"):
        check_speaks(SimpleNamespace(name="wavegan"), 1.0, FAITHFUL)


def tt_open(pipe, tmp_path: Path, split: str):
    return open_for(pipe.model, tmp_path / "run", None, split=split)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("long", "as long as 1.0 s or cut off there"),
        ("fast", "shorter than their text can be said in"),
        ("mute", "without a word in their text"),
    ],
)
def test_recordings_that_cannot_be_learned_from_are_named(tmp_path: Path, broken: str, words: str) -> None:
    folder = voice(tmp_path / "in", 12)
    sound, text = {"long": (said("abc" * 4), "abc"), "fast": (said("a"), "abcabcabc"), "mute": (said("ab"), "?!")}[
        broken
    ]
    (folder / "wavs" / "X.wav").write_bytes(encode_wav(sound, RATE))
    with (folder / "metadata.csv").open("a") as file:
        file.write(f"X|{text}\n")
    data = tt.data(folder, split="all", sound=Audio(1, 8000, rate=RATE), cache=tmp_path / "cache")
    made = TextToSpeech().arranged(data)
    assert len(made) == 12 and any(words in note for note in made.notes)


def test_text_and_sound_without_their_partner(tmp_path: Path) -> None:
    folder = voice(tmp_path / "in", 12)
    (folder / "wavs" / "alone.wav").write_bytes(encode_wav(said("a"), RATE))
    with (folder / "metadata.csv").open("a") as file:
        file.write("nowhere|abc\n")
    data = tt.data(folder, split="all", cache=tmp_path / "cache")
    reasons = " ".join(str(p) for p in data.problems)
    assert len(data) == 12 and "alone.wav" in reasons and "no recording called nowhere" in reasons
    (folder / "metadata.csv").unlink()
    with pytest.raises(UsageError, match="no recording has a text"):
        TextToSpeech().arranged(tt.data(folder, split="all", cache=tmp_path / "cache"))


def test_letters_are_told_apart_from_other_symbols() -> None:
    x = Tokens(4, 5, symbols=Letters(letters="abc"))
    assert (
        x.padded and x.elements("cab", 2)[1].tolist() == [3, 1, 2, 0, 0] and x.decode(torch.tensor([3, 1, 0])) == "ca"
    )
    again = configs.from_json(MASTTSConfig, configs.to_json(MASTTSConfig(given=x)), "here")
    assert again.given == x
    with pytest.raises(UsageError, match="no token for 'd'"):
        x.encode("abd")
    with pytest.raises(UsageError, match="rate"):
        MASTTSConfig(x=Audio(1, 8000, rate=8000))


def test_long_sentences_are_cut_between_words() -> None:
    assert cut("aa bb, cc dd ee", 9) == ["aa bb", "cc dd ee"] and cut("abcdef", 4) == ["abcd", "ef"]


def test_phonemes_need_espeak(monkeypatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="espeak-ng is not on this machine"):
        phonemes("words", "en-us")
    with pytest.raises(UsageError, match="the name of a voice"):
        phonemes("words", "../x")


def test_distortion_is_zero_of_the_same_and_does_not_mind_tempo() -> None:
    mel = Mel(rate=RATE, fft=512, hop=128, mels=40)
    once, slow, other = (torch.from_numpy(s)[None] for s in (said("abc"), said("abc", 0.2), said("cba")))
    assert distortion(once, once, mel) == pytest.approx(0, abs=1e-6)
    assert distortion(slow, once, mel) < 0.5 * distortion(other, once, mel)
    a = torch.tensor([[0.0], [1.0], [3.0]])
    assert warped(a, torch.tensor([[0.0], [0.0], [1.0], [3.0]])) == 0.0
