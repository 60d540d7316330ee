"""Samplers in C++ beside those in Python: the same samples; and where they cannot be built, nothing is missing."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from triptych import native
from triptych.core import FAITHFUL, UNKNOWN, Audio, Images, ItemNoise, Labels, Sampling, Tokens, inverse_cdf, prefix
from triptych.models.autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.models.autoregressive.image_gpt import ImageGPT, ImageGPTConfig
from triptych.models.autoregressive.lstm import LSTM, LSTMConfig
from triptych.models.autoregressive.made import MADE, MADEConfig
from triptych.models.autoregressive.nade import NADE, NADEConfig
from triptych.models.autoregressive.pixelcnn import PixelCNN, PixelCNNConfig
from triptych.models.autoregressive.pixelcnn_pp import PixelCNNPP, PixelCNNPPConfig
from triptych.models.autoregressive.pixelsnail import PixelSNAIL, PixelSNAILConfig
from triptych.models.autoregressive.wavenet import WaveNet, WaveNetConfig
from triptych.native import building
from triptych.nn.fixed_point import draw_naively


@pytest.fixture
def built(own_cache, monkeypatch) -> None:
    monkeypatch.setenv("TRIPTYCH_NATIVE", "1")
    if not native.plays(torch.ones(1)):
        pytest.skip(f"no samplers in C++ here: {building.state()}")


MODELS = {
    "gated": lambda: GatedPixelCNN(
        GatedPixelCNNConfig(x=Images(1, 9, 11, levels=2), width=40, layers=4, reach=2, head=24)
    ),
    "gated, colors": lambda: GatedPixelCNN(
        GatedPixelCNNConfig(x=Images(3, 5, 4, levels=17), width=24, layers=3, head=27)
    ),
    "gated, classes": lambda: GatedPixelCNN(
        GatedPixelCNNConfig(x=Images(2, 4, 5, levels=3), given=Labels(3), width=12, layers=3, head=8)
    ),
    "gpt": lambda: GPT(GPTConfig(x=Tokens(11, 83), width=40, layers=2, heads=2)),
    "lstm": lambda: LSTM(LSTMConfig(x=Tokens(11, 40), embedding=9, width=20, layers=3)),
    "nade": lambda: NADE(NADEConfig(x=Images(3, 4, 5, levels=2), hidden=37)),
    "made": lambda: MADE(MADEConfig(x=Images(1, 7, 6, levels=2), hidden=(40, 75), direct=True)),
    "made, colors": lambda: MADE(MADEConfig(x=Images(3, 3, 4, levels=2), hidden=(50,), masks=2)),
    "wavenet": lambda: WaveNet(
        WaveNetConfig(x=Audio(1, 40, rate=8000, levels=16), width=12, skip=20, layers=3, cycles=2)
    ),
    "wavenet, classes": lambda: WaveNet(
        WaveNetConfig(x=Audio(1, 9, rate=8000, levels=2), given=Labels(3), width=16, skip=8, layers=2, cycles=1)
    ),
    "pixelsnail": lambda: PixelSNAIL(
        PixelSNAILConfig(x=Images(1, 6, 5, levels=2), width=20, blocks=2, layers=2, keys=5, values=18, head=8)
    ),
    "pixelsnail, colors": lambda: PixelSNAIL(
        PixelSNAILConfig(x=Images(3, 4, 5, levels=6), width=16, blocks=1, layers=1, keys=4, values=8, head=7)
    ),
    "pixelcnn": lambda: PixelCNN(PixelCNNConfig(x=Images(1, 9, 11, levels=2), width=40, blocks=3, kernel=5, head=24)),
    "pixelcnn, colors": lambda: PixelCNN(PixelCNNConfig(x=Images(3, 5, 4, levels=17), width=24, blocks=2, head=27)),
    "pixelcnn-pp": lambda: PixelCNNPP(PixelCNNPPConfig(x=Images(1, 6, 7, levels=32), width=12, blocks=1, components=3)),
    "pixelcnn-pp, two levels": lambda: PixelCNNPP(
        PixelCNNPPConfig(x=Images(1, 5, 6, levels=2), width=9, blocks=2, components=2, halvings=0)
    ),
    "pixelcnn-pp, colors, classes": lambda: PixelCNNPP(
        PixelCNNPPConfig(x=Images(3, 5, 4, levels=9), given=Labels(3), width=20, blocks=1, components=2, halvings=1)
    ),
    "imagegpt": lambda: ImageGPT(ImageGPTConfig(x=Images(1, 6, 7, levels=2), width=24, layers=3, heads=3)),
    "imagegpt, classes": lambda: ImageGPT(
        ImageGPTConfig(x=Images(3, 3, 4, levels=5), given=Labels(3), width=72, layers=1, heads=2)
    ),
}


def sharp(name: str):
    """A random model whose logits have a standard deviation of about 2."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                layer.weight.mul_(1.5)
        x = model.sample(16, given_of(model, 16), seed=9)
        logits = model.logits(x, condition(model, 16))
        mixed = isinstance(model, PixelCNNPP)  # whose logits do not follow the last layer in proportion
        net, scale = (model.active, 4 / logits.std()) if mixed else (model, 2 / logits.std())
        if isinstance(net, NADE):
            last = [net.V, net.b]
        else:
            out = getattr(net, "out", None) or net.transformer.norm
            direct = getattr(net, "direct", None) if isinstance(net, MADE) else None
            last = [*([] if direct is None else direct.parameters()), *out.parameters()]
        if logits.shape[-1] == 1:  # about as many of one level as of the other
            last[-1].sub_(logits.mean())
        for weight in last:
            weight.mul_(scale)
    return model


