"""Calibration: of the images read with a confidence of 0.9, are nine in ten read right? And temperature scaling."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.fitted_on import fitted_and_measured
from misread.analysis.intervals import wilson_intervals
from misread.analysis.records import records
from misread.errors import DataError

if TYPE_CHECKING:
    from misread.analysis.predictions import Predictions
    from misread.figures.style import Picture

BINS = 15  # as in Guo et al. 2017
COOLEST, HOTTEST = 0.05, 20.0  # temperatures; beyond them lie models that are always right, or no better than chance


def reliability_table(labels: np.ndarray, probs: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Confidence beside accuracy in bins of equal width; bin m holds confidences in (m/bins, (m+1)/bins].

    labels: (N,) int64. probs: (N, K).
    Columns: low, high (the bin's bounds), n, confidence (mean), accuracy, accuracy_low, accuracy_high (95% Wilson).
    A bin without images has NaN and the interval 0..1.
    """
    confidence = probs.max(axis=1).astype(np.float64)
    right = probs.argmax(axis=1) == labels
    edges = np.arange(bins + 1) / bins
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    n = np.bincount(place, minlength=bins)
    n_right = np.bincount(place, weights=right, minlength=bins).astype(np.int64)
    some = np.where(n > 0, n, np.nan)
    low, high = wilson_intervals(n_right, n)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": n,
            "confidence": np.bincount(place, weights=confidence, minlength=bins) / some,
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
    table = reliability_table(labels, probs, bins)
    table = table[table["n"] > 0]
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["n"]).sum() / len(labels)) if len(labels) else math.nan


def fit_temperature(labels: np.ndarray, probs: np.ndarray) -> float:
    """The temperature that makes the cross-entropy of these images least; above 1 where the model is over-confident.

    labels: (N,) int64, N >= 1. probs: (N, K), of images that neither trained the model nor are measured afterwards.
    The loss is convex in 1 / temperature, so a bracketed Newton search on its slope ends at the one minimum, or at
    the bound `COOLEST` where every image is read right, or at `HOTTEST` where the predictions are no better than none.
    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    logits = _logits(probs)
    of_labels = logits[np.arange(len(labels)), labels].mean()

    def slope_and_curvature(inverse: float) -> tuple[float, float]:
        """Of the loss, at this 1 / temperature."""
        scaled = _softmax(inverse * logits)
        means = np.einsum("nk,nk->n", scaled, logits)
        squares = np.einsum("nk,nk,nk->n", scaled, logits, logits)
        return float(means.mean() - of_labels), float((squares - means**2).mean())

    low, high, inverse = 1 / HOTTEST, 1 / COOLEST, 1.0
    if slope_and_curvature(low)[0] >= 0:
        return HOTTEST
    if slope_and_curvature(high)[0] <= 0:
        return COOLEST
    for _step in range(100):
        slope, curvature = slope_and_curvature(inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        newton = inverse - slope / curvature if curvature > 0 else math.inf
        following = newton if low < newton < high else math.sqrt(low * high)
        if abs(following - inverse) <= 1e-8 * inverse:
            break
        inverse = following
    return 1 / inverse


def apply_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """probs (N, K) float32 with the logits divided by the temperature; the predicted classes stay the same.

    The logarithm of a probability is its logit but for a constant, which the softmax takes away again.
    """
    return _softmax(_logits(probs) / temperature).astype(np.float32)


def _logits(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, np.finfo(np.float32).tiny).astype(np.float64))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = logits - logits.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


@dataclass(frozen=True)
class TemperatureScaling:
    """A temperature, what it was fitted on, and what it does to other images.

    fitted_on, measured_on: which images, in words; n_fitted, n: how many.
    ece: expected calibration error. loss: cross-entropy. table: of the images measured, scaled.
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
        """The images fitted on do not determine the temperature: all were read right, or as good as none."""
        return self.temperature in (COOLEST, HOTTEST)

    def to_dict(self) -> dict[str, Any]:
        values = {key: value for key, value in vars(self).items() if key != "table"}
        return {**values, "at_bound": self.at_bound, "bins": records(self.table)}


@dataclass(frozen=True)
class Calibration:
    """How far the confidence of predictions can be believed.

    ece: expected calibration error over `BINS` bins. confidence, accuracy: means over all n images.
    table: `reliability_table`. scaling: None where there were too few images to hold some back.
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
        """As JSON takes it; `scaling` is null where there is none."""
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
        said = (
            f"Calibration({self.title}, {self.n:,} images: ECE {self.ece:.4f}, mean confidence {self.confidence:.2%}, "
            f"accuracy {self.accuracy:.2%}"
        )
        if self.scaling is None:
            return f"{said})"
        s = self.scaling
        return (
            f"{said}; temperature {s.temperature:.3f} fitted on {s.n_fitted:,} images ({s.fitted_on}), measured on "
            f"{s.n:,} ({s.measured_on}): ECE {s.ece_before:.4f} -> {s.ece_after:.4f}, "
            f"loss {s.loss_before:.4f} -> {s.loss_after:.4f})"
        )


def calibration(predictions: "Predictions", fit_on: "Predictions | None" = None) -> Calibration:
    """Expected calibration error, reliability table and temperature scaling.

    The temperature is fitted on `fit_on`, or without them on one half and measured on the other: `fitted_and_measured`.
    Raises DataError: there are no images, or `fit_on` are the images to be measured.
    """
    if not len(predictions):
        raise DataError("There are no images to measure calibration on.")
    pair = fitted_and_measured(predictions, fit_on)
    return Calibration(
        title=predictions.title,
        n=len(predictions),
        ece=expected_calibration_error(predictions.labels, predictions.probs),
        confidence=float(predictions.confidence.mean(dtype=np.float64)),
        accuracy=float(1 - predictions.misread.mean()),
        table=reliability_table(predictions.labels, predictions.probs),
        scaling=_scaling(*pair) if pair else None,
    )


def _scaling(fit_on: "Predictions", measured: "Predictions") -> TemperatureScaling:
    temperature = fit_temperature(fit_on.labels, fit_on.probs)
    scaled = measured.with_temperature(temperature)
    return TemperatureScaling(
        temperature=temperature,
        fitted_on=fit_on.split,
        n_fitted=len(fit_on),
        measured_on=measured.split,
        n=len(measured),
        ece_before=expected_calibration_error(measured.labels, measured.probs),
        ece_after=expected_calibration_error(scaled.labels, scaled.probs),
        loss_before=float(measured.losses.mean()),
        loss_after=float(scaled.losses.mean()),
        table=reliability_table(scaled.labels, scaled.probs),
    )
