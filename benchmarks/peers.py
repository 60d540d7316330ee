"""How fast other libraries sample, side by side with ours in one run, at about equal numbers of weights.

    git clone https://github.com/EugenHotaj/pytorch-generative PG
    git clone https://github.com/karpathy/nanoGPT NANO
    python benchmarks/peers.py --pytorch-generative PG --nanogpt NANO --threads 1 --out results/peers

pytorch-generative sends the whole image through the network once for each pixel: --passes such passes are timed and the
time of all 784 is extrapolated. nanoGPT sends the text so far through the network once for each token: that is run in
full. Both are run from their own source, as it is; the peers' packages import torchvision and others on the way in,
which their models do not need, so only the files of the models are loaded. Weights are random on both sides: neither
library's time depends on them. The sides take turns.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from steps.checkouts import finder

from triptych import native
from triptych.core import Autoregressive, Tokens
from triptych.models.autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.models.autoregressive.image_gpt import ImageGPT, ImageGPTConfig
from triptych.models.autoregressive.made import MADE, MADEConfig
from triptych.models.autoregressive.pixelcnn import PixelCNN, PixelCNNConfig
from triptych.models.autoregressive.pixelsnail import PixelSNAIL, PixelSNAILConfig
from triptych.native import building

PIXELS = 784
CHARACTERS = 255

IMAGES: dict[str, tuple[Callable[[Any], Any], Callable[[], Autoregressive[None]]]] = {
    "Gated PixelCNN, 1 + 5 layers of 64": (
        lambda of: of("gated_pixel_cnn", "GatedPixelCNN")(n_gated=5, gated_channels=64, head_channels=64),
        lambda: GatedPixelCNN(GatedPixelCNNConfig(width=64, layers=6)),
    ),
    "Gated PixelCNN, 1 + 10 layers of 128": (
        lambda of: of("gated_pixel_cnn", "GatedPixelCNN")(n_gated=10, gated_channels=128, head_channels=128),
        lambda: GatedPixelCNN(GatedPixelCNNConfig(width=128, layers=11, head=128)),
    ),
    "PixelCNN, 15 blocks of 32": (
        lambda of: of("pixel_cnn", "PixelCNN")(n_residual=15, residual_channels=32, head_channels=32),
        lambda: PixelCNN(PixelCNNConfig(width=64, blocks=15, head=32)),
    ),
    "PixelSNAIL, its MNIST size": (
        lambda of: of("pixel_snail", "PixelSNAIL")(),
        lambda: PixelSNAIL(PixelSNAILConfig(width=40, blocks=8, layers=2, keys=4, head=32)),
    ),
    "ImageGPT, 8 layers of 64": (
        lambda of: of("image_gpt", "ImageGPT")(n_transformer_blocks=8, n_attention_heads=2, n_embedding_channels=64),
        lambda: ImageGPT(ImageGPTConfig(width=64, layers=8, heads=2)),
    ),
    "MADE, 8000 units": (
        lambda of: of("made", "MADE")(input_dim=PIXELS, hidden_dims=[8000]),
        lambda: MADE(MADEConfig(hidden=(8000,))),
    ),
}
"""What is drawn: 28 x 28 images of two levels. The peer's network, given how to find a class of its, and ours."""


