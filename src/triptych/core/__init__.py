"""The vocabulary: space, given, likelihood, model, game."""

from triptych.core.config import Count, Fraction, NonNegative, Positive, config
from triptych.core.data import Data
from triptych.core.game import Adam, Clock, Loss, Player, Preset, Stage
from triptych.core.given import Batch, Given, Label, PartialLabel, Picture, Text, Transfer
from triptych.core.likelihood import Estimate, Exact, Likelihood, LowerBound
from triptych.core.model import Autoregressive, Generative, HasLikelihood, evaluating
from triptych.core.noise import ItemNoise, Noise, StepNoise, mix
from triptych.core.sampling import FAITHFUL, UNKNOWN, Sampling, from_levels, inverse_cdf, levels_of, prefix, to_levels
from triptych.core.spaces import (
    AnySpace,
    Audio,
    Images,
    Labels,
    Leveled,
    PartialLabels,
    Points,
    Space,
    Tokens,
    Video,
    Voxels,
)
from triptych.core.text import BytePairs, Characters, Symbols
from triptych.errors import DataError, IntegrityError, NonFiniteError, ResourceError, TriptychError, UsageError

__all__ = [
    "FAITHFUL",
    "UNKNOWN",
    "Adam",
    "AnySpace",
    "Audio",
    "Autoregressive",
    "Batch",
    "BytePairs",
    "Characters",
    "Clock",
    "Count",
    "Data",
    "DataError",
    "Estimate",
    "Exact",
    "Fraction",
    "Generative",
    "Given",
    "HasLikelihood",
    "Images",
    "IntegrityError",
    "ItemNoise",
    "Label",
    "Labels",
    "Leveled",
    "Likelihood",
    "Loss",
    "LowerBound",
    "Noise",
    "NonFiniteError",
    "NonNegative",
    "PartialLabel",
    "PartialLabels",
    "Picture",
    "Player",
    "Points",
    "Positive",
    "Preset",
    "ResourceError",
    "Sampling",
    "Space",
    "Stage",
    "StepNoise",
    "Symbols",
    "Text",
    "Tokens",
    "Transfer",
    "TriptychError",
    "UsageError",
    "Video",
    "Voxels",
    "config",
    "evaluating",
    "from_levels",
    "inverse_cdf",
    "levels_of",
    "mix",
    "prefix",
    "to_levels",
]
