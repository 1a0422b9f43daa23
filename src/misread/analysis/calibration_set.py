"""The calibration set: images that a method is fitted on, which are never the images that it is measured on."""

import numpy as np

from misread.analysis.scored import Scored
from misread.errors import DataError


def calibration_and_measured(scored: Scored, calibration_set: Scored | None) -> tuple[Scored, Scored] | None:
    """(the images to fit on, the images to measure on).

    With a calibration set, such as the same model's validation images: that set, and all of `scored`.
    Without: two halves of `scored`, named as such. None if no class has two images.
    Raises DataError: other classes, or the calibration set is `scored` itself.
    """
    if calibration_set is None:
        first, second = scored.split_halves()
        return (first, second) if len(first) and len(second) else None
    if calibration_set.class_names != scored.class_names:
        raise DataError(
            f"The calibration set has the classes {', '.join(calibration_set.class_names)}; the images to measure have "
            f"{', '.join(scored.class_names)}."
        )
    same_probs = np.array_equal(calibration_set.probs, scored.probs)
    if same_probs and np.array_equal(calibration_set.labels, scored.labels):
        raise DataError(
            "The calibration set is the images to measure: the result would look better than it is.\n"
            "Give validation images, or no calibration set: then one half is fitted on and the other measured."
        )
    return calibration_set, scored
