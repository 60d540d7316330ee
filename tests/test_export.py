"""What is exported gives what the model gives, to programs that do not have Triptych."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import triptych as tt
from triptych.core import ItemNoise, Label, Picture, Stepwise, TriptychError, UsageError
from triptych.nn.code_prior import CodePrior
from triptych.verbs import export as exporting
from triptych.verbs import programs
from triptych.verbs.export import export
from triptych.verbs.stepping import parts, prior_of


def saved(name: str, path: Path) -> Any:
    """A model whose every weight says something, and its folder."""
    model = tt.create(name)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    tt.save_pretrained(model, path / "run")
    return model.eval()


def scripted(folder: Path, most: int) -> dict[str, Any]:
    """What the script beside an exported model has made: it has so many lines at most, and no need of Triptych."""
    script = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert "triptych" not in script and len(script.splitlines()) <= most
    variables: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(script, variables)  # noqa: S102  # it is ours
    return variables


def with_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra export is not installed")


def test_a_generator_gives_its_samples_for_its_numbers(tmp_path) -> None:
    model = saved("dcgan-tiny", tmp_path)
    found = export(tmp_path / "run", tmp_path / "out", "torch")
    assert found.files == ("model.pt2", "README.md") and found.apart["model.pt2"] < 1e-4
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    for n in (1, 7):
        z = ItemNoise(3, range(n)).uniform(model.config.latent)
        torch.testing.assert_close(program(z), model.sample(n, seed=3), atol=1e-4, rtol=1e-4)


def test_a_decoder_gives_means_and_has_its_encoder_beside_it(tmp_path) -> None:
    model = saved("vae-tiny", tmp_path)
    export(tmp_path / "run", tmp_path / "out", "torch")
    z = ItemNoise(0, range(4)).normal(model.config.latent)
    means = model.sample(4, seed=0, how=tt.Sampling(observation="mean"))
    decoder, encoder = (torch.export.load(tmp_path / "out" / f"{n}.pt2").module() for n in ("model", "encoder"))
    torch.testing.assert_close(decoder(z), means, atol=1e-4, rtol=1e-4)
    x = model.config.x.from_index(torch.randint(2, (4, *model.config.x.shape)))
    mean, deviation = encoder(x)
    q = model.encode(x)
    torch.testing.assert_close(mean, q.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(deviation, q.stddev, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["sr-compact-tiny", "srgan-tiny", "pix2pix-tiny", "deepfill-tiny"])
def test_translators_take_pictures_of_other_sizes(tmp_path, name: str) -> None:
    model = saved(name, tmp_path)
    export(tmp_path / "run", tmp_path / "out", "torch")
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    needs, multiple = model.config.given, model.multiple
    height, width = (
        -(-side // multiple) * multiple + k * multiple for k, side in ((1, needs.height), (2, needs.width))
    )
    grid = torch.rand(2, needs.channels, height, width) * 2 - 1
    torch.testing.assert_close(program(grid), model.sample(2, Picture(grid), seed=0), atol=1e-4, rtol=1e-4)


def test_classes_go_in_by_their_numbers(tmp_path) -> None:
    model = saved("cgan-tiny", tmp_path)
    export(tmp_path / "run", tmp_path / "out", "torch")
    noise, y = programs.Listening(ItemNoise(5, range(3))), torch.tensor([1, 0, 1])
    with torch.no_grad():
        programs.draw(model, noise, Label(y))
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    got = program(*(t for _, t in noise.heard), y)
    torch.testing.assert_close(got, model.sample(3, Label(y), seed=5), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "dcgan-tiny",
        "vae-tiny",
        "sr-compact-tiny",
        "gpt-tiny",
        "imagegpt-tiny",
        "lstm-tiny",
        "pixelcnn-tiny-rgb",
        "llamagen-tiny-text",
    ],
)
def test_onnx_gives_the_same(tmp_path, name: str) -> None:
    with_onnx()
    saved(name, tmp_path)
    found = export(tmp_path / "run", tmp_path / "out")
    assert found.batches == (1, 2, 5) and all(apart < 1e-4 for apart in found.apart.values())


@pytest.mark.parametrize("name", ["gat-tiny", "givt-tiny", "maskgit-tiny", "vdvae-tiny"])
def test_models_of_codes_and_of_many_layers_give_their_samples(tmp_path, name: str) -> None:
    model = saved(name, tmp_path)
    found = export(tmp_path / "run", tmp_path / "out", "torch")
    assert found.files == ("model.pt2", "README.md") and found.apart["model.pt2"] < 1e-4
    noise = programs.Listening(ItemNoise(4, range(2)))
    with torch.no_grad():
        want = programs.draw(model, noise, None)
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    torch.testing.assert_close(program(*(t for _, t in noise.heard)), want, atol=1e-4, rtol=1e-4)


def test_what_is_not_equal_is_refused(tmp_path, monkeypatch) -> None:
    saved("dcgan-tiny", tmp_path)
    honest = exporting.runner

    def wrong(*args: Any) -> Any:
        ask = honest(*args)
        return lambda values: [t + 0.01 for t in ask(values)]

    monkeypatch.setattr(exporting, "runner", wrong)
    with pytest.raises(TriptychError, match="gives other values than the model"):
        export(tmp_path / "run", tmp_path / "out", "torch")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_checked_is_refused(tmp_path, monkeypatch) -> None:
    saved("dcgan-tiny", tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs onnx\w*, .*pip install 'triptych\[export\]'"):
        export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loop_is_no_program(tmp_path) -> None:
    saved("gated-pixelcnn-tiny", tmp_path)
    with pytest.raises(UsageError, match=r"draws value after value.*single steps of gpt, .* and pixelcnn"):
        export(tmp_path / "run", tmp_path / "out", "torch")


STEPWISE = ["gpt-tiny", "nanochat-tiny", "imagegpt-tiny", "lstm-tiny", "pixelcnn-tiny", "pixelcnn-tiny-rgb"]


def values_of(model: Any, n: int) -> Any:
    """x at random, and its levels or tokens in the model's order."""
    space = model.config.x
    index = torch.randint(space.values, (n, *space.shape), generator=torch.Generator().manual_seed(n))
    x = index if space.kind == "tokens" else space.from_index(index)
    return x, index.flatten(1)[:, model.order()]


