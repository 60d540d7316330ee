"""The vocabulary: space, given, likelihood, model, game."""

from triptych.core.asking import asked, learned, learning
from triptych.core.classes import Labels, PartialLabels
from triptych.core.config import Count, Doublings, Fraction, NonNegative, Positive, Several, config
from triptych.core.data import Data, sent
from triptych.core.divisible import check_multiple, check_sides
from triptych.core.game import Clock, Loss, Player, Preset, Stage, sized, unchanged
from triptych.core.given import Batch, Given, Label, PartialLabel, Picture, Text, Transfer, Vector
from triptych.core.likelihood import Estimate, Exact, Likelihood, LowerBound
from triptych.core.model import (
    AnySize,
    Autoregressive,
    Coding,
    Decoding,
    Generative,
    HasLikelihood,
    Stepwise,
    Truncatable,
    TwoWay,
    evaluating,
)
from triptych.core.muon import Muon, MuonOf
from triptych.core.noise import ItemNoise, Noise, StepNoise, mix
from triptych.core.optimizers import Adam, RMSProp
from triptych.core.precision import full, precisely, products
from triptych.core.sampling import FAITHFUL, UNKNOWN, Sampling, category, inverse_cdf, levels_of, prefix
from triptych.core.space import Leveled, Space, trusting
from triptych.core.spaces import AnySpace, Audio, Images, Points, Tokens, Video, Voxels, planar
from triptych.core.text import BytePairs, Characters, Symbols
from triptych.errors import (
    CollapseError,
    DataError,
    IntegrityError,
    NonFiniteError,
    ResourceError,
    TriptychError,
    UsageError,
)

__all__ = [
    "FAITHFUL",
    "UNKNOWN",
    "Adam",
    "AnySize",
    "AnySpace",
    "Audio",
    "Autoregressive",
    "Batch",
    "BytePairs",
    "Characters",
    "Clock",
    "Coding",
    "CollapseError",
    "Count",
    "Data",
    "DataError",
    "Decoding",
    "Doublings",
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
    "Muon",
    "MuonOf",
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
    "RMSProp",
    "ResourceError",
    "Sampling",
    "Several",
    "Space",
    "Stage",
    "StepNoise",
    "Stepwise",
    "Symbols",
    "Text",
    "Tokens",
    "Transfer",
    "TriptychError",
    "Truncatable",
    "TwoWay",
    "UsageError",
    "Vector",
    "Video",
    "Voxels",
    "asked",
    "category",
    "check_multiple",
    "check_sides",
    "config",
    "evaluating",
    "full",
    "inverse_cdf",
    "learned",
    "learning",
    "levels_of",
    "mix",
    "planar",
    "precisely",
    "prefix",
    "products",
    "sent",
    "sized",
    "trusting",
    "unchanged",
]
