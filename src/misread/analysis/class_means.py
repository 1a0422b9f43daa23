"""Accuracy by class: the means over classes, and warnings where the accuracy alone would mislead."""

from collections.abc import Sequence

import numpy as np

from misread.analysis.intervals import wilson_interval
from misread.messages import Message

CLEARLY_LOWER = 0.02  # of the balanced accuracy, in addition to lying outside the interval of the accuracy
WIDE = 0.1  # an interval of the accuracy from which little can be concluded


def class_means(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> dict[str, float]:
    """balanced_accuracy and macro_f1 of (N,) int64 labels and predictions; 0 if there are no images.

    balanced_accuracy: the mean recall of the classes that occur among the labels.
    macro_f1: the mean F1 of the classes that occur among labels or predictions.
    Both are defined as in scikit-learn (`balanced_accuracy_score`, and `f1_score` with average="macro").
    """
    right = np.bincount(labels[labels == predicted], minlength=n_classes)
    support, guessed = (np.bincount(classes, minlength=n_classes) for classes in (labels, predicted))
    return {
        "balanced_accuracy": _mean_share(right, support),
        "macro_f1": _mean_share(2 * right, support + guessed),
    }


def _mean_share(part: np.ndarray, whole: np.ndarray) -> float:
    some = whole > 0
    return float((part[some] / whole[some]).mean()) if some.any() else 0.0


def accuracy_warnings(labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Why the accuracy may mislead, a sentence each; empty if there is no reason.

    labels, predicted: (N,) int64 class indices.
    """
    n = len(labels)
    if not n:
        return []
    right = int((labels == predicted).sum())
    low, high = wilson_interval(right, n)
    accuracy, balanced = right / n, class_means(labels, predicted, len(class_names))["balanced_accuracy"]
    counts = np.bincount(labels, minlength=len(class_names))
    most = int(counts.argmax())
    share = float(counts[most] / n)
    warnings: list[str] = []
    if share >= low:
        name, values = repr(class_names[most]), {"accuracy": f"{accuracy:.2%}", "share": f"{share:.2%}"}
        warnings.append(Message("warning.constant", name=name, **values))
    elif balanced < min(low, accuracy - CLEARLY_LOWER):
        warnings.append(Message("warning.rare", accuracy=f"{accuracy:.2%}", balanced=f"{balanced:.2%}"))
    if high - low > WIDE:
        warnings.append(Message("warning.few", n=n, low=f"{low:.0%}", high=f"{high:.0%}"))
    return warnings
