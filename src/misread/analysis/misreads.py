"""The misread images: the table of them, a choice from it, why they were misread, and the pictures."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from misread.analysis.causes import Cause, find_cause
from misread.errors import DataError
from misread.figures.style import Picture


@dataclass(frozen=True)
class Explanation:
    """Why images were misread.

    reasons:    a line for each. Columns: index (its row), cause (one of `causes.Cause`), evidence (in few words).
    neighbours: the nearest training images by the network's features, a line for each. Columns: index (the misread
                image's row), place (1 the nearest), training_index, training_file, training_label, distance.
    training_images_of: rows (n,) int64 of train -> images (n, H, W, C) uint8.
    """

    reasons: pd.DataFrame
    neighbours: pd.DataFrame
    training_images_of: Callable[[np.ndarray], np.ndarray]


class Misreads:
    """Misread images of one split, the most confident mistake first.

    table:       the lines of `Predictions.misreads`, all or a choice of them; once explained also cause and evidence.
    total:       how many were misread in all, of `n` images.
    images_of:   rows (M,) int64 -> images (M, H, W, C) uint8; called only when a picture is wanted.
    explain_of:  rows (M,) int64 and other runs -> why these were misread; it takes seconds, so only when asked for.
    explanation: what that gave, once asked. cause: the one that these were chosen by.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        total: int,
        n: int,
        what: str,
        images_of: Callable[[np.ndarray], np.ndarray],
        explain_of: Callable[[np.ndarray, Sequence[Any]], Explanation] | None = None,
    ) -> None:
        self.table = table
        self.total = total
        self.n = n
        self.what = what
        self.images_of = images_of
        self.explain_of = explain_of
        self.explanation: Explanation | None = None
        self.cause: Cause | None = None

    def __len__(self) -> int:
        return len(self.table)

    def sample(self, count: int = 16, seed: int = 0) -> "Misreads":
        """`count` of these drawn by the seed, or all when there are fewer; the most confident still comes first."""
        count = min(count, len(self))
        chosen = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self._only(self.table.iloc[np.sort(chosen)])

    def top(self, count: int = 16) -> "Misreads":
        """The `count` most confident mistakes, or all when there are fewer."""
        return self._only(self.table.head(count))

    def explain(self, *others: Any) -> "Misreads":
        """The same lines with the columns cause and evidence: see docs/causes.md.

        others: runs on the same data, whose agreement is then evidence too.
        Raises DataError or RunError: the training images cannot be had, or another run cannot judge these images.
        """
        found = self._explanation(*others)
        reasons = found.reasons.set_index("index").loc[self.table["index"]]
        table = self.table.assign(cause=reasons["cause"].to_numpy(), evidence=reasons["evidence"].to_numpy())
        return self._only(table, explanation=found)

    def with_cause(self, cause: str) -> "Misreads":
        """Those with this cause, explained first where they are not. Raises DataError: there is no such cause."""
        wanted = find_cause(cause)
        explained = self if "cause" in self.table else self.explain()
        return explained._only(explained.table[explained.table["cause"] == wanted], cause=wanted)

    @property
    def neighbours(self) -> pd.DataFrame:
        """The nearest training images of these, with the columns that `Explanation` names."""
        found = self._explanation().neighbours
        return found[found["index"].isin(self.table["index"])].reset_index(drop=True)

    def _explanation(self, *others: Any) -> Explanation:
        if self.explanation is not None and not others:
            return self.explanation
        if self.explain_of is None:
            raise DataError("These misreads have no training images beside them; their causes cannot be told.")
        found = self.explain_of(self.table["index"].to_numpy(), others)
        self.explanation = self.explanation if others else found
        return found

    def _only(self, table: pd.DataFrame, **changes: Any) -> "Misreads":
        chosen = copy(self)
        chosen.__dict__.update(changes, table=table.reset_index(drop=True))
        return chosen

    @property
    def title(self) -> str:
        cause = f", {self.cause}" if self.cause else ""
        return f"{len(self):,} of {self.total:,} misread{cause} ({self.what}, {self.n:,} images)"

    def figure(self) -> Picture:
        """The wall: every image here with its label and prediction."""
        from misread.figures.misreads import misreads_figure

        return misreads_figure(self.table, self.images_of(self.table["index"].to_numpy()), self.title)

    def neighbour_figure(self) -> Picture:
        """Every image here with its cause, and beside it the training images nearest to it."""
        from misread.figures.neighbours import neighbours_figure

        explained, neighbours = self.explain(), self.neighbours
        images = self.images_of(self.table["index"].to_numpy())
        training = self._explanation().training_images_of(neighbours["training_index"].to_numpy())
        return neighbours_figure(explained.table, images, neighbours, training, self.title)

    def show(self) -> None:
        """Show the wall: below the cell of a notebook, else in the system's image viewer."""
        self.figure().show()

    def __repr__(self) -> str:
        return f"{self.title}\n{self._shown()}"

    def _repr_html_(self) -> str:
        html: str = self._shown().to_html(max_rows=20)
        return f"<p>{self.title}</p>{html}"

    def _shown(self) -> pd.DataFrame:
        """The table without hashes, and without the column of file names where images have none."""
        hidden = ["hash"] if self.table["file"].any() else ["hash", "file"]
        return self.table.drop(columns=hidden, errors="ignore")
