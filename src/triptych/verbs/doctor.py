"""What this machine has, and what would help."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch

import triptych
from triptych.caching import cache_folder
from triptych.native import building

EXTRAS = (
    ("hub", "huggingface_hub", "from_pretrained by a Hugging Face Hub id"),
    ("audio", "soundfile", "FLAC, Ogg, AIFF and MP3, and WAV files of other encodings"),
    ("video", "av", "MP4 and the other kinds of video that are no pictures that move"),
    ("three-d", "trimesh", "meshes from PLY and GLB files"),
    ("compress", "constriction", "compress and decompress"),
    ("export", "onnxruntime", "export --to onnx"),
    ("native", "ninja", "samplers in C++, with a compiler (TRIPTYCH_NATIVE=0 turns them off)"),
    ("tables", "pyarrow", "Parquet and Arrow tables as data"),
    ("tokenizers", "tokenizers", "vocabularies of byte pairs learned sooner"),
    ("tensorboard", "tensorboard", "train --track tensorboard"),
    ("wandb", "wandb", "train --track wandb"),
    ("trackio", "trackio", "train --track trackio"),
)


def doctor() -> dict[str, Any]:
    """Versions, devices, precision, the cache, and the state of each optional extra."""
    cuda = torch.cuda.is_available()
    machine = {
        "triptych": triptych.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "torch": torch.__version__,
        **{name: found(name) for name in ("numpy", "pillow", "safetensors", "pydantic", "typer")},
        "device": torch.cuda.get_device_name() if cuda else "cpu (no GPU that torch can use)",
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "bf16": "in hardware" if fast_bf16(cuda) else "slow here: keep --precision fp32",
        "samplers in C++": building.state(),
        "cache": str(cache_folder(None) or "none: there is no home folder; TRIPTYCH_CACHE names a place"),
    }
    extras = [
        {
            "extra": name,
            "found": find_spec(module) is not None,
            "install": f"pip install 'triptych[{name}]'",
            "why": why,
        }
        for name, module, why in EXTRAS
    ]
    return {"machine": machine, "extras": extras}


def fast_bf16(cuda: bool) -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False) if cuda else torch.cpu._is_avx512_bf16_supported()


def found(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
