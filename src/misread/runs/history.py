"""The history of a run: a DataFrame with one row for each epoch, and its figure."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from misread.training.session import HistoryRow

if TYPE_CHECKING:
    from misread.figures.style import Picture

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


class History(pd.DataFrame):
    """A DataFrame of epochs; `plot()` draws its curves. validation: the source of the validation images, in words."""

    _metadata: ClassVar[list[str]] = ["title", "validation"]  # a list, because pandas adds it to one on unpickling
    title: str = ""
    validation: str = "validation"

    @classmethod
    def of(cls, rows: Iterable[HistoryRow], title: str = "", validation: str = "validation") -> "History":
        history = cls(list(rows))
        if history.empty:
            history = cls(columns=list(COLUMNS), dtype=float)
        history.title, history.validation = title, validation
        return history

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def plot(self) -> "Picture":  # type: ignore[override]
        """Loss and accuracy against epochs, in two panels."""
        from misread.figures.history import history_figure

        return history_figure(self, self.title, self.validation)
