"""The codebook: which code is the nearest, where gradients go, how codes follow and come back into use."""

import copy

import pytest
import torch
from torch import Tensor

from triptych.core import StepNoise
from triptych.nn.codebook import Codebook


def make(size: int = 4, width: int = 3, decay: float = 0.9, revive: float = 0.01) -> Codebook:
    book = Codebook(size, width, decay, revive).double()
    book.counts.fill_(1.0)
    book.sums.copy_(book.codes)
    return book


def noise(n: int, seed: int = 0) -> StepNoise:
    return StepNoise(seed, n, slice(None))


def play(book: Codebook, z: Tensor, seed: int = 0) -> Tensor:
    code = book.nearest(z)
    book.observe(z, code, noise(len(z), seed))
    book.follow()
    return code


def test_the_nearest_code() -> None:
    book, z = make(7, 5), torch.randn(6, 2, 3, 5, dtype=torch.float64)
    assert torch.equal(book.nearest(z), torch.cdist(z, book.codes).argmin(-1))
    assert torch.equal(book(book.nearest(book.codes)), book.codes)


def test_the_decoder_gets_the_codes_themselves() -> None:
    """z + (e - z) is not e in float32: the usual formula trains the decoder on other numbers than it is given."""
    book, z = Codebook(9, 4, 0.9, 1.0), 100 * torch.randn(50, 4)
    through, _ = book.pass_through(z, book.nearest(z))
    assert torch.equal(through, book(book.nearest(z)))


def test_the_gradient_goes_straight_through() -> None:
    book, z = make(), torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    code = book.nearest(z)
    through, distance = book.pass_through(z, code)
    upstream = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(torch.autograd.grad((through * upstream).sum(), z)[0], upstream)
    # commitment: the encoder's side of the distance, and that alone
    assert distance.shape == (5,)
    torch.testing.assert_close(torch.autograd.grad(distance.sum(), z)[0], 2 * (z - book.codes[code]))


def test_no_gradient_reaches_the_codes() -> None:
    """They follow the encoder by averages; a gradient besides would move them twice."""
    book = Codebook(4, 3, 0.9, 1.0)
    assert list(book.parameters()) == [] and not book.codes.requires_grad


def test_codes_are_moving_averages_of_their_vectors() -> None:
    """Equations 6 to 8, worked out for two codes."""
    book = make(2, 1, decay=0.75)
    book.codes.copy_(torch.tensor([[-1.0], [2.0]]))
    book.counts.copy_(torch.tensor([2.0, 3.0]))
    book.sums.copy_(torch.tensor([[-2.0], [6.0]]))
    code = play(book, torch.tensor([[-3.0], [-1.0], [0.0], [4.0]], dtype=torch.float64))
    assert code.tolist() == [0, 0, 0, 1]
    assert book.counts.tolist() == [0.75 * 2 + 0.25 * 3, 0.75 * 3 + 0.25]
    assert book.sums.tolist() == [[0.75 * -2 + 0.25 * -4], [0.75 * 6 + 0.25 * 4]]
    torch.testing.assert_close(book.codes, book.sums / book.counts[:, None], rtol=1e-4, atol=0)


def test_codes_reach_the_means_of_their_clusters() -> None:
    book = make(3, 2, decay=0.9)
    centers = torch.tensor([[5.0, 0.0], [-5.0, 1.0], [0.0, 7.0]], dtype=torch.float64)
    book.codes.copy_(centers + 1)
    book.sums.copy_(book.codes)
    z = (centers + 0.1 * torch.randn(200, 3, 2, dtype=torch.float64)).view(-1, 2)
    for _ in range(200):
        play(book, z)
    torch.testing.assert_close(book.codes, z.view(200, 3, 2).mean(0), rtol=1e-4, atol=1e-4)


def test_smoothed_counts() -> None:
    """(N_k + eps) / (sum N + K eps) sum N: they add up to what the counts add up to, and none is zero."""
    book = make(3, 2, decay=0.0, revive=1e-12)
    book.codes.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]]))
    play(book, torch.tensor([[0.1, 0.0]] * 4 + [[1.0, 0.2]] * 4, dtype=torch.float64))
    counts = torch.tensor([4.0, 4.0, 1e-12], dtype=torch.float64)
    assert torch.equal(book.counts, counts)
    smooth = (counts + 1e-5) / (counts.sum() + 3e-5) * counts.sum()
    torch.testing.assert_close(book.codes, book.sums / smooth[:, None], rtol=0, atol=0)
    assert smooth.sum().item() == pytest.approx(8)


def test_a_code_that_is_never_used_stays_finite() -> None:
    """Its count and its sum fade to nothing together, and their quotient to 0 / 0."""
    book = Codebook(2, 2, decay=0.01, revive=1e-45)
    book.codes.copy_(torch.tensor([[0.0, 0.0], [50.0, 50.0]]))
    book.counts.fill_(1.0)
    book.sums.copy_(book.codes)
    z = torch.randn(8, 2)
    for seed in range(60):
        play(book, z, seed)
        assert book.codes.isfinite().all() and (book.counts > 0).all()


def test_dead_codes_come_back() -> None:
    """One code took everything: without revival it would for ever."""
    z = 10 * torch.randn(16, 8).repeat_interleave(8, 0) + torch.randn(128, 8)
    book = Codebook(16, 8, decay=0.9, revive=0.5)
    book.codes.add_(1000.0)
    book.counts.fill_(1.0)
    book.sums.copy_(book.codes)
    book.codes[0] = 0
    assert play(book, z).unique().tolist() == [0]
    for seed in range(80):
        code = play(book, z, seed)
    assert len(code.unique()) >= 14
    assert (book.use()["used"] * 16).item() == len(code.unique())


def test_the_first_batch_places_all_codes() -> None:
    book, z = Codebook(8, 3, 0.99, 1.0), 5 + 0.01 * torch.randn(8, 3)
    book.observe(z, book.nearest(z), noise(8))
    book.follow()
    taken = [i for i in range(8) if (book.codes - z[i]).abs().amax(1).min() < 1e-4]
    assert taken == list(range(8))


def test_more_codes_than_vectors() -> None:
    book, z = Codebook(10, 2, 0.99, 1.0), torch.randn(3, 2)
    play(book, z)
    assert torch.cdist(book.codes, z).amin(1).max() < 1e-4


def test_revival_is_a_function_of_the_noise() -> None:
    one, z = Codebook(4, 3, 0.9, 1.0), torch.randn(20, 3)
    same, other = copy.deepcopy(one), copy.deepcopy(one)
    play(one, z, seed=1)
    torch.randn(5)
    play(same, z, seed=1)
    play(other, z, seed=2)
    assert torch.equal(one.codes, same.codes) and not torch.equal(one.codes, other.codes)


def test_use_and_perplexity() -> None:
    book = make(4)
    code = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])
    book.observe(torch.zeros(8, 3, dtype=torch.float64), code, noise(8))
    use = book.use()
    assert use["used"].item() == 0.75
    assert use["perplexity"].item() == pytest.approx(2**1.5)  # entropy of (1/4, 1/4, 1/2): 1.5 bits


def test_looking_changes_nothing() -> None:
    book, z = make(), torch.randn(6, 3, dtype=torch.float64)
    before = copy.deepcopy(book.state_dict())
    book.pass_through(z, book.nearest(z))
    assert all(torch.equal(v, before[k]) for k, v in book.state_dict().items())
