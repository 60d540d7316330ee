"""Metrics against known answers and against independent code written from the formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc

from triptych.core import UsageError
from triptych.metrics import (
    blocks,
    frechet_distance,
    frechet_distance_of_gaussians,
    kernel_distance,
    kernel_distance_of_subsets,
    mode_coverage,
    nearest,
    prdc,
)

GRID = [(float(a), float(b)) for a in range(-4, 5, 2) for b in range(-4, 5, 2)]
RING = [(math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in range(8)]


def normal(n, d, seed, scale=1.0, shift=0.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, scale, (n, d)))


def frechet_by_nonsymmetric_roots(x, y):
    """The formula as written: eigenvalues of the nonsymmetric product of NumPy's covariances."""
    x, y = x.numpy(), y.numpy()
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(cov_x @ cov_y).astype(complex)).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x) + np.trace(cov_y) - 2 * roots.sum()


def kernel_by_loops(x, y):
    k = lambda a, b: (float(a @ b) / len(a) + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(x[i], y[j]) for i in range(n) for j in range(m)) / (n * m)
    return xx + yy - 2 * xy


@pytest.fixture(params=[2**22, 97], ids=["one-block", "many-blocks"])
def block_size(request, monkeypatch):
    """Everything in blocks must come out the same whatever the blocks."""
    monkeypatch.setattr(blocks, "PAIRS", request.param)


# Frechet distance


def test_frechet_of_known_gaussians():
    d = 64
    zero, one, eye = torch.zeros(d), torch.ones(d), torch.eye(d)
    assert frechet_distance_of_gaussians(zero, eye, one, 4 * eye) == pytest.approx(128, rel=1e-12)
    assert frechet_distance_of_gaussians(one, eye, one, eye) == pytest.approx(0, abs=1e-12)


def test_frechet_of_singular_gaussians():
    """Both live on a line: deviations 3 and 1 along it, orthogonal constant dimensions apart."""
    cov_x, cov_y = torch.diag(torch.tensor([9.0, 0, 0])), torch.diag(torch.tensor([1.0, 0, 0]))
    mean = torch.tensor([0.0, 0, 2])
    assert frechet_distance_of_gaussians(torch.zeros(3), cov_x, mean, cov_y) == pytest.approx(4 + 4, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 20), (500, 500, 64), (80, 300, 60)])
def test_frechet_equals_the_formula(n, m, d):
    x, y = normal(n, d, 1) @ normal(d, d, 2), normal(m, d, 3, 2.0, 0.5)
    assert frechet_distance(x, y) == pytest.approx(frechet_by_nonsymmetric_roots(x, y), rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(10, 200), (200, 10), (10, 12), (2, 2)])
def test_frechet_with_fewer_items_than_dimensions(n, m):
    x, y = normal(n, 40, 1), normal(m, 40, 2, 1.5, 0.2)
    # roots of the null space's eigenvalues are rounding of 1e-8 each in the oracle
    assert frechet_distance(x, y) == pytest.approx(frechet_by_nonsymmetric_roots(x, y), rel=1e-6)


def test_frechet_with_constant_features():
    """Pixels at the border never change: the covariance is singular though items abound."""
    x, y = normal(300, 30, 1), normal(300, 30, 2, 2.0)
    pad = lambda f: torch.cat([f, torch.full((len(f), 10), 0.3, dtype=f.dtype)], 1)  # noqa: E731
    assert frechet_distance(pad(x), pad(y)) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_frechet_of_a_set_with_itself_is_zero():
    x = normal(300, 64, 1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x[:30], x[:30]) == pytest.approx(0, abs=1e-9)


def test_frechet_bias_of_one_law():
    """d (d + 5) / (2 n) for n draws each of one unit Gaussian, up to the next order in d / n."""
    d = 16
    for n in (500, 2000):
        found = np.mean([frechet_distance(normal(n, d, 2 * s), normal(n, d, 2 * s + 1)) for s in range(20)])
        assert found == pytest.approx(d * (d + 5) / (2 * n), rel=0.08)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 12))
def test_frechet_does_not_see_rotations_or_order(seed, n, d):
    x, y = normal(n, d, seed), normal(n + 3, d, seed + 1, 1.3, 0.4)
    turn = torch.linalg.qr(normal(d, d, seed + 2)).Q
    moved = frechet_distance(x.flip(0) @ turn + 1, y @ turn + 1)
    assert moved == pytest.approx(frechet_distance(x, y), rel=1e-6, abs=1e-6)
    assert moved > -1e-6


# Kernel distance


@pytest.mark.parametrize(("n", "m", "d"), [(12, 12, 3), (9, 17, 5), (3, 20, 2)])
def test_kernel_equals_the_loops(n, m, d, block_size):
    x, y = normal(n, d, 1), normal(m, d, 2, 1.5, 0.5)
    assert kernel_distance(x, y).value == pytest.approx(kernel_by_loops(x, y), rel=1e-10)


