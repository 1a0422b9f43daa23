"""Misread images, and beside each the training images nearest to it."""

import textwrap

import numpy as np
import pandas as pd

from misread.figures.style import BLACK, GREY, Picture
from misread.figures.tiles import blank_page, draw_tile

TILE_INCHES, GAP = 1.3, 0.12
FONT, LINE_INCHES = 8.5, 0.155
LETTERS = 22  # that fit above a tile
EXPLAINED = "On the left the misread image, then the training images nearest to it by the network's features."


def neighbours_figure(
    table: pd.DataFrame, images: np.ndarray, neighbours: pd.DataFrame, training_images: np.ndarray, title: str
) -> Picture:
    """A row for every misread image: its cause, the image, and its nearest training images with label and distance.

    table:           M lines with the columns index, label, prediction, cause and evidence.
    images:          (M, H, W, C) uint8, the images of these lines.
    neighbours:      lines with the columns index, training_label and distance, the nearest of each index first.
    training_images: (len(neighbours), H, W, C) uint8, the images of these lines.
    """
    groups = neighbours.groupby("index").indices
    across = max((len(group) for group in groups.values()), default=5)
    cell, first = TILE_INCHES + GAP, TILE_INCHES + 5 * GAP  # a wider gap sets the misread image off
    width = first + across * cell + GAP
    letters = int(width * 72 / (0.53 * FONT))
    reasons = [textwrap.wrap(f"{c}: {e}", letters) for c, e in zip(table["cause"], table["evidence"], strict=True)]
    heads = [(len(lines) + 2) * LINE_INCHES + 1.5 * GAP for lines in reasons]
    headline = [*textwrap.wrap(title, int(letters * FONT / 12)), *textwrap.wrap(EXPLAINED, letters)]
    top = 0.24 * (len(headline) + 1)
    height = top + sum(heads) + len(table) * (TILE_INCHES + 2 * GAP) + (0 if len(table) else 0.5)
    picture, axes = blank_page(width, height)

    def write(x: float, y: float, text: str, ha: str, va: str, size: float = FONT, color: str = BLACK) -> None:
        axes.text(x, y, text, ha=ha, va=va, fontsize=size, color=color, parse_math=False, linespacing=1.2)

    for i, words in enumerate(headline):
        about = words in EXPLAINED
        write(width / 2, 0.12 + 0.24 * i, words, "center", "top", FONT if about else 12, GREY if about else BLACK)
    if not len(table):
        write(width / 2, top + 0.1, "There is none to show.", "center", "top", color=GREY)
    y = top
    for i, line in enumerate(table.itertuples(index=False)):
        write(GAP, y, "\n".join(reasons[i]), "left", "top")
        y += heads[i]
        caption = f"{_cut(f'Label: {line.label}')}\n{_cut(f'Prediction: {line.prediction}')}"
        write(GAP + TILE_INCHES / 2, y - 0.04, caption, "center", "bottom")
        draw_tile(axes, images[i], GAP, y, TILE_INCHES)
        for place, at in enumerate(groups.get(line.index, ())):
            x, near = first + place * cell, neighbours.iloc[at]
            caption = f"{_cut(f'Label: {near.training_label}')}\ndistance {near.distance:.3g}"
            write(x + TILE_INCHES / 2, y - 0.04, caption, "center", "bottom", color=GREY)
            draw_tile(axes, training_images[at], x, y, TILE_INCHES)
        y += TILE_INCHES + 2 * GAP
    return picture


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
