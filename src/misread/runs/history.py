"""The history of a run: a DataFrame with one row for each epoch, and its figure."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from misread.errors import RunError
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


def read_history(contents: bytes, path: Path) -> list[HistoryRow]:
    """The rows in the bytes of a `history.csv`. path: for the message. Raises RunError: they are damaged."""
    try:
        table = pd.read_csv(io.BytesIO(contents))
    except ValueError as error:  # also that of pandas' parser
        raise RunError(f"{path} is damaged: {error}.") from None
    wrong = [c for c in COLUMNS if c not in table or (len(table) and not pd.api.types.is_numeric_dtype(table[c]))]
    if wrong:
        raise RunError(f"{path} is damaged: it has no numbers for {', '.join(wrong)}.")
    rows: list[HistoryRow] = table.to_dict("records")  # type: ignore[assignment]
    return rows
