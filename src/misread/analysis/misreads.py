"""The misread images: the table of them, a choice from it, and the picture."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from misread.figures.style import Picture


class Misreads:
    """Misread images of one split, the most confident mistake first.

    table:     the lines of `Predictions.misreads`, all or a choice of them.
    total:     how many were misread in all, of `n` images.
    images_of: rows (M,) int64 -> images (M, H, W, C) uint8; called only when a picture is wanted.
    """

    def __init__(
        self, table: pd.DataFrame, total: int, n: int, what: str, images_of: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.table = table
        self.total = total
        self.n = n
        self.what = what
        self.images_of = images_of

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

    def _only(self, table: pd.DataFrame) -> "Misreads":
        return Misreads(table.reset_index(drop=True), self.total, self.n, self.what, self.images_of)

    @property
    def title(self) -> str:
        return f"{len(self):,} of {self.total:,} misread ({self.what}, {self.n:,} images)"

    def figure(self) -> Picture:
        """The wall: every image here with its label and prediction."""
        from misread.figures.misreads import misreads_figure

        return misreads_figure(self.table, self.images_of(self.table["index"].to_numpy()), self.title)

    def show(self) -> None:
        """Show the wall: below the cell of a notebook, else in the system's image viewer."""
        self.figure().show()

    def __repr__(self) -> str:
        return f"{self.title}\n{self._shown()}"

    def _repr_html_(self) -> str:
        html: str = self._shown().to_html(max_rows=20)
        return f"<p>{self.title}</p>{html}"

    def _shown(self) -> pd.DataFrame:
        """The table without the column of file names where images have none."""
        return self.table if self.table["file"].any() else self.table.drop(columns="file")
