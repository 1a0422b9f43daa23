"""Which class was read as which."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.intervals import wilson_intervals
from misread.analysis.records import records, with_names
from misread.analysis.scored import Scored

if TYPE_CHECKING:
    from misread.figures.style import Picture


def confusion_counts(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(K, K) int64: rows are the true classes, columns the predicted ones; the diagonal was read right.

    labels, predicted: (N,) int64 class indices 0..K-1.
    """
    return np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


@with_names
def confused_pairs(counts: np.ndarray, class_names: tuple[str, ...]) -> pd.DataFrame:
    """One line for every pair of classes of which the first was read as the second, the most frequent pair first.

    counts: (K, K), rows true, columns predicted.
    Columns: label, prediction (names), n, share (of all images with this label), share_low, share_high (95% Wilson).
    Equals are in class order.
    """
    off_diagonal = counts * (1 - np.eye(len(counts), dtype=np.int64))
    label, prediction = np.nonzero(off_diagonal)
    order = np.argsort(-off_diagonal[label, prediction], kind="stable")
    label, prediction = label[order], prediction[order]
    n, of_label = counts[label, prediction], counts.sum(axis=1)[label]
    low, high = wilson_intervals(n, of_label)
    names = np.array(class_names, dtype=object)
    return pd.DataFrame(
        {
            "label": names[label],
            "prediction": names[prediction],
            "n": n,
            "share": n / of_label,
            "share_low": low,
            "share_high": high,
        }
    )


class Confusion:
    """The confusion matrix, and the images behind each of its cells."""

    def __init__(self, scored: Scored) -> None:
        self.scored = scored
        self.class_names = scored.class_names

    @cached_property
    def counts(self) -> np.ndarray:
        """(K, K) int64: rows true, columns predicted."""
        return confusion_counts(self.scored.labels, self.scored.predicted, len(self.class_names))

    @property
    @with_names
    def table(self) -> pd.DataFrame:
        """The matrix with its class names: rows `true`, columns `predicted`."""
        return pd.DataFrame(
            self.counts,
            index=pd.Index(self.class_names, name="true"),
            columns=pd.Index(self.class_names, name="predicted"),
        )

    @property
    def pairs(self) -> pd.DataFrame:
        """The confused pairs, the most frequent first; see `confused_pairs`."""
        return confused_pairs(self.counts, self.class_names)

    def rows(self, label: object, prediction: object) -> np.ndarray:
        """(M,) int64, the source's rows of the images with this label and this prediction, both class names.

        Raises DataError: there is no class of that name.
        """
        scored = self.scored
        label_index, predicted_index = scored.class_index(label), scored.class_index(prediction)
        return scored.rows[(scored.labels == label_index) & (scored.predicted == predicted_index)]

    def figure(self) -> "Picture":
        """The matrix as a picture; its shading shows the mistakes, not the diagonal."""
        from misread.figures.confusion import confusion_figure

        return confusion_figure(self.counts, self.class_names, self.scored.title)

    def to_dict(self) -> dict[str, Any]:
        """class_names, counts (a list for each true class) and pairs, as plain values for JSON."""
        return {
            "class_names": list(self.class_names),
            "counts": self.counts.tolist(),
            "pairs": records(self.pairs),
        }

    def __repr__(self) -> str:
        return f"Confusion({self.scored.title}; rows true, columns predicted)\n{self.table}"

    def _repr_html_(self) -> str:
        html: str = self.table.to_html(max_rows=40, max_cols=40)
        return f"<p>{self.scored.title}; rows true, columns predicted</p>{html}"
