"""How fast the device samples: eager caches, recorded steps, the whole network for each value, and nanoGPT's way."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from on_gpu import Bench, peak_memory
from on_gpu.peers import NanoGPT
from triptych.core import Audio, Autoregressive, Tokens, evaluating
from triptych.core.sampling import levels_of
from triptych.models.autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.models.autoregressive.image_gpt import ImageGPT, ImageGPTConfig
from triptych.models.autoregressive.wavenet import WaveNet, WaveNetConfig
from triptych.nn import recorded
from triptych.verbs.create import create

SOUND = Audio(1, 1024, rate=16000, levels=256, companding="mu-law")
MODELS: dict[str, Callable[[], Autoregressive[None]]] = {
    "GPT, 6 layers of 384, 255 tokens": lambda: GPT(GPTConfig(x=Tokens(65, 255), width=384, layers=6, heads=6)),
    "ImageGPT, 8 layers of 64, 784 pixels": lambda: ImageGPT(ImageGPTConfig(width=64, layers=8, heads=2)),
    "Gated PixelCNN, 1 + 5 layers of 64, 784 pixels": lambda: GatedPixelCNN(GatedPixelCNNConfig(width=64, layers=6)),
    "WaveNet, 20 layers of 32, 1024 samples": lambda: WaveNet(WaveNetConfig(x=SOUND, width=32)),
}
SMALL = {
    "GPT": lambda: create("gpt-tiny"),
    "ImageGPT": lambda: create("imagegpt-tiny"),
    "Gated PixelCNN": lambda: create("gated-pixelcnn-tiny"),
    "WaveNet": lambda: create("wavenet-tiny"),
}
SIZES = (1, 16, 64, 4)


@torch.no_grad()
def sharpen(model: Any, std: float = 2.0) -> float:
    """Scales the output layer, so that samples are far from noise; the deviation of the logits then."""
    x = model.config.x
    last = list((getattr(model, "out", None) or model.transformer.norm).parameters())
    drawn = x.from_index(torch.randint(levels_of(x), (4, *x.shape), device=model.device))
    for _ in range(2):
        scale = std / model.logits(drawn, None).std()
        for weight in last:
            weight.mul_(scale)
        drawn = model.sample(4, seed=1)
    return float(model.logits(drawn, None).std())


def measure(bench: Bench, name: str, model: Any, n: int, deviation: float) -> None:
    """Both samplers, and the naive loop from some of its passes."""
    device, x = bench.device, model.config.x
    peak_memory(device)
    row: dict[str, Any] = {"values": x.dims, "n": n, "deviation of the logits": deviation}
    drawn = {}
    for how in ("eager", "recorded"):
        with mock.patch.object(
            recorded, "records", lambda device, how=how: how == "recorded" and device.type == "cuda"
        ):
            if how == "recorded":
                model.sample(n, seed=0)
            row[f"{how}, s"] = bench.once(lambda: drawn.update({how: model.sample(n, seed=0)}))  # noqa: B023
        row[f"{how}, MB"] = peak_memory(device)
        row[f"{how}, values/s"] = n * x.dims / row[f"{how}, s"]
    row["recorded equals eager"] = torch.equal(drawn["eager"], drawn["recorded"])
    with evaluating(model), torch.no_grad():
        some = drawn["eager"] if n <= 16 else drawn["eager"][:16]
        passes = bench.seconds(lambda: model.logits(some, None), 3)
        row["naive, s"], row["naive"] = passes * x.dims * n / len(some), f"a pass of {len(some)} times {x.dims} values"
    row["ratio to naive, eager"] = row["naive, s"] / row["eager, s"]
    row["ratio to naive, recorded"] = row["naive, s"] / row["recorded, s"]
    bench.keep(what=name, **row)


def beside_nano(bench: Bench, model: GPT, n: int) -> None:
    """nanoGPT's `generate`, in full, at the same size, against our sampler."""
    c, device = model.config, bench.device
    torch.manual_seed(0)
    peer = NanoGPT(c.x.vocabulary, c.x.length + 1, c.width, c.layers, c.heads).to(device).eval()
    start = torch.zeros(n, 1, dtype=torch.long, device=device)
    peer.generate(start, 2)
    theirs = bench.once(lambda: peer.generate(start, c.x.length))
    ours = bench.seconds(lambda: model.sample(n, seed=0), 1 if bench.small else 3)
    bench.keep(what="GPT beside nanoGPT", n=n, **{"nanoGPT, s": theirs, "ours, s": ours, "ratio": theirs / ours})


def main(bench: Bench) -> None:
    models: dict[str, tuple[Any, float]] = {}
    for n in bench.each("batch sizes", SIZES[:1] if bench.small else SIZES):
        for name, make in bench.each(f"samplers, {n} at a time", (SMALL if bench.small else MODELS).items()):
            with bench.guard(f"{name}, {n} at a time"):
                if name not in models:
                    torch.manual_seed(0)
                    model = make().to(bench.device).eval()
                    models[name] = model, sharpen(model)
                model, deviation = models[name]
                measure(bench, name, model, n, deviation)
                if isinstance(model, GPT):
                    beside_nano(bench, model, n)
