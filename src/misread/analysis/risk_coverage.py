"""Coverage against error: what remains wrong when the least certain images are left to a person."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.intervals import wilson_intervals
from misread.analysis.records import records

if TYPE_CHECKING:
    from misread.analysis.predictions import Predictions
    from misread.figures.style import Picture

COVERAGES = (1.0, 0.995, 0.99, 0.98, 0.95, 0.9)


def coverage_curve(labels: np.ndarray, probs: np.ndarray) -> pd.DataFrame:
    """Error among the images that are at least so confident, for every confidence there is, the highest first.

    labels: (N,) int64. probs: (N, K).
    Columns: threshold (keep an image whose confidence is at least this), coverage (share kept), n (kept), left (not
    kept), misread (of the kept), error (misread / n), error_low, error_high (95% Wilson).
    Images of the same confidence are kept or left together, as a threshold does.
    Source: selective prediction, El-Yaniv and Wiener 2010, "On the foundations of noise-free selective
    classification"; with the softmax's maximum as confidence, Geifman and El-Yaniv 2017, arXiv 1705.08500.
    """
    confidence = probs.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((probs.argmax(axis=1) != labels)[order])
    ordered = confidence[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])  # of each confidence
    n, misread = last + 1, wrong[last]
    low, high = wilson_intervals(misread, n)
    return pd.DataFrame(
        {
            "threshold": ordered[last],
            "coverage": n / max(len(labels), 1),
            "n": n,
            "left": len(labels) - n,
            "misread": misread,
            "error": misread / n,
            "error_low": low,
            "error_high": high,
        }
    )


def coverage_table(curve: pd.DataFrame, coverages: tuple[float, ...] = COVERAGES) -> pd.DataFrame:
    """The lines of the curve that keep at least these shares of images, and as few more as equal confidences allow.

    Columns: asked (the share), and those of `coverage_curve`.
    """
    if curve.empty:
        return curve.assign(asked=[])
    total = int(curve["n"].iloc[-1])
    wanted = np.ceil(np.array(coverages) * total - 1e-9)  # 0.07 * 100 is a little above 7
    table = curve.iloc[np.searchsorted(curve["n"].to_numpy(), wanted)].reset_index(drop=True)
    table.insert(0, "asked", coverages)
    return table


class Coverage:
    """The curve of error against coverage of predictions, and a small table of it."""

    def __init__(self, predictions: "Predictions") -> None:
        self.predictions = predictions

    @cached_property
    def curve(self) -> pd.DataFrame:
        """One line for every confidence there is; columns as `coverage_curve` gives them."""
        return coverage_curve(self.predictions.labels, self.predictions.probs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The curve at a few round coverages."""
        return coverage_table(self.curve)

    def figure(self) -> "Picture":
        """Error against coverage, with its 95% band."""
        from misread.figures.coverage import coverage_figure

        return coverage_figure(self.curve, self.table, self.predictions.title)

    def to_dict(self) -> dict[str, Any]:
        """The small table as JSON takes it; the curve has a line for every image and stays in `curve`."""
        return {"table": records(self.table)}

    def __repr__(self) -> str:
        return f"Coverage({self.predictions.title})\n{self.table}"

    def _repr_html_(self) -> str:
        html: str = self.table.to_html()
        return f"<p>{self.predictions.title}</p>{html}"
