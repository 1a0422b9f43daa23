"""The wall of misread images."""

import numpy as np
import pandas as pd

from misread.figures.style import GREY, Picture
from misread.figures.tiles import CHARACTERS, tiles_figure, title_lines


def misreads_figure(table: pd.DataFrame, images: np.ndarray, title: str, columns: int | None = None) -> Picture:
    """Every image of the table, in its order, each titled with its label and prediction.

    table:   M lines with the columns label and prediction.
    images:  (M, H, W, C) uint8, the images of these lines.
    columns: tiles a row; without it the grid is as near square as can be, and no wider than 16.
    """
    pairs = list(zip(table["label"], table["prediction"], strict=True))
    titles = [f"Label: {a}, Prediction: {b}" for a, b in pairs]
    if any(len(t) > CHARACTERS for t in titles):
        titles = ["\n".join([*title_lines(f"Label: {a}"), *title_lines(f"Prediction: {b}")]) for a, b in pairs]
    picture = tiles_figure(images, titles, title, columns)
    if not pairs:
        picture.text(0.5, 0.5, "No image was misread.", ha="center", va="center", color=GREY)
    return picture
