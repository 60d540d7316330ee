"""PSNR and SSIM against numbers that scikit-image gave, against it where it is installed, and against known answers."""

import json
import math

import numpy as np
import pytest
import torch

from triptych.core import UsageError
from triptych.metrics import Convention, Measurement, fidelity, psnr_within, within_holes


def pair(c, h, w, seed=7):
    """A noisy picture and its truth, uint8, from a stream that NumPy promises never to change."""
    draws = np.random.RandomState(seed)
    y, x = np.mgrid[:h, :w]
    waves = 128 + 90 * np.sin(x[None] / (3 + np.arange(c)[:, None, None])) * np.cos(y[None] / 5)
    truth = np.clip(waves + draws.normal(0, 10, (c, h, w)), 0, 255).astype(np.uint8)
    picture = np.clip(truth + draws.normal(0, 12, (c, h, w)), 0, 255).astype(np.uint8)
    return torch.from_numpy(picture), torch.from_numpy(truth)


CASES = [
    ((3, 31, 40), "rgb", 0, "gaussian", 26.626928789984024, 0.8762609569887707),
    ((3, 31, 40), "luma", 4, "gaussian", 31.640404157895826, 0.8889240315409954),
    ((3, 24, 33), "rgb", 2, "uniform", 26.58882078441371, 0.9100684881650545),
    ((1, 28, 28), "rgb", 0, "gaussian", 26.646988690688588, 0.8904894850980446),
    ((1, 28, 28), "luma", 3, "uniform", 26.44184934932781, 0.9264040015404339),
]
"""With what scikit-image 0.26 gave: PSNR and SSIM."""


@pytest.mark.parametrize(("shape", "channels", "border", "window", "psnr", "ssim"), CASES)
def test_equals_scikit_image(shape, channels, border, window, psnr, ssim):
    picture, truth = pair(*shape)
    found = fidelity([picture], [truth], Convention(channels, border, window))
    assert (found.mean_psnr, found.mean_ssim) == pytest.approx((psnr, ssim), rel=1e-9)


@pytest.mark.parametrize(("shape", "channels", "border", "window"), [case[:4] for case in CASES])
def test_equals_scikit_image_where_it_is_installed(shape, channels, border, window):
    measure = pytest.importorskip("skimage.metrics")
    color = pytest.importorskip("skimage.color")
    picture, truth = pair(*shape, seed=3)
    a, b = (t[:, border : t.shape[1] - border, border : t.shape[2] - border] for t in (picture, truth))
    a, b = (t.permute(1, 2, 0).double().numpy() for t in (a, b))
    if channels == "luma" and a.shape[2] == 3:
        a, b = (color.rgb2ycbcr(t / 255)[..., :1] for t in (a, b))
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    how = how if window == "gaussian" else {"win_size": 7}
    found = fidelity([picture], [truth], Convention(channels, border, window))
    assert found.mean_psnr == pytest.approx(measure.peak_signal_noise_ratio(b, a, data_range=255), rel=1e-9)
    theirs = measure.structural_similarity(a, b, data_range=255, channel_axis=2, **how)
    assert found.mean_ssim == pytest.approx(theirs, rel=1e-9)


def test_known_answers():
    """Off by one level everywhere: 20 log10(255) dB. Black against white: 0 dB."""
    grey = torch.full((1, 12, 15), 100, dtype=torch.uint8)
    off = fidelity([grey], [grey + 1])
    assert off.mean_psnr == pytest.approx(20 * math.log10(255), abs=1e-12)
    c1 = 2.55**2
    assert off.mean_ssim == pytest.approx((2 * 100 * 101 + c1) / (100**2 + 101**2 + c1), abs=1e-9)
    assert fidelity([grey * 0], [grey * 0 + 255]).mean_psnr == pytest.approx(0, abs=1e-12)


def test_equal_pictures_have_no_finite_psnr_and_are_left_out_of_its_mean():
    picture, truth = pair(3, 20, 20)
    found = fidelity([truth, picture], [truth, truth])
    assert math.isinf(found.psnr[0]) and found.equal == 1
    assert found.mean_psnr == found.psnr[1].item()
    assert found.ssim[0] == pytest.approx(1, abs=1e-12)
    assert "1 equal to their truth left out" in found.measurements()[0].n
    same = fidelity([truth], [truth])
    assert same.mean_psnr == math.inf
    assert json.loads(json.dumps(same.measurements()[0].as_dict(), allow_nan=False))["value"] == "infinity"


