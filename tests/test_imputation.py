"""Filling in missing values, against p(missing | known) by enumeration."""

import pytest
import torch
from torch import Tensor

import triptych as tt
from triptych.core import Images, Label, Labels, Tokens, UsageError
from triptych.core.sampling import to_sequence
from triptych.inference.imputation import Imputed, impute, spread
from triptych.testing import Examples
from triptych.testing.toys import every_element, first_examples
from triptych.verbs.create import create
from triptych.verbs.impute import impute as fill
from triptych.verbs.impute import mask

N = 1500


def sharpened(name: str, x: Images, by: float = 3.0, **fields) -> tt.core.Generative:
    """A model whose values depend on each other."""
    model = tt.create(name, x=x, seed=2, **fields).eval()
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(by)
    return model


def check(found: Imputed, x: Tensor, known: Tensor, log_p: Tensor, everything: Tensor) -> None:
    """Completions of one image, many times over, come as often as p(missing | known) says."""
    assert torch.equal(found.x[known], x[known])
    fits = ((everything == x[:1]) | ~known[:1]).flatten(1).all(1)
    p = torch.where(fits, log_p, -torch.inf).softmax(0)
    number = (found.x.flatten(1)[:, None] == everything.flatten(1)).all(2).long().argmax(1)
    share = torch.bincount(number, minlength=len(everything)) / len(x)
    distance = (share - p).abs().sum().item() / 2
    # of a faithful sampler: the mean of |share - p| is sqrt(2 p (1 - p) / (pi n))
    expected = (2 * p * (1 - p) / (torch.pi * len(x))).sqrt().sum().item() / 2
    assert distance < 1.6 * expected + 0.01, (distance, expected)
    without = (torch.where(fits, 0.0, -torch.inf).softmax(0) - p).abs().sum().item() / 2
    assert without > 4 * expected, "p(missing | known) is far from uniform: the test can fail"


def masked(known: list[int], shape: tuple[int, ...]) -> Tensor:
    mask = torch.zeros(shape).flatten()
    mask[known] = 1
    return mask.view(shape).bool().expand(N, *shape)


def test_a_prefix_is_exact() -> None:
    space = Images(1, 2, 3, levels=2)
    model = sharpened("pixelcnn-tiny", space)
    everything = every_element(space)
    x = everything[37:38].expand(N, -1, -1, -1)
    known = masked([0, 1], space.shape)
    found = impute(model, x, known)
    assert found.exact and found.effective is None and "prefix" in found.how
    with torch.no_grad():
        check(found, x, known, model.log_prob(everything).nats, everything)


def test_an_order_agnostic_model_is_exact_for_any_values() -> None:
    space = Images(1, 2, 3, levels=2)
    model, everything = sharpened("eonade-tiny", space), every_element(space)
    x = everything[37:38].expand(N, -1, -1, -1)
    known = masked([1, 4, 5], space.shape)
    found = impute(model, x, known)
    assert found.exact and "come first" in found.how
    order, v = torch.tensor([1, 4, 5, 0, 2, 3]), to_sequence(space, everything + 1) / 2
    with torch.no_grad():
        log_odds = model.factors(v[:, order], order)
        log_p = torch.distributions.Bernoulli(logits=log_odds).log_prob(v[:, order]).sum(1)
    check(found, x, known, log_p, everything)


def test_colors_are_where_they_belong() -> None:
    space = Images(3, 1, 2, levels=2)
    model, everything = sharpened("eonade-tiny-rgb", space), every_element(space)
    x, known = everything[21:22].expand(N, -1, -1, -1), masked([1, 4], space.shape)
    order = torch.tensor([3, 4, 0, 1, 2, 5])  # raster order has the colors last: (channel, column) = (0, 1), (2, 0)
    raster = to_sequence(space, torch.arange(6).view(1, 3, 1, 2))[0]
    first = [raster.tolist().index(i) for i in (1, 4)]
    order = torch.tensor(sorted(first) + [i for i in range(6) if i not in first])
    v = to_sequence(space, everything + 1) / 2
    with torch.no_grad():
        log_p = torch.distributions.Bernoulli(logits=model.factors(v[:, order], order)).log_prob(v[:, order]).sum(1)
    check(impute(model, x, known), x, known, log_p, everything)