def given_of(model, n: int):
    return None if getattr(model.config, "given", None) is None else torch.arange(n) % model.config.given.classes


def condition(model, n: int):
    return model.condition(n, given_of(model, n))


def check_same(model, n: int, how: Sampling, monkeypatch, seed: int = 3) -> torch.Tensor:
    """That both draw the same, but for values whose number lies within rounding of a boundary, and what follows."""
    with monkeypatch.context() as patch:
        played = []
        patch.setattr(native, "play", lambda *a, f=native.play: played.append(f(*a)))
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("triptych.native.") and hasattr(module, "play"):
                patch.setattr(module, "play", native.play)
        fast = model.sample(n, given_of(model, n), seed=seed, how=how)
        assert len(played) == 1, "it was drawn in Python"
        patch.setenv("TRIPTYCH_NATIVE", "0")
        slow = model.sample(n, given_of(model, n), seed=seed, how=how)
        assert len(played) == 1
    x = model.config.x
    level, u = (x.index(fast) if hasattr(x, "index") else fast), ItemNoise(seed, range(n)).uniform(*x.shape)
    with torch.no_grad():
        logits = model.logits(fast, condition(model, n))
    expected = how.fill(how.start(x, ItemNoise(seed, range(n))), logits, u)
    if how.temperature:  # what the network says of these very samples picks them again
        scores = how.steer(torch.nn.functional.pad(logits, (1, 0)) if logits.shape[-1] == 1 else logits)
        near = (scores.softmax(-1).cumsum(-1) - u[..., None]).abs().amin(-1) < 1e-5
        assert ((expected == level) | near).all()
        assert near.float().mean() < 0.02
    else:
        assert torch.equal(expected, level)
    alike = (fast == slow).flatten(1).all(1).float().mean()
    assert alike > 0.7  # by far: all, where no number is near a boundary
    assert len(torch.unique(fast, dim=0)) > 1 or not how.temperature
    assert model.logits(slow, condition(model, n)).std() >= 1
    return fast


@pytest.mark.parametrize("name", MODELS)
def test_the_same_samples(name, built, monkeypatch) -> None:
    model = sharp(name)
    fast = check_same(model, 11, FAITHFUL, monkeypatch)
    assert torch.equal(model.sample(1, given_of(model, 11)[6:7] if given_of(model, 11) is not None else None,
                                    seed=3, first=6), fast[6:7])  # fmt: skip
    assert model.sample(0, given_of(model, 0), seed=3).shape == (0, *model.config.x.shape)


