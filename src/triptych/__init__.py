"""Triptych: deep generative models under one vocabulary - GANs, VAEs and autoregressive models.

    import triptych as tt

    model = tt.create("pixelcnn", x=tt.Images(1, 28, 28, levels=2))
    for now in tt.train(model, tt.data("mnist", binary=True), tt.Run(steps=2000)):
        ...
    images = model.sample(64, seed=0)
    model.log_prob(x).bits_per_dim()

Names are loaded when they are first used, so that `import triptych` and `triptych --help` stay fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.core import (
        Audio,
        Batch,
        Data,
        Estimate,
        Exact,
        Generative,
        Images,
        Label,
        Labels,
        Likelihood,
        LowerBound,
        PartialLabel,
        PartialLabels,
        Picture,
        Points,
        Sampling,
        Text,
        Tokens,
        Transfer,
        Vector,
        Video,
        Voxels,
    )
    from triptych.data import Dataset, data, pair, unpaired
    from triptych.errors import (
        DataError,
        IntegrityError,
        NonFiniteError,
        ResourceError,
        TriptychError,
        UsageError,
    )
    from triptych.inference.ais import Annealing, ais, bdmc
    from triptych.inference.compression import compress, decompress
    from triptych.inference.imputation import impute
    from triptych.inference.inversion import invert
    from triptych.models import Paper, register
    from triptych.training import Round, Run
    from triptych.verbs.anomaly import anomaly
    from triptych.verbs.apply import apply, pipeline
    from triptych.verbs.classify import classify
    from triptych.verbs.create import create, from_pretrained, load, save_pretrained
    from triptych.verbs.evaluate import evaluate
    from triptych.verbs.get import get_data
    from triptych.verbs.hub import push_to_hub
    from triptych.verbs.look import show
    from triptych.verbs.score import score
    from triptych.verbs.train import train

__version__ = "0.1.0"

HOMES = {
    "triptych.core": (
        "Audio Batch Data Estimate Exact Generative Images Label Labels Likelihood LowerBound PartialLabel "
        "PartialLabels Picture Points Sampling Text Tokens Transfer Vector Video Voxels"
    ),
    "triptych.data": "Dataset data pair unpaired",
    "triptych.errors": "DataError IntegrityError NonFiniteError ResourceError TriptychError UsageError",
    "triptych.inference.ais": "Annealing ais bdmc",
    "triptych.inference.imputation": "impute",
    "triptych.inference.inversion": "invert",
    "triptych.inference.compression": "compress decompress",
    "triptych.models": "Paper register",
    "triptych.training": "Round Run",
    "triptych.verbs.anomaly": "anomaly",
    "triptych.verbs.apply": "apply pipeline",
    "triptych.verbs.classify": "classify",
    "triptych.verbs.create": "create from_pretrained load save_pretrained",
    "triptych.verbs.evaluate": "evaluate",
    "triptych.verbs.get": "get_data",
    "triptych.verbs.hub": "push_to_hub",
    "triptych.verbs.look": "show",
    "triptych.verbs.score": "score",
    "triptych.verbs.train": "train",
}
HOME = {name: module for module, names in HOMES.items() for name in names.split()}

__all__ = [
    "Annealing",
    "Audio",
    "Batch",
    "Data",
    "DataError",
    "Dataset",
    "Estimate",
    "Exact",
    "Generative",
    "Images",
    "IntegrityError",
    "Label",
    "Labels",
    "Likelihood",
    "LowerBound",
    "NonFiniteError",
    "Paper",
    "PartialLabel",
    "PartialLabels",
    "Picture",
    "Points",
    "ResourceError",
    "Round",
    "Run",
    "Sampling",
    "Text",
    "Tokens",
    "Transfer",
    "TriptychError",
    "UsageError",
    "Vector",
    "Video",
    "Voxels",
    "ais",
    "anomaly",
    "apply",
    "bdmc",
    "classify",
    "compress",
    "create",
    "data",
    "decompress",
    "evaluate",
    "from_pretrained",
    "get_data",
    "impute",
    "invert",
    "load",
    "models",
    "pair",
    "pipeline",
    "push_to_hub",
    "register",
    "save_pretrained",
    "score",
    "show",
    "train",
    "unpaired",
]


def __getattr__(name: str) -> Any:
    if name == "models":  # the catalogue, which lists itself when called: tt.models("text")
        return import_module("triptych.models")
    if name not in HOME:
        raise AttributeError(f"module 'triptych' has no attribute {name!r}")
    value = getattr(import_module(HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