def test_the_mean_is_of_decibels_and_every_picture_counts_once():
    """Whole pictures of different sizes, in one call."""
    pairs = [pair(3, 20, 30), pair(3, 64, 16, seed=1), pair(1, 15, 15, seed=2)]
    together = fidelity(*zip(*pairs, strict=True), Convention(border=2))
    alone = [fidelity([a], [b], Convention(border=2)) for a, b in pairs]
    assert together.psnr.tolist() == [one.mean_psnr for one in alone]
    assert together.mean_psnr == pytest.approx(np.mean([one.mean_psnr for one in alone]), rel=1e-12)
    assert together.mean_ssim == pytest.approx(np.mean([one.mean_ssim for one in alone]), rel=1e-12)


def test_floats_are_taken_at_the_levels_that_a_file_would_have():
    picture, truth = pair(3, 20, 20)
    floats = picture.float() / 127.5 - 1
    assert fidelity([floats + 0.3 / 127.5 * (picture < 255)], [truth]).psnr.equal(fidelity([picture], [truth]).psnr)


def test_black_pictures_are_pictures():
    black = torch.zeros(1, 12, 12, dtype=torch.uint8)
    dim = black.clone()
    dim[0, 0, 0] = 1
    assert fidelity([dim], [black]).mean_psnr == pytest.approx(10 * math.log10(255**2 * 144))


def test_within_a_hole_only_the_hole_counts():
    picture, truth = pair(3, 20, 20)
    hole = torch.zeros(1, 20, 20, dtype=torch.bool)
    hole[:, 5:11, 4:9] = True
    found = psnr_within([picture], [truth], [hole])
    error = (picture.double() - truth.double())[:, 5:11, 4:9].square().mean()
    assert found.item() == pytest.approx(10 * math.log10(255**2 / error))
    pasted = torch.where(hole, picture, truth)
    assert psnr_within([pasted], [truth], [hole]).equal(found)
    assert within_holes([pasted, truth], [truth, truth], [hole, hole]).value == found.item()
    with pytest.raises(UsageError, match="true nowhere"):
        psnr_within([picture], [truth], [hole & False])
    with pytest.raises(UsageError, match="bool"):
        psnr_within([picture], [truth], [hole[..., 1:]])


def test_measurements_carry_their_convention_and_their_rivals():
    picture, truth = pair(3, 30, 30)
    how = Convention("luma", 4)
    psnr, ssim = fidelity([picture], [truth], how).measurements({"copy": fidelity([truth], [truth], how)})
    for words in ("luma Y of BT.601", "border of 4", "data range 255"):
        assert words in psnr.protocol and words in ssim.protocol
    assert "gaussian window 11 x 11" in ssim.protocol
    assert (psnr.unit, psnr.better, ssim.better) == ("dB", "higher", "higher")
    assert psnr.baselines == {"copy": math.inf} and psnr.as_dict()["baselines"] == {"copy": "infinity"}
    with pytest.raises(UsageError, match="another convention"):
        fidelity([picture], [truth]).measurements({"copy": fidelity([truth], [truth], how)})


@pytest.mark.parametrize(
    ("picture", "truth", "how", "message"),
    [
        (torch.zeros(3, 9, 9), torch.zeros(3, 9, 8), Convention(), r"shape \[3, 9, 9\] and its truth \[3, 9, 8\]"),
        (torch.zeros(2, 20, 20), torch.zeros(2, 20, 20), Convention(), "1 or 3 channels"),
        (torch.zeros(3, 10, 20), torch.zeros(3, 10, 20), Convention(), "window is 11 x 11"),
        (torch.zeros(3, 20, 20), torch.zeros(3, 20, 20), Convention(border=10), "all border"),
        (torch.full((3, 20, 20), math.nan), torch.zeros(3, 20, 20), Convention(), "nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(picture, truth, how, message):
    with pytest.raises(UsageError, match=message):
        fidelity([picture], [truth], how)


def test_bad_conventions_and_measurements_are_refused():
    for bad, message in (
        ({"channels": "bgr"}, '"rgb" or "luma"'),
        ({"border": -1}, "border=-1"),
        ({"window": "x"}, "x"),
    ):
        with pytest.raises(UsageError, match=message):
            Convention(**bad)
    with pytest.raises(UsageError, match="0 pictures"):
        fidelity([], [])
    with pytest.raises(UsageError, match=r"bicubic is not a number"):
        Measurement(name="PSNR", value=1.0, protocol="x", baselines={"bicubic": math.nan})
    with pytest.raises(UsageError, match="protocol"):
        Measurement(name="PSNR", value=1.0, protocol="")
