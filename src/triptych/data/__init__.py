"""Data: sources, packed once into memory-mapped arrays and served by one gather a batch."""

from triptych.data.builtin import BUILTIN
from triptych.data.controlled import Mixture
from triptych.data.dataset import Dataset
from triptych.data.files import Problem
from triptych.data.fits import check_fits
from triptych.data.sources import data, pack
from triptych.data.text import Tokenizer

__all__ = ["BUILTIN", "Dataset", "Mixture", "Problem", "Tokenizer", "check_fits", "data", "pack"]
