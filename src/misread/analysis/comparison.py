"""Two sets of predictions of the same images: what the second mends, and what it breaks."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.paired import bootstrap_difference, mcnemar_p
from misread.analysis.predictions import Predictions
from misread.analysis.records import records
from misread.errors import DataError

if TYPE_CHECKING:
    from misread.figures.style import Picture

BROKEN, FIXED, BOTH = "broken", "fixed", "both wrong"


class Comparison:
    """What changes from predictions A to predictions B of the same images.

    fixed:      misread by A, read right by B.
    broken:     read right by A, misread by B.
    both_wrong: misread by both, as the same class or not.
    Each is a table with the most confident mistake first (of A where fixed, of B otherwise) and the columns change,
    index (row in the source), file, label, prediction_a, prediction_b, confidence_a, confidence_b.
    Raises DataError: A and B are not of the same images, labels and classes.
    """

    def __init__(self, a: Predictions, b: Predictions, names: tuple[str, str] = ("A", "B")) -> None:
        check_same_images(a, b)
        self.a, self.b = a, b
        self.names = names

    @property
    def n(self) -> int:
        return len(self.a)

    @cached_property
    def changes(self) -> pd.DataFrame:
        """All images that A or B misread: first the broken, then the fixed, then those both misread."""
        a, b = self.a, self.b
        mistake = np.where(b.misread, b.confidence, a.confidence)
        change = np.select([b.misread & ~a.misread, a.misread & ~b.misread, a.misread & b.misread], [0, 1, 2], 3)
        order = np.lexsort((-mistake, change))
        order = order[change[order] < 3]
        names = np.array(a.class_names, dtype=object)
        return pd.DataFrame(
            {
                "change": np.array([BROKEN, FIXED, BOTH], dtype=object)[change[order]],
                "index": a.rows[order],
                "file": [a.files[i] for i in order] if a.files is not None else "",
                "label": names[a.labels[order]],
                "prediction_a": names[a.predicted[order]],
                "prediction_b": names[b.predicted[order]],
                "confidence_a": a.confidence[order],
                "confidence_b": b.confidence[order],
            },
            index=pd.Index(order, name="position"),
        )

    def _of(self, change: str) -> pd.DataFrame:
        return self.changes[self.changes["change"] == change].reset_index(drop=True)

    @property
    def broken(self) -> pd.DataFrame:
        return self._of(BROKEN)

    @property
    def fixed(self) -> pd.DataFrame:
        return self._of(FIXED)

    @property
    def both_wrong(self) -> pd.DataFrame:
        return self._of(BOTH)

    @property
    def n_broken(self) -> int:
        return int((self.b.misread & ~self.a.misread).sum())

    @property
    def n_fixed(self) -> int:
        return int((self.a.misread & ~self.b.misread).sum())

    @property
    def n_both_wrong(self) -> int:
        return int((self.a.misread & self.b.misread).sum())

    @property
    def difference(self) -> float:
        """B's accuracy less A's, in [-1, 1]."""
        return (self.n_fixed - self.n_broken) / self.n

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95% of the difference, by a paired bootstrap over the images (seed 0); see `bootstrap_difference`."""
        return bootstrap_difference(self.n_broken, self.n_fixed, self.n)

    @cached_property
    def p_value(self) -> float:
        """McNemar's exact test of A and B being equally good; see `mcnemar_p`."""
        return mcnemar_p(self.n_broken, self.n_fixed)

    def is_worse(self, alpha: float = 0.05) -> bool:
        """B's accuracy is lower than A's, and the p-value is `alpha` at most; with alpha = 1, any lower accuracy."""
        return self.difference < 0 and self.p_value <= alpha

    @property
    def per_class(self) -> pd.DataFrame:
        """One line a class: class, n (images with this label), misread_a, misread_b, broken, fixed,
        accuracy_a and accuracy_b (NaN without images), and difference (b less a). Most worsened first.
        """
        a, b = self.a, self.b
        k = len(a.class_names)

        def count(which: np.ndarray) -> np.ndarray:
            return np.bincount(a.labels[which], minlength=k)

        n = count(np.ones(self.n, dtype=bool))
        some = np.where(n > 0, n, np.nan)
        table = pd.DataFrame(
            {
                "class": list(a.class_names),
                "n": n,
                "misread_a": count(a.misread),
                "misread_b": count(b.misread),
                "broken": count(b.misread & ~a.misread),
                "fixed": count(a.misread & ~b.misread),
            }
        )
        table["accuracy_a"], table["accuracy_b"] = 1 - table["misread_a"] / some, 1 - table["misread_b"] / some
        table["difference"] = (table["misread_a"] - table["misread_b"]) / some
        return table.sort_values("difference", kind="stable", ignore_index=True)

    def new_misreads_of(self, classes: Sequence[object]) -> pd.DataFrame:
        """The broken images with one of these labels. Raises DataError: there is no class of that name."""
        wanted = [self.a.class_names[self.a.class_index(name)] for name in classes]
        broken = self.broken
        return broken[broken["label"].isin(wanted)].reset_index(drop=True)

    def figure(self, count: int = 16) -> "Picture":
        """The `count` most confident of the broken and of the fixed images, with what A and B read in them.

        Raises DataError: the predictions were given without images.
        """
        from misread.figures.comparison import comparison_figure

        images = (self.a if self.a.has_images else self.b).images
        broken, fixed = (self.changes[self.changes["change"] == change].head(count) for change in (BROKEN, FIXED))
        return comparison_figure(
            (broken, images[broken.index.to_numpy()], self.n_broken),
            (fixed, images[fixed.index.to_numpy()], self.n_fixed),
            self.names,
            self.title,
        )

    def report(self, path: str | Path) -> Path:
        """Write it as one HTML file, with every image that changed; returns its path.

        Raises RunError: the file cannot be written.
        """
        from misread.report.content import comparison_page

        return comparison_page(self).write(Path(path))

    @property
    def title(self) -> str:
        return f"{self.a.split}, {self.n:,} images"

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it; `changes` has a line for every image that A or B misread."""
        low, high = self.interval
        return {
            "a": {"name": self.names[0], **self.a.metrics()},
            "b": {"name": self.names[1], **self.b.metrics()},
            "split": self.a.split,
            "n": self.n,
            "broken": self.n_broken,
            "fixed": self.n_fixed,
            "both_wrong": self.n_both_wrong,
            "difference": self.difference,
            "difference_low": low,
            "difference_high": high,
            "p_value": self.p_value,
            "per_class": records(self.per_class),
            "changes": records(self.changes),
        }

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Comparison({self.names[0]} -> {self.names[1]}, {self.title}: {self.n_broken:,} broken, "
            f"{self.n_fixed:,} fixed, {self.n_both_wrong:,} misread by both; accuracy {self.difference:+.2%} "
            f"(95% interval {low:+.2%} to {high:+.2%}), p = {self.p_value:.3g})"
        )


def check_same_images(a: Predictions, b: Predictions) -> None:
    """Raises DataError: the two differ in classes, number, rows, file names or labels of their images."""
    advice = "Two models are compared on the same images: score both on the same data and split."
    if a.class_names != b.class_names:
        raise DataError(
            f"A has the classes {', '.join(a.class_names)}, but B has {', '.join(b.class_names)}.\n{advice}"
        )
    if len(a) != len(b):
        raise DataError(f"A has {len(a):,} images, but B has {len(b):,}.\n{advice}")
    if not len(a):
        raise DataError("There are no images to compare on.")
    names = np.array(a.class_names)
    compared: list[tuple[str, np.ndarray, np.ndarray]] = [
        ("come from other rows of the data", a.rows, b.rows),
        ("have other file names", np.array(a.files or ()), np.array(b.files or ())),
        ("have other labels", names[a.labels], names[b.labels]),
    ]
    for what, of_a, of_b in compared:
        if of_a.shape != of_b.shape:  # only one of the two has file names
            continue
        differ = np.flatnonzero(of_a != of_b)
        if len(differ):
            i = int(differ[0])
            raise DataError(
                f"{len(differ):,} of {len(a):,} images {what} in B than in A; the first, image {i:,}: "
                f"{of_b[i]} in B, {of_a[i]} in A.\n{advice}"
            )
