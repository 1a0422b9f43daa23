"""Tables as plain values, for JSON and templates."""

from typing import Any

import pandas as pd


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict a line, of str, int, float, bool and None; NaN becomes None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")  # type: ignore[return-value]
