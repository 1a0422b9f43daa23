"""Labels and probabilities from anywhere, checked and brought to one form. The only checks of either in `analysis`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from misread.data.image_set import checked_labels
from misread.errors import DataError

SUM_TOLERANCE = 0.01  # how far a row's sum may be from 1; float16 over a thousand classes stays well within it


def checked_probs(raw: Any) -> np.ndarray:
    """(N, K) floats in their own precision, rows that sum to 1; whole numbers become float64.

    raw: anything that NumPy makes an array of.
    Raises DataError: another shape, fewer than two classes, no numbers, or a row that is no probabilities.
    """
    probs = np.asarray(raw)
    if probs.ndim != 2 or probs.shape[1] < 2:
        hint = ""
        if probs.ndim == 1 or (probs.ndim == 2 and probs.shape[1] == 1):
            hint = "\nIf p is the probability of the second of two classes, give np.stack([1 - p, p], axis=1)."
        raise DataError(
            f"probs has the shape {probs.shape}; it must be (N, K), with one column for each of K classes.{hint}"
        )
    if probs.dtype.kind not in "fiub":
        raise DataError(f"probs holds {probs.dtype} values, not numbers.")
    probs = probs if probs.dtype.kind == "f" else probs.astype(np.float64)
    sums = probs.sum(axis=1, dtype=np.float64)
    wrong = ~((probs >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))  # written so that NaN is wrong too
    if wrong.any():
        row = int(np.argmax(wrong))
        low, high = float(probs[row].min()), float(probs[row].max())
        raise DataError(
            f"probs: row {row:,} runs from {low:.4g} to {high:.4g} and sums to {sums[row]:.4g} "
            f"({int(wrong.sum()):,} of {len(probs):,} rows are no probabilities).\n"
            "Each row needs numbers from 0 up that sum to 1. For logits, give scipy.special.softmax(logits, axis=1)."
        )
    return probs


def class_indices(raw: Any, names: Sequence[Any]) -> np.ndarray:
    """(N,) int64 class indices 0..K-1.

    raw:   (N,) indices; or one-hot (N, K); or values from `names`, if both are text or both are whole numbers.
    names: K names, or K whole numbers.
    Raises DataError: a label is not a class; the message names its row.
    """
    labels = np.asarray(raw)
    kinds = {np.asarray(names).dtype.kind, labels.dtype.kind}
    if labels.ndim == 1 and len(labels) and (kinds <= set("UO") or kinds <= set("iu")):
        index = {name: k for k, name in enumerate(names)}
        found = [index.get(label, -1) for label in labels.tolist()]
        if -1 in found:
            row = found.index(-1)
            listed = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
            raise DataError(
                f"labels has {labels.tolist()[row]!r} at row {row:,}, which is no class; there are {listed}."
            )
        return np.array(found, dtype=np.int64)
    indices, _width = checked_labels(labels, "labels")
    if len(indices) and indices.max() >= len(names):
        row = int(np.argmax(indices >= len(names)))
        raise DataError(
            f"labels has {indices[row]} at row {row:,}, outside 0..{len(names) - 1} for the {len(names)} classes."
        )
    return indices
