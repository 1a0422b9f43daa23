"""Precision, recall and F1 of each class."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.confusion import confusion_counts
from misread.analysis.intervals import wilson_intervals
from misread.analysis.records import records, with_names
from misread.analysis.scored import Scored

if TYPE_CHECKING:
    from misread.figures.style import Picture


@with_names
def per_class_table(counts: np.ndarray, class_names: tuple[str, ...]) -> pd.DataFrame:
    """One line a class, in class order.

    counts: (K, K), rows true, columns predicted.
    Columns: class; support (images with this label); recall (the share of them read as it); predicted (images read
    as this class); precision (the share of them with this label); f1. recall_low, recall_high, precision_low,
    precision_high: 95% Wilson intervals; F1 is not a proportion and has none.
    Recall without images and precision without predictions are NaN, with the interval 0..1.
    """
    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    recall_low, recall_high = wilson_intervals(right, support)
    precision_low, precision_high = wilson_intervals(right, predicted)
    return pd.DataFrame(
        {
            "class": list(class_names),
            "support": support,
            "recall": _share(right, support),
            "recall_low": recall_low,
            "recall_high": recall_high,
            "predicted": predicted,
            "precision": _share(right, predicted),
            "precision_low": precision_low,
            "precision_high": precision_high,
            "f1": _share(2 * right, support + predicted),
        }
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def per_class_means(table: pd.DataFrame) -> dict[str, float | None]:
    """`PerClass.means` of a `per_class_table`."""
    means = {name: float(table[name].mean()) for name in ("recall", "precision", "f1")}
    return {name: None if math.isnan(mean) else mean for name, mean in means.items()}


def per_class_dict(table: pd.DataFrame) -> dict[str, Any]:
    """classes (the lines of a `per_class_table`) and means, as plain values for JSON; undefined values are None."""
    return {"classes": records(table), "means": per_class_means(table)}


class PerClass:
    """Precision, recall and F1 of each class."""

    def __init__(self, scored: Scored) -> None:
        self.scored = scored

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line a class, in class order; see `per_class_table`."""
        scored = self.scored
        counts = confusion_counts(scored.labels, scored.predicted, len(scored.class_names))
        return per_class_table(counts, scored.class_names)

    @property
    def means(self) -> dict[str, float | None]:
        """The unweighted ("macro") means of recall, precision and f1 over the classes where each is defined."""
        return per_class_means(self.table)

    def figure(self) -> "Picture":
        """The classes' errors as bars with their intervals, the class most misread on top."""
        from misread.figures.per_class import per_class_figure

        return per_class_figure(self.table, self.scored.title)

    def to_dict(self) -> dict[str, Any]:
        """classes (the table's lines) and means, as plain values for JSON; undefined values are None."""
        return per_class_dict(self.table)

    def __repr__(self) -> str:
        return f"PerClass({self.scored.title})\n{self.table}"

    def _repr_html_(self) -> str:
        html: str = self.table.to_html(max_rows=120)
        return f"<p>{self.scored.title}</p>{html}"
