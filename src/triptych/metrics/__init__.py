"""How good are samples? Distances on named features, shares from neighbors, copies, modes; each with its protocol."""

from triptych.metrics.digits import DigitReport, classify, judge_digits, purity
from triptych.metrics.evaluate import Evaluation, Reference, Scores, evaluate
from triptych.metrics.extractors import EXTRACTORS, PCA, Extractor, MNISTClassifier, Pixels, extractor
from triptych.metrics.frechet import frechet_distance, frechet_distance_of_gaussians
from triptych.metrics.images import eight_bit
from triptych.metrics.kernel import KernelDistance, kernel_distance, kernel_distance_of_subsets
from triptych.metrics.modes import ModeCoverage, StackedDigits, mode_coverage, stacked_digit_modes
from triptych.metrics.neighbors import PRDC, Nearest, nearest, prdc

__all__ = [
    "EXTRACTORS",
    "PCA",
    "PRDC",
    "DigitReport",
    "Evaluation",
    "Extractor",
    "KernelDistance",
    "MNISTClassifier",
    "ModeCoverage",
    "Nearest",
    "Pixels",
    "Reference",
    "Scores",
    "StackedDigits",
    "classify",
    "eight_bit",
    "evaluate",
    "extractor",
    "frechet_distance",
    "frechet_distance_of_gaussians",
    "judge_digits",
    "kernel_distance",
    "kernel_distance_of_subsets",
    "mode_coverage",
    "nearest",
    "prdc",
    "purity",
    "stacked_digit_modes",
]
