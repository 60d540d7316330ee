"""What people write in Python: it works, or an error says what to write."""

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, Label, Labels, UsageError
from triptych.verbs.create import create_for

X = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = np.arange(30) % 3
SMALL = {"hidden": (4,), "latent": 1}


def conditional() -> tt.Generative:
    return tt.create(
        "cvae", x=tt.Images(1, 4, 4, levels=2), given=Labels(3, names=("a", "b", "c")), hidden=(4,), latent=1
    )


def plain() -> tt.Generative:
    return tt.create("vae", x=tt.Images(1, 4, 4, levels=2), **SMALL)


@pytest.mark.parametrize(
    ("said", "meant"),
    [(2, [2, 2]), ([0, 2], [0, 2]), ((0, 1), [0, 1]), (np.array([1, 0]), [1, 0]), (torch.tensor([1, 2]), [1, 2]),
     ("b", [1, 1]), (["a", "c"], [0, 2]), (Label(torch.tensor([0, 1])), [0, 1])],
)  # fmt: skip
def test_classes_are_given_as_people_write_them(said: object, meant: list[int]) -> None:
    model = conditional()
    assert torch.equal(model.sample(2, said, seed=1), model.sample(2, Label(torch.tensor(meant)), seed=1))


@pytest.mark.parametrize(
    ("said", "words"),
    [(3, "takes 0 to 2"), ([0, 1, 2], "2 samples need 2 conditions"), ("d", "there is no class 'd'"),
     (0.5, "whole numbers"), (object(), "no element of")],
)  # fmt: skip
def test_what_is_no_class_is_explained(said: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        conditional().sample(2, said)


def test_a_model_of_p_x_takes_no_condition() -> None:
    with pytest.raises(UsageError, match="leave out given="):
        plain().sample(2, given=3)


def test_arrays_are_data() -> None:
    data = tt.data(X, split="all")
    assert len(data) == 30 and data.x == tt.Images(1, 4, 4) and data.opened is None
    assert torch.allclose(data[3], X[3] * 2 - 1, atol=0.01)
    pair = tt.data((X, Y), split="all")
    assert pair.given == Labels(3) and sorted(y for _, y in pair) == sorted(Y.tolist())
    levels = np.random.default_rng(0).integers(0, 256, (30, 4, 4))
    assert tt.data(levels, split="all").x == tt.Images(1, 4, 4)
    assert tt.data(levels % 2, split="all").x == tt.Images(1, 4, 4, levels=2)
    for nothing in (3, [1, 2], None):
        with pytest.raises(DataError, match="data cannot be"):
            tt.data(nothing)


def test_classes_beside_an_array_may_be_a_list() -> None:
    assert tt.data((X, list(Y)), split="all").given == Labels(3) == tt.data((X.numpy(), Y.tolist()), split="all").given
    with pytest.raises(DataError, match=r"30.*29|29.*30"):
        tt.data((X, Y.tolist()[1:]))


def test_verbs_take_arrays_and_a_number_of_steps() -> None:
    model = plain()
    assert [now.step for now in tt.train(model, X, 2)] == [1, 2]
    assert tt.score(model, X > 0.5).n == 30
    assert tt.score(model, X).nats == pytest.approx(tt.score(model, X.numpy()).nats)


def test_a_data_set_is_short_to_name_and_a_sequence() -> None:
    data = tt.data((X, Y), split="all")
    assert len(repr(data)) < 120 and "30" in repr(data)
    assert len(data[:5]) == 5 and torch.equal(data[-1][0], data[29][0])
    with pytest.raises(IndexError):
        data[30]


def test_wrong_fields_are_explained() -> None:
    with pytest.raises(UsageError, match="no field step; did you mean steps"):
        tt.Run(step=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"^Run: steps='many'"):
        tt.Run(steps="many")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^Images: width=0"):
        tt.Images(1, 2, 0)


def test_what_is_no_tensor_has_no_likelihood() -> None:
    with pytest.raises(UsageError, match="make a tensor of it"):
        tt.create("vae-tiny").config.x.index(np.ones((1, 1, 2, 2)))


def test_a_missing_device_is_explained() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="not available here"):
            plain().to("cuda")
    with pytest.raises(UsageError, match="did you mean cuda"):
        plain().to("gpu")
    assert plain().to(torch.float64).float().device.type == "cpu"


def test_a_gan_says_that_it_has_no_likelihood() -> None:
    model = tt.create("gan-tiny")
    with pytest.raises(AttributeError, match="has no likelihood"):
        model.log_prob  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        model.sampel  # noqa: B018


def test_what_there_is_to_look_at() -> None:
    data, model = tt.data(X, split="all"), plain()
    pictures = (
        tt.show(data),
        tt.show(X),
        tt.show(model, n=4),
        tt.show(model.sample(2), model),
        tt.show(torch.rand(9, 2)),
    )
    for shown in pictures:
        assert isinstance(shown, Image.Image)
    assert tt.show(torch.tensor([[0, 1]]), tt.Tokens(2, 2)) == "0 1"
    for nothing in (3, torch.rand(3, 3)):
        with pytest.raises(UsageError):
            tt.show(nothing)


def test_the_catalogue_lists_itself() -> None:
    assert tt.models() == list(tt.models.own()) and set(tt.models("text")) == {"gpt", "lstm", "nanochat"}
    with pytest.raises(UsageError, match="did you mean text"):
        tt.models("txt")


@pytest.mark.parametrize("name", list(tt.models.own()))
def test_what_a_model_takes_is_what_its_x_may_be(name: str) -> None:
    from typing import get_args, get_type_hints

    from triptych.io.folder import config_class

    kinds = {tt.Images: "images", tt.Tokens: "text", tt.Audio: "sound", tt.Points: "points"}
    kinds |= {tt.Voxels: "solids", tt.Video: "video"}
    hint = get_type_hints(config_class(tt.models.find_class(name)))["x"]
    assert {kinds[one] for one in get_args(hint) or (hint,)} == set(tt.models.find(name).paper.takes)


@pytest.mark.parametrize(("name", "words"), [("gpt", "try gan"), ("pixelcnn", "points"), ("wavenet", "sound")])
def test_a_model_of_something_else_is_named_with_others_to_try(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create_for(name, tt.data("ring-8"), [])


def test_images_for_gpt_lead_to_imagegpt() -> None:
    with pytest.raises(UsageError, match=r"gpt models text; array:all holds images: try imagegpt"):
        create_for("gpt", tt.data(X, split="all"), [])