def clock(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that passed, and seconds of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def weights(model: torch.nn.Module) -> int:
    return sum(w.numel() for w in model.parameters())


def row(name: str, n: int, peer: str, sizes: tuple[int, int], theirs: Any, ours: Any, how: str) -> dict[str, Any]:
    """One line of the table, from the (wall, processor) seconds of a whole draw of either side."""
    (peer_s, peer_cpu), (our_s, our_cpu) = (
        [statistics.median(t) for t in zip(*s, strict=True)] for s in (theirs, ours)
    )
    return {
        "model": name,
        "n": n,
        "peer": peer,
        "weights, peer / ours": f"{sizes[0]:,} / {sizes[1]:,}",
        "peer, s": peer_s,
        "run": how,
        "ours, s": our_s,
        "ratio": peer_s / our_s,
        "ratio of CPU time": peer_cpu / our_cpu,
    }


@torch.no_grad()
def image_row(name: str, find: Callable[[str, str], Any], n: int, passes: int) -> dict[str, Any]:
    torch.manual_seed(0)
    make, mine = IMAGES[name]
    peer, model = make(find).eval(), mine().eval()
    x = torch.bernoulli(torch.full((n, 1, 28, 28), 0.5))
    peer(x)  # warm
    model.sample(n, seed=0)
    theirs, ours = [], []
    for _ in range(passes):
        wall, cpu = clock(lambda: peer(x))
        theirs.append((wall * PIXELS, cpu * PIXELS))
        ours.append(clock(lambda: model.sample(n, seed=0)))
    sizes = weights(peer), weights(model)
    return row(name, n, "pytorch-generative", sizes, theirs, ours, f"{passes} of {PIXELS} passes")


@torch.no_grad()
def text_row(checkout: Path, n: int) -> dict[str, Any]:
    torch.manual_seed(0)
    sys.path.insert(0, str(checkout))
    nano = importlib.import_module("model")
    settings = nano.GPTConfig(block_size=CHARACTERS + 1, vocab_size=65, n_layer=6, n_head=6, n_embd=384, bias=False)
    peer, model = (
        nano.GPT(settings).eval(),
        GPT(GPTConfig(x=Tokens(65, CHARACTERS), width=384, layers=6, heads=6)).eval(),
    )
    start = torch.zeros(n, 1, dtype=torch.long)
    peer.generate(start, 4)  # warm
    model.sample(n, seed=0)
    theirs = [clock(lambda: peer.generate(start, CHARACTERS))]
    ours = [clock(lambda: model.sample(n, seed=0)) for _ in range(3)]
    name = f"GPT, 6 layers of 384, {CHARACTERS} characters"
    return row(name, n, "nanoGPT", (weights(peer), weights(model)), theirs, ours, "in full")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pytorch-generative", type=Path, metavar="CHECKOUT", help="where its source lies")
    parser.add_argument("--nanogpt", type=Path, metavar="CHECKOUT", help="where its source lies")
    parser.add_argument("--n", nargs="+", type=int, default=[16], help="images at a time")
    parser.add_argument("--texts", nargs="+", type=int, default=[1, 16], help="texts at a time")
    parser.add_argument("--passes", type=int, default=5, help="passes of pytorch-generative, and draws of ours")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.md")
    args = parser.parse_args()
    if not (args.pytorch_generative or args.nanogpt):
        parser.error("name the source of a peer: --pytorch-generative CHECKOUT, --nanogpt CHECKOUT or both")
    os.environ.setdefault("TRIPTYCH_NATIVE", "1")  # at once
    torch.set_num_threads(args.threads)

    rows = []
    if args.pytorch_generative:
        find = finder(args.pytorch_generative)
        rows += [image_row(name, find, n, args.passes) for name in IMAGES for n in args.n]
    if args.nanogpt:
        rows += [text_row(args.nanogpt, n) for n in args.texts]
    about = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": args.threads,
        "load": f"{os.getloadavg()[0]:.1f} at the end, this included",
        "ours": "in C++ where there is a sampler" if native.plays(torch.ones(1)) else f"Python ({building.state()})",
        "torch": torch.__version__,
        "times": "medians, after one run to warm up; the sides take turns",
    }
    lines = ["# Sampling beside other libraries", "", *(f"- {k}: {v}" for k, v in about.items()), ""]
    lines += [f"| {' | '.join(rows[0])} |", f"| {' | '.join('--' for _ in rows[0])} |"]
    lines += [f"| {' | '.join(f'{v:.4g}' if isinstance(v, float) else str(v) for v in r.values())} |" for r in rows]
    text = "\n".join(lines) + "\n"
    os.write(1, text.encode())
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text(text)
        args.out.with_suffix(".json").write_text(json.dumps({"protocol": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
