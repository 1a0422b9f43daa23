"""The gallery of doubtful labels."""

import numpy as np
import pandas as pd

from misread.figures.gallery import LINE, gallery_figure, wrapped
from misread.figures.style import Picture


def label_issues_figure(table: pd.DataFrame, images: np.ndarray, title: str, columns: int | None = None) -> Picture:
    """Every image of the table, in its order, each titled with its row in the source and `label → suggested`.

    table:   M lines with the columns index, label and suggested; if the two are equal, only the label is shown.
    images:  (M, H, W, C) uint8, the images of these lines.
    columns: tiles a row; by default the grid is nearly square and at most 16 wide.
    """
    changes = [
        a if a == b else f"{a} → {b}" for a, b in zip(table["label"].astype(str), table["suggested"], strict=True)
    ]
    titles = [f"{row}: {change}" for row, change in zip(table["index"], changes, strict=True)]
    if any(len(t) > LINE for t in titles):  # too wide for one line above its tile
        titles = [f"{row}:\n{wrapped(change)}" for row, change in zip(table["index"], changes, strict=True)]
    return gallery_figure(titles, images, title, empty="No label is doubtful.", columns=columns)
