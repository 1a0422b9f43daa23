"""Conformal prediction: for each image a set of classes that holds its label at a chosen rate."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from misread.analysis.calibration_set import calibration_and_measured
from misread.analysis.intervals import wilson_interval
from misread.analysis.scored import Scored
from misread.errors import DataError


def conformal_threshold(labels: np.ndarray, probs: np.ndarray, error_level: float) -> float:
    """The least probability of a class that belongs to an image's set.

    labels: (N,) int64. probs: (N, K), of images that neither trained the model nor are measured afterwards.
    For new images that are exchangeable with these, a set holds the label with a probability of at least
    1 - error_level, whatever the model. If N is below 1 / error_level - 1, the threshold is 0 and each set holds every
    class: so few images guarantee no more.
    Raises DataError: error_level is not between 0 and 1.
    Source: split conformal prediction with the least ambiguous sets, Sadinle, Lei and Wasserman 2019, "Least
    ambiguous set-valued classifiers with bounded error levels", arXiv 1609.00451.
    """
    if not 0 < error_level < 1:
        raise DataError(f"The error level is {error_level:g}; it must lie between 0 and 1, like 0.01.")
    of_labels = np.sort(probs[np.arange(len(labels)), labels])
    outside = math.floor((len(labels) + 1) * error_level + 1e-9)  # labels that may be outside; 0.29 * 100 is below 29
    return float(of_labels[outside - 1]) if outside else 0.0


def prediction_sets(probs: np.ndarray, threshold: float) -> np.ndarray:
    """(N, K) bool: the classes in each image's set. A set is empty if no class is probable enough."""
    return probs >= threshold


@dataclass(frozen=True)
class ConformalSets:
    """Prediction sets at an error level: their threshold, and how they do on images that it was not fitted on.

    fitted_on, measured_on: which images, in words. n_fitted, n: how many.
    coverage: the share of the measured images whose set holds the label, with its 95% Wilson interval.
    mean_size: classes in a set on average. sizes: how many sets have 0, 1, 2, ... classes, up to the largest.
    """

    error_level: float
    threshold: float
    fitted_on: str
    n_fitted: int
    measured_on: str
    n: int
    coverage: float
    coverage_low: float
    coverage_high: float
    mean_size: float
    sizes: tuple[int, ...]

    def sets(self, probs: np.ndarray) -> np.ndarray:
        """(N, K) bool: the sets of other images. probs: (N, K), by the same model."""
        return prediction_sets(probs, self.threshold)

    @property
    def needed(self) -> int:
        """How many images the calibration set needs before a set of this error level can leave out a class."""
        return math.ceil(1 / self.error_level - 1 - 1e-9)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "sizes": list(self.sizes)}


def conformal_sets(scored: Scored, error_level: float, calibration_set: Scored | None = None) -> ConformalSets:
    """Fit the threshold on the calibration set, or on one half of `scored`; see `calibration_and_measured`.

    Raises DataError: an error level outside 0..1, or too few images to split.
    """
    pair = calibration_and_measured(scored, calibration_set)
    if pair is None:
        raise DataError(f"{len(scored)} images cannot be halved to fit on one half. Give a calibration set.")
    fitted, measured = pair
    threshold = conformal_threshold(fitted.labels, fitted.probs, error_level)
    sets = prediction_sets(measured.probs, threshold)
    n_covered = int(sets[np.arange(len(measured)), measured.labels].sum())
    low, high = wilson_interval(n_covered, len(measured))
    return ConformalSets(
        error_level=error_level,
        threshold=threshold,
        fitted_on=fitted.split,
        n_fitted=len(fitted),
        measured_on=measured.split,
        n=len(measured),
        coverage=n_covered / len(measured),
        coverage_low=low,
        coverage_high=high,
        mean_size=float(sets.sum(axis=1).mean()),
        sizes=tuple(np.bincount(sets.sum(axis=1)).tolist()),
    )
