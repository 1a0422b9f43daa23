"""The wall of misread images."""

import math
import textwrap

import numpy as np
import pandas as pd

from misread.figures.style import BLACK, GREY, Picture
from misread.figures.tiles import blank_page, draw_tile

TILE_INCHES = 1.55  # an image's side; "Label: 4, Prediction: 9" fits above it at FONT points
FONT = 8.5


def misreads_figure(table: pd.DataFrame, images: np.ndarray, title: str, columns: int | None = None) -> Picture:
    """Every image of the table, in its order, each titled with its label and prediction.

    table:   M lines with the columns label and prediction, and cause where the titles shall tell it.
    images:  (M, H, W, C) uint8, the images of these lines.
    columns: tiles a row; without it the grid is as near square as can be, and no wider than 16.
    """
    count = len(table)
    columns = columns or max(1, min(16, math.ceil(math.sqrt(count))))
    rows = max(1, math.ceil(count / columns))
    titles = [f"Label: {a}, Prediction: {b}" for a, b in zip(table["label"], table["prediction"], strict=True)]
    if any(len(t) > 24 for t in titles):  # too wide for one line above its tile
        titles = [
            "\n".join([*_wrapped(f"Label: {a}"), *_wrapped(f"Prediction: {b}")])
            for a, b in zip(table["label"], table["prediction"], strict=True)
        ]
    if "cause" in table:
        titles = ["\n".join([t, *_wrapped(cause)]) for t, cause in zip(titles, table["cause"], strict=True)]
    lines = max((t.count("\n") + 1 for t in titles), default=1)
    head_inches = 0.09 + lines * FONT * 1.25 / 72
    gap = 0.12
    cell_w, cell_h = TILE_INCHES + gap, TILE_INCHES + head_inches + gap
    title_lines = textwrap.wrap(title, max(24, int(max(columns, 2) * cell_w * 72 / 6.6)))
    top = 0.18 + 0.22 * len(title_lines)
    width, height = max(columns, 2) * cell_w + gap, rows * cell_h + top + gap
    picture, axes = blank_page(width, height)
    picture.text(0.5, 1 - 0.1 / height, "\n".join(title_lines), ha="center", va="top", fontsize=12, color=BLACK)
    if not count:
        picture.text(0.5, 0.5, "No image was misread.", ha="center", va="center", color=GREY)
        return picture
    left = (width - columns * cell_w + gap) / 2
    for i, (text, image) in enumerate(zip(titles, images, strict=True)):
        x = left + (i % columns) * cell_w
        y = top + (i // columns) * cell_h + head_inches
        draw_tile(axes, image, x, y, TILE_INCHES)
        axes.text(x + TILE_INCHES / 2, y - 0.04, text, ha="center", va="bottom", fontsize=FONT, color=BLACK,
                  parse_math=False)  # fmt: skip
    return picture


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 24) or [text]
