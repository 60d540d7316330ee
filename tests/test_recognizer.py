"""A recognizer of letters: errors are counted right, paths are read right, and it learns to hear a voice of tones."""

from itertools import product

import numpy as np
import pytest
import torch

from triptych.core import IntegrityError, UsageError
from triptych.metrics.recognizer import Net, Recognizer, beside, collapsed, edits, error_rate, heard, missed, plain
from triptych.nn.mel import Mel, MelSpectrogram

RATE = 8000
TONES = {"a": 400, "b": 900, "c": 1800, " ": 0}


def said(text: str) -> torch.Tensor:
    """A voice of tones: the spectrogram."""
    t = np.arange(round(RATE * 0.12)) / RATE
    sound = np.concatenate([0.3 * np.sin(2 * np.pi * TONES[letter] * t) for letter in text])
    sound += 1e-3 * np.random.default_rng(0).standard_normal(len(sound))
    mel = MelSpectrogram(Mel(rate=RATE, fft=512, hop=128, mels=20, mean=-5.0, deviation=3.0))
    return mel(torch.from_numpy(sound).float()[None])[0]


@pytest.mark.parametrize(
    ("one", "other", "many"),
    [
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("", "abc", 3),
        ("abc", "", 3),
        ("same", "same", 0),
        ("ab", "ba", 2),
    ],
)
def test_edits_are_those_that_are_known(one: str, other: str, many: int) -> None:
    assert edits(one, other) == edits(other, one) == many
    assert edits(one.split(), other.split()) == int(one != other)


def test_error_rates_are_of_all_letters_together() -> None:
    assert error_rate(["kitten", "ab"], ["sitting", "ab"]) == pytest.approx(3 / 9)
    assert error_rate(["abcd"], ["a"]) == 3.0


def test_paths_say_repetitions_once() -> None:
    assert collapsed([0, 1, 1, 0, 1, 2, 2, 0]) == [1, 1, 2] and collapsed([]) == []


def test_the_loss_is_the_sum_over_all_paths() -> None:
    torch.manual_seed(0)
    scores = torch.randn(1, 3, 4)  # blank and two letters, four moments
    p = scores.softmax(1)[0]
    total = sum(
        torch.stack([p[k, t] for t, k in enumerate(path)]).prod()
        for path in product(range(3), repeat=4)
        if collapsed(path) == [1, 2]
    )
    found = missed(scores, torch.tensor([4]), [torch.tensor([1, 2])])
    assert found.item() == pytest.approx(-float(torch.as_tensor(total).log()) / 2, rel=1e-5)


def test_only_what_can_be_heard_counts() -> None:
    assert plain("Да, я  иду-ка!") == "Да я идука" and plain("?!") == ""


def test_it_learns_to_hear_tones_and_comes_back_from_its_tensors() -> None:
    drawn = np.random.default_rng(1)
    texts = ["".join(drawn.choice(list("abc"), drawn.integers(3, 7))) for _ in range(64)]
    ear = Recognizer.trained([said(text) for text in texts], [f"{text}!" for text in texts], steps=60)
    others = ["cab", "abcacb", "bacb"]
    assert error_rate([ear(said(text)) for text in others], others) < 0.2
    assert ear(torch.zeros(20, 0)) == "" and "64 recordings" in ear.about
    again = Recognizer.restored(ear.tensors())
    assert again.sha256 == ear.sha256 and again(said("cab")) == ear(said("cab"))
    with pytest.raises(IntegrityError, match="not the weights of a recognizer"):
        Recognizer.restored({**ear.tensors(), "about": torch.zeros(3, dtype=torch.uint8)})
    with pytest.raises(UsageError, match="20 recordings"):
        Recognizer.trained([said("abc")], ["abc"])


def test_the_net_says_as_much_as_it_is_taken_to() -> None:
    for frames in (7, 8):
        assert Net(4, 3)(torch.zeros(2, 4, frames)).shape == (2, 4, heard(frames))
    assert beside([torch.ones(2, 3), torch.ones(2, 1)])[1].tolist() == [[1, 0, 0], [1, 0, 0]]
