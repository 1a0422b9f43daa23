"""Label issues: images whose label is doubtful, by the probabilities of a model that did not train on them.

In all functions:
labels: (N,) int64 class indices 0..K-1, as stored in the data.
probs:  (N, K) floats, rows sum to 1; each row from a model that did not train on that image.
Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
arXiv 1911.00068: section 3.1 has the thresholds and the confident joint, and names the two simple scores.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.checks import checked_probs, class_indices
from misread.analysis.probabilities import geometric_mean
from misread.analysis.records import with_names
from misread.analysis.scored import Scored
from misread.data.image_hash import image_hashes
from misread.errors import DataError
from misread.names import nearest

if TYPE_CHECKING:
    from misread.figures.style import Picture

METHODS = ("normalised-margin", "self-confidence", "confident-learning")
ROUNDING = 1e-12  # the mean of equal probabilities may come out this much above them


def label_issues(labels: np.ndarray, probs: np.ndarray | Sequence[np.ndarray], method: str = METHODS[0]) -> np.ndarray:
    """Rows ordered by how doubtful their label is, most doubtful first: (N,) int64. Ties are in data order.

    probs:  as above; or several such arrays, one for each model of an ensemble, whose `geometric_mean` is used.
    method: `normalised-margin`, the greatest `margins` first;
            `self-confidence`, the lowest `self_confidence` first;
            `confident-learning`, the rows of `flagged_issues` first, then the others, each by margin.
    Raises DataError: an unknown method, lengths that differ, a label outside 0..K-1, rows that are no probabilities.
    """
    check_method(method)
    labels, probs = _checked(labels, probs)
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


def _checked(labels: np.ndarray, probs: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """int64 labels and float64 probs, the geometric mean of several arrays."""
    members = probs if len(probs) and np.ndim(probs[0]) == 2 else [probs]
    checked = [checked_probs(member).astype(np.float64) for member in members]
    for array in checked:
        if len(array) != len(labels) or array.shape != checked[0].shape:
            raise DataError(
                f"labels has the shape {np.shape(labels)} and probs {array.shape}; needed are (N,) and (N, K)"
                + (", the same for each array of probs." if len(checked) > 1 else ".")
            )
    return class_indices(labels, range(checked[0].shape[1])), geometric_mean(checked)


def self_confidence(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1], the probability of the label: low if it is doubtful."""
    return probs[np.arange(len(labels)), labels]


def margins(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) in [-1, 1], the greatest probability of another class minus the label's: high if the label is doubtful.

    This is the paper's normalised margin with the opposite sign. It equals the misread table's margin for a misread
    image, and is below 0 for the others.
    """
    others = probs.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.max(axis=1) - self_confidence(labels, probs)


def class_thresholds(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(K,), the mean probability of a class over the images labelled with it; infinite for a class without images.

    The sums are exact before they are rounded, so the order of the images does not matter, nor how they are divided.
    """
    counts = np.bincount(labels, minlength=probs.shape[1])
    by_class = self_confidence(labels, probs)[np.argsort(labels, kind="stable")]
    sums = np.array([math.fsum(own) for own in np.split(by_class, np.cumsum(counts)[:-1])])
    return mean_of_sums(sums, counts)


def mean_of_sums(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(K,) `sums` divided by `counts`; infinite where the count is 0."""
    return np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)


def confident_classes(thresholds: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) int64, the most probable class among those that reach their threshold, the first of equals; -1 if none.

    thresholds: (K,), the `class_thresholds`.
    """
    reached = probs >= thresholds - ROUNDING
    return np.where(reached.any(axis=1), np.where(reached, probs, -np.inf).argmax(axis=1), -1)


def confident_joint(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(K, K) int64: how many images are labelled i (row) and confidently of class j (column).

    Images without a confident class are not counted. Those off the diagonal are the `flagged_issues`.
    """
    classes, confident = probs.shape[1], confident_classes(class_thresholds(labels, probs), probs)
    counted = confident >= 0
    cells = labels[counted] * classes + confident[counted]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def flagged_issues(labels: np.ndarray, probs: np.ndarray, at_most: int | None = None) -> np.ndarray:
    """(N,) bool: the image is off the diagonal of the confident joint: confident learning calls its label wrong.

    at_most: flag no more than these, those with the greatest `margins`; see `label_noise.estimate_noise`. Without it
             a weak model flags far too many, because every confident error of its own counts as a wrong label.
    """
    confident = confident_classes(class_thresholds(labels, probs), probs)
    flagged = (confident >= 0) & (confident != labels)
    if at_most is not None and at_most < flagged.sum():
        beyond = np.argsort(np.where(flagged, -margins(labels, probs), np.inf), kind="stable")[at_most:]
        flagged[beyond] = False
    return flagged


def suggested_labels(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(N,) int64, the confident class of a flagged image; else the most probable class, which may be the label."""
    return np.where(
        flagged_issues(labels, probs), confident_classes(class_thresholds(labels, probs), probs), probs.argmax(axis=1)
    )


class LabelIssues(pd.DataFrame):
    """A DataFrame of images, the most doubtful label first; `gallery()` draws the first of them.

    Columns: index (row in the source), file, label, suggested (names), self_confidence, margin, flagged (by
    `flagged_issues`), split; and hash (`image_hash`) if the images are known.
    """

    _metadata = ("title", "scored", "order")
    title: str
    scored: Scored
    order: np.ndarray  # the position in `scored` of each line's image

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def gallery(self, count: int = 20) -> "Picture":
        """The `count` most doubtful, or all if there are fewer: each image with its label and the suggested one.

        Raises DataError: the images are not known; only labels and probabilities were given.
        """
        from misread.figures.label_issues import label_issues_figure

        shown = self.head(count)
        title = f"The {len(shown):,} most doubtful of {len(self):,} labels ({self.title})"
        return label_issues_figure(shown, self.scored.images[self.order[:count]], title)


@with_names
def label_issue_table(
    scored: Scored, method: str, splits: Sequence[str] | np.ndarray, at_most: int | None = None
) -> LabelIssues:
    """One line for every image, in the order of `label_issues`.

    splits: (N,) names, the split of each image. at_most: the number of flagged labels, as `flagged_issues` takes it.
    """
    labels, probs = scored.labels, scored.probs.astype(np.float64)
    names = np.array(scored.class_names, dtype=object)
    columns = {
        "index": scored.rows,
        "file": scored.files if scored.files is not None else "",
        "label": names[labels],
        "suggested": names[suggested_labels(labels, probs)],
        "self_confidence": self_confidence(labels, probs),
        "margin": margins(labels, probs),
        "flagged": flagged_issues(labels, probs, at_most),
        "split": splits,
    }
    if scored.has_images:
        columns["hash"] = image_hashes(scored.images)
    order = label_issues(labels, probs, method)
    table = LabelIssues(pd.DataFrame(columns).iloc[order].reset_index(drop=True))
    table.title, table.scored, table.order = f"{scored.title}, {method}", scored, order
    return table
