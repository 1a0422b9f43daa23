"""The gallery of misread images."""

import numpy as np
import pandas as pd

from misread.figures.gallery import LINE, gallery_figure, wrapped
from misread.figures.style import Picture


def misreads_figure(table: pd.DataFrame, images: np.ndarray, title: str, columns: int | None = None) -> Picture:
    """Every image of the table, in its order, each titled with its label and prediction.

    table:   M lines with the columns label and prediction; a column cause is added to the titles.
    images:  (M, H, W, C) uint8, the images of these lines.
    columns: tiles a row; by default the grid is nearly square and at most 16 wide.
    """
    pairs = list(zip(table["label"], table["prediction"], strict=True))
    titles = [f"Label: {a}, Prediction: {b}" for a, b in pairs]
    if any(len(t) > LINE for t in titles):  # too wide for one line above its tile
        titles = [f"{wrapped(f'Label: {a}')}\n{wrapped(f'Prediction: {b}')}" for a, b in pairs]
    if "cause" in table:
        titles = [f"{t}\n{wrapped(cause)}" for t, cause in zip(titles, table["cause"], strict=True)]
    return gallery_figure(titles, images, title, empty="No image was misread.", columns=columns)