@pytest.mark.parametrize("labelled", [False, True])
def test_resampling_completions_approaches_the_posterior(labelled: bool) -> None:
    space = Images(1, 2, 2, levels=2)
    fields = {"given": Labels(2)} if labelled else {}
    model = sharpened("gated-pixelcnn-tiny", space, 4.0, **fields)
    everything, n = every_element(space), 300
    x, known = everything[9:10].expand(n, -1, -1, -1), masked([2, 3], space.shape)[:n]
    given = Label(torch.ones(n).long()) if labelled else None
    found = impute(model, x, known, given, draws=24)
    assert not found.exact and found.how == "importance resampling, 1 of 24 draws"
    assert (found.effective > 1).all() and (found.effective <= 24.01).all()
    with torch.no_grad():
        log_p = model.log_prob(everything, given and given.map(lambda t: t[:1].expand(16))).nats
    assert torch.equal(found.x[known], x[known])
    fits = ((everything == x[:1]) | ~known[:1]).flatten(1).all(1)
    p = torch.where(fits, log_p, -torch.inf).softmax(0)
    number = (found.x.flatten(1)[:, None] == everything.flatten(1)).all(2).long().argmax(1)
    share = torch.bincount(number, minlength=16) / n
    assert (share - p).abs().max() < 0.1


def test_a_vae_approaches_the_posterior() -> None:
    space = Images(1, 2, 2, levels=2)
    model, everything, n = sharpened("vae-tiny", space, 2.5), every_element(space), 400
    x, known = everything[9:10].expand(n, -1, -1, -1), masked([0, 3], space.shape)[:n]
    found = impute(model, x, known, draws=32)
    z = torch.linspace(-9, 9, 3001)[:, None, None]
    with torch.no_grad():
        log_p = (model.decode(z).log_prob(everything) + model.prior().log_prob(z)).logsumexp(0)
    fits = ((everything == x[:1]) | ~known[:1]).flatten(1).all(1)
    p = torch.where(fits, log_p, -torch.inf).softmax(0)
    number = (found.x.flatten(1)[:, None] == everything.flatten(1)).all(2).long().argmax(1)
    share = torch.bincount(number, minlength=16) / n
    assert (share - p).abs().max() < 0.1 and torch.equal(found.x[known], x[known])


@pytest.mark.parametrize("name", ["vae-tiny", "pixelcnn-tiny", "llamagen-tiny"])
def test_of_one_completion_there_is_nothing_to_choose(name: str) -> None:
    model = create(name, seed=0)
    x = first_examples(model, Examples(model.config.x), 24).x
    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., 0] = True
    found = impute(model, x, known, draws=1)
    assert torch.equal(found.x[known], x[known])


def test_known_codes_stay_and_the_others_fit_the_known_pixels() -> None:
    """The left code's pixels are known, and one of the right one's: the others by p(z2 | z1) p(that pixel | z1, z2)."""
    space = Images(1, 2, 4, levels=2)
    model, everything, n = sharpened("maskgit-tiny", space, 2.0), every_element(space), 600
    with torch.no_grad():
        model.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    x, known = everything[103:104].expand(n, -1, -1, -1), masked([0, 1, 4, 5, 6], space.shape)[:n]
    found = impute(model, x, known, draws=32)
    assert not found.exact and found.how == "the codes of what is known stay; importance resampling, 1 of 32 draws"
    assert torch.equal(found.x[known], x[known]) and found.mean is not None and found.mean.shape == x.shape
    there = known[:1].all(1)
    left = model.known_codes(spread(torch.where(known, x, 0.0)[:1], there), there)[0, :1]
    z = torch.stack((left.expand(6), torch.arange(6)), 1)
    with torch.no_grad():
        ids = model.prefix.none(6)
        p_z = -model.cost(z, torch.tensor([[False, True]]).expand(6, 2), ids)[:, 1]
        factors = model.decode(z).base_dist.log_prob(everything[:, None])  # 256 6 1 2 4
    assert p_z.exp().max() < 0.9, "the test can fail"
    fits = ((everything == x[:1]) | ~known[:1]).flatten(1).all(1)
    weights = (p_z + (factors * known[0]).flatten(2).sum(2)[103]).softmax(0)
    missing = (factors * ~known[0]).flatten(2).sum(2).exp() @ weights
    p = torch.where(fits, missing, 0.0)
    number = (found.x.flatten(1)[:, None] == everything.flatten(1)).all(2).long().argmax(1)
    share = torch.bincount(number, minlength=256) / n
    assert p.sum().item() == pytest.approx(1, abs=1e-5) and (share - p).abs().max() < 0.08


