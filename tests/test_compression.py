"""Compression: what comes out is what went in, in as many bits as the likelihood says, or nothing."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

import triptych
from triptych.cli import main
from triptych.core import (
    Generative,
    Images,
    IntegrityError,
    Label,
    Labels,
    Noise,
    Points,
    Stage,
    Tokens,
    UsageError,
    config,
    levels_of,
)
from triptych.data import data
from triptych.inference import codes, compression
from triptych.inference.compression import DIGEST, HEADER, MAGIC, compress, decompress
from triptych.losses.pixels import DiscretizedLogistic
from triptych.models import own
from triptych.models.vae.vae import VAE, VAEConfig
from triptych.verbs.compress import from_text
from triptych.verbs.create import create, save_pretrained

AUTOREGRESSIVE = [
    "pixelcnn-tiny",
    "pixelcnn-tiny-rgb",
    "gated-pixelcnn-tiny-classes",
    "made-tiny-masks",
    "eonade-tiny-rgb",
    "gpt-tiny",
    "lstm-tiny",
    "imagegpt-tiny",
    "wavenet-tiny",
    "wavenet-tiny-binary",
]
"""Pixels in wavefront order and row by row, colors, classes, orderings, text, sound."""


def model_of(name: str) -> Generative:
    """A model that has opinions: its weights are larger than at the start."""
    model = create(name).eval()
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(1.5)
    return model


def items_of(model, n: int, seed: int = 0) -> tuple[Tensor, Label | None]:
    """Levels drawn at random: mostly not what the model expects."""
    x, needs = model.config.x, getattr(model.config, "given", None)
    generator = torch.Generator().manual_seed(seed)
    level = torch.randint(levels_of(x), (n, *x.shape), generator=generator)
    given = None if needs is None else Label(torch.randint(needs.classes, (n,), generator=generator))
    return x.from_index(level), given


def bits(model, x: Tensor, given: Label | None = None) -> float:
    with torch.no_grad():
        return -model.log_prob(x, given).nats.double().sum().item() / math.log(2)


def same(held: compression.Restored, x: Tensor, given: Label | None) -> bool:
    labels = held.given is None if given is None else held.given is not None and torch.equal(held.given.y, given.y)
    return labels and held.x.dtype == x.dtype and torch.equal(held.x, x)


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_an_autoregressive_model_codes_at_the_price_of_its_likelihood(name: str) -> None:
    model = model_of(name)
    x, given = items_of(model, 60)
    made = compress(model, x, given, batch=25)
    assert same(decompress(model, made.data), x, given)
    reported = bits(model, x, given)
    assert reported - 1e-3 * reported <= made.net <= 1.001 * reported + 64
    assert made.initial == 0 and (made.labels > 0) == (given is not None)
    overhead = len(MAGIC) + DIGEST + HEADER.size + len(compression.maker(model)) + 60 + 4
    assert 8 * len(made.data) == made.code + 8 * overhead


@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_does_not_depend_on_threads_or_on_the_generator(threads: int) -> None:
    model = model_of("pixelcnn-tiny")
    x, _ = items_of(model, 30)
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(threads)
        state = torch.random.get_rng_state()
        made = compress(model.train(), x)
        assert torch.get_num_threads() == threads and torch.equal(state, torch.random.get_rng_state())
        assert model.training
    finally:
        torch.set_num_threads(1)
    assert made.data == compress(model.eval(), x).data


def vae(levels: int = 2) -> VAE:
    """Its posterior is far from its prior, and its pixels are likely or not, according to z."""
    torch.manual_seed(1)
    model = VAE(VAEConfig(x=Images(1, 3, 2, levels=levels), latent=2, hidden=(8,)))
    with torch.no_grad():
        for w in model.encoder.parameters():
            w.mul_(2)
        model.encoder[-1].bias[2:] -= 2  # narrow
        if levels > 2:
            model.log_scale.fill_(-1.5)
    return model.eval()


def price_of(model: VAE, x: Tensor) -> tuple[float, float]:
    """Minus the bound of all items in bits, with z drawn as bits back draws it: mean and standard deviation."""
    torch.manual_seed(0)
    with torch.no_grad():
        q, p = model.encode(x), model.prior()
        z = q.sample(torch.Size([200]))
        log_w = (model.decode(z).log_prob(x) + p.log_prob(z) - q.log_prob(z)).double().sum(1) / math.log(2)
    return -log_w.mean().item(), log_w.std().item()


@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize("batch", [1, 7])
def test_a_vae_gets_its_bits_back(levels: int, batch: int) -> None:
    model = vae(levels)
    x = model.sample(300, seed=0)
    made = compress(model, x, batch=batch)
    assert same(decompress(model, made.data), x, None)
    mean, spread = price_of(model, x)
    assert made.net == pytest.approx(mean, abs=4 * spread + 64)
    assert 0 < made.initial <= 32 * (2 + batch * 2)
    # without the bits back, z would cost 16 bits a dimension
    assert made.net < mean + 300 * 2 * 16 / 4


def test_the_buckets_of_a_latent_have_its_mass() -> None:
    stack = codes.BitsBack(vae(), np.arange(1, 2000, dtype=np.uint32), seal=True)
    p = Normal(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    q = Normal(torch.tensor([[0.3, 4.0]]), torch.tensor([[0.01, 0.1]]))
    coarse = stack.masses(p, q)
    assert coarse.shape == (2, 256) and coarse.sum(1) == pytest.approx(1)
    at = np.array([coarse[0].argmax(), coarse[1].argmax()], dtype=np.int32)
    bucket = at * 256 + stack.masses(p, q, at).argmax(1)
    z = p.mean + p.stddev * stack.middles[torch.from_numpy(bucket)][None]
    assert z[0].tolist() == pytest.approx([0.3, 4.0], abs=0.05)
    edges = p.mean[:, None] + p.stddev[:, None] * stack.edges[::256]
    mass = q.cdf(edges[:, 1:-1].T).T.diff(dim=1)  # the outermost buckets are open
    assert coarse[:, 1:-1] == pytest.approx(mass.numpy(), abs=1e-6)


@config
class ConditionalConfig:
    x: Images = Images(1, 2, 2, levels=3)
    given: Labels = Labels(3)


class Conditional(Generative[Label]):
    """A latent with a prior of its own for each class."""

    name = "conditional"

    def __init__(self) -> None:
        super().__init__()
        self.config = ConditionalConfig()
        self.shift = torch.nn.Parameter(torch.tensor([-3.0, 0.0, 3.0]))

    def prior(self, given: Label) -> Distribution:
        mean = self.shift[given.y, None].expand(-1, 2)
        return Independent(Normal(mean, 0.5 + mean.abs()), 1)

    def encode(self, x: Tensor, given: Label) -> Distribution:
        mean = x.flatten(1)[:, :2] + self.shift[given.y, None]
        return Independent(Normal(mean, torch.full_like(mean, 0.2)), 1)

    def decode(self, z: Tensor, given: Label) -> Distribution:
        mean = (z - self.shift[given.y, None]).repeat_interleave(2, 1).view(-1, 1, 2, 2)
        return Independent(DiscretizedLogistic(mean, torch.full((), -1.0), 3), 3)

    def log_prob(self, x: Tensor, given: Label) -> None:
        raise NotImplementedError

    def draw(self, noise: Noise, given: Label) -> Tensor:
        raise NotImplementedError

    def stages(self) -> Sequence[Stage]:
        return []


def test_classes_are_coded_beside_what_they_condition() -> None:
    model = Conditional()
    x, given = items_of(model, 40)
    made = compress(model, x, given, batch=3)
    assert same(decompress(model, made.data), x, given)
    assert made.labels == pytest.approx(40 * math.log2(3))


TEXT = "in the beginning\r\nwas the \u00fcbung\n\n"


@pytest.mark.parametrize("length", [1, 5, 16, len(TEXT.encode()), 64])
def test_a_text_ends_where_it_ends(tmp_path: Path, length: int) -> None:
    model = create("lstm-tiny", x=Tokens(256, length, symbols=triptych.core.BytePairs())).eval()
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    items = from_text(model, tmp_path / "a.txt")
    held = decompress(model, compress(model, items.x, absent=items.absent, batch=2).data)
    assert held.absent == -len(TEXT.encode()) % length
    assert model.config.x.decode(held.x.flatten()[: len(TEXT.encode())]) == TEXT


# Refusals


@pytest.fixture(scope="module")
def made() -> tuple[Generative, bytes]:
    """A model, and a file of it."""
    model = model_of("pixelcnn-tiny")
    return model, compress(model, items_of(model, 20)[0], batch=8).data


def test_one_altered_byte_anywhere_is_refused(made) -> None:
    model, file = made
    for i in range(len(file)):
        altered = bytearray(file)
        altered[i] ^= 1 << i % 8
        with pytest.raises(IntegrityError, match=r"x\.ttc is not"):
            decompress(model, bytes(altered), what="x.ttc")


@pytest.mark.parametrize("length", [0, 3, 11, 20, 100, -1])
def test_a_file_that_was_cut_short_is_refused(made, length: int) -> None:
    model, file = made
    with pytest.raises(IntegrityError, match="not"):
        decompress(model, file[:length])
    with pytest.raises(IntegrityError, match="cut short"):
        decompress(model, file + b"\0")


def forged(file: bytes, change) -> bytes:
    """Altered by someone who knows how to write the digest."""
    body = bytearray(file[len(MAGIC) + DIGEST :])
    change(body)
    return MAGIC + compression.digest(bytes(body)) + bytes(body)


def test_what_does_not_decode_to_what_was_encoded_is_refused(made) -> None:
    model, file = made
    tail = HEADER.size + len(compression.maker(model)) + 20 + 4  # where the code begins
    for place in range(tail, len(file) - len(MAGIC) - DIGEST - 4):
        with pytest.raises(IntegrityError, match=r"cannot be decoded here \((items? \d+|the bits do not)"):
            decompress(model, forged(file, lambda body, i=place: body.__setitem__(i, body[i] ^ 0x55)))
    marks = tail - 20 - 4
    with pytest.raises(IntegrityError, match="item 7 does not come out"):
        decompress(model, forged(file, lambda body: body.__setitem__(marks + 7, body[marks + 7] ^ 1)))
    with pytest.raises(IntegrityError, match="items 0 to 19 do not come out"):
        decompress(model, forged(file, lambda body: body.__setitem__(marks + 20, body[marks + 20] ^ 1)))
    for batch in (0, 1, 3):
        with pytest.raises(IntegrityError):
            decompress(model, forged(file, lambda body, b=batch: body.__setitem__(slice(20, 22), bytes([b, 0]))))
    with pytest.raises(IntegrityError, match="damaged"):
        decompress(model, forged(file, lambda body: body.__delitem__(slice(30, None))))


def test_bits_that_do_not_come_back_are_noticed() -> None:
    model = vae()
    x = model.sample(20, seed=0)
    file = compress(model, x).data
    tail = HEADER.size + len(compression.maker(model)) + 4
    with pytest.raises(IntegrityError, match="cannot be decoded here"):
        decompress(model, forged(file, lambda body: body.__setitem__(tail, body[tail] ^ 1)))


def test_another_model_is_refused(made) -> None:
    _, file = made
    other = model_of("pixelcnn-tiny")
    with torch.no_grad():
        next(other.parameters()).view(-1)[0].add_(1e-6)
    with pytest.raises(IntegrityError, match="another pixelcnn: the fingerprint"):
        decompress(other, file)
    with pytest.raises(IntegrityError, match="another pixelcnn: the fingerprint"):
        decompress(create("pixelcnn-tiny", head=16), file)
    with pytest.raises(IntegrityError, match="with a model pixelcnn; this is a made"):
        decompress(create("made-tiny"), file)


@pytest.mark.parametrize("what", ["torch", "processor"])
def test_another_machine_is_refused(made, what: str, monkeypatch) -> None:
    model, file = made
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "1.0.0")
    else:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "abacus")
    with pytest.raises(IntegrityError, match=r"here it is .*(1\.0\.0|abacus).* 1 thread: use what it was made with"):
        decompress(model, file)


def test_other_probabilities_are_refused(made, monkeypatch) -> None:
    """As another machine would compute them that looks the same."""
    model, file = made
    right = codes.probabilities
    monkeypatch.setattr(codes, "probabilities", lambda logits: right(logits * 1.5))
    with pytest.raises(IntegrityError, match="computes other probabilities"):
        decompress(model, file)


def test_what_is_not_in_the_space_is_refused() -> None:
    model = create("pixelcnn-tiny")
    with pytest.raises(UsageError, match="level"):
        compress(model, torch.zeros(2, 1, 3, 3))
    with pytest.raises(UsageError, match="shape"):
        compress(model, torch.ones(2, 1, 4, 3))
    with pytest.raises(UsageError, match="0 items"):
        compress(model, torch.ones(0, 1, 3, 3))
    with pytest.raises(UsageError, match="takes no condition"):
        compress(model, torch.ones(2, 1, 3, 3), Label(torch.zeros(2).long()))
    with pytest.raises(UsageError, match="batch=0"):
        compress(model, torch.ones(2, 1, 3, 3), batch=0)
    with pytest.raises(UsageError, match="absent=1"):
        compress(model, torch.ones(2, 1, 3, 3), absent=1)
    classes = create("gated-pixelcnn-tiny-classes")
    x, given = items_of(classes, 3)
    with pytest.raises(UsageError, match="needs a condition"):
        compress(classes, x)
    with pytest.raises(UsageError, match="condition has values"):
        compress(classes, x, Label(given.y + 9))


def test_a_model_that_cannot_code_says_why(monkeypatch) -> None:
    with pytest.raises(UsageError, match="gan cannot compress: it has no likelihood"):
        compress(create("gan-tiny"), torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="darn cannot compress: its latent is no diagonal Gaussian"):
        darn = create("darn-tiny")
        compress(darn, items_of(darn, 2)[0])
    with pytest.raises(UsageError, match="not independent"):
        codes.level_scores(Independent(Normal(torch.zeros(1, 3), 1.0), 1), Images(1, 1, 3))
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(UsageError, match=r"pip install 'triptych\[compress\]'"):
        compress(create("pixelcnn-tiny"), torch.ones(1, 1, 3, 3))


# The command line, in processes of its own


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "import torch; torch.set_num_threads(1); from triptych.cli import main; main()"
    source = str(Path(triptych.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    for name in ("pixelcnn-tiny", "gated-pixelcnn-tiny-classes", "gan-tiny"):
        save_pretrained(model_of(name), path / name)
    save_pretrained(vae(256), path / "vae")
    text = create("lstm-tiny", x=Tokens(256, 8, symbols=triptych.core.BytePairs()))
    save_pretrained(text, path / "lstm")
    rng = np.random.default_rng(0)
    np.savez(path / "binary.npz", x=rng.integers(0, 2, (30, 3, 3), dtype=np.uint8) * 255)
    np.savez(path / "grey.npz", x=rng.integers(0, 256, (30, 3, 2), dtype=np.uint8))
    (path / "text.txt").write_bytes(TEXT.encode())
    return path


@pytest.mark.slow
def test_one_process_compresses_and_another_decompresses(home: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.ttc", tmp_path / "a.npz"
    source = [home / "binary.npz", "--binary", "threshold"]
    done = run("compress", home / "pixelcnn-tiny", *source, "--out", a, "--json")
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["items"] == 30 and about["bytes"] == a.stat().st_size and about["kind"] == "exact"
    assert about["net_bits"] <= 1.001 * about["reported_bits"] + 64
    done = run("decompress", home / "pixelcnn-tiny", a, "--out", b)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(b)["x"], data(home / "binary.npz", split="all", binary="threshold").stored.numpy())


@pytest.fixture
def triptych_main(monkeypatch, capsys):
    def run_here(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["triptych", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err and "looks like a bug" not in err, err
        return int(end.value.code or 0), out, err

    return run_here


def test_images_of_a_vae(triptych_main, home: Path, tmp_path: Path) -> None:
    a = tmp_path / "a.ttc"
    code, out, _ = triptych_main("compress", home / "vae", home / "grey.npz", "--out", a)
    assert code == 0 and "initial bits" in out and "lower bound" in out
    code, _, _ = triptych_main("decompress", home / "vae", a, "--out", tmp_path / "a.npz")
    assert code == 0
    assert np.array_equal(np.load(tmp_path / "a.npz")["x"], data(home / "grey.npz", split="all").stored.numpy())
    code, _, _ = triptych_main("decompress", home / "vae", a, "--out", tmp_path / "each")
    assert code == 0 and len(list((tmp_path / "each").glob("*.png"))) == 30


def test_text(triptych_main, home: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.ttc", tmp_path / "a.txt"
    code, out, _ = triptych_main("compress", home / "lstm", home / "text.txt", "--out", a, "--json")
    about = json.loads(out)
    assert code == 0 and about["values"] == len(TEXT.encode())
    assert about["net_bits"] <= 1.001 * about["reported_bits"] + 64
    assert triptych_main("decompress", home / "lstm", a, "--out", b)[0] == 0
    assert b.read_bytes() == TEXT.encode()
    assert triptych_main("decompress", home / "lstm", a, "--out", tmp_path / "a.npz")[0] == 2
    code, _, err = triptych_main("compress", home / "lstm", home / "grey.npz", "--out", a)
    assert code == 2 and "UTF-8" in err


def test_what_the_command_line_refuses(triptych_main, home: Path, tmp_path: Path) -> None:
    a, b, pixelcnn = tmp_path / "a.ttc", tmp_path / "b.npz", home / "pixelcnn-tiny"
    source = (home / "binary.npz", "--binary", "threshold", "--out", a)
    code, _, err = triptych_main("compress", home / "gan-tiny", *source)
    assert code == 2 and not a.exists(), err
    code, _, err = triptych_main("compress", pixelcnn, home / "grey.npz", "--out", a)
    assert code == 2 and "the model is built for" in err and not a.exists()
    assert triptych_main("compress", pixelcnn, *source)[0] == 0
    code, _, err = triptych_main("decompress", home / "vae", a, "--out", b)
    assert code == 4 and "compressed with a model pixelcnn" in err
    altered = bytearray(a.read_bytes())
    altered[-3] ^= 4
    a.write_bytes(altered)
    code, _, err = triptych_main("decompress", pixelcnn, a, "--out", b)
    assert code == 4 and "altered" in err and str(a) in err.replace("\n", "")
    assert triptych_main("decompress", pixelcnn, tmp_path / "none", "--out", b)[0] == 2
    assert not b.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", own())
def test_every_autoregressive_model_can_compress(name: str) -> None:
    presets = [preset for preset in triptych.models.find(name).presets() if preset.startswith(f"{name}-tiny")]
    for preset in presets:
        model = model_of(preset)
        if isinstance(model, triptych.core.Autoregressive) and preset not in AUTOREGRESSIVE:
            x, given = items_of(model, 12)
            assert same(decompress(model, compress(model, x, given, batch=5).data), x, given)


def test_points_have_no_levels() -> None:
    with pytest.raises(UsageError, match="no levels"):
        levels_of(Points(2))
