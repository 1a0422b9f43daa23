"""Label issues: which labels are doubtful, by probabilities of a model that did not train on the images.

Throughout
labels: (N,) int64 class indices 0..K-1, as stored in the data.
probs:  (N, K) floats, rows sum to 1; each row from a model that did not train on that image.
Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
arXiv 1911.00068: thresholds and confident joint in section 3.1, the two simple scores beside them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.data.image_hash import image_hashes
from misread.errors import DataError
from misread.names import nearest

if TYPE_CHECKING:
    from misread.analysis.predictions import Predictions
    from misread.figures.style import Picture

METHODS = ("self-confidence", "normalised-margin", "confident-learning")
SUM_TOLERANCE = 1e-2  # of a row: probabilities that were kept in 16 bits do not sum to 1 exactly
ROUNDING = 1e-12  # the mean of equal probabilities may come out this much above them


def label_issues(labels: np.ndarray, probs: np.ndarray | Sequence[np.ndarray], method: str = METHODS[0]) -> np.ndarray:
    """Rows ordered by how doubtful their label is, most doubtful first: (N,) int64. Ties keep data order.

    probs:  as above; or several such arrays, of an ensemble of models, whose mean is used.
    method: `self-confidence`, the lowest `self_confidence` first;
            `normalised-margin`, the greatest `margins` first;
            `confident-learning`, the rows of `flagged_issues` first, then the others, each by margin.
    Raises DataError: an unknown method, lengths that differ, a label outside 0..K-1, rows that are no probabilities.
    """
    check_method(method)
    labels, probs = checked_probs(labels, probs)
    if method == "self-confidence":
        return np.argsort(self_confidence(labels, probs), kind="stable")
    unlikely = -margins(labels, probs)
    if method == "normalised-margin":
        return np.argsort(unlikely, kind="stable")
    return np.lexsort((unlikely, ~flagged_issues(labels, probs)))  # stable; the last key counts first


def check_method(method: str) -> None:
    """Raises DataError: there is no such method."""
    if method not in METHODS:
        raise DataError(f"There is no method {method!r}.{nearest(method, METHODS)} Known: {', '.join(METHODS)}.")


def checked_probs(labels: np.ndarray, probs: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """int64 labels and float64 probs as the functions below take them; several arrays of probs become their mean.

    Raises DataError: as `label_issues` does.
    """
    labels = np.asarray(labels)
    several = [np.asarray(p, dtype=np.float64) for p in (probs if _is_several(probs) else [probs])]
    for array in several:
        if array.ndim != 2 or len(array) != len(labels) or array.shape != several[0].shape:
            raise DataError(
                f"labels has the shape {labels.shape} and probs {array.shape}; needed are (N,) and (N, K)"
                + (", the same for each array of probs." if len(several) > 1 else ".")
            )
        wrong = ~((array >= 0).all(axis=1) & (abs(array.sum(axis=1) - 1) < SUM_TOLERANCE))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"probs is not probabilities at row {row:,}: {np.array2string(array[row], precision=3)}.\n"
                "Each row has to be 0 or more everywhere and sum to 1; logits become so by softmax."
            )
    classes = several[0].shape[1]
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(f"labels has {labels[row]} at row {row:,}, but probs has {classes} columns, 0..{classes - 1}.")
    return labels.astype(np.int64), np.mean(several, axis=0)


def _is_several(probs: np.ndarray | Sequence[np.ndarray]) -> bool:
    return np.ndim(probs[0]) == 2 if len(probs) else False


def self_confidence(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1], the probability of the label: low where it is doubtful."""
    return probs[np.arange(len(labels)), labels]


def margins(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) in [-1, 1], the greatest probability of another class less the label's: high where the label is doubtful.

    The paper's normalised margin with its sign turned: so it is the misread table's margin where an image is misread,
    and below 0 where it is read right.
    """
    others = probs.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.max(axis=1) - self_confidence(labels, probs)


def class_thresholds(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(K,), the mean probability of a class over the images labelled with it; infinite for a class without images."""
    counts = np.bincount(labels, minlength=probs.shape[1])
    sums = np.bincount(labels, weights=self_confidence(labels, probs), minlength=probs.shape[1])
    return np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)


def confident_classes(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) int64, the most probable class of those that reach their threshold, of equals the first; -1 for none."""
    reached = probs >= class_thresholds(labels, probs) - ROUNDING
    return np.where(reached.any(axis=1), np.where(reached, probs, -np.inf).argmax(axis=1), -1)


def confident_joint(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(K, K) int64: how many images are labelled i (row) and confidently of class j (column).

    Images without a confident class are not counted. Those off the diagonal are the `flagged_issues`.
    """
    classes, confident = probs.shape[1], confident_classes(labels, probs)
    counted = confident >= 0
    cells = labels[counted] * classes + confident[counted]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def flagged_issues(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) bool: off the diagonal of the confident joint, where confident learning takes the label for wrong."""
    confident = confident_classes(labels, probs)
    return (confident >= 0) & (confident != labels)


def suggested_labels(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) int64, the confident class of a flagged image, else the most probable class, which may be the label."""
    return np.where(flagged_issues(labels, probs), confident_classes(labels, probs), probs.argmax(axis=1))


class LabelIssues(pd.DataFrame):
    """A DataFrame of images, the most doubtful label first; `wall()` draws the first of them.

    Columns: index (row in the source), file, label, suggested (names), self_confidence, margin, flagged (by confident
    learning), split; and hash (`image_hash`) where the images are known.
    """

    _metadata = ("title", "predictions", "order")
    title: str
    predictions: "Predictions"
    order: np.ndarray  # of each line, the position of its image in the predictions

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def wall(self, count: int = 20) -> "Picture":
        """The `count` most doubtful, or all when there are fewer: each image with its label and the suggested one.

        Raises DataError: the images are not known, as where only labels and probabilities were given.
        """
        from misread.figures.label_issues import label_issues_figure

        shown = self.head(count)
        title = f"The {len(shown):,} most doubtful of {len(self):,} labels ({self.title})"
        return label_issues_figure(shown, self.predictions.images[self.order[:count]], title)


def label_issue_table(predictions: "Predictions", method: str, splits: Sequence[str] | np.ndarray) -> LabelIssues:
    """One line for every image, in the order of `label_issues`. splits: N names, of the split that each image is in."""
    labels, probs = checked_probs(predictions.labels, predictions.probs)
    names = np.array(predictions.class_names, dtype=object)
    columns = {
        "index": predictions.rows,
        "file": predictions.files if predictions.files is not None else "",
        "label": names[labels],
        "suggested": names[suggested_labels(labels, probs)],
        "self_confidence": self_confidence(labels, probs),
        "margin": margins(labels, probs),
        "flagged": flagged_issues(labels, probs),
        "split": splits,
    }
    if predictions.has_images:
        columns["hash"] = image_hashes(predictions.images)
    order = label_issues(labels, probs, method)
    table = LabelIssues(pd.DataFrame(columns).iloc[order].reset_index(drop=True))
    table.title, table.predictions, table.order = f"{predictions.title}, {method}", predictions, order
    return table