@pytest.mark.parametrize("name", ["gated, colors", "gpt", "pixelcnn-pp", "imagegpt"])
@pytest.mark.parametrize(
    "how",
    [Sampling(temperature=0.5), Sampling(temperature=0), Sampling(top_k=2), Sampling(top_p=0.7, temperature=2)],
    ids=["cool", "likeliest", "two", "nucleus"],
)
def test_the_same_samples_with_options(name, how, built, monkeypatch) -> None:
    check_same(sharp(name), 6, how, monkeypatch)


@pytest.mark.parametrize("name", ["gated, colors", "imagegpt"])
def test_what_is_known_stays(name, built, monkeypatch) -> None:
    model = sharp(name)
    x = model.config.x
    known = torch.where(torch.rand(5, *x.shape) < 0.5, torch.randint(x.levels, (5, *x.shape)), UNKNOWN)
    fast = check_same(model, 5, Sampling(known=known), monkeypatch)
    assert torch.equal(x.index(fast)[known >= 0], known[known >= 0])


def test_a_prefix_is_read_at_once(built, monkeypatch) -> None:
    model = sharp("gpt")
    for m in (1, 20, 82, 83):
        start = torch.randint(11, (5, m))
        fast = check_same(model, 5, Sampling(known=prefix(model.config.x, start)), monkeypatch)
        assert torch.equal(fast[:, :m], start)


def test_two_threads_draw_what_one_does(built) -> None:
    model = sharp("gated")
    one = model.sample(5, seed=1)
    torch.set_num_threads(2)
    try:
        assert torch.equal(model.sample(5, seed=1), one)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("levels", [1, 2, 3, 16, 17, 300])
@pytest.mark.parametrize(
    "how",
    [FAITHFUL, Sampling(temperature=0.5), Sampling(temperature=0), Sampling(top_k=2), Sampling(top_p=0.7, top_k=5)],
    ids=["faithful", "cool", "likeliest", "two", "nucleus"],
)
def test_levels_are_picked_as_in_python(levels, how, built) -> None:
    n = 500
    scores, u, level = 3 * torch.randn(n, levels), torch.rand(n), torch.full((n,), -1)
    native.play("pick", [n, levels], [scores, u], level, how)
    assert (level != how.pick(scores, u)).sum() <= 1


def test_a_level_of_no_probability_is_never_picked(built) -> None:
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(4, -1)
    u, level = torch.tensor([0.0, 0.49, 0.5, 1 - 2**-24]), torch.full((4,), -1)
    native.play("pick", [4, 5], [scores, u], level, FAITHFUL)
    assert level.tolist() == inverse_cdf(scores, u).tolist() == [1, 1, 3, 3]


def test_float64_and_wrong_sizes_are_refused(built) -> None:
    assert not native.plays(torch.ones(1, dtype=torch.float64)) and not native.plays(torch.ones(1, device="meta"))
    good = [2, 3], [torch.zeros(2, 3), torch.zeros(2)], torch.zeros(2, dtype=torch.long), FAITHFUL
    native.play("pick", *good)
    for numbers, arrays, level in [
        ([2], good[1], good[2]),
        ([2, 3, 4], good[1], good[2]),
        ([2, 3], good[1][:1], good[2]),
        ([2, 3], [torch.zeros(2, 4), torch.zeros(2)], good[2]),
        ([2, 3], [torch.zeros(2, 3).double(), torch.zeros(2)], good[2]),
        ([2, 3], good[1], torch.zeros(3, dtype=torch.long)),
        ([2, 3], good[1], torch.zeros(2)),
    ]:
        with pytest.raises(ValueError):
            native.play("pick", numbers, arrays, level, FAITHFUL)


