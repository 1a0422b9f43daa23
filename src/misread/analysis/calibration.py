"""Calibration: are nine in ten of the images read right that are read with a confidence of 0.9?"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.calibration_set import calibration_and_measured
from misread.analysis.intervals import wilson_intervals
from misread.analysis.records import records
from misread.analysis.scored import Scored
from misread.analysis.temperature import HIGHEST, LOWEST, fit_temperature
from misread.errors import DataError

if TYPE_CHECKING:
    from misread.figures.style import Picture

BINS = 15  # as in Guo et al. 2017


def reliability_table(labels: np.ndarray, probs: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Mean confidence and accuracy in bins of equal width; bin m has the confidences in (m/bins, (m+1)/bins].

    labels: (N,) int64. probs: (N, K).
    Columns: low, high (the bin's bounds), n, confidence (mean), accuracy, accuracy_low, accuracy_high (95% Wilson).
    A bin without images has NaN and the interval 0..1.
    """
    confidence = probs.max(axis=1).astype(np.float64)
    right = probs.argmax(axis=1) == labels
    place = confidence_bins(confidence, bins)
    n_right = np.bincount(place, weights=right, minlength=bins).astype(np.int64)
    sums = np.bincount(place, weights=confidence, minlength=bins)
    return reliability_table_of(np.bincount(place, minlength=bins), n_right, sums)


def confidence_bins(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(N,) int64, the bin 0..bins-1 of each confidence in [0, 1], as in `reliability_table`."""
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


def reliability_table_of(n: np.ndarray, n_right: np.ndarray, sums: np.ndarray) -> pd.DataFrame:
    """`reliability_table` of what was counted in each bin: images, those read right, and the sum of confidences."""
    edges = np.arange(len(n) + 1) / len(n)
    some = np.where(n > 0, n, np.nan)
    low, high = wilson_intervals(n_right, n)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": n,
            "confidence": sums / some,
            "accuracy": n_right / some,
            "accuracy_low": low,
            "accuracy_high": high,
        }
    )


def expected_calibration_error(labels: np.ndarray, probs: np.ndarray, bins: int = BINS) -> float:
    """The mean over images of |accuracy - confidence| of their bin, in [0, 1]; 0 is best, and NaN without images.

    Few images give a value above 0 even to a perfectly calibrated model.
    Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599, equation 3.
    """
    return expected_calibration_error_of(reliability_table(labels, probs, bins))


def expected_calibration_error_of(table: pd.DataFrame) -> float:
    """`expected_calibration_error` of a `reliability_table`."""
    table = table[table["n"] > 0]
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["n"]).sum() / table["n"].sum()) if len(table) else math.nan


@dataclass(frozen=True)
class TemperatureScaling:
    """A temperature, the images that it was fitted on, and its effect on other images.

    fitted_on, measured_on: which images, in words. n_fitted, n: how many.
    ece: expected calibration error. loss: cross-entropy. table: `reliability_table` of the measured images, scaled.
    """

    temperature: float
    fitted_on: str
    n_fitted: int
    measured_on: str
    n: int
    ece_before: float
    ece_after: float
    loss_before: float
    loss_after: float
    table: pd.DataFrame

    @property
    def at_bound(self) -> bool:
        """Whether the search ended at a bound: the images do not determine the temperature.

        All of them are read right, or hardly any.
        """
        return self.temperature in (LOWEST, HIGHEST)

    def to_dict(self) -> dict[str, Any]:
        values = {key: value for key, value in vars(self).items() if key != "table"}
        return {**values, "at_bound": self.at_bound, "bins": records(self.table)}


@dataclass(frozen=True)
class Calibration:
    """How well confidence matches accuracy.

    ece: expected calibration error over `BINS` bins. confidence, accuracy: means over all n images.
    table: `reliability_table`. scaling: None if there are too few images to split.
    """

    title: str
    n: int
    ece: float
    confidence: float
    accuracy: float
    table: pd.DataFrame
    scaling: TemperatureScaling | None

    def figure(self) -> "Picture":
        """The reliability diagram, before and after temperature scaling."""
        from misread.figures.reliability import reliability_figure

        panels = [(f"As predicted: ECE {self.ece:.2%}, {self.n:,} images", self.table)]
        if (s := self.scaling) is not None:
            panels.append((f"Temperature {s.temperature:.2f}: ECE {s.ece_after:.2%}, {s.n:,} images", s.table))
        return reliability_figure(panels, self.title)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `scaling` may be None."""
        return {
            "n": self.n,
            "ece": self.ece,
            "n_bins": len(self.table),
            "confidence": self.confidence,
            "accuracy": self.accuracy,
            "bins": records(self.table),
            "scaling": self.scaling.to_dict() if self.scaling else None,
        }

    def __repr__(self) -> str:
        measured = (
            f"{self.title}, {self.n:,} images: ECE {self.ece:.4f}, mean confidence {self.confidence:.2%}, "
            f"accuracy {self.accuracy:.2%}"
        )
        if self.scaling is None:
            return f"Calibration({measured})"
        s = self.scaling
        return (
            f"Calibration({measured}; temperature {s.temperature:.3f} fitted on {s.n_fitted:,} images ({s.fitted_on}), "
            f"measured on {s.n:,} ({s.measured_on}): ECE {s.ece_before:.4f} -> {s.ece_after:.4f}, "
            f"loss {s.loss_before:.4f} -> {s.loss_after:.4f})"
        )


def calibration(scored: Scored, calibration_set: Scored | None = None) -> Calibration:
    """Expected calibration error, reliability table and temperature scaling.

    calibration_set: images to fit the temperature on. Without it, one half of `scored` is fitted on and the other half
                     measured: see `calibration_and_measured`.
    Raises DataError: there are no images, or the calibration set is the images to be measured.
    """
    if not len(scored):
        raise DataError("There are no images to measure calibration on.")
    pair = calibration_and_measured(scored, calibration_set)
    return Calibration(
        title=scored.title,
        n=len(scored),
        ece=expected_calibration_error(scored.labels, scored.probs),
        confidence=float(scored.confidence.mean(dtype=np.float64)),
        accuracy=float(1 - scored.misread.mean()),
        table=reliability_table(scored.labels, scored.probs),
        scaling=_scaling(*pair) if pair else None,
    )


def _scaling(calibration_set: Scored, measured: Scored) -> TemperatureScaling:
    temperature = fit_temperature(calibration_set.labels, calibration_set.probs)
    scaled = measured.with_temperature(temperature)
    return TemperatureScaling(
        temperature=temperature,
        fitted_on=calibration_set.split,
        n_fitted=len(calibration_set),
        measured_on=measured.split,
        n=len(measured),
        ece_before=expected_calibration_error(measured.labels, measured.probs),
        ece_after=expected_calibration_error(scaled.labels, scaled.probs),
        loss_before=float(measured.losses.mean()),
        loss_after=float(scaled.losses.mean()),
        table=reliability_table(scaled.labels, scaled.probs),
    )
