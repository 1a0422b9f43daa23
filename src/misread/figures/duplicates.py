"""Pairs of duplicates, side by side."""

import math
import textwrap

import numpy as np
import pandas as pd

from misread.figures.style import BLACK, GREY, VERMILLION, Picture
from misread.figures.tiles import blank_page, draw_tile

TILE_INCHES, GAP, SEAM = 1.2, 0.14, 0.03
FONT = 8
LETTERS = 17  # that fit above a tile


def duplicates_figure(pairs: pd.DataFrame, first: np.ndarray, second: np.ndarray, title: str) -> Picture:
    """Each pair as two adjacent images with their places and labels; labels that differ are coloured.

    pairs: P lines with the columns kind, correlation, conflict, and first_ and second_ with split, index, file, label.
    first, second: (P, H, W, C) uint8, the images of these lines.
    """
    columns = max(1, min(3, len(pairs)))
    rows = math.ceil(len(pairs) / columns)
    head = 3.5 * FONT * 1.25 / 72 + 0.06
    cell_w, cell_h = 2 * TILE_INCHES + SEAM + 3 * GAP, TILE_INCHES + head + GAP
    width = max(columns * cell_w + GAP, 4.5)
    title_lines = textwrap.wrap(title, int(width * 72 / 6.6))
    top = 0.18 + 0.22 * len(title_lines)
    height = top + rows * cell_h + (0.1 if rows else 0.5)
    picture, axes = blank_page(width, height)

    def write(x: float, y: float, text: str, va: str, size: float = FONT, color: str = BLACK) -> None:
        axes.text(x, y, text, ha="center", va=va, fontsize=size, color=color, parse_math=False)

    write(width / 2, 0.1, "\n".join(title_lines), "top", 12)
    if not len(pairs):
        write(width / 2, top + 0.1, "There are no duplicates.", "top", color=GREY)
    left = (width - columns * cell_w + GAP) / 2
    for i, pair in enumerate(pairs.to_dict("records")):
        x, y = left + (i % columns) * cell_w, top + (i // columns) * cell_h + head
        how = "exact copy" if pair["kind"] == "exact" else f"correlation {pair['correlation']:.4f}"
        write(x + TILE_INCHES + SEAM / 2, y - head + 0.02, how, "top", color=GREY)
        for side, (which, image) in enumerate((("first", first[i]), ("second", second[i]))):
            place = pair[f"{which}_file"] or f"{pair[f'{which}_split']} {pair[f'{which}_index']:,}"
            caption = f"{_ending(str(place))}\nLabel: {_ending(str(pair[f'{which}_label']), LETTERS - 7)}"
            color = VERMILLION if pair["conflict"] else BLACK
            tile = x + side * (TILE_INCHES + SEAM)
            write(tile + TILE_INCHES / 2, y - 0.04, caption, "bottom", color=color)
            draw_tile(axes, image, tile, y, TILE_INCHES)
    return picture


def _ending(text: str, letters: int = LETTERS) -> str:
    """The last letters: files of one folder often begin alike."""
    return text if len(text) <= letters else f"…{text[1 - letters :]}"
