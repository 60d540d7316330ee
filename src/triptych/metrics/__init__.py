"""How good are samples? Distances on named features, shares from neighbors, copies, modes, classes; and how near are
pictures to the true ones? Each number with its protocol."""

from triptych.metrics.classes import ClassReport, Reader, judge_digits, purity, read_classes
from triptych.metrics.colors import hue_error
from triptych.metrics.digits import classify
from triptych.metrics.distances import Distances, Memorization, Reference, Scores, distances, memorization
from triptych.metrics.extractors import (
    EXTRACTORS,
    FEATURES,
    PCA,
    Extractor,
    MNISTClassifier,
    Pixels,
    check_name,
    extractor,
)
from triptych.metrics.fidelity import Convention, Fidelity, fidelity, psnr_within, within_holes
from triptych.metrics.frechet import frechet_distance, frechet_distance_of_gaussians
from triptych.metrics.images import eight_bit
from triptych.metrics.kernel import KernelDistance, kernel_distance, kernel_distance_of_subsets
from triptych.metrics.measurement import Measurement
from triptych.metrics.modes import ModeCoverage, StackedDigits, mode_coverage, stacked_digit_modes
from triptych.metrics.neighbors import PRDC, Nearest, nearest, own_nearest, prdc
from triptych.metrics.random_conv import RandomConv
from triptych.metrics.shipped import Shipped, shipped
from triptych.metrics.solids import iou, shape_measurements
from triptych.metrics.trained import Trained

__all__ = [
    "EXTRACTORS",
    "FEATURES",
    "PCA",
    "PRDC",
    "ClassReport",
    "Convention",
    "Distances",
    "Extractor",
    "Fidelity",
    "KernelDistance",
    "MNISTClassifier",
    "Measurement",
    "Memorization",
    "ModeCoverage",
    "Nearest",
    "Pixels",
    "RandomConv",
    "Reader",
    "Reference",
    "Scores",
    "Shipped",
    "StackedDigits",
    "Trained",
    "check_name",
    "classify",
    "distances",
    "eight_bit",
    "extractor",
    "fidelity",
    "frechet_distance",
    "frechet_distance_of_gaussians",
    "hue_error",
    "iou",
    "judge_digits",
    "kernel_distance",
    "kernel_distance_of_subsets",
    "memorization",
    "mode_coverage",
    "nearest",
    "own_nearest",
    "prdc",
    "psnr_within",
    "purity",
    "read_classes",
    "shape_measurements",
    "shipped",
    "stacked_digit_modes",
    "within_holes",
]
