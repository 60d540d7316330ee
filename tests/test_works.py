"""Tasks that are asked with words and sounds, and answer with them: files in, files out, a sheet to look at."""

import io
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import UsageError
from triptych.media.audio import Clip
from triptych.media.photo import Photo
from triptych.media.text import Writing
from triptych.tasks.task import Question
from triptych.verbs.apply import Pipeline, answers, sheet
from triptych.verbs.jobs import jobs

RATE = 8000


class Speech:
    """Says how long a text is, by a tone."""

    name = "speech"

    def ask(self, model, *, text: Path | str, loud: float = 0.5) -> Question:
        return Question(Writing.read(text), None)

    def answer(self, model, question: Question, *, seed: int, tile: int | None) -> Clip:
        t = np.arange(100 * len(question.brought.text)) / RATE
        return Clip((0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[None], RATE)

    def before(self, question: Question) -> Writing:
        return question.brought


class Hearing:
    """Says how long a sound is, in words."""

    name = "hearing"

    def ask(self, model, *, sound: Path) -> Question:
        return Question(Clip.read(sound), None)

    def answer(self, model, question: Question, *, seed: int, tile: int | None) -> Writing:
        return Writing(f"{question.brought.amplitude.shape[1]} samples")

    def before(self, question: Question) -> Clip:
        return question.brought


@pytest.fixture
def pipe():
    model = tt.create("gan", x=tt.Points(2))
    return lambda task: Pipeline(model, task, "0123456789ab")


def test_words_become_sounds_and_sounds_words(pipe, tmp_path) -> None:
    speech, hearing = pipe(Speech()), pipe(Hearing())
    assert (speech.brings, speech.gives, hearing.brings, hearing.gives) == ("text", Clip, "sound", Writing)
    said = speech("a few words")
    with wave.open(io.BytesIO(said.encode(".wav"))) as file:
        assert (file.getnframes(), file.getframerate(), file.getsampwidth()) == (1100, RATE, 2)
    heard = hearing(said.save(tmp_path / "said.wav"))
    assert heard.text == "1100 samples" and heard.save(tmp_path / "heard.txt").read_text() == "1100 samples\n"
    with pytest.raises(UsageError, match=r"name a file that ends in \.wav"):
        said.save(tmp_path / "said.png")
    with pytest.raises(UsageError, match="takes one text"):
        speech("a", "b")
    with pytest.raises(UsageError, match="speech needs text="):
        speech()


def test_a_folder_of_texts_becomes_a_folder_of_sounds_with_a_sheet(pipe, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("one", "three"):
        (tmp_path / "in" / f"{name}.txt").write_text(f"{name}\n")
    (tmp_path / "in" / "x.png").write_bytes(b"no text")
    speech = pipe(Speech())
    todo = jobs({"text": tmp_path / "in"}, tmp_path / "out", [0], speech.gives, speech.brings)
    found = list(answers(speech, todo))
    assert [one.files[0].name for one in found] == ["one.wav", "three.wav"]
    assert [Clip.read(one.files[0]).amplitude.shape[1] for one in found] == [400, 600]
    drawn = sheet(found, {"one": found[1].files[0]})
    assert isinstance(drawn, Image.Image) and drawn.width > found[0].before.image().width
    with pytest.raises(UsageError, match=r"ends in \.wav"):
        jobs({"text": "some words"}, tmp_path / "o.png", [0], speech.gives, speech.brings)
    with pytest.raises(UsageError, match="holds no sounds"):
        jobs({"sound": tmp_path / "in"}, tmp_path / "out", [0], Writing, "sound")


def test_words_are_typed_or_named_by_a_file(tmp_path) -> None:
    from triptych.cli.applying import parsed
    from triptych.verbs.apply import flags_of

    (tmp_path / "t.txt").write_bytes("\ufeffwords\r\n".encode())
    flags = flags_of(Speech)
    assert parsed(["--text", "some words", "--loud", "0.1"], flags, "speech") == {"text": "some words", "loud": 0.1}
    asked = parsed(["-i", str(tmp_path / "t.txt")], flags, "speech")
    assert Writing.read(asked["text"]).text == "words\n"
    with pytest.raises(UsageError, match="no such file"):
        parsed(["--sound", "gone.wav"], flags_of(Hearing), "hearing")


def test_a_clip_is_kept_exactly_at_sixteen_bits() -> None:
    codes = np.array([[-32768, -1, 0, 1, 32767], [5, 4, 3, 2, 1]])
    amplitude = ((2 * codes + 1) / 65535).astype(np.float32)
    back = Clip.read(Clip(amplitude, RATE).encode(".wav"))
    assert back.rate == RATE and np.array_equal(back.amplitude, amplitude)
    assert Photo.read(np.zeros((2, 3), np.uint8)).image().size == (3, 2)
    with pytest.raises(UsageError, match="the sound: an empty file"):
        Clip.read(b"")


def test_conditions_that_are_no_pictures_are_shown_beside_x() -> None:
    """A task whose conditions are sentences shows them as it draws them, and x as its space is drawn."""
    from triptych.tasks.task import Posed
    from triptych.verbs.pictured import triptychs

    class Posing:
        name = "speech"

        def spaces(self, columns):
            return columns["x"], None

        def pose(self, columns, noise):
            return columns["x"], None

        def shown(self, given, like):
            return [Writing("words").image() for _ in like]

    data = tt.data(np.zeros((12, 8, 8), np.uint8))
    model = SimpleNamespace(device=torch.device("cpu"), sample=lambda n, given, seed, how: torch.zeros(n, 1, 8, 8))
    image, _ = triptychs(model, Posed(data, Posing()), 3)
    assert image.width > Writing("words").image().width
