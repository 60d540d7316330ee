"""Three digits in one picture: the data, and the count of the numbers that a generator writes."""

import math

import pytest
import torch

from triptych.core import Images, ItemNoise, Labels, UsageError
from triptych.data import data
from triptych.metrics import stacked_digit_modes


@pytest.fixture(scope="module")
def test_part(tmp_path_factory):
    return data("stacked-digits", split="test", cache=tmp_path_factory.mktemp("cache"))


def test_each_channel_is_a_digit_and_the_class_is_the_number(test_part):
    assert len(test_part) == 6_000 and test_part.x == Images(3, 28, 28) and test_part.given == Labels(1000)
    assert test_part.classes[7] == "007"
    digits = data("mnist", split="test")
    of = {bytes(image.numpy()): int(y) for image, y in zip(digits.stored, digits.labels, strict=True)}
    for image, number in zip(test_part.stored[:50], test_part.labels[:50].tolist(), strict=True):
        a, b, c = (of[bytes(channel.contiguous().numpy())] for channel in image)
        assert 100 * a + 10 * b + c == number


def test_real_stacked_digits_write_their_numbers(test_part):
    x = test_part.fetch(torch.arange(400), ItemNoise(0, range(400))).x
    found, truth = stacked_digit_modes(x), test_part.labels[:400].bincount(minlength=1000)
    assert abs(found.found - int((truth > 0).sum())) <= 6  # the classifier errs on half a percent of digits
    share = truth.double() / 400
    assert found.reverse_kl == pytest.approx(torch.xlogy(share, share * 1000).sum().item(), abs=0.03)
    assert found == stacked_digit_modes(test_part.stored[:400])


def test_one_picture_again_and_again_is_one_mode(test_part):
    found = stacked_digit_modes(test_part.stored[:1].repeat(20, 1, 1, 1))
    assert (found.n, found.found) == (20, 1) and found.reverse_kl == pytest.approx(math.log(1000))
    with pytest.raises(UsageError, match=r"\[n, 3, 28, 28\]"):
        stacked_digit_modes(torch.zeros(2, 1, 28, 28))
