"""Captions: words that a model is conditioned on, known wherever the model goes; and lengths of what is shorter."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import triptych as tt
from triptych.core import (
    Adam,
    Generative,
    ItemNoise,
    Loss,
    Noise,
    Player,
    Stage,
    Text,
    Tokens,
    UsageError,
    config,
)
from triptych.core.text import Words
from triptych.data import check_fits, fitted
from triptych.io import configs
from triptych.verbs.sample import conditions, examples

WORDS = Words(words=("<pad>", "<unknown>", "a", "red", "blue", "circle"))


@config
class TalkConfig:
    x: tt.Images = tt.Images(3, 16, 16)
    given: Tokens = Tokens(4, 3)


class Talk(Generative[Text]):
    """A color for each word."""

    name = "talk"

    def __init__(self, config: TalkConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.given.vocabulary, config.x.dims)

    def loss(self, batch) -> Loss:
        off = self.words(batch.given.tokens).mean(1).view_as(batch.x) - batch.x
        return Loss((off**2).mean())

    def draw(self, noise: Noise, given: Text) -> Tensor:
        return self.words(given.tokens).mean(1).view(noise.n, *self.config.x.shape).clamp(-1, 1)

    def stages(self):
        return (Stage(players=(Player("words", self.words, self.loss, Adam(lr=0.01)),)),)


def test_words_are_symbols() -> None:
    space = Tokens(6, 4, symbols=WORDS)
    tokens = space.elements("A red circle", 2)
    assert tokens.tolist() == [[2, 3, 5, 0]] * 2 and space.lengths(tokens).tolist() == [3, 3]
    assert space.decode(tokens[0]) == "a red circle"
    assert space.elements(["a", "a blue circle with a dot"], 2).tolist() == [[2, 0, 0, 0], [2, 4, 5, 1]]
    assert WORDS.unknown("a green circle") == ["green"]
    assert configs.from_json(TalkConfig, configs.to_json(TalkConfig(given=space)), "x").given == space
    with pytest.raises(UsageError, match="no word twice"):
        Words(words=("a", "a"))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    data = tt.data("shapes", size=16)
    assert data.given.symbols is not None
    model = Talk(TalkConfig(given=data.given))
    out = tmp_path_factory.mktemp("runs") / "talk"
    tt.save_pretrained(model, out)
    return out


def test_a_model_knows_its_words_without_the_data(run) -> None:
    model = tt.load(run, Talk)
    given = conditions(model, 3, "a red circle")
    assert model.config.given.decode(given.tokens[2]) == "a red circle" and len(given) == 3
    x = model.sample(3, given, seed=0)
    assert torch.equal(x, model.sample(3, "a red circle", seed=0))
    with pytest.raises(UsageError, match=r"knows none of these words; it was told of"):
        conditions(model, 1, "quantum chromodynamics")


def test_words_that_are_not_known_are_named(run, caplog) -> None:
    model = tt.load(run, Talk)
    conditions(model, 1, "a red spaceship")
    assert "does not know spaceship" in caplog.text


def test_the_command_line_takes_words(run, tmp_path, cli) -> None:
    tt.load(run, Talk)  # makes the class known
    done = cli("sample", run, "-n", 2, "--given", "a red circle", "--out", tmp_path / "x.png")
    assert done.code == 0, done.err
    done = cli("sample", run, "-n", 2, "--out", tmp_path / "y.png")
    assert done.code == 2 and "--given" in done.err


def test_a_model_of_before_still_fits_its_data() -> None:
    data = tt.data("shapes", size=16)
    plain = Tokens(data.given.vocabulary, data.given.length)
    model = Talk(TalkConfig(given=plain))
    check_fits(data, model.config)
    assert fitted(data, model.config).given is not None
    assert examples(model, 2, data) is not None


def test_recordings_say_how_long_they_are(tmp_path) -> None:
    for name, length in {"a": 30, "b": 50}.items():
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.full(length, 1000, "<i2").tobytes())
        (tmp_path / f"{name}.wav").write_bytes(out.getvalue())
    data = tt.data(tmp_path, split="all")
    batch = data.fetch(torch.arange(2), ItemNoise(0, range(2)))
    assert sorted(batch.lengths.tolist()) == [30, 50]
    for one, length in zip(batch.x, batch.lengths.tolist(), strict=True):
        assert (one[:, :length] > 0.01).all() and (one[:, length:].abs() < 1e-4).all()
    assert tt.data("mnist").fetch(torch.arange(2), ItemNoise(0, range(2))).lengths is None