@pytest.mark.parametrize("name", STEPWISE)
def test_one_step_after_the_other_gives_every_factor(tmp_path, name: str) -> None:
    model = saved(name, tmp_path)
    assert isinstance(model, Stepwise)
    found = export(tmp_path / "run", tmp_path / "out", "torch")
    assert found.files == ("step.pt2", "README.md") and found.apart["step.pt2"] < 1e-4
    step = torch.export.load(tmp_path / "out" / "step.pt2").module()
    needs = getattr(model.config, "given", None)
    for n in (1, 3):
        x, values = values_of(model, n)
        given = () if needs is None else (torch.arange(n) % needs.classes,)
        with torch.no_grad():
            logits = model.logits(x, needs.condition(given[0]) if given else None)
        want = logits.flatten(1, -2)[:, model.order()]
        before, memory = torch.full((n,), model.config.x.values - 1), model.memory(n)  # the first is not looked at
        for place in range(model.config.x.dims):
            scores, *memory = step(before, torch.tensor([place]), *memory, *given)
            torch.testing.assert_close(scores, want[:, place], atol=1e-4, rtol=1e-4)
            before = values[:, place]


@pytest.mark.parametrize("name", STEPWISE)
def test_the_script_of_a_step_draws_without_triptych(tmp_path, name: str, capsys) -> None:
    model = saved(name, tmp_path)
    export(tmp_path / "run", tmp_path / "out", "torch")
    space = scripted(tmp_path / "out", 22)
    drawn = np.stack(space["drawn"], 1)
    assert drawn.shape == (4, model.config.x.dims) and 0 <= drawn.min() <= drawn.max() < model.config.x.values
    assert (tmp_path / "out" / "samples.png").exists() == model.config.x.planar


OF_CODES = ["vq-vae-tiny-classes", "fsq-vae-tiny", "vqgan-tiny", "llamagen-tiny-text", "codec-tiny-classes"]


