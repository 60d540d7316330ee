"""Data: sources, packed once into memory-mapped arrays and served by one gather a batch.

The package itself can be called: `triptych.data("mnist")` is `triptych.data.data("mnist")`. Otherwise the public name
would mean a function or a module, depending on what was imported first.
"""

import sys
from types import ModuleType

from triptych.data.builtin import BUILTIN
from triptych.data.controlled import Mixture
from triptych.data.crops import Crops
from triptych.data.dataset import Dataset
from triptych.data.files import Problem
from triptych.data.fits import check_fits, fitted
from triptych.data.pairing import Unpaired, View, pair, unpaired
from triptych.data.sources import Served, data, pack
from triptych.data.text import Tokenizer

__all__ = [
    "BUILTIN",
    "Crops",
    "Dataset",
    "Mixture",
    "Problem",
    "Served",
    "Tokenizer",
    "Unpaired",
    "View",
    "check_fits",
    "data",
    "fitted",
    "pack",
    "pair",
    "unpaired",
]


class Callable(ModuleType):
    """This package, as a function."""

    __call__ = staticmethod(data)


sys.modules[__name__].__class__ = Callable
