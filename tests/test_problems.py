"""What is wrong with a configuration, in words: the field as it is assigned to, what came, and what would do."""

import pytest

import triptych as tt
from triptych.core import UsageError
from triptych.models.autoregressive.llamagen import LlamaGenConfig
from triptych.models.gan.cgan import CGANConfig
from triptych.models.vae.vae import VAEConfig
from triptych.verbs.create import create_for

LABELS = {"kind": "labels", "classes": 0}


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        ("vae", {"x": {"kind": "images", "channels": 1, "height": 0, "width": 8}}, "x.height=0: it takes at least 1"),
        (
            "vae",
            {"x": {"kind": "images", "height": 0}},
            "x.channels is missing; x.height=0: it takes at least 1; x.width ",
        ),
        ("vae", {"x": {"kind": "image", "height": 8}}, "x: image where images belong"),
        ("vae", {"hidden": [8, 0]}, "hidden[1]=0: it takes at least 1"),
        ("vae", {"hidden": "ab"}, "hidden='ab': it takes a list"),
        ("vae", {"adam": {"lr": -1.0}}, "adam.lr=-1.0: it takes what is above 0"),
        ("vae", {"adam": {"schedule": "cos"}}, "adam.schedule='cos': it takes 'constant', 'linear' or 'cosine'"),
        ("vae", {"adam": {"bets": 1}}, "there is no field adam.bets; did you mean betas?"),
        ("vae", {"latent": "many"}, "latent='many': it takes a whole number"),
        ("cgan", {"given": LABELS}, "given.classes=0: it takes at least 1"),
        # of a field that could be several things, the one that was meant
        ("llamagen", {"given": LABELS}, "given.classes=0: it takes at least 1"),
        ("llamagen", {"given": {"kind": "tokens", "vocabulary": 5}}, "given.length is missing"),
        ("llamagen", {"given": {"kind": "label", "classes": 3}}, "given: label where labels or tokens belong"),
        (
            "llamagen",
            {"x": {"kind": "images", "channels": 1, "height": 0, "width": 8}},
            "x.height=0: it takes at least 1",
        ),
        ("llamagen", {"levels": [5, "a"]}, "levels[1]='a': it takes a whole number"),
    ],
)
def test_a_wrong_field_is_named_as_it_is_assigned_to(model, values, words) -> None:
    with pytest.raises(UsageError) as caught:
        tt.create(model, **values)
    said = str(caught.value)
    assert said.startswith(f"{model}: {words}") and "{" not in said and "Input should" not in said


def test_by_position_and_in_python() -> None:
    with pytest.raises(
        UsageError, match=r"^Images: height=0: it takes at least 1; width='a': it takes a whole number$"
    ):
        tt.Images(1, 0, "a")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"latent=0: it takes at least 1"):
        VAEConfig(latent=0)
    for config in (LlamaGenConfig, CGANConfig):
        with pytest.raises(UsageError, match=r"given\.classes=0: it takes at least 1$"):
            config(given=LABELS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "assignments", "words"),
    [
        ("vae", ["x.height=0"], "x.height=0: it takes at least 1"),
        ("vae", ['x={"kind":"images","channels":1,"height":0,"width":3}'], "x.height=0: it takes at least 1"),
        ("vae", ["latent=0", "width=a"], "latent=0: it takes at least 1; width='a': it takes a whole number"),
        ("vae", ["adam.lr.x=3"], "adam.lr.x: there is no field x: adam.lr is 0.001, which has none"),
        ("llamagen", ["given.classes=0"], "given.classes=0: it takes at least 1"),
        (
            "llamagen",
            ["given=null", "given.classes=3"],
            "given.classes: there is no field classes: given is None, which has none",
        ),
    ],
)
def test_assignments_are_not_repeated_before_what_is_wrong(model, assignments, words) -> None:
    with pytest.raises(UsageError) as caught:
        create_for(model, tt.data("mnist"), assignments)
    assert str(caught.value) == words
