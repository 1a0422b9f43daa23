"""The wall of misread images."""

import math
import textwrap

import numpy as np
import pandas as pd

from misread.figures.style import BLACK, DPI, GREY, Picture

TILE_INCHES = 1.55  # an image's side; "Label: 4, Prediction: 9" fits above it at FONT points
FONT = 8.5
MAX_PIXELS = 30_000  # a side of the picture; beyond it image viewers give up


def misreads_figure(table: pd.DataFrame, images: np.ndarray, title: str, columns: int | None = None) -> Picture:
    """Every image of the table, in its order, each titled with its label and prediction.

    table:   M lines with the columns label and prediction.
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
    lines = max((t.count("\n") + 1 for t in titles), default=1)
    head_inches = 0.09 + lines * FONT * 1.25 / 72
    gap = 0.12
    cell_w, cell_h = TILE_INCHES + gap, TILE_INCHES + head_inches + gap
    title_lines = textwrap.wrap(title, max(24, int(max(columns, 2) * cell_w * 72 / 6.6)))
    top = 0.18 + 0.22 * len(title_lines)
    width, height = max(columns, 2) * cell_w + gap, rows * cell_h + top + gap
    picture = Picture(width, height)
    if max(width, height) * DPI > MAX_PIXELS:
        picture.set_dpi(MAX_PIXELS / max(width, height))
    picture.text(0.5, 1 - 0.1 / height, "\n".join(title_lines), ha="center", va="top", fontsize=12, color=BLACK)
    if not count:
        picture.text(0.5, 0.5, "No image was misread.", ha="center", va="center", color=GREY)
        return picture
    # one pair of axes for all tiles: a pair each would take minutes for a thousand
    axes = picture.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    left = (width - columns * cell_w + gap) / 2
    for i, (text, image) in enumerate(zip(titles, images, strict=True)):
        x = left + (i % columns) * cell_w
        y = top + (i // columns) * cell_h + head_inches
        h, w = image.shape[:2]
        tile_w, tile_h = TILE_INCHES * min(1, w / h), TILE_INCHES * min(1, h / w)
        x0 = x + (TILE_INCHES - tile_w) / 2
        axes.imshow(
            image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest",
            extent=(x0, x0 + tile_w, y + tile_h, y), aspect="auto",
        )  # fmt: skip
        axes.text(x + TILE_INCHES / 2, y - 0.04, text, ha="center", va="bottom", fontsize=FONT, color=BLACK,
                  parse_math=False)  # fmt: skip
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return picture


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 24) or [text]
