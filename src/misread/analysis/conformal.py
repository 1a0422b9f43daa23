"""Conformal prediction: a set of classes for each image that holds its label as often as was asked for."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from misread.analysis.fitted_on import fitted_and_measured
from misread.analysis.intervals import wilson_interval
from misread.errors import DataError

if TYPE_CHECKING:
    from misread.analysis.predictions import Predictions


def conformal_threshold(labels: np.ndarray, probs: np.ndarray, error_level: float) -> float:
    """The probability from which on a class belongs to an image's set.

    labels: (N,) int64. probs: (N, K), of images that neither trained the model nor are measured afterwards.
    On new images that are like these, drawn together with them, sets hold the label with a probability of at least
    1 - error_level, whatever the model. 0, so that a set holds every class, where N is too small to promise less:
    below 1 / error_level - 1.
    Raises DataError: error_level is not between 0 and 1.
    Source: split conformal prediction with the least ambiguous sets, Sadinle, Lei and Wasserman 2019, "Least
    ambiguous set-valued classifiers with bounded error levels", arXiv 1609.00451.
    """
    if not 0 < error_level < 1:
        raise DataError(f"The error level is {error_level:g}; needed is a share between 0 and 1, like 0.01.")
    of_labels = np.sort(probs[np.arange(len(labels)), labels])
    below = math.floor((len(labels) + 1) * error_level + 1e-9)  # as many labels may stay outside; 0.07 * 100 is above 7
    return float(of_labels[below - 1]) if below else 0.0


def prediction_sets(probs: np.ndarray, threshold: float) -> np.ndarray:
    """(N, K) bool: the classes in each image's set. A set may be empty: no class is probable enough."""
    return probs >= threshold


@dataclass(frozen=True)
class ConformalSets:
    """Prediction sets at an error level: the threshold, what it was fitted on, and what was measured on other images.

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
        """(N, K) bool: the sets of other images, whose probs (N, K) are of the same model."""
        return prediction_sets(probs, self.threshold)

    @property
    def needed(self) -> int:
        """How many images have to be fitted on before the sets of this error level say anything."""
        return math.ceil(1 / self.error_level - 1 - 1e-9)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "sizes": list(self.sizes)}


def conformal_sets(
    predictions: "Predictions", error_level: float, fit_on: "Predictions | None" = None
) -> ConformalSets:
    """Fit the threshold on `fit_on`, or on one half and measure on the other (see `fitted_and_measured`).

    Raises DataError: an error level outside 0..1, or too few images to hold some back.
    """
    pair = fitted_and_measured(predictions, fit_on)
    if pair is None:
        raise DataError(f"{len(predictions)} images cannot be halved, to fit on one half. Give others as fit_on.")
    fitted, measured = pair
    threshold = conformal_threshold(fitted.labels, fitted.probs, error_level)
    sets = prediction_sets(measured.probs, threshold)
    held = int(sets[np.arange(len(measured)), measured.labels].sum())
    low, high = wilson_interval(held, len(measured))
    return ConformalSets(
        error_level=error_level,
        threshold=threshold,
        fitted_on=fitted.split,
        n_fitted=len(fitted),
        measured_on=measured.split,
        n=len(measured),
        coverage=held / len(measured),
        coverage_low=low,
        coverage_high=high,
        mean_size=float(sets.sum(axis=1).mean()),
        sizes=tuple(np.bincount(sets.sum(axis=1)).tolist()),
    )
