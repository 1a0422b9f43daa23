"""Risk against coverage: the error that remains when the least certain images are left to a person."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.intervals import wilson_intervals
from misread.analysis.records import records
from misread.analysis.scored import Scored

if TYPE_CHECKING:
    from misread.figures.style import Picture

COVERAGES = (1.0, 0.995, 0.99, 0.98, 0.95, 0.9)


def risk_coverage_curve(labels: np.ndarray, probs: np.ndarray) -> pd.DataFrame:
    """The error of the images at or above a confidence, for every confidence that occurs, the highest first.

    labels: (N,) int64. probs: (N, K).
    Columns: threshold (the confidence), coverage (the share of images at or above it), n (their number), left (the
    number below it), misread (of the n), error (misread / n), error_low, error_high (95% Wilson).
    Images of equal confidence are on the same side, as with any threshold.
    Source: selective prediction, El-Yaniv and Wiener 2010, "On the foundations of noise-free selective
    classification"; with the softmax's maximum as confidence, Geifman and El-Yaniv 2017, arXiv 1705.08500.
    """
    confidence = probs.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((probs.argmax(axis=1) != labels)[order])
    ordered = confidence[order]
    # the last image of each confidence
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])
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


def risk_coverage_table(curve: pd.DataFrame, coverages: tuple[float, ...] = COVERAGES) -> pd.DataFrame:
    """For each share, the line of the curve with the least coverage that is not below the share.

    Columns: asked (the share), and those of `risk_coverage_curve`.
    """
    if curve.empty:
        return curve.assign(asked=[])
    total = int(curve["n"].iloc[-1])
    wanted = np.ceil(np.array(coverages) * total - 1e-9)  # 0.07 * 100 is a little above 7
    table = curve.iloc[np.searchsorted(curve["n"].to_numpy(), wanted)].reset_index(drop=True)
    table.insert(0, "asked", coverages)
    return table


class RiskCoverage:
    """The risk-coverage curve, and a small table of it."""

    def __init__(self, scored: Scored) -> None:
        self.scored = scored

    @cached_property
    def curve(self) -> pd.DataFrame:
        """One line for every confidence; see `risk_coverage_curve`."""
        return risk_coverage_curve(self.scored.labels, self.scored.probs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The curve at a few round coverages; see `risk_coverage_table`."""
        return risk_coverage_table(self.curve)

    def figure(self) -> "Picture":
        """Error against coverage, with its 95% band."""
        from misread.figures.risk_coverage import risk_coverage_figure

        return risk_coverage_figure(self.curve, self.table, self.scored.title)

    def to_dict(self) -> dict[str, Any]:
        """The small table as plain values for JSON. The curve is left out: it has a line for every image."""
        return {"table": records(self.table)}

    def __repr__(self) -> str:
        return f"RiskCoverage({self.scored.title})\n{self.table}"

    def _repr_html_(self) -> str:
        html: str = self.table.to_html()
        return f"<p>{self.scored.title}</p>{html}"