def test_a_signal_ends_a_long_draw(built) -> None:
    model = GatedPixelCNN(GatedPixelCNNConfig(x=Images(1, 512, 512, levels=2), width=64, layers=12)).eval()
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            model.sample(8, seed=0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Building


@pytest.fixture
def fresh(built, tmp_path, monkeypatch) -> Path:
    """An empty cache, and a compiler that takes what was built before."""
    made = next(building.place().glob("*.so"))

    def compiled(folder: Path):
        shutil.copy(made, folder / made.name)
        return building.opened(folder / made.name)

    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setattr(building, "compiled", compiled)
    return tmp_path


def test_nothing_is_built_for_a_short_draw(tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TRIPTYCH_NATIVE", raising=False)
    monkeypatch.setattr(native, "built", lambda: asked.append(1) or "module")
    monkeypatch.setattr(native, "drawn", [0.0])
    native.library.cache_clear()
    try:
        u = torch.empty(64, 1, 28, 28)  # about two seconds
        assert not native.plays(u) and not native.plays(u[:1]) and not asked
        assert native.plays(torch.empty(64, 1, 28, 28).expand(64, 40, 28, 28)) and asked == [1]
        assert native.plays(u[:1])  # now it is there
    finally:
        native.library.cache_clear()


def test_built_once_and_again_when_damaged(fresh, monkeypatch) -> None:
    assert building.state() == "built as soon as much is drawn"
    (left := building.place() / "building-of-the-dead").mkdir()
    building.built()
    path = building.place() / "triptych_native.so"
    assert path.exists() and not left.exists() and building.state() == "built"
    whole = path.read_bytes()
    path.unlink()  # this process has that one in its memory
    path.write_bytes(whole[:-100])
    building.built()
    assert path.read_bytes() == whole
    monkeypatch.setattr(building, "compiled", None)
    assert hasattr(building.built(), "gated")  # nothing was to be compiled


def test_a_compiler_that_fails_is_not_asked_again_for_a_day(fresh, monkeypatch) -> None:
    asked = []

    def compiled(folder: Path):
        asked.append(folder)
        raise RuntimeError("Error building extension")

    monkeypatch.setattr(building, "compiled", compiled)
    for _ in range(2):
        with pytest.raises(building.CannotBuild, match="building extension"):
            building.built()
    assert len(asked) == 1 and not asked[0].exists() and building.state() == "none: they could not be built"
    old = time.time() - building.AGAIN - 60
    os.utime(building.place() / "failed", (old, old))
    with pytest.raises(building.CannotBuild):
        building.built()
    assert len(asked) == 2


def test_a_lock_is_gone_with_its_process(fresh) -> None:
    folder = building.place()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time\nf = open(sys.argv[1], 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
         "print(flush=True)\ntime.sleep(600)", str(folder / ".lock")], stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    building.built()


def test_nothing_is_run_from_a_folder_that_others_can_write(fresh) -> None:
    building.built()
    building.place().chmod(0o777)
    with pytest.raises(building.CannotBuild, match="by others"):
        building.built()


@pytest.mark.parametrize("missing", ["ninja", "compiler", "home", "switch"])
def test_without_it_python_does_the_same(missing, tmp_path, monkeypatch, caplog) -> None:
    model = sharp("gated, colors")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv("TRIPTYCH_NATIVE", "1")
    if missing == "ninja":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif missing == "compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    elif missing == "home":
        monkeypatch.setattr(building, "cache_folder", lambda cache: None)
    else:
        monkeypatch.setenv("TRIPTYCH_NATIVE", "0")
    native.library.cache_clear()
    try:
        with caplog.at_level(logging.DEBUG):
            assert not native.plays(torch.ones(1)) and not native.plays(torch.ones(1))
        x = model.sample(3, seed=1)
    finally:
        native.library.cache_clear()
    assert torch.equal(x, draw_naively(model, ItemNoise(1, range(3))))
    said = [r for r in caplog.records if "C++" in r.message]
    assert [r.levelname for r in said] == ([] if missing == "switch" else ["DEBUG"])
    assert building.state().startswith(("none", "turned off"))