def test_a_hole_in_the_middle_is_hidden() -> None:
    known = mask(Images(3, 4, 7), "middle", 2, 0)
    assert known.shape == (2, 3, 4, 7)
    assert (~known[1, 2]).int().tolist() == [[0] * 7, [0, 1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0, 0], [0] * 7]
    with pytest.raises(UsageError, match="no such side"):
        mask(Tokens(5, 4), "middle", 1, 0)
    with pytest.raises(UsageError, match="middle, or a share"):
        mask(Images(3, 4, 7), "centre", 1, 0)


def test_pixels_nearest_to_a_hole_are_spread_into_it() -> None:
    x, known = torch.zeros(1, 1, 1, 5), torch.tensor([[[True, False, False, False, True]]])
    x[..., 0], x[..., 4] = 2.0, 4.0
    assert spread(x, known).flatten().tolist() == [2, 2, 3, 4, 4]
    assert torch.equal(spread(x, ~known & False), x)


@pytest.mark.parametrize("name", ["pixelcnn-tiny", "eonade-tiny", "vae-tiny"])
def test_what_stands_in_unknown_places_does_not_matter_nor_what_lies_beside(name: str) -> None:
    space = Images(1, 3, 3, levels=2)
    model = tt.create(name, x=space)
    x = space.from_index(torch.randint(2, (4, 1, 3, 3)))
    known = torch.rand(4, 1, 3, 3) < 0.5
    found = impute(model, x, known, draws=5)
    other = impute(model, torch.where(known, x, torch.nan), known, draws=5)
    assert torch.equal(found.x, other.x) and not found.x.isnan().any()
    alone = impute(model, x[2:3], known[2:3], draws=5, first=2)
    assert torch.equal(found.x[2:3], alone.x) or alone.exact != found.exact
    space.index(found.x)
    assert len(impute(model, x[:0], known[:0]).x) == 0


def test_a_model_trained_to_fill_holes_gives_its_one_answer() -> None:
    model = tt.create("deepfill-tiny", x=Images(1, 8, 8, levels=4), given=Images(2, 8, 8))
    torch.nn.init.normal_(model.average.module.last.weight)
    data = Examples(Images(1, 8, 8, levels=4), n=3)
    found = fill(model, data, hide="right", n=3, completions=2)
    assert not found.exact and "no draw" in found.how
    assert torch.equal(found.drawn[0], found.drawn[1])
    assert torch.equal(found.drawn[0][found.known], found.x[found.known])
    model.config.x.index(found.drawn.flatten(0, 1))
    with pytest.raises(UsageError, match="fills holes of"):
        fill(model, Examples(Images(1, 8, 16), n=3))


def test_what_cannot_be_filled_in_is_refused() -> None:
    model, x = tt.create("pixelcnn-tiny"), torch.ones(2, 1, 3, 3)
    known = torch.zeros(2, 1, 3, 3).bool()
    for ask, words in (
        (
            lambda: impute(tt.create("gan-tiny"), torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4).bool()),
            "cannot fill in",
        ),
        (lambda: impute(model, x, known.float()), "a bool for each value"),
        (lambda: impute(model, x, known[:1]), "a bool for each value"),
        (lambda: impute(model, 0.3 * x, ~known), "level"),
        (lambda: impute(model, x, known, draws=0), "draws=0"),
    ):
        with pytest.raises(UsageError, match=words):
            ask()
