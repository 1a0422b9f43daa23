"""The comparison that a user holds: what a second model fixes and breaks."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.comparison import (
    ADVICE,
    BOTH,
    BROKEN,
    FIXED,
    change_table,
    changes,
    check_same_images,
    class_change_table,
)
from misread.analysis.paired import bootstrap_difference, mcnemar_p
from misread.analysis.records import records
from misread.analysis.scored import Scored
from misread.errors import DataError, MisreadError, RunError
from misread.messages import Message, recognised
from misread.report.content import Content, SecondModel, images_or_note
from misread.report.sections import page_of
from misread.runs.predictions import Predictions

if TYPE_CHECKING:
    from misread.figures.style import Picture

BLOCK = 4096  # images compared at a time


class Comparison:
    """What changes from predictions A to predictions B of the same images.

    changes:    one line for every image that A or B misreads; see `change_table`.
    fixed:      the lines of the images that A misreads and B reads right.
    broken:     the lines of the images that A reads right and B misreads.
    both_wrong: the lines of the images that both misread, as the same class or not.
    Raises DataError: A and B are not of the same images, labels and classes.
    """

    def __init__(self, a: Scored, b: Scored, names: tuple[str, str] = ("A", "B")) -> None:
        check_same_images(a, b)
        self.a, self.b = a, b
        self.names = names

    @property
    def n(self) -> int:
        return len(self.a)

    @cached_property
    def changes(self) -> pd.DataFrame:
        return change_table(self.a, self.b)

    @property
    def broken(self) -> pd.DataFrame:
        return self._lines(BROKEN)

    @property
    def fixed(self) -> pd.DataFrame:
        return self._lines(FIXED)

    @property
    def both_wrong(self) -> pd.DataFrame:
        return self._lines(BOTH)

    def _lines(self, change: str) -> pd.DataFrame:
        return self.changes[self.changes["change"] == change].reset_index(drop=True)

    @property
    def n_broken(self) -> int:
        return self._count(BROKEN)

    @property
    def n_fixed(self) -> int:
        return self._count(FIXED)

    @property
    def n_both_wrong(self) -> int:
        return self._count(BOTH)

    def _count(self, change: str) -> int:
        return int((changes(self.a, self.b) == change).sum())

    @property
    def difference(self) -> float:
        """B's accuracy minus A's, in [-1, 1]."""
        return (self.n_fixed - self.n_broken) / self.n

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the difference, by a paired bootstrap over the images; see `bootstrap_difference`."""
        return bootstrap_difference(self.n_broken, self.n_fixed, self.n)

    @cached_property
    def p_value(self) -> float:
        """McNemar's exact test of A and B being equally good; see `mcnemar_p`."""
        return mcnemar_p(self.n_broken, self.n_fixed)

    def is_worse(self, alpha: float = 0.05) -> bool:
        """B's accuracy is lower than A's, and the p-value is at most `alpha`; with alpha = 1, any lower accuracy."""
        return self.difference < 0 and self.p_value <= alpha

    @property
    def per_class(self) -> pd.DataFrame:
        """One line a class, the class that worsened most first; see `class_change_table`."""
        return class_change_table(self.a, self.b)

    def new_misreads_of(self, classes: Sequence[object]) -> pd.DataFrame:
        """The broken images with one of these labels. Raises DataError: there is no class of that name."""
        wanted = [self.a.class_names[self.a.class_index(name)] for name in classes]
        broken = self.broken
        return broken[broken["label"].isin(wanted)].reset_index(drop=True)

    def figure(self, count: int = 16) -> "Picture":
        """The `count` most confident of the broken and of the fixed images, with the wrong predictions.

        Raises DataError: the predictions have no images.
        """
        from misread.figures.comparison import comparison_figure

        images = self._with_images.images
        broken, fixed = (self.changes[self.changes["change"] == change].head(count) for change in (BROKEN, FIXED))
        return comparison_figure(
            (broken, images[broken.index.to_numpy()], self.n_broken),
            (fixed, images[fixed.index.to_numpy()], self.n_fixed),
            self.names,
            self.title,
        )

    @property
    def _with_images(self) -> Scored:
        return self.a if self.a.has_images else self.b

    def report(self, path: str | Path, *, language: str = "en") -> Path:
        """Write it as one HTML file with every changed image; returns its path. language: of the page, "en" or "ko".

        Raises RunError: another language, or the file cannot be written.
        """
        a, b = self.names
        images, notes = images_or_note(self._with_images)
        content = Content(
            title=f"{a} → {b}",
            subtitle=self.title,
            scored=self.a,
            images=images,
            notes=notes,
            second=self.content(),
            facts=[(f"A: {a}", _accuracy(self.a)), (f"B: {b}", _accuracy(self.b))],
        )
        return page_of(content, language).write(Path(path))

    def content(self) -> SecondModel:
        """The comparison as a page shows it."""
        return SecondModel(self.b, self.names, self.changes, self.summary())

    @property
    def title(self) -> str:
        return Message("title.comparison", split=recognised(self.a.split, "split"), n=self.n)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; `changes` has a line for every image that A or B misreads."""
        return {**self.summary(), "changes": records(self.changes)}

    def summary(self) -> dict[str, Any]:
        """The counts, shares and tests of `to_dict`, without the list of images."""
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
        }

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Comparison({self.names[0]} -> {self.names[1]}, {self.title}: {self.n_broken:,} broken, "
            f"{self.n_fixed:,} fixed, {self.n_both_wrong:,} misread by both; accuracy {self.difference:+.2%} "
            f"(95% interval {low:+.2%} to {high:+.2%}), p = {self.p_value:.3g})"
        )


def compare_predictions(a: Predictions, b: Predictions) -> Comparison:
    """The comparison of two models' predictions, named by their runs or by themselves.

    Raises DataError: the images, their labels or classes are not the same.
    Raises RunError: the runs have different data, and the images that would show it cannot be loaded.
    """
    comparison = Comparison(a, b, _names(a, b))
    if not (a.run and b.run and a.run.record.data.fingerprint == b.run.record.data.fingerprint):
        _check_pixels(a, b)
    return comparison


def _names(a: Predictions, b: Predictions) -> tuple[str, str]:
    """The run folder's name, or its whole path if both have the same name; else the predictions' name; else A and B."""
    names = [x.run.folder.name if x.run else x.name for x in (a, b)]
    if names[0] == names[1]:
        names = [str(x.run.folder) if x.run else "" for x in (a, b)]
    return names[0] or "A", names[1] or "B"


def _check_pixels(a: Scored, b: Scored) -> None:
    """Rows and labels can agree by chance, as in two sets whose labels count 0, 1, ..., 9 over and over; pixels do not.

    Without images there is nothing to check.
    """
    if not (a.has_images and b.has_images):
        return
    try:
        blocks = [slice(start, start + BLOCK) for start in range(0, len(a), BLOCK)]
        same = all(np.array_equal(a.images[block], b.images[block]) for block in blocks)
    except MisreadError as error:
        raise RunError(
            f"A and B are not of the same data, and whether their {a.split} images are the same cannot be checked: "
            f"{error}"
        ) from None
    if not same:
        raise DataError(
            f"The {a.split} images of A and B are not the same pictures, though they have the same labels.\n{ADVICE}"
        )


def _accuracy(scored: Scored) -> str:
    m = scored.metrics()
    accuracy, low, high = (f"{m[name]:.2%}" for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return Message("fact.accuracy", accuracy=accuracy, low=low, high=high)
