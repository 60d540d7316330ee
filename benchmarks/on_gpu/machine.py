"""What the machine is, and its ceilings: what a copy and a product of matrices reach, on random numbers."""

import os
import platform

import torch

from on_gpu import Bench
from triptych.core import products


def describe(bench: Bench) -> None:
    device = bench.device
    about = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "device": str(device),
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        about |= {
            "card": card.name,
            "memory_GB": round(card.total_memory / 1e9, 1),
            "multiprocessors": card.multi_processor_count,
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    bench.keep(what="machine", **about)


def ceilings(bench: Bench) -> dict[str, float]:
    """TFLOP/s of products in each precision, kept by name for the parts that compare with them."""
    side, device, found = (64 if bench.small else 8192), bench.device, dict[str, float]()
    for name, dtype, how in (
        ("bf16", torch.bfloat16, "fp32"),
        ("tf32", torch.float32, "tf32"),
        ("fp32", torch.float32, "fp32"),
    ):
        with bench.guard(f"product in {name}"), products(how, device):  # type: ignore[arg-type]
            a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
            times = 1 if bench.small or name == "fp32" else 8
            seconds = bench.seconds(lambda: [a @ b for _ in range(times)]) / times  # noqa: B023
            found[name] = 2 * side**3 / seconds / 1e12
            bench.keep(what=f"{side} x {side} product in {name}", TFLOPs=found[name])
    with bench.guard("copy"):
        numbers = torch.randn(2**16 if bench.small else 2**29, device=device)
        other = torch.empty_like(numbers)
        seconds = bench.seconds(lambda: other.copy_(numbers))
        bench.keep(what="copy on the device", GB_per_s=2 * numbers.numel() * 4 / seconds / 1e9)
    with bench.guard("launch"):
        one, many = torch.zeros(1, device=device), 100 if bench.small else 2000
        seconds = bench.seconds(lambda: [one.add_(1) for _ in range(many)])
        bench.keep(what="tiny operation", microseconds=seconds / many * 1e6)
    return found


def main(bench: Bench) -> None:
    describe(bench)
    ceilings(bench)