def test_kernel_jackknife_equals_leaving_out_each_item(block_size):
    x, y = normal(11, 3, 1), normal(14, 3, 2, 1.2)
    variance = 0.0
    for one, other in ((x, y), (y, x)):
        k = len(one)
        left = np.array([kernel_by_loops(torch.cat([one[:i], one[i + 1 :]]), other) for i in range(k)])
        variance += (k - 1) / k * ((left - left.mean()) ** 2).sum()
    assert kernel_distance(x, y).stderr == pytest.approx(math.sqrt(variance), rel=1e-8)


def test_kernel_is_unbiased_and_may_be_negative():
    values = np.array([kernel_distance(normal(60, 4, 2 * s), normal(60, 4, 2 * s + 1)).value for s in range(300)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    assert (values < 0).mean() > 0.3


@pytest.mark.parametrize(("shift", "low", "high"), [(0.5, 0.85, 1.2), (0.0, 1.0, 1.8)])
def test_kernel_standard_error_is_honest(shift, low, high):
    """Against the deviation over fresh sets; conservative where the laws agree, as the docstring says."""
    runs = [kernel_distance(normal(150, 4, 2 * s), normal(100, 4, 2 * s + 1, 1.0, shift)) for s in range(300)]
    ratio = math.sqrt(np.mean([r.stderr**2 for r in runs])) / np.std([r.value for r in runs])
    assert low < ratio < high


def test_kernel_subsets_of_everything_equal_the_full_estimate():
    x, y = normal(40, 5, 1), normal(40, 5, 2, 1.3)
    mean, deviation = kernel_distance_of_subsets(x, y, subsets=3, size=40)
    assert mean == pytest.approx(kernel_distance(x, y).value, rel=1e-9)
    assert deviation == pytest.approx(0, abs=1e-12)


# Precision, recall, density, coverage


@pytest.mark.parametrize(("n", "m", "d", "k"), [(100, 100, 8, 5), (70, 130, 3, 3), (200, 50, 20, 1)])
def test_prdc_equals_the_package(n, m, d, k, block_size, capsys):
    real, fake = normal(n, d, 1), normal(m, d, 2, 0.9, 0.2)
    theirs = compute_prdc(real.numpy(), fake.numpy(), k)
    assert vars(prdc(real, fake, k=k)) == pytest.approx(theirs, rel=1e-12)


def test_prdc_equals_the_package_where_distances_tie(capsys):
    """Binary images: squared distances are whole numbers, and ties and twins abound."""
    draws = np.random.default_rng(0)
    real, fake = (torch.from_numpy(draws.integers(0, 2, (n, 12)).astype(float)) for n in (150, 120))
    assert vars(prdc(real, fake)) == pytest.approx(compute_prdc(real.numpy(), fake.numpy(), 5), rel=1e-12)


def test_prdc_of_one_law():
    n, m, k = 400, 300, 5
    runs = [prdc(normal(n, 6, 2 * s), normal(m, 6, 2 * s + 1), k=k) for s in range(30)]
    coverage = 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    assert np.mean([r.coverage for r in runs]) == pytest.approx(coverage, abs=0.01)
    assert np.mean([r.density for r in runs]) == pytest.approx(1, abs=0.02)


def test_prdc_tells_poor_from_narrow():
    real = normal(300, 4, 1)
    far, narrow = prdc(real, real + 100), prdc(real, 0.05 * normal(300, 4, 2))
    assert vars(far) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    assert narrow.precision == 1 and narrow.density > 1 and narrow.recall < 0.1 and narrow.coverage < 0.2


# torch-fidelity


def test_equals_torch_fidelity():
    """Against numbers that torch-fidelity 0.4.0 gave for the same features (precision and recall: k = 5)."""
    draws = np.random.RandomState(0)  # a stream that NumPy promises never to change
    x = torch.from_numpy(draws.normal(size=(400, 16)) @ draws.normal(size=(16, 16)))
    y = torch.from_numpy(draws.normal(0.5, 2, size=(300, 16)))
    assert frechet_distance(x, y) == pytest.approx(125.62744034870366, rel=1e-9)
    assert kernel_distance(x[:300], y).value == pytest.approx(117.54316777064643, rel=1e-9)
    subsets = kernel_distance_of_subsets(x, y, subsets=20, size=100, seed=2020)
    assert subsets == pytest.approx((110.12433238812066, 30.72257433352886), rel=1e-9)
    found = prdc(x, y)
    assert (found.precision, found.recall) == pytest.approx((0.9900000095367432, 0.03500000014901161), rel=1e-6)


# Copies


def test_nearest_equals_brute_force(block_size):
    query, train = normal(30, 5, 1), normal(80, 5, 2)
    distance = torch.cdist(query, train, compute_mode="donot_use_mm_for_euclid_dist").sort(1)
    found = nearest(query, train)
    assert found.index.equal(distance.indices[:, 0])
    assert found.ratio == pytest.approx((distance.values[:, 0] / distance.values[:, 1:6].mean(1)).numpy(), rel=1e-12)


def test_nearest_finds_planted_copies():
    """Half are copies with noise of a twentieth of the spread: found at a threshold that accuses 1 % of fresh draws."""
    train, fresh = normal(2000, 32, 1), normal(1000, 32, 2)
    copied = torch.arange(0, 2000, 4)
    planted = train[copied] + 0.05 * normal(len(copied), 32, 3)
    threshold = nearest(fresh, train).ratio.quantile(0.01)
    found = nearest(planted, train)
    assert (found.ratio < threshold).double().mean() >= 0.95
    assert found.index.equal(copied)


def test_nearest_of_exact_copies_far_from_the_origin():
    """float32 products alone would lose the copies in rounding."""
    train = normal(500, 16, 1) + 1000
    found = nearest(train[100:200], train)
    assert found.ratio.equal(torch.zeros(100, dtype=torch.float64))
    assert found.index.equal(torch.arange(100, 200))


def test_nearest_among_twins_is_finite():
    found = nearest(torch.zeros(2, 3), torch.zeros(10, 3))
    assert found.ratio.tolist() == [1, 1]


# Modes


@pytest.mark.parametrize(("means", "sd"), [(GRID, 0.05), (RING, 0.01)], ids=["gaussians-25", "ring-8"])
def test_modes_of_an_ideal_sampler(means, sd):
    draws = np.random.default_rng(0)
    points = torch.from_numpy(
        np.array(means)[draws.integers(len(means), size=20_000)] + sd * draws.normal(size=(20_000, 2))
    )
    found = mode_coverage(points, means, sd)
    assert found.found == found.modes == len(means)
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.003)
    assert 0 <= found.reverse_kl < 0.01


def test_modes_of_a_collapsed_generator():
    found = mode_coverage(torch.zeros(100, 2), GRID, 0.05)
    assert (found.found, found.high_quality) == (1, 1.0)
    assert found.reverse_kl == pytest.approx(math.log(25))


def test_modes_count_only_good_samples():
    points = torch.tensor([[-4.0, -4.0], [-2.0, -2.0], [0.5, 0.0], [4.0, 4.0 + 0.149], [4.0, 0.151]])
    found = mode_coverage(points, GRID, 0.05)
    assert (found.found, found.high_quality) == (3, 3 / 5)
    assert found.reverse_kl == pytest.approx(math.log(5))


# Bad input


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance, prdc, nearest])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(0, 3), "has 0 items|has 1 items"),
        (torch.zeros(9, 3), torch.zeros(9, 4), "different dimensions"),
        (torch.zeros(9, 3, 1), torch.zeros(9, 3), "features are a matrix"),
        (torch.full((9, 3), math.nan), torch.zeros(9, 3), "NaN or infinite values in 9 items, the first at row 0"),
        (torch.zeros(9, 3), torch.full((9, 3), math.inf), "NaN or infinite"),
    ],
)
def test_bad_features_are_refused(metric, x, y, message):
    with pytest.raises(UsageError, match=message):
        metric(x, y)


