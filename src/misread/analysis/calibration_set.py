"""Which images a method is fitted on, and which it is measured on: never the same."""

from typing import TYPE_CHECKING

import numpy as np

from misread.errors import DataError

if TYPE_CHECKING:
    from misread.analysis.predictions import Predictions


def fitted_and_measured(
    predictions: "Predictions", fit_on: "Predictions | None"
) -> "tuple[Predictions, Predictions] | None":
    """(those to fit on, those to measure on).

    With `fit_on`, validation predictions of the same model: those, and all of `predictions`. Without: two halves of
    `predictions`, which are named as such. None where no class has two images to halve.
    Raises DataError: other classes, or `fit_on` are the very predictions to be measured.
    """
    if fit_on is None:
        first, second = predictions.halves()
        return (first, second) if len(first) and len(second) else None
    if fit_on.class_names != predictions.class_names:
        raise DataError(
            f"The predictions to fit on have the classes {', '.join(fit_on.class_names)}; those to measure on have "
            f"{', '.join(predictions.class_names)}."
        )
    if np.array_equal(fit_on.probs, predictions.probs) and np.array_equal(fit_on.labels, predictions.labels):
        raise DataError(
            "These are the same images: fitted and measured on them, the result would look better than it is. "
            "Give validation images as fit_on, or leave it out: then one half is fitted on and the other measured."
        )
    return fit_on, predictions