@pytest.mark.parametrize("name", OF_CODES)
def test_codes_are_drawn_by_steps_and_decoded(tmp_path, name: str, capsys) -> None:
    """Step after step gives p(codes | given), the decoder what they stand for, the encoder the codes of x."""
    model = saved(name, tmp_path)
    found = export(tmp_path / "run", tmp_path / "out", "torch")
    assert found.files == ("step.pt2", "decoder.pt2", "encoder.pt2", "README.md")
    step, decode, encode = (torch.export.load(tmp_path / "out" / f).module() for f in found.files[:3])
    (part, _, coder), space = parts(model), model.config.x
    needs, n = getattr(model.config, "given", None), 3
    (x,) = coder.example(n, 7)
    with torch.no_grad():
        code = model.encode(x)
        assert torch.equal(encode(x), code.flatten(1))
        means = model.decode(code)
        means = means if isinstance(means, torch.Tensor) else means.mean
        torch.testing.assert_close(decode(code.flatten(1)), means, atol=1e-4, rtol=1e-4)
    told = () if needs is None else (programs.condition(needs, n, 3),)
    given = None if needs is None else needs.condition(told[0])
    before, memory, nats = torch.zeros(n, dtype=torch.int64), prior_of(model).memory(n), torch.zeros(n)
    for place in range(part.steps):
        scores, *memory = step(before, torch.tensor([place]), *memory, *told)
        if place >= part.before:
            before = code.flatten(1)[:, place - part.before]
            nats -= scores.log_softmax(1).gather(1, before[:, None])[:, 0].detach()
    with torch.no_grad():
        prior = prior_of(model)
        if isinstance(prior, CodePrior):
            want = -prior.log_prob(code, given)
        else:
            want = -model.log_prob_codes(code, given).nats.float()
    torch.testing.assert_close(nats, want, atol=1e-3, rtol=1e-4)

    variables = scripted(tmp_path / "out", 22)
    assert variables["x"].shape == (4, *space.shape)
    assert (tmp_path / "out" / "samples.png").exists() == space.planar


class TheirCompact(nn.Module):
    """The compact network as other tools have it: pictures from 0 to 1."""

    def __init__(self, channels: int, width: int, depth: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.body = nn.ModuleList([nn.Conv2d(channels, width, 3, 1, 1), nn.PReLU(width)])
        for _ in range(depth):
            self.body += [nn.Conv2d(width, width, 3, 1, 1), nn.PReLU(width)]
        self.body.append(nn.Conv2d(width, channels * times**2, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x
        for layer in self.body:
            out = layer(out)
        return F.pixel_shuffle(out, self.times) + F.interpolate(x, scale_factor=self.times, mode="nearest")


def test_other_tools_open_the_weights_of_super_resolution(tmp_path) -> None:
    model = saved("sr-compact-tiny-x3", tmp_path)
    export(tmp_path / "run", tmp_path / "out", "torch")
    c = model.config
    theirs = TheirCompact(c.x.channels, c.width, c.depth, 3)
    theirs.load_state_dict(load_file(tmp_path / "out" / "weights.safetensors"))
    light = torch.rand(1, 3, 5, 7)
    ours = model.sample(1, Picture(light * 2 - 1), seed=0)
    torch.testing.assert_close(theirs(light).clamp(0, 1) * 2 - 1, ours, atol=1e-4, rtol=1e-4)


def test_files_that_are_there_are_left_alone(tmp_path) -> None:
    saved("dcgan-tiny", tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.pt2").write_text("mine")
    with pytest.raises(UsageError):
        export(tmp_path / "run", tmp_path / "out", "torch")
    assert (tmp_path / "out" / "model.pt2").read_text() == "mine"


@pytest.mark.parametrize(("name", "picture"), [("dcgan-tiny", False), ("cgan-tiny", False), ("pix2pix-tiny", True)])
def test_the_script_of_the_readme_samples_without_triptych(tmp_path, name: str, picture: bool) -> None:
    model = saved(name, tmp_path)
    export(tmp_path / "run", tmp_path / "out", "torch")
    if picture:
        side = 4 * model.multiple
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / "out" / "input.png")
    scripted(tmp_path / "out", 20)
    with Image.open(tmp_path / "out" / "samples.png") as made:
        assert made.height >= 4


def test_the_verb_says_how_near_it_is(tmp_path, cli) -> None:
    saved("dcgan-tiny", tmp_path)
    done = cli("export", tmp_path / "run", "--out", tmp_path / "out", "--to", "torch", "--json")
    assert done.code == 0 and json.loads(done.out)["apart"]["model.pt2"] < 1e-4
    assert cli("export", tmp_path / "run", "--out", tmp_path / "out", "--to", "torch").code == 2
