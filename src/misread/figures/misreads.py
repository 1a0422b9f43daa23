"""The wall of misread images."""

import numpy as np
import pandas as pd

from misread.figures.style import Picture
from misread.figures.wall import LINE, wall_figure, wrapped


def misreads_figure(table: pd.DataFrame, images: np.ndarray, title: str, columns: int | None = None) -> Picture:
    """Every image of the table, in its order, each titled with its label and prediction.

    table:   M lines with the columns label and prediction, and cause where the titles shall tell it.
    images:  (M, H, W, C) uint8, the images of these lines.
    columns: tiles a row; without it the grid is as near square as can be, and no wider than 16.
    """
    pairs = list(zip(table["label"], table["prediction"], strict=True))
    titles = [f"Label: {a}, Prediction: {b}" for a, b in pairs]
    if any(len(t) > LINE for t in titles):  # too wide for one line above its tile
        titles = [f"{wrapped(f'Label: {a}')}\n{wrapped(f'Prediction: {b}')}" for a, b in pairs]
    if "cause" in table:
        titles = [f"{t}\n{wrapped(cause)}" for t, cause in zip(titles, table["cause"], strict=True)]
    return wall_figure(titles, images, title, empty="No image was misread.", columns=columns)