def test_bad_moments_are_refused():
    zero, eye = torch.zeros(2), torch.eye(2)
    with pytest.raises(UsageError, match=r"cov_y has shape \[3, 3\]"):
        frechet_distance_of_gaussians(zero, eye, zero, torch.eye(3))
    with pytest.raises(UsageError, match="cov_x is not symmetric"):
        frechet_distance_of_gaussians(zero, torch.tensor([[1.0, 0.5], [0, 1]]), zero, eye)


def test_bad_settings_are_refused():
    x = torch.zeros(9, 3)
    with pytest.raises(UsageError, match="k=0"):
        prdc(x, x, k=0)
    with pytest.raises(UsageError, match="has 9 items; this metric takes at least 1000"):
        kernel_distance_of_subsets(x, x)
    with pytest.raises(UsageError, match="size=1"):
        kernel_distance_of_subsets(x, x, size=1)


def test_twins_have_balls_without_a_radius(block_size, capsys):
    """As in the package, however far from 0 they lie: the rounding of large products is no distance."""
    a = normal(20, 8, 1) + 100
    real = torch.cat([a[:5].repeat(7, 1), a[5:], normal(30, 8, 2) + 100])
    fake = torch.cat([a + 1e-6, normal(20, 8, 3) + 100])
    assert vars(prdc(real, fake)) == pytest.approx(compute_prdc(real.numpy(), fake.numpy(), 5), rel=1e-12)
    exact = (real[:, None] - fake[None]).square().sum(2)
    among = (real[:, None] - real[None]).square().sum(2).kthvalue(6, dim=1).values
    assert prdc(real, fake).density == pytest.approx((exact < among[:, None]).sum().item() / (5 * len(fake)))
