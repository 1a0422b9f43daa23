"""Predictions: what a network said of every image of a split, beside the labels."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from misread.analysis.intervals import wilson_interval
from misread.errors import DataError

if TYPE_CHECKING:
    from misread.analysis.label_issues import LabelIssues

SMALLEST = float(np.finfo(np.float32).tiny)  # stands for a probability too small for float32, so that losses are finite


@dataclass(frozen=True)
class Predictions:
    """Labels and predicted probabilities of N images.

    labels: (N,) int64. probs: (N, K) float32, rows sum to 1. class_names: K names.
    rows:   (N,) int64, each image's row in its source. files: N names, or None.
    split:  the split's name.
    """

    labels: np.ndarray
    probs: np.ndarray
    class_names: tuple[str, ...]
    rows: np.ndarray
    files: tuple[str, ...] | None = None
    split: str = "test"

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.probs) or len(self.rows) != len(self.labels):
            raise DataError(
                f"labels has {len(self.labels):,} rows, probs {len(self.probs):,} and rows {len(self.rows):,}; "
                "all belong to the same images."
            )
        if self.probs.shape[1] != len(self.class_names):
            raise DataError(f"probs has {self.probs.shape[1]} columns, but there are {len(self.class_names)} classes.")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) int64, the most probable class; of equals the first."""
        return self.probs.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) float32, the probability of the predicted class."""
        return self.probs.max(axis=1)

    @property
    def margin(self) -> np.ndarray:
        """(N,) float32, the predicted class's probability less the label's: 0 where read right, up to 1 where not."""
        return self.confidence - self.probs[np.arange(len(self)), self.labels]

    @property
    def losses(self) -> np.ndarray:
        """(N,) float64, cross-entropy of each image: minus the log of the label's probability."""
        of_label = self.probs[np.arange(len(self)), self.labels].astype(np.float64)
        return -np.log(of_label.clip(min=SMALLEST))

    @property
    def misread(self) -> np.ndarray:
        """(N,) bool: the predicted class is not the label."""
        return self.predicted != self.labels

    def metrics(self, top_k: int | None = None) -> dict[str, float | int]:
        """loss, accuracy with its 95% Wilson interval, n and misread, as `run.json` holds them."""
        n, misread = len(self), int(self.misread.sum())
        low, high = wilson_interval(n - misread, n)
        metrics: dict[str, float | int] = {
            "loss": float(self.losses.mean()) if n else 0.0,
            "accuracy": (n - misread) / n if n else 0.0,
            "accuracy_low": low,
            "accuracy_high": high,
            "n": n,
            "misread": misread,
        }
        if top_k:
            top = np.argsort(-self.probs, axis=1, kind="stable")[:, :top_k]
            metrics[f"top_{top_k}_accuracy"] = float((top == self.labels[:, None]).any(axis=1).mean())
        return metrics

    def misreads(self) -> pd.DataFrame:
        """One line for every misread image, the most confident mistake first; of equals the first in the data.

        Columns: index (row in the source), file, label, prediction (names), confidence, margin, loss.
        """
        positions = np.flatnonzero(self.misread)
        positions = positions[np.argsort(-self.confidence[positions], kind="stable")]
        names = np.array(self.class_names, dtype=object)
        return pd.DataFrame(
            {
                "index": self.rows[positions],
                "file": [self.files[i] for i in positions] if self.files is not None else "",
                "label": names[self.labels[positions]],
                "prediction": names[self.predicted[positions]],
                "confidence": self.confidence[positions],
                "margin": self.margin[positions],
                "loss": self.losses[positions],
            }
        )

    def label_issues(self, method: str = "self-confidence") -> "LabelIssues":
        """One line for every image, the most doubtful label first, by one of `label_issues.METHODS`.

        Means something only where the model did not train on these images.
        """
        from misread.analysis.label_issues import label_issue_table

        return label_issue_table(self, method)
