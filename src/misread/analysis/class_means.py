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
    return class_means_of(*_class_counts(labels, predicted, n_classes))


def _class_counts(
    labels: np.ndarray, predicted: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K,) each: images read right, of the label, and of the prediction."""
    which = labels[labels == predicted], labels, predicted
    right, support, guessed = (np.bincount(classes, minlength=n_classes) for classes in which)
    return right, support, guessed


def class_means_of(right: np.ndarray, support: np.ndarray, guessed: np.ndarray) -> dict[str, float]:
    """`class_means` of counts, (K,) each: the diagonal of a confusion matrix, its sums of rows and of columns."""
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
    return accuracy_warnings_of(*_class_counts(labels, predicted, len(class_names)), class_names)


def accuracy_warnings_of(
    right: np.ndarray, support: np.ndarray, guessed: np.ndarray, class_names: Sequence[str]
) -> list[str]:
    """`accuracy_warnings` of counts, as `class_means_of` takes them."""
    n, n_right = int(support.sum()), int(right.sum())
    if not n:
        return []
    low, high = wilson_interval(n_right, n)
    accuracy, balanced = n_right / n, class_means_of(right, support, guessed)["balanced_accuracy"]
    most = int(support.argmax())
    share = float(support[most] / n)
    warnings: list[str] = []
    if share >= low:
        name, values = repr(class_names[most]), {"accuracy": f"{accuracy:.2%}", "share": f"{share:.2%}"}
        warnings.append(Message("warning.constant", name=name, **values))
    elif balanced < min(low, accuracy - CLEARLY_LOWER):
        warnings.append(Message("warning.rare", accuracy=f"{accuracy:.2%}", balanced=f"{balanced:.2%}"))
    if high - low > WIDE:
        warnings.append(Message("warning.few", n=n, low=f"{low:.0%}", high=f"{high:.0%}"))
    return warnings
