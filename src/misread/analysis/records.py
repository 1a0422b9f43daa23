"""Tables of names, and tables as plain values, for JSON and templates."""

from typing import Any

import pandas as pd

# Decorates what makes a table with names of files or classes: Python keeps the text. pyarrow, which pandas takes where
# it is installed, refuses a file name that is no UTF-8.
with_names = pd.option_context("mode.string_storage", "python")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict a line, of str, int, float, bool and None; NaN becomes None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")  # type: ignore[return-value]
